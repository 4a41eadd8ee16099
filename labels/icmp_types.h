// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ICMP_TYPES_H_
#define MSEG_LABELS_ICMP_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/ast.h"

// Types of ICMP and ICMPv6 (IANA's "ICMP Type Numbers" and "ICMPv6 type Numbers"). They stand where
// ports stand: the service of an ICMP flow is the type of the message that opens it.

namespace mseg {

// `icmp/8`, `icmp/0-18` (IPv4), `icmpv6/128`, or by name for both, `icmp/echo-request`: what stands
// before and behind the slash. InvalidArgument says which names there are.
absl::StatusOr<std::vector<PortRange>> ParseIcmpTypes(uint8_t protocol, std::string_view types);
// `icmp/8`, `icmpv6/200-201`.
std::string IcmpTypesText(uint8_t protocol, uint16_t first, uint16_t last);

std::optional<uint8_t> IcmpProtocol(std::string_view name);  // of `icmp` and `icmpv6`
bool IsIcmp(uint8_t protocol);                               // of either family

// What opens a flow if nothing else is said: an echo request.
uint16_t IcmpEchoRequest(uint8_t protocol);

}  // namespace mseg

#endif  // MSEG_LABELS_ICMP_TYPES_H_
