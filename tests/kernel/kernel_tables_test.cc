// SPDX-License-Identifier: Apache-2.0
// What PolicyTables leaves in the kernel's maps.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "loader/policy_tables.h"
#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/random_image.h"
#include "tests/kernel/table_set.h"

namespace mseg::testing {
namespace {

uint32_t SideOf(const mseg_cgroup_key& key) { return key.side; }
uint32_t SideOf(const mseg_exe_class_key& key) { return key.side; }
uint32_t SideOf(const mseg_user_key& key) { return key.side; }
uint32_t SideOf(const mseg_identity_key& key) { return key.side; }
uint32_t SideOf(const mseg_address_key& key) { return key.side; }
uint32_t SideOf(const mseg_row_key& key) { return key.side; }
uint32_t SideOf(const mseg_peer_label_key& key) { return key.side; }
uint32_t SideOf(const mseg_peer_exe_key& key) { return key.side; }

// One side of a map, keys with side 0, in the order of images.
template <typename Key, typename Value>
std::vector<std::pair<Key, Value>> ReadSide(const Dataplane& plane, const char* map,
                                            uint32_t side) {
  const auto all = plane.View<Key, Value>(map).Dump();
  REQUIRE(all.ok());
  std::vector<std::pair<Key, Value>> out;
  for (auto [key, value] : *all) {
    if (SideOf(key) != side) continue;
    key.side = 0;
    out.emplace_back(key, value);
  }
  Normalize(&out);
  return out;
}

template <typename Key, typename Value>
bool Same(const std::vector<std::pair<Key, Value>>& a,
          const std::vector<std::pair<Key, Value>>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); i++) {
    if (std::memcmp(&a[i].first, &b[i].first, sizeof(Key)) != 0 ||
        std::memcmp(&a[i].second, &b[i].second, sizeof(Value)) != 0) {
      return false;
    }
  }
  return true;
}

std::vector<std::pair<uint32_t, uint16_t>> ReadPorts(const Dataplane& plane, uint32_t side) {
  const auto view = plane.View<uint32_t, mseg_port_block>("mseg_ports");
  std::vector<std::pair<uint32_t, uint16_t>> out;
  for (uint32_t block = 0; block < MSEG_PORT_BLOCKS / 2; block++) {
    const auto have = view.Lookup(side * (MSEG_PORT_BLOCKS / 2) + block);
    REQUIRE(have.ok());
    REQUIRE(have->has_value());
    for (uint32_t i = 0; i < MSEG_PORT_BLOCK; i++) {
      if ((*have)->cls[i] != 0) out.emplace_back(block * MSEG_PORT_BLOCK + i, (*have)->cls[i]);
    }
  }
  return out;
}

template <typename Value>
std::vector<std::pair<uint32_t, Value>> ReadArray(const Dataplane& plane, const char* name,
                                                  uint32_t side, uint32_t size) {
  const auto all = plane.View<uint32_t, Value>(name).Dump();
  REQUIRE(all.ok());
  REQUIRE(all->size() == 2 * size);
  std::vector<std::pair<uint32_t, Value>> out;
  const Value none{};
  for (const auto& [place, value] : *all) {
    if (place / size != side || std::memcmp(&value, &none, sizeof(none)) == 0) continue;
    out.emplace_back(place % size, value);
  }
  return out;
}

// All of one side, but for cgroups, which the kernel fills in too.
struct Side {
  decltype(GenerationImage::exe_classes) exe_classes;
  decltype(GenerationImage::users) users;
  decltype(GenerationImage::identities) identities;
  decltype(GenerationImage::peer_labels) peer_labels;
  decltype(GenerationImage::peer_exes) peer_exes;
  decltype(GenerationImage::addresses) addresses;
  decltype(GenerationImage::ports) ports;
  decltype(GenerationImage::classes) classes;
  decltype(GenerationImage::groups) groups;
  decltype(GenerationImage::tails) tails;
  decltype(GenerationImage::rows) rows;
  decltype(GenerationImage::cgroups) cgroups;

  bool operator==(const Side& o) const {
    return Same(exe_classes, o.exe_classes) && Same(users, o.users) &&
           Same(identities, o.identities) && Same(peer_labels, o.peer_labels) &&
           Same(peer_exes, o.peer_exes) && Same(addresses, o.addresses) && ports == o.ports &&
           Same(classes, o.classes) && Same(groups, o.groups) && Same(tails, o.tails) &&
           Same(rows, o.rows) && Same(cgroups, o.cgroups);
  }
};

