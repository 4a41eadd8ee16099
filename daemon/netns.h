// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_NETNS_H_
#define MSEG_DAEMON_NETNS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "labels/address.h"

namespace mseg {

// What an address is to a process: of its own network namespace, or somewhere else.
struct NetnsView {
  uint64_t cookie = 0;  // the kernel's name of the namespace
  bool own = false;
};

// Looks from inside the namespace of `pid`, on a thread of its own. NotFound: no such process.
absl::StatusOr<NetnsView> LookFromProcess(uint32_t pid, const IpAddress& address);

}  // namespace mseg

#endif  // MSEG_DAEMON_NETNS_H_
