// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_SUPPORT_FLEET_H_
#define MSEG_TESTS_SUPPORT_FLEET_H_

#include <cstddef>
#include <string>
#include <vector>

#include "labels/inventory.h"

namespace mseg::testing {

// A fleet with the policy of a large company: identities {env, app, role}, each a Workload; fine
// rules between roles of one application, and coarse rules within an environment, an application or
// a place, any port. The first `local` of the identities, spread over all of them, live here.
struct Fleet {
  size_t rules = 100'000;
  size_t coarse = 50;
  size_t identities = 10'000;
  size_t local = 500;

  // Documents: workloads, then policies of `rules_a_policy` rules each, one text a document.
  std::vector<std::string> Workloads() const;
  std::vector<std::string> Policies(size_t rules_a_policy = 100) const;
  Inventory Host() const;
  std::string LabelsOf(size_t identity) const;  // `env: e1, app: a2, ...`
};

}  // namespace mseg::testing

#endif  // MSEG_TESTS_SUPPORT_FLEET_H_
