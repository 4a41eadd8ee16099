// SPDX-License-Identifier: Apache-2.0
// Text that anybody may hand to `msegctl policy apply`, through all of labels/: parse, check,
// compile for a small host. Whatever the text, it must end with a verdict or a diagnostic with a
// place, soon and without a leak; and every document must survive being stored alone.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "labels/compiler.h"
#include "labels/simulator.h"

namespace mseg {
namespace {

Inventory SmallHost() {
  Inventory inventory;
  inventory.cgroups = {{1, "/"}, {2, "/system.slice/mysql.service"}, {3, "/a/b"}};
  ExecutableInfo executable;
  executable.ref = 1;
  executable.path = "/usr/sbin/mysqld";
  executable.trusted_path = true;
  executable.exe_id = 7;
  inventory.executables.push_back(executable);
  inventory.uids = {{"mysql", 105}};
  return inventory;
}

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckDiagnostics(const Diagnostics& diagnostics) {
  Require(!diagnostics.empty());
  for (const Diagnostic& diagnostic : diagnostics) {
    Require(diagnostic.place.line >= 1 && diagnostic.place.column >= 1);
    Require(!diagnostic.message.empty() && !FormatDiagnostic(diagnostic).empty());
  }
}

void CheckStoredAlone(const Document& document) {
  Diagnostics diagnostics;
  const auto again =
      ParseDocuments(document.file, document.text, &diagnostics, document.first_line);
  Require(again.ok() && again->size() == 1);
  const Document& copy = again->front();
  Require(copy.kind == document.kind && copy.name == document.name);
  Require(copy.text == document.text && copy.first_line == document.first_line);
  Require(copy.name_spot == document.name_spot);
}

void RunOne(std::string_view text) {
  Diagnostics diagnostics;
  absl::StatusOr<std::vector<Document>> documents = ParseDocuments("fuzz", text, &diagnostics);
  if (!documents.ok()) return CheckDiagnostics(diagnostics);
  for (const Document& document : *documents) CheckStoredAlone(document);
  absl::StatusOr<PolicySet> policy = BuildPolicySet(*std::move(documents), &diagnostics);
  if (!policy.ok()) return CheckDiagnostics(diagnostics);
  Require(diagnostics.empty());
  const CompileOptions options{.max_rows = 20000, .max_identities = 2000};
  const absl::StatusOr<GenerationImage> image =
      Compile(*policy, SmallHost(), options, &diagnostics);
  if (!image.ok()) return;
  const Simulator simulator(*image);
  // Every process of this host has rows for both directions.
  const mseg_identity_value local = simulator.Identity(2, 1, MSEG_GRADE_HASH, 105);
  for (mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
    Require(simulator.Decide(local.cls, 0, direction, 6, 3306).reason != MSEG_REASON_NO_ROW);
  }
}

}  // namespace
}  // namespace mseg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mseg::RunOne(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
