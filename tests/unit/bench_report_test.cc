// SPDX-License-Identifier: Apache-2.0
// The report in its three forms against golden files (MSEG_UPDATE_GOLDEN=1 writes them), and the
// comparison of two reports.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "bench/html.h"
#include "bench/report.h"

namespace mseg::bench {
namespace {

Result Figure(const std::string& arm, const std::string& against, const std::string& metric,
              const std::string& unit, double value) {
  return {.suite = "connect",
          .arm = arm,
          .against = against,
          .topology = "lo",
          .rules = arm == "none" ? 0u : 1000u,
          .metric = metric,
          .unit = unit,
          .value = {value, value * 0.998, value * 1.002, 300},
          .recreated = {value * 0.999, value}};
}

Report Sample() {
  Report out;
  out.version = "0.0.0";
  out.started = "2025-01-02T03:04:05.000006Z";
  out.machine = {"A <processor>", 2, 1 << 30, "task", 0.25};
  out.kernel = "6.12.0";
  out.mode = "native";
  out.mseg_mode = "cgroup";
  out.arms = {"none", "none-aa", "mseg-both@1000"};
  out.results = {Figure("none", "", "cpu", "us", 62.5),
                 Figure("mseg-both@1000", "", "cpu", "us", 65),
                 Figure("mseg-both@1000", "none", "ratio", "ratio", 1.04)};
  out.aa = {{"connect", "cpu", {1.001, 0.999, 1.003, 300}}};
  out.skipped = {{"real", "wrk-nginx", "wrk is not installed (tools/setup installs it)"}};
  return out;
}

void Golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(MSEG_GOLDEN_BENCH_DIR) + "/" + name;
  if (std::getenv("MSEG_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  std::stringstream want;
  want << file.rdbuf();
  INFO(path);
  CHECK(text == want.str());
}

}  // namespace

TEST_CASE("golden reports") {
  const Report report = Sample();
  Golden("report.json", ToJson(report));
  Golden("report.txt", ToText(report));
  Golden("report.html", ToHtml(report));
}

TEST_CASE("a report is read back as it was written") {
  const auto back = FromJson(ToJson(Sample()));
  REQUIRE(back.ok());
  CHECK(ToJson(*back) == ToJson(Sample()));
}

TEST_CASE("what is no report is refused") {
  CHECK_FALSE(FromJson("").ok());
  CHECK_FALSE(FromJson("[]").ok());
  CHECK_FALSE(FromJson("{\"schema\": 2}").ok());
  CHECK_FALSE(FromJson("{\"schema\": 1}").ok());
  CHECK_FALSE(FromJson("{\"schema\": \"1\"}").ok());
  std::string cut = ToJson(Sample());
  CHECK_FALSE(FromJson(cut.substr(0, cut.size() / 2)).ok());
}

TEST_CASE("the page refers to nothing else and escapes what it prints") {
  const std::string page = ToHtml(Sample());
  CHECK(page.find("http") == std::string::npos);
  CHECK(page.find("<processor>") == std::string::npos);
  CHECK(page.find("<svg") != std::string::npos);
}

TEST_CASE("a run is worse than its baseline only past the threshold and the intervals") {
  const Report before = Sample();
  Report after = before;
  CHECK(Compare(before, after, 0.02).ok);
  after.results[2] = Figure("mseg-both@1000", "none", "ratio", "ratio", 1.05);
  CHECK(Compare(before, after, 0.02).ok);
  after.results[2] = Figure("mseg-both@1000", "none", "ratio", "ratio", 1.09);
  const Comparison worse = Compare(before, after, 0.02);
  CHECK_FALSE(worse.ok);
  CHECK(ToText(worse, 0.02).find("WORSE connect mseg-both@1000 ratio: 1.04 -> 1.09") == 0);
  after.results[2].value.low = 1.0;  // so noisy that it may be the same
  CHECK(Compare(before, after, 0.02).ok);
  after.results[2] = Figure("mseg-both@1000", "none", "ratio", "ratio", 0.9);
  CHECK(Compare(before, after, 0.02).ok);
}

TEST_CASE("absolute figures are not compared where there is a ratio") {
  const Report before = Sample();
  Report after = before;
  after.results[1] = Figure("mseg-both@1000", "", "cpu", "us", 100);
  after.results[0] = Figure("none", "", "cpu", "us", 96);
  CHECK(Compare(before, after, 0.02).ok);
}

TEST_CASE("more is better for rates") {
  CHECK(HigherIsBetter("per_second"));
  CHECK_FALSE(HigherIsBetter("ratio"));
  Report before;
  before.results = {Figure("asked-200000", "", "made_per_second", "1/s", 200'000)};
  Report after = before;
  after.results[0] = Figure("asked-200000", "", "made_per_second", "1/s", 100'000);
  CHECK_FALSE(Compare(before, after, 0.02).ok);
  CHECK(Compare(after, before, 0.02).ok);
}

TEST_CASE("a figure that is gone is named") {
  Report after = Sample();
  after.results.pop_back();
  const Comparison comparison = Compare(Sample(), after, 0.02);
  REQUIRE(comparison.missing.size() == 1);
  CHECK(comparison.missing[0] == "connect mseg-both@1000 ratio");
}

}  // namespace mseg::bench
