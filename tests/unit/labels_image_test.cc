// SPDX-License-Identifier: Apache-2.0
// The form of the tables: as few entries as the look-up chains allow, the same for the same input,
// bounded, and open for what appears later.
#include <netinet/in.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "labels/budget.h"
#include "labels/identity_tables.h"
#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

// Whether a row is one of a local class.
bool Judges(const GenerationImage& image, uint32_t cls, const mseg_row_key& key) {
  for (const auto& [number, entry] : image.classes) {
    if (number != cls) continue;
    const bool of_tail = (key.peer & MSEG_PEER_CELL) != 0;
    return key.local == (of_tail ? entry.tail : entry.end)[key.direction];
  }
  return false;
}

std::vector<std::string> RowTexts(const GenerationImage& image, uint32_t local) {
  std::vector<std::string> out;
  for (const auto& [key, row] : image.rows) {
    if (!Judges(image, local, key)) continue;
    const std::string peer = key.peer == MSEG_PEER_ALL ? "all" : Cat(key.peer);
    out.push_back(Cat(DirectionName(key.direction), " ", peer, ":", key.port, " ",
                      VerdictName(row.verdict), " ", (*image.rules)[row.rule].rule()));
  }
  return out;
}

IdentityFacts WithLabel(std::string_view key, std::string_view value) {
  IdentityFacts facts;
  facts.labels.emplace();
  REQUIRE(facts.labels->Set(key, value).ok());
  return facts;
}

TEST_CASE("a coarse rule beside fine ones adds rows for its peers' group, not for each of them") {
  std::string rules = "{name: coarse, verdict: allow, from: {labels: {env: prod}}}";
  for (int i = 0; i < 40; ++i) {
    Append(&rules, ", {verdict: allow, from: {labels: {app: a", i, "}}, services: tcp/", 1000 + i,
           "}");
  }
  const PolicySet policy =
      GoodPolicy(PolicyYaml("p", Cat("{selects: {labels: {role: db}}, directions: [ingress], "
                                     "rules: [",
                                     rules, "]}")));
  Inventory inventory;
  inventory.identities = {WithLabel("role", "db")};
  for (int i = 0; i < 40; ++i) {
    IdentityFacts facts = WithLabel("app", Cat("a", i));
    if (i < 20) REQUIRE(facts.labels->Set("env", "prod").ok());
    inventory.identities.push_back(facts);
  }
  const GenerationImage image = GoodImage(policy, inventory);
  // Processes whose cgroup is not known yet may be anyone: a class and a group of their own.
  CHECK(image.budget.groups == 2);
  CHECK(image.budget.classes == 43);
  std::map<std::string, size_t> rows;
  for (const auto& [key, row] : image.rows) {
    if (key.direction != MSEG_INGRESS || !Judges(image, image.identity_classes[0], key)) continue;
    const char* peer = key.peer == MSEG_PEER_ALL          ? "all"
                       : (key.peer & MSEG_PEER_CELL) != 0 ? "cell"
                                                          : "class";
    ++rows[peer];
  }
  CHECK(rows["all"] == 1);
  CHECK(rows["cell"] == 2);
  CHECK(rows["class"] == 20);  // those that the coarse rule does not allow anyway
  // The same with every selector spelled out: the product.
  CompileOptions fine;
  fine.few_classes = 1000;
  Diagnostics diagnostics;
  const auto spelled = Compile(policy, inventory, fine, &diagnostics);
  REQUIRE(spelled.ok());
  CHECK(spelled->budget.groups == 0);
  CHECK(spelled->rows.size() >= image.rows.size() + 38);
}

// Is this a row of a cell that says something else than the row for every peer beside it?
bool IsNarrower(const GenerationImage& image, mseg_row_key key, const mseg_row& row) {
  if ((key.peer & MSEG_PEER_CELL) == 0 || key.peer == MSEG_PEER_ALL) return false;
  key.peer = MSEG_PEER_ALL;
  return std::any_of(image.rows.begin(), image.rows.end(), [&](const auto& entry) {
    const mseg_row& every = entry.second;
    return std::memcmp(&entry.first, &key, sizeof(key)) == 0 &&
           (every.rule != row.rule || every.verdict != row.verdict || every.reason != row.reason ||
            every.may != row.may);
  });
}

