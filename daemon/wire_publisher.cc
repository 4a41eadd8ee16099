// SPDX-License-Identifier: Apache-2.0
#include "daemon/wire_publisher.h"

#include <sodium.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "loader/errno_status.h"
#include "mseg/tcp_option.h"

namespace mseg {
namespace {

constexpr size_t kMaxFingerprints = 262144;  // of map mseg_fingerprints
constexpr std::chrono::milliseconds kLongestSoftirq(50);
constexpr uint64_t kSequenceSlackUs = 60'000'000;

int64_t NowNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

// What to add to the monotonic clock, which is all that BPF has on every kernel.
int64_t WallOffsetNs() {
  const int64_t before = NowNs(CLOCK_MONOTONIC);
  const int64_t wall = NowNs(CLOCK_REALTIME);
  const int64_t after = NowNs(CLOCK_MONOTONIC);
  return wall - (before + (after - before) / 2);
}

}  // namespace

WirePublisher::WirePublisher(const Dataplane& dataplane, const RemoteDirectory& directory,
                             const WireConfig& config, mseg_mode mode)
    : directory_(directory), config_(config), mode_(mode), tables_(dataplane) {}

// Keys and paths are there before the word that has them used.
absl::Status WirePublisher::Publish(const OwnIdentities& own) {
  if (directory_.identity() == nullptr) {
    MSEG_RETURN_IF_ERROR(tables_.SetWire({}));
    keys_.reset();
    MSEG_RETURN_IF_ERROR(tables_.SetHosts({}, {}));
    return tables_.SetFingerprints({});
  }
  MSEG_RETURN_IF_ERROR(PublishPaths());
  MSEG_RETURN_IF_ERROR(PublishForms());
  MSEG_RETURN_IF_ERROR(PublishAddresses());
  MSEG_RETURN_IF_ERROR(PublishFingerprints(own));
  MSEG_RETURN_IF_ERROR(TakeHosts());
  MSEG_RETURN_IF_ERROR(PublishKeys(/*all=*/true));
  return PublishClock();
}

absl::Status WirePublisher::PublishPaths() const {
  std::vector<std::pair<mseg_address_key, uint32_t>> entries;
  for (const WireConfig::Path& path : config_.paths) {
    mseg_address_key key{};
    key.prefixlen = 8u + path.cidr.bits;
    std::copy(path.cidr.address.begin(), path.cidr.address.end(), key.addr);
    entries.emplace_back(key, path.flags);
  }
  return tables_.SetPaths(entries);
}

// Behind a clock that was set right after the start, too, and not at each moment: what arrives
// behind a raised number counts as too old.
absl::Status WirePublisher::RaiseSequence() const {
  const uint64_t now_us = static_cast<uint64_t>(NowNs(CLOCK_REALTIME)) / 1000;
  return tables_.RaiseSequence(now_us * MSEG_SEQUENCES_PER_US,
                               kSequenceSlackUs * MSEG_SEQUENCES_PER_US);
}

// An address that several records name is nobody's: what is signed for the wrong host is refused.
absl::Status WirePublisher::PublishAddresses() const {
  std::map<IpAddress, std::set<uint32_t>> owners;
  if (CarriesDatagrams(config_)) {
    for (const IpAddress& address : directory_.own()->addresses) {
      owners[address].insert(directory_.own()->id);
    }
    for (const auto& [id, host] : directory_.hosts()) {
      for (const IpAddress& address : host.record.addresses) owners[address].insert(id);
    }
    MSEG_RETURN_IF_ERROR(RaiseSequence());
  }
  std::vector<std::pair<mseg_host_address, uint32_t>> entries;
  for (const auto& [address, ids] : owners) {
    if (ids.size() != 1) continue;
    mseg_host_address key{};
    std::copy(address.begin(), address.end(), key.addr);
    entries.emplace_back(key, *ids.begin());
  }
  return tables_.SetHostAddresses(entries);
}

// Both forms first where one takes the place of the other, until no handshake is between the two
// hooks any more: one must not leave to the other what that one takes for done.
absl::Status WirePublisher::PublishForms() const {
  const std::vector<mseg_forms> wanted = FormsOf(config_, mode_);
  auto there = tables_.Forms();
  if (!there.ok()) return there.status();
  std::vector<mseg_forms> both = wanted;
  bool changed = false;
  for (size_t i = 0; i < both.size(); i++) {
    changed |= (*there)[i].strict != wanted[i].strict || (*there)[i].fast != wanted[i].fast;
    both[i].strict |= (*there)[i].strict;
    both[i].fast |= (*there)[i].fast;
  }
  if (!changed) return absl::OkStatus();
  MSEG_RETURN_IF_ERROR(tables_.SetForms(both));
  std::this_thread::sleep_for(kLongestSoftirq);
  return tables_.SetForms(wanted);
}

absl::Status WirePublisher::PublishFingerprints(const OwnIdentities& own) {
  if (directory_.identity() == nullptr) return absl::OkStatus();
  std::vector<std::pair<mseg_fingerprint_key, mseg_fingerprint_value>> entries;
  std::set<std::pair<uint32_t, uint64_t>> seen;
  left_out_ = 0;
  const auto add = [&](uint32_t host_id, const IdentityPair& pair) {
    mseg_fingerprint_key key{};
    key.fingerprint = mseg_fingerprint(pair.first, pair.second);
    key.host_id = host_id;
    if (!seen.emplace(host_id, key.fingerprint).second) return;
    if (entries.size() >= kMaxFingerprints) {
      left_out_++;
      return;
    }
    entries.emplace_back(key, mseg_fingerprint_value{pair.first, pair.second});
  };
  for (const IdentityPair& pair : own.pairs) add(directory_.own()->id, pair);
  for (const auto& [host_id, stored] : directory_.bundles()) {
    for (const IdentityPair& pair : stored.bundle.pairs) add(host_id, pair);
  }
  return tables_.SetFingerprints(entries);
}

absl::Status WirePublisher::TakeHosts() {
  const HostIdentity& identity = *directory_.identity();
  const uint32_t own_id = directory_.own()->id;
  if (!keys_.has_value() || keys_of_ != identity.exchange_key() || keys_of_id_ != own_id) {
    keys_.emplace(identity, own_id);
    keys_of_ = identity.exchange_key();
    keys_of_id_ = own_id;
  }
  std::set<uint32_t> wanted = {own_id};
  MSEG_RETURN_IF_ERROR(keys_->Add(own_id, identity.exchange_key()));
  for (const auto& [id, host] : directory_.hosts()) {
    MSEG_RETURN_IF_ERROR(keys_->Add(id, host.record.exchange_key));
    wanted.insert(id);
  }
  keys_->KeepOnly(wanted);
  return absl::OkStatus();
}

absl::Status WirePublisher::PublishKeys(bool all) {
  const uint64_t slot_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(config_.epoch));
  const uint64_t slot = static_cast<uint64_t>(NowNs(CLOCK_REALTIME)) / slot_ns;
  if (!all && slot == slot_) return absl::OkStatus();
  std::vector<uint32_t> ids;
  std::vector<mseg_host_keys> keys;
  ids.reserve(keys_->size());
  keys.reserve(keys_->size());  // never moved: what is moved leaves a copy behind
  keys_->ForEach(slot, [&](uint32_t id, const mseg_host_keys& of_host) {
    ids.push_back(id);
    keys.push_back(of_host);
  });
  const absl::Status status = all ? tables_.SetHosts(ids, keys) : tables_.UpdateHosts(ids, keys);
  sodium_memzero(keys.data(), keys.size() * sizeof(mseg_host_keys));
  if (status.ok()) slot_ = slot;
  return status;
}

absl::Status WirePublisher::PublishClock() const {
  mseg_wire wire{};
  wire.host_id = directory_.own()->id;
  wire.kind = config_.kind;
  wire.exid = config_.exid;
  wire.default_path = static_cast<uint8_t>(config_.default_path);
  wire.wall_offset_ns = WallOffsetNs();
  wire.slot_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(config_.epoch));
  wire.has_paths = config_.paths.empty() ? 0 : 1;
  wire.udp = CarriesDatagrams(config_) ? 1 : 0;
  return tables_.SetWire(wire);
}

absl::Status WirePublisher::Tick() {
  if (directory_.identity() == nullptr || !keys_.has_value()) return absl::OkStatus();
  MSEG_RETURN_IF_ERROR(PublishKeys(/*all=*/false));
  if (CarriesDatagrams(config_)) MSEG_RETURN_IF_ERROR(RaiseSequence());
  return PublishClock();
}

}  // namespace mseg
