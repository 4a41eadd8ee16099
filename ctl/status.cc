// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

void PrintFeatures(const api::Status& status, bool wide, std::ostream& out) {
  out << "features:\n";
  for (const api::Feature& feature : status.features) {
    if (feature.present && !wide) continue;
    out << "  " << (feature.present ? "present  " : "missing  ") << Printable(feature.name);
    if (!feature.present && !feature.costs.empty()) {
      out << ": costs " << Printable(feature.costs);
    }
    out << '\n';
  }
  size_t present = 0;
  for (const api::Feature& feature : status.features) present += feature.present ? 1 : 0;
  if (!wide) out << "  " << present << " of " << status.features.size() << " present\n";
}

void PrintLines(const char* title, const std::vector<std::string>& lines, std::ostream& out) {
  if (lines.empty()) return;
  out << title << ":\n";
  for (const std::string& line : lines) out << "  " << Printable(line) << '\n';
}

void PrintPrograms(const api::Status& status, bool wide, std::ostream& out) {
  if (!wide) {
    out << "programs     " << status.programs.size() << '\n';
    return;
  }
  out << "programs:\n";
  Table table({"NAME", "ATTACH", "CGROUP", "LOADED"}, false);
  for (const api::Program& program : status.programs) {
    table.Add({program.name, program.attach, program.cgroup, TimeText(program.loaded_at_us)});
  }
  table.Print(out);
}

std::vector<std::string> Unknown(const api::Status& status) {
  std::vector<std::string> lines;
  for (const api::UnknownExecutable& exe : status.unknown_executables) {
    lines.push_back(absl::StrCat(exe.path, exe.reason.empty() ? "" : ": ", exe.reason,
                                 exe.pid == 0 ? "" : absl::StrCat(" (pid ", exe.pid, ")")));
  }
  return lines;
}

std::vector<std::string> Unlabelled(const api::Status& status) {
  std::vector<std::string> lines;
  for (const api::UnlabelledListener& listener : status.unlabelled_listeners) {
    lines.push_back(absl::StrCat(listener.protocol, " ", listener.address, " port ", listener.port,
                                 ": ", listener.exe, " (pid ", listener.pid, ")"));
  }
  return lines;
}

std::vector<std::string> Failsafe(const api::Status& status) {
  std::vector<std::string> lines;
  for (const api::Failsafe& entry : status.failsafe) {
    lines.push_back(absl::StrCat(entry.direction, " ", absl::StrJoin(entry.services, ", "),
                                 entry.exe.empty() ? "" : absl::StrCat(" of ", entry.exe)));
  }
  return lines;
}

std::vector<std::string> Tampering(const api::Status& status) {
  std::vector<std::string> lines;
  for (const api::Tampering& t : status.tampering) {
    lines.push_back(absl::StrCat(TimeText(t.time_us), " ", t.act, " ", t.subject, ": ",
                                 t.exe.empty() ? t.comm : t.exe, " (pid ", t.pid, ", uid ", t.uid,
                                 ")"));
  }
  return lines;
}

// What must not be overlooked comes first.
void PrintAlarms(const api::Status& status, bool color, std::ostream& out) {
  const char* loud = color ? "\x1b[1;31m" : "";
  const char* calm = color ? "\x1b[0m" : "";
  if (status.panic.has_value()) {
    out << loud << "PANIC: NOTHING IS BLOCKED ON THIS HOST" << calm << " until "
        << TimeText(status.panic->until_us) << " (by " << Printable(status.panic->author) << ": "
        << Printable(status.panic->reason) << ")\n";
  }
  if (status.pending.has_value()) {
    out << loud << "UNCONFIRMED: revision " << status.pending->revision << calm
        << " goes back to revision " << status.pending->back_to << " at "
        << TimeText(status.pending->deadline_us) << " unless `msegctl policy confirm` comes\n";
  }
  if (!status.last_drift.empty()) {
    out << loud << "DRIFT:" << calm << " kernel and compiler disagreed, last on "
        << Printable(status.last_drift) << '\n';
  }
}

std::string Trusted(const api::Status& status) {
  if (status.host_id == 0) return "";
  return absl::StrCat(", trusts ", Count(status.trusted_hosts, "host"), ", has records of ",
                      status.host_records);
}

void PrintStatus(const api::Status& status, bool wide, std::ostream& out) {
  out << "mode         " << Printable(status.mode) << '\n'
      << "kernel       " << Printable(status.kernel) << '\n'
      << "host         " << Printable(status.host_name) << " (" << status.host_id << ")"
      << Trusted(status) << '\n'
      << "generation   "
      << (status.generation == 0 ? "none: no policy was ever applied"
                                 : absl::StrCat(status.generation))
      << '\n'
      << "revision     " << status.revision << '\n';
  PrintPrograms(status, wide, out);
  PrintFeatures(status, wide, out);
  PrintLines("gaps", status.gaps, out);
  PrintLines("conflicts", status.conflicts, out);
  PrintLines("tampering, refused", Tampering(status), out);
  PrintLines("unknown executables", Unknown(status), out);
  PrintLines("listeners without labels", Unlabelled(status), out);
  PrintLines("fail-safe, which no policy can cut", Failsafe(status), out);
  out << "counters:\n";
  size_t width = 0;
  for (const auto& [name, value] : status.counters) width = std::max(width, name.size());
  for (const auto& [name, value] : status.counters) {
    out << "  " << Printable(name) << std::string(width - name.size() + 2, ' ') << value << '\n';
  }
}

int RunStatus(Session& session) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto status = (*daemon)->GetStatus();
  if (!status.ok()) return session.Fail(status.status());
  if (!session.PrintTree(ToJson(*status))) {
    PrintAlarms(*status, session.context().color, session.out());
    PrintStatus(*status, session.format() == Format::kWide, session.out());
  }
  return kExitDone;
}

}  // namespace

void AddStatus(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "status", "What is enforced, what this kernel cannot do and what that costs, counters");
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session]() { session.action = [&session]() { return RunStatus(session); }; });
}

}  // namespace mseg::ctl
