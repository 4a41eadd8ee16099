// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_DOCUMENT_PARSER_H_
#define MSEG_LABELS_DOCUMENT_PARSER_H_

#include <string>
#include <string_view>
#include <vector>

#include "labels/ast.h"
#include "labels/yaml_reader.h"

// From YAML nodes to the parts of the AST; private to labels/. Every function reports what is wrong
// to the source and returns what it could read.

namespace mseg {

Workload ParseWorkload(const SourceText& source, const YamlNode& spec);
Policy ParsePolicy(const SourceText& source, const YamlNode& spec);
Service ParseService(const SourceText& source, const YamlNode& spec);
AddressGroup ParseAddressGroup(const SourceText& source, const YamlNode& spec);

Selector ParseSelector(const SourceText& source, const YamlNode& node, const std::string& what);

LabelSet ParseLabels(const SourceText& source, const YamlNode& node);
State ParseStateField(const SourceText& source, const YamlNode* node);
std::vector<SpottedText> ParsePathPatterns(const SourceText& source, const YamlNode& node,
                                           std::string_view what);
std::vector<Spotted<Digest>> ParseDigests(const SourceText& source, const YamlNode& node);
std::vector<SpottedText> ParseUsers(const SourceText& source, const YamlNode& node);
std::vector<Spotted<Cidr>> ParseCidrs(const SourceText& source, const YamlNode& node,
                                      std::string_view what);
// What a selector may ask for: a key that people or mseg give.
absl::Status CheckSelectorKey(std::string_view key);
// A file's name without a path.
absl::Status CheckFileName(std::string_view name);
// A path pattern in its one spelling.
absl::StatusOr<std::string> CheckPathPattern(std::string_view path, std::string_view what);
// The name of a document, rule or service: what can stand in `POLICY/RULE` and on a command line.
absl::Status CheckName(std::string_view name);

}  // namespace mseg

#endif  // MSEG_LABELS_DOCUMENT_PARSER_H_