TEST_CASE("no row repeats what the rest of its chain says") {
  const PolicySet policy = GoodPolicy(PolicyYaml(
      "p",
      "{selects: {}, rules: [{name: a, verdict: allow, services: tcp/1}, {name: b, verdict: allow, "
      "from: {labels: {app: x}}}, {name: c, verdict: deny, to: {labels: {app: x}}, services: "
      "tcp/1-9}, {name: d, verdict: allow, to: {labels: {app: y}}, services: [tcp/2, tcp/5]}]}"));
  Inventory inventory;
  inventory.identities = {WithLabel("app", "x"), WithLabel("app", "y"), WithLabel("role", "z")};
  CompileOptions options;
  options.few_classes = GENERATE(0, 1, 100);
  Diagnostics diagnostics;
  const auto compiled = Compile(policy, inventory, options, &diagnostics);
  REQUIRE(compiled.ok());
  const GenerationImage& image = *compiled;
  REQUIRE(image.rows.size() > 10);
  for (size_t i = 0; i < image.rows.size(); ++i) {
    const auto& [key, row] = image.rows[i];
    if (key.peer == MSEG_PEER_ALL && key.port == 0) continue;  // always there
    GenerationImage without = image;
    without.rows.erase(without.rows.begin() + static_cast<std::ptrdiff_t>(i));
    // A row that only says where to look further is needed all the same.
    const Simulator whole(image);
    const Simulator less(without);
    // Rows of a cell stand for all its peers, although rows of single peers may come first.
    bool differs = IsNarrower(image, key, row);
    for (const auto& [local, unused] : image.classes) {
      if (!Judges(image, local, key)) continue;
      for (const auto& [peer, entry] : image.classes) {
        for (uint16_t port = 0; port < 12; ++port) {
          const auto direction = static_cast<mseg_direction>(key.direction);
          const mseg_decision a = whole.Decide(local, peer, direction, 6, port);
          const mseg_decision b = less.Decide(local, peer, direction, 6, port);
          differs = differs || a.rule != b.rule || a.verdict != b.verdict || a.reason != b.reason ||
                    a.may != b.may;
        }
      }
    }
    INFO("row " << key.local << " " << key.peer << " " << key.port << " "
                << static_cast<int>(key.direction));
    CHECK(differs);
  }
}

TEST_CASE("identities are left out where the chain says the same") {
  const PolicySet policy =
      GoodPolicy(WorkloadYaml("w", "{labels: {app: x}, match: {cgroup: /a, exe: /bin/x}}") +
                 WorkloadYaml("u", "{labels: {env: y}, match: {cgroup: /b, user: '7'}}") +
                 PolicyYaml("p", "{selects: {labels: {app: x}}}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/a"}, {2, "/b"}, {3, "/c"}, {4, "/c/d"}};
  inventory.executables = {Executable(1, "/bin/x", 1), Executable(2, "/bin/y", 2)};
  const GenerationImage image = GoodImage(policy, inventory);
  const uint64_t c = image.cgroups[2].second.cls;
  CHECK(image.cgroups[3].second.cls == c);  // nothing tells /c and /c/d apart
  auto count = [&image](uint64_t cgroup) {
    return std::count_if(image.identities.begin(), image.identities.end(),
                         [cgroup](const auto& entry) { return entry.first.cgroup == cgroup; });
  };
  CHECK(count(image.cgroups[0].second.cls) == 3);  // other, unknown, /bin/x
  CHECK(count(image.cgroups[1].second.cls) == 2);  // other, user 7
  CHECK(count(c) == 1);
  CHECK(count(MSEG_CGROUP_PENDING) == 1);
  CHECK(image.exe_classes.size() == 2);  // /bin/x by hash and by path; /bin/y matches nothing
}

