// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_YAML_READER_H_
#define MSEG_LABELS_YAML_READER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/ast.h"
#include "labels/source_text.h"

namespace mseg {

inline constexpr size_t kMaxYamlBytes = size_t{64} << 20;
inline constexpr int kMaxYamlDepth = 32;
inline constexpr size_t kMaxYamlNodes = size_t{4} << 20;  // of one document
// Words and signs that yaml-cpp may read without saying anything: it keeps a whole `{...}` or
// `[...]` as tokens, 100 to 250 bytes each, before it gives the first part.
inline constexpr size_t kMaxYamlAhead = size_t{2} << 20;

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
