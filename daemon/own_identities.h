// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_OWN_IDENTITIES_H_
#define MSEG_DAEMON_OWN_IDENTITIES_H_

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "daemon/identity_bundle.h"
#include "labels/image.h"
#include "labels/inventory.h"
#include "labels/label.h"

namespace mseg {

// What the processes of this host may show to others.
struct OwnIdentities {
  LabelSets labels;  // by label id
  std::vector<ExecutableInfo> executables;
  std::vector<IdentityPair> pairs;  // sorted
};

// The label sets that local processes have in this image, those without labels included.
LabelSets OwnLabels(const GenerationImage& image, const Salt& salt);

// Every pair of them where those are few; else `seen`, and each label set with an executable that
// is not known. A pair too many does no harm: it only says how an answer may be read.
std::vector<IdentityPair> PairsOf(const OwnIdentities& own, const std::set<IdentityPair>& seen);

// Unsigned, without number and time. What does not fit a record (a path that is no text) is told
// without it.
IdentityBundle BundleOf(const OwnIdentities& own);

}  // namespace mseg

#endif  // MSEG_DAEMON_OWN_IDENTITIES_H_
