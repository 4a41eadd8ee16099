// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_HOST_IDENTITY_H_
#define MSEG_DAEMON_HOST_IDENTITY_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/host_record.h"
#include "daemon/identity_bundle.h"
#include "labels/label.h"

namespace mseg {

// 32 bytes that nobody else may see, wiped when they go.
class Secret {
 public:
  Secret() = default;
  ~Secret();
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;

  uint8_t* data() { return bytes_.data(); }
  const uint8_t* data() const { return bytes_.data(); }
  static constexpr size_t size() { return 32; }

 private:
  std::array<uint8_t, 32> bytes_{};
};

// The private keys of this host: the file host.key in the state directory. They are nowhere else:
// not in the store, which will be exchanged between hosts, and not on any socket.
class HostIdentity {
 public:
  static absl::StatusOr<HostIdentity> Generate();
  // Nothing where there is no file. FailedPrecondition: readable for others, or of somebody else;
  // DataLoss: not what Save() wrote.
  static absl::StatusOr<std::optional<HostIdentity>> Load(const std::string& path);
  // Mode 0600, on disk when it returns, the old file or the new one at any time.
  absl::Status Save(const std::string& path) const;

  const PublicKey& signing_key() const { return signing_key_; }
  const PublicKey& exchange_key() const { return exchange_key_; }
  // Do these keys belong to the record?
  bool Matches(const HostRecord& record) const;

  // Fills in the keys and the signature.
  void Sign(HostRecord* record) const;
  void Sign(IdentityBundle* bundle) const;
  // X25519. InvalidArgument: a key that is none.
  absl::StatusOr<Secret> Agree(const PublicKey& other) const;

 private:
  HostIdentity() = default;
  absl::Status Derive();
  Signature SignatureOf(const std::string& payload) const;

  Secret signing_seed_;
  Secret exchange_secret_;
  PublicKey signing_key_{};
  PublicKey exchange_key_{};
};

// The salt that all hosts of a fleet share: 64 hexadecimal digits in a file that only its owner,
// root or this user, can read.
absl::StatusOr<Salt> ReadFleetSalt(const std::string& path);

}  // namespace mseg

#endif  // MSEG_DAEMON_HOST_IDENTITY_H_
