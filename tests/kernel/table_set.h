// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_KERNEL_TABLE_SET_H_
#define MSEG_TESTS_KERNEL_TABLE_SET_H_

#include <algorithm>
#include <cstring>

#include "labels/image.h"
#include "loader/policy_tables.h"

namespace mseg::testing {

// An image as the loader takes it.
inline TableSet TablesOf(const GenerationImage& image) {
  return TableSet{.cgroups = image.cgroups,
                  .exe_classes = image.exe_classes,
                  .users = image.users,
                  .identities = image.identities,
                  .peer_labels = image.peer_labels,
                  .peer_exes = image.peer_exes,
                  .addresses = image.addresses,
                  .ports = image.ports,
                  .classes = image.classes,
                  .groups = image.groups,
                  .tails = image.tails,
                  .rows = image.rows};
}

// Sorts by key bytes and drops double keys, as images promise.
template <typename Key, typename Value>
void Normalize(std::vector<std::pair<Key, Value>>* table) {
  const auto less = [](const auto& a, const auto& b) {
    return std::memcmp(&a.first, &b.first, sizeof(Key)) < 0;
  };
  const auto same = [](const auto& a, const auto& b) {
    return std::memcmp(&a.first, &b.first, sizeof(Key)) == 0;
  };
  std::stable_sort(table->begin(), table->end(), less);
  table->erase(std::unique(table->begin(), table->end(), same), table->end());
}

}  // namespace mseg::testing

#endif  // MSEG_TESTS_KERNEL_TABLE_SET_H_
