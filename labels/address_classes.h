// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ADDRESS_CLASSES_H_
#define MSEG_LABELS_ADDRESS_CLASSES_H_

#include "labels/address.h"
#include "labels/image.h"
#include "mseg/abi.h"

namespace mseg {

struct Vocabulary;

// Every prefix that the policy mentions, sorted; the one that holds all of IPv6 is always there,
// and the one that holds all of IPv4 too.
AddressRegions BuildAddressRegions(const Vocabulary& vocabulary);

// The region of an address; `regions` as BuildAddressRegions() gives them.
const AddressRegion& RegionOf(const AddressRegions& regions, const IpAddress& address);

mseg_address_key AddressKey(const Cidr& prefix);

}  // namespace mseg

#endif  // MSEG_LABELS_ADDRESS_CLASSES_H_
