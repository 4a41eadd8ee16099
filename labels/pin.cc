// SPDX-License-Identifier: Apache-2.0
// `pin: true`: what lies at a path when the policy is applied, and nothing else, ever after.
#include <algorithm>

#include "labels/ast.h"
#include "labels/source_text.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr std::string_view kTrue[] = {"true", "\"true\"", "'true'"};

std::vector<std::string> Values(const std::vector<SpottedText>& texts) {
  std::vector<std::string> out;
  for (const SpottedText& text : texts) out.push_back(text.value);
  return out;
}

// Offset in `text` of a place; npos if it is not there.
size_t OffsetOf(std::string_view text, int first_line, Spot spot) {
  size_t at = 0;
  for (int line = first_line; line < spot.line; ++line) {
    at = text.find('\n', at);
    if (at == text.npos) return at;
    ++at;
  }
  std::string_view rest = text.substr(at);
  for (int column = 1; column < spot.column; ++column) {
    if (rest.empty() || rest[0] == '\n' || !TakeCharacter(&rest)) return text.npos;
  }
  return text.size() - rest.size();
}

}  // namespace

std::vector<Pin> PinsOf(const Document& document) {
  std::vector<Pin> out;
  const Policy* policy = std::get_if<Policy>(&document.spec);
  if (policy == nullptr) return out;
  auto add = [&out](const std::optional<Selector>& selector) {
    if (!selector || !selector->process || !selector->process->pin) return;
    const ProcessSelector& process = *selector->process;
    out.push_back({*process.pin, Values(process.names), Values(process.exes)});
  };
  add(policy->selects);
  for (const Rule& rule : policy->rules) {
    add(rule.from);
    add(rule.to);
  }
  return out;
}

absl::StatusOr<std::string> PinnedText(const Document& document, const std::vector<Pin>& pins,
                                       const std::vector<std::vector<Digest>>& digests) {
  std::vector<std::pair<size_t, std::string>> edits;
  for (size_t i = 0; i < pins.size(); ++i) {
    const size_t at = OffsetOf(document.text, document.first_line, pins[i].spot);
    std::string list;
    for (const Digest& digest : digests[i]) {
      Append(&list, list.empty() ? "[" : ", ", DigestText(digest));
    }
    edits.emplace_back(at, list + "]");
  }
  // From the end, so that the offsets before it stay.
  std::sort(edits.rbegin(), edits.rend());
  std::string text = document.text;
  for (const auto& [at, list] : edits) {
    const std::string_view rest =
        at == std::string::npos ? std::string_view() : std::string_view(text).substr(at);
    const auto* word = std::find_if(std::begin(kTrue), std::end(kTrue),
                                    [rest](std::string_view w) { return rest.starts_with(w); });
    if (word == std::end(kTrue)) {
      return absl::InvalidArgumentError(
          Cat(document.file, ":", document.first_line,
              ": a `pin: true` of this document is not written so that digests can take its place; "
              "write it as `pin: true`, on one line"));
    }
    text.replace(at, word->size(), list);
  }
  return text;
}

}  // namespace mseg
