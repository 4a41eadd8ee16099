// SPDX-License-Identifier: Apache-2.0
#include "loader/policy_tables.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "mseg/decide.h"

namespace mseg {
namespace {

void SetSide(mseg_cgroup_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_exe_class_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }
void SetSide(mseg_user_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_identity_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_address_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }
void SetSide(mseg_peer_label_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_peer_exe_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }
void SetSide(mseg_row_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }

uint32_t SideOf(const mseg_cgroup_key& key) { return key.side; }
uint32_t SideOf(const mseg_exe_class_key& key) { return key.side; }
uint32_t SideOf(const mseg_user_key& key) { return key.side; }
uint32_t SideOf(const mseg_identity_key& key) { return key.side; }
uint32_t SideOf(const mseg_address_key& key) { return key.side; }
uint32_t SideOf(const mseg_peer_label_key& key) { return key.side; }
uint32_t SideOf(const mseg_peer_exe_key& key) { return key.side; }
uint32_t SideOf(const mseg_row_key& key) { return key.side; }

template <typename T>
int Compare(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T));
}

template <typename Key, typename Value>
using Entries = std::vector<std::pair<Key, Value>>;

template <typename Key, typename Value>
void SortByKey(Entries<Key, Value>* entries) {
  std::sort(entries->begin(), entries->end(),
            [](const auto& a, const auto& b) { return Compare(a.first, b.first) < 0; });
}

// What one side of a map holds, as images are: sorted, side 0 in the keys.
template <typename Key, typename Value>
absl::StatusOr<Entries<Key, Value>> ReadSide(const MapView<Key, Value>& map, uint32_t side) {
  auto all = map.Dump();
  if (!all.ok()) return all.status();
  std::erase_if(*all, [side](const auto& entry) { return SideOf(entry.first) != side; });
  for (auto& entry : *all) SetSide(&entry.first, 0);
  SortByKey(&*all);
  return all;
}

// What must be written and deleted to get from one table to another. Both are sorted.
template <typename Key, typename Value>
struct Difference {
  std::vector<Key> gone;
  Entries<Key, Value> changed;
};
template <typename Key, typename Value>
Difference<Key, Value> Compare(absl::Span<const std::pair<Key, Value>> have,
                               absl::Span<const std::pair<Key, Value>> want) {
  Difference<Key, Value> out;
  size_t h = 0;
  for (const auto& entry : want) {
    int order = 1;
    for (; h < have.size() && (order = Compare(have[h].first, entry.first)) < 0; h++) {
      out.gone.push_back(have[h].first);
    }
    const bool there = h < have.size() && order == 0;
    if (!there || Compare(have[h].second, entry.second) != 0) out.changed.push_back(entry);
    if (there) h++;
  }
  for (; h < have.size(); h++) out.gone.push_back(have[h].first);
  return out;
}

absl::Status Differs(absl::string_view table) {
  return absl::DataLossError(absl::StrCat("table ", table,
                                          " in the kernel differs from what was written; the old "
                                          "generation stays in force"));
}

// A table in a hash map or trie whose keys name the side.
template <typename Key, typename Value>
class KeyedTable {
 public:
  using Span = absl::Span<const std::pair<Key, Value>>;
  // `shared`: somebody else adds entries too; leave what is not wanted.
  KeyedTable(MapView<Key, Value> map, absl::string_view name, uint32_t side, bool shared = false)
      : map_(map), name_(name), side_(side), shared_(shared) {}

  absl::Status Stage(Span want, const Span* known) const {
    auto difference = DifferenceTo(want, known);
    if (!difference.ok()) return difference.status();
    for (Key& key : difference->gone) {
      SetSide(&key, side_);
      if (!shared_) MSEG_RETURN_IF_ERROR(map_.Delete(key));
    }
    for (auto& entry : difference->changed) SetSide(&entry.first, side_);
    return map_.UpdateAll(difference->changed);
  }

