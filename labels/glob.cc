// SPDX-License-Identifier: Apache-2.0
#include "labels/glob.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "labels/text.h"

namespace mseg {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr size_t kMaxComponents = 128;
constexpr std::string_view kAnyDepth = "**";
constexpr std::string_view kWildcards = "*?[\\";

// Takes `[...]` off `pattern` (which starts behind the bracket) and says whether `character` is in
// the set. Nothing if the bracket is never closed.
std::optional<bool> TakeSet(std::string_view* pattern, char32_t character) {
  std::string_view rest = *pattern;
  bool negated = false;
  bool found = false;
  if (!rest.empty() && (rest[0] == '!' || rest[0] == '^')) {
    negated = true;
    rest.remove_prefix(1);
  }
  for (bool first = true; !rest.empty() && (first || rest[0] != ']'); first = false) {
    const std::optional<char32_t> low = TakeCharacter(&rest);
    if (!low) return std::nullopt;
    char32_t high = *low;
    if (rest.size() >= 2 && rest[0] == '-' && rest[1] != ']') {
      rest.remove_prefix(1);
      const std::optional<char32_t> end = TakeCharacter(&rest);
      if (!end) return std::nullopt;
      high = *end;
    }
    found = found || (character >= *low && character <= high);
  }
  if (rest.empty()) return std::nullopt;
  rest.remove_prefix(1);
  *pattern = rest;
  return found != negated;
}

// Paths need not be UTF-8. A byte that is not stands for itself, so that a file cannot hide from a
// wildcard behind its name.
char32_t TakePathCharacter(std::string_view* text) {
  if (const std::optional<char32_t> character = TakeCharacter(text)) return *character;
  const uint8_t byte = static_cast<uint8_t>(text->front());
  text->remove_prefix(1);
  return 0xDC00 + byte;  // a lone surrogate: no character of a pattern is one
}

// Whether the first element of `pattern`, which is no `*`, takes the first character of `text`;
// both move on if so.
bool TakeOne(std::string_view* pattern, std::string_view* text) {
  std::string_view p = *pattern;
  std::string_view t = *text;
  const char32_t character = TakePathCharacter(&t);
  if (p[0] == '[') {
    p.remove_prefix(1);
    if (!TakeSet(&p, character).value_or(false)) return false;
  } else if (p[0] == '?') {
    p.remove_prefix(1);
  } else {
    if (p[0] == '\\' && p.size() > 1) p.remove_prefix(1);
    const std::optional<char32_t> literal = TakeCharacter(&p);
    if (!literal || *literal != character) return false;
  }
  *pattern = p;
  *text = t;
  return true;
}

// Backtracks only to the latest `*`: an earlier one could not match more.
bool MatchComponent(std::string_view pattern, std::string_view text) {
  std::string_view retry_pattern;
  std::string_view retry_text;
  bool has_retry = false;
  while (true) {
    if (!pattern.empty() && pattern[0] == '*') {
      pattern.remove_prefix(1);
      retry_pattern = pattern;
      retry_text = text;
      has_retry = true;
      continue;
    }
    if (pattern.empty() && text.empty()) return true;
    if (!pattern.empty() && !text.empty() && TakeOne(&pattern, &text)) continue;
    if (!has_retry || retry_text.empty()) return false;
    TakePathCharacter(&retry_text);
    pattern = retry_pattern;
    text = retry_text;
  }
}

bool BracketsAreClosed(std::string_view component) {
  while (!component.empty()) {
    if (component[0] == '[') {
      component.remove_prefix(1);
      if (!TakeSet(&component, U'a')) return false;
    } else {
      component.remove_prefix(component[0] == '\\' && component.size() > 1 ? 2 : 1);
    }
  }
  return true;
}

// The states of a pattern while a path is read: state i means that components before i are used up.
class Progress {
 public:
  explicit Progress(const std::vector<std::string>& pattern)
      : pattern_(pattern), at_(pattern.size() + 1, false) {
    Reach(&at_, 0);
  }