TEST_CASE("the same input gives the same image, whatever its order") {
  const std::string first = WorkloadYaml("a", "{labels: {app: a}, match: {cgroup: /a}}");
  const std::string second = WorkloadYaml("b", "{labels: {app: b}, match: {exe: /bin/*}}");
  const std::string rules = PolicyYaml(
      "p", "{selects: {labels: {app: a}}, rules: [{verdict: allow, from: {labels: {app: b}}}]}");
  Inventory inventory;
  inventory.cgroups = {{1, "/a"}, {2, "/"}, {3, "/b"}};
  inventory.executables = {Executable(1, "/bin/x", 1), Executable(2, "/usr/y", 2)};
  Inventory reversed = inventory;
  std::reverse(reversed.cgroups.begin(), reversed.cgroups.end());
  std::reverse(reversed.executables.begin(), reversed.executables.end());
  const GenerationImage one = GoodImage(GoodPolicy(first + second + rules), inventory);
  const GenerationImage two = GoodImage(GoodPolicy(rules + second + first), reversed);
  auto same = [](const auto& a, const auto& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
  };
  CHECK(same(one.rows, two.rows));
  CHECK(same(one.identities, two.identities));
  CHECK(same(one.cgroups, two.cgroups));
  CHECK(same(one.exe_classes, two.exe_classes));
  CHECK(same(one.addresses, two.addresses));
  CHECK(one.ports == two.ports);
  CHECK(*one.label_sets == *two.label_sets);
}

TEST_CASE("what does not fit is refused with the budget") {
  const PolicySet policy = GoodPolicy(PolicyYaml(
      "p",
      "{selects: {}, rules: [{verdict: allow, services: [tcp/1]}, {verdict: deny, services: "
      "[tcp/2]}]}"));
  Diagnostics diagnostics;
  CompileOptions options;
  options.max_rows = 3;
  auto image = Compile(policy, {}, options, &diagnostics);
  REQUIRE(absl::IsResourceExhausted(image.status()));
  CHECK(std::string(image.status().message()).find("more than 3 rows") != std::string::npos);
  CHECK(std::string(image.status().message()).find("rules 2") != std::string::npos);
  options = CompileOptions();
  options.max_identities = 0;
  image = Compile(policy, {}, options, &diagnostics);
  REQUIRE(absl::IsResourceExhausted(image.status()));
  CHECK(std::string(image.status().message()).find("more than 0 identities") != std::string::npos);
  CHECK(diagnostics.empty());
  options.max_identities = 1;
  CHECK(Compile(policy, {}, options, &diagnostics).ok());
}

TEST_CASE("two meanings of one short id are refused, both named") {
  Inventory inventory;
  inventory.executables = {Executable(1, "/bin/x", 1), Executable(2, "/bin/y", 2)};
  inventory.executables[1].exe_id = 1;
  Diagnostics diagnostics;
  const auto image = Compile(PolicySet(), inventory, {}, &diagnostics);
  REQUIRE(absl::IsInvalidArgument(image.status()));
  REQUIRE(diagnostics.size() == 1);
  CHECK(diagnostics[0].message.find("/bin/x") != std::string::npos);
  CHECK(diagnostics[0].message.find("/bin/y") != std::string::npos);
  // The same content at two paths is no collision.
  inventory.executables[1].digest = inventory.executables[0].digest;
  CHECK(Compile(PolicySet(), inventory, {}, &diagnostics).ok());
  LabelSets sets;
  LabelSet a;
  LabelSet b;
  REQUIRE(a.Set("app", "a").ok());
  REQUIRE(b.Set("app", "b").ok());
  CHECK(RegisterLabelSet(1, a, &sets).ok());
  CHECK(RegisterLabelSet(1, a, &sets).ok());
  const absl::Status clash = RegisterLabelSet(1, b, &sets);
  CHECK(std::string(clash.message()).find("app=a") != std::string::npos);
  CHECK(std::string(clash.message()).find("app=b") != std::string::npos);
}

TEST_CASE("an empty policy allows everything and knows every process") {
  Inventory inventory;
  inventory.cgroups = {{1, "/"}};
  const GenerationImage image = GoodImage(PolicySet(), inventory);
  CHECK(image.rows.size() == 2);
  CHECK(image.budget.classes == 1);
  CHECK(RowTexts(image, 0) ==
        std::vector<std::string>{"egress all:0 allow ", "ingress all:0 allow "});
  REQUIRE(image.addresses.size() == 1);
  CHECK(image.addresses[0].first.prefixlen == 8);
  const Simulator simulator(image);
  CHECK(simulator.Decide(1, 0, MSEG_EGRESS, 6, 1).reason == MSEG_REASON_NO_ROW);
  CHECK(simulator.Decide(1, 0, MSEG_EGRESS, 6, 1).verdict == MSEG_DENY);
}

