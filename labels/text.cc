// SPDX-License-Identifier: Apache-2.0
#include "labels/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace mseg {
namespace {

struct CharacterRange {
  char32_t first;
  char32_t last;
};

// East Asian wide and fullwidth blocks; enough to put a caret under the right character.
constexpr CharacterRange kWide[] = {
    {0x1100, 0x115F}, {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},
    {0xA000, 0xA4CF}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE4F},   {0xFF00, 0xFF60},
    {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD},
};
constexpr CharacterRange kZeroWidth[] = {
    {0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF},
};

template <size_t N>
bool InRanges(char32_t character, const CharacterRange (&ranges)[N]) {
  return std::any_of(std::begin(ranges), std::end(ranges), [character](const CharacterRange& r) {
    return character >= r.first && character <= r.last;
  });
}

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::optional<char32_t> TakeCharacter(std::string_view* text) {
  if (text->empty()) return std::nullopt;
  const uint8_t lead = static_cast<uint8_t>(text->front());
  size_t length = 1;
  char32_t character = lead;
  char32_t least = 0;
  if (lead >= 0x80) {
    if (lead >= 0xC2 && lead <= 0xDF) {
      length = 2, character = lead & 0x1F, least = 0x80;
    } else if ((lead & 0xF0) == 0xE0) {
      length = 3, character = lead & 0x0F, least = 0x800;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      length = 4, character = lead & 0x07, least = 0x10000;
    } else {
      return std::nullopt;
    }
  }
  if (text->size() < length) return std::nullopt;
  for (size_t i = 1; i < length; ++i) {
    const uint8_t next = static_cast<uint8_t>((*text)[i]);
    if ((next & 0xC0) != 0x80) return std::nullopt;
    character = (character << 6) | (next & 0x3F);
  }
  if (character < least || character > 0x10FFFF) return std::nullopt;
  if (character >= 0xD800 && character <= 0xDFFF) return std::nullopt;
  text->remove_prefix(length);
  return character;
}

size_t FindInvalidUtf8(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t at = text.size() - rest.size();
    const std::optional<char32_t> character = TakeCharacter(&rest);
    if (!character || *character == 0) return at;
  }
  return std::string_view::npos;
}

std::string_view WithoutByteOrderMark(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  while (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  return text;
}

size_t CountCharacters(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(
      utf8.begin(), utf8.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

int DisplayWidth(char32_t character) {
  if (character < 0x300) return 1;
  if (InRanges(character, kZeroWidth)) return 0;
  return InRanges(character, kWide) ? 2 : 1;
}

absl::Status CheckComposed(std::string_view what, std::string_view text) {
  // Nothing below U+0300 can be composed with what follows it.
  constexpr uint8_t kFirstComposing = 0xCC;
  if (std::all_of(text.begin(), text.end(),
                  [](char c) { return static_cast<uint8_t>(c) < kFirstComposing; })) {
    return absl::OkStatus();
  }
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) {
    return absl::InvalidArgumentError(Cat(what, ": ", utf8proc_errmsg(size)));
  }
  const std::string normal(reinterpret_cast<const char*>(composed), static_cast<size_t>(size));
  std::free(composed);
  if (normal == text) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Cat(what, " is not in Unicode's normal form C; write `", normal, "`, which looks the same"));
}

bool IsControl(char32_t character) {
  return character < 0x20 || (character >= 0x7F && character < 0xA0) || character == 0x2028 ||
         character == 0x2029 || (character >= 0x200B && character <= 0x200F) ||
         (character >= 0x202A && character <= 0x202E) || character == 0xFEFF;
}

bool IsSpace(char32_t character) {
  return character == ' ' || (character >= 0x09 && character <= 0x0D) || character == 0x85 ||
         character == 0xA0 || character == 0x1680 || (character >= 0x2000 && character <= 0x200A) ||
         character == 0x202F || character == 0x205F || character == 0x3000;
}

std::string_view Nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  constexpr size_t kLongest =
      64;  // a longer word is no misspelling, and the comparison is quadratic
  if (word.size() > kLongest) return {};
  std::string_view best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string JoinAlternatives(const std::vector<std::string_view>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    Append(&out, words[i]);
  }
  return out;
}

std::string Printable(std::string_view text, size_t longest) {
  std::string out;
  while (!text.empty() && out.size() < longest) {
    const std::string_view before = text;
    const std::optional<char32_t> character = TakeCharacter(&text);
    if (!character) text.remove_prefix(1);
    if (!character || (IsControl(*character) && *character != '\t')) {
      out += '?';
    } else {
      out.append(before.substr(0, before.size() - text.size()));
    }
  }
  return out;
}

std::optional<uint32_t> ParseDecimal(std::string_view text) {
  if (text.empty() || text.size() > 10 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint64_t number = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  if (number > std::numeric_limits<uint32_t>::max()) return std::nullopt;
  return static_cast<uint32_t>(number);
}

}  // namespace mseg
