// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

constexpr uint32_t kMaxHostId = (1u << 24) - 1;

// Nobody may compare 64 digits by eye in a table; the whole key is in `wide` and JSON.
std::string ShortKey(const std::string& key) { return key.substr(0, 16); }

// `any`, or entries; the operator's behind `and`.
std::string ClaimsText(const api::Host& host) {
  const std::string claims = absl::StrJoin(host.claims, " | ");
  const std::string limits = absl::StrJoin(host.limits, " | ");
  if (claims.empty() && limits.empty()) return "any";
  if (claims.empty() || limits.empty()) return claims + limits;
  return absl::StrCat(claims, " and ", limits);
}

void PrintOne(std::ostream& out, const api::Host& host) {
  const auto line = [&](const char* name, const std::string& value) {
    out << absl::StrFormat("%-13s", name) << (value.empty() ? "-" : Printable(value)) << '\n';
  };
  line("host id", absl::StrCat(host.id));
  line("name", host.name);
  line("addresses", absl::StrJoin(host.addresses, ", "));
  line("claims", ClaimsText(host));
  line("signing key", host.signing_key);
  line("exchange key", host.exchange_key);
  line("issued", TimeText(host.issued_us));
}

void PrintTable(Session& session, const std::vector<api::Host>& hosts) {
  const bool wide = session.format() == Format::kWide;
  std::vector<std::string> header = {"ID", "NAME", "", "CLAIMS", "RECORDS", "TRUSTED"};
  if (wide) header.insert(header.end(), {"BY", "ADDRESSES", "SIGNING KEY"});
  if (!wide) header.push_back("KEY");
  Table table(header, false);
  for (const api::Host& host : hosts) {
    std::string records = host.sequence == 0 ? "" : TimeText(host.records_issued_us);
    std::vector<std::string> row = {absl::StrCat(host.id), host.name, host.own ? "*" : " ",
                                    ClaimsText(host),      records,   TimeText(host.trusted_at_us)};
    if (wide) row.insert(row.end(), {host.user, absl::StrJoin(host.addresses, ",")});
    row.push_back(wide ? host.signing_key : ShortKey(host.signing_key));
    table.Add(std::move(row));
  }
  table.Print(session.out());
}

int RunHostInit(Session& session, api::HostInit request) {
  request.author = session.context().user;
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto host = (*daemon)->InitHost(request);
  if (!host.ok()) return session.Fail(host.status());
  if (session.PrintTree(ToJson(*host))) return kExitDone;
  session.out() << "this host is host " << host->id << " (" << Printable(host->name) << ")\n";
  PrintOne(session.out(), *host);
  return kExitDone;
}

// The record itself in json and yaml: the file that others trust.
int RunHostShow(Session& session) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto hosts = (*daemon)->ListHosts();
  if (!hosts.ok()) return session.Fail(hosts.status());
  if (hosts->empty() || !hosts->front().own) {
    return session.Fail(absl::FailedPreconditionError(
        "this host has no identity; `msegctl host init --id N` gives it one"));
  }
  const Json record = Json::parse(hosts->front().record, nullptr, /*allow_exceptions=*/false);
  if (!session.PrintTree(record)) PrintOne(session.out(), hosts->front());
  return kExitDone;
}

int RunHostList(Session& session) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto hosts = (*daemon)->ListHosts();
  if (!hosts.ok()) return session.Fail(hosts.status());
  Json list = Json::array();
  for (const api::Host& host : *hosts) list.push_back(ToJson(host));
  if (session.PrintTree(list)) return kExitDone;
  if (hosts->empty()) {
    session.context().err << "no hosts\n";
  } else {
    PrintTable(session, *hosts);
  }
  return kExitDone;
}

struct TrustOptions {
  std::string file;
  std::vector<std::string> limits;
  bool replace = false;
};

