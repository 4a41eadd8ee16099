// SPDX-License-Identifier: Apache-2.0
// The simulator, which is decide.h over an image in memory, against the kernel, which is decide.h
// over maps: no difference. A failure prints its seed; MSEG_KERNEL_SEED=N starts there and
// MSEG_KERNEL_FLOWS=N changes how many flows are compared.
#include <sys/random.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>
#include <string>

#include "labels/compiler.h"
#include "labels/simulator.h"
#include "loader/policy_tables.h"
#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/random_image.h"
#include "tests/kernel/table_set.h"
#include "tests/support/policy_random.h"

namespace mseg::testing {
namespace {

constexpr uint64_t kFlowsARound = 2000;

uint64_t FirstSeed() {
  uint64_t seed = 0;
  if (getrandom(&seed, 4, 0) != 4) seed = 1;
  return FromEnvironment("MSEG_KERNEL_SEED", seed);
}

// Puts an image in force. Cgroups of an older one would stay: the kernel adds some by itself, so
// staging leaves those alone that it does not know.
void Apply(const PolicyTables& tables, const GenerationImage& image) {
  const auto there =
      SharedInstance().plane->View<mseg_cgroup_key, mseg_cgroup>("mseg_cgroups").Dump();
  REQUIRE(there.ok());
  for (const auto& entry : *there) REQUIRE(tables.ForgetCgroup(entry.first.id).ok());
  for (const absl::Status& status :
       {tables.Stage(TablesOf(image)), tables.Verify(TablesOf(image))}) {
    INFO(status.ToString());
    REQUIRE(status.ok());
  }
  REQUIRE(tables.Flip().ok());
}

struct Flow {
  uint32_t local = 0;
  uint32_t peer = 0;
  mseg_direction direction = MSEG_EGRESS;
  uint8_t protocol = 0;
  uint16_t port = 0;
};

struct Facts {
  uint64_t cgroup_id = 0;
  uint32_t exe_ref = 0;
  mseg_grade grade = MSEG_GRADE_UNKNOWN;
  uint32_t uid = 0;
};

mseg_identity IdentityOf(const Facts& facts) {
  mseg_identity id{};
  id.cgroup_id = facts.cgroup_id;
  id.exe_ref = facts.exe_ref;
  id.grade = static_cast<uint8_t>(facts.grade);
  id.uid = facts.uid;
  return id;
}

mseg_decision DecisionOf(const mseg_explain& e) {
  mseg_decision d{};
  d.rule = e.rule;
  d.would_rule = e.would_rule;
  d.verdict = e.verdict;
  d.would_be = e.would_be;
  d.reason = e.reason;
  d.would_reason = e.would_reason;
  d.probe = e.probe;
  d.may = e.may;
  return d;
}

std::string Text(const mseg_decision& d) {
  std::ostringstream out;
  out << "verdict " << int{d.verdict} << " would_be " << int{d.would_be} << " reason "
      << int{d.reason} << " would_reason " << int{d.would_reason} << " rule " << d.rule
      << " would_rule " << d.would_rule << " probe " << int{d.probe};
  return out.str();
}

// Compares and counts; the first difference is described.
class Comparison {
 public:
  Comparison(const Dataplane& plane, const GenerationImage& image)
      : plane_(plane), simulator_(image) {}

  bool Decide(const Flow& flow) {
    mseg_explain args{};
    args.local_class = flow.local;
    args.peer_class = flow.peer;
    args.direction = static_cast<uint8_t>(flow.direction);
    args.protocol = flow.protocol;
    args.port = flow.port;
    REQUIRE(plane_.Explain(&args).ok());
    const mseg_decision want =
        simulator_.Decide(flow.local, flow.peer, flow.direction, flow.protocol, flow.port);
    const mseg_decision got = DecisionOf(args);
    probes_[want.probe]++;
    if (args.failed == 0 && std::memcmp(&want, &got, sizeof(want)) == 0) return true;
    std::ostringstream out;
    out << "local " << flow.local << " peer " << flow.peer << " direction " << flow.direction
        << " protocol " << int{flow.protocol} << " port " << flow.port << "\n  simulator "
        << Text(want) << "\n  kernel    " << Text(got);
    difference_ = out.str();
    return false;
  }

