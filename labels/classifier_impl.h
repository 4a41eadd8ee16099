// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASSIFIER_IMPL_H_
#define MSEG_LABELS_CLASSIFIER_IMPL_H_

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "labels/address_classes.h"
#include "labels/class_registry.h"
#include "labels/classifier.h"
#include "labels/compiler.h"
#include "labels/inventory.h"
#include "labels/matcher.h"

namespace mseg {

// What the compiler leaves behind for the classifier.
class Classifier::Impl {
 public:
  Impl(std::shared_ptr<const Vocabulary> vocabulary, Inventory inventory_in,
       const CompileOptions& options)
      : inventory(std::move(inventory_in)),
        salt(options.salt),
        wire(options.wire),
        matcher(std::move(vocabulary), inventory.uids),
        registry(matcher.SignatureOf(Subject())) {}

  // Whether these inputs would give the same again.
  bool IsOf(const std::shared_ptr<const Vocabulary>& vocabulary, const Inventory& other,
            const CompileOptions& options) const {
    return matcher.vocabulary() == vocabulary && salt == options.salt && wire == options.wire &&
           inventory.cgroups == other.cgroups && SameExecutables(other.executables) &&
           inventory.uids == other.uids && inventory.identities == other.identities &&
           inventory.remote_labels == other.remote_labels &&
           inventory.remote_executables == other.remote_executables;
  }

  uint64_t ExeClassOf(const ExecutableInfo& executable, mseg_grade grade) const;

  const Inventory inventory;
  const Salt salt;
  const bool wire;

  Matcher matcher;
  ClassRegistry registry;
  std::set<uint32_t> locals;
  std::set<uint64_t> exe_classes;
  std::set<uint64_t> cgroup_classes;
  std::shared_ptr<const AddressRegions> regions;
  std::vector<ClassRegistry::Handle> region_classes;  // of regions

 private:
  // But for those that no selector names: a host executes new files all the time.
  bool SameExecutables(const std::vector<ExecutableInfo>& other) const;
};

}  // namespace mseg

#endif  // MSEG_LABELS_CLASSIFIER_IMPL_H_
