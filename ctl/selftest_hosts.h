// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_HOSTS_H_
#define MSEG_CTL_SELFTEST_HOSTS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "ctl/selftest_trial.h"

namespace mseg::ctl {

// Rows B36 to B39 and B51: what takes two hosts that trust each other, and a wire between them.
absl::StatusOr<std::vector<RowResult>> TryTwoHosts(bool prove);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_HOSTS_H_