  // Both ends given by facts: what each is, and the verdict between them.
  bool Resolve(const Facts& local, const Facts& peer, Flow flow) {
    mseg_explain args{};
    args.local = IdentityOf(local);
    args.peer = IdentityOf(peer);
    args.resolve_local = args.resolve_peer = 1;
    args.direction = static_cast<uint8_t>(flow.direction);
    args.protocol = flow.protocol;
    args.port = flow.port;
    REQUIRE(plane_.Explain(&args).ok());
    const mseg_identity_value l = Identity(local);
    const mseg_identity_value p = Identity(peer);
    const bool known = Known(local) && Known(peer);
    mseg_decision want{};
    want.reason = want.would_reason = MSEG_REASON_NO_ROW;
    if (known) want = simulator_.Decide(l.cls, p.cls, flow.direction, flow.protocol, flow.port);
    const mseg_decision got = DecisionOf(args);
    resolved_[known ? "resolved" : "no answer"]++;
    if (args.local.cls == l.cls && args.local.label_id == l.label_id && args.peer.cls == p.cls &&
        args.peer.label_id == p.label_id && args.failed == (known ? 0 : 1) &&
        args.local_class == l.cls && args.peer_class == p.cls &&
        std::memcmp(&want, &got, sizeof(want)) == 0) {
      return true;
    }
    std::ostringstream out;
    out << "cgroup " << local.cgroup_id << " ref " << local.exe_ref << " grade " << local.grade
        << " uid " << local.uid << ": class " << l.cls << ", kernel " << args.local.cls
        << "\npeer cgroup " << peer.cgroup_id << " ref " << peer.exe_ref << " grade " << peer.grade
        << " uid " << peer.uid << ": class " << p.cls << ", kernel " << args.peer.cls << "\nfailed "
        << int{args.failed} << "\n  simulator " << Text(want) << "\n  kernel    " << Text(got);
    difference_ = out.str();
    return false;
  }

  const Simulator& simulator() const { return simulator_; }
  const std::string& difference() const { return difference_; }
  const std::map<int, uint64_t>& probes() const { return probes_; }
  const std::map<std::string, uint64_t>& resolved() const { return resolved_; }

 private:
  mseg_identity_value Identity(const Facts& facts) const {
    return simulator_.Identity(facts.cgroup_id, facts.exe_ref, facts.grade, facts.uid);
  }
  // The simulator answers zero for "no entry", which may be an entry's value too.
  bool Known(const Facts& facts) const {
    const GenerationImage& image = simulator_.image();
    const auto find = [](const auto& table, const auto& key) {
      const auto it = std::find_if(table.begin(), table.end(), [&key](const auto& entry) {
        return std::memcmp(&entry.first, &key, sizeof(key)) == 0;
      });
      return it == table.end() ? nullptr : &it->second;
    };
    mseg_cgroup_key cgroup_key{};
    cgroup_key.id = facts.cgroup_id;
    mseg_exe_class_key exe_key{};
    exe_key.ref = facts.exe_ref;
    exe_key.grade = static_cast<uint8_t>(facts.grade);
    mseg_user_key user_key{};
    user_key.uid = facts.uid;
    const mseg_cgroup* cgroup = find(image.cgroups, cgroup_key);
    const uint64_t* exe = find(image.exe_classes, exe_key);
    const uint32_t* user = find(image.users, user_key);
    const uint64_t exe_class = facts.exe_ref == 0 ? MSEG_EXE_UNKNOWN : exe != nullptr ? *exe : 0;
    for (const uint64_t e : {exe_class, uint64_t{MSEG_EXE_OTHER}}) {
      for (const uint32_t u : {user != nullptr ? *user : 0, MSEG_USER_OTHER}) {
        mseg_identity_key key{};
        key.cgroup = cgroup != nullptr ? cgroup->cls : MSEG_CGROUP_PENDING;
        key.exe = e;
        key.user = u;
        if (find(image.identities, key) != nullptr) return true;
      }
    }
    return false;
  }

