// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_IMAGE_H_
#define MSEG_LABELS_IMAGE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "labels/address.h"
#include "labels/ast.h"
#include "labels/diagnostic.h"
#include "labels/label.h"
#include "labels/shared_list.h"
#include "mseg/abi.h"

namespace mseg {

class Classifier;
struct Workings;

// One rule or default that can decide. Points into its document, which its table keeps: there may
// be a hundred thousand of them.
class RuleInfo {
 public:
  static constexpr size_t kDefault = SIZE_MAX;

  RuleInfo() = default;
  RuleInfo(const Document* policy, size_t rule) : document_(policy), rule_(rule) {}

  const std::string& policy() const;
  const std::string& rule() const;  // empty for a policy's default
  Place place() const;              // of the rule, or of `selects`
  std::string Name() const;         // POLICY/RULE, or the policy's alone

 private:
  const Document* document_ = nullptr;
  size_t rule_ = kDefault;
};

// Number 0 is "none".
class RuleTable {
 public:
  RuleTable() = default;
  RuleTable(SharedList<RuleInfo> rules, std::vector<DocumentRef> documents)
      : rules_(std::move(rules)), documents_(std::move(documents)) {}

  const SharedList<RuleInfo>& rules() const { return rules_; }
  size_t size() const { return rules_.size(); }
  const RuleInfo& operator[](size_t number) const { return rules_[number]; }
  auto begin() const { return rules_.begin(); }
  auto end() const { return rules_.end(); }

 private:
  SharedList<RuleInfo> rules_;
  std::vector<DocumentRef> documents_;  // in which they are
};

// The addresses that are in `prefix` and in no longer one of the list.
struct AddressRegion {
  Cidr prefix;
  LabelSet labels;
  bool operator==(const AddressRegion&) const = default;
};
using AddressRegions = std::vector<AddressRegion>;

using LabelSets = std::map<uint64_t, LabelSet>;  // label id -> what it means

// What a policy costs, printed before it is applied.
struct Budget {
  uint64_t policies = 0;
  uint64_t rules = 0;
  uint64_t workloads = 0;
  uint64_t classes = 0;  // identity and address classes, class 0 included
  uint64_t ends = 0;     // of local classes, over both directions
  uint64_t groups = 0;   // of peer classes
  uint64_t port_classes = 0;
  uint64_t rows = 0;
  uint64_t identities = 0;
  uint64_t entries = 0;       // over all tables
  uint64_t kernel_bytes = 0;  // estimate for both sides
};
// `rules 3, classes 5, rows 7, ...` on one line.
std::string BudgetText(const Budget& budget);

// One compiled, immutable generation: the content of one side of the kernel's tables. Keys carry
// side 0; whoever stages the image sets the side. Vectors are sorted by key bytes and hold each key
// once, so that two images can be compared entry by entry.
struct GenerationImage {
  template <typename Key, typename Value>
  using Table = std::vector<std::pair<Key, Value>>;

  Table<mseg_cgroup_key, mseg_cgroup> cgroups;
  Table<mseg_exe_class_key, uint64_t> exe_classes;
  Table<mseg_user_key, uint32_t> users;
  Table<mseg_identity_key, mseg_identity_value> identities;
  Table<mseg_peer_label_key, mseg_peer_label> peer_labels;
  Table<mseg_peer_exe_key, uint64_t> peer_exes;
  Table<mseg_address_key, uint32_t> addresses;
  // Port classes other than 0: {port space << 16 | port} -> class.
  std::vector<std::pair<uint32_t, uint16_t>> ports;
  Table<uint32_t, mseg_class> classes;  // by class; those that are all zero are left out
  Table<uint32_t, mseg_coarse> groups;  // by group: its bits
  Table<uint32_t, mseg_coarse> tails;   // by tail: its mask; those that are all zero are left out
  Table<mseg_row_key, mseg_row> rows;

  // Index = mseg_row.rule; unused numbers are empty. Never null in a compiled image.
  std::shared_ptr<const RuleTable> rules;
  std::shared_ptr<const LabelSets> label_sets;  // never null in a compiled image
  // Processes for which two documents give one key two values: `cgroup /a, exe ...: env is dev
  // (Workload "a") and prod (Workload "b")`. Sorted.
  std::vector<std::string> conflicts;
  std::vector<uint32_t> identity_classes;  // of Inventory::identities[i]
  Budget budget;
  // By prefix; RegionOf() finds one. Never null in a compiled image.
  std::shared_ptr<const AddressRegions> regions;
  // Answers for what appears after the image was compiled. Never null in a compiled image.
  std::shared_ptr<const Classifier> classifier;
  // For the compiler of the next image. Never null in a compiled image.
  std::shared_ptr<const Workings> workings;
};

}  // namespace mseg

#endif  // MSEG_LABELS_IMAGE_H_