  absl::Status Verify(Span want, const Span* known) const {
    if (known == nullptr) {
      auto difference = DifferenceTo(want, nullptr);
      if (!difference.ok()) return difference.status();
      const bool extra = !shared_ && !difference->gone.empty();
      return extra || !difference->changed.empty() ? Differs(name_) : absl::OkStatus();
    }
    const Difference<Key, Value> written = Compare(*known, want);
    // A trie answers with the prefix around the one that is gone.
    constexpr bool kTrie = std::is_same_v<Key, mseg_address_key>;
    for (Key key : written.gone) {
      if (kTrie) break;
      SetSide(&key, side_);
      auto found = map_.Lookup(key);
      if (!found.ok()) return found.status();
      if (found->has_value() && !shared_) return Differs(name_);
    }
    MSEG_RETURN_IF_ERROR(Check(written.changed, kAllChanges));
    return Check(want, kSample);
  }

 private:
  static constexpr size_t kAllChanges = 4096;
  static constexpr size_t kSample = 64;

  absl::StatusOr<Difference<Key, Value>> DifferenceTo(Span want, const Span* known) const {
    if (known != nullptr) return Compare(*known, want);
    // What is not wanted stays, so nobody need look for it; reading a map looks at every bucket.
    if (shared_ && want.size() < kAllChanges) return Missing(want);
    auto have = ReadSide(map_, side_);
    if (!have.ok()) return have.status();
    return Compare<Key, Value>(*have, want);
  }

  absl::StatusOr<Difference<Key, Value>> Missing(Span want) const {
    Difference<Key, Value> out;
    for (const auto& entry : want) {
      Key key = entry.first;
      SetSide(&key, side_);
      auto found = map_.Lookup(key);
      if (!found.ok()) return found.status();
      if (!found->has_value() || Compare(**found, entry.second) != 0) out.changed.push_back(entry);
    }
    return out;
  }

  // Up to `most` entries, spread over the table.
  absl::Status Check(Span entries, size_t most) const {
    const size_t stride = entries.size() / most + 1;
    for (size_t i = 0; i < entries.size(); i += stride) {
      Key key = entries[i].first;
      SetSide(&key, side_);
      auto found = map_.Lookup(key);
      if (!found.ok()) return found.status();
      if (!found->has_value() || Compare(**found, entries[i].second) != 0) return Differs(name_);
    }
    return absl::OkStatus();
  }

  MapView<Key, Value> map_;
  absl::string_view name_;
  uint32_t side_;
  bool shared_;
};

// A table in an array of both sides, `size` elements each; what is left out is zero.
template <typename Value>
class ArrayTable {
 public:
  using Span = absl::Span<const std::pair<uint32_t, Value>>;
  ArrayTable(MapView<uint32_t, Value> map, absl::string_view name, uint32_t side, uint32_t size)
      : map_(map), name_(name), base_(side * size), size_(size) {}

  absl::Status Stage(Span want, const Span* known) const {
    auto difference = DifferenceTo(want, known);
    if (!difference.ok()) return difference.status();
    Entries<uint32_t, Value> writes;
    for (const uint32_t number : difference->gone) writes.emplace_back(base_ + number, Value{});
    for (const auto& [number, value] : difference->changed) {
      writes.emplace_back(base_ + number, value);
    }
    return map_.UpdateAll(writes);
  }

  absl::Status Verify(Span want, const Span* known) const {
    if (known == nullptr) {
      auto difference = DifferenceTo(want, nullptr);
      if (!difference.ok()) return difference.status();
      const bool same = difference->gone.empty() && difference->changed.empty();
      return same ? absl::OkStatus() : Differs(name_);
    }
    const Difference<uint32_t, Value> written = CompareNumbers(*known, want);
    for (const uint32_t number : written.gone) {
      MSEG_RETURN_IF_ERROR(Check(number, Value{}));
    }
    for (const auto& [number, value] : written.changed) MSEG_RETURN_IF_ERROR(Check(number, value));
    return absl::OkStatus();
  }

