// SPDX-License-Identifier: Apache-2.0
#include "labels/stable_numbers.h"

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"

namespace mseg {

uint64_t MemberKey(std::string_view name) { return absl::HashOf(name); }

std::vector<uint32_t> AssignNumbers(const std::vector<std::vector<uint64_t>>& members,
                                    const NumberBook* previous, uint32_t first) {
  std::vector<uint32_t> numbers(members.size(), first);
  std::vector<bool> numbered(members.size());
  absl::flat_hash_set<uint32_t> taken;
  for (size_t i = 0; previous != nullptr && i < members.size(); ++i) {
    for (const uint64_t member : members[i]) {
      const auto it = previous->find(member);
      if (it == previous->end() || it->second < first || !taken.insert(it->second).second) continue;
      numbers[i] = it->second;
      numbered[i] = true;
      break;
    }
  }
  uint32_t next = first;
  for (size_t i = 0; i < members.size(); ++i) {
    if (numbered[i]) continue;
    while (taken.contains(next)) ++next;
    numbers[i] = next++;
  }
  return numbers;
}

}  // namespace mseg
