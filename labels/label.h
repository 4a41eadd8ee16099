// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_LABEL_H_
#define MSEG_LABELS_LABEL_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mseg {

// The fleet's salt: keys every short id, so that ids cannot be ground offline. A stand-alone host
// draws its own.
using Salt = std::array<uint8_t, 32>;
using Digest = std::array<uint8_t, 32>;  // SHA-256

// A canonical label set: keys sorted, each once, UTF-8 as written. The four first-class keys (loc,
// env, app, role) come first in its text, in that order.
class LabelSet {
 public:
  LabelSet() = default;

  // Fails (InvalidArgument) for an empty key, and for a key or value that is too long (330 / 253
  // bytes), not UTF-8 in normal form C, or holds characters outside the documented set, and for a
  // key under `mseg/`. An empty value is one like others, and not the same as none.
  absl::Status Set(std::string_view key, std::string_view value);
  // For labels that mseg itself gives (keys under `mseg/`).
  void SetReserved(std::string_view key, std::string_view value);

  const std::map<std::string, std::string, std::less<>>& values() const { return values_; }
  bool empty() const { return values_.empty(); }
  // `app=order,role=db`; the empty set is the empty string.
  std::string Text() const;
  bool operator==(const LabelSet&) const = default;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

// What mseg says of a process by itself, each `true`: two Workloads contradict each other about one
// of its labels; it is a thread of the kernel's.
inline constexpr std::string_view kConflictKey = "mseg/conflict";
inline constexpr std::string_view kKernelKey = "mseg/kernel";
inline bool IsGivenKey(std::string_view key) { return key == kConflictKey || key == kKernelKey; }

// What Set() demands of a key and of a value, for selectors too (where `mseg/` is no offence).
absl::Status CheckLabelKey(std::string_view key);
absl::Status CheckLabelValue(std::string_view value);

// 48 bits of BLAKE2b keyed with `salt` over the canonical text. Never 0.
uint64_t LabelId(const Salt& salt, const LabelSet& labels);
// 48 bits of BLAKE2b keyed with `salt` over (exe digest, script digest or zero). Never 0.
uint64_t ExecutableId(const Salt& salt, const Digest& exe, const Digest& script);

// `sha256:HEX`, lower case, and back.
std::string DigestText(const Digest& digest);
absl::StatusOr<Digest> ParseDigest(std::string_view text);

}  // namespace mseg

#endif  // MSEG_LABELS_LABEL_H_
