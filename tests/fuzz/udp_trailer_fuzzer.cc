// SPDX-License-Identifier: Apache-2.0
// What follows UDP's header in a packet that anybody may send: a trailer is found within it or not
// at all, and what is found is built back to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "mseg/abi.h"
// After abi.h, whose types it uses.
#include "mseg/udp_trailer.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckFound(const uint8_t* bytes, uint32_t surplus) {
  const mseg_trailer trailer = mseg_parse_trailer(bytes);
  uint8_t again[MSEG_TRAILER_LEN] = {};
  mseg_build_trailer(again, MSEG_OPTION_EXID, &trailer.claim, trailer.sequence);
  mseg_finish_trailer(again, trailer.mac, surplus);
  // The grade of an executable that is not known is not kept.
  if (trailer.claim.exe_id == 0) return;
  Require(std::memcmp(again + 2, bytes + 2, sizeof(again) - 2) == 0);
  Require(mseg_surplus_is_whole(again, surplus) != 0);
  if (mseg_surplus_is_whole(bytes, surplus) != 0) {
    Require(std::memcmp(again, bytes, sizeof(again)) == 0);
  }
}

}  // namespace

// Two bytes of UDP's length, then what IP says follows its header.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint32_t udp_len = static_cast<uint32_t>(data[0] << 8 | data[1]);
  const std::vector<uint8_t> packet(data + 2, data + size);
  if (mseg_has_surplus(static_cast<uint32_t>(packet.size()), udp_len) == 0) return 0;
  const uint32_t at = udp_len + (udp_len & 1);
  Require(at + MSEG_TRAILER_LEN == packet.size());
  if (mseg_trailer_is(&packet[at], MSEG_OPTION_EXID) == 0) return 0;
  CheckFound(&packet[at], mseg_surplus_of(udp_len));
  return 0;
}
