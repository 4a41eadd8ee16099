// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <exception>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ctl/context.h"
#include "ctl/session.h"
#include "ctl/suggest.h"

namespace mseg::ctl {
namespace {

void AddCommands(CLI::App& app, Session& session) {
  app.add_option("--socket", session.socket_path(),
                 "The daemon's socket (default: $MSEG_SOCKET, else /run/mseg/msegd.sock)")
      ->type_name("PATH");
  AddStatus(app, session);
  CLI::App* policy =
      app.add_subcommand("policy", "Check, format, apply, show, delete and take back policy");
  policy->require_subcommand(1);
  AddPolicyCheck(*policy, session);
  AddPolicyApply(*policy, session);
  AddPolicyGet(*policy, session);
  AddPolicyDelete(*policy, session);
  AddPolicyFmt(*policy, session);
  AddPolicyHistory(*policy, session);
  AddPolicyDiff(*policy, session);
  AddPolicyRollback(*policy, session);
  AddPolicyConfirm(*policy, session);
  AddPanic(app, session);
  AddExplain(app, session);
  AddWhy(app, session);
  AddIdentity(app, session);
  AddHost(app, session);
  AddRecord(app, session);
  AddPath(app, session);
  AddFlows(app, session);
  AddImport(app, session);
  AddSelftest(app, session);
  AddCompletion(app, session);
  AddVersion(app, session);
}

// So that --socket may stand behind the command too.
void FallThrough(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    command->fallthrough();
    FallThrough(*command);
  }
}

std::vector<std::string> CommandNames(CLI::App& app) {
  std::vector<std::string> names;
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

CLI::App* Find(CLI::App& app, const std::string& name) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

// The first word that should be a command of `app` and is none, described; empty if all are.
// CLI11 would only say that an argument was not expected.
std::string UnknownCommand(CLI::App& app, const std::string& path,
                           const std::vector<std::string>& arguments, size_t from) {
  std::vector<std::string> names = CommandNames(app);
  if (names.empty()) return "";
  for (size_t i = from; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--socket") {
      ++i;
    } else if (!absl::StartsWith(word, "-")) {
      if (CLI::App* command = Find(app, word)) {
        return UnknownCommand(*command, absl::StrCat(path, " ", word), arguments, i + 1);
      }
      std::string close = Closest(word, names);
      return absl::StrCat("unknown command \"", word, "\" for \"", path, "\"",
                          close.empty() ? "" : absl::StrCat("; did you mean \"", close, "\"?"),
                          "\ncommands: ", absl::StrJoin(names, ", "));
    }
  }
  return "";
}

// The command that the words led to, for `--help` hints.
std::string Chosen(const CLI::App& app) {
  auto chosen = app.get_subcommands();
  if (chosen.empty()) return app.get_name();
  return absl::StrCat(app.get_name(), " ", Chosen(*chosen.front()));
}

int BadUsage(CLI::App& app, Context& context, const std::string& message) {
  context.err << "error: " << message << "\nSee `" << Chosen(app) << " --help`.\n";
  return kExitBadInput;
}

int Parse(CLI::App& app, const std::vector<std::string>& arguments, Context& context) {
  std::string unknown = UnknownCommand(app, "msegctl", arguments, 0);
  if (!unknown.empty()) {
    context.err << "error: " << Printable(unknown.substr(0, unknown.find('\n')))
                << unknown.substr(unknown.find('\n')) << '\n';
    return kExitBadInput;
  }
  // CLI11 takes a vector from its end.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::Success& success) {  // --help
    app.exit(success, context.out, context.err);
    return -1;
  } catch (const CLI::ParseError& error) {
    return BadUsage(app, context, error.what());
  }
  return kExitDone;
}

}  // namespace

int Run(const std::vector<std::string>& arguments, Context& context) {
  try {
    Session session(context);
    CLI::App app("Looks at and changes what mseg enforces on this host.", "msegctl");
    AddCommands(app, session);
    FallThrough(app);
    app.require_subcommand(0, 1);
    if (arguments.empty()) {
      context.err << app.help();
      return kExitBadInput;
    }
    int parsed = Parse(app, arguments, context);
    if (parsed != kExitDone) return parsed < 0 ? kExitDone : parsed;
    if (!session.action) return BadUsage(app, context, "a command is required");
    int code = session.action();
    context.out.flush();
    return code;
  } catch (const std::exception& error) {
    // Memory, or a stream that throws: nothing that a command could handle better.
    context.err << "error: " << error.what() << '\n';
    return kExitRefused;
  }
}

}  // namespace mseg::ctl