Side Read(const Dataplane& plane, uint32_t side) {
  return Side{
      .exe_classes = ReadSide<mseg_exe_class_key, uint64_t>(plane, "mseg_exe_classes", side),
      .users = ReadSide<mseg_user_key, uint32_t>(plane, "mseg_users", side),
      .identities =
          ReadSide<mseg_identity_key, mseg_identity_value>(plane, "mseg_identities", side),
      .peer_labels =
          ReadSide<mseg_peer_label_key, mseg_peer_label>(plane, "mseg_peer_labels", side),
      .peer_exes = ReadSide<mseg_peer_exe_key, uint64_t>(plane, "mseg_peer_exes", side),
      .addresses = ReadSide<mseg_address_key, uint32_t>(plane, "mseg_addresses", side),
      .ports = ReadPorts(plane, side),
      .classes = ReadArray<mseg_class>(plane, "mseg_classes", side, MSEG_CLASSES),
      .groups = ReadArray<mseg_coarse>(plane, "mseg_groups", side, MSEG_GROUPS),
      .tails = ReadArray<mseg_coarse>(plane, "mseg_tails", side, MSEG_TAILS),
      .rows = ReadSide<mseg_row_key, mseg_row>(plane, "mseg_rows", side),
      .cgroups = ReadSide<mseg_cgroup_key, mseg_cgroup>(plane, "mseg_cgroups", side)};
}

void CheckEquals(const Side& side, const GenerationImage& image) {
  CHECK(Same(side.exe_classes, image.exe_classes));
  CHECK(Same(side.users, image.users));
  CHECK(Same(side.identities, image.identities));
  CHECK(Same(side.peer_labels, image.peer_labels));
  CHECK(Same(side.peer_exes, image.peer_exes));
  CHECK(Same(side.addresses, image.addresses));
  CHECK(side.ports == image.ports);
  CHECK(Same(side.classes, image.classes));
  CHECK(Same(side.groups, image.groups));
  CHECK(Same(side.tails, image.tails));
  CHECK(Same(side.rows, image.rows));
}

// Every cgroup of the image is there; others may be.
bool HasCgroups(const Side& side, const GenerationImage& image) {
  return std::includes(
      side.cgroups.begin(), side.cgroups.end(), image.cgroups.begin(), image.cgroups.end(),
      [](const auto& a, const auto& b) { return std::memcmp(&a, &b, sizeof(a)) < 0; });
}

uint32_t Standby(const PolicyTables& tables) { return MSEG_SIDE(*tables.Generation() + 1); }

mseg_row RowOf(uint32_t rule) {
  mseg_row row{};
  row.rule = rule;
  return row;
}

mseg_row_key RowKey(uint32_t local, uint32_t side) {
  mseg_row_key key{};
  key.local = local;
  key.side = static_cast<uint8_t>(side);
  return key;
}

// The calling thread has no membarrier from here on, as on a kernel with processors without a tick.
bool RefuseMembarrier() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{.len = 4, .filter = code};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace

TEST_CASE("after Stage the standby side is the image, whatever was there") {
  const uint64_t seed = FromEnvironment("MSEG_KERNEL_SEED", 1);
  // An emulated processor takes seconds to read the tables back.
  const uint64_t rounds = FromEnvironment("MSEG_KERNEL_FLOWS", 200000) / 8192;
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  for (uint64_t round = 0; round < rounds; round++) {
    INFO("MSEG_KERNEL_SEED=" << seed << " round " << round);
    ImageRandom random(seed * 1000 + round);
    const GenerationImage image = random.Image();
    const uint32_t standby = Standby(tables);
    // What a killed predecessor or somebody else left.
    if (random.Chance(50)) {
      const auto rows = plane->View<mseg_row_key, mseg_row>("mseg_rows");
      REQUIRE(rows.Update(RowKey(999, standby), mseg_row{}).ok());
      const auto ports = plane->View<uint32_t, mseg_port_block>("mseg_ports");
      mseg_port_block block;
      std::memset(&block, 0x11, sizeof(block));
      REQUIRE(ports.Update(standby * (MSEG_PORT_BLOCKS / 2) + 3, block).ok());
      mseg_user_key user{};
      user.uid = 4242;
      user.side = standby;
      REQUIRE(plane->View<mseg_user_key, uint32_t>("mseg_users").Update(user, 1).ok());
    }
    const Side active = Read(*plane, 1 - standby);
    const uint32_t generation = *tables.Generation();
    REQUIRE(tables.Stage(TablesOf(image)).ok());
    CheckEquals(Read(*plane, standby), image);
    CHECK(HasCgroups(Read(*plane, standby), image));
    // The side in force was not touched.
    CHECK(Read(*plane, 1 - standby) == active);
    CHECK(*tables.Generation() == generation);
    REQUIRE(tables.Verify(TablesOf(image)).ok());
    const auto flipped = tables.Flip();
    REQUIRE(flipped.ok());
    CHECK(*flipped == generation + 1);
    CHECK(*tables.Generation() == generation + 1);
    CHECK(MSEG_SIDE(*flipped) == standby);
  }
}

