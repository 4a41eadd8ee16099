// SPDX-License-Identifier: Apache-2.0
// decide.h by itself: every small table against a reference that is read off the list at its top.
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "mseg/decide.h"

namespace {

using Key = std::tuple<uint32_t, uint32_t, uint16_t, uint8_t, uint8_t>;
using Rows = std::map<Key, mseg_row>;

const mseg_row* LookUp(const void* rows, const mseg_row_key* key) {
  const auto* table = static_cast<const Rows*>(rows);
  const auto it = table->find(Key(key->local, key->peer, key->port, key->direction, key->side));
  return it == table->end() ? nullptr : &it->second;
}

// The four look-ups, first hit wins; which one, and its row.
std::pair<char, const mseg_row*> Reference(const Rows& rows, const mseg_query& q) {
  const std::pair<char, Key> steps[] = {{'a', {q.local, q.peer, q.port, q.direction, q.side}},
                                        {'b', {q.local, q.peer, 0, q.direction, q.side}},
                                        {'c', {q.local, 0, q.port, q.direction, q.side}},
                                        {'d', {q.local, 0, 0, q.direction, q.side}}};
  for (const auto& [step, key] : steps) {
    // Class 0 stands for "all" and "any": a question that names none has fewer steps.
    if ((step == 'a' && (q.peer == 0 || q.port == 0)) || (step == 'b' && q.peer == 0) ||
        (step == 'c' && q.port == 0)) {
      continue;
    }
    if (const auto it = rows.find(key); it != rows.end()) return {step, &it->second};
  }
  return {0, nullptr};
}

mseg_decision Decide(const Rows& rows, const mseg_query& query) {
  return mseg_decide(&query, LookUp, &rows);
}

// Every field differs from every other one and from row to row.
mseg_row NumberedRow(uint32_t number) {
  mseg_row row{};
  row.rule = 100 + number;
  row.would_rule = 200 + number;
  row.verdict = static_cast<uint8_t>(number & 1);
  row.would_be = static_cast<uint8_t>(number >> 1 & 1);
  row.reason = static_cast<uint8_t>(1 + number % (MSEG_REASON_MAX - 1));
  row.would_reason = static_cast<uint8_t>((3 + number) % MSEG_REASON_MAX);
  return row;
}

mseg_query Query(uint32_t local, uint32_t peer, uint16_t port, uint8_t direction, uint8_t side) {
  mseg_query query{};
  query.local = local;
  query.peer = peer;
  query.port = port;
  query.direction = direction;
  query.side = side;
  return query;
}

}  // namespace

TEST_CASE("every table of the rows that could answer gives what the list says") {
  // 8 rows can answer questions of local 1: two peers (0, 2), two ports (0, 3), and the same rows
  // of a second direction; the other side and another local class are noise in every table.
  std::vector<Key> keys;
  for (const uint8_t direction : {0, 1}) {
    for (const uint32_t peer : {0u, 2u}) {
      for (const uint16_t port : {0, 3}) keys.emplace_back(1u, peer, port, direction, uint8_t{1});
    }
  }
  size_t compared = 0;
  for (unsigned subset = 0; subset < 1u << keys.size(); subset++) {
    Rows rows;
    for (size_t i = 0; i < keys.size(); i++) {
      if ((subset & 1u << i) != 0) rows[keys[i]] = NumberedRow(static_cast<uint32_t>(i));
    }
    for (const auto& key : keys) {
      rows[Key(1, std::get<1>(key), std::get<2>(key), std::get<3>(key), 0)] = NumberedRow(50);
      rows[Key(4, std::get<1>(key), std::get<2>(key), std::get<3>(key), 1)] = NumberedRow(51);
    }
    for (const uint32_t peer : {0u, 2u, 5u}) {
      for (const uint16_t port : {0, 3, 6}) {
        for (const uint8_t direction : {0, 1}) {
          const mseg_query query = Query(1, peer, port, direction, 1);
          const auto [step, row] = Reference(rows, query);
          const mseg_decision got = Decide(rows, query);
          mseg_decision want{};
          if (row != nullptr) {
            want = {row->rule,
                    row->would_rule,
                    row->verdict,
                    row->would_be,
                    row->reason,
                    row->would_reason,
                    static_cast<uint8_t>(step),
                    {}};
          } else {
            want.verdict = MSEG_DENY;
            want.would_be = MSEG_DENY;
            want.reason = want.would_reason = MSEG_REASON_NO_ROW;
          }
          INFO("subset " << subset << " peer " << peer << " port " << port << " direction "
                         << int{direction});
          REQUIRE(std::memcmp(&want, &got, sizeof(want)) == 0);
          compared++;
        }
      }
    }
  }
  CHECK(compared == 256 * 18);
}

