// SPDX-License-Identifier: Apache-2.0
// events: how many flow events a second reach the daemon, and what happens past that.
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "bench/suite.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

constexpr uint64_t kRates[] = {100'000, 200'000, 400'000, 1'000'000};
constexpr double kSeconds = 2;
// Flows that differ, in turn: more than the kernel counts by itself, fewer than msegd remembers.
constexpr uint32_t kManyFlows = 2000;

absl::Status AtRate(const SuiteContext& context, const MsegArm& arm, uint64_t rate,
                    uint32_t flows) {
  context.progress.Show(absl::StrCat("events: ", rate, " a second of ", flows, " flows"));
  auto before = arm.Counters();
  if (!before.ok()) return before.status();
  const uint64_t daemon = arm.DaemonCpuNs();
  auto outcome = arm.client().Run({.work = Work::kRate,
                                   .port = kPortRefused,
                                   .want = EPERM,
                                   .ports = flows,
                                   .max_ns = static_cast<uint64_t>(kSeconds * 1e9),
                                   .max_ops = static_cast<uint64_t>(kSeconds) * rate},
                                  60'000'000'000);
  if (!outcome.ok()) return outcome.status();
  sleep(1);  // what is in the ring is read meanwhile
  auto after = arm.Counters();
  if (!after.ok()) return after.status();
  const double made = static_cast<double>(outcome->ops);
  const auto grown = [&](const char* counter) {
    return static_cast<double>((*after)[counter] - (*before)[counter]);
  };
  const double lost = grown("flow_events_lost"), seen = grown("flow_events");
  const std::string arm_name = absl::StrCat(flows == 1 ? "one-flow-" : "many-flows-", rate);
  const auto add = [&](const std::string& metric, const std::string& unit, double value) {
    context.report->results.push_back({.suite = "events",
                                       .arm = arm_name,
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
  for (const uint32_t flows : {1u, kManyFlows}) {
    for (const uint64_t rate : kRates) {
      MSEG_RETURN_IF_ERROR(AtRate(context, **arm, rate, flows));
      if (Interrupted()) return InterruptedStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace mseg::bench
