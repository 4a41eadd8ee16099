// SPDX-License-Identifier: Apache-2.0
#include "loader/policy_tables.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "mseg/decide.h"

namespace mseg {
namespace {

void SetSide(mseg_cgroup_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_exe_class_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }
void SetSide(mseg_user_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_identity_key* key, uint32_t side) { key->side = side; }
void SetSide(mseg_address_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }
void SetSide(mseg_row_key* key, uint32_t side) { key->side = static_cast<uint8_t>(side); }

uint32_t SideOf(const mseg_cgroup_key& key) { return key.side; }
uint32_t SideOf(const mseg_exe_class_key& key) { return key.side; }
uint32_t SideOf(const mseg_user_key& key) { return key.side; }
uint32_t SideOf(const mseg_identity_key& key) { return key.side; }
uint32_t SideOf(const mseg_address_key& key) { return key.side; }
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

template <typename Key, typename Value>
absl::StatusOr<Entries<Key, Value>> ReadSide(const MapView<Key, Value>& map, uint32_t side) {
  auto all = map.Dump();
  if (!all.ok()) return all.status();
  std::erase_if(*all, [side](const auto& entry) { return SideOf(entry.first) != side; });
  SortByKey(&*all);
  return all;
}

template <typename Key, typename Value>
Entries<Key, Value> Wanted(absl::Span<const std::pair<Key, Value>> table, uint32_t side) {
  Entries<Key, Value> wanted(table.begin(), table.end());
  for (auto& entry : wanted) SetSide(&entry.first, side);
  SortByKey(&wanted);
  return wanted;
}

struct Delta {
  bool keep_unknown = false;  // leave entries that are not wanted (somebody else's)
};

// Deletes, then writes, what differs between a side of the map and what is wanted there.
template <typename Key, typename Value>
absl::Status StageTable(const MapView<Key, Value>& map,
                        absl::Span<const std::pair<Key, Value>> table, uint32_t side,
                        Delta delta = {}) {
  auto have = ReadSide(map, side);
  if (!have.ok()) return have.status();
  const Entries<Key, Value> wanted = Wanted(table, side);
  Entries<Key, Value> changed;
  size_t h = 0;
  auto drop_before = [&](const Key* limit) -> absl::Status {
    for (; h < have->size() && (limit == nullptr || Compare((*have)[h].first, *limit) < 0); h++) {
      if (!delta.keep_unknown) MSEG_RETURN_IF_ERROR(map.Delete((*have)[h].first));
    }
    return absl::OkStatus();
  };
  for (const auto& entry : wanted) {
    MSEG_RETURN_IF_ERROR(drop_before(&entry.first));
    const bool there = h < have->size() && Compare((*have)[h].first, entry.first) == 0;
    if (!there || Compare((*have)[h].second, entry.second) != 0) changed.push_back(entry);
    if (there) h++;
  }
  MSEG_RETURN_IF_ERROR(drop_before(nullptr));
  return map.UpdateAll(changed);
}

template <typename Key, typename Value>
absl::Status VerifyTable(const MapView<Key, Value>& map,
                         absl::Span<const std::pair<Key, Value>> table, uint32_t side,
                         absl::string_view name, Delta delta = {}) {
  auto have = ReadSide(map, side);
  if (!have.ok()) return have.status();
  const Entries<Key, Value> wanted = Wanted(table, side);
  size_t h = 0;
  for (const auto& entry : wanted) {
    while (delta.keep_unknown && h < have->size() && Compare((*have)[h].first, entry.first) < 0)
      h++;
    if (h >= have->size() || Compare((*have)[h].first, entry.first) != 0 ||
        Compare((*have)[h].second, entry.second) != 0) {
      return absl::DataLossError(absl::StrCat("table ", name,
                                              " in the kernel differs from what was "
                                              "written; the old generation stays in force"));
    }
    h++;
  }
  if (h != have->size() && !delta.keep_unknown) {
    return absl::DataLossError(absl::StrCat("table ", name, " in the kernel has ", have->size(),
                                            " entries, ", wanted.size(),
                                            " were written; the old "
                                            "generation stays in force"));
  }
  return absl::OkStatus();
}

std::vector<mseg_port_block> PortBlocks(absl::Span<const std::pair<uint32_t, uint16_t>> ports) {
  std::vector<mseg_port_block> blocks(MSEG_PORT_BLOCKS / 2);
  for (const auto& [port, cls] : ports) {
    blocks[port / MSEG_PORT_BLOCK].cls[port % MSEG_PORT_BLOCK] = cls;
  }
  return blocks;
}

absl::Status StagePorts(const MapView<uint32_t, mseg_port_block>& map,
                        absl::Span<const std::pair<uint32_t, uint16_t>> ports, uint32_t side) {
  const std::vector<mseg_port_block> blocks = PortBlocks(ports);
  Entries<uint32_t, mseg_port_block> changed;
  for (uint32_t i = 0; i < blocks.size(); i++) {
    const uint32_t key = side * static_cast<uint32_t>(blocks.size()) + i;
    auto have = map.Lookup(key);
    if (!have.ok()) return have.status();
    if (!have->has_value() || Compare(**have, blocks[i]) != 0) changed.emplace_back(key, blocks[i]);
  }
  return map.UpdateAll(changed);
}

absl::Status VerifyPorts(const MapView<uint32_t, mseg_port_block>& map,
                         absl::Span<const std::pair<uint32_t, uint16_t>> ports, uint32_t side) {
  const std::vector<mseg_port_block> blocks = PortBlocks(ports);
  for (uint32_t i = 0; i < blocks.size(); i++) {
    auto have = map.Lookup(side * static_cast<uint32_t>(blocks.size()) + i);
    if (!have.ok()) return have.status();
    if (!have->has_value() || Compare(**have, blocks[i]) != 0) {
      return absl::DataLossError(
          "table ports in the kernel differs from what was written; the old generation stays in "
          "force");
    }
  }
  return absl::OkStatus();
}

// After this, no program that read the old generation word is still running: programs that decide
// are not sleepable and run under RCU, and this waits for a grace period of it.
absl::Status WaitForReaders() {
  constexpr int kGlobal = MEMBARRIER_CMD_GLOBAL;
  if (syscall(SYS_membarrier, kGlobal, 0, 0) != 0) return ErrnoStatus(errno, "membarrier");
  return absl::OkStatus();
}

// Names of the maps, in one place.
struct Views {
  explicit Views(const Dataplane& d)
      : cgroups(d.View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups")),
        exe_classes(d.View<mseg_exe_class_key, uint64_t>("mseg_exe_classes")),
        users(d.View<mseg_user_key, uint32_t>("mseg_users")),
        identities(d.View<mseg_identity_key, mseg_identity_value>("mseg_identities")),
        addresses(d.View<mseg_address_key, uint32_t>("mseg_addresses")),
        ports(d.View<uint32_t, mseg_port_block>("mseg_ports")),
        rows(d.View<mseg_row_key, mseg_row>("mseg_rows")) {}
  MapView<mseg_cgroup_key, mseg_cgroup> cgroups;
  MapView<mseg_exe_class_key, uint64_t> exe_classes;
  MapView<mseg_user_key, uint32_t> users;
  MapView<mseg_identity_key, mseg_identity_value> identities;
  MapView<mseg_address_key, uint32_t> addresses;
  MapView<uint32_t, mseg_port_block> ports;
  MapView<mseg_row_key, mseg_row> rows;
};

// Cgroups come and go in the kernel by themselves (cgroup.bpf.c).
constexpr Delta kShared{.keep_unknown = true};

}  // namespace

absl::StatusOr<uint32_t> PolicyTables::Generation() const {
  auto active = dataplane_.active().Lookup(0);
  if (!active.ok()) return active.status();
  return (*active)->generation;
}

absl::Status PolicyTables::Stage(const TableSet& tables) const {
  auto generation = Generation();
  if (!generation.ok()) return generation.status();
  const uint32_t side = MSEG_SIDE(*generation + 1);
  const Views maps(dataplane_);
  MSEG_RETURN_IF_ERROR(StageTable(maps.cgroups, tables.cgroups, side, kShared));
  MSEG_RETURN_IF_ERROR(StageTable(maps.exe_classes, tables.exe_classes, side));
  MSEG_RETURN_IF_ERROR(StageTable(maps.users, tables.users, side));
  MSEG_RETURN_IF_ERROR(StageTable(maps.identities, tables.identities, side));
  MSEG_RETURN_IF_ERROR(StageTable(maps.addresses, tables.addresses, side));
  MSEG_RETURN_IF_ERROR(StagePorts(maps.ports, tables.ports, side));
  return StageTable(maps.rows, tables.rows, side);
}

absl::Status PolicyTables::Verify(const TableSet& tables) const {
  auto generation = Generation();
  if (!generation.ok()) return generation.status();
  const uint32_t side = MSEG_SIDE(*generation + 1);
  const Views maps(dataplane_);
  MSEG_RETURN_IF_ERROR(VerifyTable(maps.cgroups, tables.cgroups, side, "cgroups", kShared));
  MSEG_RETURN_IF_ERROR(VerifyTable(maps.exe_classes, tables.exe_classes, side, "exe_classes"));
  MSEG_RETURN_IF_ERROR(VerifyTable(maps.users, tables.users, side, "users"));
  MSEG_RETURN_IF_ERROR(VerifyTable(maps.identities, tables.identities, side, "identities"));
  MSEG_RETURN_IF_ERROR(VerifyTable(maps.addresses, tables.addresses, side, "addresses"));
  MSEG_RETURN_IF_ERROR(VerifyPorts(maps.ports, tables.ports, side));
  return VerifyTable(maps.rows, tables.rows, side, "rows");
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
  const Views maps(dataplane_);
  for (uint32_t side = 0; side < 2; side++) {
    mseg_cgroup_key key{};
    key.id = id;
    key.side = side;
    MSEG_RETURN_IF_ERROR(maps.cgroups.Update(key, value));
  }
  return absl::OkStatus();
}

absl::Status PolicyTables::ForgetCgroup(uint64_t id) const {
  const Views maps(dataplane_);
  for (uint32_t side = 0; side < 2; side++) {
    mseg_cgroup_key key{};
    key.id = id;
    key.side = side;
    MSEG_RETURN_IF_ERROR(maps.cgroups.Delete(key));
  }
  return absl::OkStatus();
}

absl::Status PolicyTables::SetExeClass(uint32_t ref, mseg_grade grade, uint64_t cls) const {
  const Views maps(dataplane_);
  for (uint32_t side = 0; side < 2; side++) {
    mseg_exe_class_key key{};
    key.ref = ref;
    key.grade = static_cast<uint8_t>(grade);
    key.side = static_cast<uint8_t>(side);
    MSEG_RETURN_IF_ERROR(maps.exe_classes.Update(key, cls));
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
  auto cls = Views(dataplane_).addresses.Lookup(key);
  if (!cls.ok()) return cls.status();
  return cls->value_or(0);
}

}  // namespace mseg
