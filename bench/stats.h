// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_STATS_H_
#define MSEG_BENCH_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace mseg::bench {

// A figure with its 95 % interval.
struct Estimate {
  double median = 0;
  double low = 0;
  double high = 0;
  size_t n = 0;
};

// By linear interpolation between order statistics; 0 of nothing. q in [0, 1].
double Quantile(std::vector<double> values, double q);
double Median(std::vector<double> values);

// Median with a percentile bootstrap interval. The same input and seed give the same answer.
Estimate BootstrapMedian(absl::Span<const double> values, uint64_t seed = 1,
                         size_t resamples = 2000);

// What `mine` adds to `base` as a share of what `other` adds to it: medians of paired ratios minus
// 1, resampled together. All three have one value a round.
Estimate BootstrapAddedShare(absl::Span<const double> base, absl::Span<const double> mine,
                             absl::Span<const double> other, uint64_t seed = 1,
                             size_t resamples = 1000);

// numerator[i] / denominator[i]; pairs of which one is not a positive number are left out.
std::vector<double> PairedRatios(absl::Span<const double> numerator,
                                 absl::Span<const double> denominator);

// Latencies in 32 steps an octave: off by at most 3 %.
class Histogram {
 public:
  static constexpr size_t kBuckets = 1024;

  void Add(uint64_t ns) { counts_[BucketOf(ns)]++; }
  void Merge(absl::Span<const uint32_t> counts);
  const std::array<uint32_t, kBuckets>& counts() const { return counts_; }
  void Clear() { counts_.fill(0); }
  uint64_t total() const;
  double Quantile(double q) const;  // 0 if empty

  static size_t BucketOf(uint64_t ns);
  static double ValueOf(size_t bucket);  // its middle

 private:
  std::array<uint32_t, kBuckets> counts_{};
};

// A permutation of 0 … n-1 for every round, so that no arm always runs after the same other one.
std::vector<size_t> RandomOrder(size_t n, uint64_t seed);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_STATS_H_
