// SPDX-License-Identifier: Apache-2.0
#include "labels/source_text.h"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include "labels/text.h"

namespace mseg {
namespace {

constexpr size_t kLongestShownLine = 400;
constexpr size_t kLongestMessage = 2000;

}  // namespace

SourceText::SourceText(std::string_view file, std::string_view text, int first_line,
                       Diagnostics* diagnostics)
    : file_(file), text_(text), first_line_(first_line), diagnostics_(diagnostics) {
  line_starts_.push_back(0);
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    line_starts_.push_back(at + 1);
  }
}

std::string_view SourceText::RawLine(int line) const {
  const int number = line - first_line_;
  if (number < 0 || static_cast<size_t>(number) >= line_starts_.size()) return {};
  const size_t index = static_cast<size_t>(number);
  const bool last = index + 1 == line_starts_.size();
  const size_t end = last ? text_.size() : line_starts_[index + 1] - 1;
  std::string_view raw = text_.substr(line_starts_[index], end - line_starts_[index]);
  if (!raw.empty() && raw.back() == '\r') raw.remove_suffix(1);
  return raw;
}

std::string SourceText::Line(int line) const { return Printable(RawLine(line), kLongestShownLine); }

int SourceText::CountCharactersIn(int line, int from_byte, int to_byte) const {
  const std::string_view raw = RawLine(line);
  const size_t from = std::min(raw.size(), static_cast<size_t>(std::max(from_byte, 0)));
  const size_t to = std::min(raw.size(), static_cast<size_t>(std::max(to_byte, 0)));
  return static_cast<int>(CountCharacters(raw.substr(from, std::max(from, to) - from)));
}

Spot SourceText::SpotOfByte(int line, int byte_column) const {
  return Spot{line, 1 + CountCharactersIn(line, 0, byte_column)};
}

void SourceText::Error(Spot spot, std::string message) const {
  if (diagnostics_->size() == kMaxDiagnostics) {
    message = "too many errors; the rest is not shown";
  } else if (diagnostics_->size() > kMaxDiagnostics) {
    return;
  }
  diagnostics_->push_back(Diagnostic{.place = {file_, spot.line, spot.column},
                                     .message = Printable(message, kLongestMessage),
                                     .source_line = Line(spot.line)});
}

void SortDiagnostics(size_t first, Diagnostics* diagnostics) {
  const size_t end = std::min(diagnostics->size(), kMaxDiagnostics);
  if (first >= end) return;
  std::stable_sort(diagnostics->begin() + static_cast<std::ptrdiff_t>(first),
                   diagnostics->begin() + static_cast<std::ptrdiff_t>(end),
                   [](const Diagnostic& a, const Diagnostic& b) {
                     return std::tie(a.place.file, a.place.line, a.place.column) <
                            std::tie(b.place.file, b.place.line, b.place.column);
                   });
}

}  // namespace mseg
