// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_SUPPORT_POLICY_RANDOM_H_
#define MSEG_TESTS_SUPPORT_POLICY_RANDOM_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "labels/inventory.h"
#include "labels/policy_set.h"

namespace mseg::testing {

// Random policies over a vocabulary so small that everything meets everything.
class PolicyRandom {
 public:
  explicit PolicyRandom(uint64_t seed) : engine_(seed) {}

  // YAML text of documents that go together.
  PolicySet Policy(std::string* text);
  // `extra`: processes that are asked about without living here.
  Inventory Host(size_t extra);
  IdentityFacts Facts(const Inventory& inventory);
  IpAddress Address();
  // TCP, UDP, SCTP, ICMP or something else, at and around the ports that rules name.
  std::pair<uint8_t, uint16_t> Service();

  size_t Below(size_t bound) { return engine_() % bound; }
  bool Chance(unsigned percent) { return Below(100) < percent; }

 private:
  template <typename T>
  const T& Pick(const std::vector<T>& from) {
    return from[Below(from.size())];
  }
  std::string List(const std::vector<std::string>& from);
  std::string Labels();
  std::string WorkloadText(size_t number);
  std::string GroupText(size_t number);
  std::string Process();
  std::string SelectorText(bool cidrs);
  std::string RuleText();
  std::string PolicyText(size_t number);

  std::mt19937_64 engine_;
};

}  // namespace mseg::testing

#endif  // MSEG_TESTS_SUPPORT_POLICY_RANDOM_H_
