// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "labels/compiler.h"
#include "labels/simulator.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

// Everything denied, by default and by a rule.
PolicySet Closed() {
  return GoodPolicy(PolicyYaml("closed", "{selects: {}, rules: [{name: no, verdict: deny}]}"));
}

struct Host {
  explicit Host(std::vector<FailsafeEntry> failsafe, const PolicySet& policy = Closed()) {
    CompileOptions options;
    options.failsafe = std::move(failsafe);
    Inventory inventory;
    inventory.cgroups = {{1, "/"}};
    inventory.executables = {Executable(1, "/usr/sbin/agent", 1)};
    Diagnostics diagnostics;
    auto compiled = Compile(policy, inventory, options, &diagnostics);
    REQUIRE(compiled.ok());
    image = *std::move(compiled);
  }
  mseg_decision Ask(mseg_direction direction, uint8_t protocol, uint16_t port,
                    uint32_t exe = 0) const {
    const Simulator simulator(image);
    const uint32_t local = simulator.Identity(1, exe, MSEG_GRADE_HASH, 0).cls;
    return simulator.Decide(local, 0, direction, protocol, port);
  }
  GenerationImage image;
};

TEST_CASE("what is fail-safe is allowed before any rule, in its direction and nothing else is") {
  const Host host(DefaultFailsafe());
  const mseg_decision ssh = host.Ask(MSEG_INGRESS, 6, 22);
  CHECK(ssh.verdict == MSEG_ALLOW);
  CHECK(ssh.would_be == MSEG_ALLOW);
  CHECK(ssh.reason == MSEG_REASON_FAILSAFE);
  CHECK((*host.image.rules)[ssh.rule].policy() == "failsafe");
  CHECK(host.Ask(MSEG_EGRESS, 6, 22).verdict == MSEG_DENY);
  CHECK(host.Ask(MSEG_INGRESS, 6, 23).verdict == MSEG_DENY);
  CHECK(host.Ask(MSEG_INGRESS, 17, 22).verdict == MSEG_DENY);
  for (const uint16_t port : {67, 68, 546, 547}) {
    CHECK(host.Ask(MSEG_EGRESS, 17, port).verdict == MSEG_ALLOW);
    CHECK(host.Ask(MSEG_INGRESS, 17, port).verdict == MSEG_ALLOW);
  }
  CHECK(host.Ask(MSEG_EGRESS, 17, 53).verdict == MSEG_DENY);
}

TEST_CASE("without entries nothing is fail-safe") {
  const Host host({});
  CHECK(host.Ask(MSEG_INGRESS, 6, 22).verdict == MSEG_DENY);
  CHECK(host.Ask(MSEG_INGRESS, 6, 22).reason == MSEG_REASON_RULE);
}

TEST_CASE("an entry of one executable needs to know it for certain") {
  FailsafeEntry entry;
  entry.direction = MSEG_EGRESS;
  entry.ports = {PortRange{.kind = PortRange::Kind::kAny}};
  entry.exe = "/usr/sbin/agent";
  const Host host({entry});
  CHECK(host.Ask(MSEG_EGRESS, 6, 443, 1).reason == MSEG_REASON_FAILSAFE);
  CHECK(host.Ask(MSEG_EGRESS, 6, 443, 0).verdict == MSEG_DENY);  // unknown
  CHECK(host.Ask(MSEG_EGRESS, 6, 443, 9).verdict == MSEG_DENY);  // another one
  CHECK(host.Ask(MSEG_INGRESS, 6, 443, 1).verdict == MSEG_DENY);
}

TEST_CASE("a fail-safe entry counts whatever the state of the workload") {
  const Host host(
      DefaultFailsafe(),
      GoodPolicy(WorkloadYaml("w", "{labels: {a: b}, match: {cgroup: /}, state: test}") +
                 PolicyYaml("closed", "{selects: {}}")));
  const mseg_decision ssh = host.Ask(MSEG_INGRESS, 6, 22);
  CHECK(ssh.would_be == MSEG_ALLOW);
  CHECK(host.Ask(MSEG_INGRESS, 6, 23).verdict == MSEG_ALLOW);
  CHECK(host.Ask(MSEG_INGRESS, 6, 23).would_be == MSEG_DENY);
}

}  // namespace
}  // namespace mseg::testing
