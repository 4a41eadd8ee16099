// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASS_REGISTRY_H_
#define MSEG_LABELS_CLASS_REGISTRY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "labels/matcher.h"

namespace mseg {

// Gives numbers to signatures. Numbers depend on the signatures alone, not on the order in which
// they came: 0 is the anonymous process, the others follow in the signatures' order.
class ClassRegistry {
 public:
  // Stands for a class until Seal() has numbered it; stays valid as long as the registry.
  using Handle = const std::pair<const Signature, uint32_t>*;

  explicit ClassRegistry(const Signature& anonymous) : anonymous_(Intern(anonymous)) {}

  Handle Intern(const Signature& signature) { return &*classes_.emplace(signature, 0).first; }
  void Seal() {
    uint32_t next = 1;
    for (auto& [signature, number] : classes_) {
      number = &signature == &anonymous_->first ? 0 : next++;
    }
  }

  static uint32_t NumberOf(Handle handle) { return handle->second; }
  std::optional<uint32_t> Find(const Signature& signature) const {
    const auto it = classes_.find(signature);
    return it == classes_.end() ? std::nullopt : std::optional<uint32_t>(it->second);
  }
  std::vector<Signature> ByNumber() const {
    std::vector<Signature> out(classes_.size());
    for (const auto& [signature, number] : classes_) out[number] = signature;
    return out;
  }

 private:
  std::map<Signature, uint32_t> classes_;
  Handle anonymous_;
};

}  // namespace mseg

#endif  // MSEG_LABELS_CLASS_REGISTRY_H_
