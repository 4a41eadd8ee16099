// SPDX-License-Identifier: Apache-2.0
#include "ctl/text_diff.h"

#include <dtl/dtl.hpp>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mseg::ctl {
namespace {

using Lines = std::vector<std::string_view>;
using Change = std::pair<std::string_view, dtl::elemInfo>;

// With their line breaks: a last line without one differs from the same with one.
Lines Split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const size_t length = end == text.npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return lines;
}

void AddLines(const std::vector<Change>& changes, std::string* out) {
  for (const auto& [line, info] : changes) {
    *out += info.type == dtl::SES_ADD ? '+' : info.type == dtl::SES_DELETE ? '-' : ' ';
    out->append(line);
    if (line.empty() || line.back() != '\n') *out += "\n\\ No newline at end of file\n";
  }
}

// A range without lines is named by the line before it.
std::string Range(long long first, long long count) {
  if (count == 0) return absl::StrCat(first - 1, ",0");
  return count == 1 ? absl::StrCat(first) : absl::StrCat(first, ",", count);
}

}  // namespace

std::string UnifiedDiff(std::string_view before, std::string_view after) {
  if (before == after) return "";
  const Lines old_lines = Split(before);
  const Lines new_lines = Split(after);
  dtl::Diff<std::string_view, Lines> diff(old_lines, new_lines, /*deletesFirst=*/true);
  diff.compose();
  diff.composeUnifiedHunks();
  std::string out;
  for (const auto& hunk : diff.getUniHunks()) {
    absl::StrAppend(&out, "@@ -", Range(hunk.a, hunk.b), " +", Range(hunk.c, hunk.d), " @@\n");
    AddLines(hunk.common[0], &out);
    AddLines(hunk.change, &out);
    AddLines(hunk.common[1], &out);
  }
  return out;
}

}  // namespace mseg::ctl
