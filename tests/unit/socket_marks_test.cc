// SPDX-License-Identifier: Apache-2.0
// The marks of sockets against a plain set: a socket with an entry is never said to have none.
#include "mseg/socket_marks.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

namespace {

constexpr uint64_t kLap = uint64_t{MSEG_MARK_SOCKETS} * MSEG_MARK_WORDS;

struct Marks {
  std::vector<uint64_t> words = std::vector<uint64_t>(MSEG_MARK_WORDS);

  void Set(uint64_t cookie) {
    uint64_t& word = words[mseg_mark_place(cookie)];
    word = mseg_mark_set(word, cookie);
  }
  bool May(uint64_t cookie) const {
    return mseg_mark_may(words[mseg_mark_place(cookie)], cookie) != 0;
  }
};

TEST_CASE("a mark is exact within its lap") {
  Marks marks;
  CHECK_FALSE(marks.May(1));
  marks.Set(1);
  CHECK(marks.May(1));
  CHECK_FALSE(marks.May(0));
  CHECK_FALSE(marks.May(2));
  CHECK_FALSE(marks.May(1 + MSEG_MARK_SOCKETS));
  CHECK_FALSE(marks.May(1 + kLap));
}

TEST_CASE("a socket of an earlier lap may have an entry, one of a later lap has none yet") {
  Marks marks;
  marks.Set(5 * kLap + 7);
  CHECK(marks.May(7));
  CHECK(marks.May(4 * kLap + 8));
  CHECK_FALSE(marks.May(5 * kLap + 8));
  CHECK_FALSE(marks.May(6 * kLap + 7));
  marks.Set(9);  // older than the word: it is taken to have one anyway
  CHECK(marks.May(9));
  CHECK(marks.May(5 * kLap + 7));
}

// Cookies come nearly in sequence, from several processors, each with a stock of its own.
TEST_CASE("no socket with an entry is missed, and few others are looked up in vain") {
  std::mt19937_64 random(1);
  Marks marks;
  std::set<uint64_t> live;
  std::vector<uint64_t> all;
  uint64_t vain = 0, asked = 0, missed = 0;
  uint64_t stock[2] = {0, 4096}, next = 8192;
  for (uint64_t i = 0; i < 3 * kLap; i++) {
    uint64_t& at = stock[random() % 16 == 0];
    const uint64_t cookie = at++;
    if (at % 4096 == 0) {
      at = next;
      next += 4096;
    }
    if (random() % 64 == 0) {
      marks.Set(cookie);
      live.insert(cookie);
    } else {
      asked++;
      vain += marks.May(cookie);
    }
    if (random() % 4096 == 0) all.assign(live.begin(), live.end());
    if (!all.empty() && random() % 16 == 0) missed += !marks.May(all[random() % all.size()]);
  }
  for (const uint64_t cookie : live) missed += !marks.May(cookie);
  CHECK(missed == 0);
  CHECK(live.size() > 10000);
  CHECK(vain * 10 < asked);
}

TEST_CASE("laps may wrap") {
  constexpr uint64_t kLast = uint64_t{UINT32_MAX} * kLap;
  Marks marks;
  marks.Set(kLast + 3);
  CHECK(marks.May(kLast + 3));
  CHECK_FALSE(marks.May(kLast + kLap + 3));
  marks.Set(kLast + kLap + 3);
  CHECK(marks.May(kLast + 3));
  CHECK(marks.May(kLast + kLap + 3));
  CHECK_FALSE(marks.May(kLast + kLap + 4));
}

}  // namespace
