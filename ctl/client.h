// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_CLIENT_H_
#define MSEG_CTL_CLIENT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/api/service.h"

namespace mseg::ctl {

// The daemon behind `socket_path`, as a Service. Unavailable if it cannot be reached, or stops
// answering during a call. Those of one thread share its event loop.
absl::StatusOr<std::unique_ptr<api::Service>> Connect(const std::string& socket_path);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_CLIENT_H_
