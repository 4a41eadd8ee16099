// SPDX-License-Identifier: Apache-2.0
#include "labels/failsafe.h"

#include <netinet/in.h>

#include "labels/icmp_types.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr uint16_t kSsh = 22;

PortRange Ports(uint8_t protocol, uint16_t first, uint16_t last) {
  return {.kind = PortRange::Kind::kPorts, .protocol = protocol, .first = first, .last = last};
}

}  // namespace

std::vector<FailsafeEntry> DefaultFailsafe() {
  // Client and server of DHCP, then of DHCPv6: a host may be either.
  const std::vector<PortRange> dhcp = {Ports(IPPROTO_UDP, 67, 68), Ports(IPPROTO_UDP, 546, 547)};
  return {{.direction = MSEG_INGRESS, .ports = {Ports(IPPROTO_TCP, kSsh, kSsh)}, .exe = ""},
          {.direction = MSEG_INGRESS, .ports = dhcp, .exe = ""},
          {.direction = MSEG_EGRESS, .ports = dhcp, .exe = ""}};
}

std::string PortRangeText(const PortRange& range) {
  if (range.kind == PortRange::Kind::kAny) return "any";
  if (range.kind == PortRange::Kind::kProtocol) {
    return IsIcmp(range.protocol) ? std::string("icmp") : Cat("protocol ", range.protocol);
  }
  if (IsIcmp(range.protocol)) {
    return IcmpTypesText(range.protocol, range.first, range.last);
  }
  const char* protocol = range.protocol == IPPROTO_TCP   ? "tcp/"
                         : range.protocol == IPPROTO_UDP ? "udp/"
                                                         : "sctp/";
  if (range.first == range.last) return Cat(protocol, range.first);
  return Cat(protocol, range.first, "-", range.last);
}

}  // namespace mseg
