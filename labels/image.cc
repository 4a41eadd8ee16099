// SPDX-License-Identifier: Apache-2.0
#include "labels/image.h"

#include "labels/text.h"

namespace mseg {

namespace {
const std::string& Nothing() {
  static const std::string nothing;
  return nothing;
}
}  // namespace

const std::string& RuleInfo::policy() const {
  return document_ == nullptr ? Nothing() : document_->name;
}

const std::string& RuleInfo::rule() const {
  if (document_ == nullptr || rule_ == kDefault) return Nothing();
  return std::get<Policy>(document_->spec).rules[rule_].name;
}

Place RuleInfo::place() const {
  if (document_ == nullptr) return {};
  const Policy& policy = std::get<Policy>(document_->spec);
  if (rule_ != kDefault) return document_->At(policy.rules[rule_].spot);
  return document_->At(policy.selects ? policy.selects->spot : document_->name_spot);
}

std::string RuleInfo::Name() const {
  return rule().empty() ? policy() : Cat(policy(), "/", rule());
}

}  // namespace mseg
