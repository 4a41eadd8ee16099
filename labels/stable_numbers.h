// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_STABLE_NUMBERS_H_
#define MSEG_LABELS_STABLE_NUMBERS_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

// Numbers that stay the same from one generation to the next, so that a small change of the policy
// is a small change of the kernel's tables. A thing is numbered by its members, which have names
// that do not change: it keeps the number that the first of them had, unless that is taken.

namespace mseg {

// Where a member's name is long, its hash stands for it: two members with one hash only cost a
// number that changes without need.
uint64_t MemberKey(std::string_view name);
uint64_t MemberKey(std::string_view name, std::string_view part);

// Member -> number of the thing that it belonged to.
using NumberBook = absl::flat_hash_map<uint64_t, uint32_t>;

// One number each, from `first` on, no two the same; numbers that nothing had are the lowest free
// ones. `previous` may be null.
std::vector<uint32_t> AssignNumbers(const std::vector<std::vector<uint64_t>>& members,
                                    const NumberBook* previous, uint32_t first);
// Of things with one member each.
std::vector<uint32_t> AssignNumbers(const std::vector<uint64_t>& members,
                                    const NumberBook* previous, uint32_t first);

}  // namespace mseg

#endif  // MSEG_LABELS_STABLE_NUMBERS_H_
