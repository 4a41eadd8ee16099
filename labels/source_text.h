// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_SOURCE_TEXT_H_
#define MSEG_LABELS_SOURCE_TEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "labels/ast.h"
#include "labels/diagnostic.h"

namespace mseg {

inline constexpr size_t kMaxDiagnostics = 200;  // of one text; more help nobody

// A stretch of a file, as it stands there, and where errors in it go.
class SourceText {
 public:
  SourceText(std::string_view file, std::string_view text, int first_line,
             Diagnostics* diagnostics);

  std::string_view text() const { return text_; }
  const std::string& file() const { return file_; }
  int first_line() const { return first_line_; }
  // A line of the text by its number in the file, cut where it is too long to be shown.
  std::string Line(int line) const;
  // Columns count characters; the parser counts bytes.
  int CountCharactersIn(int line, int from_byte, int to_byte) const;
  Spot SpotOfByte(int line, int byte_column) const;
  void Error(Spot spot, std::string message) const;

 private:
  std::string_view RawLine(int line) const;

  std::string file_;
  std::string_view text_;
  int first_line_;
  Diagnostics* diagnostics_;
  std::vector<size_t> line_starts_;
};

// Sorts the diagnostics from `first` on by place; the one about too many stays last.
void SortDiagnostics(size_t first, Diagnostics* diagnostics);

}  // namespace mseg

#endif  // MSEG_LABELS_SOURCE_TEXT_H_
