// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_LINK_H_
#define MSEG_CTL_SELFTEST_LINK_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"

namespace mseg::ctl {

// The wire between the two hosts of `selftest --bypass`: a pair of veth devices of these names.

inline constexpr char kWireDevice[] = "wire0";
// Their numbers.
inline constexpr uint32_t kNearHost = 1;
inline constexpr uint32_t kFarHost = 2;
// Of the option that they carry identities in: not that of a fleet that this host may belong to,
// whose msegd would ask for proofs that are none of its business.
inline constexpr uint16_t kWireExid = 0x7374;
using WireMac = std::array<uint8_t, 6>;
inline constexpr WireMac kNearMac = {2, 0, 0, 0, 0, 1};
inline constexpr WireMac kFarMac = {2, 0, 0, 0, 0, 2};
// Of a network that documents may use and nobody has (RFC 5737).
inline constexpr uint32_t kNearAddress = 0xc0000201;  // 192.0.2.1
inline constexpr uint32_t kFarAddress = 0xc0000202;   // 192.0.2.2
// Behind the near device, but its kernel knows nothing of it: packets are made by hand there.
inline constexpr uint32_t kForgerAddress = 0xc0000203;  // 192.0.2.3

// Joins two network namespaces. It goes when one of them does. Unimplemented: this kernel has no
// such devices, or no sockets that see what passes them.
absl::Status JoinNetworks(int near_netns, int far_netns);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_LINK_H_
