// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_EXPLAIN_BATCH_H_
#define MSEG_CTL_EXPLAIN_BATCH_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ctl/session.h"
#include "daemon/api/service.h"

namespace mseg::ctl {

using Explainer = std::function<absl::StatusOr<std::vector<api::ExplainAnswer>>(
    const std::vector<api::ExplainQuery>& queries, Diagnostics* diagnostics)>;

// `file:PATH` with an absolute path; any other endpoint as it is.
std::string AbsoluteEndpoint(const std::string& endpoint);

// One line in, one line out, in order. A line that cannot be read or resolved gets {"error":...} in
// its place and makes the exit code 2. Asks `explain` for up to `at_once` lines together.
int RunBatch(Session& session, const std::string& name, size_t at_once, const Explainer& explain);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_EXPLAIN_BATCH_H_
