// SPDX-License-Identifier: Apache-2.0
#include "labels/icmp_types.h"

#include <netinet/in.h>

#include <optional>

#include "labels/text.h"
#include "mseg/decide.h"

namespace mseg {
namespace {

constexpr int kNoType = -1;
struct IcmpType {
  std::string_view name;
  int v4;
  int v6;
};
constexpr IcmpType kTypes[] = {
    {"echo-request", 8, 128},
    {"echo-reply", 0, 129},
    {"destination-unreachable", 3, 1},
    {"packet-too-big", kNoType, 2},
    {"time-exceeded", 11, 3},
    {"parameter-problem", 12, 4},
    {"redirect", 5, 137},
    {"router-solicitation", 10, 133},
    {"router-advertisement", 9, 134},
    {"neighbor-solicitation", kNoType, 135},
    {"neighbor-advertisement", kNoType, 136},
    {"timestamp-request", 13, kNoType},
    {"timestamp-reply", 14, kNoType},
    {"extended-echo-request", 42, 160},
    {"extended-echo-reply", 43, 161},
};

PortRange Types(uint8_t protocol, uint32_t first, uint32_t last) {
  return {.kind = PortRange::Kind::kPorts,
          .protocol = protocol,
          .first = static_cast<uint16_t>(first),
          .last = static_cast<uint16_t>(last)};
}

std::string Names() {
  std::string out;
  for (const IcmpType& type : kTypes) Append(&out, out.empty() ? "" : ", ", type.name);
  return out;
}

std::optional<uint32_t> TypeNumber(std::string_view text) {
  const std::optional<uint32_t> number = ParseDecimal(text);
  return number && *number <= MSEG_ICMP_TYPE_MAX ? number : std::nullopt;
}

}  // namespace

absl::StatusOr<std::vector<PortRange>> ParseIcmpTypes(uint8_t protocol, std::string_view types) {
  for (const IcmpType& type : kTypes) {
    if (type.name != types || protocol != IPPROTO_ICMP) continue;
    std::vector<PortRange> out;
    for (const auto& [family, one] : {std::pair<uint8_t, int>{IPPROTO_ICMP, type.v4},
                                      std::pair<uint8_t, int>{IPPROTO_ICMPV6, type.v6}}) {
      if (one == kNoType) continue;
      out.push_back(Types(family, static_cast<uint32_t>(one), static_cast<uint32_t>(one)));
    }
    return out;
  }
  const size_t dash = types.find('-');
  const std::optional<uint32_t> first = TypeNumber(types.substr(0, dash));
  const std::optional<uint32_t> last =
      dash == std::string_view::npos ? first : TypeNumber(types.substr(dash + 1));
  const std::string text =
      Cat("`", protocol == IPPROTO_ICMP ? "icmp/" : "icmpv6/", types.substr(0, 80), "`");
  if (!first || !last) {
    return absl::InvalidArgumentError(
        Cat(text, ": a type is a number from 0 to 255, or behind icmp/ for both families one of ",
            Names()));
  }
  if (*first > *last) {
    return absl::InvalidArgumentError(
        Cat(text, ": the range is empty; write the lower type first"));
  }
  return std::vector<PortRange>{Types(protocol, *first, *last)};
}

std::string IcmpTypesText(uint8_t protocol, uint16_t first, uint16_t last) {
  const std::string text = Cat(protocol == IPPROTO_ICMP ? "icmp/" : "icmpv6/", first);
  return first == last ? text : Cat(text, "-", last);
}

std::optional<uint8_t> IcmpProtocol(std::string_view name) {
  if (name == "icmp") return IPPROTO_ICMP;
  if (name == "icmpv6") return IPPROTO_ICMPV6;
  return std::nullopt;
}

bool IsIcmp(uint8_t protocol) { return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6; }

uint16_t IcmpEchoRequest(uint8_t protocol) {
  return protocol == IPPROTO_ICMP ? MSEG_ICMP_ECHO : MSEG_ICMPV6_ECHO;
}

}  // namespace mseg
