// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_STORE_MESSAGE_H_
#define MSEG_DAEMON_STORE_MESSAGE_H_

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "labels/text.h"

// Between C++ and the messages of store.capnp; private to store*.cc.
namespace mseg {

inline capnp::Text::Reader ToText(const std::string& text) { return {text.c_str(), text.size()}; }
inline std::string FromText(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

template <size_t N>
capnp::Data::Reader ToData(const std::array<uint8_t, N>& bytes) {
  return {bytes.data(), N};
}

// Called only inside Decode, which turns the exception into a Status.
template <size_t N>
std::array<uint8_t, N> FromData(capnp::Data::Reader data) {
  KJ_REQUIRE(data.size() == N, "wrong length of a hash, digest or salt");
  std::array<uint8_t, N> bytes;
  std::copy(data.begin(), data.end(), bytes.begin());
  return bytes;
}

inline std::string Flatten(capnp::MessageBuilder& message) {
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
  const auto bytes = words.asBytes();
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

// Runs `read` on the message's root. The bytes are copied because a message must be word-aligned.
template <typename Root, typename Read>
auto Decode(std::string_view bytes, std::string_view what, Read read)
    -> absl::StatusOr<decltype(read(std::declval<typename Root::Reader>()))> {
  if (bytes.empty() || bytes.size() % sizeof(capnp::word) != 0) {
    return absl::DataLossError(Cat("store: ", what, " has an impossible length"));
  }
  try {
    auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
    memcpy(words.begin(), bytes.data(), bytes.size());
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 4 * words.size() + 1024;  // each field is read once
    capnp::FlatArrayMessageReader reader(words, options);
    return read(reader.getRoot<Root>());
  } catch (const kj::Exception& e) {
    return absl::DataLossError(
        Cat("store: ", what, " cannot be decoded: ", e.getDescription().cStr()));
  }
}

}  // namespace mseg

#endif  // MSEG_DAEMON_STORE_MESSAGE_H_
