// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_SUPPORT_ENVIRONMENT_H_
#define MSEG_TESTS_SUPPORT_ENVIRONMENT_H_

#include <cstdint>
#include <cstdlib>

namespace mseg::testing {

// A number from the environment, as for seeds and how many of them.
inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

}  // namespace mseg::testing

#endif  // MSEG_TESTS_SUPPORT_ENVIRONMENT_H_
