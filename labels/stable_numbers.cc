// SPDX-License-Identifier: Apache-2.0
#include "labels/stable_numbers.h"

#include <array>

#include "absl/hash/hash.h"

namespace mseg {

namespace {

const std::vector<uint64_t>& MembersOf(const std::vector<uint64_t>& members) { return members; }
std::array<uint64_t, 1> MembersOf(uint64_t member) { return {member}; }

template <typename Thing>
std::vector<uint32_t> Assign(const std::vector<Thing>& things, const NumberBook* previous,
                             uint32_t first) {
  std::vector<uint32_t> numbers(things.size(), first);
  std::vector<bool> numbered(things.size());
  std::vector<bool> taken(first + things.size());
  const auto take = [&taken](uint32_t number) {
    if (number >= taken.size()) taken.resize(number + 1);
    if (taken[number]) return false;
    taken[number] = true;
    return true;
  };
  for (size_t i = 0; previous != nullptr && i < things.size(); ++i) {
    for (const uint64_t member : MembersOf(things[i])) {
      const auto it = previous->find(member);
      if (it == previous->end() || it->second < first || !take(it->second)) continue;
      numbers[i] = it->second;
      numbered[i] = true;
      break;
    }
  }
  uint32_t next = first;
  for (size_t i = 0; i < things.size(); ++i) {
    if (numbered[i]) continue;
    while (next < taken.size() && taken[next]) ++next;
    numbers[i] = next++;
  }
  return numbers;
}

}  // namespace

uint64_t MemberKey(std::string_view name) { return absl::HashOf(name); }
uint64_t MemberKey(std::string_view name, std::string_view part) {
  return absl::HashOf(name, part);
}

std::vector<uint32_t> AssignNumbers(const std::vector<std::vector<uint64_t>>& members,
                                    const NumberBook* previous, uint32_t first) {
  return Assign(members, previous, first);
}

std::vector<uint32_t> AssignNumbers(const std::vector<uint64_t>& members,
                                    const NumberBook* previous, uint32_t first) {
  return Assign(members, previous, first);
}

}  // namespace mseg