  void Step(std::string_view component) {
    std::vector<bool> next(at_.size(), false);
    for (size_t i = 0; i < pattern_.size(); ++i) {
      if (!at_[i]) continue;
      if (pattern_[i] == kAnyDepth) {
        Reach(&next, i);
      } else if (MatchComponent(pattern_[i], component)) {
        Reach(&next, i + 1);
      }
    }
    at_ = std::move(next);
  }

  bool Accepts() const { return at_.back(); }
  bool MayGoOn() const {
    for (size_t i = 0; i < pattern_.size(); ++i) {
      if (at_[i]) return true;
    }
    return false;
  }

 private:
  void Reach(std::vector<bool>* states, size_t state) const {
    (*states)[state] = true;
    while (state < pattern_.size() && pattern_[state] == kAnyDepth) (*states)[++state] = true;
  }

  const std::vector<std::string>& pattern_;
  std::vector<bool> at_;
};

// A character of the set that `pattern` (behind its bracket) begins with.
char SetExample(std::string_view pattern) {
  for (char c = '0'; c <= '~'; ++c) {
    std::string_view rest = pattern;
    if (TakeSet(&rest, static_cast<char32_t>(c)).value_or(false)) return c;
  }
  return 'x';
}

std::string ComponentExample(std::string_view pattern) {
  std::string out;
  while (!pattern.empty()) {
    if (pattern[0] == '*' || pattern[0] == '?') {
      if (pattern[0] == '?' || pattern.size() == 1) out += 'x';
      pattern.remove_prefix(1);
    } else if (pattern[0] == '[') {
      pattern.remove_prefix(1);
      out += SetExample(pattern);
      TakeSet(&pattern, U'x');
    } else {
      if (pattern[0] == '\\' && pattern.size() > 1) pattern.remove_prefix(1);
      out += pattern[0];
      pattern.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace

std::vector<std::string_view> PathComponents(std::string_view path) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) out.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return out;
}

absl::StatusOr<PathPattern> PathPattern::Parse(std::string_view text) {
  auto fail = [](const char* why) { return absl::InvalidArgumentError(why); };
  if (text.empty() || text[0] != '/') return fail("a path must begin with `/`");
  if (text.size() > kMaxPath) return fail("a path must not be longer than 4096 bytes");
  std::string_view body = text.substr(1);
  if (body.size() > 1 && body.back() == '/') body.remove_suffix(1);
  PathPattern pattern;
  for (size_t at = 0; at < body.size();) {
    const size_t slash = std::min(body.find('/', at), body.size());
    pattern.components_.emplace_back(body.substr(at, slash - at));
    at = slash + 1;
  }
  if (pattern.components_.size() > kMaxComponents) {
    return fail("a path must not have more than 128 components");
  }
  for (const std::string& component : pattern.components_) {
    if (component.empty()) return fail("a path must not hold an empty component (`//`)");
    if (component == "." || component == "..") {
      return fail("a path must not hold `.` or `..`: it is compared, not followed");
    }
    if (!BracketsAreClosed(component)) return fail("a `[` in the path is never closed");
    if (component.find_first_of(kWildcards) != std::string::npos) pattern.literal_ = false;
  }
  pattern.text_ = Cat("/", body);
  return pattern;
}

bool PathPattern::Matches(std::string_view path) const {
  if (literal_) return path == text_;
  Progress progress(components_);
  for (std::string_view component : PathComponents(path)) progress.Step(component);
  return progress.Accepts();
}

int PathPattern::DeepestMatch(std::string_view path) const {
  Progress progress(components_);
  int depth = 0;
  int deepest = progress.Accepts() ? 0 : -1;
  for (std::string_view component : PathComponents(path)) {
    progress.Step(component);
    ++depth;
    if (progress.Accepts()) deepest = depth;
  }
  return deepest;
}

bool PathPattern::MayMatchBelow(std::string_view path) const {
  Progress progress(components_);
  for (std::string_view component : PathComponents(path)) progress.Step(component);
  return progress.MayGoOn();
}

std::string PathPattern::Example() const {
  if (literal_) return text_;
  std::string out;
  for (const std::string& component : components_) {
    if (component != kAnyDepth) Append(&out, "/", ComponentExample(component));
  }
  return out.empty() ? "/x" : out;
}

}  // namespace mseg
