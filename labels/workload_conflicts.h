// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_WORKLOAD_CONFLICTS_H_
#define MSEG_LABELS_WORKLOAD_CONFLICTS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "labels/ast.h"

namespace mseg {

// Pairs of Workloads that give one key two values and always apply together: one matches whatever
// the other matches, at the same level. Indices into `workloads`, the later one second.
std::vector<std::pair<size_t, size_t>> FindWorkloadConflicts(
    const std::vector<const Workload*>& workloads);

// The first key that both have with different values; empty if there is none.
std::string_view DifferingKey(const LabelSet& a, const LabelSet& b);

}  // namespace mseg

#endif  // MSEG_LABELS_WORKLOAD_CONFLICTS_H_
