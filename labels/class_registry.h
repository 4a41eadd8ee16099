// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASS_REGISTRY_H_
#define MSEG_LABELS_CLASS_REGISTRY_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "labels/matcher.h"
#include "labels/stable_numbers.h"

namespace mseg {

// Gives numbers to signatures: 0 is the anonymous process, the others keep the numbers that their
// members had in the generation before.
class ClassRegistry {
 public:
  struct Class {
    Signature signature;
    std::vector<uint64_t> members;
    uint32_t number = 0;
  };
  // Stands for a class until Seal() has numbered it; stays valid as long as the registry.
  using Handle = const Class*;

  explicit ClassRegistry(Signature anonymous) { Add(std::move(anonymous)); }

  Handle Intern(Signature signature, uint64_t member) {
    const auto it = index_.find(&signature);
    Class* cls = it != index_.end() ? it->second : Add(std::move(signature));
    cls->members.push_back(member);
    return cls;
  }
  // `previous` may be null.
  void Seal(const NumberBook* previous) {
    std::vector<std::vector<uint64_t>> members;
    for (size_t i = 1; i < classes_.size(); ++i) members.push_back(std::move(classes_[i].members));
    const std::vector<uint32_t> numbers = AssignNumbers(members, previous, 1);
    for (size_t i = 1; i < classes_.size(); ++i) {
      classes_[i].number = numbers[i - 1];
      if (classes_[i].number >= bound_) bound_ = classes_[i].number + 1;
      for (const uint64_t member : members[i - 1]) book_.emplace(member, classes_[i].number);
    }
  }

  std::optional<uint32_t> Find(const Signature& signature) const {
    const auto it = index_.find(&signature);
    return it == index_.end() ? std::nullopt : std::optional<uint32_t>(it->second->number);
  }
  // By number; null where no class has it.
  std::vector<const Signature*> ByNumber() const {
    std::vector<const Signature*> out(bound_);
    for (const Class& cls : classes_) out[cls.number] = &cls.signature;
    return out;
  }
  size_t size() const { return classes_.size(); }
  const NumberBook& book() const { return book_; }

 private:
  struct Hash {
    size_t operator()(const Signature* s) const {
      return absl::HashOf(static_cast<int>(s->state), s->selectors);
    }
  };
  struct Equal {
    bool operator()(const Signature* a, const Signature* b) const { return *a == *b; }
  };

  Class* Add(Signature signature) {
    Class* cls = &classes_.emplace_back();
    cls->signature = std::move(signature);
    index_.emplace(&cls->signature, cls);
    return cls;
  }

  std::deque<Class> classes_;  // [0] is the anonymous process
  absl::flat_hash_map<const Signature*, Class*, Hash, Equal> index_;
  NumberBook book_;
  uint32_t bound_ = 1;
};

}  // namespace mseg

#endif  // MSEG_LABELS_CLASS_REGISTRY_H_