int RunHostTrust(Session& session, const TrustOptions& options) {
  auto file = session.ReadFile(options.file);
  if (!file.ok()) return session.Fail(file.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto host = (*daemon)->TrustHost({.file = *std::move(file),
                                    .limits = options.limits,
                                    .replace = options.replace,
                                    .author = session.context().user,
                                    .caller = {}});
  if (!host.ok()) return session.Fail(host.status());
  if (session.PrintTree(ToJson(*host))) return kExitDone;
  session.out() << "host " << host->id << " (" << Printable(host->name)
                << ") is trusted; it may claim " << Printable(ClaimsText(*host)) << '\n';
  return kExitDone;
}

int RunHostDistrust(Session& session, const std::string& target) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto host =
      (*daemon)->DistrustHost({.target = target, .author = session.context().user, .caller = {}});
  if (!host.ok()) return session.Fail(host.status());
  if (session.PrintTree(ToJson(*host))) return kExitDone;
  session.out() << "host " << host->id << " (" << Printable(host->name)
                << ") is trusted no longer; its records are gone\n";
  return kExitDone;
}

void AddInit(CLI::App& group, Session& session) {
  CLI::App* command =
      group.add_subcommand("init", "Make this host's keys and its record, or renew the record");
  auto request = std::make_shared<api::HostInit>();
  command->add_option("--id", request->id, "A number that no other host of the fleet has")
      ->required()
      ->type_name("N")
      ->check(CLI::Range(1u, kMaxHostId));
  command->add_option("--name", request->name, "Default: the daemon's name of this host")
      ->type_name("NAME");
  command->add_option("--address", request->addresses, "Where it is reached; may be repeated")
      ->type_name("A")
      ->allow_extra_args(false);
  command
      ->add_option("--claims", request->claims,
                   "Labels that its processes may claim, k=v,k=v; may be repeated; default: any")
      ->type_name("LABELS")
      ->allow_extra_args(false);
  command->add_flag("--replace", request->replace, "Make new keys, under another id if need be");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, request]() {
    session.action = [&session, request]() { return RunHostInit(session, *request); };
  });
}

void AddTrust(CLI::App& group, Session& session) {
  CLI::App* command =
      group.add_subcommand("trust", "Believe another host, by the record that it shows");
  auto options = std::make_shared<TrustOptions>();
  command->add_option("FILE", options->file, "What `host show -o json` said there; - for stdin")
      ->required();
  command
      ->add_option("--claims", options->limits,
                   "What it may claim at most, k=v,k=v, beside its own record; may be repeated")
      ->type_name("LABELS")
      ->allow_extra_args(false);
  command->add_flag("--replace", options->replace,
                    "Even though another key or a newer record is trusted");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunHostTrust(session, *options); };
  });
}

void AddDistrust(CLI::App& group, Session& session) {
  CLI::App* command = group.add_subcommand(
      "distrust", "Forget another host: its keys, its records, and what it proved");
  auto target = std::make_shared<std::string>();
  command->add_option("ID|NAME", *target, "Which one")->required();
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, target]() {
    session.action = [&session, target]() { return RunHostDistrust(session, *target); };
  });
}

}  // namespace

void AddHost(CLI::App& parent, Session& session) {
  CLI::App* group = parent.add_subcommand("host", "Who this host is, and which others it believes");
  group->require_subcommand(1);
  AddInit(*group, session);
  CLI::App* show =
      group->add_subcommand("show", "This host's record; -o json is what others trust");
  AddOutputOption(*show, session, {Format::kTable, Format::kJson, Format::kYaml});
  show->callback([&session]() { session.action = [&session]() { return RunHostShow(session); }; });
  CLI::App* list = group->add_subcommand("list", "This host (*) and those that are trusted");
  AddOutputOption(*list, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  list->callback([&session]() { session.action = [&session]() { return RunHostList(session); }; });
  AddTrust(*group, session);
  AddDistrust(*group, session);
}

}  // namespace mseg::ctl
