// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_SUPPORT_POLICY_REFERENCE_H_
#define MSEG_TESTS_SUPPORT_POLICY_REFERENCE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "labels/address.h"
#include "labels/inventory.h"
#include "labels/policy_set.h"
#include "mseg/abi.h"

namespace mseg::testing {

// What a policy means, written down a second time and as plainly as possible: every question goes
// through every document, rule and selector again. No classes, no tables, no code of the compiler;
// only the AST is shared. Slow on purpose.

// The values a key may have. An empty optional stands for "absent".
struct ReferenceKey {
  bool unknown = false;
  std::set<std::optional<std::string>> values;
};

struct ReferenceSubject {
  bool is_address = false;
  IpAddress address{};
  IdentityFacts facts;               // of a process
  std::vector<IpAddress> addresses;  // of a process, as far as Workloads say
  bool all_labels_unknown = false;
  std::map<std::string, ReferenceKey> labels;
  State state = State::kEnforce;
};

struct ReferenceVerdict {
  struct View {
    bool allow = true;
    uint8_t reason = MSEG_REASON_DEFAULT;
    std::string rule;  // POLICY/RULE, POLICY for a default
    bool operator==(const View&) const = default;
  };
  View enforced;
  View would_be;
  bool operator==(const ReferenceVerdict&) const = default;
};

class PolicyReference {
 public:
  PolicyReference(const PolicySet& policy, std::map<std::string, uint32_t> uids)
      : policy_(policy), uids_(std::move(uids)) {}

  ReferenceSubject Process(const IdentityFacts& facts) const;
  ReferenceSubject Address(const IpAddress& address) const;
  // The verdict of `local`'s end.
  ReferenceVerdict Judge(const ReferenceSubject& local, const ReferenceSubject& peer,
                         mseg_direction direction, uint8_t protocol, uint16_t port) const;

 private:
  enum Truth { kFalse, kPerhaps, kTrue };
  struct Applies;

  std::vector<Applies> ApplyingWorkloads(const ReferenceSubject& subject) const;
  static ReferenceKey KeyOf(const std::string& key, const std::vector<Applies>& applying);

  Truth UserMatches(const std::vector<SpottedText>& users, const ReferenceSubject& subject) const;
  Truth ExeMatches(const ProcessSelector& process, const ReferenceSubject& subject) const;
  Truth LabelMatches(const LabelRequirement& requirement, const ReferenceSubject& subject) const;
  Truth SelectorMatches(const std::optional<Selector>& selector,
                        const ReferenceSubject& subject) const;
  Truth CidrsMatch(const Selector& selector, const ReferenceSubject& subject) const;
  Truth ServiceMatches(const Rule& rule, const ReferenceSubject& responder, uint8_t protocol,
                       uint16_t port) const;
  // A Workload's labels, and its named ports as labels where a rule asks for them.
  std::map<std::string, std::string> LabelsOf(const Workload& workload) const;
  ReferenceVerdict::View JudgeView(const ReferenceSubject& local, const ReferenceSubject& peer,
                                   mseg_direction direction, uint8_t protocol, uint16_t port,
                                   State least) const;

  const PolicySet& policy_;
  std::map<std::string, uint32_t> uids_;
};

}  // namespace mseg::testing

#endif  // MSEG_TESTS_SUPPORT_POLICY_REFERENCE_H_
