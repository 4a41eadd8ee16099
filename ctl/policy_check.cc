// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/offline.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

int RunCheck(Session& session, const std::vector<std::string>& names) {
  auto files = session.ReadFiles(names);
  if (!files.ok()) return session.Fail(files.status());
  Diagnostics diagnostics;
  auto budget = CheckOffline(*files, &diagnostics);
  if (!budget.ok()) return session.Fail(budget.status(), diagnostics);
  if (session.PrintTree({{"budget", ToJson(*budget)}})) return kExitDone;
  session.out() << Count(names.size(), "file") << " checked, no errors\n";
  PrintBudget(session.out(), *budget);
  return kExitDone;
}

}  // namespace

void AddPolicyCheck(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "check",
      "Check files without a daemon, and print what they cost a host that runs one "
      "process of each workload");
  auto files = std::make_shared<std::vector<std::string>>();
  AddPolicyFiles(*command, files.get());
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, files]() {
    RequirePolicyFiles(*files);
    session.action = [&session, files]() { return RunCheck(session, *files); };
  });
}

}  // namespace mseg::ctl
