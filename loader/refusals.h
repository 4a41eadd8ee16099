// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_REFUSALS_H_
#define MSEG_LOADER_REFUSALS_H_

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "loader/dataplane.h"

namespace mseg {

// The program that answers a refused client with a reset (bpf/refuse.bpf.c), in the network
// namespaces of listeners. Its links are pinned beside the others, so that it outlives the daemon.
class Refusals {
 public:
  explicit Refusals(const Dataplane& dataplane) : dataplane_(dataplane) {}

  // Attaches it in the namespace of process `pid`, whose cookie is `netns_cookie`, unless it is
  // there already.
  absl::Status AttachIn(uint32_t pid, uint64_t netns_cookie) const;
  // Removes the pins of namespaces that are gone.
  void ForgetGone() const;

 private:
  const Dataplane& dataplane_;
};

}  // namespace mseg

#endif  // MSEG_LOADER_REFUSALS_H_
