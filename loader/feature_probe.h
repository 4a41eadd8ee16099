// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_FEATURE_PROBE_H_
#define MSEG_LOADER_FEATURE_PROBE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mseg/abi.h"

namespace mseg {

struct Feature {
  std::string name;
  bool present = false;
  bool required = false;
  std::string costs;  // what is lost without it
};

// What this kernel can do, found by trying. Made once in main and passed on.
struct Features {
  std::vector<Feature> list;
  mseg_mode mode = MSEG_MODE_CGROUP;
  std::vector<std::string> gaps;  // what this mode does not cover, a sentence each

  // FailedPrecondition naming everything required that is missing.
  absl::Status CheckRequired() const;
};

Features ProbeFeatures();

}  // namespace mseg

#endif  // MSEG_LOADER_FEATURE_PROBE_H_