  const Dataplane& plane_;
  Simulator simulator_;
  std::string difference_;
  std::map<int, uint64_t> probes_;
  std::map<std::string, uint64_t> resolved_;
};

void AddTo(const Comparison& from, std::map<int, uint64_t>* probes) {
  for (const auto& [probe, count] : from.probes()) (*probes)[probe] += count;
}

}  // namespace

TEST_CASE("kernel and simulator decide alike over hand-made tables") {
  const uint64_t flows = FromEnvironment("MSEG_KERNEL_FLOWS", 200000) / 2;
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  uint64_t seed = FirstSeed();
  std::map<int, uint64_t> probes;
  uint64_t known = 0, unknown = 0;
  for (uint64_t done = 0; done < flows; done += kFlowsARound, seed++) {
    ImageRandom random(seed);
    const GenerationImage image = random.Image();
    INFO("MSEG_KERNEL_SEED=" << seed);
    Apply(tables, image);
    Comparison comparison(*plane, image);
    auto flow = [&random] {
      return Flow{random.Class(), random.Class(), static_cast<mseg_direction>(random.Below(2)),
                  random.Protocol(), random.Port()};
    };
    auto facts = [&random] {
      return Facts{random.CgroupId(), random.ExeRef(), random.Grade(), random.Uid()};
    };
    bool same = true;
    for (uint64_t i = 0; i < kFlowsARound && same; i++) same = comparison.Decide(flow());
    for (uint64_t i = 0; i < kFlowsARound / 10 && same; i++) {
      same = comparison.Resolve(facts(), facts(), flow());
    }
    INFO(comparison.difference());
    REQUIRE(same);
    for (int i = 0; i < 100; i++) {
      uint8_t address[16];
      random.Address(address);
      IpAddress ip;
      std::memcpy(ip.data(), address, sizeof(address));
      const auto got = tables.AddressClass(address);
      REQUIRE(got.ok());
      INFO(IpAddressText(ip));
      REQUIRE(*got == comparison.simulator().AddressClass(ip));
    }
    AddTo(comparison, &probes);
    const auto& resolved = comparison.resolved();
    if (resolved.count("resolved") != 0) known += resolved.at("resolved");
    if (resolved.count("no answer") != 0) unknown += resolved.at("no answer");
  }
  std::printf(
      "flows by look-up: a %llu b %llu c %llu d %llu e %llu f %llu none %llu; pairs by facts %llu, "
      "without an answer %llu\n",
      static_cast<unsigned long long>(probes['a']), static_cast<unsigned long long>(probes['b']),
      static_cast<unsigned long long>(probes['c']), static_cast<unsigned long long>(probes['d']),
      static_cast<unsigned long long>(probes['e']), static_cast<unsigned long long>(probes['f']),
      static_cast<unsigned long long>(probes[0]), static_cast<unsigned long long>(known),
      static_cast<unsigned long long>(unknown));
  // Every way to an answer was taken.
  for (const int probe : {int{'a'}, int{'b'}, int{'c'}, int{'d'}, int{'e'}, int{'f'}, 0}) {
    CHECK(probes[probe] > 0);
  }
  CHECK(known > 0);
  CHECK(unknown > 0);
}

TEST_CASE("kernel and simulator decide alike over compiled policies") {
  const uint64_t flows = FromEnvironment("MSEG_KERNEL_FLOWS", 200000) / 2;
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  uint64_t seed = FirstSeed();
  std::map<int, uint64_t> probes;
  for (uint64_t done = 0; done < flows; done += kFlowsARound, seed++) {
    INFO("MSEG_KERNEL_SEED=" << seed);
    PolicyRandom random(seed);
    std::string text;
    const PolicySet policy = random.Policy(&text);
    const Inventory inventory = random.Host(4);
    Diagnostics diagnostics;
    CompileOptions options;
    options.few_classes = random.Below(8);
    const auto image = Compile(policy, inventory, options, &diagnostics);
    INFO(text);
    REQUIRE(image.ok());
    Apply(tables, *image);
    Comparison comparison(*plane, *image);
    auto flow = [&] {
      const auto [protocol, port] = random.Service();
      const size_t classes = image->budget.classes + 1;
      return Flow{static_cast<uint32_t>(random.Below(classes)),
                  static_cast<uint32_t>(random.Below(classes)),
                  static_cast<mseg_direction>(random.Below(2)), protocol, port};
    };
    auto facts = [&] {
      const IdentityFacts from = random.Facts(inventory);
      Facts out;
      for (const CgroupInfo& info : inventory.cgroups) {
        if (from.cgroup && info.path == *from.cgroup) out.cgroup_id = info.id;
      }
      if (from.exe == IdentityFacts::Exe::kKnown) {
        out.exe_ref = from.executable.ref;
        out.grade = from.executable.grade;
      }
      out.uid = from.uid.value_or(0);
      return out;
    };
    bool same = true;
    for (uint64_t i = 0; i < kFlowsARound && same; i++) same = comparison.Decide(flow());
    for (uint64_t i = 0; i < kFlowsARound / 10 && same; i++) {
      same = comparison.Resolve(facts(), facts(), flow());
    }
    INFO(comparison.difference());
    REQUIRE(same);
    for (int i = 0; i < 20; i++) {
      const IpAddress ip = random.Address();
      uint8_t address[16];
      std::memcpy(address, ip.data(), sizeof(address));
      const auto got = tables.AddressClass(address);
      REQUIRE(got.ok());
      INFO(IpAddressText(ip));
      REQUIRE(*got == comparison.simulator().AddressClass(ip));
    }
    AddTo(comparison, &probes);
  }
  CHECK(probes['f'] > 0);
  if (flows < 50000) return;  // few policies: not each of them has every kind of row
  for (const char probe : {'a', 'b', 'c', 'd', 'e'}) CHECK(probes[probe] > 0);
}

TEST_CASE("one changed row in the kernel is seen as a difference") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  GenerationImage image;
  mseg_row_key key{};
  key.local = 7;
  key.peer = MSEG_PEER_ALL;
  image.rows.emplace_back(key, mseg_row{});
  mseg_class cls{};
  cls.end[MSEG_EGRESS] = cls.tail[MSEG_EGRESS] = 7;
  image.classes.emplace_back(1, cls);
  Apply(tables, image);
  Comparison comparison(*plane, image);
  const Flow flow{.local = 1, .peer = 2, .direction = MSEG_EGRESS, .protocol = 6, .port = 80};
  CHECK(comparison.Decide(flow));
  key.side = static_cast<uint8_t>(MSEG_SIDE(*tables.Generation()));
  mseg_row allow{};
  allow.verdict = MSEG_ALLOW;
  const auto rows = plane->View<mseg_row_key, mseg_row>("mseg_rows");
  REQUIRE(rows.Update(key, allow).ok());
  CHECK_FALSE(comparison.Decide(flow));
}

