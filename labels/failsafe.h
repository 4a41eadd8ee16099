// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_FAILSAFE_H_
#define MSEG_LABELS_FAILSAFE_H_

#include <string>
#include <vector>

#include "labels/ast.h"
#include "mseg/abi.h"

namespace mseg {

// What no policy can cut: connections to these services, judged at this end in this direction, of
// every process or of one executable. From the daemon's configuration, never from a document.
struct FailsafeEntry {
  mseg_direction direction = MSEG_INGRESS;
  std::vector<PortRange> ports;  // not empty, and never `any` of every process
  std::string exe;               // absolute path, no globs; empty: every process
  bool operator==(const FailsafeEntry&) const = default;
};

// In force unless the configuration says otherwise: ssh to this host, and DHCP in both directions.
std::vector<FailsafeEntry> DefaultFailsafe();

// As a document would have it: `tcp/22`, `udp/67-68`, `icmp`, `any`.
std::string PortRangeText(const PortRange& range);

}  // namespace mseg

#endif  // MSEG_LABELS_FAILSAFE_H_
