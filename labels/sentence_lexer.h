// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_SENTENCE_LEXER_H_
#define MSEG_LABELS_SENTENCE_LEXER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// The words of a sentence; private to labels/.

namespace mseg {

struct Token {
  enum class Kind : uint8_t { kWord, kBar, kOpen, kClose, kComma, kStop, kEnd };
  Kind kind = Kind::kEnd;
  std::string_view text;
  size_t at = 0;   // offset of its first byte in the line
  int column = 1;  // of its first character, counted from 1
};

enum class Punctuation : uint8_t {
  kNone,  // words are what stands between blanks
  kAll,   // `| ( ) ,` and their full-width forms, `、` and `。` are words of their own
};

// The tokens from `from` on (which is the start of a token), kEnd last. A `#` that begins a word
// begins a comment. Blanks are all that Unicode calls so, the ideographic one included.
std::vector<Token> LexSentence(std::string_view line, const Token& from, Punctuation punctuation);

// `（ＴＣＰ／３３０６）` as `(TCP/3306)`: every full-width form of an ASCII character.
std::string HalfWidth(std::string_view text);

}  // namespace mseg

#endif  // MSEG_LABELS_SENTENCE_LEXER_H_
