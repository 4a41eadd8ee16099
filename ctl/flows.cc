// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(250);

struct FlowsOptions {
  bool follow = false;
  std::string since;
  std::string verdict;
  uint32_t limit = 0;
};

template <typename End>
std::string EndText(const End& end) {
  std::string text = LabelsText(end.labels);
  if (!end.exe.empty()) {
    absl::StrAppend(&text, text.empty() ? "" : " ", ProgramText(end.exe, end.script));
  }
  return text;
}

std::string PeerText(const api::FlowPeer& peer) {
  std::string text = EndText(peer);
  if (peer.address.empty()) return text;
  bool v6 = peer.address.find(':') != std::string::npos;
  return absl::StrCat(text, text.empty() ? "" : " ", v6 ? "[" : "", peer.address, v6 ? "]" : "",
                      peer.port == 0 ? "" : absl::StrCat(":", peer.port));
}

class FlowPrinter {
 public:
  explicit FlowPrinter(Session& session)
      : session_(session), table_(Header(session), session.context().color) {}

  void Print(const std::vector<api::FlowRecord>& flows) {
    for (const api::FlowRecord& flow : flows) {
      if (session_.format() == Format::kJson) {
        session_.out() << JsonLine(ToJson(flow)) << '\n';
      } else if (session_.format() == Format::kYaml) {
        session_.out() << "---\n";
        PrintYaml(session_.out(), ToJson(flow));
      } else {
        table_.Add(Row(flow));
      }
    }
    bool drawn = session_.format() == Format::kTable || session_.format() == Format::kWide;
    if (drawn && !flows.empty()) table_.Print(session_.out());
    session_.out().flush();
  }

 private:
  static std::vector<std::string> Header(Session& session) {
    std::vector<std::string> header = {"TIME",    "VERDICT", "DIRECTION", "LOCAL", "PEER",
                                       "SERVICE", "REASON",  "RULE",      "COUNT"};
    if (session.format() == Format::kWide) {
      header.insert(header.end(),
                    {"WOULD-BE", "WOULD-RULE", "PID", "GRADES", "HOOK", "GENERATION"});
    }
    return header;
  }

  std::vector<std::string> Row(const api::FlowRecord& flow) {
    std::string service = flow.protocol;
    if (flow.port != 0) absl::StrAppend(&service, "/", flow.port);
    std::vector<std::string> row = {TimeText(flow.time_us),
                                    flow.verdict,
                                    flow.direction,
                                    EndText(flow.local),
                                    PeerText(flow.peer),
                                    service,
                                    flow.reason,
                                    flow.rule,
                                    absl::StrCat(flow.count)};
    if (session_.format() == Format::kWide) {
      row.insert(row.end(), {flow.would_be, flow.would_rule, absl::StrCat(flow.local.pid),
                             absl::StrCat(flow.local.grade, " ", flow.peer.grade), flow.hook,
                             absl::StrCat(flow.generation)});
    }
    return row;
  }

  Session& session_;
  Table table_;
};

absl::StatusOr<int64_t> SinceUs(const FlowsOptions& options, int64_t now_us) {
  if (options.since.empty()) return 0;
  auto since = DurationUs("--since", options.since);
  if (!since.ok()) return since.status();
  return now_us - *since;
}

void WarnLost(Session& session, uint64_t lost) {
  if (lost == 0) return;
  session.context().err << "warning: " << Count(lost, "flow")
                        << " were dropped before they could be read\n";
}

int RunFlows(Session& session, const FlowsOptions& options) {
  int64_t start_us = session.context().now_us();
  auto since = SinceUs(options, start_us);
  if (!since.ok()) return session.Fail(since.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  FlowPrinter printer(session);
  api::FlowsRequest request{.cursor = std::nullopt,
                            .limit = options.limit,
                            .verdict = options.verdict,
                            .since_unix_us = *since};
  // Without a limit everything is wanted, page by page.
  if (options.limit == 0) request.cursor = 0;
  for (;;) {
    auto page = (*daemon)->Flows(request);
    if (!page.ok()) return session.Fail(page.status());
    printer.Print(page->records);
    WarnLost(session, request.cursor.value_or(0) == 0 ? 0 : page->lost);
    if (!session.out().good()) return kExitDone;  // the reader went away
    bool first = !request.cursor.has_value();
    request.cursor = page->next_cursor;
    request.limit = 0;
    // A busy host makes flows faster than they are printed: what came after the start is for
    // --follow.
    bool more = !first && !page->records.empty() && page->records.back().time_us < start_us;
    if (more) continue;
    if (!options.follow || !session.context().pause(kLookAgain)) return kExitDone;
  }
}

}  // namespace

void AddFlows(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand("flows", "Connections that were judged, oldest first");
  auto options = std::make_shared<FlowsOptions>();
  command->add_flag("-f,--follow", options->follow, "Go on with what comes");
  command->add_option("--since", options->since, "Not older than this: 30s, 5m, 1h30m")
      ->type_name("DURATION");
  command->add_option("--verdict", options->verdict, "Only these: allow or deny")
      ->type_name("VERDICT")
      ->check(CLI::IsMember({"allow", "deny"}));
  command->add_option("--limit", options->limit, "Only the newest N")
      ->type_name("N")
      ->check(CLI::Range(1u, api::kMaxFlowPage));
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunFlows(session, *options); };
  });
}

}  // namespace mseg::ctl
