// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASS_PARTS_H_
#define MSEG_LABELS_CLASS_PARTS_H_

#include <cstdint>
#include <set>
#include <vector>

#include "labels/direction_rules.h"
#include "labels/image.h"
#include "labels/matcher.h"

// Which local classes are one end in a direction, and which have one tail; private to labels/.

namespace mseg {

// Classes that are one end, or have one tail.
struct Part {
  uint32_t number = 0;
  std::vector<uint64_t> members;
};
struct Parts {
  std::vector<Part> ends;
  std::vector<Part> tails;
};

// Tails of both directions share one table: even numbers are egress, odd ones ingress. `previous`
// may be null; parts keep the numbers that their classes had there.
Parts PartsOf(const std::set<uint32_t>& locals, const Signatures& signatures,
              const DirectionShape& shape, mseg_direction direction,
              const GenerationImage* previous);

// Whether the classes of before, which are those of now, are the same ends and tails, too.
bool SameParts(const DirectionShape& was, const DirectionShape& is);
Parts PartsBefore(const GenerationImage& previous, mseg_direction direction);

}  // namespace mseg

#endif  // MSEG_LABELS_CLASS_PARTS_H_
