// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/report.h"

namespace mseg::bench {
namespace {

using Key = std::tuple<std::string, std::string, std::string, std::string, uint64_t, std::string>;

Key KeyOf(const Result& result) {
  return {result.suite, result.arm, result.against, result.topology, result.rules, result.metric};
}

bool HasRatio(const Report& report, const Result& figure) {
  return std::any_of(report.results.begin(), report.results.end(), [&](const Result& other) {
    return other.unit == "ratio" && other.suite == figure.suite && other.arm == figure.arm &&
           other.topology == figure.topology;
  });
}

// A baseline's absolute figure says nothing about a change where the suite has a baseline arm.
bool Comparable(const Report& report, const Result& figure) {
  return figure.unit == "ratio" || (!HasRatio(report, figure) && figure.arm.rfind("none", 0) != 0);
}

Change ChangeOf(const Result& before, const Result& after, double threshold) {
  Change out{.before = before, .after = after};
  if (before.value.median == 0) return out;
  out.relative = after.value.median / before.value.median - 1;
  const bool higher = HigherIsBetter(after.metric);
  const double loss = higher ? -out.relative : out.relative;
  const bool apart =
      higher ? after.value.high < before.value.low : after.value.low > before.value.high;
  out.worse = loss > threshold && apart;
  return out;
}

}  // namespace

bool HigherIsBetter(const std::string& metric) {
  return metric.find("per_second") != std::string::npos ||
         metric.find("throughput") != std::string::npos || metric == "aggregated_share";
}

Comparison Compare(const Report& baseline, const Report& after, double threshold) {
  Comparison out;
  std::map<Key, const Result*> before;
  for (const Result& result : baseline.results) {
    if (Comparable(baseline, result)) before[KeyOf(result)] = &result;
  }
  for (const Result& result : after.results) {
    const auto found = before.find(KeyOf(result));
    if (found == before.end()) continue;
    out.changes.push_back(ChangeOf(*found->second, result, threshold));
    out.ok = out.ok && !out.changes.back().worse;
    before.erase(found);
  }
  for (const auto& [key, result] : before) {
    out.missing.push_back(absl::StrCat(result->suite, " ", result->arm, " ", result->metric));
  }
  return out;
}

std::string ToText(const Comparison& comparison, double threshold) {
  std::string out;
  for (const Change& change : comparison.changes) {
    if (!change.worse && change.relative == 0) continue;
    out += absl::StrFormat("%s %s %s %s: %.4g -> %.4g %s (%+.2f %%)\n",
                           change.worse ? "WORSE" : "     ", change.after.suite, change.after.arm,
                           change.after.metric, change.before.value.median,
                           change.after.value.median, change.after.unit, 100 * change.relative);
  }
  for (const std::string& name : comparison.missing) {
    absl::StrAppend(&out, "only in the baseline: ", name, "\n");
  }
  const auto worse = std::count_if(comparison.changes.begin(), comparison.changes.end(),
                                   [](const Change& change) { return change.worse; });
  absl::StrAppend(&out, comparison.changes.size(), " figures compared, ", worse,
                  " worse by more than ", 100 * threshold, " %\n");
  return out;
}

}  // namespace mseg::bench
