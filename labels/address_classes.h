// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ADDRESS_CLASSES_H_
#define MSEG_LABELS_ADDRESS_CLASSES_H_

#include <vector>

#include "labels/address.h"
#include "labels/label.h"
#include "labels/program.h"
#include "mseg/abi.h"

namespace mseg {

// The addresses that are in `prefix` and in no longer one of the list.
struct AddressRegion {
  Cidr prefix;
  LabelSet labels;
};
// Every prefix that the policy mentions, sorted; the one that holds all of IPv6 is always there,
// and the one that holds all of IPv4 too.
std::vector<AddressRegion> BuildAddressRegions(const Program& program);

// The region of an address; `regions` as BuildAddressRegions() gives them.
const AddressRegion& RegionOf(const std::vector<AddressRegion>& regions, const IpAddress& address);

mseg_address_key AddressKey(const Cidr& prefix);

}  // namespace mseg

#endif  // MSEG_LABELS_ADDRESS_CLASSES_H_
