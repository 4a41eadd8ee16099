// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_POLICY_FORM_H_
#define MSEG_LABELS_POLICY_FORM_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "labels/ast.h"
#include "labels/glob.h"

// What a policy says, ready for the compiler: its selectors in the one form that all selectors have
// which say the same, however they were written, each once; its rules by their numbers. Made once
// for a document and not at each compilation: a fleet has hundreds of thousands of selectors, and
// nearly all of them stay from one policy to the next.

namespace mseg {

// The part of a `process` selector or Workload match that looks at the executable.
struct ExeMatcher {
  std::vector<std::string> names;
  std::vector<PathPattern> exes;
  std::vector<Digest> digests;
  mseg_grade grade = MSEG_GRADE_UNKNOWN;  // least grade; UNKNOWN: none asked for
  std::vector<PathPattern> scripts;       // where it lies, or
  std::vector<Digest> script_digests;     // what is in it
  std::string text;                       // canonical, equal for equal matchers
};
using ExeMatcherRef = std::shared_ptr<const ExeMatcher>;

struct SelectorForm {
  std::vector<LabelRequirement> labels;  // sorted
  ExeMatcherRef exe;                     // null: any
  std::vector<std::string> users;        // empty: any
  std::vector<Cidr> cidrs;               // empty: any
  std::vector<Cidr> except;
  bool all_peers = false;  // the addresses of a process count too
  uint64_t key = 0;        // MemberKey of what it says
  // A hash of what it says that nobody can find twice: equal names are equal selectors.
  std::array<uint64_t, 2> name{};
};
using SelectorFormRef = std::shared_ptr<const SelectorForm>;

struct PolicyForm {
  static constexpr uint32_t kNone = UINT32_MAX;
  struct RuleForm {
    uint32_t from = kNone;  // in selectors; kNone matches anyone
    uint32_t to = kNone;
    uint32_t ports = kNone;  // in port_sets; kNone: another document has to say them
    bool named = false;      // some of its ports have names
    mseg_verdict verdict = MSEG_DENY;
    RuleAt at = RuleAt::kBoth;
    uint64_t member = 0;  // MemberKey of the policy's name and its own
  };
  std::vector<SelectorFormRef> selectors;         // each once
  std::vector<std::vector<PortRange>> port_sets;  // sorted, each once
  std::vector<RuleForm> rules;                    // of Policy::rules
  uint32_t selects = kNone;
  uint64_t selects_member = 0;
  // What its selectors say of executables and users, each once.
  std::vector<ExeMatcherRef> exes;
  std::vector<std::string> users;
  bool names_ports = false;     // some rule names a port
  bool names_services = false;  // some rule depends on a Service, or might contradict one
};

// Makes forms, each once.
class SelectorForms {
 public:
  std::shared_ptr<const PolicyForm> OfPolicy(const std::string& name, const Policy& policy);
  SelectorFormRef Of(const Selector& selector);
  // Null: it says nothing of the executable, so that every one matches.
  ExeMatcherRef ExeOf(const ProcessSelector& process);

 private:
  absl::flat_hash_map<std::string, SelectorFormRef> selectors_;
  absl::flat_hash_map<std::string, ExeMatcherRef> exes_;
};

// The values, sorted, each once.
template <typename T>
std::vector<T> SortedValues(const std::vector<Spotted<T>>& spotted) {
  std::vector<T> out;
  out.reserve(spotted.size());
  for (const Spotted<T>& item : spotted) out.push_back(item.value);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace mseg

#endif  // MSEG_LABELS_POLICY_FORM_H_
