// SPDX-License-Identifier: Apache-2.0
#include "labels/workload_conflicts.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "labels/glob.h"
#include "labels/text.h"

namespace mseg {
namespace {

// A Workload's match, as lists of alternatives per field.
struct Shape {
  const Workload* workload = nullptr;
  std::vector<std::string> fields[4];    // cgroup, exe, digest, user
  std::vector<PathPattern> patterns[2];  // cgroup, exe
};
constexpr size_t kFields = 4;
constexpr size_t kPatternFields = 2;

Shape ShapeOf(const Workload& workload) {
  Shape shape;
  shape.workload = &workload;
  const std::vector<SpottedText>* texts[] = {&workload.match.cgroups, &workload.match.exes, nullptr,
                                             &workload.match.users};
  for (size_t field = 0; field < kFields; ++field) {
    if (texts[field] == nullptr) continue;
    for (const SpottedText& text : *texts[field]) shape.fields[field].push_back(text.value);
  }
  for (const Spotted<Digest>& digest : workload.match.digests) {
    shape.fields[2].push_back(DigestText(digest.value));
  }
  for (size_t field = 0; field < kPatternFields; ++field) {
    for (const std::string& text : shape.fields[field]) {
      absl::StatusOr<PathPattern> pattern = PathPattern::Parse(text);
      if (pattern.ok()) shape.patterns[field].push_back(*std::move(pattern));
    }
  }
  return shape;
}

// Whether `wide` certainly matches every path that `narrow` does. Two different globs might, but
// that is left to the running process.
bool PatternCovers(const PathPattern& wide, const PathPattern& narrow) {
  return wide.text() == narrow.text() || (narrow.literal() && wide.Matches(narrow.text()));
}

// Whether one of `narrow`'s alternatives in a field is covered by one of `wide`'s.
bool FieldCovers(const Shape& wide, const Shape& narrow, size_t field) {
  if (field < kPatternFields) {
    for (const PathPattern& pattern : wide.patterns[field]) {
      for (const PathPattern& other : narrow.patterns[field]) {
        if (PatternCovers(pattern, other)) return true;
      }
    }
    return false;
  }
  const std::vector<std::string>& others = narrow.fields[field];
  return std::any_of(wide.fields[field].begin(), wide.fields[field].end(),
                     [&others](const std::string& text) {
                       return std::find(others.begin(), others.end(), text) != others.end();
                     });
}

// Whether `wide` matches all processes that one alternative of `narrow` does: each field that it
// gives is given by `narrow` too, and covers it.
bool Covers(const Shape& wide, const Shape& narrow) {
  for (size_t field = 0; field < kFields; ++field) {
    if (wide.fields[field].empty()) continue;
    if (narrow.fields[field].empty() || !FieldCovers(wide, narrow, field)) return false;
  }
  return true;
}

bool SameLevel(const Shape& a, const Shape& b) {
  return a.workload->match.HasProcessField() == b.workload->match.HasProcessField() &&
         a.fields[0].empty() == b.fields[0].empty();
}

class ConflictFinder {
 public:
  explicit ConflictFinder(const std::vector<const Workload*>& workloads) {
    for (const Workload* workload : workloads) shapes_.push_back(ShapeOf(*workload));
    for (size_t i = 0; i < shapes_.size(); ++i) Index(i);
  }

  std::vector<std::pair<size_t, size_t>> Find() {
    for (size_t i = 0; i < shapes_.size() && found_.size() < kMaxConflicts; ++i) {
      if (!shapes_[i].workload->match.MatchesProcesses()) continue;
      const std::set<size_t> partners = Partners(i);
      comparisons_ += partners.size();
      if (comparisons_ > kMaxComparisons) break;
      for (size_t j : partners) Compare(i, j);
    }
    return {found_.begin(), found_.end()};
  }

 private:
  // More are not shown, and comparing everything with everything is quadratic: what is not found
  // here is left to the running process, where the key becomes unknown.
  static constexpr size_t kMaxConflicts = 1000;
  static constexpr size_t kMaxComparisons = 5'000'000;

  void Index(size_t i) {
    const Shape& shape = shapes_[i];
    if (!shape.workload->match.MatchesProcesses()) return;
    bool host_alone = true;
    for (size_t field = 0; field < kFields; ++field) {
      host_alone = host_alone && shape.fields[field].empty();
      for (const std::string& text : shape.fields[field]) by_entry_[Cat(field, text)].push_back(i);
    }
    if (host_alone) hosts_.push_back(i);
    for (size_t field = 0; field < kPatternFields; ++field) {
      for (const PathPattern& pattern : shape.patterns[field]) {
        if (pattern.literal()) literals_[field].insert(i);
      }
    }
  }

  bool HasGlob(const Shape& shape, size_t field) const {
    return field < kPatternFields &&
           std::any_of(shape.patterns[field].begin(), shape.patterns[field].end(),
                       [](const PathPattern& pattern) { return !pattern.literal(); });
  }

  // Those that i could cover. They give every field that i gives, so the field with the fewest
  // candidates finds them all.
  std::set<size_t> Partners(size_t i) {
    const Shape& shape = shapes_[i];
    size_t best = kFields;
    size_t fewest = 0;
    for (size_t field = 0; field < kFields; ++field) {
      if (shape.fields[field].empty()) continue;
      size_t candidates = HasGlob(shape, field) ? literals_[field].size() : 0;
      for (const std::string& text : shape.fields[field]) {
        candidates += by_entry_[Cat(field, text)].size();
      }
      if (best == kFields || candidates < fewest) {
        best = field;
        fewest = candidates;
      }
    }
    if (best == kFields) return {hosts_.begin(), hosts_.end()};
    std::set<size_t> out;
    for (const std::string& text : shape.fields[best]) {
      const std::vector<size_t>& same = by_entry_[Cat(best, text)];
      out.insert(same.begin(), same.end());
    }
    if (HasGlob(shape, best)) out.insert(literals_[best].begin(), literals_[best].end());
    return out;
  }

  void Compare(size_t i, size_t j) {
    if (i == j || !SameLevel(shapes_[i], shapes_[j])) return;
    const std::pair<size_t, size_t> pair(std::min(i, j), std::max(i, j));
    if (found_.contains(pair)) return;
    if (DifferingKey(shapes_[i].workload->labels, shapes_[j].workload->labels).empty()) return;
    if (Covers(shapes_[i], shapes_[j])) found_.insert(pair);
  }

  std::vector<Shape> shapes_;
  std::vector<size_t> hosts_;  // match by `host` alone
  absl::flat_hash_map<std::string, std::vector<size_t>> by_entry_;
  std::set<size_t> literals_[kPatternFields];
  std::set<std::pair<size_t, size_t>> found_;
  size_t comparisons_ = 0;
};

}  // namespace

std::string_view DifferingKey(const LabelSet& a, const LabelSet& b) {
  for (const auto& [key, value] : a.values()) {
    const auto it = b.values().find(key);
    if (it != b.values().end() && it->second != value) return key;
  }
  return {};
}

std::vector<std::pair<size_t, size_t>> FindWorkloadConflicts(
    const std::vector<const Workload*>& workloads) {
  return ConflictFinder(workloads).Find();
}

}  // namespace mseg
