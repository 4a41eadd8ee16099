// SPDX-License-Identifier: Apache-2.0
#include "labels/classifier.h"

#include <algorithm>
#include <map>

#include "labels/classifier_impl.h"
#include "labels/identity_tables.h"

namespace mseg {

bool Classifier::Impl::SameExecutables(const std::vector<ExecutableInfo>& other) const {
  if (inventory.executables == other) return true;
  std::map<uint32_t, const ExecutableInfo*> known;  // by ref
  for (const ExecutableInfo& executable : inventory.executables) {
    known.emplace(executable.ref, &executable);
  }
  const auto is_named = [this](const ExecutableInfo& executable) {
    return ExeClassOf(executable, executable.grade) != MSEG_EXE_OTHER ||
           ExeClassOf(executable, MSEG_GRADE_PATH) != MSEG_EXE_OTHER;
  };
  for (const ExecutableInfo& executable : other) {
    const auto it = known.find(executable.ref);
    const bool same = it != known.end() && *it->second == executable;
    if (same) known.erase(it);
    if (!same && is_named(executable)) return false;
  }
  return std::none_of(known.begin(), known.end(),
                      [&](const auto& gone) { return is_named(*gone.second); });
}

uint64_t Classifier::Impl::ExeClassOf(const ExecutableInfo& executable, mseg_grade grade) const {
  return ExeClassNumber(*matcher.vocabulary(), matcher.ExeVectorOf(executable, grade));
}

Classifier::Classifier(std::shared_ptr<const Impl> impl, State highest_state)
    : impl_(std::move(impl)), highest_state_(highest_state) {}
Classifier::~Classifier() = default;

std::shared_ptr<const Classifier> Classifier::With(State highest_state) const {
  return std::make_shared<const Classifier>(impl_, highest_state);
}

uint16_t Classifier::DoorsOf(std::string_view path) const {
  return impl_->matcher.DoorsOf(impl_->matcher.CgroupHitsOf(path), highest_state_);
}

bool Classifier::AnyDoor(uint16_t doors) const { return impl_->matcher.AnyDoor(doors); }

ExeClass Classifier::ExeClassOf(const ExecutableInfo& executable, mseg_grade grade) const {
  const uint64_t cls = impl_->ExeClassOf(executable, grade);
  return ExeClass{.cls = cls, .known = cls == MSEG_EXE_OTHER || impl_->exe_classes.contains(cls)};
}

CgroupClass Classifier::CgroupClassOf(std::string_view path) const {
  const CgroupHits hits = impl_->matcher.CgroupHitsOf(path);
  const uint64_t cls = CgroupClassNumber(*impl_->matcher.vocabulary(), hits);
  return CgroupClass{.cls = cls,
                     .watch = impl_->matcher.Watch(path),
                     .doors = impl_->matcher.DoorsOf(hits, highest_state_),
                     .loopback = LoopbackNumber(impl_->matcher, hits),
                     .known = impl_->cgroup_classes.contains(cls)};
}

std::optional<uint32_t> Classifier::ClassOf(const IdentityFacts& facts) const {
  const Subject subject = impl_->matcher.SubjectOf(facts);
  const std::optional<uint32_t> cls = impl_->registry.Find(impl_->matcher.SignatureOf(subject));
  // A class of addresses alone has no rows by which it could judge.
  if (!cls || !impl_->locals.contains(*cls)) return std::nullopt;
  return cls;
}

uint32_t Classifier::ClassOfAddress(const IpAddress& address) const {
  const AddressRegion& region = RegionOf(*impl_->regions, address);
  const Subject subject = impl_->matcher.AddressSubject(region.prefix, region.labels);
  // The compiler has interned the signature of every region.
  return impl_->registry.Find(impl_->matcher.SignatureOf(subject)).value_or(0);
}

const LabelSet& Classifier::LabelsOfAddress(const IpAddress& address) const {
  return RegionOf(*impl_->regions, address).labels;
}

}  // namespace mseg