TEST_CASE("a side that is known is brought up by what differs, and what was written is checked") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  ImageRandom random(FromEnvironment("MSEG_KERNEL_SEED", 1) * 77);
  GenerationImage sides[2];
  for (int round = 0; round < 12; round++) {
    const uint32_t standby = Standby(tables);
    GenerationImage image = random.Image();
    if (round >= 2) {
      // Mostly what the side holds already.
      GenerationImage next = sides[standby];
      if (!next.rows.empty()) next.rows.pop_back();
      if (!next.rows.empty()) next.rows[next.rows.size() / 2].second.rule++;
      next.rows.emplace_back(RowKey((1u << 30) + static_cast<uint32_t>(round), 0),
                             RowOf(static_cast<uint32_t>(round)));
      Normalize(&next.rows);
      next.ports = image.ports;
      next.groups = image.groups;
      next.peer_labels = image.peer_labels;
      next.peer_exes = image.peer_exes;
      next.addresses = image.addresses;
      image = std::move(next);
    }
    const TableSet known = TablesOf(sides[standby]);
    const TableSet* standby_has = round < 2 ? nullptr : &known;
    REQUIRE(tables.Stage(TablesOf(image), standby_has).ok());
    CheckEquals(Read(*plane, standby), image);
    REQUIRE(tables.Verify(TablesOf(image), standby_has).ok());
    if (standby_has != nullptr) {
      const auto rows = plane->View<mseg_row_key, mseg_row>("mseg_rows");
      const uint32_t added = (1u << 30) + static_cast<uint32_t>(round);
      REQUIRE(rows.Update(RowKey(added, standby), RowOf(4711)).ok());
      CHECK_FALSE(tables.Verify(TablesOf(image), standby_has).ok());
      REQUIRE(tables.Stage(TablesOf(image)).ok());
    }
    REQUIRE(tables.Flip().ok());
    sides[standby] = std::move(image);
  }
}

TEST_CASE("the generation word wraps to the same side and never to zero") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  REQUIRE(plane->active().Update(0, mseg_active{.generation = 0xffffffff, .pad = 0}).ok());
  const uint32_t standby = Standby(tables);
  const auto generation = tables.Flip();
  REQUIRE(generation.ok());
  CHECK(*generation != 0);
  CHECK(MSEG_SIDE(*generation) == standby);
}

