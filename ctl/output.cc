// SPDX-License-Identifier: Apache-2.0
#include "ctl/output.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "ctl/utf8.h"
#include "labels/label.h"

namespace mseg::ctl {
namespace {

bool IsControl(char32_t c) { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

bool IsWide(char32_t c) {
  return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
         (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0xfe30 && c <= 0xfe4f) || (c >= 0xff00 && c <= 0xff60) ||
         (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1f300 && c <= 0x1faff) ||
         (c >= 0x20000 && c <= 0x3fffd);
}

std::string Shown(std::string_view text, std::string_view allowed) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    Character next = NextCharacter(text);
    bool hidden = IsControl(next.code) && allowed.find(text[0]) == std::string_view::npos;
    if (!next.valid || hidden) {
      shown += '?';
    } else {
      shown.append(text.substr(0, next.bytes));
    }
    text.remove_prefix(next.bytes);
  }
  return shown;
}

}  // namespace

std::string Printable(std::string_view text) { return Shown(text, ""); }

std::string PrintableLines(std::string_view text) { return Shown(text, "\n\t"); }

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    Character next = NextCharacter(text);
    width += next.valid && IsWide(next.code) ? 2 : 1;
    text.remove_prefix(next.bytes);
  }
  return width;
}

Table::Table(std::vector<std::string> header, bool color)
    : header_(std::move(header)), color_(color) {
  for (const std::string& cell : header_) widths_.push_back(DisplayWidth(cell));
}

void Table::Add(std::vector<std::string> row) {
  row.resize(header_.size());
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = row[i].empty() ? "-" : Printable(row[i]);
    widths_[i] = std::max(widths_[i], DisplayWidth(row[i]));
  }
  rows_.push_back(std::move(row));
}

void Table::PrintRow(std::ostream& out, const std::vector<std::string>& row, bool header) const {
  for (size_t i = 0; i < row.size(); ++i) {
    out << (header ? row[i] : Verdict(row[i], color_));
    if (i + 1 < row.size()) out << std::string(widths_[i] - DisplayWidth(row[i]) + 2, ' ');
  }
  out << '\n';
}

void Table::Print(std::ostream& out) {
  if (!std::exchange(header_printed_, true)) PrintRow(out, header_, true);
  for (const auto& row : rows_) PrintRow(out, row, false);
  rows_.clear();
}

std::string Verdict(const std::string& text, bool color) {
  if (color && text == "allow") return absl::StrCat("\x1b[32m", text, "\x1b[0m");
  if (color && text == "deny") return absl::StrCat("\x1b[31m", text, "\x1b[0m");
  return text;
}

std::string TimeText(int64_t unix_us) {
  if (unix_us == 0) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::FromUnixMicros(unix_us),
                          absl::UTCTimeZone());
}

std::string ProgramText(const std::string& exe, const std::string& script) {
  return script.empty() ? exe : absl::StrCat(exe, " ", script);
}

std::string LabelsText(const api::Labels& labels) {
  LabelSet set;
  for (const auto& [key, value] : labels) set.SetReserved(key, value);
  return set.Text();
}

std::string Count(uint64_t n, const std::string& noun) {
  return absl::StrCat(n, " ", noun, n == 1 ? "" : "s");
}

std::string BytesText(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  if (bytes < (1u << 20)) return absl::StrFormat("%.1f KiB", static_cast<double>(bytes) / 1024);
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
}

void PrintBudget(std::ostream& out, const Budget& budget) {
  out << "budget:\n"
      << "  policies       " << budget.policies << '\n'
      << "  rules          " << budget.rules << '\n'
      << "  workloads      " << budget.workloads << '\n'
      << "  classes        " << budget.classes << " (and " << budget.port_classes << " of ports)\n"
      << "  entries        " << budget.entries << " (rows " << budget.rows << ", identities "
      << budget.identities << ")\n"
      << "  kernel memory  " << BytesText(budget.kernel_bytes) << '\n';
}

}  // namespace mseg::ctl
