// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "ctl/session.h"

namespace mseg::ctl {
namespace {

int RunConfirm(Session& session) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto confirmed = (*daemon)->Confirm();
  if (!confirmed.ok()) return session.Fail(confirmed.status());
  if (session.PrintTree(ToJson(*confirmed))) return kExitDone;
  session.out() << "revision " << confirmed->revision << " stays\n";
  return kExitDone;
}

}  // namespace

void AddPolicyConfirm(CLI::App& parent, Session& session) {
  CLI::App* command =
      parent.add_subcommand("confirm", "Keep what `apply --confirm-within` put into force");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback(
      [&session]() { session.action = [&session]() { return RunConfirm(session); }; });
}

}  // namespace mseg::ctl