 private:
  // Numbers sort by value, not by their bytes.
  static Difference<uint32_t, Value> CompareNumbers(Span have, Span want) {
    Difference<uint32_t, Value> out;
    size_t h = 0;
    for (const auto& entry : want) {
      for (; h < have.size() && have[h].first < entry.first; h++) out.gone.push_back(have[h].first);
      const bool there = h < have.size() && have[h].first == entry.first;
      if (!there || Compare(have[h].second, entry.second) != 0) out.changed.push_back(entry);
      if (there) h++;
    }
    for (; h < have.size(); h++) out.gone.push_back(have[h].first);
    return out;
  }

  absl::StatusOr<Difference<uint32_t, Value>> DifferenceTo(Span want, const Span* known) const {
    if (known != nullptr) return CompareNumbers(*known, want);
    auto all = map_.Dump();
    if (!all.ok()) return all.status();
    Entries<uint32_t, Value> have;
    for (const auto& [place, value] : *all) {
      if (place < base_ || place >= base_ + size_ || Compare(value, Value{}) == 0) continue;
      have.emplace_back(place - base_, value);
    }
    std::sort(have.begin(), have.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return CompareNumbers(have, want);
  }

  absl::Status Check(uint32_t number, const Value& value) const {
    auto found = map_.Lookup(base_ + number);
    if (!found.ok()) return found.status();
    return found->has_value() && Compare(**found, value) == 0 ? absl::OkStatus() : Differs(name_);
  }

  MapView<uint32_t, Value> map_;
  absl::string_view name_;
  uint32_t base_;
  uint32_t size_;
};

// {space << 16 | port} -> class, as the array's blocks; those that are all zero left out.
Entries<uint32_t, mseg_port_block> PortBlocks(
    absl::Span<const std::pair<uint32_t, uint16_t>> ports) {
  Entries<uint32_t, mseg_port_block> blocks;
  for (const auto& [port, cls] : ports) {
    const uint32_t number = port / MSEG_PORT_BLOCK;
    if (blocks.empty() || blocks.back().first != number) blocks.emplace_back().first = number;
    blocks.back().second.cls[port % MSEG_PORT_BLOCK] = cls;
  }
  return blocks;
}

// The kernel waits for a grace period whenever a map of maps was written to, so that whoever wrote
// knows that no program uses what was there before.
absl::Status WaitByMapOfMaps() {
  constexpr uint32_t kEntries = 1, kZero = 0;
  const ScopedFd inner(bpf_map_create(BPF_MAP_TYPE_ARRAY, "mseg_grace", sizeof(uint32_t),
                                      sizeof(uint32_t), kEntries, nullptr));
  LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = static_cast<uint32_t>(inner.get()));
  const ScopedFd outer(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "mseg_grace", sizeof(uint32_t),
                                      sizeof(uint32_t), kEntries, &options));
  const int value = inner.get();
  if (!inner.ok() || !outer.ok() ||
      bpf_map_update_elem(outer.get(), &kZero, &value, BPF_ANY) != 0) {
    return ErrnoStatus(errno, "wait for running programs by a map of maps");
  }
  return absl::OkStatus();
}

// After this, no program that read the old generation word is still running: programs that decide
// are not sleepable and run under RCU, and this waits for a grace period of it. Kernels with
// processors without a tick (nohz_full) have no such membarrier.
absl::Status WaitForReaders() {
  constexpr int kGlobal = MEMBARRIER_CMD_GLOBAL;
  if (syscall(SYS_membarrier, kGlobal, 0, 0) == 0) return absl::OkStatus();
  if (errno != EINVAL && errno != ENOSYS) return ErrnoStatus(errno, "membarrier");
  return WaitByMapOfMaps();
}

