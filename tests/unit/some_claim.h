// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_UNIT_SOME_CLAIM_H_
#define MSEG_TESTS_UNIT_SOME_CLAIM_H_

#include "mseg/abi.h"
// After abi.h, whose types it uses.
#include "mseg/tcp_option.h"

namespace mseg::testing {

// Every byte another one.
inline mseg_claim SomeClaim() {
  mseg_claim claim{};
  claim.label_id = 0x010203040506;
  claim.exe_id = 0x0708090a0b0c;
  claim.host_id = 0x0d0e0f;
  claim.grade = MSEG_GRADE_IMA;
  claim.epoch = 11;
  return claim;
}

}  // namespace mseg::testing

#endif  // MSEG_TESTS_UNIT_SOME_CLAIM_H_
