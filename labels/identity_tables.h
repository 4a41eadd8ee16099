// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_IDENTITY_TABLES_H_
#define MSEG_LABELS_IDENTITY_TABLES_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/class_registry.h"
#include "labels/compiler.h"
#include "labels/image.h"
#include "labels/inventory.h"
#include "labels/matcher.h"

namespace mseg {

// Classes of executables and cgroups: 64 bits of BLAKE2b over what the policy's matchers and
// patterns say about them. Never 0 or 1. 0 for an executable that none names.
uint64_t ExeClassNumber(const Vocabulary& vocabulary, const ExeVector& exe);
uint64_t CgroupClassNumber(const Vocabulary& vocabulary, const CgroupHits& hits);

// Stands for the workload whose processes talk freely on loopback addresses in cgroups with these
// hits; 0 for none. Derived like the classes.
uint32_t LoopbackNumber(const Matcher& matcher, const CgroupHits& hits);

// The tables that turn (cgroup, executable, user) into a class. Class numbers are known only after
// the registry was sealed, hence the handles.
struct IdentityTables {
  struct Entry {
    mseg_identity_key key{};
    uint64_t label_id = 0;
    ClassRegistry::Handle cls = nullptr;
    bool remote = false;  // no process of this host: a peer only
  };
  GenerationImage::Table<mseg_cgroup_key, mseg_cgroup> cgroups;
  GenerationImage::Table<mseg_exe_class_key, uint64_t> exe_classes;
  GenerationImage::Table<mseg_user_key, uint32_t> users;
  std::vector<Entry> identities;
  GenerationImage::Table<mseg_peer_label_key, mseg_peer_label> peer_labels;
  GenerationImage::Table<mseg_peer_exe_key, uint64_t> peer_exes;
  std::vector<ClassRegistry::Handle> extra;  // of Inventory::identities
  LabelSets label_sets;
  std::set<std::string> conflicts;
  std::set<uint64_t> known_exe_classes;
  std::set<uint64_t> known_cgroup_classes;
};
// Also part of that: no two executables may have one short id.
absl::Status CheckExecutableIds(const Inventory& inventory);

absl::StatusOr<IdentityTables> BuildIdentityTables(const Matcher& matcher,
                                                   const Inventory& inventory,
                                                   const CompileOptions& options,
                                                   ClassRegistry* registry);

// The refusal of more than options.max_identities.
absl::Status TooManyIdentities(const CompileOptions& options);

// Notes what a label id means; refused if it means something else already.
absl::Status RegisterLabelSet(uint64_t id, const LabelSet& labels,
                              LabelSets* label_sets);

}  // namespace mseg

#endif  // MSEG_LABELS_IDENTITY_TABLES_H_
