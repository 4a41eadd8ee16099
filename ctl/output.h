// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_OUTPUT_H_
#define MSEG_CTL_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/service.h"

namespace mseg::ctl {

enum class Format { kTable, kWide, kJson, kYaml };

// Text as it may be shown on a terminal: valid UTF-8 without control characters. Names of processes
// and files are chosen by whoever runs them, and must not be able to move the cursor.
std::string Printable(std::string_view text);

// The same for text of several lines: line breaks and tabs stay.
std::string PrintableLines(std::string_view text);

// How many columns a terminal needs for it; Chinese, Japanese and Korean characters take two.
size_t DisplayWidth(std::string_view text);

// Rows in columns as wide as the widest cell so far, the last one as long as it is. May be printed
// several times, for streams: the header comes once and columns only grow.
class Table {
 public:
  Table(std::vector<std::string> header, bool color);

  void Add(std::vector<std::string> row);
  void Print(std::ostream& out);  // what was added since the last time

 private:
  void PrintRow(std::ostream& out, const std::vector<std::string>& row, bool header) const;

  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> widths_;
  bool color_;
  bool header_printed_ = false;
};

// `text`, green for `allow` and red for `deny`, if `color`.
std::string Verdict(const std::string& text, bool color);

// RFC 3339, UTC, with microseconds; empty for 0.
std::string TimeText(int64_t unix_us);

// `app=order,role=db`, the first-class keys first.
std::string LabelsText(const api::Labels& labels);
// An executable, and what it is the interpreter of.
std::string ProgramText(const std::string& exe, const std::string& script);

// `7 connections`, `1 connection`.
std::string Count(uint64_t n, const std::string& noun);

// `5.0 MiB`.
std::string BytesText(uint64_t bytes);

// Lines of a budget, indented.
void PrintBudget(std::ostream& out, const Budget& budget);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_OUTPUT_H_
