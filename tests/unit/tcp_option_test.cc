// SPDX-License-Identifier: Apache-2.0
// The identity option: its bytes, its MACs against published vectors, and its parser.
#include <sodium.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <vector>

#include "mseg/abi.h"
// After abi.h, whose types it uses.
#include "mseg/tcp_option.h"
#include "tests/unit/some_claim.h"

namespace {

using mseg::testing::SomeClaim;

constexpr uint8_t kKind = MSEG_OPTION_KIND;
constexpr uint16_t kExid = MSEG_OPTION_EXID;

uint64_t SipHash(uint64_t k0, uint64_t k1, const std::vector<uint8_t>& message) {
  mseg_siphash s = mseg_siphash_begin(k0, k1);
  size_t at = 0;
  for (; at + 8 <= message.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, &message[at], 8);
    mseg_siphash_word(&s, word);
  }
  uint64_t last = static_cast<uint64_t>(message.size()) << 56;
  for (size_t i = 0; at + i < message.size(); i++) {
    last |= static_cast<uint64_t>(message[at + i]) << 8 * i;
  }
  return mseg_siphash_end(&s, last);
}

std::array<uint8_t, MSEG_PROOF_LEN> SomeProof(const mseg_wire_key& key, uint32_t client,
                                              uint32_t server) {
  std::array<uint8_t, MSEG_PROOF_LEN> option{};
  const mseg_claim claim = SomeClaim();
  mseg_build_claim(option.data(), kKind, kExid, MSEG_PROOF_LEN, &claim);
  mseg_build_proof_mac(option.data(), mseg_proof_mac(&key, client, server, option.data()));
  return option;
}

bool Verifies(const mseg_wire_key& key, uint32_t client, uint32_t server,
              const std::array<uint8_t, MSEG_PROOF_LEN>& option) {
  return mseg_option_is(option.data(), kKind, kExid, MSEG_PROOF_LEN) &&
         mseg_proof_mac(&key, client, server, option.data()) == mseg_get64(&option[20]);
}

// Where the walk finds an option of this length, -1 for nowhere.
int Find(const std::vector<uint8_t>& options, uint8_t want) {
  mseg_option_walk walk{};
  std::copy(options.begin(), options.end(), walk.bytes);
  walk.size = static_cast<uint32_t>(options.size());
  walk.want = want;
  walk.kind = kKind;
  walk.exid = kExid;
  for (int i = 0; i < MSEG_OPTIONS_MAX && mseg_option_step(&walk) != 0; i++) {
  }
  return walk.found != 0 ? static_cast<int>(walk.at) : -1;
}

}  // namespace

// The first vectors of the reference implementation: key 00..0f, messages 00, 00 01, ...
TEST_CASE("SipHash-2-4 gives its published values", "[option]") {
  const uint64_t k0 = 0x0706050403020100, k1 = 0x0f0e0d0c0b0a0908;
  const std::vector<std::pair<size_t, uint64_t>> vectors = {
      {0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd}, {2, 0x0d6c8009d9a94f5a},
      {3, 0x85676696d7fb7e2d},  {7, 0xab0200f58b01d137}, {8, 0x93f5f5799a932462},
      {15, 0xa129ca6149be45e5},
  };
  for (const auto& [size, want] : vectors) {
    std::vector<uint8_t> message(size);
    for (size_t i = 0; i < size; i++) message[i] = static_cast<uint8_t>(i);
    CAPTURE(size);
    CHECK(SipHash(k0, k1, message) == want);
  }
}

TEST_CASE("SipHash is what libsodium makes of it", "[option]") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 1000; round++) {
    uint8_t key[crypto_shorthash_KEYBYTES], out[crypto_shorthash_BYTES];
    uint64_t k[2] = {random(), random()}, want = 0;
    std::memcpy(key, k, sizeof(key));
    std::vector<uint8_t> message(random() % 64);
    for (uint8_t& byte : message) byte = static_cast<uint8_t>(random());
    crypto_shorthash(out, message.data(), message.size(), key);
    std::memcpy(&want, out, sizeof(want));
    REQUIRE(SipHash(k[0], k[1], message) == want);
  }
}

TEST_CASE("a fingerprint is BLAKE2b of the two ids", "[option]") {
  std::mt19937_64 random(8);
  for (int round = 0; round < 1000; round++) {
    const uint64_t label = random() & MSEG_ID48, exe = random() & MSEG_ID48;
    uint8_t message[12], out[16];
    mseg_put48(message, label);
    mseg_put48(message + 6, exe);
    crypto_generichash_blake2b(out, sizeof(out), message, sizeof(message), nullptr, 0);
    REQUIRE(mseg_fingerprint(label, exe) == mseg_get48(out));
  }
}

