// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_PROGRAM_H_
#define MSEG_LABELS_PROGRAM_H_

#include <cstdint>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "labels/ast.h"
#include "labels/compiler.h"
#include "labels/glob.h"
#include "labels/image.h"
#include "labels/policy_set.h"
#include "labels/policy_form.h"
#include "labels/shared_list.h"

// A policy set made ready for matching; private to labels/. Everything that is compared more than
// once has a number: equal selectors are one selector, equal process conditions one exe matcher.
// Policies in `build` take part in no verdict, so they are not here.

namespace mseg {

inline constexpr uint32_t kNone = UINT32_MAX;

struct CompiledSelector {
  SelectorFormRef form;
  uint32_t exe_matcher = kNone;

  const SelectorForm* operator->() const { return form.get(); }
};

struct CompiledRule {
  State state = State::kEnforce;
  mseg_verdict verdict = MSEG_DENY;
  bool failsafe = false;  // goes before every rule of a policy, whatever the state of the end
  bool at_from = true;
  bool at_to = true;
  uint32_t from = kNone;  // selector; kNone matches anyone
  uint32_t to = kNone;
  uint32_t ports = 0;   // port set; 0 is every protocol and port
  uint32_t number = 0;  // its place in rule_table
};

struct CompiledSelects {
  State state = State::kEnforce;
  uint32_t selector = kNone;  // kNone selects every managed workload
  bool egress = true;
  bool ingress = true;
  uint32_t number = 0;
  bool operator==(const CompiledSelects&) const = default;
};

struct CompiledWorkload {
  std::string name;
  LabelSet labels;
  State state = State::kEnforce;
  std::vector<PathPattern> cgroups;
  uint32_t exe_matcher = kNone;
  std::vector<std::string> users;
  std::vector<Cidr> addresses;  // sorted, each once
  bool has_process_field = false;
  bool loopback_allowed = false;
  uint16_t doors = 0;  // mseg_doors
};

struct AddressOwner {
  Cidr cidr;
  std::vector<Cidr> except;
  LabelSet labels;
};

// Who can be told apart, and by what: everything but the rules. One object serves all programs
// between which it did not change, so that comparing two of them is comparing two pointers.
struct Vocabulary {
  std::vector<ExeMatcherRef> exe_matchers;
  std::vector<CompiledSelector> selectors;
  std::vector<CompiledWorkload> workloads;  // those that match processes
  std::vector<AddressOwner> owners;         // AddressGroups and Workload addresses, by prefix
  std::vector<std::string> users;           // every user that is mentioned, sorted
  absl::flat_hash_map<std::array<uint64_t, 2>, uint32_t> selector_of;  // by SelectorForm::name

  // What workloads and owners were made from: the documents, and the ports that Workloads give the
  // names that rules use.
  std::vector<DocumentRef> documents;
  std::map<PortName, std::set<uint16_t>> port_names;
};

struct Program {
  std::shared_ptr<const Vocabulary> vocabulary;
  SharedList<CompiledRule> rules;  // in (policy name, position): the order of naming
  std::vector<CompiledSelects> selects;
  std::vector<std::vector<PortRange>> port_sets;  // [0] is everything
  SharedList<RuleInfo> rule_table;                // in (policy name, position); [0] is "none"
  std::vector<DocumentRef> said_by;               // what fail-safe entries of it would be
  SharedList<uint64_t> rule_members;              // of rule_table[i]: what its number is kept by
  SharedList<uint32_t> numbers;                   // of rule_table[i] in the generation; [0] is 0

  // What one policy became.
  struct Part {
    DocumentRef policy;
    State state = State::kEnforce;
    size_t rules = 0;    // where its rules begin
    size_t selects = 0;  // likewise
    size_t table = 0;    // likewise, in rule_table
  };
  std::vector<Part> parts;  // by policy name, and one more where the last ends
  std::vector<FailsafeEntry> failsafe;

  // Where it was made from the one before by making some parts anew in their places: which they
  // are, sorted. All rules name the selectors, ends and members that they named there, and every
  // port or not.
  std::optional<std::vector<size_t>> remade;
};

// Takes from the options what goes beside the documents: fail-safe entries, the highest state that
// counts, and the generation before, whose numbers are kept. Where the rules use the very selectors
// that they used there, the vocabulary is the one from there, and so is what unchanged policies
// became.
Program BuildProgram(const PolicySet& policy, const CompileOptions& options);

// A named port is a label of the responder: `mseg/port/tcp/http=8080`. A rule that names one
// becomes a rule for each port that some Workload gives the name, restricted to responders with
// that label.
std::string NamedPortLabel(const PortName& name);

}  // namespace mseg

#endif  // MSEG_LABELS_PROGRAM_H_
