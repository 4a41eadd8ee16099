// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "ctl/document_id.h"
#include "ctl/document_yaml.h"
#include "ctl/session.h"
#include "labels/ast.h"
#include "labels/sentence_parser.h"

namespace mseg::ctl {
namespace {

// A sentence is no YAML; the document that it is can be printed beside the others.
std::string YamlOf(const api::Document& document) {
  if (!IsSentenceFile(document.file)) return document.text;
  Diagnostics diagnostics;
  auto parsed =
      ParseDocuments(document.file, document.text, &diagnostics, static_cast<int>(document.line));
  return parsed.ok() && parsed->size() == 1 ? DocumentYaml(parsed->front()) : document.text;
}

// The documents themselves, so that what is printed can be applied again.
void PrintDocuments(const std::vector<api::Document>& documents, std::ostream& out) {
  bool first = true;
  for (const api::Document& document : documents) {
    if (!first) out << "---\n";
    first = false;
    const std::string text = YamlOf(document);
    out << text;
    if (text.empty() || text.back() != '\n') out << '\n';
  }
}

void PrintTable(Session& session, const std::vector<api::Document>& documents) {
  if (documents.empty()) {
    session.context().err << "no documents\n";
    return;
  }
  Table table({"KIND", "NAME", "REVISION", "FROM"}, false);
  for (const api::Document& document : documents) {
    table.Add({document.kind, document.name, absl::StrCat(document.revision),
               document.file.empty() ? "" : absl::StrCat(document.file, ":", document.line)});
  }
  table.Print(session.out());
}

int RunGet(Session& session, const std::string& what, std::optional<uint64_t> revision) {
  api::DocumentId id;
  if (!what.empty()) {
    auto parsed = ParseDocumentId(what);
    if (!parsed.ok()) return session.Fail(parsed.status());
    id = *std::move(parsed);
  }
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto documents = (*daemon)->GetPolicies(id.kind, id.name, revision);
  if (!documents.ok()) return session.Fail(documents.status());
  switch (session.format()) {
    case Format::kYaml:
      PrintDocuments(*documents, session.out());
      break;
    case Format::kJson: {
      Json list = Json::array();
      for (const api::Document& document : *documents) list.push_back(ToJson(document));
      PrintJson(session.out(), list);
      break;
    }
    default:
      PrintTable(session, *documents);
  }
  return kExitDone;
}

}  // namespace

void AddPolicyGet(CLI::App& parent, Session& session) {
  CLI::App* command =
      parent.add_subcommand("get", "Show the documents in force, or those of a revision");
  auto what = std::make_shared<std::string>();
  command->add_option("KIND/NAME", *what, "Only this kind, or only this document");
  auto revision = std::make_shared<uint64_t>(0);
  command->add_option("--revision", *revision, "As they were after this revision")
      ->type_name("N")
      ->check(CLI::Range(uint64_t{0}, uint64_t{UINT32_MAX}));
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, command, what, revision]() {
    std::optional<uint64_t> at;
    if (command->count("--revision") > 0) at = *revision;
    session.action = [&session, what, at]() { return RunGet(session, *what, at); };
  });
}

}  // namespace mseg::ctl
