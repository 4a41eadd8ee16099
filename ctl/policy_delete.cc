// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "ctl/document_id.h"
#include "ctl/offline.h"
#include "ctl/policy_report.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

struct DeleteOptions {
  std::vector<std::string> names;
  std::vector<std::string> files;
  std::string message;
};

absl::StatusOr<std::vector<api::DocumentId>> Wanted(Session& session, const DeleteOptions& options,
                                                    Diagnostics* diagnostics) {
  std::vector<api::DocumentId> wanted;
  for (const std::string& name : options.names) {
    auto id = ParseDocumentId(name);
    if (!id.ok()) return id.status();
    if (id->name.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", name, "\" names no document: write KIND/NAME"));
    }
    wanted.push_back(*std::move(id));
  }
  auto files = session.ReadFiles(options.files);
  if (!files.ok()) return files.status();
  auto found = DocumentsOf(*files, diagnostics);
  if (!found.ok()) return found.status();
  wanted.insert(wanted.end(), found->begin(), found->end());
  if (wanted.empty()) {
    return absl::InvalidArgumentError("nothing to delete: write KIND/NAME, or -f FILE");
  }
  return wanted;
}

int RunDelete(Session& session, const DeleteOptions& options) {
  Diagnostics diagnostics;
  auto wanted = Wanted(session, options, &diagnostics);
  if (!wanted.ok()) return session.Fail(wanted.status(), diagnostics);
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  const api::DeleteRequest request{.documents = *std::move(wanted),
                                   .message = options.message,
                                   .author = session.context().user,
                                   .caller = {}};
  auto report = (*daemon)->DeletePolicies(request, &diagnostics);
  if (!report.ok()) return session.Fail(report.status(), diagnostics);
  PrintReport(session, *report, false);
  return kExitDone;
}

}  // namespace

void AddPolicyDelete(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand("delete", "Take documents out of force");
  auto options = std::make_shared<DeleteOptions>();
  command->add_option("KIND/NAME", options->names, "Documents to delete");
  command->add_option("-f,--filename", options->files, "Delete the documents of this file")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_option("-m,--message", options->message, "Why, for the record")
      ->type_name("MESSAGE");
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunDelete(session, *options); };
  });
}

}  // namespace mseg::ctl
