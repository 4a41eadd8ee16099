// SPDX-License-Identifier: Apache-2.0
// apply: how long from a policy to its enforcement, and what it takes in memory.
#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "bench/suite.h"
#include "loader/errno_status.h"
#include "loader/pins.h"
#include "loader/scoped_fd.h"

namespace mseg::bench {
namespace {

// One rule that changes its mind; the port is one that the server listens on.
constexpr char kChange[] = R"(apiVersion: mseg.io/v1
kind: Policy
metadata: {name: bench-change}
spec:
  rules:
  - name: changing
    verdict: %s
    from: {labels: {bench: client}}
    to: {labels: {bench: server}}
    services: [tcp/%d]
)";

Estimate Exactly(double value) { return {value, value, value, 1}; }

uint64_t ResidentBytes(pid_t pid) {
  auto text = ReadWhole(absl::StrCat("/proc/", pid, "/status"));
  if (!text.ok()) return 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(*text, '\n'))) {
    uint64_t kib = 0;
    std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() >= 2 && words[0] == "VmRSS:" && absl::SimpleAtoi(words[1], &kib)) {
      return kib * 1024;
    }
  }
  return 0;
}

class ApplyRun {
 public:
  ApplyRun(const SuiteContext& context, const MsegArm& arm) : context_(context), arm_(arm) {}

  absl::Status Whole();
  absl::Status OneRule();
  absl::Status Memory();
  absl::Status NftSet();

 private:
  void Add(const std::string& arm, const std::string& metric, const std::string& unit,
           const Estimate& value, const std::string& against = "") const {
    context_.report->results.push_back({.suite = "apply",
                                        .arm = absl::StrCat(arm, "@", arm_.spec().rules),
                                        .against = against,
                                        .rules = arm_.spec().rules,
                                        .metric = metric,
                                        .unit = unit,
                                        .value = value});
  }
  // {check, compile, store, stage, flip, close} in ms, as msegctl says.
  void AddTimings(const std::string& prefix, const std::string& output) const;
  absl::StatusOr<double> ElementBytes(const std::string& map) const;
  absl::Status AddElements(const std::string& metric, const std::vector<std::string>& maps) const;
  absl::StatusOr<double> Change(const std::string& verdict, int want, std::string* output) const;

  const SuiteContext& context_;
  const MsegArm& arm_;
  double whole_ms_ = 0, stage_ms_ = 0;
};

void ApplyRun::AddTimings(const std::string& prefix, const std::string& output) const {
  const auto json = nlohmann::json::parse(output, nullptr, false);
  if (json.is_discarded() || !json.contains("timings_ms")) return;
  for (const auto& [name, value] : json["timings_ms"].items()) {
    if (value.is_number()) Add("mseg", absl::StrCat(prefix, name), "ms", Exactly(value));
  }
}

// All documents at once, into a daemon that had none: done when the arm was made.
absl::Status ApplyRun::Whole() {
  whole_ms_ = static_cast<double>(arm_.host().apply_ns()) / 1e6;
  Add("mseg", "all_command", "ms", Exactly(whole_ms_));
  AddTimings("all_", arm_.host().apply_output());
  const auto json = nlohmann::json::parse(arm_.host().apply_output(), nullptr, false);
  if (!json.is_discarded() && json.contains("timings_ms")) {
    stage_ms_ = json["timings_ms"].value("stage", 0.0) + json["timings_ms"].value("flip", 0.0);
  }
  auto check =
      RunProgram({arm_.host().places().msegctl, "policy", "check", arm_.host().policy_file()});
  if (!check.ok()) return check.status();
  Add("mseg", "check_command", "ms", Exactly(static_cast<double>(check->wall_ns) / 1e6));
  return absl::OkStatus();
}

// ms from the command's start until a connect sees the change.
absl::StatusOr<double> ApplyRun::Change(const std::string& verdict, int want,
                                        std::string* output) const {
  const std::string file = arm_.host().policy_file() + ".change.yaml";
  MSEG_RETURN_IF_ERROR(
      WriteWhole(file, absl::StrFormat(kChange, verdict, static_cast<int>(kPortMany))));
  constexpr uint64_t kLimit = 60'000'000'000;
  MSEG_RETURN_IF_ERROR(arm_.client().Begin(
      {.work = Work::kWatch, .port = kPortMany, .want = want, .max_ns = kLimit}));
  const uint64_t start = NowNs();
  auto done = arm_.host().CtlJson({"policy", "apply", file});
  auto seen = arm_.client().End(2 * kLimit);
  if (!done.ok()) return done.status();
  if (!seen.ok()) return seen.status();
  if (seen->failures > 0) return absl::InternalError("a changed rule is never enforced");
  *output = *done;
  return static_cast<double>(seen->at_ns - start) / 1e6;
}