TEST_CASE("cgroups below which a pattern may match are watched") {
  const PolicySet policy =
      GoodPolicy(WorkloadYaml("a", "{labels: {app: a}, match: {cgroup: [/pods/*/c, /x/y]}}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/"},  {2, "/pods"}, {3, "/pods/1"}, {4, "/pods/1/c"},
                       {5, "/x"}, {6, "/x/y"},  {7, "/z"}};
  const GenerationImage image = GoodImage(policy, inventory);
  std::string watched;
  for (const auto& [key, cgroup] : image.cgroups) Append(&watched, cgroup.watch);
  CHECK(watched == "1110100");
}

TEST_CASE("the classifier knows what may be inserted without compiling again") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("a", "{labels: {app: a}, match: {cgroup: '/pods/*'}}") +
      WorkloadYaml("b", "{labels: {app: b}, match: {cgroup: /late}}") +
      PolicyYaml("p",
                 "{selects: {labels: {app: a}}, rules: [{verdict: allow, from: "
                 "{process: {name: x}}}, {verdict: allow, from: {process: {name: y}}}]}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/"}, {2, "/pods"}, {3, "/pods/1"}};
  inventory.executables = {Executable(1, "/bin/x", 1)};
  const GenerationImage image = GoodImage(policy, inventory);
  const Classifier& classifier = *image.classifier;
  const ExeClass known = classifier.ExeClassOf(Executable(9, "/opt/x", 9), MSEG_GRADE_HASH);
  CHECK(known.known);
  CHECK(known.cls == image.exe_classes[0].second);
  const ExeClass other = classifier.ExeClassOf(Executable(9, "/opt/z", 9), MSEG_GRADE_HASH);
  CHECK(other.known);
  CHECK(other.cls == MSEG_EXE_OTHER);
  CHECK_FALSE(classifier.ExeClassOf(Executable(9, "/opt/y", 9), MSEG_GRADE_HASH).known);
  const CgroupClass pod = classifier.CgroupClassOf("/pods/2/deep");
  CHECK(pod.known);
  CHECK(pod.cls == image.cgroups[2].second.cls);
  CHECK_FALSE(pod.watch);
  CHECK_FALSE(classifier.CgroupClassOf("/late").known);
  CHECK(classifier.CgroupClassOf("/nothing").cls == image.cgroups[0].second.cls);
}

TEST_CASE("what the workloads of a cgroup say of ways without an address is added up") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("host", "{labels: {a: h}, match: {host: true}, raw: allow}") +
      WorkloadYaml("outer", "{labels: {a: o}, match: {cgroup: /o}, passing: allow, unix: judge}") +
      WorkloadYaml("inner", "{labels: {a: i}, match: {cgroup: /o/i}, passing: deny, "
                            "family: [packet, xdp]}") +
      WorkloadYaml("test", "{labels: {a: t}, match: {cgroup: /t}, state: test, passing: deny}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/"}, {2, "/o"}, {3, "/o/i"}, {4, "/t"}};
  const GenerationImage image = GoodImage(policy, inventory);
  const int outer = MSEG_DOOR_RAW | MSEG_DOOR_UNIX_JUDGE;
  const int inner = MSEG_DOOR_PASSING_DENY | MSEG_DOOR_PACKET | MSEG_DOOR_XDP;
  CHECK(image.cgroups[0].second.doors == MSEG_DOOR_RAW);
  CHECK(image.cgroups[1].second.doors == (outer | MSEG_DOOR_PASSING_ALLOW));
  CHECK(image.cgroups[2].second.doors == (outer | inner));
  CHECK(image.cgroups[3].second.doors == MSEG_DOOR_RAW);  // what is not enforced refuses nothing
  CHECK(image.classifier->CgroupClassOf("/o/i/deep").doors == (outer | inner));
}