TEST_CASE("each fall-back of the identity chain answers, and only after those before it") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  constexpr uint64_t kCgroup = 77, kExe = 88;
  constexpr uint32_t kUser = 9;
  struct Link {
    uint64_t exe;
    uint32_t user;
    uint32_t cls;
  };
  const Link chain[] = {{kExe, kUser, 1},
                        {kExe, MSEG_USER_OTHER, 2},
                        {MSEG_EXE_OTHER, kUser, 3},
                        {MSEG_EXE_OTHER, MSEG_USER_OTHER, 4}};
  // Every subset of the chain: the first entry that is there answers.
  for (unsigned subset = 0; subset < 16; subset++) {
    GenerationImage image;
    mseg_cgroup_key cgroup{};
    cgroup.id = 5;
    image.cgroups.emplace_back(
        cgroup, mseg_cgroup{.cls = kCgroup, .watch = 0, .doors = 0, .loopback = 0});
    mseg_exe_class_key exe{};
    exe.ref = 3;
    exe.grade = MSEG_GRADE_HASH;
    image.exe_classes.emplace_back(exe, kExe);
    mseg_user_key user{};
    user.uid = 1000;
    image.users.emplace_back(user, kUser);
    uint32_t want = 0;
    for (unsigned i = 0; i < 4; i++) {
      if ((subset & 1u << i) == 0) continue;
      mseg_identity_key key{};
      key.cgroup = kCgroup;
      key.exe = chain[i].exe;
      key.user = chain[i].user;
      image.identities.emplace_back(key,
                                    mseg_identity_value{chain[i].cls * 1000ull, chain[i].cls, 0});
      if (want == 0) want = chain[i].cls;
    }
    Normalize(&image.identities);
    Apply(tables, image);
    mseg_explain args{};
    args.local = IdentityOf({.cgroup_id = 5, .exe_ref = 3, .grade = MSEG_GRADE_HASH, .uid = 1000});
    args.resolve_local = 1;
    REQUIRE(plane->Explain(&args).ok());
    INFO("subset " << subset);
    CHECK(args.failed == (want == 0 ? 1 : 0));
    CHECK(args.local_class == want);
    if (want != 0) CHECK(args.local.label_id == want * 1000ull);
    // Without an answer the verdict is a refusal whatever the rows say.
    if (want == 0) {
      CHECK(args.verdict == MSEG_DENY);
      CHECK(args.reason == MSEG_REASON_NO_ROW);
    }
  }
}