TEST_CASE("each side has rows of its own") {
  for (const uint8_t side : {0, 1}) {
    Rows rows;
    rows[Key(1, 0, 0, 0, side)] = NumberedRow(1);
    CHECK(Decide(rows, Query(1, 2, 3, 0, side)).probe == 'd');
    CHECK(Decide(rows, Query(1, 2, 3, 0, 1 - side)).probe == 0);
  }
}

TEST_CASE("nothing at all denies and says why") {
  const mseg_decision decision = Decide({}, Query(1, 2, 3, MSEG_INGRESS, 0));
  CHECK(decision.verdict == MSEG_DENY);
  CHECK(decision.would_be == MSEG_DENY);
  CHECK(decision.reason == MSEG_REASON_NO_ROW);
  CHECK(decision.would_reason == MSEG_REASON_NO_ROW);
  CHECK(decision.rule == 0);
}

TEST_CASE("no decision takes more than four look-ups") {
  struct Counter {
    int asked = 0;
  } counter;
  const mseg_query query = Query(1, 2, 3, 0, 0);
  mseg_decide(
      &query,
      [](const void* context, const mseg_row_key*) -> const mseg_row* {
        const_cast<Counter*>(static_cast<const Counter*>(context))->asked++;
        return nullptr;
      },
      &counter);
  CHECK(counter.asked == 4);
}

TEST_CASE("every port of every space has a place of its own") {
  std::vector<bool> taken(MSEG_PORT_BLOCKS * MSEG_PORT_BLOCK);
  size_t places = 0;
  for (const uint8_t side : {0, 1}) {
    for (const uint8_t protocol : {6, 17, 132}) {
      for (uint32_t port = 0; port < 65536; port++) {
        const auto at = mseg_port_place(side, protocol, static_cast<uint16_t>(port));
        REQUIRE(at.block < MSEG_PORT_BLOCKS);
        REQUIRE(at.index < MSEG_PORT_BLOCK);
        const size_t place = at.block * size_t{MSEG_PORT_BLOCK} + at.index;
        REQUIRE_FALSE(taken[place]);
        taken[place] = true;
        places++;
      }
    }
    for (uint32_t protocol = 0; protocol < 256; protocol++) {
      if (protocol == 6 || protocol == 17 || protocol == 132) continue;
      const auto at = mseg_port_place(side, static_cast<uint8_t>(protocol), 80);
      const size_t place = at.block * size_t{MSEG_PORT_BLOCK} + at.index;
      REQUIRE(at.block < MSEG_PORT_BLOCKS);
      REQUIRE_FALSE(taken[place]);
      taken[place] = true;
      places++;
      // Where there are no ports, the port does not matter.
      const auto same = mseg_port_place(side, static_cast<uint8_t>(protocol), 0);
      REQUIRE((same.block == at.block && same.index == at.index));
    }
  }
  CHECK(places == 2 * (3 * 65536 + 253));
}

TEST_CASE("places are where the image says: the space above the port") {
  const std::array<std::pair<uint8_t, uint32_t>, 4> spaces = {
      {{6, MSEG_PORTS_TCP}, {17, MSEG_PORTS_UDP}, {132, MSEG_PORTS_SCTP}, {1, MSEG_PORTS_OTHER}}};
  for (const auto& [protocol, space] : spaces) {
    const auto at = mseg_port_place(0, protocol, 443);
    const uint32_t number = space == MSEG_PORTS_OTHER ? protocol : 443;
    CHECK(at.block * MSEG_PORT_BLOCK + at.index == (space << 16 | number));
    const auto other = mseg_port_place(1, protocol, 443);
    CHECK(other.block == at.block + MSEG_PORT_BLOCKS / 2);
    CHECK(other.index == at.index);
    // Only the lowest bit of a side counts.
    CHECK(mseg_port_place(2, protocol, 443).block == at.block);
  }
}
