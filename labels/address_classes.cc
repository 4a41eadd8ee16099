// SPDX-License-Identifier: Apache-2.0
#include "labels/address_classes.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "labels/program.h"

namespace mseg {
namespace {

constexpr Cidr kAllIpv6{.address = {}, .bits = 0, .ipv4 = false};
constexpr Cidr kAllIpv4{
    .address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0}, .bits = 96, .ipv4 = true};

Cidr Shortened(Cidr cidr, uint8_t bits) {
  for (int i = 0; i < 16; ++i) {
    const int left = std::clamp(bits - 8 * i, 0, 8);
    cidr.address[i] = static_cast<uint8_t>(cidr.address[i] & (0xFF00 >> left));
  }
  cidr.bits = bits;
  return cidr;
}

// Labels of the most specific owner that holds the region.
LabelSet LabelsOf(const std::vector<AddressOwner>& owners, const Cidr& region) {
  const uint8_t shortest = region.ipv4 ? 96 : 0;
  for (int bits = region.bits; bits >= shortest; --bits) {
    const Cidr wanted = Shortened(region, static_cast<uint8_t>(bits));
    auto it = std::lower_bound(owners.begin(), owners.end(), wanted,
                               [](const AddressOwner& o, const Cidr& c) { return o.cidr < c; });
    for (; it != owners.end() && it->cidr == wanted; ++it) {
      const bool excepted =
          std::any_of(it->except.begin(), it->except.end(),
                      [&region](const Cidr& except) { return except.Contains(region); });
      if (!excepted) return it->labels;
    }
  }
  return {};
}

}  // namespace

AddressRegions BuildAddressRegions(const Vocabulary& vocabulary) {
  std::set<Cidr> prefixes = {kAllIpv6, kAllIpv4};
  for (const AddressOwner& owner : vocabulary.owners) {
    prefixes.insert(owner.cidr);
    prefixes.insert(owner.except.begin(), owner.except.end());
  }
  for (const CompiledSelector& selector : vocabulary.selectors) {
    prefixes.insert(selector->cidrs.begin(), selector->cidrs.end());
    prefixes.insert(selector->except.begin(), selector->except.end());
  }
  AddressRegions out;
  out.reserve(prefixes.size());
  for (const Cidr& prefix : prefixes) {
    out.push_back(AddressRegion{.prefix = prefix, .labels = LabelsOf(vocabulary.owners, prefix)});
  }
  return out;
}

const AddressRegion& RegionOf(const AddressRegions& regions, const IpAddress& address) {
  const Cidr whole{.address = address, .bits = 128, .ipv4 = IsIpv4(address)};
  for (int bits = 128; bits > 0; --bits) {
    if (whole.ipv4 && bits < 96) break;
    const Cidr wanted = Shortened(whole, static_cast<uint8_t>(bits));
    const auto it =
        std::lower_bound(regions.begin(), regions.end(), wanted,
                         [](const AddressRegion& r, const Cidr& c) { return r.prefix < c; });
    if (it != regions.end() && it->prefix == wanted) return *it;
  }
  // kAllIpv6 sorts first: no prefix is less than all zero bits and length 0.
  return regions.front();
}

mseg_address_key AddressKey(const Cidr& prefix) {
  mseg_address_key key{};
  key.prefixlen = 8u + prefix.bits;
  std::memcpy(key.addr, prefix.address.data(), prefix.address.size());
  return key;
}

}  // namespace mseg
