// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_fixture.h"

#include <catch2/catch.hpp>

#include "labels/text.h"

namespace mseg::testing {
namespace {

std::string Yaml(std::string_view kind, std::string_view name, std::string_view spec) {
  return Cat("---\napiVersion: mseg.io/v1\nkind: ", kind, "\nmetadata: {name: ", name,
             "}\nspec: ", spec, "\n");
}

}  // namespace

std::string WorkloadYaml(std::string_view name, std::string_view spec) {
  return Yaml("Workload", name, spec);
}
std::string PolicyYaml(std::string_view name, std::string_view spec) {
  return Yaml("Policy", name, spec);
}
std::string ServiceYaml(std::string_view name, std::string_view spec) {
  return Yaml("Service", name, spec);
}
std::string GroupYaml(std::string_view name, std::string_view spec) {
  return Yaml("AddressGroup", name, spec);
}

PolicySet GoodPolicy(const std::string& text) {
  Diagnostics diagnostics;
  absl::StatusOr<std::vector<Document>> documents = ParseDocuments("t.yaml", text, &diagnostics);
  if (documents.ok()) {
    absl::StatusOr<PolicySet> policy = BuildPolicySet(*std::move(documents), &diagnostics);
    if (policy.ok()) return *std::move(policy);
  }
  for (const Diagnostic& diagnostic : diagnostics) UNSCOPED_INFO(FormatDiagnostic(diagnostic));
  FAIL("the test's policy is wrong");
  return {};
}

GenerationImage GoodImage(const PolicySet& policy, const Inventory& inventory) {
  Diagnostics diagnostics;
  absl::StatusOr<GenerationImage> image = Compile(policy, inventory, {}, &diagnostics);
  if (!image.ok()) FAIL(std::string(image.status().message()));
  return *std::move(image);
}

ExecutableInfo Executable(uint32_t ref, std::string_view path, uint8_t content, mseg_grade grade) {
  ExecutableInfo executable;
  executable.ref = ref;
  executable.path = std::string(path);
  executable.trusted_path = true;
  executable.digest[31] = content;
  executable.grade = grade;
  executable.exe_id = content;
  return executable;
}

Explanation Ask(const PolicySet& policy, std::string_view from, std::string_view to,
                std::string_view service) {
  auto resolve = [&policy](std::string_view text) {
    absl::StatusOr<Endpoint> endpoint = ParseEndpoint(text);
    if (!endpoint.ok()) FAIL(std::string(endpoint.status().message()));
    absl::StatusOr<ResolvedEnd> end = ResolveEnd(policy, *endpoint);
    if (!end.ok()) FAIL(std::string(end.status().message()));
    return *std::move(end);
  };
  absl::StatusOr<ServicePort> port = ParseServicePort(policy, service);
  if (!port.ok()) FAIL(std::string(port.status().message()));
  const Query query{resolve(from), resolve(to), port->protocol, port->port};
  Diagnostics diagnostics;
  absl::StatusOr<std::vector<Explanation>> answers =
      ExplainAll(policy, {}, {}, {query}, &diagnostics);
  if (!answers.ok()) FAIL(std::string(answers.status().message()));
  return answers->front();
}

std::string Answer(const PolicySet& policy, std::string_view from, std::string_view to,
                   std::string_view service) {
  const Explanation answer = Ask(policy, from, to, service);
  std::string out = Cat(VerdictName(answer.verdict), " ", ReasonName(answer.reason));
  if (!answer.rule.empty()) Append(&out, " ", answer.rule);
  if (answer.would_be != answer.verdict) Append(&out, " would ", VerdictName(answer.would_be));
  return out;
}

}  // namespace mseg::testing
