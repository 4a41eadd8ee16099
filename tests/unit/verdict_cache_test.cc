// SPDX-License-Identifier: Apache-2.0
// What hooks remember of verdicts: a question is answered with what was decided of it, or not at
// all, also by what interrupts somebody who is writing.
#include "mseg/verdict_cache.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <tuple>

namespace {

mseg_question Question(uint32_t end, uint32_t peer, uint32_t generation = 1) {
  mseg_question q{};
  q.end = end;
  q.peer = peer;
  q.generation = generation;
  q.port = 443;
  q.protocol = 6;
  q.direction = MSEG_INGRESS;
  return q;
}

mseg_decision Decision(uint32_t rule) {
  mseg_decision d{};
  d.rule = rule;
  d.would_rule = ~rule;
  d.verdict = rule % 2 == 0 ? MSEG_ALLOW : MSEG_DENY;
  d.would_be = MSEG_ALLOW;
  d.probe = 'c';
  d.may = 1;
  return d;
}

struct Cache {
  mseg_verdict_cache cache{};

  mseg_verdict_entry& Place(const mseg_question& q) {
    return cache.entries[mseg_verdict_place(&q)];
  }
  bool Recall(const mseg_question& q, mseg_decision* out) {
    return mseg_verdict_recall(&Place(q), &q, out) != 0;
  }
  void Keep(const mseg_question& q, const mseg_decision& d) {
    mseg_verdict_keep(&Place(q), &q, &d);
  }
};

TEST_CASE("a question is answered by what was decided of it") {
  Cache cache;
  const mseg_question asked = Question(7, 9);
  mseg_decision out{};
  CHECK_FALSE(cache.Recall(asked, &out));
  cache.Keep(asked, Decision(4));
  REQUIRE(cache.Recall(asked, &out));
  CHECK(out.rule == 4);
  CHECK(out.would_rule == ~uint32_t{4});
  CHECK(out.verdict == MSEG_ALLOW);
  CHECK(out.probe == 'c');
  CHECK(out.may == 1);
  cache.Keep(asked, Decision(5));
  REQUIRE(cache.Recall(asked, &out));
  CHECK(out.verdict == MSEG_DENY);
}

// Put into one place on purpose, so that only what is compared can tell them apart.
TEST_CASE("every part of a question counts") {
  const mseg_question asked = Question(7, 9);
  const mseg_decision decision = Decision(2);
  mseg_verdict_entry entry{};
  mseg_verdict_keep(&entry, &asked, &decision);
  mseg_decision out{};
  REQUIRE(mseg_verdict_recall(&entry, &asked, &out));
  const auto other = [&](auto change) {
    mseg_question q = asked;
    change(q);
    return mseg_verdict_recall(&entry, &q, &out) == 0;
  };
  CHECK(other([](mseg_question& q) { q.end ^= 1; }));
  CHECK(other([](mseg_question& q) { q.end += MSEG_CLASSES; }));
  CHECK(other([](mseg_question& q) { q.peer ^= 0x8000; }));
  CHECK(other([](mseg_question& q) { q.peer += MSEG_CLASSES; }));
  CHECK(other([](mseg_question& q) { q.generation++; }));
  CHECK(other([](mseg_question& q) { q.generation = 0; }));
  CHECK(other([](mseg_question& q) { q.port ^= 0x100; }));
  CHECK(other([](mseg_question& q) { q.protocol = 17; }));
  CHECK(other([](mseg_question& q) { q.direction = MSEG_EGRESS; }));
  CHECK(other([](mseg_question& q) { std::swap(q.end, q.peer); }));
}

TEST_CASE("what no key tells apart is not kept") {
  mseg_verdict_entry entry{};
  const mseg_question beyond = Question(MSEG_CLASSES + 7, 9);
  const mseg_decision decision = Decision(2);
  mseg_verdict_keep(&entry, &beyond, &decision);
  mseg_decision out{};
  const mseg_question within = Question(7, 9);
  CHECK_FALSE(mseg_verdict_recall(&entry, &beyond, &out));
  CHECK_FALSE(mseg_verdict_recall(&entry, &within, &out));
}

TEST_CASE("while an entry is being written nobody reads it, and nobody else writes") {
  mseg_verdict_entry entry{};
  const mseg_question first = Question(1, 2), second = Question(3, 4);
  const mseg_decision allow = Decision(2), deny = Decision(3);
  mseg_verdict_keep(&entry, &first, &allow);
  entry.sequence++;  // somebody began to write, and was interrupted
  mseg_decision out{};
  CHECK_FALSE(mseg_verdict_recall(&entry, &first, &out));
  mseg_verdict_keep(&entry, &second, &deny);
  entry.sequence++;
  CHECK_FALSE(mseg_verdict_recall(&entry, &second, &out));
  CHECK(mseg_verdict_recall(&entry, &first, &out));
  const uint32_t before = entry.sequence;
  mseg_verdict_keep(&entry, &second, &deny);
  CHECK(entry.sequence == before + 2);  // whoever was reading finds that it changed
}

// The other thread stands for whatever interrupts at any point. Stores and loads keep their order
// between processors of this kind only, as they do within one of any kind.
#ifdef __x86_64__
TEST_CASE("what changes while it is read is not taken") {
  mseg_verdict_entry entry{};
  const mseg_question mine = Question(1, 2), theirs = Question(3, 4);
  const mseg_decision allow = Decision(2), deny = Decision(3);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; i++) {
      mseg_verdict_keep(&entry, &theirs, &deny);
      mseg_verdict_keep(&entry, &mine, &allow);
      for (int pause = 0; pause < i % 256; pause++) MSEG_BARRIER();  // or nobody ever reads one
    }
  });
  uint64_t known = 0, wrong = 0;
  while (known < 1'000'000) {
    mseg_decision out{};
    if (!mseg_verdict_recall(&entry, &mine, &out)) continue;
    known++;
    wrong += out.rule != allow.rule || out.would_rule != allow.would_rule ||
             out.verdict != allow.verdict;
  }
  stop = true;
  writer.join();
  CHECK(wrong == 0);
}
#endif

