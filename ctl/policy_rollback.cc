// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/policy_report.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

int RunRollback(Session& session, api::RollbackRequest request) {
  request.author = session.context().user;
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  Diagnostics diagnostics;
  auto report = (*daemon)->Rollback(request, &diagnostics);
  if (!report.ok()) return session.Fail(report.status(), diagnostics);
  PrintReport(session, *report, request.dry_run);
  return kExitDone;
}

}  // namespace

void AddPolicyRollback(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "rollback", "A new revision with the documents of an old one; settles what waits");
  auto request = std::make_shared<api::RollbackRequest>();
  auto revision = std::make_shared<uint64_t>(0);
  command
      ->add_option("REVISION", *revision,
                   "To these documents (default: before the change that waits to be confirmed, "
                   "else before the last change)")
      ->check(CLI::Range(uint64_t{0}, uint64_t{UINT32_MAX}));
  command->add_flag("--dry-run", request->dry_run, "Show what would change, and change nothing");
  command->add_option("-m,--message", request->message, "Why, for the record")
      ->type_name("MESSAGE");
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session, command, request, revision]() {
    if (command->count("REVISION") > 0) request->revision = *revision;
    session.action = [&session, request]() { return RunRollback(session, *request); };
  });
}

}  // namespace mseg::ctl
