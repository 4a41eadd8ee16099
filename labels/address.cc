// SPDX-License-Identifier: Apache-2.0
#include "labels/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "labels/text.h"

namespace mseg {
namespace {

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
constexpr int kMappedBits = 96;

bool SameBits(const IpAddress& a, const IpAddress& b, int bits) {
  const int whole = bits / 8;
  if (!std::equal(a.begin(), a.begin() + whole, b.begin())) return false;
  return bits % 8 == 0 || ((a[whole] ^ b[whole]) & (0xFF00 >> bits % 8) & 0xFF) == 0;
}

}  // namespace

bool IsIpv4(const IpAddress& address) {
  return std::equal(std::begin(kMappedPrefix), std::end(kMappedPrefix), address.begin());
}

bool IsLoopback(const IpAddress& address) {
  if (IsIpv4(address)) return address[12] == 127;
  return std::all_of(address.begin(), address.end() - 1, [](uint8_t b) { return b == 0; }) &&
         address[15] == 1;
}

absl::StatusOr<IpAddress> ParseIpAddress(std::string_view text) {
  const std::string copy(text.substr(0, INET6_ADDRSTRLEN));
  IpAddress address{};
  if (text.size() == copy.size() && copy.find('\0') == std::string::npos) {
    if (inet_pton(AF_INET6, copy.c_str(), address.data()) == 1) return address;
    std::copy(std::begin(kMappedPrefix), std::end(kMappedPrefix), address.begin());
    if (inet_pton(AF_INET, copy.c_str(), address.data() + sizeof(kMappedPrefix)) == 1) {
      return address;
    }
  }
  return absl::InvalidArgumentError(Cat("`", text, "` is not an IP address"));
}

std::string IpAddressText(const IpAddress& address) {
  char buffer[INET6_ADDRSTRLEN] = {};
  if (IsIpv4(address)) {
    inet_ntop(AF_INET, address.data() + sizeof(kMappedPrefix), buffer, sizeof(buffer));
  } else {
    inet_ntop(AF_INET6, address.data(), buffer, sizeof(buffer));
  }
  return buffer;
}

bool Cidr::Contains(const IpAddress& other) const {
  return IsIpv4(other) == ipv4 && SameBits(other, address, bits);
}

bool Cidr::Contains(const Cidr& other) const {
  return other.ipv4 == ipv4 && bits <= other.bits && SameBits(other.address, address, bits);
}

Cidr Cidr::Shortened(int length) const {
  Cidr out{.address = {}, .bits = static_cast<uint8_t>(length), .ipv4 = ipv4};
  for (int i = 0; i < 16; ++i) {
    const int left = std::clamp(length - 8 * i, 0, 8);
    out.address[i] = static_cast<uint8_t>(address[i] & (0xFF00 >> left));
  }
  return out;
}

int Cidr::ShortestOfFamily() const { return ipv4 ? kMappedBits : 0; }

bool AnyContains(const std::vector<Cidr>& prefixes, const Cidr& region) {
  constexpr size_t kFew = 16;
  if (prefixes.size() <= kFew) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&region](const Cidr& prefix) { return prefix.Contains(region); });
  }
  for (int bits = region.ShortestOfFamily(); bits <= region.bits; ++bits) {
    if (std::binary_search(prefixes.begin(), prefixes.end(), region.Shortened(bits))) return true;
  }
  return false;
}

absl::StatusOr<Cidr> ParseCidr(std::string_view text) {
  const size_t slash = text.find('/');
  auto address = ParseIpAddress(text.substr(0, slash));
  if (!address.ok()) {
    return absl::InvalidArgumentError(
        Cat("`", text, "` is neither a prefix such as 10.0.0.0/8 nor an IP address"));
  }
  // `::ffff:10.0.0.0/104` counts its bits as IPv6 although it names IPv4 addresses.
  const bool dotted = text.substr(0, slash).find(':') == std::string_view::npos;
  Cidr cidr{.address = *address, .bits = 128, .ipv4 = IsIpv4(*address)};
  if (slash != std::string_view::npos) {
    const std::optional<uint32_t> bits = ParseDecimal(text.substr(slash + 1));
    const uint32_t most = dotted ? 32 : 128;
    if (!bits || *bits > most) {
      return absl::InvalidArgumentError(
          Cat("`", text, "`: the prefix length must be a number from 0 to ", most));
    }
    cidr.bits = static_cast<uint8_t>(*bits + (dotted ? kMappedBits : 0));
    if (cidr.ipv4 && cidr.bits < kMappedBits) cidr.ipv4 = false;
  }
  const Cidr meant = cidr.Shortened(cidr.bits);
  if (meant != cidr) {
    return absl::InvalidArgumentError(Cat("`", text, "` has bits set beyond its prefix; write ",
                                          CidrText(meant), " or the address alone"));
  }
  return cidr;
}

std::string CidrText(const Cidr& cidr) {
  if (!cidr.ipv4) return Cat(IpAddressText(cidr.address), "/", cidr.bits);
  return Cat(IpAddressText(cidr.address), "/", cidr.bits - kMappedBits);
}

}  // namespace mseg
