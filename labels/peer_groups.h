// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_PEER_GROUPS_H_
#define MSEG_LABELS_PEER_GROUPS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "labels/image.h"
#include "labels/matcher.h"
#include "labels/program.h"
#include "labels/stable_numbers.h"

namespace mseg {

// Classes by number, as ClassRegistry gives them: null where no class has the number.
using Signatures = std::vector<const Signature*>;

struct GroupOptions {
  size_t few_classes = 16;  // a selector that matches more is coarse (peer_groups.cc)
  size_t wide = 256;        // a class that more selectors match is wide
  uint32_t rotation = 0;    // another choice of bits
};

// Which classes each selector matches, and which selectors are coarse: those that some rule names
// as a peer and that match many classes. What the coarse selectors say of a class is its group, a
// bit for each of them and each answer but no.
struct PeerGroups {
  using Members = std::vector<std::pair<uint32_t, Tri>>;

  std::vector<Members> classes_of;  // by selector, without the wide ones
  // Wide classes are matched by very many selectors, which differ little in what they say of them:
  // those that say the same of all wide classes are a group. 0 is those that match none.
  std::vector<uint32_t> wide_group_of;   // by selector
  std::vector<Members> wide_classes_of;  // by wide group
  std::vector<std::vector<uint32_t>> selectors_of_wide_group;
  absl::flat_hash_map<uint32_t, Hits> groups_of_wide;  // by wide class: sorted by group
  std::vector<Members> groups_of;                      // by selector, coarse ones only
  std::vector<bool> coarse;                            // by selector
  std::vector<uint32_t> group_of;                      // by class
  std::vector<mseg_coarse> bits;                       // by group; [0] has none
  std::vector<mseg_coarse> mask_of;                    // by selector: both its bits

  // What they were made with, beside the classes.
  GroupOptions options;
  std::vector<uint32_t> coarse_selectors;  // the heaviest first
};

// `previous` may be null; groups keep the numbers that their classes had there, and selectors their
// bits. ResourceExhausted if there are more groups than the kernel's table holds.
absl::StatusOr<PeerGroups> BuildPeerGroups(const Program& program, const Signatures& signatures,
                                           const GroupOptions& options,
                                           const GenerationImage* previous, NumberBook* bit_book);

// Whether the rules of `program`, over the very classes of `groups`, would give these groups again,
// but for the choice of bits. `groups` must be those of the program before.
bool SameGroups(const PeerGroups& groups, const Program& program, const GroupOptions& options);

}  // namespace mseg

#endif  // MSEG_LABELS_PEER_GROUPS_H_
