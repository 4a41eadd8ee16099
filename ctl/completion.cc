// SPDX-License-Identifier: Apache-2.0
// The script is made from the commands themselves, so that it cannot fall behind them. It goes
// through the words typed so far, keeps the longest path of commands, and offers what fits there;
// where nothing fits, the shell offers files.
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

std::vector<CLI::App*> Commands(CLI::App& app) {
  return app.get_subcommands([](CLI::App*) { return true; });
}

std::string Words(CLI::App& app) {
  std::vector<std::string> words;
  for (CLI::App* command : Commands(app)) words.push_back(command->get_name());
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
    for (const std::string& name : option->get_snames()) words.push_back("-" + name);
  }
  return absl::StrJoin(words, " ");
}

void ForEachCommand(CLI::App& app, const std::string& path,
                    const std::function<void(CLI::App&, const std::string&)>& visit) {
  visit(app, path);
  for (CLI::App* command : Commands(app)) {
    ForEachCommand(*command, absl::StrCat(path, "/", command->get_name()), visit);
  }
}

// Shell statements that set `offer` from $chosen (the words so far) and $previous.
std::string Cases(CLI::App& app) {
  std::string paths, offers;
  ForEachCommand(app, "", [&](CLI::App& command, const std::string& path) {
    if (!path.empty()) absl::StrAppend(&paths, paths.empty() ? "" : "|", "\"", path, "\"");
    absl::StrAppend(&offers, "    \"", path, "\") offer=\"", Words(command), "\" ;;\n");
  });
  return absl::StrCat(
      "  for word in \"${words_before[@]}\"; do\n    case \"$chosen/$word\" in\n      ", paths,
      ") chosen=\"$chosen/$word\" ;;\n    esac\n    previous=$word\n  done\n"
      "  case \"$chosen\" in\n",
      offers,
      "  esac\n"
      "  case \"$previous\" in\n"
      "    -o|--output) offer=\"table wide json yaml\" ;;\n"
      "    --verdict) offer=\"allow deny\" ;;\n"
      "    --protocol) offer=\"tcp udp sctp\" ;;\n"
      "    --for|--confirm-within) offer=\"5m 30m 1h\" ;;\n"
      "    completion) offer=\"bash zsh\" ;;\n"
      "    --socket|--policy|--batch|-f|--filename) offer=\"\" ;;\n"
      "  esac\n");
}

std::string BashScript(CLI::App& app) {
  return absl::StrCat(
      "# bash completion for msegctl: source <(msegctl completion bash)\n"
      "_msegctl() {\n"
      "  local word chosen=\"\" previous=\"\" offer=\"\"\n"
      "  local -a words_before=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n",
      Cases(app),
      "  COMPREPLY=($(compgen -W \"$offer\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "}\n"
      "complete -o default -F _msegctl msegctl\n");
}

std::string ZshScript(CLI::App& app) {
  return absl::StrCat(
      "#compdef msegctl\n"
      "# zsh completion for msegctl: source <(msegctl completion zsh)\n"
      "_msegctl() {\n"
      "  local word chosen=\"\" previous=\"\" offer=\"\"\n"
      "  local -a words_before=(\"${(@)words[2,CURRENT-1]}\")\n",
      Cases(app),
      "  if [[ -n \"$offer\" ]]; then\n"
      "    compadd -- ${=offer} || _files\n"
      "  else\n"
      "    _files\n"
      "  fi\n"
      "}\n"
      "compdef _msegctl msegctl\n");
}

}  // namespace

void AddCompletion(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand("completion", "A completion script for a shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->callback([&parent, &session, shell]() {
    session.action = [&parent, &session, shell]() -> int {
      session.out() << (*shell == "bash" ? BashScript(parent) : ZshScript(parent));
      return kExitDone;
    };
  });
}

}  // namespace mseg::ctl
