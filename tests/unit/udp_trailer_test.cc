// SPDX-License-Identifier: Apache-2.0
// The identity of a datagram's sender: its bytes, its check, its MAC and what it is bound to, and
// the window of numbers against a naive one.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "mseg/abi.h"
// After abi.h, whose types it uses.
#include "mseg/udp_trailer.h"
#include "tests/unit/some_claim.h"

namespace {

using mseg::testing::SomeClaim;

using Trailer = std::array<uint8_t, MSEG_TRAILER_LEN>;
constexpr uint16_t kExid = MSEG_OPTION_EXID;
constexpr mseg_wire_key kKey = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

uint64_t Mac(const Trailer& trailer, uint16_t port, const std::vector<uint8_t>& payload) {
  const auto udp_len = static_cast<uint16_t>(MSEG_UDP_HEADER + payload.size());
  mseg_siphash s = mseg_datagram_mac_begin(&kKey, trailer.data(), port, udp_len);
  for (size_t at = 0; at < payload.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, &payload[at], std::min<size_t>(8, payload.size() - at));
    mseg_siphash_word(&s, mseg_payload_word(word));
  }
  return mseg_datagram_mac_end(&s, udp_len);
}

Trailer Build(uint64_t sequence, uint16_t port, const std::vector<uint8_t>& payload) {
  Trailer trailer{};
  const mseg_claim claim = SomeClaim();
  mseg_build_trailer(trailer.data(), kExid, &claim, sequence);
  mseg_finish_trailer(trailer.data(), Mac(trailer, port, payload),
                      mseg_surplus_of(static_cast<uint32_t>(MSEG_UDP_HEADER + payload.size())));
  return trailer;
}

std::string Hex(const Trailer& trailer) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : trailer) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::vector<uint8_t> LengthOf(uint32_t length) {
  return {static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
}

uint32_t OnesSum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i]) << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

}  // namespace

// Made by the other implementation, tests/support/datagram.py.
TEST_CASE("a trailer is these bytes", "[trailer]") {
  std::vector<uint8_t> payload(11);
  std::iota(payload.begin(), payload.end(), uint8_t{0});
  CHECK(Hex(Build(0x1122334455667788, 7000, payload)) ==
        "b3657f246d732b0d0e0f0102030405060708090a0b0c1122334455667788034a7d7f0947672f");
  CHECK(Hex(Build(MSEG_TRAILER_ANSWER | 1, 53, {})) ==
        "23ca7f246d732b0d0e0f0102030405060708090a0b0c800000000000000103d4f6c36f19a87e");
}

TEST_CASE("a trailer is read back, and nothing else is taken for one", "[trailer]") {
  const Trailer trailer = Build(42, 7000, {1, 2, 3});
  REQUIRE(mseg_trailer_is(trailer.data(), kExid));
  CHECK(mseg_surplus_is_whole(trailer.data(), mseg_surplus_of(11)));
  CHECK_FALSE(mseg_surplus_is_whole(trailer.data(), mseg_surplus_of(12)));
  const mseg_trailer read = mseg_parse_trailer(trailer.data());
  const mseg_claim claim = SomeClaim();
  CHECK(std::memcmp(&read.claim, &claim, sizeof(claim)) == 0);
  CHECK(read.sequence == 42);
  CHECK(read.mac == Mac(trailer, 7000, {1, 2, 3}));
  CHECK_FALSE(mseg_trailer_is(trailer.data(), kExid + 1));
  for (const size_t byte : {2, 3, 4, 5}) {
    Trailer other = trailer;
    other[byte] ^= 1;
    CHECK_FALSE(mseg_trailer_is(other.data(), kExid));
  }
  Trailer other = trailer;
  other[6] ^= 0x80;  // the version
  CHECK_FALSE(mseg_trailer_is(other.data(), kExid));
}

TEST_CASE("only an area of its size may hold one", "[trailer]") {
  CHECK(mseg_has_surplus(8 + 38, 8));
  CHECK(mseg_has_surplus(9 + 39, 9));
  for (const uint32_t ip_payload : {8u, 8u + 37, 8u + 39, 8u + 76, 0u, 0xffffffffu}) {
    CHECK_FALSE(mseg_has_surplus(ip_payload, 8));
  }
  CHECK_FALSE(mseg_has_surplus(9 + 38, 9));
  CHECK_FALSE(mseg_has_surplus(7 + 39, 7));
  CHECK(mseg_may_have_trailer(MSEG_UDP_HEADER + MSEG_UDP_PAYLOAD_MAX));
  CHECK_FALSE(mseg_may_have_trailer(MSEG_UDP_HEADER + MSEG_UDP_PAYLOAD_MAX + 1));
}

