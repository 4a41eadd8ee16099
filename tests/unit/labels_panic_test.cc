// SPDX-License-Identifier: Apache-2.0
// A host in panic: nothing is denied, and what would be is what was.
#include <catch2/catch.hpp>

#include "labels/compiler.h"
#include "labels/simulator.h"
#include "tests/support/policy_fixture.h"
#include "tests/support/policy_random.h"

namespace mseg::testing {
namespace {

struct Verdicts {
  int denied = 0;
  int would_deny = 0;
};

// Every end of every pair of processes of a random host, in both images.
void Compare(uint64_t seed, Verdicts* seen) {
  PolicyRandom random(seed);
  std::string text;
  const PolicySet policy = random.Policy(&text);
  const Inventory inventory = random.Host(6);
  INFO("seed " << seed << "\n" << text);
  Diagnostics diagnostics;
  CompileOptions options;
  const auto normal = Compile(policy, inventory, options, &diagnostics);
  options.highest_state = State::kTest;
  const auto panic = Compile(policy, inventory, options, &diagnostics);
  REQUIRE(normal.ok());
  REQUIRE(panic.ok());
  const Simulator before(*normal), during(*panic);
  const auto rule_name = [](const GenerationImage& image, uint32_t rule) {
    return (*image.rules)[rule].policy() + "/" + (*image.rules)[rule].rule();
  };
  for (size_t i = 0; i < inventory.identities.size(); ++i) {
    for (size_t j = 0; j < inventory.identities.size(); ++j) {
      const auto [protocol, port] = random.Service();
      for (const mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
        const mseg_decision was = before.Decide(
            normal->identity_classes[i], normal->identity_classes[j], direction, protocol, port);
        const mseg_decision is = during.Decide(
            panic->identity_classes[i], panic->identity_classes[j], direction, protocol, port);
        REQUIRE(is.verdict == MSEG_ALLOW);
        REQUIRE(is.would_be == was.would_be);
        REQUIRE(is.would_reason == was.would_reason);
        REQUIRE(rule_name(*panic, is.would_rule) == rule_name(*normal, was.would_rule));
        seen->denied += was.verdict == MSEG_DENY;
        seen->would_deny += is.would_be == MSEG_DENY;
      }
    }
  }
}

TEST_CASE("in panic nothing is denied, and would-be verdicts stay", "[panic]") {
  Verdicts seen;
  for (uint64_t seed = 1; seed <= 200; ++seed) Compare(seed, &seen);
  CHECK(seen.denied > 100);
  CHECK(seen.would_deny >= seen.denied);
}

TEST_CASE("panic changes no document: the same set gives the old image again", "[panic]") {
  const PolicySet policy = GoodPolicy(PolicyYaml("p", "{selects: {}}"));
  Inventory inventory;
  inventory.identities.emplace_back();
  const auto verdict = [&](State highest) {
    CompileOptions options;
    options.highest_state = highest;
    Diagnostics diagnostics;
    const auto image = Compile(policy, inventory, options, &diagnostics);
    REQUIRE(image.ok());
    const uint32_t cls = image->identity_classes[0];
    return Simulator(*image).Decide(cls, cls, MSEG_INGRESS, 6, 80).verdict;
  };
  CHECK(verdict(State::kEnforce) == MSEG_DENY);
  CHECK(verdict(State::kTest) == MSEG_ALLOW);
  CHECK(verdict(State::kEnforce) == MSEG_DENY);
}

}  // namespace
}  // namespace mseg::testing
