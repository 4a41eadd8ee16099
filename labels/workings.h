// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_WORKINGS_H_
#define MSEG_LABELS_WORKINGS_H_

#include <memory>
#include <vector>

#include "labels/direction_rules.h"
#include "labels/peer_groups.h"
#include "labels/port_classes.h"
#include "labels/program.h"
#include "labels/stable_numbers.h"

namespace mseg {

// What an image was made from on the way, for the compiler of the next one: what has the same
// inputs there is not made again. Private to labels/.
struct Workings {
  Program program;
  PortClasses ports;
  std::shared_ptr<const PeerGroups> groups;
  std::shared_ptr<const DirectionShape> shapes[2];  // by direction
  // Who had which number, for the next generation to keep.
  std::shared_ptr<const NumberBook> rule_book;
  NumberBook bit_book;
};

}  // namespace mseg

#endif  // MSEG_LABELS_WORKINGS_H_
