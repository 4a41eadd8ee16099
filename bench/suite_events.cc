// SPDX-License-Identifier: Apache-2.0
// events: how many flow events a second reach the daemon, and what happens past that.
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "bench/suite.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

constexpr uint64_t kRates[] = {50'000, 100'000, 200'000, 400'000};
constexpr double kSeconds = 2;

// Connections to the refused port that the daemon has counted.
absl::StatusOr<uint64_t> Counted(const MsegArm& arm) {
  auto text = arm.host().CtlJson({"flows", "--since", "1h", "--verdict", "deny"});
  if (!text.ok()) return text.status();
  uint64_t sum = 0;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.value("port", 0) == kPortRefused) sum += json.value("count", 0ull);
  }
  return sum;
}

absl::Status AtRate(const SuiteContext& context, const MsegArm& arm, uint64_t rate) {
  context.progress.Show(absl::StrCat("events: ", rate, " a second"));
  auto before = arm.Counters();
  auto counted_before = Counted(arm);
  if (!before.ok()) return before.status();
  if (!counted_before.ok()) return counted_before.status();
  const uint64_t daemon = arm.DaemonCpuNs();
  auto outcome = arm.client().Run({.work = Work::kRate,
                                   .port = kPortRefused,
                                   .want = EPERM,
                                   .max_ns = static_cast<uint64_t>(kSeconds * 1e9),
                                   .max_ops = static_cast<uint64_t>(kSeconds) * rate},
                                  60'000'000'000);
  if (!outcome.ok()) return outcome.status();
  sleep(1);  // what is in the ring is read meanwhile
  auto after = arm.Counters();
  auto counted_after = Counted(arm);
  if (!after.ok()) return after.status();
  if (!counted_after.ok()) return counted_after.status();
  const double made = static_cast<double>(outcome->ops);
  const double lost =
      static_cast<double>((*after)["flow_events_lost"] - (*before)["flow_events_lost"]);
  const double seen = static_cast<double>(*counted_after - *counted_before);
  const auto add = [&](const std::string& metric, const std::string& unit, double value) {
    context.report->results.push_back({.suite = "events",
                                       .arm = absl::StrCat("asked-", rate),
                                       .metric = metric,
                                       .unit = unit,
                                       .value = {value, value, value, outcome->ops}});
  };
  add("made_per_second", "1/s", made / (static_cast<double>(outcome->wall_ns) / 1e9));
  add("lost_share", "share", lost / made);
  add("aggregated_share", "share", seen / made);
  add("unaccounted", "events", made - lost - seen);
  add("wrong_verdicts", "1", static_cast<double>(outcome->failures));
  add("daemon_cpu", "ns", static_cast<double>(arm.DaemonCpuNs() - daemon) / made);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunEvents(const SuiteContext& context) {
  auto arm = MakeMsegArm(context, context.options.rules.front());
  if (!arm.ok()) return arm.status();
  for (const uint64_t rate : kRates) {
    MSEG_RETURN_IF_ERROR(AtRate(context, **arm, rate));
    if (Interrupted()) return InterruptedStatus();
  }
  return absl::OkStatus();
}

}  // namespace mseg::bench