// The maps of one side. Names of the maps, in one place.
struct Tables {
  Tables(const Dataplane& d, uint32_t side)
      : cgroups(d.View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups"), "cgroups", side,
                /*shared=*/true),  // they come and go in the kernel by themselves (cgroup.bpf.c)
        exe_classes(d.View<mseg_exe_class_key, uint64_t>("mseg_exe_classes"), "exe_classes", side),
        users(d.View<mseg_user_key, uint32_t>("mseg_users"), "users", side),
        identities(d.View<mseg_identity_key, mseg_identity_value>("mseg_identities"), "identities",
                   side),
        peer_labels(d.View<mseg_peer_label_key, mseg_peer_label>("mseg_peer_labels"), "peer_labels",
                    side),
        peer_exes(d.View<mseg_peer_exe_key, uint64_t>("mseg_peer_exes"), "peer_exes", side),
        addresses(d.View<mseg_address_key, uint32_t>("mseg_addresses"), "addresses", side),
        ports(d.View<uint32_t, mseg_port_block>("mseg_ports"), "ports", side, MSEG_PORT_BLOCKS / 2),
        classes(d.View<uint32_t, mseg_class>("mseg_classes"), "classes", side, MSEG_CLASSES),
        groups(d.View<uint32_t, mseg_coarse>("mseg_groups"), "groups", side, MSEG_GROUPS),
        tails(d.View<uint32_t, mseg_coarse>("mseg_tails"), "tails", side, MSEG_TAILS),
        rows(d.View<mseg_row_key, mseg_row>("mseg_rows"), "rows", side) {}

  // Calls `step(table, want, known)` for each of them. Executables and cgroups are entered one by
  // one between generations as well, so what an image says is not what is there: they are read.
  template <typename Step>
  absl::Status ForEach(const TableSet& want, const TableSet* known, Step step) const {
    const auto ports_wanted = PortBlocks(want.ports);
    const auto ports_known =
        known == nullptr ? Entries<uint32_t, mseg_port_block>() : PortBlocks(known->ports);
    const absl::Span<const std::pair<uint32_t, mseg_port_block>> known_blocks = ports_known;
    MSEG_RETURN_IF_ERROR(step(cgroups, want.cgroups, nullptr));
    MSEG_RETURN_IF_ERROR(step(exe_classes, want.exe_classes, nullptr));
    MSEG_RETURN_IF_ERROR(step(users, want.users, known == nullptr ? nullptr : &known->users));
    MSEG_RETURN_IF_ERROR(
        step(identities, want.identities, known == nullptr ? nullptr : &known->identities));
    MSEG_RETURN_IF_ERROR(
        step(peer_labels, want.peer_labels, known == nullptr ? nullptr : &known->peer_labels));
    MSEG_RETURN_IF_ERROR(
        step(peer_exes, want.peer_exes, known == nullptr ? nullptr : &known->peer_exes));
    MSEG_RETURN_IF_ERROR(
        step(addresses, want.addresses, known == nullptr ? nullptr : &known->addresses));
    MSEG_RETURN_IF_ERROR(
        step(ports, absl::MakeConstSpan(ports_wanted), known == nullptr ? nullptr : &known_blocks));
    MSEG_RETURN_IF_ERROR(step(classes, want.classes, known == nullptr ? nullptr : &known->classes));
    MSEG_RETURN_IF_ERROR(step(groups, want.groups, known == nullptr ? nullptr : &known->groups));
    MSEG_RETURN_IF_ERROR(step(tails, want.tails, known == nullptr ? nullptr : &known->tails));
    return step(rows, want.rows, known == nullptr ? nullptr : &known->rows);
  }

