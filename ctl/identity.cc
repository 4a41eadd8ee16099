// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

void PrintList(Session& session, const std::vector<api::Process>& processes) {
  bool wide = session.format() == Format::kWide;
  std::vector<std::string> header = {"PID", "COMM", "LABELS", "GRADE", "EXE"};
  if (wide)
    header = {"PID",  "COMM",   "LABELS", "GRADE",   "EXE",
              "USER", "CGROUP", "CLASS",  "UNKNOWN", "DIGEST"};
  Table table(header, false);
  for (const api::Process& process : processes) {
    std::vector<std::string> row = {absl::StrCat(process.pid), process.comm,
                                    LabelsText(process.labels), process.grade,
                                    ProgramText(process.exe, process.script)};
    if (wide) {
      row.insert(row.end(), {process.user, process.cgroup, absl::StrCat(process.cls),
                             process.unknown_reason, process.digest});
    }
    table.Add(std::move(row));
  }
  table.Print(session.out());
}

int RunIdentityList(Session& session) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto processes = (*daemon)->ListIdentities();
  if (!processes.ok()) return session.Fail(processes.status());
  Json tree = Json::array();
  for (const api::Process& process : *processes) tree.push_back(ToJson(process));
  if (!session.PrintTree(tree)) PrintList(session, *processes);
  return kExitDone;
}

void PrintOne(std::ostream& out, const api::Process& process) {
  auto line = [&](const char* name, const std::string& value) {
    out << absl::StrFormat("%-11s", name) << (value.empty() ? "-" : Printable(value)) << '\n';
  };
  if (process.pid != 0) line("pid", absl::StrCat(process.pid));
  if (!process.comm.empty()) line("comm", process.comm);
  line("labels", LabelsText(process.labels));
  line("exe", process.exe);
  line("digest", process.digest);
  if (!process.script.empty()) {
    line("script", process.script);
    line("", process.script_digest);
  }
  line("grade", process.grade);
  if (!process.unknown_reason.empty()) line("unknown", process.unknown_reason);
  line("user", process.user);
  line("cgroup", process.cgroup);
  line("class", absl::StrCat(process.cls));
  line("label id", absl::StrFormat("%012x", process.label_id));
  line("exe id", absl::StrFormat("%012x", process.exe_id));
}

bool IsPid(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return absl::ascii_isdigit(c); });
}

int RunIdentityShow(Session& session, const std::string& what) {
  std::string target = what;
  if (!IsPid(what)) {
    std::error_code error;
    auto path = std::filesystem::absolute(what, error);
    if (!error) target = path.lexically_normal().string();
  }
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto process = (*daemon)->ShowIdentity(target);
  if (!process.ok()) return session.Fail(process.status());
  if (!session.PrintTree(ToJson(*process))) PrintOne(session.out(), *process);
  return kExitDone;
}

}  // namespace

void AddIdentity(CLI::App& parent, Session& session) {
  CLI::App* group = parent.add_subcommand("identity", "Who the processes of this host are");
  group->require_subcommand(1);
  std::vector<Format> formats = {Format::kTable, Format::kWide, Format::kJson, Format::kYaml};

  CLI::App* list = group->add_subcommand("list", "Every process that mseg judges");
  AddOutputOption(*list, session, formats);
  list->callback(
      [&session]() { session.action = [&session]() { return RunIdentityList(session); }; });

  CLI::App* show = group->add_subcommand("show", "One process, or a file as if it were executed");
  auto what = std::make_shared<std::string>();
  show->add_option("PID|PATH", *what,
                   "A process id, or the path of an executable (./123 if it is a number)")
      ->required();
  AddOutputOption(*show, session, {Format::kTable, Format::kJson, Format::kYaml});
  show->callback([&session, what]() {
    session.action = [&session, what]() { return RunIdentityShow(session, *what); };
  });
}

}  // namespace mseg::ctl
