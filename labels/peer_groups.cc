// SPDX-License-Identifier: Apache-2.0
#include "labels/peer_groups.h"

#include <algorithm>
#include <array>
#include <map>

#include "absl/container/flat_hash_set.h"
#include "labels/stable_numbers.h"
#include "labels/text.h"
#include "labels/workings.h"

namespace mseg {
namespace {

constexpr size_t kBits = 64 * MSEG_COARSE_WORDS;
// A coarse rule for single services costs a row for each cell of its end; one for every service
// costs one.
constexpr size_t kPortFactor = 8;
constexpr size_t kBitsOfSelector = 2;  // one for maybe, one for yes

void SetBit(size_t bit, mseg_coarse* coarse) { coarse->bits[bit / 64] |= uint64_t{1} << bit % 64; }

size_t CountClasses(const PeerGroups& groups, uint32_t selector) {
  return groups.classes_of[selector].size() +
         groups.wide_classes_of[groups.wide_group_of[selector]].size();
}

// The classes that most selectors match. Not all that are wide: each costs a place in every list.
std::vector<uint32_t> WideClasses(const Signatures& signatures, size_t limit) {
  constexpr size_t kMost = 64;
  std::vector<uint32_t> wide;
  for (uint32_t cls = 0; cls < signatures.size(); ++cls) {
    if (signatures[cls] != nullptr && signatures[cls]->selectors.size() > limit)
      wide.push_back(cls);
  }
  std::stable_sort(wide.begin(), wide.end(), [&signatures](uint32_t a, uint32_t b) {
    return signatures[a]->selectors.size() > signatures[b]->selectors.size();
  });
  if (wide.size() > kMost) wide.resize(kMost);
  return wide;
}

// A tree of groups of selectors: each wide class splits every leaf by what they say of it.
struct WideSplit {
  uint32_t parent = 0;
  std::pair<uint32_t, Tri> answer;
};

void FillWideGroups(const Signatures& signatures, const std::vector<uint32_t>& wide,
                    PeerGroups* groups) {
  std::vector<WideSplit> splits(1);  // [0] is those that no wide class matched yet
  std::vector<uint32_t> leaf_of(groups->wide_group_of.size());
  for (const uint32_t cls : wide) {
    std::vector<std::array<uint32_t, 3>> into(splits.size());  // by leaf, then by answer
    for (const auto& [selector, tri] : signatures[cls]->selectors) {
      uint32_t& leaf = into[leaf_of[selector]][static_cast<size_t>(tri)];
      if (leaf == 0) {
        leaf = static_cast<uint32_t>(splits.size());
        splits.push_back({.parent = leaf_of[selector], .answer = {cls, tri}});
      }
      leaf_of[selector] = leaf;
    }
  }
  groups->wide_classes_of.resize(1);
  std::vector<uint32_t> number_of(splits.size());
  for (size_t selector = 0; selector < leaf_of.size(); ++selector) {
    const uint32_t leaf = leaf_of[selector];
    if (leaf != 0 && number_of[leaf] == 0) {
      number_of[leaf] = static_cast<uint32_t>(groups->wide_classes_of.size());
      auto& classes = groups->wide_classes_of.emplace_back();
      for (uint32_t at = leaf; at != 0; at = splits[at].parent) {
        const auto& [cls, tri] = splits[at].answer;
        classes.emplace_back(cls, tri);
        groups->groups_of_wide[cls].emplace_back(number_of[leaf], tri);
      }
    }
    groups->wide_group_of[selector] = number_of[leaf];
  }
  groups->selectors_of_wide_group.resize(groups->wide_classes_of.size());
  for (uint32_t selector = 0; selector < leaf_of.size(); ++selector) {
    groups->selectors_of_wide_group[groups->wide_group_of[selector]].push_back(selector);
  }
}

void FillClasses(const Signatures& signatures, size_t limit, PeerGroups* groups) {
  const std::vector<uint32_t> wide = WideClasses(signatures, limit);
  const absl::flat_hash_set<uint32_t> is_wide(wide.begin(), wide.end());
  for (uint32_t cls = 0; cls < signatures.size(); ++cls) {
    if (signatures[cls] == nullptr || is_wide.contains(cls)) continue;
    for (const auto& [selector, tri] : signatures[cls]->selectors) {
      groups->classes_of[selector].emplace_back(cls, tri);
    }
  }
  FillWideGroups(signatures, wide, groups);
}

// The heaviest selectors, as many as there are bits for; the others are spelled out. Heaviest
// first: where no number is taken yet, these have the word of bits that is read first (mseg_class).
std::vector<uint32_t> CoarseSelectors(const Program& program, size_t few,
                                      const PeerGroups& groups) {
  // From how many classes on a selector is coarse; none if it names no peer.
  std::vector<size_t> limit(program.vocabulary->selectors.size(), SIZE_MAX);
  auto name = [&](uint32_t peer, uint32_t ports) {
    if (peer == kNone) return;
    limit[peer] = std::min(limit[peer], ports == 0 ? few : kPortFactor * few);
  };
  for (const CompiledRule& rule : program.rules) {
    if (rule.at_to) name(rule.from, rule.ports);
    if (rule.at_from) name(rule.to, rule.ports);
  }
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < program.vocabulary->selectors.size(); ++i) {
    if (CountClasses(groups, i) > limit[i]) out.push_back(i);
  }
  // By name where they weigh the same: their numbers may come from a program long before.
  const auto by_name = [&program](uint32_t a, uint32_t b) {
    return program.vocabulary->selectors[a]->name < program.vocabulary->selectors[b]->name;
  };
  std::sort(out.begin(), out.end(), by_name);
  std::stable_sort(out.begin(), out.end(), [&groups](uint32_t a, uint32_t b) {
    return CountClasses(groups, a) > CountClasses(groups, b);
  });
  if (out.size() > kBits / kBitsOfSelector) out.resize(kBits / kBitsOfSelector);
  return out;
}

}  // namespace

absl::StatusOr<PeerGroups> BuildPeerGroups(const Program& program, const Signatures& signatures,
                                           const GroupOptions& options,
                                           const GenerationImage* previous, NumberBook* bit_book) {
  PeerGroups out;
  out.options = options;
  const size_t selectors = program.vocabulary->selectors.size();
  out.classes_of.resize(selectors);
  out.wide_group_of.resize(selectors);
  FillClasses(signatures, options.wide, &out);

  out.coarse.resize(selectors);
  out.mask_of.resize(selectors);
  out.coarse_selectors = CoarseSelectors(program, options.few_classes, out);
  const std::vector<uint32_t>& coarse = out.coarse_selectors;
  std::vector<std::vector<uint64_t>> names;
  for (const uint32_t selector : coarse)
    names.push_back({program.vocabulary->selectors[selector]->key});
  const std::vector<uint32_t> pairs =
      AssignNumbers(names, previous == nullptr ? nullptr : &previous->workings->bit_book, 0);
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

bool SameGroups(const PeerGroups& groups, const Program& program, const GroupOptions& options) {
  if (groups.options.few_classes != options.few_classes || groups.options.wide != options.wide) {
    return false;
  }
  // Rules that were remade in their places weigh what they weighed.
  return program.remade.has_value() ||
         groups.coarse_selectors == CoarseSelectors(program, options.few_classes, groups);
}

}  // namespace mseg
