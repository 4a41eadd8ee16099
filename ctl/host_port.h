// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_HOST_PORT_H_
#define MSEG_CTL_HOST_PORT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace mseg::ctl {

struct HostPort {
  std::string address;
  uint32_t port = 0;
};

// `10.0.0.1:80`, `[2001:db8::1]:80`, `name:80`. A name is looked up here, where the user's resolver
// is; its first address counts.
absl::StatusOr<HostPort> ResolveHostPort(const std::string& text);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_HOST_PORT_H_