TEST_CASE("Verify finds one changed, one missing and one foreign entry in each table") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  GenerationImage image;
  mseg_cgroup_key cgroup{};
  cgroup.id = 1;
  image.cgroups.emplace_back(cgroup, mseg_cgroup{.cls = 7, .watch = 0, .doors = 0, .loopback = 0});
  mseg_exe_class_key exe{};
  exe.ref = 1;
  image.exe_classes.emplace_back(exe, 5);
  mseg_user_key user{};
  user.uid = 1;
  image.users.emplace_back(user, 1);
  mseg_identity_key identity{};
  identity.cgroup = 7;
  image.identities.emplace_back(identity, mseg_identity_value{.label_id = 1, .cls = 1, .pad = 0});
  mseg_address_key address{};
  address.prefixlen = 8 + 32;
  address.addr[0] = 0x20;
  image.addresses.emplace_back(address, 3);
  mseg_peer_label_key label{};
  label.label_id = 9;
  label.host_id = 2;
  image.peer_labels.emplace_back(label, mseg_peer_label{.cls = 7, .permitted = 1, .pad = 0});
  mseg_peer_exe_key peer_exe{};
  peer_exe.exe_id = 4;
  image.peer_exes.emplace_back(peer_exe, 5);
  image.ports.emplace_back(443u, uint16_t{1});
  image.rows.emplace_back(RowKey(1, 0), mseg_row{});
  const uint32_t standby = Standby(tables);
  cgroup.side = user.side = identity.side = label.side = standby;
  exe.side = address.side = peer_exe.side = static_cast<uint8_t>(standby);

  auto restage = [&] {
    REQUIRE(tables.Stage(TablesOf(image)).ok());
    REQUIRE(tables.Verify(TablesOf(image)).ok());
  };
  auto refused = [&] {
    const absl::Status status = tables.Verify(TablesOf(image));
    INFO(status.ToString());
    CHECK(status.code() == absl::StatusCode::kDataLoss);
  };

  SECTION("cgroups") {
    const auto view = plane->View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups");
    restage();
    REQUIRE(view.Update(cgroup, mseg_cgroup{.cls = 8, .watch = 0, .doors = 0, .loopback = 0}).ok());
    refused();
    restage();
    REQUIRE(view.Delete(cgroup).ok());
    refused();
  }
  SECTION("labels of other hosts") {
    const auto view = plane->View<mseg_peer_label_key, mseg_peer_label>("mseg_peer_labels");
    restage();
    REQUIRE(view.Update(label, mseg_peer_label{.cls = 7, .permitted = 0, .pad = 0}).ok());
    refused();
    restage();
    REQUIRE(view.Delete(label).ok());
    refused();
    restage();
    label.host_id = 3;
    REQUIRE(view.Update(label, mseg_peer_label{.cls = 7, .permitted = 1, .pad = 0}).ok());
    refused();
  }
  SECTION("executables of other hosts") {
    const auto view = plane->View<mseg_peer_exe_key, uint64_t>("mseg_peer_exes");
    restage();
    REQUIRE(view.Update(peer_exe, 6).ok());
    refused();
    restage();
    REQUIRE(view.Delete(peer_exe).ok());
    refused();
    restage();
    peer_exe.grade = MSEG_GRADE_HASH;
    REQUIRE(view.Update(peer_exe, 5).ok());
    refused();
  }
  SECTION("exe classes") {
    const auto view = plane->View<mseg_exe_class_key, uint64_t>("mseg_exe_classes");
    restage();
    REQUIRE(view.Update(exe, 6).ok());
    refused();
    restage();
    REQUIRE(view.Delete(exe).ok());
    refused();
    restage();
    exe.ref = 2;
    REQUIRE(view.Update(exe, 6).ok());
    refused();
  }
  SECTION("users") {
    const auto view = plane->View<mseg_user_key, uint32_t>("mseg_users");
    restage();
    REQUIRE(view.Update(user, 2).ok());
    refused();
    restage();
    user.uid = 2;
    REQUIRE(view.Update(user, 2).ok());
    refused();
  }
  SECTION("identities") {
    const auto view = plane->View<mseg_identity_key, mseg_identity_value>("mseg_identities");
    restage();
    REQUIRE(view.Update(identity, mseg_identity_value{.label_id = 2, .cls = 1, .pad = 0}).ok());
    refused();
    restage();
    REQUIRE(view.Delete(identity).ok());
    refused();
  }
  SECTION("addresses") {
    const auto view = plane->View<mseg_address_key, uint32_t>("mseg_addresses");
    restage();
    REQUIRE(view.Update(address, 4).ok());
    refused();
    restage();
    address.prefixlen = 8 + 40;
    REQUIRE(view.Update(address, 4).ok());
    refused();
  }
  SECTION("ports") {
    const auto view = plane->View<uint32_t, mseg_port_block>("mseg_ports");
    restage();
    mseg_port_block block{};
    block.cls[443 % MSEG_PORT_BLOCK] = 2;
    REQUIRE(view.Update(standby * (MSEG_PORT_BLOCKS / 2) + 443 / MSEG_PORT_BLOCK, block).ok());
    refused();
  }
  SECTION("classes") {
    const auto view = plane->View<uint32_t, mseg_class>("mseg_classes");
    restage();
    mseg_class cls{};
    cls.group = 1;
    REQUIRE(view.Update(standby * MSEG_CLASSES + 17, cls).ok());
    refused();
  }
  SECTION("rows") {
    const auto view = plane->View<mseg_row_key, mseg_row>("mseg_rows");
    restage();
    mseg_row row{};
    row.verdict = MSEG_ALLOW;
    REQUIRE(view.Update(RowKey(1, standby), row).ok());
    refused();
    restage();
    REQUIRE(view.Delete(RowKey(1, standby)).ok());
    refused();
    restage();
    REQUIRE(view.Update(RowKey(2, standby), row).ok());
    refused();
  }
  SECTION("what is in force does not matter") {
    restage();
    const auto view = plane->View<mseg_row_key, mseg_row>("mseg_rows");
    REQUIRE(view.Update(RowKey(3, 1 - standby), mseg_row{}).ok());
    CHECK(tables.Verify(TablesOf(image)).ok());
  }
}

