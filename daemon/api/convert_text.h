// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_API_CONVERT_TEXT_H_
#define MSEG_DAEMON_API_CONVERT_TEXT_H_

#include <string>
#include <vector>

#include "daemon/api/convert.h"

// What all conversions need for texts and labels; private to convert*.cc.
namespace mseg::wire {

inline capnp::Text::Reader ToText(const std::string& text) {
  return capnp::Text::Reader(text.c_str(), text.size());
}

inline capnp::Data::Reader ToData(const std::string& text) {
  return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

inline std::string FromText(capnp::Text::Reader text) {
  return std::string(text.begin(), text.size());
}

inline std::string FromData(capnp::Data::Reader data) {
  return std::string(reinterpret_cast<const char*>(data.begin()), data.size());
}

inline void WriteTexts(const std::vector<std::string>& from, capnp::List<capnp::Text>::Builder to) {
  for (size_t i = 0; i < from.size(); ++i) to.set(static_cast<unsigned>(i), ToText(from[i]));
}

inline std::vector<std::string> ReadTexts(capnp::List<capnp::Text>::Reader from) {
  std::vector<std::string> to;
  to.reserve(from.size());
  for (auto text : from) to.push_back(FromText(text));
  return to;
}

inline void WriteLabels(const api::Labels& from, capnp::List<Label>::Builder to) {
  unsigned i = 0;
  for (const auto& [key, value] : from) {
    to[i].setKey(ToText(key));
    to[i].setValue(ToText(value));
    ++i;
  }
}

inline api::Labels ReadLabels(capnp::List<Label>::Reader from) {
  api::Labels to;
  for (auto label : from) to[FromText(label.getKey())] = FromText(label.getValue());
  return to;
}

}  // namespace mseg::wire

#endif  // MSEG_DAEMON_API_CONVERT_TEXT_H_