TEST_CASE("the checksum is right whichever length it is made with", "[trailer]") {
  std::mt19937 random(20);
  for (int round = 0; round < 2000; round++) {
    std::vector<uint8_t> payload(random() % 40);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random());
    const Trailer trailer = Build(random(), static_cast<uint16_t>(random()), payload);
    const auto udp_len = static_cast<uint32_t>(MSEG_UDP_HEADER + payload.size());
    // What UDP sums up: the length of the pseudo header, and the bytes. Addresses and ports are
    // the same either way.
    std::vector<uint8_t> bytes = LengthOf(udp_len),
                         whole = LengthOf(udp_len + mseg_surplus_of(udp_len));
    for (const uint8_t byte : payload) bytes.push_back(byte);
    for (const uint8_t byte : payload) whole.push_back(byte);
    if (udp_len & 1) whole.push_back(0);
    for (const uint8_t byte : trailer) whole.push_back(byte);
    CHECK(OnesSum(bytes) % 0xffff == OnesSum(whole) % 0xffff);
    CHECK((trailer[0] | trailer[1]) != 0);
  }
}

TEST_CASE("a MAC is bound to every field, the port, the length and the payload", "[trailer]") {
  const std::vector<uint8_t> payload = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const Trailer trailer = Build(42, 7000, payload);
  const uint64_t mac = Mac(trailer, 7000, payload);
  CHECK(Mac(trailer, 7001, payload) != mac);
  for (size_t byte = 6; byte < 30; byte++) {
    for (int bit = 0; bit < 8; bit++) {
      Trailer other = trailer;
      other[byte] ^= static_cast<uint8_t>(1 << bit);
      CHECK(Mac(other, 7000, payload) != mac);
    }
  }
  for (size_t byte = 0; byte < payload.size(); byte++) {
    std::vector<uint8_t> other = payload;
    other[byte] ^= 1;
    CHECK(Mac(trailer, 7000, other) != mac);
  }
  std::vector<uint8_t> longer = payload;
  longer.push_back(0);  // what the last word is filled up with
  CHECK(Mac(trailer, 7000, longer) != mac);
  std::vector<uint8_t> shorter = payload;
  shorter.pop_back();
  CHECK(Mac(trailer, 7000, shorter) != mac);
}

TEST_CASE("a number is taken once", "[window]") {
  mseg_window window{};
  CHECK_FALSE(mseg_window_take(&window, 0));
  CHECK(mseg_window_take(&window, 1000));
  CHECK_FALSE(mseg_window_take(&window, 1000));
  // Whatever was there before the first is not known, so it is not new.
  CHECK_FALSE(mseg_window_take(&window, 999));
  CHECK(mseg_window_take(&window, 1001));
  CHECK(mseg_window_take(&window, 1063));
  CHECK(mseg_window_take(&window, 1002));
  CHECK_FALSE(mseg_window_take(&window, 1002));
  CHECK(mseg_window_take(&window, 1000000));
  CHECK_FALSE(mseg_window_take(&window, 1003));
  CHECK(mseg_window_take(&window, 1000000 - 4096));
  CHECK_FALSE(mseg_window_take(&window, 1000000 - 4096));
  CHECK(mseg_window_take(&window, ~0ull));
  CHECK_FALSE(mseg_window_take(&window, 1000000));
}

TEST_CASE("the window is as a set of all numbers that were taken", "[window]") {
  constexpr uint64_t kSure = MSEG_WINDOW_WORDS * 64 - 63;
  std::mt19937_64 random(21);
  for (int round = 0; round < 50; round++) {
    mseg_window window{};
    const uint64_t start = 1 + random() % (1ull << 60);
    uint64_t highest = start;
    std::set<uint64_t> taken = {start};
    CHECK(mseg_window_take(&window, start));
    for (int step = 0; step < 3000; step++) {
      const uint64_t reach = 1 + random() % (1ull << random() % 15);
      const uint64_t number = random() % 2 == 0 ? highest + reach : highest - reach;
      if (number <= start) continue;
      const bool is_new = mseg_window_take(&window, number) != 0;
      if (taken.count(number) != 0) {
        REQUIRE_FALSE(is_new);
      } else if (number > highest || highest - number < kSure) {
        REQUIRE(is_new);
      }
      if (is_new) taken.insert(number);
      highest = std::max(highest, number);
    }
  }
}