TEST_CASE("the bytes are where the format has them", "[option]") {
  std::array<uint8_t, MSEG_CLAIM_LEN> claim{};
  const mseg_claim who = SomeClaim();
  mseg_build_claim(claim.data(), kKind, kExid, MSEG_CLAIM_LEN, &who);
  const std::array<uint8_t, MSEG_CLAIM_LEN> want = {
      253, 20, 0x6d, 0x73, 0x2b, 0x0d, 0x0e, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0a, 0x0b, 0x0c};
  CHECK(claim == want);
  const mseg_claim back = mseg_parse_claim(claim.data());
  CHECK(std::memcmp(&back, &who, sizeof(who)) == 0);

  mseg_answer answer{};
  answer.fingerprint = 0xa1a2a3a4a5a6;
  answer.mac = 0xb1b2b3b4b5b6;
  answer.host_id = 0x123456;
  answer.grade = MSEG_GRADE_VERITY;
  answer.epoch = 15;
  std::array<uint8_t, MSEG_ANSWER_LEN> bytes{};
  mseg_build_answer(bytes.data(), kKind, kExid, &answer);
  const mseg_answer again = mseg_parse_answer(bytes.data());
  CHECK(std::memcmp(&again, &answer, sizeof(answer)) == 0);
}

TEST_CASE("an executable that is not known has no grade", "[option]") {
  std::array<uint8_t, MSEG_CLAIM_LEN> bytes{};
  mseg_claim who = SomeClaim();
  who.exe_id = 0;
  mseg_build_claim(bytes.data(), kKind, kExid, MSEG_CLAIM_LEN, &who);
  CHECK(mseg_parse_claim(bytes.data()).grade == MSEG_GRADE_UNKNOWN);
}

TEST_CASE("a proof fails with any bit flipped, another key or another handshake", "[option]") {
  const mseg_wire_key key = {{0x1122334455667788, 0x99aabbccddeeff00}};
  const auto proof = SomeProof(key, 1000, 2000);
  REQUIRE(Verifies(key, 1000, 2000, proof));
  CHECK_FALSE(Verifies(key, 1001, 2000, proof));
  CHECK_FALSE(Verifies(key, 1000, 2001, proof));
  CHECK_FALSE(Verifies(key, 2000, 1000, proof));
  CHECK_FALSE(Verifies({{key.k[0] ^ 1, key.k[1]}}, 1000, 2000, proof));
  CHECK_FALSE(Verifies({{key.k[0], key.k[1] ^ 1}}, 1000, 2000, proof));
  for (size_t bit = 0; bit < 8 * proof.size(); bit++) {
    auto flipped = proof;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ 1 << bit % 8);
    CAPTURE(bit);
    CHECK_FALSE(Verifies(key, 1000, 2000, flipped));
  }
}

TEST_CASE("an answer's MAC is none of a proof, and never the mark of none", "[option]") {
  const mseg_wire_key key = {{1, 2}};
  std::array<uint8_t, MSEG_PROOF_LEN> bytes = SomeProof(key, 5, 6);
  CHECK(mseg_answer_mac(&key, 5, 6, bytes.data()) !=
        (mseg_proof_mac(&key, 5, 6, bytes.data()) & MSEG_ID48));
  CHECK(mseg_answer_mac(&key, 5, 6, bytes.data()) != 0);
}

TEST_CASE("the option is found behind others, and nothing that only looks like it", "[option]") {
  const mseg_wire_key key = {{1, 2}};
  const auto proof = SomeProof(key, 5, 6);
  const std::vector<uint8_t> option(proof.begin(), proof.end());
  auto with = [&](std::vector<uint8_t> before) {
    before.insert(before.end(), option.begin(), option.end());
    return before;
  };
  CHECK(Find(option, MSEG_PROOF_LEN) == 0);
  CHECK(Find(with({1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}), MSEG_PROOF_LEN) == 12);
  CHECK(Find(with({253, 4, 0x12, 0x34}), MSEG_PROOF_LEN) == 4);
  CHECK(Find(option, MSEG_CLAIM_LEN) == -1);              // another length
  CHECK(Find(with({0, 0, 0, 0}), MSEG_PROOF_LEN) == -1);  // behind the end of options
  CHECK(Find(with({8, 1, 1, 1}), MSEG_PROOF_LEN) == -1);  // a length that cannot be
  CHECK(Find(with({8, 0, 1, 1}), MSEG_PROOF_LEN) == -1);
  std::vector<uint8_t> cut(option.begin(), option.end() - 1);
  CHECK(Find(cut, MSEG_PROOF_LEN) == -1);
  std::vector<uint8_t> version = option;
  version[4] |= 0x40;
  CHECK(Find(version, MSEG_PROOF_LEN) == -1);
  CHECK(Find({}, MSEG_PROOF_LEN) == -1);
}

