// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_IDENTITY_BUNDLE_H_
#define MSEG_DAEMON_IDENTITY_BUNDLE_H_

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/host_record.h"
#include "labels/label.h"

namespace mseg {

// What a label id of a host means.
struct LabelRecord {
  uint64_t id = 0;
  LabelSet labels;
  bool operator==(const LabelRecord&) const = default;
};

// What an executable id of a host means. One content may lie at several paths.
struct ExecutableRecord {
  uint64_t id = 0;
  Digest digest{};
  Digest script{};  // zero: none
  std::string name;
  std::string path;     // empty: not known
  std::string package;  // empty: not known
  bool trusted_path = false;
  std::vector<std::string> aliases;
  bool operator==(const ExecutableRecord&) const = default;
};

// A label id and an executable id that one process may show together; 0 for what is unknown.
using IdentityPair = std::pair<uint64_t, uint64_t>;

// All identity records of one host, under its signature. Lists are sorted, without repetition.
struct IdentityBundle {
  uint32_t host_id = 0;
  uint64_t sequence = 0;  // a newer bundle has a larger one
  int64_t issued_us = 0;
  std::vector<LabelRecord> labels;
  std::vector<ExecutableRecord> executables;
  std::vector<IdentityPair> pairs;
  Signature signature{};
  bool operator==(const IdentityBundle&) const = default;
};

inline constexpr size_t kMaxBundleBytes = 16 << 20;
inline constexpr size_t kMaxBundleLabels = 4096;
inline constexpr size_t kMaxBundleExecutables = 16384;
inline constexpr size_t kMaxBundlePairs = 32768;

void SortBundle(IdentityBundle* bundle);
std::string BundlePayload(const IdentityBundle& bundle);
// InvalidArgument: not signed with `key`, an id that does not follow from what it is said to mean,
// an unsorted list, or a pair of ids without records; names the entry.
absl::Status VerifyBundle(const IdentityBundle& bundle, const PublicKey& key, const Salt& salt);

// The file form. Reading does not verify.
std::string BundleText(const IdentityBundle& bundle);
absl::StatusOr<IdentityBundle> ReadBundle(std::string_view text, std::string_view file);
// For the store: payload and signature.
std::string EncodeBundle(const IdentityBundle& bundle);
absl::StatusOr<IdentityBundle> DecodeBundle(std::string_view bytes);

}  // namespace mseg

#endif  // MSEG_DAEMON_IDENTITY_BUNDLE_H_
