// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_REPORT_H_
#define MSEG_BENCH_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/stats.h"

namespace mseg::bench {

inline constexpr int kSchema = 1;
// A second baseline that differs from the first by more says that the run can tell nothing.
inline constexpr double kAaLimit = 0.005;

// One figure. docs/bench.md describes every suite and metric.
struct Result {
  std::string suite = {};
  std::string arm = {};
  std::string against = {};   // the arm that a ratio is relative to; empty: an absolute figure
  std::string topology = {};  // "lo" or "veth"; empty where there is no network
  uint64_t rules = 0;
  std::string metric = {};
  std::string unit = {};  // "ratio" for ratios
  Estimate value = {};
  std::vector<double> recreated = {};  // the median of each re-creation of the arms
};

struct Skipped {
  std::string suite;
  std::string arm;
  std::string reason;
};

// The second baseline against the first.
struct AaCheck {
  std::string suite = {};
  std::string metric = {};
  Estimate ratio = {};
  bool Holds() const;
};

struct Machine {
  std::string cpu = {};
  int cpus = 0;
  uint64_t memory_bytes = 0;
  std::string softirq_time = {};  // "task": charged to whoever runs; "apart": not in CPU times
  double load = 0;                // load average when the run began
};

struct Report {
  std::string version;
  std::string started;  // RFC 3339
  Machine machine;
  std::string kernel;
  std::string mode;  // native | guest
  std::string mseg_mode;
  std::vector<std::string> arms;
  std::vector<Result> results;
  std::vector<AaCheck> aa;
  std::vector<Skipped> skipped;
  std::vector<std::string> notes;

  bool Conclusive() const;      // there was a check, and all hold
  std::string Verdict() const;  // the same in words
  const Result* Find(const std::string& suite, const std::string& arm,
                     const std::string& metric) const;
};

std::string ToJson(const Report& report);
// InvalidArgument: no JSON, another schema, or a field is missing or of the wrong type.
absl::StatusOr<Report> FromJson(const std::string& text);
// Lines for a terminal, results grouped by suite.
std::string ToText(const Report& report);

// ---- comparison of two runs ----

struct Change {
  Result before = {};
  Result after = {};
  double relative = 0;  // after / before - 1
  bool worse = false;   // past the threshold, and the intervals do not overlap
};

struct Comparison {
  std::vector<Change> changes;       // what both have, in the order of `after`
  std::vector<std::string> missing;  // figures that only the baseline has
  bool ok = true;                    // nothing is worse
};

// Ratios are compared with ratios; absolute figures of another machine would say nothing, so they
// are compared only where there is no ratio. In all metrics but those of HigherIsBetter(), less is
// better.
Comparison Compare(const Report& baseline, const Report& after, double threshold);
bool HigherIsBetter(const std::string& metric);
std::string ToText(const Comparison& comparison, double threshold);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_REPORT_H_