TEST_CASE("at least one hook verifies the end of a handshake, whatever a port's forms say",
          "[option]") {
  const uint16_t port = 3306;
  const uint64_t bit = uint64_t{1} << port % 64;
  const mseg_forms strict = {.strict = bit, .fast = ~bit};
  CHECK(mseg_proven_at_ingress(&strict, port));
  CHECK_FALSE(mseg_proven_when_established(&strict, port));
  const mseg_forms fast = {.strict = ~bit, .fast = bit};
  CHECK_FALSE(mseg_proven_at_ingress(&fast, port));
  CHECK(mseg_proven_when_established(&fast, port));
  const mseg_forms both = {.strict = bit, .fast = bit}, none = {};
  for (const mseg_forms* forms : {&both, &none, static_cast<const mseg_forms*>(nullptr)}) {
    CHECK(mseg_proven_at_ingress(forms, port));
    CHECK(mseg_proven_when_established(forms, port));
  }
}

TEST_CASE("the quarantine is full before its last place is taken", "[option]") {
  CHECK_FALSE(mseg_quarantine_is_full(0, 0));
  CHECK_FALSE(mseg_quarantine_is_full(MSEG_QUARANTINE_LIMIT - 1, 0));
  CHECK(mseg_quarantine_is_full(MSEG_QUARANTINE_LIMIT, 0));
  CHECK_FALSE(mseg_quarantine_is_full(MSEG_QUARANTINE_LIMIT, 1));
  CHECK(mseg_quarantine_is_full(UINT64_MAX, UINT64_MAX - MSEG_QUARANTINE_LIMIT));
  CHECK_FALSE(mseg_quarantine_is_full(5, 6));  // between two steps of who counts
  CHECK(MSEG_QUARANTINE_LIMIT < MSEG_QUARANTINE_PLACES);
}

TEST_CASE("what is noted of a SYN is found again for its number alone", "[option]") {
  std::mt19937_64 random(9);
  for (int round = 0; round < 1000; round++) {
    const auto isn = static_cast<uint32_t>(random());
    const auto host = static_cast<uint32_t>(random()) & MSEG_ID24;
    REQUIRE(mseg_syn_place(isn) < MSEG_SYNS);
    REQUIRE(mseg_syn_host(mseg_syn_note(isn, host), isn) == host);
    REQUIRE(mseg_syn_host(mseg_syn_note(isn, host), isn + 1) == 0);
  }
  CHECK(mseg_syn_host(0, 1) == 0);
}

TEST_CASE("a refused SYN without room for a claim has another try, and no more", "[option]") {
  CHECK_FALSE(mseg_lacks_room(20));
  CHECK_FALSE(mseg_lacks_room(40));  // a default SYN
  CHECK(mseg_lacks_room(44));        // and Fast Open or MPTCP
  CHECK(mseg_lacks_room(52));
  CHECK_FALSE(mseg_lacks_room(60));  // a default SYN and a claim
  const uint64_t now = uint64_t{5000} * 1000000000;
  const uint64_t first = mseg_refusal_note(now, 0, 1);
  CHECK_FALSE(mseg_refusal_holds(first, now + 1));
  CHECK(mseg_refusal_holds(mseg_refusal_note(now, first, 1), now + 1));
  CHECK(mseg_refusal_holds(mseg_refusal_note(now, 0, 0), now + MSEG_REFUSED_NS - 1));
  CHECK_FALSE(mseg_refusal_holds(mseg_refusal_note(now, 0, 0), now + MSEG_REFUSED_NS));
  // One that nobody remembers any more is none, although it still lies there.
  const uint64_t much_later = now + MSEG_REFUSED_NS;
  CHECK_FALSE(mseg_refusal_holds(mseg_refusal_note(much_later, first, 1), much_later + 1));
  CHECK_FALSE(mseg_refusal_holds(mseg_refusal_note(much_later, now, 1), much_later + 1));
}

TEST_CASE("refusals are looked for only while one may be remembered") {
  const uint64_t now = uint64_t{5000} * 1000000000;
  CHECK_FALSE(mseg_refused_since(0, now));
  CHECK(mseg_refused_since(now, now));
  CHECK(mseg_refused_since(now, now + MSEG_REFUSED_NS));
  CHECK_FALSE(mseg_refused_since(now, now + MSEG_REFUSED_NS + MSEG_COARSE_NS));
}
