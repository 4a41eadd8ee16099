// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_POLICY_REPORT_H_
#define MSEG_CTL_POLICY_REPORT_H_

#include "ctl/session.h"

namespace mseg::ctl {

// What a change of policy did, or (`dry_run`) would do.
void PrintReport(Session& session, const api::ApplyReport& report, bool dry_run);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_POLICY_REPORT_H_
