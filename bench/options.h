// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_OPTIONS_H_
#define MSEG_BENCH_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bench/arm.h"

namespace mseg::bench {

struct Options {
  std::vector<std::string> suites;  // empty: all
  std::vector<std::string> compare = {"none", "empty", "nftables", "iptables"};
  std::vector<std::string> without;  // programs of mseg, each to be taken away in arms of its own
  std::vector<uint64_t> rules = {10, 1000, 10000, 100000};
  uint64_t runs = 300;    // rounds of slices a suite
  uint64_t recreate = 3;  // how often the arms are made anew in a suite
  uint64_t slice_ms = 20;
  Topology topology = Topology::kLo;
  std::string mode = "native";
  std::string kernel = "6.12";  // of a guest
  std::string output;           // folder; empty: nothing is written
  std::string baseline;
  double threshold = 0.02;
  std::string inside;  // set by --mode guest for the program in the guest
  bool help = false, version = false, list = false;
};

// Every suite, in the order of a run, with a sentence each.
struct SuiteInfo {
  std::string name;
  std::string what;
};
const std::vector<SuiteInfo>& Suites();

// InvalidArgument: bad usage, with a sentence that says what would be right.
absl::StatusOr<Options> ParseOptions(absl::Span<const char* const> arguments);
std::string Usage();

// The arms of a suite, in a fixed order: the baselines always, mseg always, and rivals as asked
// for. Linear rule sets have at most `most_linear` rules.
std::vector<ArmSpec> ArmsOf(const Options& options, uint64_t most_linear);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_OPTIONS_H_
