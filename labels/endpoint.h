// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ENDPOINT_H_
#define MSEG_LABELS_ENDPOINT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "labels/address.h"
#include "labels/inventory.h"
#include "labels/policy_set.h"

namespace mseg {

// One end of a question, as typed: `workload:NAME`, `pod:NAMESPACE/NAME` (the Workload that it was
// imported as), `labels:k=v,...[;exe=PATH][;digest=sha256:HEX]
// [;script=PATH or sha256:HEX][;grade=G][;user=U][;ip=ADDR]`, `file:PATH`, `pid:N`, `ip:ADDR`.
struct Endpoint {
  enum class Kind : uint8_t { kWorkload, kLabels, kFile, kPid, kIp };
  Kind kind = Kind::kIp;
  std::string name;                  // kWorkload: document; kFile: path
  uint32_t pid = 0;                  // kPid
  IdentityFacts facts;               // kLabels: complete
  std::optional<IpAddress> address;  // kIp, and `ip=` of kLabels

  // Whether this end judges by itself; an address is only judged by the other end.
  bool managed() const { return kind != Kind::kIp; }
};
absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text);

// The Workload that an imported pod becomes. A namespace has no dots, so no two pods share one.
std::string PodWorkloadName(std::string_view name_space, std::string_view name);

// The facts of a `workload:` endpoint: a process as its document describes it. Where the document
// gives a glob, an example that it matches stands for it; where it names no executable, the process
// runs one that no selector names. Other Workload documents that match such a process count too. A
// Workload that has only addresses is taken by its labels alone.
absl::StatusOr<IdentityFacts> WorkloadFacts(const PolicySet& policy, std::string_view name);

// `tcp/3306`, `icmp`, or the name of a Service (its first port).
struct ServicePort {
  uint8_t protocol = 0;
  uint16_t port = 0;
};
absl::StatusOr<ServicePort> ParseServicePort(const PolicySet& policy, std::string_view text);
absl::StatusOr<ServicePort> ServicePortOf(std::string_view protocol, int64_t port);

}  // namespace mseg

#endif  // MSEG_LABELS_ENDPOINT_H_
