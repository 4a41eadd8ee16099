// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/session.h"

namespace mseg::ctl {
namespace {

struct PanicOptions {
  std::string duration = "30m";
  std::string reason;
  bool end = false;
};

int RunPanic(Session& session, const PanicOptions& options) {
  api::PanicRequest request{.end = options.end,
                            .for_us = 0,
                            .reason = options.reason,
                            .author = session.context().user,
                            .caller = {}};
  if (!options.end) {
    if (options.reason.empty()) {
      return session.Fail(absl::InvalidArgumentError("a panic needs a reason: -m REASON"));
    }
    auto duration = DurationUs("--for", options.duration);
    if (!duration.ok()) return session.Fail(duration.status());
    request.for_us = *duration;
  }
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto report = (*daemon)->SetPanic(request);
  if (!report.ok()) return session.Fail(report.status());
  if (session.PrintTree(ToJson(*report))) return kExitDone;
  if (options.end) {
    session.out() << "the panic is over: policies are in force again\n";
  } else {
    session.out() << "PANIC: nothing is blocked on this host for " << options.duration
                  << "; `msegctl panic --end` ends it\n";
  }
  session.out() << "revision " << report->revision << ", generation " << report->generation
                << " is in force\n";
  return kExitDone;
}

}  // namespace

void AddPanic(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "panic", "Block nothing on this host for a while; documents stay, refusals are only counted");
  auto options = std::make_shared<PanicOptions>();
  auto* duration = command->add_option("--for", options->duration, "How long: 30m (default), 2h");
  duration->type_name("DURATION");
  command->add_option("-m,--message", options->reason, "Why, for the record")->type_name("REASON");
  command->add_flag("--end", options->end, "Back to what the policies say")->excludes(duration);
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunPanic(session, *options); };
  });
}

}  // namespace mseg::ctl
