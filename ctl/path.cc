// SPDX-License-Identifier: Apache-2.0
// `path check`: a connection of this very process, and what the kernel made of its handshake.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ctl/dial.h"
#include "ctl/host_port.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

constexpr char kDefaultPort[] = "22";
constexpr absl::Duration kAskAgain = absl::Milliseconds(100);
constexpr int kQuestions = 20;

struct PathAnswer {
  std::string option;   // kept, missing, not_sent, unknown
  std::string numbers;  // kept, changed, not_asked, unknown: the initial sequence numbers
  std::string mode;     // identity, identity_unbound, address, refused, unknown
  std::string advice;
};

// Whose record names this address; empty for nobody's.
std::string HostAt(const std::vector<api::Host>& hosts, const std::string& address) {
  for (const api::Host& host : hosts) {
    if (std::count(host.addresses.begin(), host.addresses.end(), address) == 0) continue;
    return host.name.empty() ? absl::StrCat("host ", host.id) : host.name;
  }
  return "";
}

PathAnswer WithoutHandshake(const api::FlowRecord* flow, const Dialled& dialled) {
  if (flow != nullptr && flow->verdict == "deny") {
    return {"not_sent", "unknown", "refused",
            absl::StrCat("this host's own policy refuses the connection (", flow->reason,
                         "); `msegctl why --last` says which")};
  }
  if (!dialled.connected) {
    return {"unknown", "unknown", "unknown",
            "there was no handshake: nobody listens there, the server's policy refuses this "
            "program at its first packet (see `msegctl flows` there), or the path is closed; "
            "choose a port that answers msegctl"};
  }
  return {"not_sent", "not_asked", "address",
          "nothing is carried on this path: the target is this host, or this host has no identity "
          "(`msegctl host init`)"};
}

PathAnswer MissingOption(const api::FlowRecord& flow, const std::string& owner) {
  const std::string there =
      owner.empty()
          ? "the server runs no mseg, its listener is older than its identity, or something on "
            "the way takes the option; no host record names this address"
          : absl::StrCat("this is the address of ", owner,
                         ": its listener is older than its identity, or something on the way takes "
                         "the option");
  if (flow.verdict == "allow") {
    return {"missing", "unknown", "address", there + ". The address decides (mode: prefer)"};
  }
  return {"missing", "unknown", "refused",
          there + ". Refused: the path demands a proof, or the address alone allows nothing"};
}

PathAnswer FromFlow(const api::FlowRecord& flow, const std::string& owner) {
  const std::string mode = flow.verdict == "allow" ? "" : "refused";
  if (flow.proof == "bound") {
    return {"kept", "kept", mode.empty() ? "identity" : mode, "bind: both works on this path"};
  }
  if (flow.proof == "unbound") {
    return {"kept", "not_asked", mode.empty() ? "identity_unbound" : mode,
            "the configuration has bind: none for this path"};
  }
  if (flow.proof == "legacy") {
    return {"not_sent", "not_asked", mode.empty() ? "address" : mode,
            "the configuration has mode: legacy for this path"};
  }
  if (flow.reason == "bad_proof") {
    return {"kept", "changed", "refused",
            "an answer came and its MAC is wrong: if a firewall on the way draws sequence numbers "
            "anew, set bind: none for this subnet on both hosts; else compare clocks, salt and "
            "host records"};
  }
  if (flow.reason == "no_record") {
    return {"kept", "unknown", "refused",
            "a host answered that this one has no record of: `msegctl host trust`"};
  }
  return MissingOption(flow, owner);
}

