// SPDX-License-Identifier: Apache-2.0
// What hooks remember of addresses: what was found for the same question, or nothing.
#include "mseg/place_cache.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <set>

namespace {

struct Address {
  uint32_t words[4] = {0, 0, 0xffff0000, 0x0100000a};
};

TEST_CASE("the class of an address is known in its generation") {
  mseg_class_entry entry{};
  const Address asked;
  uint32_t cls = 0;
  CHECK_FALSE(mseg_class_recall(&entry, asked.words, 3, &cls));
  mseg_class_keep(&entry, asked.words, 3, 77);
  REQUIRE(mseg_class_recall(&entry, asked.words, 3, &cls));
  CHECK(cls == 77);
  CHECK_FALSE(mseg_class_recall(&entry, asked.words, 4, &cls));
  for (int word = 0; word < 4; word++) {
    INFO("word " << word);
    for (const uint32_t bit : {1U, 1U << 31}) {
      Address other;
      other.words[word] ^= bit;
      CHECK_FALSE(mseg_class_recall(&entry, other.words, 3, &cls));
    }
  }
}

mseg_listening_question AtAddress(const Address& at = {}) {
  mseg_listening_question q{};
  mseg_ask_at_address(&q, 9, at.words, 6 << 16 | 443);
  q.changes = 5;
  q.generation = 3;
  return q;
}

TEST_CASE("who listens is known in its generation, until listeners change") {
  mseg_listening_entry entry{};
  const mseg_listening_question asked = AtAddress();
  mseg_identity id{}, out{};
  id.cgroup_id = 4711;
  id.cls = 12;
  id.generation = 3;
  CHECK_FALSE(mseg_listening_recall(&entry, &asked, &out));
  mseg_listening_keep(&entry, &asked, &id);
  REQUIRE(mseg_listening_recall(&entry, &asked, &out));
  CHECK(out.cgroup_id == 4711);
  CHECK(out.cls == 12);
  CHECK(out.generation == 3);
  const std::function<void(mseg_listening_question*)> changes[] = {
      [](mseg_listening_question* q) { q->generation++; },
      [](mseg_listening_question* q) { q->changes++; },
      [](mseg_listening_question* q) { q->changes += uint64_t{1} << 32; },
      [](mseg_listening_question* q) { q->word[0]++; },     // the namespace
      [](mseg_listening_question* q) { q->word[1] ^= 1; },  // the address
      [](mseg_listening_question* q) { q->word[2] ^= uint64_t{1} << 63; },
      [](mseg_listening_question* q) { q->word[3] ^= 1; },         // the port
      [](mseg_listening_question* q) { q->word[3] ^= 17 << 16; },  // the protocol
      [](mseg_listening_question* q) { mseg_ask_of_socket(q, q->word[0]); },
  };
  for (const auto& change : changes) {
    INFO("change " << &change - changes);
    mseg_listening_question q = asked;
    change(&q);
    CHECK_FALSE(mseg_listening_recall(&entry, &q, &out));
  }
}

// Whatever the cookie and the namespace are.
TEST_CASE("a socket is never taken for an address") {
  for (const uint64_t number : {uint64_t{0}, uint64_t{9}, ~uint64_t{0}}) {
    mseg_listening_question address{}, socket{};
    mseg_ask_at_address(&address, number, Address{{0, 0, 0, 0}}.words, 0);
    mseg_ask_of_socket(&socket, number);
    CHECK(address.word[3] != socket.word[3]);
  }
}

TEST_CASE("while an entry is being written nobody reads it, and nobody else writes") {
  mseg_class_entry place{};
  const Address asked;
  uint32_t cls = 0;
  mseg_class_keep(&place, asked.words, 3, 77);
  place.sequence++;
  CHECK_FALSE(mseg_class_recall(&place, asked.words, 3, &cls));
  mseg_class_keep(&place, asked.words, 3, 78);
  place.sequence++;
  REQUIRE(mseg_class_recall(&place, asked.words, 3, &cls));
  CHECK(cls == 77);

  mseg_listening_entry entry{};
  const mseg_listening_question q = AtAddress();
  mseg_identity one{}, two{}, out{};
  one.cls = 1;
  two.cls = 2;
  mseg_listening_keep(&entry, &q, &one);
  entry.sequence++;
  CHECK_FALSE(mseg_listening_recall(&entry, &q, &out));
  mseg_listening_keep(&entry, &q, &two);
  entry.sequence++;
  REQUIRE(mseg_listening_recall(&entry, &q, &out));
  CHECK(out.cls == 1);
}

TEST_CASE("neighbours are spread over the places") {
  std::set<uint32_t> classes, addresses, sockets;
  for (uint32_t i = 0; i < 256; i++) {
    Address at;
    at.words[3] += i << 24;  // the last byte of an IPv4 address
    classes.insert(mseg_class_place(at.words));
    mseg_listening_question q = AtAddress(at);
    addresses.insert(mseg_listening_place(&q));
    mseg_ask_of_socket(&q, 1000 + i);
    sockets.insert(mseg_listening_place(&q));
    REQUIRE(*classes.rbegin() < MSEG_CLASS_PLACES);
    REQUIRE(*addresses.rbegin() < MSEG_LISTENING_PLACES);
    REQUIRE(*sockets.rbegin() < MSEG_LISTENING_PLACES);
  }
  CHECK(classes.size() > MSEG_CLASS_PLACES / 2);
  CHECK(addresses.size() > MSEG_LISTENING_PLACES / 2);
  CHECK(sockets.size() > MSEG_LISTENING_PLACES / 2);
}

}  // namespace
