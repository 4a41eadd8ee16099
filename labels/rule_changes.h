// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_RULE_CHANGES_H_
#define MSEG_LABELS_RULE_CHANGES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "labels/workings.h"

namespace mseg {

// Which ends have rules that differ from those of the image before; private to labels/.
struct RuleChanges {
  // Of one direction, by the selector of the end that judges: where its own rows differ, and where
  // those of its tail do, which are the rules for any peer and for coarse ones.
  struct Direction {
    bool any_end = false;             // a rule that counts at every end
    std::vector<uint32_t> selectors;  // sorted, each once
    bool any_tail = false;
    std::vector<uint32_t> tail_selectors;
    // What the rules at `any_end` and `selectors` speak of: selectors of peers, and port classes.
    std::vector<uint32_t> peers;
    std::vector<uint16_t> ports;
    bool every_port = false;  // some of them speak of all
  };
  Direction directions[2];  // by enum mseg_direction
};

// Nothing if the defaults differ, too. Both programs must have one vocabulary, and `groups` must be
// those of both.
std::optional<RuleChanges> FindRuleChanges(const Workings& before, const Program& program,
                                           const PortClasses& ports, const PeerGroups& groups);

}  // namespace mseg

#endif  // MSEG_LABELS_RULE_CHANGES_H_
