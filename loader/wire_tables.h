// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_WIRE_TABLES_H_
#define MSEG_LOADER_WIRE_TABLES_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/dataplane.h"
#include "mseg/abi.h"

namespace mseg {

// The maps of what travels between hosts: section "between hosts" of abi.h. They have one side;
// each entry is replaced whole, so that whoever reads meanwhile sees the old one or the new one.
class WireTables {
 public:
  explicit WireTables(const Dataplane& dataplane) : dataplane_(dataplane) {}

  // All zero: stand-alone.
  absl::Status SetWire(const mseg_wire& wire) const;

  // `ids[i]` has `keys[i]`, in batches. From now on these hosts and no others have keys.
  absl::Status SetHosts(absl::Span<const uint32_t> ids,
                        absl::Span<const mseg_host_keys> keys) const;
  // New keys of hosts that are there already.
  absl::Status UpdateHosts(absl::Span<const uint32_t> ids,
                           absl::Span<const mseg_host_keys> keys) const;

  // Exactly these. Keys of paths carry side 0.
  absl::Status SetFingerprints(
      absl::Span<const std::pair<mseg_fingerprint_key, mseg_fingerprint_value>> entries) const;
  absl::Status SetPaths(absl::Span<const std::pair<mseg_address_key, uint32_t>> entries) const;

  absl::Status SetHostAddresses(
      absl::Span<const std::pair<mseg_host_address, uint32_t>> entries) const;

  // The next number that a datagram is signed with: this one, if it is beyond by more than `slack`.
  absl::Status RaiseSequence(uint64_t number, uint64_t slack) const;

  // MSEG_FORM_WORDS of them.
  absl::StatusOr<std::vector<mseg_forms>> Forms() const;
  absl::Status SetForms(absl::Span<const mseg_forms> forms) const;

 private:
  const Dataplane& dataplane_;
};

}  // namespace mseg

#endif  // MSEG_LOADER_WIRE_TABLES_H_
