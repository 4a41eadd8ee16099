// SPDX-License-Identifier: Apache-2.0
// Statistics of mseg-bench against values known from elsewhere, and what must hold for any input.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "bench/series.h"
#include "bench/stats.h"

namespace mseg::bench {
namespace {

std::vector<double> Noisy(double middle, size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> noise(0, 0.05);
  std::vector<double> out(n);
  for (double& value : out) value = middle * noise(random);
  return out;
}

Series SeriesOf(const std::string& kind, uint64_t rules, std::vector<double> cost) {
  Series out;
  out.kind = kind;
  out.arm = rules == 0 ? kind : kind + "@" + std::to_string(rules);
  out.rules = rules;
  out.cost = std::move(cost);
  out.starts = {0, out.cost.size() / 2};
  return out;
}

}  // namespace

TEST_CASE("median and quantiles") {
  CHECK(Median({}) == 0);
  CHECK(Median({7}) == 7);
  CHECK(Median({3, 1, 2}) == 2);
  CHECK(Median({4, 1, 3, 2}) == 2.5);
  CHECK(Quantile({1, 2, 3, 4, 5}, 0.25) == 2);
  CHECK(Quantile({1, 2, 3, 4}, 0.5) == 2.5);
  CHECK(Quantile({5, 1}, 0) == 1);
  CHECK(Quantile({5, 1}, 1) == 5);
}

TEST_CASE("a bootstrap interval holds the median, is repeatable and narrows with the sample") {
  const auto few = Noisy(100, 30, 1), many = Noisy(100, 3000, 1);
  const Estimate a = BootstrapMedian(few), b = BootstrapMedian(many);
  for (const Estimate& one : {a, b}) {
    CHECK(one.low <= one.median);
    CHECK(one.median <= one.high);
  }
  CHECK(a.n == 30);
  CHECK(b.high - b.low < a.high - a.low);
  CHECK(BootstrapMedian(few).low == a.low);
  CHECK(BootstrapMedian({}).n == 0);
  const Estimate same = BootstrapMedian(std::vector<double>(20, 3.0));
  CHECK((same.low == 3.0 && same.high == 3.0));
}

TEST_CASE("a 95 % interval misses the true median about once in twenty") {
  int missed = 0;
  for (uint64_t seed = 0; seed < 200; seed++) {
    const Estimate one = BootstrapMedian(Noisy(100, 60, 1000 + seed), seed, 400);
    if (one.low > 100 || one.high < 100) missed++;
  }
  CHECK(missed >= 1);
  CHECK(missed <= 24);
}

TEST_CASE("pairs") {
  CHECK(PairedRatios(std::vector<double>{2, 6}, std::vector<double>{1, 2}) ==
        std::vector<double>{2, 3});
  CHECK(PairedRatios(std::vector<double>{2, 6, 1}, std::vector<double>{0, 2}) ==
        std::vector<double>{3});
}

TEST_CASE("identical samples are conclusive, whatever drifts under both") {
  for (uint64_t seed = 0; seed < 20; seed++) {
    std::vector<double> first = Noisy(60'000, 200, seed);
    for (size_t i = 0; i < first.size(); i++) first[i] *= 1 + 0.01 * static_cast<double>(i);
    Report report;
    AddResults({.suite = "connect", .topology = "lo", .metric = "cpu", .unit = "us"},
               {SeriesOf("none", 0, first), SeriesOf("none-aa", 0, first)}, &report);
    REQUIRE(report.aa.size() == 1);
    CHECK(report.aa[0].ratio.median == 1);
    CHECK(report.Conclusive());
  }
}

TEST_CASE("a second baseline that is off by one per cent makes a run inconclusive, in words") {
  std::vector<double> first = Noisy(60'000, 200, 1), second = first;
  for (double& value : second) value *= 1.01;
  Report report;
  AddResults({.suite = "rr", .topology = "lo", .metric = "cpu", .unit = "us"},
             {SeriesOf("none", 0, first), SeriesOf("none-aa", 0, second)}, &report);
  CHECK_FALSE(report.Conclusive());
  CHECK(report.Verdict().find("INCONCLUSIVE: the second baseline is off in rr by +1.00 %") == 0);
}

TEST_CASE("ratios, growth and shares come out as they were put in") {
  const std::vector<double> none = Noisy(50'000, 100, 3);
  const auto times = [&none](double factor) {
    std::vector<double> out = none;
    for (double& value : out) value *= factor;
    return out;
  };
  Report report;
  AddResults(
      {.suite = "connect", .topology = "lo", .metric = "cpu", .unit = "us"},
      {SeriesOf("none", 0, none), SeriesOf("mseg-both", 10, times(1.05)),
       SeriesOf("mseg-both", 100000, times(1.06)), SeriesOf("nft-ct-set", 100000, times(1.12))},
      &report);
  const Result* ratio = report.Find("connect", "mseg-both@10", "ratio");
  REQUIRE(ratio != nullptr);
  CHECK(ratio->value.median == Approx(1.05));
  CHECK(ratio->against == "none");
  CHECK(ratio->recreated.size() == 2);
  CHECK(report.Find("connect", "mseg-both@100000", "growth")->value.median == Approx(1.06 / 1.05));
  CHECK(report.Find("connect", "mseg-both@100000", "added_share")->value.median == Approx(0.5));
  CHECK(report.Find("connect", "none", "cpu")->value.median == Approx(Median(none) / 1000));
  CHECK_FALSE(report.Conclusive());  // there was no second baseline
}

TEST_CASE("a histogram is within three per cent") {
  Histogram histogram;
  std::mt19937_64 random(5);
  std::vector<double> values;
  for (int i = 0; i < 20'000; i++) {
    const uint64_t ns = 100 + random() % 1'000'000;
    values.push_back(static_cast<double>(ns));
    histogram.Add(ns);
  }
  for (const double q : {0.1, 0.5, 0.99, 0.999}) {
    CHECK(histogram.Quantile(q) == Approx(Quantile(values, q)).epsilon(0.035));
  }
  CHECK(histogram.total() == 20'000);
  for (uint64_t ns = 0; ns < 10'000'000; ns = ns * 9 / 8 + 1) {
    const double middle = Histogram::ValueOf(Histogram::BucketOf(ns));
    CHECK(std::abs(middle - static_cast<double>(ns)) <=
          std::max(1.0, 0.03 * static_cast<double>(ns)));
  }
}

TEST_CASE("an order is a permutation, another one every round") {
  auto order = RandomOrder(12, 7);
  CHECK(order != RandomOrder(12, 8));
  CHECK(order == RandomOrder(12, 7));
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); i++) CHECK(order[i] == i);
}

}  // namespace mseg::bench
