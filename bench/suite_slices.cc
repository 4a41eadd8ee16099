// SPDX-License-Identifier: Apache-2.0
// Suites that are slices of work of a client against a server: all arms alive at once, one slice of
// each arm a round, in random order.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/series.h"
#include "bench/suite.h"

namespace mseg::bench {
namespace {

struct Activity {
  std::string suite = {};  // as the user names it
  std::string name = {};   // as results name it
  Work work = Work::kConnect;
  bool wall = false;       // cost is wall time
  bool many_arms = false;  // all linear rule sets; others only up to 1000
  bool refused = false;
};

const std::vector<Activity>& Activities() {
  static const std::vector<Activity> activities = {
      {.suite = "connect", .name = "connect", .work = Work::kConnect, .many_arms = true},
      {.suite = "connect", .name = "connect-many", .work = Work::kConnectMany},
      {.suite = "connect", .name = "refused", .work = Work::kRefused, .refused = true},
      {.suite = "rr", .name = "rr", .work = Work::kRequest},
      {.suite = "stream", .name = "stream", .work = Work::kStream},
      {.suite = "udp", .name = "udp-connected", .work = Work::kUdpConnected},
      {.suite = "udp", .name = "udp-unconnected", .work = Work::kUdpUnconnected},
      {.suite = "udp", .name = "udp-exchange", .work = Work::kUdpExchange},
      {.suite = "exec", .name = "exec", .work = Work::kExec, .wall = true},
      {.suite = "exec", .name = "fork", .work = Work::kFork, .wall = true},
  };
  return activities;
}

constexpr uint64_t kFewLinear = 1000;
constexpr unsigned kSettleSeconds = 10;

bool TakesPart(const Activity& activity, const ArmSpec& spec) {
  const bool linear = absl::EndsWith(spec.kind, "-linear");
  if (linear && !activity.many_arms && spec.rules > kFewLinear) return false;
  // Whose question was not seen may not answer it.
  if (!spec.without.empty() && activity.suite == "udp") return false;
  if (spec.kind == "empty-option" && activity.suite != "connect") return false;
  // A firewall that drops gives no answer to time.
  if (activity.refused || activity.suite == "exec") {
    return absl::StartsWith(spec.kind, "none") || absl::StartsWith(spec.kind, "mseg");
  }
  return true;
}

Slice SliceFor(const SuiteContext& context, const Activity& activity, const Arm& arm) {
  Slice slice;
  slice.work = activity.work;
  slice.max_ns = context.options.slice_ms * 1'000'000;
  if (activity.refused) {
    slice.port = kPortRefused;
    slice.want = absl::StartsWith(arm.spec().kind, "mseg") ? EPERM : ECONNREFUSED;
  }
  return slice;
}

class SliceRun {
 public:
  SliceRun(const SuiteContext& context, std::vector<Activity> activities)
      : context_(context), activities_(std::move(activities)), series_(activities_.size()) {}

  absl::Status Run();

 private:
  absl::Status OneCreation(uint64_t index, uint64_t rounds);
  absl::Status Rounds(size_t activity, const std::vector<std::unique_ptr<Arm>>& arms,
                      uint64_t creation, uint64_t rounds);
  absl::Status OneSlice(const Activity& activity, const Arm& arm, Series* series);
  // Each arm alone, one after the other: where all programs see every arm's connections (LSM) and
  // the clock does not depend on the neighbours.
  absl::Status OneByOne(uint64_t creation, uint64_t rounds);
  absl::Status Settle();
  Series* SeriesOf(size_t activity, const Arm& arm);
  void Report() const;

