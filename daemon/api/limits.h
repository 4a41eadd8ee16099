// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_API_LIMITS_H_
#define MSEG_DAEMON_API_LIMITS_H_

#include <capnp/message.h>

#include "daemon/api/service.h"

namespace mseg {

// The largest message either side accepts, and the most that may be read out of one: twice the
// policy text that must fit, for what surrounds it and because reading a list counts its elements
// again.
inline constexpr uint64_t kMaxMessageWords = 2 * api::kMaxPolicyBytes / sizeof(capnp::word);

inline capnp::ReaderOptions RpcReaderOptions() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = kMaxMessageWords;
  return options;
}

}  // namespace mseg

#endif  // MSEG_DAEMON_API_LIMITS_H_
