// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_PORT_CLASSES_H_
#define MSEG_LABELS_PORT_CLASSES_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/program.h"

namespace mseg {

// Ports that no rule tells apart share a class; class 0 is the ports that no rule names.
struct PortClasses {
  // {port space << 16 | port} -> class, without class 0: the form of the image.
  std::vector<std::pair<uint32_t, uint16_t>> table;
  // By port set of the program: its classes, sorted. Empty for set 0, which is every port.
  std::vector<std::vector<uint16_t>> of_set;
  uint32_t count = 1;  // class 0 included
};
// `previous` may be null; classes keep the numbers that their ports had there.
absl::StatusOr<PortClasses> BuildPortClasses(const Program& program,
                                             const GenerationImage* previous);

}  // namespace mseg

#endif  // MSEG_LABELS_PORT_CLASSES_H_
