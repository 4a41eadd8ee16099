// SPDX-License-Identifier: Apache-2.0
#include "labels/sentence_lexer.h"

#include <optional>

#include "labels/text.h"

namespace mseg {
namespace {

constexpr char32_t kFullWidthFirst = 0xFF01;  // `！`, and so on up to `～`
constexpr char32_t kFullWidthLast = 0xFF5E;
constexpr char32_t kFullWidthOffset = 0xFEE0;
constexpr char32_t kEnumerationComma = 0x3001;  // 、
constexpr char32_t kIdeographicStop = 0x3002;   // 。

char32_t HalfWidthOf(char32_t character) {
  const bool full = character >= kFullWidthFirst && character <= kFullWidthLast;
  return full ? character - kFullWidthOffset : character;
}

Token::Kind KindOf(char32_t character) {
  switch (HalfWidthOf(character)) {
    case '|':
      return Token::Kind::kBar;
    case '(':
      return Token::Kind::kOpen;
    case ')':
      return Token::Kind::kClose;
    case ',':
    case kEnumerationComma:
      return Token::Kind::kComma;
    case kIdeographicStop:
      return Token::Kind::kStop;
    default:
      return Token::Kind::kWord;
  }
}

}  // namespace

std::vector<Token> LexSentence(std::string_view line, const Token& from, Punctuation punctuation) {
  std::vector<Token> out;
  std::string_view rest = line.substr(from.at);
  int column = from.column;
  Token end{.kind = Token::Kind::kEnd, .text = {}, .at = from.at, .column = from.column};
  bool in_word = false;
  while (!rest.empty()) {
    const size_t at = line.size() - rest.size();
    const std::optional<char32_t> character = TakeCharacter(&rest);
    if (!character) break;  // the whole text was checked to be UTF-8
    const size_t next = line.size() - rest.size();
    const Token::Kind kind =
        punctuation == Punctuation::kAll ? KindOf(*character) : Token::Kind::kWord;
    if (IsSpace(*character)) {
      in_word = false;
    } else if (kind == Token::Kind::kWord && in_word) {
      out.back().text = line.substr(out.back().at, next - out.back().at);
    } else if (*character == '#') {
      break;
    } else {
      in_word = kind == Token::Kind::kWord;
      out.push_back(
          Token{.kind = kind, .text = line.substr(at, next - at), .at = at, .column = column});
    }
    ++column;
    if (!IsSpace(*character)) end.at = next, end.column = column;
  }
  out.push_back(end);
  return out;
}

std::string HalfWidth(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view before = text;
    const std::optional<char32_t> character = TakeCharacter(&text);
    if (!character) return out;
    const char32_t half = HalfWidthOf(*character);
    if (half == *character) {
      out.append(before.substr(0, before.size() - text.size()));
    } else {
      out += static_cast<char>(half);
    }
  }
  return out;
}

}  // namespace mseg
