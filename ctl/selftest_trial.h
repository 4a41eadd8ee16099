// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_TRIAL_H_
#define MSEG_CTL_SELFTEST_TRIAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "ctl/selftest_rows.h"
#include "ctl/selftest_scratch.h"

namespace mseg::ctl {

struct Outcome {
  std::string result = "not_applicable";  // blocked, open, gap, not_applicable
  int attack_errno = 0;
  bool twin_ok = true;
  std::string denied_by;
  std::string reason;
  std::string unattached;  // with --prove, of a blocked row: `open`, or why it is not
};

struct RowResult {
  std::string id;
  std::string attack;
  Outcome outcome;
};

// The last refusal since then, in the daemon's words; refusals reach it some milliseconds later.
std::string DeniedSince(api::Service& daemon, int64_t since_us, absl::Duration limit);

inline constexpr absl::Duration kTwinLimit = absl::Seconds(20);
inline constexpr absl::Duration kFlowLimit = absl::Seconds(3);

// Tries rows: what is done at one place is refused by the daemon of another one, or of the same.
class Trials {
 public:
  Trials(const Scratch& actors, Scratch& judge) : actors_(actors), judge_(judge) {}

  RowResult TryRow(const SelftestRow& row) const;
  // Tries what was blocked once more without the programs that block it.
  absl::Status Prove(const std::vector<SelftestRow>& rows, std::vector<RowResult>* results) const;
  // By somebody who may; what is new to a daemon may have to be read first, so this is tried again.
  int Twin(const SelftestAct& act) const;
  int Do(const SelftestAct& act) const { return actors_.Run(act.cgroup, act.program, act.words); }

 private:
  Outcome TryTrial(const SelftestTrial& trial) const;
  std::string TryUnattached(const SelftestRow& row) const;

  const Scratch& actors_;
  Scratch& judge_;
};

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_TRIAL_H_