  const SuiteContext& context_;
  std::vector<Activity> activities_;
  std::vector<std::vector<Series>> series_;  // by activity
};

Series* SliceRun::SeriesOf(size_t activity, const Arm& arm) {
  for (Series& one : series_[activity]) {
    if (one.arm == arm.spec().Name()) return &one;
  }
  series_[activity].push_back(
      {.kind = arm.spec().Variant(), .arm = arm.spec().Name(), .rules = arm.spec().rules});
  return &series_[activity].back();
}

absl::Status SliceRun::OneSlice(const Activity& activity, const Arm& arm, Series* series) {
  const uint64_t daemon = arm.DaemonCpuNs();
  auto outcome = arm.client().Run(SliceFor(context_, activity, arm));
  if (!outcome.ok()) return outcome.status();
  if (outcome->failures > 0) {
    return absl::InternalError(absl::StrCat(activity.name, " in ", arm.spec().Name(),
                                            " fails: ", strerror(outcome->error)));
  }
  const double ops = static_cast<double>(outcome->ops);
  series->cost.push_back(activity.wall ? static_cast<double>(outcome->wall_ns) / ops
                                       : outcome->CpuPerOp());
  series->wall.push_back(static_cast<double>(outcome->wall_ns) / ops);
  series->ops += outcome->ops;
  series->daemon_cpu_ns += arm.DaemonCpuNs() - daemon;
  series->latency.Merge(outcome->latency);
  return absl::OkStatus();
}

absl::Status SliceRun::Rounds(size_t activity, const std::vector<std::unique_ptr<Arm>>& arms,
                              uint64_t creation, uint64_t rounds) {
  const Activity& what = activities_[activity];
  std::vector<const Arm*> part;
  for (const auto& arm : arms) {
    if (TakesPart(what, arm->spec())) part.push_back(arm.get());
  }
  for (const Arm* arm : part) SeriesOf(activity, *arm);
  for (const Arm* arm : part) {
    Series* series = SeriesOf(activity, *arm);
    series->starts.push_back(series->cost.size());
    Series warm;  // caches, connections, neighbours: the first slice is not counted
    if (const absl::Status status = OneSlice(what, *arm, &warm); !status.ok()) return status;
  }
  for (uint64_t round = 0; round < rounds; round++) {
    context_.progress.Show(absl::StrCat(what.name, ": arms made ", creation + 1, " of ",
                                        context_.options.recreate, " times, round ", round + 1,
                                        " of ", rounds, ", ", part.size(), " arms"));
    for (const size_t i : RandomOrder(part.size(), creation * 1'000'003 + round)) {
      if (Interrupted()) return InterruptedStatus();
      const absl::Status status = OneSlice(what, *part[i], SeriesOf(activity, *part[i]));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

// What a freshly booted kernel still does, it does beside an arm that does not count.
absl::Status SliceRun::Settle() {
  sleep(kSettleSeconds);
  auto arms = MakeArms(context_, activities_[0].suite, {{"none", 0, context_.options.topology}});
  if (!arms.ok()) return arms.status();
  for (const Activity& activity : activities_) {
    for (int i = 0; i < 8; i++) {
      Series ignored;
      const absl::Status status = OneSlice(activity, *(*arms)[0], &ignored);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status SliceRun::OneByOne(uint64_t creation, uint64_t rounds) {
  if (const absl::Status status = Settle(); !status.ok()) return status;
  for (const ArmSpec& spec : ArmsOf(context_.options, 10'000)) {
    auto arms = MakeArms(context_, activities_[0].suite, {spec});
    if (!arms.ok()) return arms.status();
    if (arms->empty()) continue;
    for (size_t i = 0; i < activities_.size(); i++) {
      if (!TakesPart(activities_[i], spec)) continue;
      const absl::Status status = Rounds(i, *arms, creation, rounds);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status SliceRun::OneCreation(uint64_t index, uint64_t rounds) {
  if (context_.guest) return OneByOne(index, rounds);
  const bool all = std::any_of(activities_.begin(), activities_.end(),
                               [](const Activity& activity) { return activity.many_arms; });
  auto arms = MakeArms(context_, activities_[0].suite,
                       ArmsOf(context_.options, all ? 100'000 : kFewLinear));
  if (!arms.ok()) return arms.status();
  for (size_t i = 0; i < activities_.size(); i++) {
    if (const absl::Status status = Rounds(i, *arms, index, rounds); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SliceRun::Run() {
  const uint64_t creations = context_.options.recreate, runs = context_.options.runs;
  absl::Status status;
  for (uint64_t i = 0; i < creations && status.ok(); i++) {
    status = OneCreation(i, runs / creations + (i < runs % creations ? 1 : 0));
  }
  if (!status.ok()) return status;
  Report();
  return absl::OkStatus();
}

void SliceRun::Report() const {
  for (size_t i = 0; i < activities_.size(); i++) {
    const Activity& activity = activities_[i];
    const bool network = activity.suite != "exec";
    const std::string topology = context_.options.topology == Topology::kVeth ? "veth" : "lo";
    AddResults({.suite = activity.name,
                .topology = network ? topology : "",
                .metric = activity.wall ? "wall" : "cpu",
                .unit = context_.Unit()},
               series_[i], context_.report);
    for (const Series& series : series_[i]) {
      auto& arms = context_.report->arms;
      if (std::find(arms.begin(), arms.end(), series.arm) == arms.end()) arms.push_back(series.arm);
    }
  }
}

}  // namespace

Progress::Progress() : terminal_(isatty(2) == 1) {}

Progress::~Progress() { Show(""); }

void Progress::Show(const std::string& line) {
  if (terminal_) fprintf(stderr, "\r\033[K%s", line.c_str());
}

absl::StatusOr<std::vector<std::unique_ptr<Arm>>> MakeArms(const SuiteContext& context,
                                                           const std::string& suite,
                                                           const std::vector<ArmSpec>& specs) {
  std::vector<std::unique_ptr<Arm>> out;
  for (const ArmSpec& spec : specs) {
    std::string missing;
    for (const std::string& program : FindArmKind(spec.kind)->programs) {
      if (FindProgram(program).empty()) missing = program;
    }
    if (!missing.empty()) {
      context.Skip(suite, spec.Name(), missing + " is not installed (tools/setup installs it)");
      continue;
    }
    context.progress.Show(absl::StrCat(suite, ": making ", spec.Name()));
    auto arm = MakeArm(spec, context.arms);
    if (!arm.ok()) return arm.status();
    out.push_back(*std::move(arm));
  }
  return out;
}

absl::StatusOr<std::unique_ptr<MsegArm>> MakeMsegArm(const SuiteContext& context, uint64_t rules) {
  context.progress.Show(absl::StrCat("making mseg-both@", rules));
  auto arm = MakeArm({"mseg-both", rules, Topology::kLo}, context.arms);
  if (!arm.ok()) return arm.status();
  // MakeArm makes a MsegArm of this kind.
  return std::unique_ptr<MsegArm>(static_cast<MsegArm*>(arm->release()));
}

absl::Status RunSlices(const SuiteContext& context, const std::vector<std::string>& suites) {
  std::vector<Activity> activities;
  for (const Activity& activity : Activities()) {
    const bool asked = std::find(suites.begin(), suites.end(), activity.suite) != suites.end();
    // Threads on one emulated processor say nothing about threads.
    const bool many = activity.work == Work::kConnectMany;
    if (asked && !(context.guest && many)) activities.push_back(activity);
  }
  if (activities.empty()) return absl::OkStatus();
  return SliceRun(context, std::move(activities)).Run();
}

}  // namespace mseg::bench
