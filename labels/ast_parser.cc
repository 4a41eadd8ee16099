// SPDX-License-Identifier: Apache-2.0
#include <iterator>
#include <optional>
#include <utility>

#include "labels/ast.h"
#include "labels/document_parser.h"
#include "labels/field_reader.h"
#include "labels/sentence_parser.h"
#include "labels/text.h"
#include "labels/yaml_reader.h"

namespace mseg {
namespace {

constexpr std::string_view kApiVersion = "mseg.io/v1";
constexpr size_t kMaxName = 330;

template <typename Enum, size_t N>
absl::StatusOr<Enum> ByName(const std::string_view (&names)[N], std::string_view text,
                            std::string_view what) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  return absl::InvalidArgumentError(Cat(what, " is ",
                                        JoinAlternatives({std::begin(names), std::end(names)}),
                                        ", not `", text.substr(0, 80), "`"));
}

constexpr std::string_view kStates[] = {"build", "test", "enforce"};
constexpr std::string_view kGrades[] = {"unknown", "path", "hash", "ima", "verity"};
constexpr std::string_view kKinds[] = {"Workload", "Policy", "Service", "AddressGroup"};

std::optional<DocumentKind> ParseKind(const SourceText& source, const YamlNode& node) {
  const std::string* text = ScalarText(source, node, "`kind`");
  if (text == nullptr) return std::nullopt;
  absl::StatusOr<DocumentKind> kind = ByName<DocumentKind>(kKinds, *text, "`kind`");
  if (kind.ok()) return *kind;
  const std::string_view nearest = Nearest(*text, {std::begin(kKinds), std::end(kKinds)});
  source.Error(node.spot, Cat(kind.status().message(), nearest.empty() ? "" : "; did you mean `",
                              nearest, nearest.empty() ? "" : "`?"));
  return std::nullopt;
}

void ParseMetadata(const SourceText& source, const YamlNode& node, Document* document) {
  FieldReader fields(source, node, "`metadata`");
  if (const YamlNode* name = fields.TakeRequired("name")) {
    document->name_spot = name->spot;
    if (const std::string* text = ScalarText(source, *name, "`name`")) {
      document->name = *text;
      absl::Status status = CheckName(*text);
      if (!status.ok()) source.Error(name->spot, std::string(status.message()));
    }
  }
  fields.Finish();
}

void ParseSpec(const SourceText& source, const YamlNode& node, Document* document) {
  switch (document->kind) {
    case DocumentKind::kWorkload:
      document->spec = ParseWorkload(source, node);
      break;
    case DocumentKind::kPolicy:
      document->spec = ParsePolicy(source, node);
      break;
    case DocumentKind::kService:
      document->spec = ParseService(source, node);
      break;
    case DocumentKind::kAddressGroup:
      document->spec = ParseAddressGroup(source, node);
      break;
  }
}

Document ParseDocument(const SourceText& source, const YamlNode& root) {
  FieldReader fields(source, root, "a document");
  Document document;
  document.file = source.file();
  document.name_spot = root.spot;
  document.text = std::string(source.text());
  document.first_line = source.first_line();
  if (const YamlNode* version = fields.TakeRequired("apiVersion")) {
    OneOf(source, *version, "`apiVersion`", {kApiVersion});
  }
  std::optional<DocumentKind> kind;
  if (const YamlNode* node = fields.TakeRequired("kind")) kind = ParseKind(source, *node);
  if (const YamlNode* metadata = fields.TakeRequired("metadata")) {
    ParseMetadata(source, *metadata, &document);
  }
  const YamlNode* spec = fields.TakeRequired("spec");
  fields.Finish();
  if (kind) {
    document.kind = *kind;
    if (spec != nullptr) ParseSpec(source, *spec, &document);
  }
  return document;
}

std::vector<Document> ParseYaml(std::string_view file, std::string_view text, int first_line,
                                Diagnostics* diagnostics) {
  std::vector<Document> documents;
  for (const YamlChunk& chunk : SplitYaml(text, first_line)) {
    const SourceText source(file, chunk.text, chunk.first_line, diagnostics);
    if (documents.size() == kMaxDocuments) {
      source.Error(Spot{chunk.first_line, 1}, Cat("more than ", kMaxDocuments, " documents"));
      break;
    }
    absl::StatusOr<std::optional<YamlNode>> root = ReadYaml(source);
    if (!root.ok() || !root->has_value()) continue;
    documents.push_back(ParseDocument(source, **root));
  }
  return documents;
}

}  // namespace

std::string_view StateName(State state) { return kStates[static_cast<size_t>(state)]; }
absl::StatusOr<State> ParseState(std::string_view text) {
  return ByName<State>(kStates, text, "a state");
}

std::string_view GradeName(mseg_grade grade) {
  return grade < MSEG_GRADE_MAX ? kGrades[grade] : kGrades[MSEG_GRADE_UNKNOWN];
}
absl::StatusOr<mseg_grade> ParseGrade(std::string_view text) {
  return ByName<mseg_grade>(kGrades, text, "a grade");
}

std::string_view DocumentKindName(DocumentKind kind) { return kKinds[static_cast<size_t>(kind)]; }

absl::Status CheckName(std::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError("a name must not be empty");
  if (name.size() > kMaxName) {
    return absl::InvalidArgumentError("a name must not be longer than 330 bytes");
  }
  if (name[0] == '-' || name[0] == '.') {
    return absl::InvalidArgumentError("a name must not begin with `-` or `.`");
  }
  std::string_view rest = name;
  while (!rest.empty()) {
    const std::string_view before = rest;
    const std::optional<char32_t> character = TakeCharacter(&rest);
    if (!character || IsControl(*character) || IsSpace(*character)) {
      return absl::InvalidArgumentError("a name must not hold spaces or control characters");
    }
    constexpr std::string_view kForbidden = "/:,;=#*?|\"'`\\{}[]()<>$&!%@";
    if (*character < 0x80 && Contains(kForbidden, static_cast<char>(*character))) {
      return absl::InvalidArgumentError(Cat("a name must not hold `", before.substr(0, 1), "`"));
    }
  }
  return CheckComposed("a name", name);
}

absl::StatusOr<std::vector<Document>> ParseDocuments(std::string_view file, std::string_view text,
                                                     Diagnostics* diagnostics, int first_line) {
  text = WithoutByteOrderMark(text);
  absl::Status readable = CheckYamlText(file, text, first_line, diagnostics);
  if (!readable.ok()) return readable;
  const size_t errors_before = diagnostics->size();
  std::vector<Document> documents =
      IsSentenceFile(file) ? ParseSentences(SourceText(file, text, first_line, diagnostics))
                           : ParseYaml(file, text, first_line, diagnostics);
  SortDiagnostics(errors_before, diagnostics);
  const size_t errors = diagnostics->size() - errors_before;
  if (errors > 0) {
    return absl::InvalidArgumentError(Cat(file, ": ", errors, errors == 1 ? " error" : " errors"));
  }
  return documents;
}

}  // namespace mseg
