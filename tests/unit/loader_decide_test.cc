// SPDX-License-Identifier: Apache-2.0
// decide.h by itself: every small table against a reference that is read off the list at its top.
#include <algorithm>
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

// The list at the top of decide.h, read off; which row answers, and its letter.
std::pair<char, const mseg_row*> Reference(const Rows& rows, const mseg_query& q) {
  auto find = [&](uint32_t peer, uint16_t port) {
    const uint32_t local = (peer & MSEG_PEER_CELL) != 0 ? q.tail : q.end;
    const auto it = rows.find(Key(local, peer, port, q.direction, q.side));
    return it == rows.end() ? nullptr : &it->second;
  };
  const bool peers = q.peer_hint != 0;
  const bool ports = q.port != 0 && q.port_hint != 0;
  const mseg_row* a = !peers || q.port == 0 ? nullptr : find(q.peer, q.port);
  const mseg_row* b = !peers || q.by_peer == 0 ? nullptr : find(q.peer, 0);
  const mseg_row* c = !ports ? nullptr : find(MSEG_PEER_ALL, q.port);
  const mseg_row* d = !ports || q.cell == 0 ? nullptr : find(MSEG_PEER_CELL | q.cell, q.port);
  const mseg_row* e = q.cell == 0 ? nullptr : find(MSEG_PEER_CELL | q.cell, 0);
  const mseg_row* f = find(MSEG_PEER_ALL, 0);
  if (q.by_peer != 0) {
    if (b != nullptr) return a != nullptr && b->more != 0 ? std::pair('a', a) : std::pair('b', b);
  } else if (a != nullptr) {
    return {'a', a};
  }
  if (c != nullptr) return d != nullptr && c->more != 0 ? std::pair('d', d) : std::pair('c', c);
  if (e != nullptr) return {'e', e};
  if (f != nullptr) return {'f', f};
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

mseg_query Query(uint32_t end, uint32_t tail, uint32_t peer, uint16_t port, uint8_t direction,
                 uint8_t side) {
  mseg_query query{};
  query.end = end;
  query.tail = tail;
  query.peer = peer;
  query.port = port;
  query.direction = direction;
  query.side = side;
  query.peer_hint = query.port_hint = 1;
  return query;
}

}  // namespace

TEST_CASE("every table of the rows that could answer gives what the list says") {
  // 6 rows can answer a question of end 1 and tail 9: those of the peer, of all and of the cell,
  // each for the port and for any. The other direction, the other side and another local are noise.
  std::vector<Key> keys;
  for (const uint32_t peer : {2u, MSEG_PEER_ALL, MSEG_PEER_CELL | 7u}) {
    for (const uint16_t port : {0, 3})
      keys.emplace_back((peer & MSEG_PEER_CELL) != 0 ? 9u : 1u, peer, port, uint8_t{1}, uint8_t{1});
  }
  size_t compared = 0;
  std::map<char, size_t> answered;
  for (unsigned subset = 0; subset < 1u << (2 * keys.size()); subset++) {
    Rows rows;
    for (size_t i = 0; i < keys.size(); i++) {
      if ((subset >> 2 * i & 1) == 0) continue;
      mseg_row row = NumberedRow(static_cast<uint32_t>(i));
      row.more = static_cast<uint8_t>(subset >> (2 * i + 1) & 1);
      rows[keys[i]] = row;
    }
    for (const auto& key : keys) {
      const auto& [local, peer, port, direction, side] = key;
      rows[Key(local, peer, port, direction, 0)] = NumberedRow(50);
      rows[Key(local, peer, port, 0, side)] = NumberedRow(51);
      rows[Key(4, peer, port, direction, side)] = NumberedRow(52);
    }
    for (const uint32_t peer : {0u, 2u, 5u}) {
      for (const uint32_t cell : {0u, 7u, 8u}) {
        for (const uint16_t port : {0, 3, 6}) {
          for (const unsigned variant : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u}) {
            const auto by_peer = static_cast<uint8_t>(variant & 1);
            mseg_query query = Query(1, 9, peer, port, 1, 1);
            query.cell = cell;
            query.by_peer = by_peer;
            query.peer_hint = static_cast<uint8_t>(variant >> 1 & 1);
            query.port_hint = static_cast<uint8_t>(variant >> 2);
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
                      row->may,
                      {}};
            } else {
              want.verdict = MSEG_DENY;
              want.would_be = MSEG_DENY;
              want.reason = want.would_reason = MSEG_REASON_NO_ROW;
            }
            if (std::memcmp(&want, &got, sizeof(want)) != 0) {
              FAIL("subset " << subset << " peer " << peer << " cell " << cell << " port " << port
                             << " variant " << variant);
            }
            compared++;
            answered[step]++;
          }
        }
      }
    }
  }
  CHECK(compared == 4096 * 27 * 8);
  for (const char step : {'a', 'b', 'c', 'd', 'e', 'f', '\0'}) CHECK(answered[step] > 0);
}

TEST_CASE("each side has rows of its own") {
  for (const uint8_t side : {0, 1}) {
    Rows rows;
    rows[Key(9, MSEG_PEER_ALL, 0, 0, side)] = NumberedRow(1);
    CHECK(Decide(rows, Query(1, 9, 2, 3, 0, side)).probe == 'f');
    CHECK(Decide(rows, Query(1, 9, 2, 3, 0, 1 - side)).probe == 0);
  }
}

TEST_CASE("nothing at all denies and says why") {
  const mseg_decision decision = Decide({}, Query(1, 9, 2, 3, MSEG_INGRESS, 0));
  CHECK(decision.verdict == MSEG_DENY);
  CHECK(decision.would_be == MSEG_DENY);
  CHECK(decision.reason == MSEG_REASON_NO_ROW);
  CHECK(decision.would_reason == MSEG_REASON_NO_ROW);
  CHECK(decision.rule == 0);
}

