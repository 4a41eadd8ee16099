// SPDX-License-Identifier: Apache-2.0
#include "bench/html.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace mseg::bench {
namespace {

constexpr int kWidth = 760, kLabel = 170, kRow = 22;

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::vector<std::string> SuitesOf(const Report& report) {
  std::vector<std::string> out;
  for (const Result& result : report.results) {
    if (std::find(out.begin(), out.end(), result.suite) == out.end()) out.push_back(result.suite);
  }
  return out;
}

// Logarithmic from `low` to `high`, in the space right of the labels.
double PlaceOf(double value, double low, double high) {
  const double share =
      (std::log(std::clamp(value, low, high)) - std::log(low)) / (std::log(high) - std::log(low));
  return kLabel + share * (kWidth - kLabel - 80);
}

std::string ColourOf(const std::string& arm) {
  if (arm.rfind("mseg", 0) == 0) return "#0b7a75";
  if (arm.rfind("none", 0) == 0 || arm.rfind("empty", 0) == 0) return "#888888";
  return "#b5542d";
}

std::string Row(const Result& result, double low, double high, int y) {
  const double from = PlaceOf(1, low, high), to = PlaceOf(result.value.median, low, high);
  std::string out = absl::StrFormat("<text x='%d' y='%d' text-anchor='end'>%s</text>", kLabel - 8,
                                    y + 15, Escape(result.arm));
  out += absl::StrFormat("<rect x='%.1f' y='%d' width='%.1f' height='14' fill='%s'/>",
                         std::min(from, to), y + 4, std::max(1.0, std::fabs(to - from)),
                         ColourOf(result.arm));
  out += absl::StrFormat("<line x1='%.1f' x2='%.1f' y1='%d' y2='%d' stroke='#222'/>",
                         PlaceOf(result.value.low, low, high),
                         PlaceOf(result.value.high, low, high), y + 11, y + 11);
  out += absl::StrFormat("<text x='%.1f' y='%d'>%.3f</text>", std::max(from, to) + 6, y + 15,
                         result.value.median);
  return out;
}

// Bars of the ratios to no policy.
std::string Bars(const Report& report, const std::string& suite) {
  std::vector<const Result*> rows;
  double low = 0.95, high = 1.1;
  for (const Result& result : report.results) {
    const bool ratio = result.metric == "ratio" && result.against == "none";
    if (result.suite != suite || !ratio || !(result.value.median > 0)) continue;
    rows.push_back(&result);
    low = std::min(low, result.value.low * 0.98);
    high = std::max(high, result.value.high * 1.02);
  }
  if (rows.empty() || low <= 0) return "";
  const int height = static_cast<int>(rows.size()) * kRow + 10;
  std::string out = absl::StrFormat(
      "<p>Cost relative to no policy, logarithmic; the line is the 95 %% interval.</p>"
      "<svg viewBox='0 0 %d %d' width='%d' height='%d'>",
      kWidth, height, kWidth, height);
  int y = 0;
  for (const Result* row : rows) {
    out += Row(*row, low, high, y);
    y += kRow;
  }
  const double one = PlaceOf(1, low, high);
  out += absl::StrFormat("<line x1='%.1f' x2='%.1f' y1='0' y2='%d' stroke='#222'/></svg>\n", one,
                         one, height);
  return out;
}

struct Point {
  double rules, ratio;
};

// Ratio against number of rules, a line for every kind of arm.
std::string Growth(const Report& report, const std::string& suite) {
  std::map<std::string, std::vector<Point>> lines;
  double most = 1.1, least = 0.95, last = 1;
  for (const Result& result : report.results) {
    const bool ratio = result.metric == "ratio" && result.against == "none" && result.rules > 0;
    if (result.suite != suite || !ratio || !(result.value.median > 0)) continue;
    lines[result.arm.substr(0, result.arm.find('@'))].push_back(
        {static_cast<double>(result.rules), result.value.median});
    most = std::max(most, result.value.median * 1.1);
    least = std::min(least, result.value.median);
    last = std::max(last, static_cast<double>(result.rules));
  }
  if (last <= 1 || lines.empty()) return "";
  const auto y = [&](double value) {
    return 210 - 200 * (std::log(value) - std::log(least)) / (std::log(most) - std::log(least));
  };
  std::string out = absl::StrFormat(
      "<p>The same by number of rules, both axes logarithmic.</p>"
      "<svg viewBox='0 0 %d 240' width='%d' height='240'>",
      kWidth, kWidth);
  for (const auto& [kind, points] : lines) {
    std::string path;
    for (const Point& point : points) {
      absl::StrAppendFormat(&path, "%.1f,%.1f ", PlaceOf(point.rules, 1, last), y(point.ratio));
    }
    absl::StrAppendFormat(&out, "<polyline points='%s' fill='none' stroke='%s' stroke-width='2'/>",
                          path, ColourOf(kind));
    absl::StrAppendFormat(&out, "<text x='%.1f' y='%.1f'>%s</text>",
                          PlaceOf(points.back().rules, 1, last) + 4, y(points.back().ratio) + 4,
                          Escape(kind));
  }
  for (double rules = 10; rules <= last; rules *= 10) {
    absl::StrAppendFormat(&out, "<text x='%.1f' y='232' text-anchor='middle'>%.0f</text>",
                          PlaceOf(rules, 1, last), rules);
  }
  return out + "</svg>\n";
}

std::string Table(const Report& report, const std::string& suite) {
  std::string out =
      "<table><tr><th>arm<th>metric<th>against<th>median<th>95 % interval<th>unit<th>n</tr>\n";
  for (const Result& result : report.results) {
    if (result.suite != suite) continue;
    absl::StrAppendFormat(
        &out, "<tr><td>%s<td>%s<td>%s<td>%.5g<td>%.5g &ndash; %.5g<td>%s<td>%d</tr>\n",
        Escape(result.arm), Escape(result.metric), Escape(result.against), result.value.median,
        result.value.low, result.value.high, Escape(result.unit), result.value.n);
  }
  return out + "</table>\n";
}

std::string Head(const Report& report) {
  std::string out =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>mseg-bench</title><style>"
      "body{font:15px/1.45 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
      "svg text{font:12px sans-serif;fill:#222}table{border-collapse:collapse;font-size:13px}"
      "td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}"
      ".bad{color:#a11;font-weight:bold}</style></head><body>\n";
  absl::StrAppendFormat(
      &out,
      "<h1>mseg-bench</h1><p>%s &middot; Linux %s &middot; %s, mseg in %s mode &middot; %s, "
      "%d CPUs &middot; %s</p><p class='%s'>%s</p>\n",
      Escape(report.version), Escape(report.kernel), Escape(report.mode), Escape(report.mseg_mode),
      Escape(report.machine.cpu), report.machine.cpus, Escape(report.started),
      report.Conclusive() ? "" : "bad", Escape(report.Verdict()));
  return out;
}

}  // namespace

std::string ToHtml(const Report& report) {
  std::string out = Head(report);
  for (const std::string& suite : SuitesOf(report)) {
    absl::StrAppend(&out, "<h2>", Escape(suite), "</h2>\n", Bars(report, suite),
                    Growth(report, suite), Table(report, suite));
  }
  if (!report.skipped.empty()) out += "<h2>Skipped</h2><ul>\n";
  for (const Skipped& skipped : report.skipped) {
    absl::StrAppend(&out, "<li>", Escape(skipped.suite), " ", Escape(skipped.arm), ": ",
                    Escape(skipped.reason), "\n");
  }
  if (!report.skipped.empty()) out += "</ul>\n";
  for (const std::string& note : report.notes) absl::StrAppend(&out, "<p>", Escape(note), "</p>\n");
  return out + "</body></html>\n";
}

}  // namespace mseg::bench
