// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_GLOB_H_
#define MSEG_LABELS_GLOB_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mseg {

// A path with wildcards. Within a component `*` is any characters, `?` one, `[a-z]` and `[!a-z]`
// one of a set, and `\` takes the next character as it is; a component `**` is any number of whole
// components. Matching takes time linear in pattern times path.
class PathPattern {
 public:
  // Absolute, without empty, `.` or `..` components; one slash at the end is dropped.
  static absl::StatusOr<PathPattern> Parse(std::string_view text);

  const std::string& text() const { return text_; }
  // No wildcards: text() is the path.
  bool literal() const { return literal_; }

  bool Matches(std::string_view path) const;
  // How many components the deepest of `path` and its ancestors has that the pattern matches; -1 if
  // none does. "/" has none.
  int DeepestMatch(std::string_view path) const;
  // Whether some path below `path` could match the pattern by itself, not only by an ancestor.
  bool MayMatchBelow(std::string_view path) const;
  // A path that matches.
  std::string Example() const;

 private:
  std::string text_;
  std::vector<std::string> components_;
  bool literal_ = true;
};

// The components of a path: `/a/b` has two, `/` none.
std::vector<std::string_view> PathComponents(std::string_view path);

}  // namespace mseg

#endif  // MSEG_LABELS_GLOB_H_
