// SPDX-License-Identifier: Apache-2.0
// Sentences that anybody may hand to `msegctl policy apply`: whatever the text, it ends with
// policies or with diagnostics that have a place; every sentence survives being stored alone; and
// what it says can be compiled.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "labels/compiler.h"
#include "labels/sentence_parser.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr std::string_view kFile = "fuzz.mseg";

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckDiagnostics(const Diagnostics& diagnostics, std::string_view text) {
  const int lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
  Require(!diagnostics.empty());
  for (const Diagnostic& diagnostic : diagnostics) {
    const Place& place = diagnostic.place;
    Require(place.line >= 1 && place.line <= lines && place.column >= 1);
    // A caret stands within the line or right behind it.
    Require(diagnostic.source_line.empty() ||
            place.column <= static_cast<int>(CountCharacters(diagnostic.source_line)) + 1 ||
            diagnostic.source_line.size() >= 400);
    Require(!diagnostic.message.empty() && !FormatDiagnostic(diagnostic).empty());
  }
}

void CheckSentence(const Document& document) {
  Diagnostics diagnostics;
  const auto again =
      ParseDocuments(document.file, document.text, &diagnostics, document.first_line);
  Require(again.ok() && again->size() == 1);
  const Document& copy = again->front();
  Require(copy.name == document.name && copy.text == document.text);
  Require(copy.first_line == document.first_line && copy.name_spot == document.name_spot);
  const Policy& policy = std::get<Policy>(document.spec);
  Require(policy.selects && policy.rules.size() == 1 && policy.ingress && !policy.egress);
  Require(!policy.rules[0].services.empty());
  Require(SentenceName(policy) == document.name);
}

void RunOne(std::string_view text) {
  Diagnostics diagnostics;
  absl::StatusOr<std::vector<Document>> documents = ParseDocuments(kFile, text, &diagnostics);
  if (!documents.ok()) return CheckDiagnostics(diagnostics, text);
  std::set<std::string> names;
  for (const Document& document : *documents) {
    Require(names.insert(document.name).second);
    CheckSentence(document);
  }
  const absl::StatusOr<PolicySet> policy = BuildPolicySet(*std::move(documents), &diagnostics);
  if (!policy.ok()) return CheckDiagnostics(diagnostics, text);
  Require(diagnostics.empty());
  const CompileOptions options{.max_rows = 20000, .max_identities = 2000};
  const absl::StatusOr<GenerationImage> image =
      Compile(*policy, Inventory{}, options, &diagnostics);
  Require(image.ok() || !diagnostics.empty() || absl::IsResourceExhausted(image.status()));
}

}  // namespace
}  // namespace mseg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mseg::RunOne(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
