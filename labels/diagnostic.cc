// SPDX-License-Identifier: Apache-2.0
#include "labels/diagnostic.h"

#include "labels/text.h"

namespace mseg {
namespace {

// Blanks up to the column, tabs kept, so that the caret stands below the character whatever the
// tab width and however wide the characters before it.
std::string CaretIndent(const std::string& line, int column) {
  std::string indent;
  std::string_view rest = line;
  for (int i = 1; i < column; ++i) {
    const std::optional<char32_t> character = TakeCharacter(&rest);
    if (!character) break;
    if (*character == '\t') {
      indent += '\t';
    } else {
      indent.append(static_cast<size_t>(DisplayWidth(*character)), ' ');
    }
  }
  return indent;
}

}  // namespace

std::string FormatDiagnostic(const Diagnostic& diagnostic) {
  std::string out;
  if (!diagnostic.place.file.empty()) Append(&out, diagnostic.place.file, ":");
  if (diagnostic.place.line > 0) {
    Append(&out, diagnostic.place.line, ":", diagnostic.place.column, ":");
  }
  Append(&out, out.empty() ? "" : " ", "error: ", diagnostic.message, "\n");
  if (diagnostic.source_line.empty()) return out;
  Append(&out, "  ", diagnostic.source_line, "\n");
  const int characters = static_cast<int>(CountCharacters(diagnostic.source_line));
  if (diagnostic.place.column < 1 || diagnostic.place.column > characters + 1) return out;
  Append(&out, "  ", CaretIndent(diagnostic.source_line, diagnostic.place.column), "^\n");
  return out;
}

}  // namespace mseg
