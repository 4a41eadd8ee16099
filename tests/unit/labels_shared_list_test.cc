// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "labels/shared_list.h"

namespace mseg {
namespace {

std::vector<int> Counted(size_t size) {
  std::vector<int> out(size);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

bool Same(const SharedList<int>& list, const std::vector<int>& values) {
  return list.size() == values.size() && list.empty() == values.empty() &&
         std::equal(list.begin(), list.end(), values.begin(), values.end());
}

TEST_CASE("a shared list holds what it was made from") {
  CHECK(Same(SharedList<int>(), {}));
  for (const size_t size : {0, 1, 1023, 1024, 1025, 5000}) {
    const std::vector<int> values = Counted(size);
    const SharedList<int> list(values);
    CHECK(Same(list, values));
    CHECK(list == SharedList<int>(values));
    CHECK_FALSE(list == SharedList<int>(Counted(size + 1)));
    if (size > 0) CHECK(list[size - 1] == static_cast<int>(size) - 1);
  }
  const SharedList<int> list(Counted(5000));
  CHECK(std::lower_bound(list.begin(), list.end(), 3000) - list.begin() == 3000);
  CHECK(*(list.end() - 1) == 4999);
  SharedList<int> from = list;
  const SharedList<int> to = std::move(from);
  CHECK(to == list);
  CHECK(from.empty());
  CHECK(from.size() == 0);
}

TEST_CASE("a shared list with other elements leaves the one before alone") {
  std::mt19937 random(7);
  std::vector<int> values = Counted(5000);
  SharedList<int> list(values);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::pair<size_t, int>> changes;
    std::vector<int> after = values;
    const size_t stride = 1 + random() % 2000;
    for (size_t place = random() % 1025; place < values.size(); place += stride) {
      changes.emplace_back(place, -round - 1);
      after[place] = -round - 1;
    }
    const SharedList<int> replaced = list.Replaced(changes);
    REQUIRE(Same(replaced, after));
    REQUIRE(Same(list, values));
    REQUIRE((replaced == list) == (after == values));
    list = replaced;
    values = after;
  }
}

TEST_CASE("pieces without another element are one memory") {
  const SharedList<int> list(Counted(5000));
  const SharedList<int> replaced = list.Replaced({{1024, -1}, {2047, -1}});
  CHECK(&list[1023] == &replaced[1023]);
  CHECK(&list[1024] != &replaced[1024]);
  CHECK(&list[2048] == &replaced[2048]);
  CHECK(replaced[1025] == 1025);
}

}  // namespace
}  // namespace mseg
