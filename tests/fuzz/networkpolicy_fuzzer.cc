// SPDX-License-Identifier: Apache-2.0
// Text that anybody may hand to `msegctl import networkpolicy`. Whatever it is, it ends with
// documents that `policy check` accepts or with a diagnostic with a place, soon and without a leak.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "labels/compiler.h"
#include "labels/endpoint.h"
#include "labels/networkpolicy_import.h"

namespace mseg {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void RunOne(std::string_view text) {
  Diagnostics diagnostics;
  const auto result = ImportNetworkPolicies({{"fuzz", text}}, {}, &diagnostics);
  if (!result.ok()) {
    Require(!diagnostics.empty());
    for (const Diagnostic& diagnostic : diagnostics) {
      Require(diagnostic.place.line >= 1 && diagnostic.place.column >= 1);
      Require(!diagnostic.message.empty() && !FormatDiagnostic(diagnostic).empty());
    }
    return;
  }
  Require(diagnostics.empty());
  auto documents = ParseDocuments("imported", result->documents, &diagnostics);
  Require(documents.ok());
  const auto policy = BuildPolicySet(*std::move(documents), &diagnostics);
  Require(policy.ok());
  Inventory inventory;
  for (size_t i : policy->OfKind(DocumentKind::kWorkload)) {
    auto facts = WorkloadFacts(*policy, policy->documents()[i]->name);
    Require(facts.ok());
    inventory.identities.push_back(*std::move(facts));
  }
  const CompileOptions options{.max_rows = 20000, .max_identities = 2000};
  const auto image = Compile(*policy, inventory, options, &diagnostics);
  Require(image.ok() || absl::IsResourceExhausted(image.status()));
}

}  // namespace
}  // namespace mseg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mseg::RunOne(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
