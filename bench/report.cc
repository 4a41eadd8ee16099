// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace mseg::bench {
namespace {

using Json = nlohmann::ordered_json;

Json JsonOf(const Estimate& value) {
  return {{"median", value.median}, {"ci_low", value.low}, {"ci_high", value.high}, {"n", value.n}};
}

Json JsonOf(const Result& result) {
  Json out = {{"suite", result.suite},       {"arm", result.arm},     {"against", result.against},
              {"topology", result.topology}, {"rules", result.rules}, {"metric", result.metric},
              {"unit", result.unit}};
  out.update(JsonOf(result.value));
  out["recreated"] = result.recreated;
  return out;
}

Estimate EstimateOf(const Json& json) {
  return {.median = json.at("median").get<double>(),
          .low = json.at("ci_low").get<double>(),
          .high = json.at("ci_high").get<double>(),
          .n = json.at("n").get<size_t>()};
}

Result ResultOf(const Json& json) {
  return {.suite = json.at("suite"),
          .arm = json.at("arm"),
          .against = json.at("against"),
          .topology = json.at("topology"),
          .rules = json.at("rules"),
          .metric = json.at("metric"),
          .unit = json.at("unit"),
          .value = EstimateOf(json),
          .recreated = json.at("recreated").get<std::vector<double>>()};
}

Report ReportOf(const Json& json) {
  Report out;
  out.version = json.at("version");
  out.started = json.at("started");
  const Json& machine = json.at("machine");
  out.machine = {.cpu = machine.at("cpu"),
                 .cpus = machine.at("cpus"),
                 .memory_bytes = machine.at("memory_bytes"),
                 .softirq_time = machine.at("softirq_time"),
                 .load = machine.at("load")};
  out.kernel = json.at("kernel");
  out.mode = json.at("mode");
  out.mseg_mode = json.at("mseg_mode");
  out.arms = json.at("arms").get<std::vector<std::string>>();
  for (const Json& result : json.at("results")) out.results.push_back(ResultOf(result));
  for (const Json& check : json.at("aa").at("checks")) {
    out.aa.push_back({check.at("suite"), check.at("metric"), EstimateOf(check)});
  }
  for (const Json& skipped : json.at("skipped")) {
    out.skipped.push_back({skipped.at("suite"), skipped.at("arm"), skipped.at("reason")});
  }
  out.notes = json.at("notes").get<std::vector<std::string>>();
  return out;
}

std::string Number(double value) {
  const double size = std::fabs(value);
  if (size >= 100) return absl::StrFormat("%.0f", value);
  if (size >= 10) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.4f", value);
}

std::string Line(const Result& result) {
  return absl::StrFormat("  %-26s %-24s %10s %-12s [%s, %s] n %d%s\n", result.arm, result.metric,
                         Number(result.value.median), result.unit, Number(result.value.low),
                         Number(result.value.high), result.value.n,
                         result.against.empty() ? "" : absl::StrCat("  against ", result.against));
}

}  // namespace

bool AaCheck::Holds() const { return ratio.n > 0 && std::fabs(ratio.median - 1) <= kAaLimit; }

bool Report::Conclusive() const {
  return !aa.empty() &&
         std::all_of(aa.begin(), aa.end(), [](const AaCheck& check) { return check.Holds(); });
}

std::string Report::Verdict() const {
  if (aa.empty()) return "no suite with a second baseline ran: ratios were not tested";
  std::vector<std::string> off;
  for (const AaCheck& check : aa) {
    if (!check.Holds()) {
      off.push_back(absl::StrFormat("%s by %+.2f %%", check.suite, 100 * (check.ratio.median - 1)));
    }
  }
  if (off.empty()) {
    double widest = 0;
    for (const AaCheck& check : aa) {
      widest = std::max({widest, check.ratio.high - 1, 1 - check.ratio.low});
    }
    return absl::StrFormat(
        "conclusive: the second baseline agrees with the first within 0.5 %%; its interval reaches "
        "%.1f %%, and what differs by less than that is not proven",
        100 * widest);
  }
  return absl::StrCat("INCONCLUSIVE: the second baseline is off in ", absl::StrJoin(off, ", "),
                      "; ratios of these suites say nothing, run again on a quieter machine");
}

const Result* Report::Find(const std::string& suite, const std::string& arm,
                           const std::string& metric) const {
  for (const Result& result : results) {
    if (result.suite == suite && result.arm == arm && result.metric == metric) return &result;
  }
  return nullptr;
}

std::string ToJson(const Report& report) {
  Json out;
  out["schema"] = kSchema;
  out["version"] = report.version;
  out["started"] = report.started;
  out["machine"] = {{"cpu", report.machine.cpu},
                    {"cpus", report.machine.cpus},
                    {"memory_bytes", report.machine.memory_bytes},
                    {"softirq_time", report.machine.softirq_time},
                    {"load", report.machine.load}};
  out["kernel"] = report.kernel;
  out["mode"] = report.mode;
  out["mseg_mode"] = report.mseg_mode;
  out["arms"] = report.arms;
  out["results"] = Json::array();
  for (const Result& result : report.results) out["results"].push_back(JsonOf(result));
  Json checks = Json::array();
  for (const AaCheck& check : report.aa) {
    Json one = {{"suite", check.suite}, {"metric", check.metric}};
    one.update(JsonOf(check.ratio));
    one["holds"] = check.Holds();
    checks.push_back(one);
  }
  out["aa"] = {{"limit", kAaLimit}, {"checks", checks}};
  out["conclusive"] = report.Conclusive();
  out["verdict"] = report.Verdict();
  out["skipped"] = Json::array();
  for (const Skipped& skipped : report.skipped) {
    out["skipped"].push_back(
        {{"suite", skipped.suite}, {"arm", skipped.arm}, {"reason", skipped.reason}});
  }
  out["notes"] = report.notes;
  return out.dump(1) + "\n";
}

absl::StatusOr<Report> FromJson(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  try {
    if (json.at("schema").get<int>() != kSchema) {
      return absl::InvalidArgumentError(
          absl::StrCat("schema ", json.at("schema").dump(), "; this program reads ", kSchema));
    }
    return ReportOf(json);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not a report of mseg-bench: ", error.what()));
  }
}

std::string ToText(const Report& report) {
  std::string out =
      absl::StrFormat("mseg-bench %s, Linux %s, %s, mseg in %s mode\n%s, %d CPUs, load %.2f\n",
                      report.version, report.kernel, report.mode, report.mseg_mode,
                      report.machine.cpu, report.machine.cpus, report.machine.load);
  std::string suite;
  for (const Result& result : report.results) {
    if (result.suite != suite) absl::StrAppend(&out, "\n", result.suite, "\n");
    suite = result.suite;
    out += Line(result);
  }
  if (!report.skipped.empty()) out += "\nskipped\n";
  for (const Skipped& skipped : report.skipped) {
    absl::StrAppend(&out, "  ", skipped.suite, skipped.arm.empty() ? "" : "/", skipped.arm, ": ",
                    skipped.reason, "\n");
  }
  if (!report.notes.empty()) out += "\n";
  for (const std::string& note : report.notes) absl::StrAppend(&out, note, "\n");
  for (const AaCheck& check : report.aa) {
    out += absl::StrFormat("\nA/A %s: %.4f [%.4f, %.4f], n %d", check.suite, check.ratio.median,
                           check.ratio.low, check.ratio.high, check.ratio.n);
  }
  absl::StrAppend(&out, "\n", report.Verdict(), "\n");
  return out;
}

}  // namespace mseg::bench
