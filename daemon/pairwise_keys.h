// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_PAIRWISE_KEYS_H_
#define MSEG_DAEMON_PAIRWISE_KEYS_H_

#include <cstdint>
#include <map>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/host_identity.h"
#include "mseg/abi.h"

namespace mseg {

// The keys of this host's handshakes with each other one. For a pair of hosts a and b with a <= b,
//   pair = BLAKE2b-256(key X25519(a, b); "mseg pairwise key v1", id a, id b, key a, key b)
//   key of time slot n = BLAKE2b-128(key pair; "mseg slot key v1", n)
// with numbers big endian, so both ends come to the same without a word between them, and a key of
// one slot tells nothing of another. A host has one with itself too: NAT can lead it back.
class PairwiseKeys {
 public:
  PairwiseKeys(const HostIdentity& identity, uint32_t own_id);

  // InvalidArgument: its key is none. What was there under its id is replaced.
  absl::Status Add(uint32_t host_id, const PublicKey& exchange_key);
  void KeepOnly(const std::set<uint32_t>& host_ids);

  // Every host with its keys of slots `now` - 1 to `now` + 14, each at its number modulo 16. `now`
  // is not 0. `visit(host_id, keys)`; the keys are wiped after it.
  template <typename Visit>
  void ForEach(uint64_t now, Visit visit) const {
    for (const auto& [id, pair] : pairs_) {
      mseg_host_keys keys;
      Fill(pair.secret, now, &keys);
      visit(id, keys);
      Wipe(&keys);
    }
  }
  size_t size() const { return pairs_.size(); }

 private:
  struct Pair {
    PublicKey exchange_key{};
    Secret secret;
  };
  static void Fill(const Secret& pair, uint64_t now, mseg_host_keys* keys);
  static void Wipe(mseg_host_keys* keys);

  const HostIdentity& identity_;
  const uint32_t own_id_;
  std::map<uint32_t, Pair> pairs_;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_PAIRWISE_KEYS_H_