TEST_CASE("pending cgroups, unknown executables and shared listeners are what is uncertain") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  GenerationImage image;
  auto add = [&image](uint64_t cgroup, uint64_t exe, uint32_t cls) {
    mseg_identity_key key{};
    key.cgroup = cgroup;
    key.exe = exe;
    image.identities.emplace_back(key, mseg_identity_value{.label_id = cls, .cls = cls, .pad = 0});
  };
  add(MSEG_CGROUP_PENDING, MSEG_EXE_UNKNOWN, 1);
  add(MSEG_CGROUP_PENDING, MSEG_EXE_OTHER, 2);
  add(50, MSEG_EXE_UNKNOWN, 3);
  add(50, MSEG_EXE_OTHER, 4);
  mseg_cgroup_key cgroup{};
  cgroup.id = 5;
  image.cgroups.emplace_back(cgroup, mseg_cgroup{.cls = 50, .watch = 0, .doors = 0, .loopback = 0});
  Normalize(&image.identities);
  Apply(tables, image);
  auto cls = [&plane](const Facts& facts, uint8_t flags) {
    mseg_explain args{};
    args.local = IdentityOf(facts);
    args.local.flags = flags;
    args.resolve_local = 1;
    REQUIRE(plane->Explain(&args).ok());
    REQUIRE(args.failed == 0);
    return args.local_class;
  };
  CHECK(cls({.cgroup_id = 5, .exe_ref = 7, .grade = MSEG_GRADE_HASH}, 0) == 4);
  CHECK(cls({.cgroup_id = 5}, 0) == 3);
  CHECK(cls({.cgroup_id = 6, .exe_ref = 7, .grade = MSEG_GRADE_HASH}, 0) == 2);
  CHECK(cls({.cgroup_id = 6}, 0) == 1);
  CHECK(cls({.cgroup_id = 5, .exe_ref = 7, .grade = MSEG_GRADE_HASH}, MSEG_ID_AMBIGUOUS) == 1);
  CHECK(cls({.cgroup_id = 5}, MSEG_ID_NO_RECORD) == 3);
}

TEST_CASE("either side can be asked, the active one by default") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  const auto image_of = [](mseg_verdict verdict, uint32_t cls) {
    GenerationImage image = ImageOf(7, MSEG_INGRESS, verdict);
    mseg_identity_key identity{};
    identity.cgroup = MSEG_CGROUP_PENDING;
    image.identities.emplace_back(identity,
                                  mseg_identity_value{.label_id = cls, .cls = cls, .pad = 0});
    return image;
  };
  Apply(tables, image_of(MSEG_DENY, 7));
  const uint32_t active = *tables.Generation();
  const GenerationImage next = image_of(MSEG_ALLOW, 8);
  REQUIRE(tables.Stage(TablesOf(next)).ok());
  const auto ask = [&plane](uint32_t generation, bool resolve) {
    mseg_explain args{};
    args.local_class = 7;
    args.resolve_local = resolve;
    args.direction = MSEG_INGRESS;
    args.generation = generation;
    REQUIRE(plane->Explain(&args).ok());
    return args;
  };
  CHECK(ask(0, false).verdict == MSEG_DENY);
  CHECK(ask(0, false).generation == active);
  CHECK(ask(active, false).verdict == MSEG_DENY);
  CHECK(ask(active + 1, false).verdict == MSEG_ALLOW);
  CHECK(ask(active + 1, false).generation == active + 1);
  CHECK(ask(0, true).local_class == 7);
  CHECK(ask(active + 1, true).local_class == 8);
  REQUIRE(tables.Flip().ok());
  CHECK(ask(0, false).verdict == MSEG_ALLOW);
}

TEST_CASE("an identity that was resolved in an older generation is resolved anew") {
  const auto& plane = SharedInstance().plane;
  const PolicyTables tables(*plane);
  const uint32_t before = *tables.Generation();
  for (uint32_t round = before + 1; round <= before + 6; round++) {
    GenerationImage image;
    mseg_identity_key key{};
    key.cgroup = MSEG_CGROUP_PENDING;
    image.identities.emplace_back(key,
                                  mseg_identity_value{.label_id = round, .cls = round, .pad = 0});
    Apply(tables, image);
    mseg_explain args{};
    args.local.cls = 999;
    args.local.generation = round;
    args.resolve_local = 1;
    REQUIRE(plane->Explain(&args).ok());
    CHECK(args.generation == round);
    CHECK(args.local_class == round);
  }
}

}  // namespace mseg::testing
