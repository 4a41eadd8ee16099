// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "ctl/host_port.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

struct WhyOptions {
  uint32_t pid = 0;
  std::string target;
  std::string protocol = "tcp";
  bool last = false;
};

std::string EndText(const api::WhyEnd& end) {
  std::string text = LabelsText(end.labels);
  const auto add = [&text](const std::string& part) {
    if (!part.empty()) absl::StrAppend(&text, text.empty() ? "" : " ", part);
  };
  if (!end.managed) {
    add(end.address);
    return text;
  }
  add(end.exe.empty() ? "executable unknown" : ProgramText(end.exe, end.script));
  add(absl::StrCat("(pid ", end.pid, end.user.empty() ? "" : ", user ", end.user, ", grade ",
                   end.grade, ")"));
  if (!end.address.empty()) add(absl::StrCat("at ", end.address));
  return text;
}

void PrintAnswer(Session& session, const api::WhyAnswer& answer) {
  std::ostream& out = session.out();
  const bool color = session.context().color;
  out << Verdict(answer.verdict, color) << ' ' << Printable(answer.protocol) << '/' << answer.port
      << (answer.source == "flow" ? absl::StrCat(", refused at ", TimeText(answer.time_us)) : "")
      << "\n  from      " << Printable(EndText(answer.from)) << "\n  to        "
      << Printable(EndText(answer.to)) << '\n';
  if (!answer.egress.empty()) out << "  egress    " << Verdict(answer.egress, color) << '\n';
  if (!answer.ingress.empty()) out << "  ingress   " << Verdict(answer.ingress, color) << '\n';
  out << "  would be  " << Verdict(answer.would_be, color) << "\n  reason    "
      << Printable(answer.reason) << '\n';
  if (!answer.rule.empty()) {
    out << "  rule      " << Printable(answer.rule)
        << (answer.at.empty() ? "" : Printable(" at " + answer.at)) << '\n';
  }
  if (!answer.note.empty()) out << "  note      " << Printable(answer.note) << '\n';
  if (!answer.allow.empty()) {
    out << "\nThis would allow it (`msegctl policy apply -`):\n\n" << PrintableLines(answer.allow);
  }
}

absl::StatusOr<api::WhyRequest> Request(const WhyOptions& options) {
  api::WhyRequest request{
      .last = options.last, .pid = options.pid, .address = "", .protocol = "", .port = 0};
  if (options.last) {
    if (options.target.empty()) return request;
    return absl::InvalidArgumentError("--last asks what happened: it takes a PID and no address");
  }
  if (options.pid == 0 || options.target.empty()) {
    return absl::InvalidArgumentError("why needs PID HOST:PORT, or --last [PID]");
  }
  auto target = ResolveHostPort(options.target);
  if (!target.ok()) return target.status();
  request.address = target->address;
  request.port = target->port;
  request.protocol = options.protocol;
  return request;
}

int RunWhy(Session& session, const WhyOptions& options) {
  auto request = Request(options);
  if (!request.ok()) return session.Fail(request.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto answer = (*daemon)->Why(*request);
  if (!answer.ok()) return session.Fail(answer.status());
  if (!session.PrintTree(ToJson(*answer))) PrintAnswer(session, *answer);
  return answer->verdict == "allow" ? kExitDone : kExitNo;
}

}  // namespace

void AddWhy(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "why",
      "Why a process may not talk to an address, and what would allow it; exit 1 if it may not");
  auto options = std::make_shared<WhyOptions>();
  command->add_option("PID", options->pid, "The process that connects")
      ->check(CLI::Range(1u, uint32_t{UINT32_MAX}));
  command->add_option("HOST:PORT", options->target,
                      "A name or an address; [ADDRESS]:PORT for IPv6");
  command->add_option("--protocol", options->protocol, "tcp (default), udp or sctp")
      ->check(CLI::IsMember({"tcp", "udp", "sctp"}));
  command->add_flag("--last", options->last, "The last refusal on record, of PID or of anybody");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunWhy(session, *options); };
  });
}

}  // namespace mseg::ctl
