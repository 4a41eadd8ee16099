// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_STORE_HOSTS_H_
#define MSEG_DAEMON_STORE_HOSTS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/host_record.h"
#include "daemon/identity_bundle.h"
#include "daemon/store.h"

namespace mseg {

// The rows of the store that say who this host is, whom it trusts, and what their ids mean:
//   own          this host's record
//   sequence     of the last bundle that this host issued
//   trust/ID     TrustedHost; the id as 6 hexadecimal digits
//   records/ID   StoredBundle

struct Recorded {
  int64_t time_us = 0;
  std::string author{};
  std::optional<Peer> peer{};
  bool operator==(const Recorded&) const = default;
};

struct TrustedHost {
  HostRecord record{};
  Claims limits{};  // what the operator lets it claim, beside its own record
  Recorded by{};
  bool operator==(const TrustedHost&) const = default;
};

struct StoredBundle {
  IdentityBundle bundle{};
  Recorded by{};
  bool operator==(const StoredBundle&) const = default;
};

inline constexpr std::string_view kOwnRow = "own";
inline constexpr std::string_view kSequenceRow = "sequence";
inline constexpr std::string_view kTrustRows = "trust/";
inline constexpr std::string_view kBundleRows = "records/";
std::string TrustRow(uint32_t host_id);
std::string BundleRow(uint32_t host_id);

std::string EncodeTrustedHost(const TrustedHost& host);
absl::StatusOr<TrustedHost> DecodeTrustedHost(std::string_view bytes);
std::string EncodeStoredBundle(const StoredBundle& bundle);
absl::StatusOr<StoredBundle> DecodeStoredBundle(std::string_view bytes);

}  // namespace mseg

#endif  // MSEG_DAEMON_STORE_HOSTS_H_
