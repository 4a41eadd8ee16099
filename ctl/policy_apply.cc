// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/policy_report.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string message;
  bool dry_run = false;
};

int RunApply(Session& session, const Options& options) {
  auto files = session.ReadFiles(options.files);
  if (!files.ok()) return session.Fail(files.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  api::ApplyRequest request{.files = *std::move(files),
                            .message = options.message,
                            .author = session.context().user,
                            .dry_run = options.dry_run};
  Diagnostics diagnostics;
  auto report = (*daemon)->ApplyPolicy(request, &diagnostics);
  if (!report.ok()) return session.Fail(report.status(), diagnostics);
  PrintReport(session, *report, options.dry_run);
  return kExitDone;
}

}  // namespace

void AddPolicyApply(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand("apply", "Put the documents of files into force");
  auto options = std::make_shared<Options>();
  command->add_option("FILE", options->files, "Policy files; - is standard input")->required();
  command->add_flag("--dry-run", options->dry_run, "Show what would change, and change nothing");
  command->add_option("-m,--message", options->message, "Why, for the record")
      ->type_name("MESSAGE");
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunApply(session, *options); };
  });
}

}  // namespace mseg::ctl
