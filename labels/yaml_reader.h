// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_YAML_READER_H_
#define MSEG_LABELS_YAML_READER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/ast.h"
#include "labels/diagnostic.h"

namespace mseg {

inline constexpr size_t kMaxYamlBytes = size_t{64} << 20;
inline constexpr int kMaxYamlDepth = 32;
inline constexpr size_t kMaxYamlNodes = size_t{4} << 20;  // of one document
inline constexpr size_t kMaxDiagnostics = 200;            // of one text; more help nobody

// One node of a document. Scalars are text whatever they look like: `yes`, `1.0` and `0x10` are the
// characters that were written.
struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  Spot spot;
  std::string text;                // kScalar
  std::vector<YamlNode> children;  // kSequence: items. kMap: key, value, key, value, ...
};
std::string_view YamlKindName(YamlNode::Kind kind);

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

// Refuses, with a diagnostic, a text that is too large, not UTF-8, or holds a NUL.
absl::Status CheckYamlText(std::string_view file, std::string_view text, int first_line,
                           Diagnostics* diagnostics);

// A document of a stream: the text between two `---` lines.
struct YamlChunk {
  std::string_view text;
  int first_line = 1;
};
// Splits a stream without parsing it, so that an error in one document does not hide those behind
// it. Chunks of nothing but blank lines are left out.
std::vector<YamlChunk> SplitYaml(std::string_view text, int first_line);

// Reads one document. Refused with a diagnostic, all of them if there are several: what yaml-cpp
// refuses, anchors and aliases, tags that change a type, keys given twice, keys that are not
// scalars, and more than the bounds above. Nothing (and no error) for an empty document.
absl::StatusOr<std::optional<YamlNode>> ReadYaml(const SourceText& source);

}  // namespace mseg

#endif  // MSEG_LABELS_YAML_READER_H_
