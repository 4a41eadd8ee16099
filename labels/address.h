// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ADDRESS_H_
#define MSEG_LABELS_ADDRESS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace mseg {

// 16 bytes in network order, IPv4 as v4-mapped IPv6: the form of the kernel's tables.
using IpAddress = std::array<uint8_t, 16>;

absl::StatusOr<IpAddress> ParseIpAddress(std::string_view text);
bool IsIpv4(const IpAddress& address);
// 127.0.0.0/8 or ::1
bool IsLoopback(const IpAddress& address);
std::string IpAddressText(const IpAddress& address);

// A prefix. `bits` counts all 128 (IPv4: 96 + n). The families are apart: `::/0` holds no IPv4
// address although its bytes would.
struct Cidr {
  IpAddress address{};
  uint8_t bits = 0;
  bool ipv4 = false;

  auto operator<=>(const Cidr&) const = default;
  bool Contains(const IpAddress& other) const;
  bool Contains(const Cidr& other) const;
  // The prefix of `length` bits, no more than `bits`, that holds this one.
  Cidr Shortened(int length) const;
  int ShortestOfFamily() const;  // the length that holds all of its family

  template <typename H>
  friend H AbslHashValue(H state, const Cidr& cidr) {
    return H::combine(std::move(state), cidr.address, cidr.bits, cidr.ipv4);
  }
};

// Does one of `prefixes`, which are sorted, hold `region`?
bool AnyContains(const std::vector<Cidr>& prefixes, const Cidr& region);

// `10.0.0.0/8`, `2001:db8::/32`, or a bare address. Bits set beyond the prefix are refused, because
// nobody can tell which of the two numbers was meant.
absl::StatusOr<Cidr> ParseCidr(std::string_view text);
std::string CidrText(const Cidr& cidr);

}  // namespace mseg

#endif  // MSEG_LABELS_ADDRESS_H_
