// SPDX-License-Identifier: Apache-2.0
// Options of a TCP header that anybody may send: the walk ends, stays within them, and what it
// finds is built back to the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "mseg/abi.h"
// After abi.h, whose types it uses.
#include "mseg/tcp_option.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckFound(const mseg_option_walk& walk) {
  const uint8_t* option = &walk.bytes[walk.at];
  Require(walk.at + walk.want <= walk.size);
  Require(mseg_option_is(option, walk.kind, walk.exid, walk.want) != 0);
  const mseg_claim claim = mseg_parse_claim(option);
  uint8_t again[MSEG_PROOF_LEN] = {};
  mseg_build_claim(again, walk.kind, walk.exid, walk.want, &claim);
  // The grade of an executable that is not known is not kept.
  if (claim.exe_id != 0) Require(std::memcmp(again, option, MSEG_CLAIM_LEN) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mseg_option_walk walk{};
  walk.size = static_cast<uint32_t>(std::min<size_t>(size, MSEG_OPTIONS_MAX));
  if (walk.size != 0) std::memcpy(walk.bytes, data, walk.size);
  walk.kind = MSEG_OPTION_KIND;
  walk.exid = MSEG_OPTION_EXID;
  for (const uint8_t want : {MSEG_CLAIM_LEN, MSEG_PROOF_LEN}) {
    walk.want = want;
    walk.at = walk.found = 0;
    int steps = 0;
    while (mseg_option_step(&walk) != 0) steps++;
    Require(steps <= MSEG_OPTIONS_MAX);
    if (walk.found != 0) CheckFound(walk);
  }
  return 0;
}
