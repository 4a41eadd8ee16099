// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_RECORD_JSON_H_
#define MSEG_DAEMON_RECORD_JSON_H_

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "labels/label.h"

// The file form of records: JSON, read strictly, because people trust what they see in it.
namespace mseg {

using RecordJson = nlohmann::ordered_json;

// InvalidArgument with FILE:LINE:COL for what is no JSON; also for a key that is given twice, for
// deep nesting, and for more than `most` bytes.
absl::StatusOr<RecordJson> ParseRecordJson(std::string_view text, std::string_view file,
                                           size_t most);

// The fields of one object. The first thing that is wrong goes into `status`, with its place; from
// then on everything reads as empty. Every field is required, and no other may be there.
class RecordFields {
 public:
  RecordFields(const RecordJson& node, std::string where, absl::Status* status);

  std::string Text(std::string_view name);
  bool Flag(std::string_view name);
  uint64_t Number(std::string_view name, uint64_t most);
  int64_t Time(std::string_view name);  // RFC 3339; microseconds since 1970
  uint64_t ShortId(std::string_view name);
  Digest FileDigest(std::string_view name);
  template <size_t N>
  std::array<uint8_t, N> Hex(std::string_view name) {
    std::array<uint8_t, N> bytes{};
    ReadHex(name, bytes.data(), N);
    return bytes;
  }
  LabelSet Labels(std::string_view name);
  std::vector<std::string> Texts(std::string_view name, size_t most);
  // The items of a list; an empty list where there is none.
  const RecordJson& List(std::string_view name, size_t most);
  void Finish();

  void Fail(std::string_view name, std::string_view what);
  std::string Place(std::string_view name) const;

 private:
  const RecordJson* Take(std::string_view name);
  void ReadHex(std::string_view name, uint8_t* to, size_t size);

  const RecordJson& node_;
  std::string where_;
  absl::Status* status_;
  size_t taken_ = 0;
};

// 12 hexadecimal digits.
bool ParseShortId(std::string_view text, uint64_t* id);
std::string ShortIdText(uint64_t id);
std::string HexText(const uint8_t* bytes, size_t size);
template <size_t N>
std::string HexText(const std::array<uint8_t, N>& bytes) {
  return HexText(bytes.data(), N);
}
std::string RecordTimeText(int64_t us);
RecordJson LabelsJson(const LabelSet& labels);
// Indented, with a line break at the end.
std::string RecordText(const RecordJson& tree);

}  // namespace mseg

#endif  // MSEG_DAEMON_RECORD_JSON_H_
