// SPDX-License-Identifier: Apache-2.0
// A large fleet's policy: its tables stay small, and a small change of it is a small change of
// them. MSEG_SCALE_RULES=100000 runs it at full size.
#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "labels/compiler.h"
#include "labels/simulator.h"
#include "labels/text.h"
#include "tests/support/environment.h"
#include "tests/support/fleet.h"
#include "tests/support/policy_fixture.h"
#include "tests/support/policy_reference.h"

namespace mseg::testing {
namespace {

constexpr size_t kRules = 10'000;

Fleet TestFleet() {
  Fleet fleet;
  fleet.rules = FromEnvironment("MSEG_SCALE_RULES", kRules);
  fleet.identities = fleet.rules / 10;
  fleet.local = fleet.identities / 20;
  return fleet;
}

std::vector<Document> Parse(const std::vector<std::string>& texts) {
  std::vector<Document> out;
  Diagnostics diagnostics;
  for (const std::string& text : texts) {
    auto documents = ParseDocuments("fleet.yaml", text, &diagnostics);
    REQUIRE(documents.ok());
    for (Document& document : *documents) out.push_back(std::move(document));
  }
  return out;
}

PolicySet SetOf(std::vector<std::string> workloads, const std::vector<std::string>& policies) {
  workloads.insert(workloads.end(), policies.begin(), policies.end());
  Diagnostics diagnostics;
  auto set = BuildPolicySet(Parse(workloads), &diagnostics);
  REQUIRE(set.ok());
  return *std::move(set);
}

GenerationImage CompileFleet(const PolicySet& set, const Inventory& host,
                             const GenerationImage* previous) {
  CompileOptions options;
  options.previous = previous;
  Diagnostics diagnostics;
  auto image = Compile(set, host, options, &diagnostics);
  INFO(std::string(image.status().message()));
  REQUIRE(image.ok());
  return *std::move(image);
}

// Entries of one table that the other does not have just so.
template <typename Table>
size_t Missing(const Table& from, const Table& in) {
  size_t missing = 0;
  for (const auto& entry : from) {
    const auto found = std::find_if(in.begin(), in.end(), [&entry](const auto& other) {
      return std::memcmp(&other.first, &entry.first, sizeof(entry.first)) == 0;
    });
    missing +=
        found == in.end() || std::memcmp(&found->second, &entry.second, sizeof(entry.second)) != 0
            ? 1
            : 0;
  }
  return missing;
}

template <typename Table>
size_t SortedDifference(const Table& a, const Table& b) {
  size_t differing = 0;
  size_t j = 0;
  for (const auto& entry : a) {
    while (j < b.size() && std::memcmp(&b[j].first, &entry.first, sizeof(entry.first)) < 0) {
      ++differing;
      ++j;
    }
    const bool there =
        j < b.size() && std::memcmp(&b[j].first, &entry.first, sizeof(entry.first)) == 0;
    if (!there || std::memcmp(&b[j].second, &entry.second, sizeof(entry.second)) != 0) ++differing;
    if (there) ++j;
  }
  return differing + (b.size() - j);
}

size_t Entries(const GenerationImage& a, const GenerationImage& b) {
  return SortedDifference(a.rows, b.rows) + SortedDifference(a.identities, b.identities) +
         SortedDifference(a.addresses, b.addresses) + SortedDifference(a.cgroups, b.cgroups) +
         Missing(a.classes, b.classes) + Missing(a.groups, b.groups) + Missing(a.tails, b.tails) +
         (a.ports == b.ports ? 0 : 1);
}

TEST_CASE("a fleet's tables do not grow with its coarse rules times its identities", "[scale]") {
  const Fleet fleet = TestFleet();
  const PolicySet set = SetOf(fleet.Workloads(), fleet.Policies());
  const GenerationImage image = CompileFleet(set, fleet.Host(), nullptr);
  INFO(BudgetText(image.budget));
  CHECK(image.budget.rules == fleet.rules);
  CHECK(image.rows.size() < fleet.rules / 2);
  // The arrays have one size for all.
  const uint64_t empty = CompileFleet(PolicySet(), {}, nullptr).budget.kernel_bytes;
  CHECK((image.budget.kernel_bytes - empty) / fleet.rules < 256);
}

TEST_CASE("a fleet's tables say what the rules say", "[scale]") {
  const Fleet fleet = TestFleet();
  const PolicySet set = SetOf(fleet.Workloads(), fleet.Policies());
  const Inventory host = fleet.Host();
  const GenerationImage image = CompileFleet(set, host, nullptr);
  const Simulator simulator(image);
  const PolicyReference reference(set, host.uids);
  std::mt19937_64 random(7);
  auto facts = [&] {
    IdentityFacts out;
    out.cgroup = host.cgroups[2 + random() % (host.cgroups.size() - 2)].path;
    out.uid = 0;
    if (random() % 4 == 0) {
      out.exe = IdentityFacts::Exe::kUnknown;
    } else {
      out.exe = IdentityFacts::Exe::kKnown;
      out.executable = host.executables[random() % host.executables.size()];
    }
    return out;
  };
  size_t denied = 0;
  size_t by_rule = 0;
  std::vector<Probe> lookups;
  constexpr int kQuestions = 300;
  for (int i = 0; i < kQuestions; ++i) {
    const IdentityFacts local = facts();
    const uint32_t local_class = *image.classifier->ClassOf(local);
    const IdentityFacts near = facts();
    const IpAddress far = {0,
                           0,
                           0,
                           0,
                           0,
                           0,
                           0,
                           0,
                           0,
                           0,
                           0xFF,
                           0xFF,
                           10,
                           0,
                           static_cast<uint8_t>(random() % (fleet.identities / 256 + 1)),
                           static_cast<uint8_t>(random())};
    const bool remote = random() % 2 == 0;
    const uint32_t peer_class =
        remote ? simulator.AddressClass(far) : *image.classifier->ClassOf(near);
    const auto direction = static_cast<mseg_direction>(random() % 2);
    const uint16_t port = static_cast<uint16_t>(1000 + random() % 201);
    const mseg_decision got =
        simulator.Trace(local_class, peer_class, direction, 6, port, &lookups);
    const ReferenceVerdict want = reference.Judge(
        reference.Process(local), remote ? reference.Address(far) : reference.Process(near),
        direction, 6, port);
    CHECK((got.verdict == MSEG_ALLOW) == want.enforced.allow);
    CHECK(got.reason == want.enforced.reason);
    denied += got.verdict == MSEG_DENY ? 1 : 0;
    by_rule += got.reason == MSEG_REASON_RULE ? 1 : 0;
  }
  CHECK(denied > 10);
  CHECK(by_rule > 10);
  // Hints leave out most of those that must miss; without them it would be 2.5 a question.
  CHECK(lookups.size() < kQuestions * 3 / 2);
}

TEST_CASE("a rule for each of many addresses", "[scale]") {
  // Minutes, if every rule were asked about every address.
  constexpr int kAddresses = 30'000;
  std::string rules = "{selects: {labels: {app: web}}, directions: [egress], rules: [";
  auto address = [](int i) { return Cat("10.7.", i / 256, ".", i % 256); };
  for (int i = 0; i < kAddresses; ++i) {
    rules += Cat("{name: r", i, ", verdict: ", i % 3 == 0 ? "deny" : "allow", ", to: {cidrs: [",
                 address(i), "]}, services: tcp/443},\n");
  }
  rules += "{name: net, verdict: allow, to: {cidrs: [10.7.0.0/20]}, services: tcp/443}]}";
  const PolicySet policy = GoodPolicy(PolicyYaml("p", rules));
  constexpr char kWeb[] = "labels:app=web";
  CHECK(Answer(policy, kWeb, "ip:" + address(300), "tcp/443") == "deny rule p/r300");
  CHECK(Answer(policy, kWeb, "ip:" + address(20'000), "tcp/443") == "allow rule p/r20000");
  CHECK(Answer(policy, kWeb, "ip:10.8.0.1", "tcp/443") == "deny default p");
}

TEST_CASE("one changed rule of many changes a handful of entries", "[scale]") {
  const Fleet fleet = TestFleet();
  const Inventory host = fleet.Host();
  const std::vector<std::string> workloads = fleet.Workloads();
  std::vector<std::string> policies = fleet.Policies();
  const GenerationImage before = CompileFleet(SetOf(workloads, policies), host, nullptr);
  // The same again: nothing moves.
  CHECK(Entries(before, CompileFleet(SetOf(workloads, policies), host, &before)) == 0);
  // Another port for one rule of the first policy, whose responder lives here.
  const size_t at = policies[0].find("services: [tcp/");
  REQUIRE(at != std::string::npos);
  policies[0].insert(at + std::string_view("services: [").size(), "tcp/7, ");
  const GenerationImage after = CompileFleet(SetOf(workloads, policies), host, &before);
  const size_t changed = Entries(before, after);
  INFO(changed);
  CHECK(changed > 0);
  CHECK(changed < 100);
  // A policy that sorts first: all others keep their numbers.
  policies.insert(policies.begin(),
                  "apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: aaa}\nspec:\n  rules:\n"
                  "  - {verdict: allow, from: {labels: {app: a1, role: r1, env: e1}}, to: "
                  "{labels: {app: a0, role: r0, env: e0}}, services: [tcp/1000]}\n");
  CHECK(Entries(after, CompileFleet(SetOf(workloads, policies), host, &after)) < 40);
}

TEST_CASE("a workload that comes or changes its labels changes what it must", "[scale]") {
  const Fleet fleet = TestFleet();
  const Inventory host = fleet.Host();
  std::vector<std::string> workloads = fleet.Workloads();
  const std::vector<std::string> policies = fleet.Policies();
  const GenerationImage before = CompileFleet(SetOf(workloads, policies), host, nullptr);
  workloads.push_back(
      "apiVersion: mseg.io/v1\nkind: Workload\nmetadata: {name: new}\nspec:\n  labels: {env: e1, "
      "app: a1, role: r1, loc: l1}\n  match: {addresses: [10.200.0.1]}\n");
  const GenerationImage more = CompileFleet(SetOf(workloads, policies), host, &before);
  CHECK(Entries(before, more) < 60);
  workloads.back().replace(workloads.back().find("role: r1"), 8, "role: r2");
  const GenerationImage moved = CompileFleet(SetOf(workloads, policies), host, &more);
  CHECK(Entries(more, moved) < 100);
}

}  // namespace
}  // namespace mseg::testing