TEST_CASE("questions that differ in one part only are spread over all places") {
  const auto places = [](auto question_of) {
    std::set<uint32_t> out;
    for (uint32_t i = 0; i < MSEG_VERDICT_PLACES; i++) {
      const mseg_question q = question_of(i);
      const uint32_t place = mseg_verdict_place(&q);
      REQUIRE(place < MSEG_VERDICT_PLACES);
      out.insert(place);
    }
    return out.size();
  };
  CHECK(places([](uint32_t i) { return Question(i, 9); }) > MSEG_VERDICT_PLACES / 2);
  CHECK(places([](uint32_t i) { return Question(9, i); }) > MSEG_VERDICT_PLACES / 2);
  CHECK(places([](uint32_t i) {
          mseg_question q = Question(7, 9);
          q.port = static_cast<uint16_t>(i);
          return q;
        }) > MSEG_VERDICT_PLACES / 2);
  const mseg_question in = Question(7, 9);
  mseg_question out = in;
  out.direction = MSEG_EGRESS;
  CHECK(mseg_verdict_place(&in) != mseg_verdict_place(&out));
}

TEST_CASE("whatever comes and goes, an answer is never another question's, nor an older one") {
  std::mt19937 random(1);
  Cache cache;
  using Key = std::tuple<uint32_t, uint32_t, uint16_t, int, uint32_t>;
  std::map<Key, uint32_t> decided;
  uint64_t known = 0, wrong = 0;
  for (int i = 0; i < 200'000; i++) {
    mseg_question q = Question(random() % 40, random() % 40, 1 + i / 50'000);
    q.port = static_cast<uint16_t>(random() % 3);
    q.direction = static_cast<uint8_t>(random() % 2);
    const Key key{q.end, q.peer, q.port, q.direction, q.generation};
    mseg_decision out{};
    if (cache.Recall(q, &out)) {
      known++;
      const auto it = decided.find(key);
      wrong += it == decided.end() || it->second != out.rule;
      continue;
    }
    const uint32_t rule = random();
    cache.Keep(q, Decision(rule));
    decided[key] = rule;
  }
  CHECK(wrong == 0);
}

}  // namespace