absl::Status ApplyRun::OneRule() {
  std::vector<double> enforced;
  std::string output;
  const uint64_t changes = std::min<uint64_t>(context_.options.runs, 50);
  for (uint64_t i = 0; i <= changes; i++) {
    context_.progress.Show(absl::StrCat("apply: ", arm_.spec().rules, " rules, change ", i));
    const bool deny = i % 2 == 0;
    auto ms = Change(deny ? "deny" : "allow", deny ? EPERM : 0, &output);
    if (!ms.ok()) return ms.status();
    if (i > 0) enforced.push_back(*ms);  // the first adds a policy
  }
  Add("mseg", "one_rule_enforced", "ms", BootstrapMedian(enforced));
  const double p99 = Quantile(enforced, 0.99);
  Add("mseg", "one_rule_enforced_p99", "ms", {p99, p99, p99, enforced.size()});
  AddTimings("one_rule_", output);
  return absl::OkStatus();
}

// What one element of a map takes: an array has places, a hash table allocates elements (struct
// htab_elem of the kernel is 48 bytes before the key) when they are added.
absl::StatusOr<double> ApplyRun::ElementBytes(const std::string& map) const {
  const ScopedFd fd(
      bpf_obj_get(absl::StrCat(arm_.host().places().pin_dir, "/", kMapPins, "/", map).c_str()));
  if (!fd.ok()) return ErrnoStatus(errno, "open map " + map);
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) return ErrnoStatus(errno, map);
  const auto aligned = [](uint32_t bytes) { return (bytes + 7) / 8 * 8; };
  return info.type == BPF_MAP_TYPE_ARRAY ? aligned(info.value_size)
                                         : 48 + aligned(info.key_size) + aligned(info.value_size);
}

absl::Status ApplyRun::AddElements(const std::string& metric,
                                   const std::vector<std::string>& maps) const {
  double bytes = 0;
  for (const std::string& map : maps) {
    auto element = ElementBytes(map);
    if (!element.ok()) return element.status();
    bytes += *element;
  }
  Add("mseg", metric, "bytes", Exactly(bytes));
  return absl::OkStatus();
}

absl::Status ApplyRun::Memory() {
  auto counters = arm_.Counters();
  if (!counters.ok()) return counters.status();
  const double rules = static_cast<double>(arm_.spec().rules);
  const double maps = static_cast<double>((*counters)["map_bytes"]);
  const double bare = static_cast<double>(arm_.bare_map_bytes());
  Add("mseg", "map_bytes", "bytes", Exactly(maps));
  Add("mseg", "map_bytes_bare", "bytes", Exactly(bare));
  Add("mseg", "map_bytes_per_rule", "bytes", Exactly((maps - bare) / rules));
  MSEG_RETURN_IF_ERROR(AddElements("map_bytes_per_identity", {"mseg_identities", "mseg_classes"}));
  MSEG_RETURN_IF_ERROR(
      AddElements("map_bytes_per_socket", {"mseg_slots", "mseg_peer_slots", "mseg_accepted"}));
  MSEG_RETURN_IF_ERROR(AddElements("map_bytes_per_listener", {"mseg_listening", "mseg_listeners"}));
  Add("mseg", "daemon_bytes", "bytes",
      Exactly(static_cast<double>(ResidentBytes(arm_.host().pid()))));
  return absl::OkStatus();
}

// The same number of permissions as elements of one set.
absl::Status ApplyRun::NftSet() {
  const std::string nft = FindProgram("nft");
  if (nft.empty()) {
    context_.Skip("apply", "nft-set", "nft is not installed (tools/setup installs it)");
    return absl::OkStatus();
  }
  auto netns = context_.workspace.MakeNetns("apply_nft");
  if (!netns.ok()) return netns.status();
  const std::string rules = NftRules("set", arm_.spec().rules, "127.0.0.1");
  std::vector<double> load;
  for (int i = 0; i < 3; i++) {
    auto done = RunProgram({nft, "-f", "-"}, {.netns = *netns}, rules);
    if (!done.ok()) return done.status();
    if (done->status != 0) return absl::InternalError("nft: " + done->err.substr(0, 300));
    load.push_back(static_cast<double>(done->wall_ns) / 1e6);
    auto flushed = MustRun({nft, "flush", "ruleset"}, {.netns = *netns});
    if (!flushed.ok()) return flushed.status();
  }
  context_.workspace.RemoveArm("apply_nft");
  const Estimate estimate = BootstrapMedian(load);
  Add("nft-set", "all_command", "ms", estimate);
  const std::string rival = absl::StrCat("nft-set@", arm_.spec().rules);
  Add("mseg", "all_command_ratio", "ratio", Exactly(whole_ms_ / estimate.median), rival);
  Add("mseg", "all_stage_ratio", "ratio", Exactly(stage_ms_ / estimate.median), rival);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunApply(const SuiteContext& context) {
  for (const uint64_t rules : context.options.rules) {
    auto arm = MakeMsegArm(context, rules);
    if (!arm.ok()) return arm.status();
    ApplyRun run(context, **arm);
    MSEG_RETURN_IF_ERROR(run.Whole());
    MSEG_RETURN_IF_ERROR(run.OneRule());
    MSEG_RETURN_IF_ERROR(run.Memory());
    MSEG_RETURN_IF_ERROR(run.NftSet());
  }
  return absl::OkStatus();
}

}  // namespace mseg::bench