  KeyedTable<mseg_cgroup_key, mseg_cgroup> cgroups;
  KeyedTable<mseg_exe_class_key, uint64_t> exe_classes;
  KeyedTable<mseg_user_key, uint32_t> users;
  KeyedTable<mseg_identity_key, mseg_identity_value> identities;
  KeyedTable<mseg_peer_label_key, mseg_peer_label> peer_labels;
  KeyedTable<mseg_peer_exe_key, uint64_t> peer_exes;
  KeyedTable<mseg_address_key, uint32_t> addresses;
  ArrayTable<mseg_port_block> ports;
  ArrayTable<mseg_class> classes;
  ArrayTable<mseg_coarse> groups;
  ArrayTable<mseg_coarse> tails;
  KeyedTable<mseg_row_key, mseg_row> rows;
};

}  // namespace

absl::StatusOr<uint32_t> PolicyTables::Generation() const {
  auto active = dataplane_.active().Lookup(0);
  if (!active.ok()) return active.status();
  return (*active)->generation;
}

absl::Status PolicyTables::Stage(const TableSet& tables, const TableSet* standby) const {
  auto generation = Generation();
  if (!generation.ok()) return generation.status();
  return Tables(dataplane_, MSEG_SIDE(*generation + 1))
      .ForEach(tables, standby, [](const auto& table, const auto& want, auto known) {
        return table.Stage(want, known);
      });
}

absl::Status PolicyTables::Verify(const TableSet& tables, const TableSet* standby) const {
  auto generation = Generation();
  if (!generation.ok()) return generation.status();
  return Tables(dataplane_, MSEG_SIDE(*generation + 1))
      .ForEach(tables, standby, [](const auto& table, const auto& want, auto known) {
        return table.Verify(want, known);
      });
}

absl::StatusOr<uint32_t> PolicyTables::Flip() const {
  auto generation = Generation();
  if (!generation.ok()) return generation.status();
  mseg_active next{};
  next.generation = *generation + 1;
  // 0 means that there is no generation; skipping two keeps the side.
  if (next.generation == 0) next.generation = 2;
  MSEG_RETURN_IF_ERROR(dataplane_.active().Update(0, next));
  MSEG_RETURN_IF_ERROR(WaitForReaders());
  return next.generation;
}

absl::Status PolicyTables::SetCgroup(uint64_t id, const mseg_cgroup& value) const {
  const auto cgroups = dataplane_.View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups");
  for (uint32_t side = 0; side < 2; side++) {
    mseg_cgroup_key key{};
    key.id = id;
    key.side = side;
    MSEG_RETURN_IF_ERROR(cgroups.Update(key, value));
  }
  return absl::OkStatus();
}

absl::Status PolicyTables::ForgetCgroup(uint64_t id) const {
  const auto cgroups = dataplane_.View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups");
  for (uint32_t side = 0; side < 2; side++) {
    mseg_cgroup_key key{};
    key.id = id;
    key.side = side;
    MSEG_RETURN_IF_ERROR(cgroups.Delete(key));
  }
  return absl::OkStatus();
}

absl::Status PolicyTables::SetExeClass(uint32_t ref, mseg_grade grade, uint64_t cls) const {
  const auto exe_classes = dataplane_.View<mseg_exe_class_key, uint64_t>("mseg_exe_classes");
  for (uint32_t side = 0; side < 2; side++) {
    mseg_exe_class_key key{};
    key.ref = ref;
    key.grade = static_cast<uint8_t>(grade);
    key.side = static_cast<uint8_t>(side);
    MSEG_RETURN_IF_ERROR(exe_classes.Update(key, cls));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> PolicyTables::AddressClass(const uint8_t (&address)[16]) const {
  auto generation = Generation();
  if (!generation.ok()) return generation.status();
  mseg_address_key key{};
  key.prefixlen = MSEG_ADDRESS_MAX_PREFIX;
  key.side = static_cast<uint8_t>(MSEG_SIDE(*generation));
  std::memcpy(key.addr, address, sizeof(key.addr));
  auto cls = dataplane_.View<mseg_address_key, uint32_t>("mseg_addresses").Lookup(key);
  if (!cls.ok()) return cls.status();
  return cls->value_or(0);
}

}  // namespace mseg
