// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_TEXT_H_
#define MSEG_LABELS_TEXT_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mseg {

// Debian builds abseil for C++14, where absl::string_view is not std::string_view and neither
// converts to the other. These take both.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }
template <typename T>
decltype(auto) CatArgument(const T& value) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return ToAbsl(value);
  } else {
    return (value);
  }
}
template <typename... Args>
std::string Cat(const Args&... args) {
  return absl::StrCat(CatArgument(args)...);
}
template <typename... Args>
void Append(std::string* out, const Args&... args) {
  absl::StrAppend(out, CatArgument(args)...);
}

// Takes the first character off `text`. Nothing if it is not UTF-8 (overlong forms and surrogates
// are not); `text` is unchanged then.
std::optional<char32_t> TakeCharacter(std::string_view* text);

// Offset of the first byte that is not UTF-8, or that is a NUL; npos if there is none.
size_t FindInvalidUtf8(std::string_view text);

// The text behind the byte order marks (U+FEFF) that it begins with.
std::string_view WithoutByteOrderMark(std::string_view text);

size_t CountCharacters(std::string_view utf8);
// Columns of a terminal: wide characters take two, combining ones none.
int DisplayWidth(char32_t character);

inline bool Contains(std::string_view text, char c) { return text.find(c) != text.npos; }

// Unicode has several spellings of one text (`é` in one character or two). Whoever reads policy
// cannot tell them apart, so only normal form C is accepted. `what` names the text in the message.
absl::Status CheckComposed(std::string_view what, std::string_view text);

bool IsControl(char32_t character);
bool IsSpace(char32_t character);

// The candidate that `word` was probably meant to be; empty if none is near.
std::string_view Nearest(std::string_view word, const std::vector<std::string_view>& candidates);

// `a, b or c`
std::string JoinAlternatives(const std::vector<std::string_view>& words);

// For terminals, which obey control characters: those become `?`, and so do bytes that are not
// UTF-8. Tabs stay. Cut after `longest` bytes.
std::string Printable(std::string_view text, size_t longest);

// Unsigned decimal without sign, spaces or leading zeros (but `0` itself).
std::optional<uint32_t> ParseDecimal(std::string_view text);

}  // namespace mseg

#endif  // MSEG_LABELS_TEXT_H_
