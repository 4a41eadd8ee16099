// SPDX-License-Identifier: Apache-2.0
#include "bench/stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

namespace mseg::bench {

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (place - std::floor(place));
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(middle), values.end());
  const double upper = values[middle];
  if (values.size() % 2 == 1) return upper;
  const double lower =
      *std::max_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(middle));
  return (lower + upper) / 2;
}

Estimate BootstrapMedian(absl::Span<const double> values, uint64_t seed, size_t resamples) {
  Estimate out;
  out.n = values.size();
  if (values.empty()) return out;
  out.median = Median(std::vector<double>(values.begin(), values.end()));
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<size_t> any(0, values.size() - 1);
  std::vector<double> medians, drawn(values.size());
  medians.reserve(resamples);
  for (size_t i = 0; i < resamples; i++) {
    for (double& value : drawn) value = values[any(random)];
    medians.push_back(Median(drawn));
  }
  out.low = Quantile(medians, 0.025);
  out.high = Quantile(medians, 0.975);
  return out;
}

Estimate BootstrapAddedShare(absl::Span<const double> base, absl::Span<const double> mine,
                             absl::Span<const double> other, uint64_t seed, size_t resamples) {
  std::vector<double> a, b;
  for (size_t i = 0; i < std::min({base.size(), mine.size(), other.size()}); i++) {
    if (!(base[i] > 0 && mine[i] > 0 && other[i] > 0)) continue;
    a.push_back(mine[i] / base[i]);
    b.push_back(other[i] / base[i]);
  }
  Estimate out;
  out.n = a.size();
  if (a.empty() || Median(b) == 1) return out;
  out.median = (Median(a) - 1) / (Median(b) - 1);
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<size_t> any(0, a.size() - 1);
  std::vector<double> shares, drawn_a(a.size()), drawn_b(a.size());
  for (size_t i = 0; i < resamples; i++) {
    for (size_t j = 0; j < a.size(); j++) {
      const size_t round = any(random);
      drawn_a[j] = a[round];
      drawn_b[j] = b[round];
    }
    shares.push_back((Median(drawn_a) - 1) / (Median(drawn_b) - 1));
  }
  out.low = Quantile(shares, 0.025);
  out.high = Quantile(shares, 0.975);
  return out;
}

std::vector<double> PairedRatios(absl::Span<const double> numerator,
                                 absl::Span<const double> denominator) {
  std::vector<double> out;
  for (size_t i = 0; i < std::min(numerator.size(), denominator.size()); i++) {
    const bool usable = std::isfinite(numerator[i]) && std::isfinite(denominator[i]) &&
                        numerator[i] > 0 && denominator[i] > 0;
    if (usable) out.push_back(numerator[i] / denominator[i]);
  }
  return out;
}

size_t Histogram::BucketOf(uint64_t ns) {
  if (ns < 32) return ns;
  const size_t octave = static_cast<size_t>(std::bit_width(ns)) - 6;  // 0 for 32 … 63
  const size_t bucket = 32 + octave * 32 + ((ns >> octave) & 31);
  return std::min(bucket, kBuckets - 1);
}

double Histogram::ValueOf(size_t bucket) {
  if (bucket < 32) return static_cast<double>(bucket);
  const size_t octave = (bucket - 32) / 32;
  const double step = static_cast<double>(uint64_t{1} << octave);
  return (static_cast<double>(32 + (bucket - 32) % 32) + 0.5) * step;
}

void Histogram::Merge(absl::Span<const uint32_t> counts) {
  for (size_t i = 0; i < std::min(counts.size(), kBuckets); i++) counts_[i] += counts[i];
}

uint64_t Histogram::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

double Histogram::Quantile(double q) const {
  const uint64_t all = total();
  if (all == 0) return 0;
  const double want = q * static_cast<double>(all);
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; i++) {
    seen += counts_[i];
    if (counts_[i] > 0 && static_cast<double>(seen) >= want) return ValueOf(i);
  }
  return ValueOf(kBuckets - 1);
}

std::vector<size_t> RandomOrder(size_t n, uint64_t seed) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

}  // namespace mseg::bench
