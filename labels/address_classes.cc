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

// Labels of the most specific owner that holds the region.
LabelSet LabelsOf(const std::vector<AddressOwner>& owners, const Cidr& region) {
  for (int bits = region.bits; bits >= region.ShortestOfFamily(); --bits) {
    const Cidr wanted = region.Shortened(bits);
    auto it = std::lower_bound(owners.begin(), owners.end(), wanted,
                               [](const AddressOwner& o, const Cidr& c) { return o.cidr < c; });
    for (; it != owners.end() && it->cidr == wanted; ++it) {
      if (!AnyContains(it->except, region)) return it->labels;
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
    if (bits < whole.ShortestOfFamily()) break;
    const Cidr wanted = whole.Shortened(bits);
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
