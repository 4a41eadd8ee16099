// SPDX-License-Identifier: Apache-2.0
#include "ctl/suggest.h"

#include <algorithm>
#include <numeric>

namespace mseg::ctl {
namespace {

// Insertions, deletions and replacements from `a` to `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t above = row[j];
      size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above + 1, row[j - 1] + 1, replace});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Closest(std::string_view word, const std::vector<std::string>& names) {
  if (word.size() > 64) return "";
  std::string best;
  size_t best_distance = 3;  // more than two slips is another word
  for (const std::string& name : names) {
    size_t distance = EditDistance(word, name);
    if (word.size() >= 2 && name.compare(0, word.size(), word) == 0)
      distance = std::min<size_t>(distance, 1);
    if (distance < best_distance && distance < name.size()) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace mseg::ctl
