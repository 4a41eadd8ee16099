// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_SUPPORT_POLICY_FIXTURE_H_
#define MSEG_TESTS_SUPPORT_POLICY_FIXTURE_H_

#include <string>
#include <string_view>

#include "labels/compiler.h"
#include "labels/simulator.h"

namespace mseg::testing {

// A document's text from its spec, to keep tests short.
std::string WorkloadYaml(std::string_view name, std::string_view spec);
std::string PolicyYaml(std::string_view name, std::string_view spec);
std::string ServiceYaml(std::string_view name, std::string_view spec);
std::string GroupYaml(std::string_view name, std::string_view spec);

// Policy text that is right; a wrong one fails the test with its diagnostics.
PolicySet GoodPolicy(const std::string& text);
GenerationImage GoodImage(const PolicySet& policy, const Inventory& inventory);

ExecutableInfo Executable(uint32_t ref, std::string_view path, uint8_t content,
                          mseg_grade grade = MSEG_GRADE_HASH);

// The answer to one question, ends as in `msegctl explain`.
Explanation Ask(const PolicySet& policy, std::string_view from, std::string_view to,
                std::string_view service);
// `allow rule p/r`, or `deny default p`; with ` would deny` behind it if that differs.
std::string Answer(const PolicySet& policy, std::string_view from, std::string_view to,
                   std::string_view service);

}  // namespace mseg::testing

#endif  // MSEG_TESTS_SUPPORT_POLICY_FIXTURE_H_
