// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_HOST_RECORD_H_
#define MSEG_DAEMON_HOST_RECORD_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "labels/address.h"
#include "labels/label.h"

namespace mseg {

using PublicKey = std::array<uint8_t, 32>;
using Signature = std::array<uint8_t, 64>;  // Ed25519

inline constexpr uint32_t kMaxHostId = (1u << 24) - 1;

// Label sets that may be claimed: a set is permitted if some entry's every key has that entry's
// value in it. An empty list permits all. So a set that lacks a key of each entry is refused, the
// empty one included: whoever claims less must not get past a rule that denies more.
using Claims = std::vector<LabelSet>;
bool ClaimsPermit(const Claims& claims, const LabelSet& labels);
// `k=v,k=v`.
absl::StatusOr<LabelSet> ParseClaim(std::string_view text);
absl::StatusOr<Claims> ParseClaims(const std::vector<std::string>& texts);
std::vector<std::string> ClaimTexts(const Claims& claims);

// What a host says of itself, under its own signature. It proves nothing by itself: an operator's
// trust makes its keys count.
struct HostRecord {
  uint32_t id = 0;
  std::string name;
  PublicKey signing_key{};   // Ed25519
  PublicKey exchange_key{};  // X25519
  std::vector<IpAddress> addresses;
  Claims claims;
  int64_t issued_us = 0;  // microseconds since 1970
  Signature signature{};
  bool operator==(const HostRecord&) const = default;
};

// What the signature is over: all of the above but itself.
std::string HostRecordPayload(const HostRecord& record);
// InvalidArgument: fields that make no sense, or a signature that is not of this record.
absl::Status VerifyHostRecord(const HostRecord& record);

// The file form. Reading does not verify.
std::string HostRecordText(const HostRecord& record);
absl::StatusOr<HostRecord> ReadHostRecord(std::string_view text, std::string_view file);
// For the store: payload and signature.
std::string EncodeHostRecord(const HostRecord& record);
absl::StatusOr<HostRecord> DecodeHostRecord(std::string_view bytes);

}  // namespace mseg

#endif  // MSEG_DAEMON_HOST_RECORD_H_
