// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_WIRE_PUBLISHER_H_
#define MSEG_DAEMON_WIRE_PUBLISHER_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "daemon/own_identities.h"
#include "daemon/pairwise_keys.h"
#include "daemon/remote_directory.h"
#include "daemon/wire_config.h"
#include "loader/dataplane.h"
#include "loader/wire_tables.h"

namespace mseg {

// Keeps the kernel's tables of what travels between hosts at what the directory says. Keys are
// there for 14 time slots ahead, so a daemon that is dead costs nothing for so long.
class WirePublisher {
 public:
  WirePublisher(const Dataplane& dataplane, const RemoteDirectory& directory,
                const WireConfig& config, mseg_mode mode);
  WirePublisher(const WirePublisher&) = delete;
  WirePublisher& operator=(const WirePublisher&) = delete;

  // After the start, and whenever the directory changed.
  absl::Status Publish(const OwnIdentities& own);
  // Whenever only `own` did.
  absl::Status PublishFingerprints(const OwnIdentities& own);
  // Some times a second: the clock, and the keys of a new slot.
  absl::Status Tick();

  // Fingerprints that found no room.
  uint64_t left_out() const { return left_out_; }

 private:
  absl::Status PublishPaths() const;
  absl::Status PublishForms() const;
  absl::Status PublishAddresses() const;
  absl::Status RaiseSequence() const;
  absl::Status PublishClock() const;
  absl::Status PublishKeys(bool all);
  absl::Status TakeHosts();

  const RemoteDirectory& directory_;
  const WireConfig config_;
  const mseg_mode mode_;
  WireTables tables_;
  std::optional<PairwiseKeys> keys_;
  PublicKey keys_of_{};  // whose keys those are
  uint32_t keys_of_id_ = 0;
  uint64_t slot_ = 0;  // that the keys in the kernel are for
  uint64_t left_out_ = 0;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_WIRE_PUBLISHER_H_