absl::StatusOr<std::optional<api::FlowRecord>> FindOwnFlow(Session& session, api::Service& daemon,
                                                           uint32_t port, int64_t since_us) {
  const auto pid = static_cast<uint32_t>(getpid());
  for (int look = 0; look < kQuestions; look++) {
    auto page = daemon.Flows({.cursor = std::nullopt,
                              .limit = api::kMaxFlowPage,
                              .verdict = "",
                              .since_unix_us = since_us});
    if (!page.ok()) return page.status();
    for (auto flow = page->records.rbegin(); flow != page->records.rend(); ++flow) {
      if (flow->local.pid == pid && flow->protocol == "tcp" && flow->port == port) return *flow;
    }
    if (!session.context().pause(kAskAgain)) break;
  }
  return std::optional<api::FlowRecord>();
}

int RunPathCheck(Session& session, const std::string& text) {
  // `10.0.0.1`, `2001:db8::1` and `name` have no port.
  const bool bare6 = std::count(text.begin(), text.end(), ':') > 1 && text.front() != '[';
  const bool has_port = !bare6 && text.rfind(':') != std::string::npos && text.back() != ']';
  auto target = ResolveHostPort(has_port ? text
                                : bare6  ? absl::StrCat("[", text, "]:", kDefaultPort)
                                         : absl::StrCat(text, ":", kDefaultPort));
  if (!target.ok()) return session.Fail(target.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto hosts = (*daemon)->ListHosts();
  if (!hosts.ok()) return session.Fail(hosts.status());
  const int64_t start_us = session.context().now_us();
  const Dialled dialled = session.context().dial(target->address, target->port);
  auto flow = FindOwnFlow(session, **daemon, target->port, start_us);
  if (!flow.ok()) return session.Fail(flow.status());
  if (!flow->has_value() && dialled.connected) {
    return session.Fail(absl::FailedPreconditionError(
        "the daemon saw nothing of this connection: run msegctl below the daemon's cgroup root, "
        "and with `report_allowed: true`"));
  }
  const bool established =
      flow->has_value() && ((*flow)->hook == "established" || !(*flow)->proof.empty());
  const PathAnswer answer = established
                                ? FromFlow(**flow, HostAt(*hosts, target->address))
                                : WithoutHandshake(flow->has_value() ? &**flow : nullptr, dialled);
  const std::string verdict = flow->has_value() ? (*flow)->verdict : "";
  const std::string reason = flow->has_value() ? (*flow)->reason : "";
  const bool good = verdict == "allow" && dialled.error.empty() && answer.option == "kept";
  const auto text_or_null = [](const std::string& value) {
    return value.empty() ? Json(nullptr) : Json(value);
  };
  if (session.PrintTree({{"address", target->address},
                         {"port", target->port},
                         {"connected", dialled.connected},
                         {"error", text_or_null(dialled.error)},
                         {"option", answer.option},
                         {"sequence_numbers", answer.numbers},
                         {"mode", answer.mode},
                         {"verdict", text_or_null(verdict)},
                         {"reason", text_or_null(reason)},
                         {"advice", answer.advice}})) {
    return good ? kExitDone : kExitNo;
  }
  const auto line = [&session](const char* name, const std::string& value) {
    session.out() << absl::StrFormat("%-18s", name) << Printable(value) << '\n';
  };
  line("connection", !dialled.connected        ? "failed: " + dialled.error
                     : !dialled.error.empty() ? "cut after the handshake: " + dialled.error
                                              : "made");
  line("option", answer.option);
  line("sequence numbers", answer.numbers);
  line("mode", answer.mode);
  if (!verdict.empty()) line("verdict", absl::StrCat(verdict, " (", reason, ")"));
  line("advice", answer.advice);
  return good ? kExitDone : kExitNo;
}

}  // namespace

void AddPath(CLI::App& parent, Session& session) {
  CLI::App* group = parent.add_subcommand("path", "What paths to other hosts let through");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand(
      "check", "Do the identity option and the sequence numbers of a handshake survive the way?");
  auto target = std::make_shared<std::string>();
  command->add_option("target", *target, "Where something listens; port 22 if none is given")
      ->required()
      ->type_name("HOST[:PORT]");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, target]() {
    session.action = [&session, target]() { return RunPathCheck(session, *target); };
  });
}

}  // namespace mseg::ctl
