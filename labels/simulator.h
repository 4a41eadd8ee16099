// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_SIMULATOR_H_
#define MSEG_LABELS_SIMULATOR_H_

#include <cstdint>
#include <string>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/compiler.h"
#include "labels/endpoint.h"
#include "labels/image.h"
#include "mseg/decide.h"

namespace mseg {

// The words of enum mseg_reason, enum mseg_direction and enum mseg_verdict, as everywhere in mseg.
std::string_view ReasonName(uint8_t reason);
std::string_view DirectionName(uint8_t direction);
std::string_view VerdictName(uint8_t verdict);

// One look-up of decide.h.
struct Probe {
  char step = 0;  // 'a' to 'f', the letters of decide.h
  mseg_row_key key{};
  bool hit = false;
};

// `egress a: end 3, peer class 4, port class 1: found`.
std::string ProbeText(std::string_view direction, const Probe& probe);

// Decisions over an image's tables, made by decide.h. The image must outlive the simulator.
class Simulator {
 public:
  explicit Simulator(const GenerationImage& image) : image_(&image) {}

  uint16_t PortClass(uint8_t protocol, uint16_t port) const;
  mseg_decision Decide(uint32_t local, uint32_t peer, mseg_direction direction, uint8_t protocol,
                       uint16_t port) const;
  // The same, with each look-up that was tried.
  mseg_decision Trace(uint32_t local, uint32_t peer, mseg_direction direction, uint8_t protocol,
                      uint16_t port, std::vector<Probe>* probes) const;
  // What the identity tables answer for a process, exactly as the kernel asks them.
  // The class of a process of another host, as the kernel resolves what it proved (wire.bpf.h);
  // nothing if the host may not carry its labels.
  std::optional<uint32_t> RemoteClass(const mseg_identity& id) const;
  mseg_identity_value Identity(uint64_t cgroup_id, uint32_t exe_ref, mseg_grade grade,
                               uint32_t uid) const;
  uint32_t AddressClass(const IpAddress& address) const;
  const GenerationImage& image() const { return *image_; }

 private:
  struct Lookup;
  const GenerationImage* image_;
};

// One end's verdict.
struct EndVerdict {
  bool judged = false;  // false: this end is not managed; verdict and would_be are allow
  mseg_decision decision{};
  std::vector<Probe> probes;
};

struct Explanation {
  mseg_verdict verdict = MSEG_DENY;
  mseg_verdict would_be = MSEG_DENY;
  EndVerdict egress;
  EndVerdict ingress;
  uint8_t reason = MSEG_REASON_NONE;
  std::string rule;  // POLICY/RULE, POLICY alone for its default, empty for none
  std::string at;    // FILE:LINE
};

// A question whose ends were resolved: a managed end by facts, an unmanaged one by its address.
struct ResolvedEnd {
  bool managed = false;
  IdentityFacts facts;
  IpAddress address{};
};
struct Query {
  ResolvedEnd from;
  ResolvedEnd to;
  uint8_t protocol = 0;
  uint16_t port = 0;
};

// Resolves what needs no host: `workload:`, `labels:` and `ip:`. FailedPrecondition for `file:` and
// `pid:`, which the caller must look up.
absl::StatusOr<ResolvedEnd> ResolveEnd(const PolicySet& policy, const Endpoint& endpoint);

// Answers many questions with one compilation: the ends are added to the inventory's identities.
absl::StatusOr<std::vector<Explanation>> ExplainAll(const PolicySet& policy, Inventory inventory,
                                                    const CompileOptions& options,
                                                    const std::vector<Query>& queries,
                                                    Diagnostics* diagnostics);
// From classes that are known already, over one image.
Explanation ExplainClasses(const Simulator& simulator, bool from_managed, uint32_t from_class,
                           bool to_managed, uint32_t to_class, uint8_t protocol, uint16_t port);

}  // namespace mseg

#endif  // MSEG_LABELS_SIMULATOR_H_
