// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "ctl/session.h"

namespace mseg::ctl {

void AddVersion(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand("version", "The version of msegctl");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session]() {
    session.action = [&session]() -> int {
      if (!session.PrintTree({{"version", MSEG_VERSION}})) {
        session.out() << "msegctl " << MSEG_VERSION << '\n';
      }
      return kExitDone;
    };
  });
}

}  // namespace mseg::ctl
