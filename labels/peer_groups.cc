// SPDX-License-Identifier: Apache-2.0
#include "labels/peer_groups.h"

#include <algorithm>
#include <map>

#include "labels/stable_numbers.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr size_t kBits = 64 * MSEG_COARSE_WORDS;
// A coarse rule for single services costs a row for each cell of its end; one for every service
// costs one.
constexpr size_t kPortFactor = 8;
constexpr size_t kBitsOfSelector = 2;  // one for maybe, one for yes

void SetBit(size_t bit, mseg_coarse* coarse) { coarse->bits[bit / 64] |= uint64_t{1} << bit % 64; }

// The heaviest selectors, as many as there are bits for; the others are spelled out.
std::vector<uint32_t> CoarseSelectors(const Program& program, size_t few,
                                      const PeerGroups& groups) {
  // From how many classes on a selector is coarse; none if it names no peer.
  std::vector<size_t> limit(program.selectors.size(), SIZE_MAX);
  auto name = [&](uint32_t peer, uint32_t ports) {
    if (peer == kNone) return;
    limit[peer] = std::min(limit[peer], ports == 0 ? few : kPortFactor * few);
  };
  for (const CompiledRule& rule : program.rules) {
    if (rule.at_to) name(rule.from, rule.ports);
    if (rule.at_from) name(rule.to, rule.ports);
  }
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < program.selectors.size(); ++i) {
    if (groups.classes_of[i].size() > limit[i]) out.push_back(i);
  }
  std::stable_sort(out.begin(), out.end(), [&groups](uint32_t a, uint32_t b) {
    return groups.classes_of[a].size() > groups.classes_of[b].size();
  });
  if (out.size() > kBits / kBitsOfSelector) out.resize(kBits / kBitsOfSelector);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

absl::StatusOr<PeerGroups> BuildPeerGroups(const Program& program, const Signatures& signatures,
                                           const GroupOptions& options,
                                           const GenerationImage* previous, NumberBook* bit_book) {
  PeerGroups out;
  const size_t selectors = program.selectors.size();
  out.classes_of.resize(selectors);
  for (uint32_t cls = 0; cls < signatures.size(); ++cls) {
    if (signatures[cls] == nullptr) continue;
    for (const auto& [selector, tri] : signatures[cls]->selectors) {
      out.classes_of[selector].emplace_back(cls, tri);
    }
  }

  out.coarse.resize(selectors);
  out.mask_of.resize(selectors);
  const std::vector<uint32_t> coarse = CoarseSelectors(program, options.few_classes, out);
  std::vector<std::vector<uint64_t>> names;
  for (const uint32_t selector : coarse) names.push_back({program.selectors[selector].key});
  const std::vector<uint32_t> pairs =
      AssignNumbers(names, previous == nullptr ? nullptr : &previous->bit_book, 0);
  // Numbers kept from before may lie beyond the end when many selectors went.
  const bool dense = std::all_of(pairs.begin(), pairs.end(),
                                 [](uint32_t pair) { return pair < kBits / kBitsOfSelector; });
  std::vector<size_t> first_bit(selectors);
  bit_book->clear();
  for (size_t i = 0; i < coarse.size(); ++i) {
    const uint32_t pair = dense ? pairs[i] : static_cast<uint32_t>(i);
    bit_book->emplace(names[i][0], pair);
    out.coarse[coarse[i]] = true;
    first_bit[coarse[i]] = (kBitsOfSelector * (pair + options.rotation)) % kBits;
    SetBit(first_bit[coarse[i]], &out.mask_of[coarse[i]]);
    SetBit(first_bit[coarse[i]] + 1, &out.mask_of[coarse[i]]);
  }

  std::map<Hits, size_t> groups;  // what the coarse selectors say -> index
  std::vector<const Hits*> meanings;
  std::vector<std::vector<uint64_t>> members;
  for (uint32_t cls = 0; cls < signatures.size(); ++cls) {
    if (signatures[cls] == nullptr) continue;
    Hits hits;
    for (const auto& hit : signatures[cls]->selectors) {
      if (out.coarse[hit.first]) hits.push_back(hit);
    }
    if (hits.empty()) continue;
    const auto [it, added] = groups.emplace(std::move(hits), members.size());
    if (added) {
      members.emplace_back();
      meanings.push_back(&it->first);
    }
    members[it->second].push_back(cls);
  }
  if (members.size() >= MSEG_GROUPS) {
    return absl::ResourceExhaustedError(Cat("more than ", MSEG_GROUPS, " groups are needed"));
  }

  NumberBook book;
  if (previous != nullptr) {
    for (const auto& [cls, entry] : previous->classes) book.emplace(cls, entry.group);
  }
  const std::vector<uint32_t> numbers = AssignNumbers(members, &book, 1);
  out.group_of.resize(signatures.size());
  out.groups_of.resize(selectors);
  out.bits.resize(1);
  for (size_t i = 0; i < members.size(); ++i) {
    const uint32_t group = numbers[i];
    if (out.bits.size() <= group) out.bits.resize(group + 1);
    for (const uint64_t cls : members[i]) out.group_of[cls] = group;
    for (const auto& [selector, tri] : *meanings[i]) {
      out.groups_of[selector].emplace_back(group, tri);
      SetBit(first_bit[selector] + (tri == Tri::kYes ? 1 : 0), &out.bits[group]);
    }
  }
  if (out.bits.size() > MSEG_GROUPS) {
    return absl::ResourceExhaustedError(Cat("more than ", MSEG_GROUPS, " groups are needed"));
  }
  return out;
}

}  // namespace mseg
