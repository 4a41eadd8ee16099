// SPDX-License-Identifier: Apache-2.0
#include "labels/class_parts.h"

#include <map>
#include <utility>

#include "labels/stable_numbers.h"

namespace mseg {
namespace {

// Classes by what they have in common.
struct Partition {
  std::map<Signature, size_t> parts;
  std::vector<std::vector<uint64_t>> members;
  void Add(Signature common, uint32_t cls) {
    const auto [it, added] = parts.emplace(std::move(common), members.size());
    if (added) members.emplace_back();
    members[it->second].push_back(cls);
  }
};

Signature Restricted(const Signature& signature, const std::vector<bool>& to) {
  Signature out;
  out.state = signature.state;
  for (const auto& hit : signature.selectors) {
    if (to[hit.first]) out.selectors.push_back(hit);
  }
  return out;
}

}  // namespace

Parts PartsOf(const std::set<uint32_t>& locals, const Signatures& signatures,
              const DirectionShape& shape, mseg_direction direction,
              const GenerationImage* previous) {
  Partition ends;
  Partition tails;
  for (const uint32_t cls : locals) {
    ends.Add(Restricted(*signatures[cls], shape.for_end), cls);
    tails.Add(Restricted(*signatures[cls], shape.for_tail), cls);
  }
  NumberBook end_book;
  NumberBook tail_book;
  if (previous != nullptr) {
    for (const auto& [cls, entry] : previous->classes) {
      end_book.emplace(cls, entry.end[direction]);
      tail_book.emplace(cls, entry.tail[direction] / 2);
    }
  }
  const std::vector<uint32_t> end_numbers = AssignNumbers(ends.members, &end_book, 1);
  const std::vector<uint32_t> tail_numbers = AssignNumbers(tails.members, &tail_book, 1);
  Parts parts;
  for (size_t i = 0; i < ends.members.size(); ++i) {
    parts.ends.push_back({end_numbers[i], std::move(ends.members[i])});
  }
  for (size_t i = 0; i < tails.members.size(); ++i) {
    const uint32_t number = 2 * tail_numbers[i] + static_cast<uint32_t>(direction);
    parts.tails.push_back({number, std::move(tails.members[i])});
  }
  return parts;
}

bool SameParts(const DirectionShape& was, const DirectionShape& is) {
  return &is == &was || (is.for_end == was.for_end && is.for_tail == was.for_tail);
}

Parts PartsBefore(const GenerationImage& previous, mseg_direction direction) {
  Parts parts;
  std::vector<size_t> ends;  // place in the list by number, from 1; 0: none yet
  std::vector<size_t> tails;
  auto add = [](uint32_t number, uint32_t cls, auto* places, std::vector<Part>* list) {
    if (number >= places->size()) places->resize(2 * size_t{number} + 1);
    size_t& place = (*places)[number];
    if (place == 0) {
      list->push_back({number, {}});
      place = list->size();
    }
    (*list)[place - 1].members.push_back(cls);
  };
  for (const auto& [cls, entry] : previous.classes) {
    if (entry.end[direction] == 0) continue;  // a peer only
    add(entry.end[direction], cls, &ends, &parts.ends);
    add(entry.tail[direction], cls, &tails, &parts.tails);
  }
  return parts;
}

}  // namespace mseg
