// SPDX-License-Identifier: Apache-2.0
#include "loader/wire_tables.h"

#include <bpf/bpf.h>
#include <sodium/utils.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "loader/errno_status.h"
#include "loader/map_view.h"

namespace mseg {
namespace {

constexpr size_t kBatch = 4096;

template <typename Value>
bool SameBytes(const Value& a, const Value& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

template <typename Key>
bool LessBytes(const Key& a, const Key& b) {
  return std::memcmp(&a, &b, sizeof(a)) < 0;
}

// What is the same before and after is not touched.
template <typename Key, typename Value>
absl::Status Replace(const MapView<Key, Value>& map,
                     absl::Span<const std::pair<Key, Value>> entries) {
  using Entry = std::pair<Key, Value>;
  std::vector<Entry> wanted(entries.begin(), entries.end());
  const auto by_key = [](const Entry& a, const Entry& b) { return LessBytes(a.first, b.first); };
  std::sort(wanted.begin(), wanted.end(), by_key);
  auto there = map.Dump();
  if (!there.ok()) return there.status();
  std::sort(there->begin(), there->end(), by_key);
  std::vector<Entry> write;
  for (const Entry& entry : wanted) {
    const auto at = std::lower_bound(there->begin(), there->end(), entry, by_key);
    const bool same = at != there->end() && SameBytes(at->first, entry.first) &&
                      SameBytes(at->second, entry.second);
    if (!same) write.push_back(entry);
  }
  for (const Entry& entry : *there) {
    if (!std::binary_search(wanted.begin(), wanted.end(), entry, by_key)) {
      MSEG_RETURN_IF_ERROR(map.Delete(entry.first));
    }
  }
  return map.UpdateAll(write);
}

}  // namespace

absl::Status WireTables::SetWire(const mseg_wire& wire) const {
  return dataplane_.View<uint32_t, mseg_wire>("mseg_wire").Update(0, wire);
}

absl::Status WireTables::SetHosts(absl::Span<const uint32_t> ids,
                                  absl::Span<const mseg_host_keys> keys) const {
  const auto map = dataplane_.View<uint32_t, mseg_host_keys>("mseg_hosts");
  std::vector<uint32_t> wanted(ids.begin(), ids.end());
  std::sort(wanted.begin(), wanted.end());
  auto there = map.Dump();
  if (!there.ok()) return there.status();
  absl::Status status;
  for (auto& [id, old] : *there) {
    sodium_memzero(&old, sizeof(old));
    if (status.ok() && !std::binary_search(wanted.begin(), wanted.end(), id)) {
      status = map.Delete(id);
    }
  }
  MSEG_RETURN_IF_ERROR(status);
  return UpdateHosts(ids, keys);
}

// Straight from the caller's arrays: a copy of a key is one more to wipe.
absl::Status WireTables::UpdateHosts(absl::Span<const uint32_t> ids,
                                     absl::Span<const mseg_host_keys> keys) const {
  if (ids.size() != keys.size()) return absl::InternalError("hosts and keys differ in number");
  const int fd = dataplane_.MapFd("mseg_hosts");
  for (size_t at = 0; at < ids.size(); at += kBatch) {
    uint32_t count = static_cast<uint32_t>(std::min(kBatch, ids.size() - at));
    if (bpf_map_update_batch(fd, &ids[at], &keys[at], &count, nullptr) != 0) {
      return ErrnoStatus(
          errno, absl::StrCat("write the keys of ", ids.size(), " hosts to map mseg_hosts"));
    }
  }
  return absl::OkStatus();
}

absl::Status WireTables::SetFingerprints(
    absl::Span<const std::pair<mseg_fingerprint_key, mseg_fingerprint_value>> entries) const {
  return Replace(dataplane_.View<mseg_fingerprint_key, mseg_fingerprint_value>("mseg_fingerprints"),
                 entries);
}

absl::Status WireTables::SetPaths(
    absl::Span<const std::pair<mseg_address_key, uint32_t>> entries) const {
  return Replace(dataplane_.View<mseg_address_key, uint32_t>("mseg_paths"), entries);
}

absl::Status WireTables::SetHostAddresses(
    absl::Span<const std::pair<mseg_host_address, uint32_t>> entries) const {
  return Replace(dataplane_.View<mseg_host_address, uint32_t>("mseg_host_addresses"), entries);
}

// Whoever signs between the two takes a number far below: `slack` is more than a moment's worth.
absl::Status WireTables::RaiseSequence(uint64_t number, uint64_t slack) const {
  const auto map = dataplane_.View<uint32_t, uint64_t>("mseg_udp_sequence");
  const auto now = map.Lookup(0);
  if (!now.ok()) return now.status();
  return now->value_or(0) + slack < number ? map.Update(0, number) : absl::OkStatus();
}

absl::StatusOr<std::vector<mseg_forms>> WireTables::Forms() const {
  auto entries = dataplane_.View<uint32_t, mseg_forms>("mseg_forms").Dump();
  if (!entries.ok()) return entries.status();
  std::vector<mseg_forms> forms(MSEG_FORM_WORDS);
  for (const auto& [at, word] : *entries) {
    if (at < forms.size()) forms[at] = word;
  }
  return forms;
}

absl::Status WireTables::SetForms(absl::Span<const mseg_forms> forms) const {
  std::vector<std::pair<uint32_t, mseg_forms>> entries;
  for (uint32_t i = 0; i < forms.size(); i++) entries.emplace_back(i, forms[i]);
  return dataplane_.View<uint32_t, mseg_forms>("mseg_forms").UpdateAll(entries);
}

}  // namespace mseg