TEST_CASE("libraries must be trusted as the state of the workload says, and not in a panic") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("a", "{labels: {a: a}, match: {cgroup: /a}, libraries: trusted, passing: deny, "
                        "raw: allow}") +
      WorkloadYaml("t", "{labels: {a: t}, match: {cgroup: /t}, libraries: trusted, state: test}") +
      WorkloadYaml("e", "{labels: {a: t}, match: {cgroup: /t/e}, libraries: trusted}") +
      WorkloadYaml("b", "{labels: {a: b}, match: {cgroup: /b}, libraries: trusted, state: build}") +
      WorkloadYaml("any", "{labels: {a: n}, match: {cgroup: /n}, libraries: any}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/a"}, {2, "/b"}, {3, "/n"}, {4, "/t"}, {5, "/t/e"}};
  auto doors_of = [](const GenerationImage& image) {
    std::vector<int> doors;
    for (const auto& [key, cgroup] : image.cgroups) doors.push_back(cgroup.doors);
    return doors;
  };
  constexpr int kAsked = MSEG_DOOR_LIBRARIES;
  constexpr int kTest = MSEG_DOOR_LIBRARIES_TEST;
  const GenerationImage image = GoodImage(policy, inventory);
  const int denied = kAsked | MSEG_DOOR_PASSING_DENY | MSEG_DOOR_RAW;
  CHECK(doors_of(image) == std::vector<int>{denied, 0, 0, kTest, kTest | kAsked});
  CompileOptions options;
  options.previous = &image;
  options.highest_state = State::kTest;
  Diagnostics diagnostics;
  const auto panic = Compile(policy, inventory, options, &diagnostics);
  REQUIRE(panic.ok());
  CHECK(doors_of(*panic) == std::vector<int>{kTest | MSEG_DOOR_RAW, 0, 0, kTest, kTest});
  CHECK(panic->classifier->CgroupClassOf("/t/e/f").doors == kTest);
}

TEST_CASE("a digest whose file is not known matches by digest for certain, by path perhaps") {
  const std::string digest(64, 'a');
  const PolicySet policy = GoodPolicy(PolicyYaml(
      "p", Cat("{selects: {labels: {role: db}}, directions: [ingress], rules: [",
               "{name: content, verdict: allow, from: {process: {digest: \"sha256:", digest,
               "\"}}, services: tcp/1}, ",
               "{name: place, verdict: allow, from: {process: {exe: /bin/x}}, services: tcp/2}, ",
               "{name: both, verdict: allow, from: {process: {exe: /bin/x, digest: \"sha256:",
               std::string(64, 'b'), "\"}}, services: tcp/3}]}")));
  ExecutableInfo executable;
  executable.ref = 7;
  executable.digest.fill(0xaa);
  executable.grade = MSEG_GRADE_IMA;
  auto ask = [&](const ExecutableInfo& asked, uint16_t port) {
    Inventory inventory;
    IdentityFacts client;
    client.exe = IdentityFacts::Exe::kKnown;
    client.executable = asked;
    inventory.identities = {WithLabel("role", "db"), client};
    const GenerationImage image = GoodImage(policy, inventory);
    return Simulator(image).Decide(image.identity_classes[0], image.identity_classes[1],
                                   MSEG_INGRESS, IPPROTO_TCP, port);
  };
  executable.any_path = true;
  CHECK(ask(executable, 1).verdict == MSEG_ALLOW);
  CHECK(ask(executable, 1).reason == MSEG_REASON_RULE);
  // It may be the one that lies there.
  CHECK(ask(executable, 2).verdict == MSEG_DENY);
  CHECK(ask(executable, 2).reason == MSEG_REASON_UNKNOWN_IDENTITY);
  // Wherever it lies, its content is another one.
  CHECK(ask(executable, 3).reason == MSEG_REASON_DEFAULT);
  executable.any_path = false;
  CHECK(ask(executable, 1).verdict == MSEG_ALLOW);
  CHECK(ask(executable, 2).reason == MSEG_REASON_DEFAULT);
}

TEST_CASE("what a policy mentions") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("a",
                   "{labels: {app: a}, match: {exe: [/bin/x, '/opt/*/y'], user: [bob, '7']}}") +
      PolicyYaml("p",
                 "{selects: {process: {user: eve}}, rules: [{verdict: allow, from: {process: "
                 "{name: n}}, to: {process: {exe: /z, digest: \"sha256:" +
                     std::string(64, 'c') + "\"}}}]}"));
  const Mentions mentions = CollectMentions(policy);
  CHECK(mentions.exe_paths == std::set<std::string>{"/bin/x", "/opt/*/y", "/z"});
  CHECK(mentions.exe_names == std::set<std::string>{"n"});
  CHECK(mentions.users == std::set<std::string>{"bob", "eve"});
  Digest digest;
  digest.fill(0xcc);
  CHECK(mentions.digests == std::set<Digest>{digest});
}

}  // namespace
}  // namespace mseg::testing
