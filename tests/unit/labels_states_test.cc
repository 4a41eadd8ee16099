// SPDX-License-Identifier: Apache-2.0
// The table of docs/policy.md, States: what a policy does to a connection that it denies at both
// ends, for every pair of states of the two ends. Computed here and compared with the page.
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg {
namespace {

constexpr const char* kStates[] = {"build", "test", "enforce"};

std::string EndText(const EndVerdict& end) {
  if (end.decision.verdict == MSEG_DENY) return "denies";
  return end.decision.would_be == MSEG_DENY ? "would deny" : "nothing";
}

std::string Cells(const char* initiator, const char* responder, const char* policy) {
  const PolicySet set = testing::GoodPolicy(
      testing::WorkloadYaml(
          "s", Cat("{labels: {role: s}, match: {cgroup: /s}, state: ", initiator, "}")) +
      testing::WorkloadYaml(
          "o", Cat("{labels: {role: o}, match: {cgroup: /o}, state: ", responder, "}")) +
      testing::PolicyYaml("p", Cat("{state: ", policy, ", rules: [{verdict: deny}]}")));
  const Explanation answer = testing::Ask(set, "workload:s", "workload:o", "tcp/80");
  REQUIRE(answer.egress.judged);
  REQUIRE(answer.ingress.judged);
  const char* connection = answer.verdict == MSEG_DENY    ? "blocked"
                           : answer.would_be == MSEG_DENY ? "passes, counted"
                                                          : "passes";
  return Cat(" ", EndText(answer.egress), " | ", EndText(answer.ingress), " | ", connection, " |");
}

TEST_CASE("the page's table of the states of the two ends is what the compiler does") {
  std::string table =
      "| initiator | responder | `enforce`: at the initiator | at the responder | connection |"
      " `test`: at the initiator | at the responder | connection |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const char* initiator : kStates) {
    for (const char* responder : kStates) {
      Append(&table, "| `", initiator, "` | `", responder, "` |",
             Cells(initiator, responder, "enforce"), Cells(initiator, responder, "test"), "\n");
      CHECK(Cells(initiator, responder, "build") == " nothing | nothing | passes |");
    }
  }
  std::ostringstream page;
  page << std::ifstream(MSEG_DOCS_DIR "/policy.md").rdbuf();
  INFO("docs/policy.md must hold:\n" << table);
  CHECK(page.str().find(table) != std::string::npos);
}

}  // namespace
}  // namespace mseg