TEST_CASE("a table that is full is an error, and the old generation stays as it was") {
  const Scratch scratch;
  DataplaneOptions options = scratch.Options();
  options.max_rows = 64;
  auto opened = Dataplane::Open(options, ProbeFeatures());
  REQUIRE(opened.ok());
  const std::unique_ptr<Dataplane> plane = *std::move(opened);
  const PolicyTables tables(*plane);
  GenerationImage small;
  small.rows.emplace_back(RowKey(1, 0), mseg_row{});
  REQUIRE(tables.Stage(TablesOf(small)).ok());
  REQUIRE(tables.Flip().ok());
  const uint32_t generation = *tables.Generation();
  const uint32_t side = MSEG_SIDE(generation);
  const Side active = Read(*plane, side);
  GenerationImage large;
  for (uint32_t i = 0; i < 1000; i++) large.rows.emplace_back(RowKey(i, 0), mseg_row{});
  Normalize(&large.rows);
  const absl::Status status = tables.Stage(TablesOf(large));
  INFO(status.ToString());
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(*tables.Generation() == generation);
  CHECK(Read(*plane, side) == active);
  CHECK_FALSE(tables.Verify(TablesOf(large)).ok());
  // And the next good one goes through.
  REQUIRE(tables.Stage(TablesOf(small)).ok());
  REQUIRE(tables.Verify(TablesOf(small)).ok());
  CHECK(tables.Flip().ok());
}

TEST_CASE("cgroups and executables that appear between generations are on both sides") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  const mseg_cgroup value{.cls = 9, .watch = 1, .doors = 0, .loopback = 0};
  REQUIRE(tables.SetCgroup(12345, value).ok());
  REQUIRE(tables.SetExeClass(6, MSEG_GRADE_HASH, 99).ok());
  for (uint32_t side = 0; side < 2; side++) {
    mseg_cgroup_key key{};
    key.id = 12345;
    key.side = side;
    const auto view = plane->View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups");
    const auto found = view.Lookup(key);
    REQUIRE(found.ok());
    REQUIRE(found->has_value());
    CHECK((*found)->cls == 9);
    mseg_exe_class_key exe{};
    exe.ref = 6;
    exe.grade = MSEG_GRADE_HASH;
    exe.side = static_cast<uint8_t>(side);
    const auto cls = plane->View<mseg_exe_class_key, uint64_t>("mseg_exe_classes").Lookup(exe);
    REQUIRE(cls.ok());
    CHECK(cls->value_or(0) == 99);
  }
  REQUIRE(tables.ForgetCgroup(12345).ok());
  for (uint32_t side = 0; side < 2; side++) {
    for (const auto& [key, cgroup] : Read(*plane, side).cgroups) CHECK(key.id != 12345);
  }
}

TEST_CASE("where there is no membarrier, a flip waits all the same") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  const uint32_t before = *tables.Generation();
  REQUIRE(tables.Stage(TablesOf(ImageRandom(1).Image())).ok());
  bool refused = false;
  long error = 0;
  absl::StatusOr<uint32_t> flipped = absl::UnknownError("not tried");
  std::thread([&] {
    refused = RefuseMembarrier();
    error = syscall(SYS_membarrier, 0, 0, 0) == 0 ? 0 : errno;
    flipped = tables.Flip();
  }).join();
  REQUIRE(refused);
  CHECK(error == EINVAL);
  INFO(flipped.status().ToString());
  REQUIRE(flipped.ok());
  CHECK(*flipped == before + 1);
  CHECK(*tables.Generation() == before + 1);
}

}  // namespace mseg::testing
