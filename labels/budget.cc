// SPDX-License-Identifier: Apache-2.0
#include "labels/budget.h"

#include "labels/text.h"

namespace mseg {
namespace {

// What the kernel spends on one element beside key and value: bucket link, hash and free-list link
// of a hash map; node header and child pointers of an LPM trie.
constexpr uint64_t kHashElement = 56;
constexpr uint64_t kTrieElement = 64;

// Elements come from the allocator's size classes.
uint64_t Allocated(uint64_t bytes) {
  for (const uint64_t size : {64, 96, 128, 192, 256}) {
    if (bytes <= size) return size;
  }
  return bytes;
}

template <typename Key, typename Value>
uint64_t Bytes(const GenerationImage::Table<Key, Value>& table, uint64_t overhead) {
  return table.size() * Allocated(overhead + ((sizeof(Key) + 7) & ~uint64_t{7}) +
                                  ((sizeof(Value) + 7) & ~uint64_t{7}));
}

}  // namespace

void FillBudget(GenerationImage* image) {
  Budget& budget = image->budget;
  budget.rows = image->rows.size();
  budget.identities = image->identities.size();
  budget.entries = image->cgroups.size() + image->exe_classes.size() + image->users.size() +
                   image->identities.size() + image->addresses.size() + image->ports.size() +
                   image->classes.size() + image->groups.size() + image->tails.size() +
                   image->peer_labels.size() + image->peer_exes.size() + image->rows.size();
  const uint64_t side =
      Bytes(image->cgroups, kHashElement) + Bytes(image->exe_classes, kHashElement) +
      Bytes(image->users, kHashElement) + Bytes(image->identities, kHashElement) +
      Bytes(image->peer_labels, kHashElement) + Bytes(image->peer_exes, kHashElement) +
      Bytes(image->rows, kHashElement) + Bytes(image->addresses, kTrieElement);
  // Arrays hold both sides and do not grow.
  budget.kernel_bytes = 2 * side + MSEG_PORT_BLOCKS * sizeof(mseg_port_block) +
                        2 * MSEG_CLASSES * sizeof(mseg_class) +
                        2 * (MSEG_GROUPS + MSEG_TAILS) * sizeof(mseg_coarse);
}

std::string BudgetText(const Budget& budget) {
  return Cat("policies ", budget.policies, ", rules ", budget.rules, ", workloads ",
             budget.workloads, ", classes ", budget.classes, ", port classes ", budget.port_classes,
             ", identities ", budget.identities, ", rows ", budget.rows, ", entries ",
             budget.entries, ", kernel memory ", budget.kernel_bytes / 1024, " KiB");
}

}  // namespace mseg