TEST_CASE("no decision takes more than four look-ups") {
  // Each look-up in turn finds a row or not, and a found one says `more` or not.
  struct Script {
    unsigned answers = 0;
    int asked = 0;
    mseg_row row{};
  };
  int most = 0;
  for (unsigned answers = 0; answers < 4096; answers++) {
    for (const uint8_t by_peer : {0, 1}) {
      Script script{answers, 0, {}};
      mseg_query query = Query(1, 9, 2, 3, 0, 0);
      query.cell = 4;
      query.by_peer = by_peer;
      mseg_decide(
          &query,
          [](const void* context, const mseg_row_key*) -> const mseg_row* {
            auto* s = const_cast<Script*>(static_cast<const Script*>(context));
            const unsigned answer = s->answers >> 2 * s->asked++;
            s->row.more = static_cast<uint8_t>(answer >> 1 & 1);
            return (answer & 1) != 0 ? &s->row : nullptr;
          },
          &script);
      most = std::max(most, script.asked);
    }
  }
  CHECK(most == 4);
}

TEST_CASE("look-ups that must miss are not made") {
  Rows rows;
  rows[Key(9, MSEG_PEER_ALL, 0, 0, 0)] = NumberedRow(1);
  for (const uint8_t by_peer : {0, 1}) {
    mseg_query query = Query(1, 9, 2, 3, 0, 0);
    query.by_peer = by_peer;
    query.peer_hint = query.port_hint = 0;
    std::pair<const Rows*, int> asked(&rows, 0);
    const mseg_decision decision = mseg_decide(
        &query,
        [](const void* context, const mseg_row_key* key) {
          auto* counted = const_cast<std::pair<const Rows*, int>*>(
              static_cast<const std::pair<const Rows*, int>*>(context));
          ++counted->second;
          return LookUp(counted->first, key);
        },
        &asked);
    CHECK(decision.probe == 'f');
    CHECK(asked.second == 1);
  }
}

TEST_CASE("a query has what the local class says of its direction, peer and port") {
  mseg_class cls{};
  cls.end[MSEG_INGRESS] = 4;
  cls.tail[MSEG_INGRESS] = 5;
  cls.by_peer[MSEG_INGRESS] = 1;
  // All bits but the one that counts, or that one alone.
  for (const bool peer : {false, true}) {
    for (const bool port : {false, true}) {
      cls.peers[MSEG_INGRESS] = peer ? mseg_hint(2) : ~mseg_hint(2);
      cls.ports[MSEG_INGRESS] = port ? mseg_hint(3) : ~mseg_hint(3);
      mseg_query query = Query(0, 0, 2, 3, MSEG_INGRESS, 0);
      mseg_query_local(&query, &cls);
      CHECK((query.end == 4 && query.tail == 5 && query.by_peer == 1));
      CHECK((query.peer_hint != 0) == peer);
      CHECK((query.port_hint != 0) == port);
      query.port = 0;  // the class of ports that no row names
      mseg_query_local(&query, &cls);
      CHECK(query.port_hint == 0);
      query.direction = MSEG_EGRESS;
      mseg_query_local(&query, &cls);
      CHECK((query.end == 0 && query.tail == 0 && query.by_peer == 0 && query.peer_hint == 0));
    }
  }
}

TEST_CASE("hints use all bits") {
  uint32_t seen = 0;
  for (uint32_t number = 0; number < 200; number++) {
    const uint32_t hint = mseg_hint(number);
    REQUIRE((hint != 0 && (hint & (hint - 1)) == 0));
    seen |= hint;
  }
  CHECK(seen == ~uint32_t{0});
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
      for (uint32_t type = 0; type <= MSEG_ICMP_TYPE_MAX; type++) {
        const auto at =
            mseg_port_place(side, static_cast<uint8_t>(protocol), static_cast<uint16_t>(type));
        const size_t place = at.block * size_t{MSEG_PORT_BLOCK} + at.index;
        REQUIRE(at.block < MSEG_PORT_BLOCKS);
        REQUIRE_FALSE(taken[place]);
        taken[place] = true;
        places++;
      }
      // A type has eight bits.
      const auto at = mseg_port_place(side, static_cast<uint8_t>(protocol), 8);
      const auto same = mseg_port_place(side, static_cast<uint8_t>(protocol), 0x100 | 8);
      REQUIRE((same.block == at.block && same.index == at.index));
    }
  }
  CHECK(places == 2 * (3 * 65536 + 253 * 256));
}

TEST_CASE("places are where the image says: the space above the port") {
  const std::array<std::pair<uint8_t, uint32_t>, 4> spaces = {
      {{6, MSEG_PORTS_TCP}, {17, MSEG_PORTS_UDP}, {132, MSEG_PORTS_SCTP}, {1, MSEG_PORTS_OTHER}}};
  for (const auto& [protocol, space] : spaces) {
    const auto at = mseg_port_place(0, protocol, 443);
    const uint32_t number = space == MSEG_PORTS_OTHER ? protocol << 8 | (443 & 255) : 443;
    CHECK(at.block * MSEG_PORT_BLOCK + at.index == (space << 16 | number));
    const auto other = mseg_port_place(1, protocol, 443);
    CHECK(other.block == at.block + MSEG_PORT_BLOCKS / 2);
    CHECK(other.index == at.index);
    // Only the lowest bit of a side counts.
    CHECK(mseg_port_place(2, protocol, 443).block == at.block);
  }
}
