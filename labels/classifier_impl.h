// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASSIFIER_IMPL_H_
#define MSEG_LABELS_CLASSIFIER_IMPL_H_

#include <cstdint>
#include <set>
#include <vector>

#include "labels/address_classes.h"
#include "labels/class_registry.h"
#include "labels/classifier.h"
#include "labels/matcher.h"

namespace mseg {

// What the compiler leaves behind for the classifier.
class Classifier::Impl {
 public:
  explicit Impl(Matcher matcher_in)
      : matcher(std::move(matcher_in)), registry(matcher.SignatureOf(Subject())) {}

  Matcher matcher;
  ClassRegistry registry;
  std::set<uint32_t> locals;
  std::set<uint64_t> exe_classes;
  std::set<uint64_t> cgroup_classes;
  std::shared_ptr<const AddressRegions> regions;
  std::vector<ClassRegistry::Handle> region_classes;  // of regions
};

}  // namespace mseg

#endif  // MSEG_LABELS_CLASSIFIER_IMPL_H_
