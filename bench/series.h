// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_SERIES_H_
#define MSEG_BENCH_SERIES_H_

#include <string>
#include <vector>

#include "bench/report.h"
#include "bench/stats.h"

namespace mseg::bench {

// What one arm gave in one suite: a value a round, round i of all arms being neighbours in time.
struct Series {
  std::string kind = {};
  std::string arm = {};  // with the number of rules
  uint64_t rules = 0;
  std::vector<double> cost = {};    // of an operation: CPU ns of both ends, or wall ns where said
  std::vector<double> wall = {};    // ns of an operation
  std::vector<size_t> starts = {};  // index of the first round of every re-creation
  Histogram latency = {};
  uint64_t ops = 0;
  uint64_t daemon_cpu_ns = 0;
};

struct SeriesSuite {
  std::string suite = {};  // of the results
  std::string topology = {};
  std::string metric = {};  // name of `cost`: "cpu" or "wall"
  std::string unit = {};    // what a nanosecond is called: "us", or "instructions" in a guest
  bool latencies = true;
};

// Every figure of a suite: costs, latencies, ratios against `none`, against the same arm at the
// least number of rules, against rivals; and the A/A check.
void AddResults(const SeriesSuite& suite, const std::vector<Series>& series, Report* report);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_SERIES_H_
