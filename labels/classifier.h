// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASSIFIER_H_
#define MSEG_LABELS_CLASSIFIER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "labels/address.h"
#include "labels/image.h"
#include "labels/inventory.h"

namespace mseg {

// What a new executable or cgroup is in the tables of one image.
struct ExeClass {
  uint64_t cls = MSEG_EXE_OTHER;
  // false: the image has no identities for this class. Until the next generation the executable
  // must stay unknown (do not insert it into the exe cache).
  bool known = true;
};
struct CgroupClass {
  uint64_t cls = MSEG_CGROUP_PENDING;
  bool watch = false;
  uint16_t doors = 0;     // of mseg_cgroup
  uint32_t loopback = 0;  // the same
  // false: leave the cgroup MSEG_CGROUP_PENDING and compile again with it in the inventory.
  bool known = true;
};

// The part of a compiled image that can classify what was not there when it was compiled, so that
// one entry can be inserted instead of a generation. Immutable, safe to share between threads.
class Classifier {
 public:
  class Impl;
  // `highest_state`: as in CompileOptions.
  Classifier(std::shared_ptr<const Impl> impl, State highest_state);
  ~Classifier();
  Classifier(const Classifier&) = delete;
  Classifier& operator=(const Classifier&) = delete;

  // The class of (executable, grade). Insert the entry, if cls is not 0, before the executable
  // enters the exe cache: an executable without a class counts as MSEG_EXE_OTHER.
  ExeClass ExeClassOf(const ExecutableInfo& executable, mseg_grade grade) const;
  CgroupClass CgroupClassOf(std::string_view path) const;
  // The class of a process; nothing if only a new image can tell it from the others.
  std::optional<uint32_t> ClassOf(const IdentityFacts& facts) const;
  uint32_t ClassOfAddress(const IpAddress& address) const;
  const LabelSet& LabelsOfAddress(const IpAddress& address) const;

  // What the workloads of this cgroup say of doors: CgroupClass::doors.
  uint16_t DoorsOf(std::string_view path) const;
  // Whether a workload says one of these, also one that no cgroup belongs to yet.
  bool AnyDoor(uint16_t doors) const;

  // For the compiler of the next image.
  const Impl& impl() const { return *impl_; }
  // The same, with workloads and policies in other states.
  std::shared_ptr<const Classifier> With(State highest_state) const;
  State highest_state() const { return highest_state_; }

 private:
  std::shared_ptr<const Impl> impl_;
  State highest_state_;
};

}  // namespace mseg

#endif  // MSEG_LABELS_CLASSIFIER_H_
