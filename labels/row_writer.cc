// SPDX-License-Identifier: Apache-2.0
#include "labels/row_writer.h"

#include <cstring>

#include "mseg/decide.h"

namespace mseg {
namespace {

struct Outcome {
  uint32_t rule = 0;
  uint8_t verdict = MSEG_ALLOW;
  uint8_t reason = MSEG_REASON_DEFAULT;
};

// The order of docs/policy.md: fail-safe, deny rule, allow rule, default. `selecting` is the number
// of the default that selects this end, kNone if none does.
Outcome Resolve(const Ledger& ledger, int view, uint32_t selecting) {
  if (ledger.failsafe != kNone) {
    return {ledger.failsafe, MSEG_ALLOW, MSEG_REASON_FAILSAFE};
  }
  if (ledger.deny[view] != kNone) {
    return {ledger.deny[view], MSEG_DENY, MSEG_REASON_RULE};
  }
  if (ledger.allow[view] != kNone) {
    return {ledger.allow[view], MSEG_ALLOW, MSEG_REASON_RULE};
  }
  if (selecting == kNone) return {};
  const bool possible = ledger.possible_allow[view] != kNone;
  return {selecting, MSEG_DENY,
          static_cast<uint8_t>(possible ? MSEG_REASON_UNKNOWN_IDENTITY : MSEG_REASON_DEFAULT)};
}

// Could the verdict be allow once everything about the peer is certain?
bool MayAllow(const Ledger& ledger, uint32_t selecting) {
  if (ledger.failsafe != kNone) return true;
  if (ledger.certain_deny) return false;
  return selecting == kNone || ledger.allow[0] != kNone || ledger.possible_allow[0] != kNone;
}

bool SameRow(const mseg_row& a, const mseg_row& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

}  // namespace

LedgerMap RowWriter::ByPort(const LedgerMap& sets) const {
  LedgerMap out;
  for (const auto& [set, ledger] : sets) {
    if (set == 0) {
      out[0].Merge(ledger);
      continue;
    }
    for (uint16_t port : ports_.of_set[set]) out[port].Merge(ledger);
  }
  return out;
}

void RowWriter::AddPeer(const End& end, uint32_t peer, const LedgerMap& sets, RowList* rows) const {
  const LedgerMap own = ByPort(sets);
  const uint32_t cell = mseg_cell(&groups_.bits[groups_.group_of[peer]], &end.tail->mask);
  if (end.by_peer) {
    EmitPeer(end, peer, cell, own, rows);
  } else {
    EmitPorts(end, peer, cell, own, rows);
  }
}

mseg_row RowWriter::RowOf(const Tail& tail, const Ledger& ledger) const {
  const Outcome enforced = Resolve(ledger, 0, tail.selecting[0]);
  const Outcome would_be = Resolve(ledger, 1, tail.selecting[1]);
  mseg_row row{};
  row.rule = program_.numbers[enforced.rule];
  row.verdict = enforced.verdict;
  row.reason = enforced.reason;
  row.would_rule = program_.numbers[would_be.rule];
  row.would_be = would_be.verdict;
  row.would_reason = would_be.reason;
  row.may = MayAllow(ledger, tail.selecting[0]) ? 1 : 0;
  return row;
}

void RowWriter::Emit(uint32_t local, uint32_t peer, uint16_t port, const mseg_row& row,
          RowList* rows) const {
  mseg_row_key key{};
  key.local = local;
  key.peer = peer;
  key.port = port;
  key.direction = static_cast<uint8_t>(direction_);
  rows->emplace_back(key, row);
}

RowList RowWriter::OfTail(const Tail& tail) const {
  RowList rows;
  const mseg_row rest = TailRow(tail, 0, 0);
  Emit(tail.number, MSEG_PEER_ALL, 0, rest, &rows);
  for (const auto& [cell, ledgers] : tail.cells) {
    const mseg_row row = TailRow(tail, cell, 0);
    if (!SameRow(row, rest)) Emit(tail.number, MSEG_PEER_CELL | cell, 0, row, &rows);
  }
  for (const uint16_t port : tail.ports) EmitTailPort(tail, port, &rows);
  return rows;
}

// A row c hides e and f, so with it goes a row d for each cell that it does not speak for.
void RowWriter::EmitTailPort(const Tail& tail, uint16_t port, RowList* rows) const {
  mseg_row all = TailRow(tail, 0, port);
  bool needed = !SameRow(all, TailRow(tail, 0, 0));
  std::vector<std::pair<uint32_t, mseg_row>> narrower;
  for (const auto& [cell, ledgers] : tail.cells) {
    const mseg_row row = TailRow(tail, cell, port);
    needed = needed || !SameRow(row, TailRow(tail, cell, 0));
    if (!SameRow(row, all)) narrower.emplace_back(cell, row);
  }
  if (!needed) return;
  all.more = narrower.empty() ? 0 : 1;
  Emit(tail.number, MSEG_PEER_ALL, port, all, rows);
  for (const auto& [cell, row] : narrower) {
    Emit(tail.number, MSEG_PEER_CELL | cell, port, row, rows);
  }
}

// Rows a of a peer of which rules name single services only, as far as the tail says otherwise.
void RowWriter::EmitPorts(const End& end, uint32_t peer, uint32_t cell, const LedgerMap& own,
               RowList* rows) const {
  for (const auto& [key, unused] : own) {
    const uint16_t port = static_cast<uint16_t>(key);
    Ledger ledger = end.tail->At(cell, port);
    const mseg_row behind = RowOf(*end.tail, ledger);
    own.MergePort(port, &ledger);
    const mseg_row row = RowOf(*end.tail, ledger);
    if (!SameRow(row, behind)) Emit(end.number, peer, port, row, rows);
  }
}

// Row b of a peer, which hides the tail, and rows a for each port that it does not speak for.
void RowWriter::EmitPeer(const End& end, uint32_t peer, uint32_t cell, const LedgerMap& own,
              RowList* rows) const {
  const Tail& tail = *end.tail;
  std::set<uint16_t> ports = tail.ports;
  for (const auto& [port, ledger] : own) {
    if (port != 0) ports.insert(static_cast<uint16_t>(port));
  }
  auto row_at = [&](uint16_t port) {
    Ledger ledger = tail.At(cell, port);
    own.MergePort(port, &ledger);
    return RowOf(tail, ledger);
  };
  mseg_row every = row_at(0);
  bool needed = !SameRow(every, TailRow(tail, cell, 0));
  std::vector<std::pair<uint16_t, mseg_row>> narrower;
  for (const uint16_t port : ports) {
    const mseg_row row = row_at(port);
    needed = needed || !SameRow(row, TailRow(tail, cell, port));
    if (!SameRow(row, every)) narrower.emplace_back(port, row);
  }
  if (!needed) return;
  every.more = narrower.empty() ? 0 : 1;
  Emit(end.number, peer, 0, every, rows);
  for (const auto& [port, row] : narrower) Emit(end.number, peer, port, row, rows);
}

}  // namespace mseg
