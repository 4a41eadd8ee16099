// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_PEER_GROUPS_H_
#define MSEG_LABELS_PEER_GROUPS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/image.h"
#include "labels/matcher.h"
#include "labels/program.h"

namespace mseg {

// Classes by number, as ClassRegistry gives them: null where no class has the number.
using Signatures = std::vector<const Signature*>;

// Which classes each selector matches, and which selectors are coarse: those that some rule names
// as a peer and that match many classes. What the coarse selectors say of a class is its group, a
// bit for each of them and each answer but no.
struct PeerGroups {
  using Members = std::vector<std::pair<uint32_t, Tri>>;

  std::vector<Members> classes_of;   // by selector
  std::vector<Members> groups_of;    // by selector, coarse ones only
  std::vector<bool> coarse;          // by selector
  std::vector<uint32_t> group_of;    // by class
  std::vector<mseg_coarse> bits;     // by group; [0] has none
  std::vector<mseg_coarse> mask_of;  // by selector: both its bits
};

struct GroupOptions {
  size_t few_classes = 16;  // a selector that matches more is coarse (peer_groups.cc)
  uint32_t rotation = 0;    // another choice of bits
};

// `previous` may be null; groups keep the numbers that their classes had there, and selectors their
// bits. ResourceExhausted if there are more groups than the kernel's table holds.
absl::StatusOr<PeerGroups> BuildPeerGroups(const Program& program, const Signatures& signatures,
                                           const GroupOptions& options,
                                           const GenerationImage* previous, NumberBook* bit_book);

}  // namespace mseg

#endif  // MSEG_LABELS_PEER_GROUPS_H_
