// SPDX-License-Identifier: Apache-2.0
#include "labels/class_words.h"

#include <algorithm>
#include <iterator>

#include "absl/container/flat_hash_map.h"
#include "mseg/decide.h"

namespace mseg {
namespace {

bool IsFar(const mseg_coarse& coarse) {
  return std::any_of(std::begin(coarse.bits) + 1, std::end(coarse.bits),
                     [](uint64_t word) { return word != 0; });
}

}  // namespace

void SetHints(const GenerationImage::Table<mseg_row_key, mseg_row>& rows,
              std::vector<mseg_class>* classes) {
  absl::flat_hash_map<uint32_t, uint32_t> peers[2];  // by end
  absl::flat_hash_map<uint32_t, uint32_t> ports[2];  // by tail
  for (const auto& [key, row] : rows) {
    if ((key.peer & MSEG_PEER_CELL) == 0) {
      peers[key.direction][key.local] |= mseg_hint(key.peer);
    } else if (key.port != 0) {
      ports[key.direction][key.local] |= mseg_hint(key.port);
    }
  }
  for (mseg_class& cls : *classes) {
    for (int direction = 0; direction < 2; ++direction) {
      const auto word = [](const auto& words, uint32_t number) {
        const auto it = words.find(number);
        return it == words.end() ? 0 : it->second;
      };
      if (cls.end[direction] == 0) continue;  // a peer only
      cls.peers[direction] = word(peers[direction], cls.end[direction]);
      cls.ports[direction] = word(ports[direction], cls.tail[direction]);
    }
  }
}

void FillNearBits(GenerationImage* image) {
  const absl::flat_hash_map<uint32_t, mseg_coarse> groups(image->groups.begin(),
                                                          image->groups.end());
  const absl::flat_hash_map<uint32_t, mseg_coarse> tails(image->tails.begin(), image->tails.end());
  for (auto& [number, cls] : image->classes) {
    cls.far = 0;
    cls.bits = 0;
    if (const auto group = groups.find(cls.group); group != groups.end()) {
      cls.bits = group->second.bits[0];
      if (IsFar(group->second)) cls.far |= MSEG_FAR_GROUP;
    }
    for (const int direction : {MSEG_EGRESS, MSEG_INGRESS}) {
      cls.mask[direction] = 0;
      const auto tail = tails.find(cls.tail[direction]);
      if (tail == tails.end()) continue;
      cls.mask[direction] = tail->second.bits[0];
      if (IsFar(tail->second)) cls.far |= static_cast<uint8_t>(1U << direction);
    }
  }
}

}  // namespace mseg
