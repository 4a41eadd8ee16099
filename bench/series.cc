// SPDX-License-Identifier: Apache-2.0
#include "bench/series.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace mseg::bench {
namespace {

const Series* FindKind(const std::vector<Series>& series, const std::string& kind, uint64_t rules) {
  for (const Series& one : series) {
    if (one.kind == kind && one.rules == rules) return &one;
  }
  return nullptr;
}

const Series* LeastRules(const std::vector<Series>& series, const std::string& kind) {
  const Series* found = nullptr;
  for (const Series& one : series) {
    if (one.kind == kind && (found == nullptr || one.rules < found->rules)) found = &one;
  }
  return found;
}

// Medians of the ratios of each re-creation.
std::vector<double> Recreated(const Series& mine, const Series& other) {
  std::vector<double> out;
  for (size_t i = 0; i < mine.starts.size(); i++) {
    const size_t end = i + 1 < mine.starts.size() ? mine.starts[i + 1] : mine.cost.size();
    const size_t from = mine.starts[i], count = end - std::min(end, from);
    const auto ratios = PairedRatios(absl::MakeConstSpan(mine.cost).subspan(from, count),
                                     absl::MakeConstSpan(other.cost).subspan(from, count));
    if (!ratios.empty()) out.push_back(Median(ratios));
  }
  return out;
}

Estimate Scaled(Estimate value, double factor) {
  value.median *= factor;
  value.low *= factor;
  value.high *= factor;
  return value;
}

class Adder {
 public:
  Adder(const SeriesSuite& suite, Report* report)
      : suite_(suite), report_(report), scale_(suite.unit == "us" ? 1e-3 : 1.0) {}

  void Absolute(const Series& one) {
    Add(one, "", suite_.metric, suite_.unit, Scaled(BootstrapMedian(one.cost), scale_));
    if (!one.wall.empty() && suite_.unit == "us") {
      std::vector<double> rate;
      for (const double ns : one.wall) rate.push_back(ns > 0 ? 1e9 / ns : 0);
      Add(one, "", "per_second", "1/s", BootstrapMedian(rate));
    }
    if (suite_.latencies && one.latency.total() > 0) Latencies(one);
    if (one.daemon_cpu_ns > 0 && one.ops > 0) {
      const double each = static_cast<double>(one.daemon_cpu_ns) / static_cast<double>(one.ops);
      Add(one, "", "daemon_cpu", suite_.unit, Exactly(each * scale_, one.ops));
    }
  }

  void Ratio(const Series& one, const Series* against, const std::string& metric) {
    if (against == nullptr || against == &one) return;
    const auto ratios = PairedRatios(one.cost, against->cost);
    if (ratios.empty()) return;
    Add(one, against->arm, metric, "ratio", BootstrapMedian(ratios));
    report_->results.back().recreated = Recreated(one, *against);
  }

  void Share(const Series& one, const Series* base, const Series* rival) {
    if (base == nullptr || rival == nullptr) return;
    Add(one, rival->arm, "added_share", "ratio",
        BootstrapAddedShare(base->cost, one.cost, rival->cost));
  }

  void Aa(const Series* first, const Series* second) {
    if (first == nullptr || second == nullptr) return;
    const auto ratios = PairedRatios(second->cost, first->cost);
    report_->aa.push_back({suite_.suite, suite_.metric, BootstrapMedian(ratios)});
  }

 private:
  static Estimate Exactly(double value, size_t n) { return {value, value, value, n}; }

  void Latencies(const Series& one) {
    const size_t n = one.latency.total();
    for (const auto& [name, q] :
         {std::pair{"latency_p50", 0.5}, {"latency_p99", 0.99}, {"latency_p999", 0.999}}) {
      Add(one, "", name, suite_.unit, Exactly(one.latency.Quantile(q) * scale_, n));
    }
  }

  void Add(const Series& one, const std::string& against, const std::string& metric,
           const std::string& unit, const Estimate& value) {
    report_->results.push_back({.suite = suite_.suite,
                                .arm = one.arm,
                                .against = against,
                                .topology = suite_.topology,
                                .rules = one.rules,
                                .metric = metric,
                                .unit = unit,
                                .value = value});
  }

  const SeriesSuite& suite_;
  Report* report_;
  double scale_;
};

}  // namespace

void AddResults(const SeriesSuite& suite, const std::vector<Series>& series, Report* report) {
  Adder adder(suite, report);
  const Series* none = FindKind(series, "none", 0);
  for (const Series& one : series) {
    adder.Absolute(one);
    adder.Ratio(one, none, "ratio");
    if (!absl::StartsWith(one.kind, "mseg")) continue;
    adder.Ratio(one, LeastRules(series, one.kind), "growth");
    adder.Share(one, none, FindKind(series, "nft-ct-set", one.rules));
    for (const char* rival : {"nft-set", "nft-ct-set", "nft-linear", "iptables-linear"}) {
      adder.Ratio(one, FindKind(series, rival, one.rules), "ratio");
    }
  }
  adder.Aa(none, FindKind(series, "none-aa", 0));
}

}  // namespace mseg::bench
