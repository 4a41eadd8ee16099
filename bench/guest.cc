// SPDX-License-Identifier: Apache-2.0
// --mode guest: this program again, in an emulated guest whose clock counts instructions.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bench/suite.h"

namespace mseg::bench {
namespace {

constexpr char kOut[] = "/tmp/mseg-bench-out";
// More rules than this take too long to load where everything is emulated.
constexpr uint64_t kMostRules = 1000;
constexpr uint64_t kMostRuns = 10;

std::vector<std::string> Inside(const Options& options, const std::string& program) {
  std::vector<std::string> rules;
  for (const uint64_t one : options.rules) {
    if (one <= kMostRules) rules.push_back(absl::StrCat(one));
  }
  if (rules.empty()) rules.push_back(absl::StrCat(kMostRules));
  std::vector<std::string> out = {program};
  for (const char* suite : {"connect", "rr", "stream", "udp", "decide", "hooks", "exec"}) {
    const bool asked =
        options.suites.empty() ||
        std::find(options.suites.begin(), options.suites.end(), suite) != options.suites.end();
    if (asked) out.emplace_back(suite);
  }
  out.insert(out.end(),
             {"--inside", "guest", "--compare", absl::StrJoin(options.compare, ","), "--rules",
              absl::StrJoin(rules, ","), "--runs", absl::StrCat(std::min(options.runs, kMostRuns)),
              "--recreate", "1", "--slice", absl::StrCat(options.slice_ms), "--topology",
              options.topology == Topology::kVeth ? "veth" : "lo", "-o", kOut});
  if (!options.without.empty()) {
    out.insert(out.end(), {"--without", absl::StrJoin(options.without, ",")});
  }
  return out;
}

}  // namespace

absl::StatusOr<Report> RunInGuest(const Options& options, const std::string& root) {
  std::error_code error;
  const std::string tree = std::filesystem::canonical(root, error);
  const std::string vm = tree + "/tools/vm";
  if (error || access(vm.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("--mode guest needs tools/vm of the source tree, and ", vm, " is not there"));
  }
  const std::string here = absl::StrCat("/tmp/mseg-bench-guest-", getpid());
  std::vector<std::string> command = {
      vm,     "--kernel", options.kernel, "--icount", "--timeout",
      "3600", "--memory", "4096",         "--out",    absl::StrCat(kOut, ":", here),
      "--"};
  const std::vector<std::string> inside = Inside(options, tree + "/build/bin/mseg-bench");
  if (inside.size() > 1 && inside[1] == "--inside") {
    return absl::FailedPreconditionError("none of the suites asked for can run in a guest");
  }
  command.insert(command.end(), inside.begin(), inside.end());
  Progress progress;
  progress.Show("in a guest, which takes minutes");
  auto done = MustRun(command);
  auto text = ReadWhole(here + "/report.json");
  std::filesystem::remove_all(here, error);
  if (!done.ok()) return done.status();
  if (!text.ok()) return text.status();
  auto report = FromJson(*text);
  if (!report.ok()) return report;
  report->mode = "guest";
  report->notes.push_back(
      "Units are executed instructions. They overstate the time of BPF programs about twofold.");
  return report;
}

}  // namespace mseg::bench
