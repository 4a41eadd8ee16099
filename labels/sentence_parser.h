// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_SENTENCE_PARSER_H_
#define MSEG_LABELS_SENTENCE_PARSER_H_

#include <string>
#include <string_view>
#include <vector>

#include "labels/ast.h"
#include "labels/source_text.h"

// One-sentence rules, one a line, in English or Chinese (docs/policy.md, Sentences).

namespace mseg {

inline constexpr size_t kMaxSentenceBytes = 16384;

// Whether a file's name says that it holds sentences rather than YAML.
bool IsSentenceFile(std::string_view file);

// A Policy for each sentence, the same rule said twice once. What is wrong goes to the source, the
// first thing of each sentence that cannot be read and every value that is refused.
std::vector<Document> ParseSentences(const SourceText& source);

// The name of the Policy that a sentence is: it depends on what the rule says and on nothing else,
// so that lines can be moved, spelt differently or translated.
std::string SentenceName(const Policy& policy);

}  // namespace mseg

#endif  // MSEG_LABELS_SENTENCE_PARSER_H_
