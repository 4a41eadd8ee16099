// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "ctl/policy_report.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

struct ApplyOptions {
  std::vector<std::string> files;
  std::string message;
  std::string confirm_within;
  bool dry_run = false;
  bool prune = false;
};

int RunApply(Session& session, const ApplyOptions& options) {
  const bool stdin_too =
      std::find(options.files.begin(), options.files.end(), "-") != options.files.end();
  if (options.prune && stdin_too) {
    return session.Fail(absl::InvalidArgumentError(
        "--prune deletes what a file of the same name said before; standard input has no name. "
        "Name the file, or use `policy delete`"));
  }
  int64_t confirm_within_us = 0;
  if (!options.confirm_within.empty()) {
    auto within = DurationUs("--confirm-within", options.confirm_within);
    if (!within.ok()) return session.Fail(within.status());
    confirm_within_us = *within;
  }
  auto files = session.ReadFiles(options.files);
  if (!files.ok()) return session.Fail(files.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  api::ApplyRequest request{.files = *std::move(files),
                            .message = options.message,
                            .author = session.context().user,
                            .dry_run = options.dry_run,
                            .confirm_within_us = confirm_within_us,
                            .prune = options.prune,
                            .caller = {}};
  Diagnostics diagnostics;
  auto report = (*daemon)->ApplyPolicy(request, &diagnostics);
  if (!report.ok()) return session.Fail(report.status(), diagnostics);
  PrintReport(session, *report, options.dry_run);
  return kExitDone;
}

}  // namespace

void AddPolicyApply(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand("apply", "Put the documents of files into force");
  auto options = std::make_shared<ApplyOptions>();
  AddPolicyFiles(*command, &options->files);
  command->add_flag("--dry-run", options->dry_run, "Show what would change, and change nothing");
  command->add_option("-m,--message", options->message, "Why, for the record")
      ->type_name("MESSAGE");
  command
      ->add_option("--confirm-within", options->confirm_within,
                   "Roll back by itself unless `policy confirm` comes in time: 5m")
      ->type_name("DURATION");
  command->add_flag("--prune", options->prune,
                    "Delete what files of these names said before and say no more");
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    RequirePolicyFiles(options->files);
    session.action = [&session, options]() { return RunApply(session, *options); };
  });
}

}  // namespace mseg::ctl
