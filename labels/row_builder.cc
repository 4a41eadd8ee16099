// SPDX-License-Identifier: Apache-2.0
#include "labels/row_builder.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "labels/text.h"

// One end at a time: for a local class and a direction, the rules that can count there are sorted
// by the peer classes and port sets that they name, and never by the product of all classes. What a
// set of rules decides is a Ledger; the ledger of a union is the minimum of the ledgers, so the
// rules for any peer and any port are read once and not again for every class.

namespace mseg {
namespace {

// The first rule of each sort, over policies in enforce [0] and in enforce or test [1].
struct Ledger {
  uint32_t deny[2] = {kNone, kNone};
  uint32_t allow[2] = {kNone, kNone};
  uint32_t possible_allow[2] = {kNone, kNone};

  void Add(const CompiledRule& rule, State effective, Tri match) {
    for (int view = effective == State::kEnforce ? 0 : 1; view < 2; ++view) {
      uint32_t* slot = &deny[view];
      if (rule.verdict == MSEG_ALLOW) {
        slot = match == Tri::kYes ? &allow[view] : &possible_allow[view];
      }
      *slot = std::min(*slot, rule.number);
    }
  }
  void Merge(const Ledger& other) {
    for (int view = 0; view < 2; ++view) {
      deny[view] = std::min(deny[view], other.deny[view]);
      allow[view] = std::min(allow[view], other.allow[view]);
      possible_allow[view] = std::min(possible_allow[view], other.possible_allow[view]);
    }
  }
};

// By port class; 0 is what counts on every port.
using PortLedgers = std::map<uint16_t, Ledger>;
// By port set of the program.
using SetLedgers = std::map<uint32_t, Ledger>;

struct Outcome {
  uint32_t rule = 0;
  uint8_t verdict = MSEG_ALLOW;
  uint8_t reason = MSEG_REASON_DEFAULT;
};

// The order of docs/policy.md: deny rule, allow rule, default. `selecting` is the number of the
// default that selects this end, kNone if none does.
Outcome Resolve(const Ledger& ledger, int view, uint32_t selecting) {
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

bool SameRow(const mseg_row& a, const mseg_row& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

class RowBuilder {
 public:
  RowBuilder(const Program& program, const PortClasses& ports,
             const std::vector<Signature>& signatures, uint64_t max_rows,
             GenerationImage::Table<mseg_row_key, mseg_row>* rows)
      : program_(program),
        ports_(ports),
        signatures_(signatures),
        max_rows_(max_rows),
        rows_(rows) {
    classes_of_.resize(program.selectors.size());
    for (uint32_t cls = 0; cls < signatures.size(); ++cls) {
      for (const auto& [selector, tri] : signatures[cls].selectors) {
        classes_of_[selector].emplace_back(cls, tri);
      }
    }
    for (mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
      Sides& sides = sides_[direction];
      sides.by_local.resize(program.selectors.size());
      for (const CompiledRule& rule : program.rules) {
        if (!(direction == MSEG_EGRESS ? rule.at_from : rule.at_to)) continue;
        const uint32_t local = direction == MSEG_EGRESS ? rule.from : rule.to;
        (local == kNone ? sides.any_local : sides.by_local[local]).push_back(&rule);
      }
    }
  }

  absl::Status AddLocal(uint32_t local) {
    for (mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
      absl::Status status = AddEnd(local, direction);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  struct Sides {
    std::vector<const CompiledRule*> any_local;
    std::vector<std::vector<const CompiledRule*>> by_local;
  };
  // What counts for one end: for every peer, and for the peers of each class beside that.
  struct End {
    uint32_t local = 0;
    mseg_direction direction = MSEG_EGRESS;
    uint32_t selecting[2] = {kNone, kNone};
    SetLedgers base;
    std::map<uint32_t, SetLedgers> peers;
  };

  // What counts for the peers that a selector matches certainly, and for those it matches perhaps.
  // Read once per selector, however many classes match it.
  struct SelectorLedgers {
    SetLedgers certain;
    SetLedgers possible;
  };
  using PeerLedgers = std::map<uint32_t, SelectorLedgers>;

  void AddRule(const CompiledRule& rule, Tri local_match, End* end, PeerLedgers* peers) const {
    const State effective = std::min(rule.state, signatures_[end->local].state);
    if (effective == State::kBuild) return;
    const uint32_t peer = end->direction == MSEG_EGRESS ? rule.to : rule.from;
    if (peer == kNone) {
      end->base[rule.ports].Add(rule, effective, local_match);
      return;
    }
    SelectorLedgers& ledgers = (*peers)[peer];
    ledgers.certain[rule.ports].Add(rule, effective, local_match);
    ledgers.possible[rule.ports].Add(rule, effective, Tri::kMaybe);
  }

  void SpreadOverClasses(const PeerLedgers& peers, End* end) const {
    for (const auto& [selector, ledgers] : peers) {
      for (const auto& [cls, tri] : classes_of_[selector]) {
        SetLedgers& sets = end->peers[cls];
        for (const auto& [set, ledger] : tri == Tri::kYes ? ledgers.certain : ledgers.possible) {
          sets[set].Merge(ledger);
        }
      }
    }
  }

  End Collect(uint32_t local, mseg_direction direction) const {
    End end;
    end.local = local;
    end.direction = direction;
    const Signature& signature = signatures_[local];
    const Sides& sides = sides_[direction];
    PeerLedgers peers;
    for (const CompiledRule* rule : sides.any_local) AddRule(*rule, Tri::kYes, &end, &peers);
    for (const auto& [selector, tri] : signature.selectors) {
      for (const CompiledRule* rule : sides.by_local[selector]) AddRule(*rule, tri, &end, &peers);
    }
    SpreadOverClasses(peers, &end);
    AddDefaults(&end);
    return end;
  }

  void AddDefaults(End* end) const {
    const Signature& signature = signatures_[end->local];
    const mseg_direction direction = end->direction;
    for (const CompiledSelects& selects : program_.selects) {
      if (!(direction == MSEG_EGRESS ? selects.egress : selects.ingress)) continue;
      const bool selected = selects.selector == kNone || Selects(signature, selects.selector);
      const State effective = std::min(selects.state, signature.state);
      if (!selected || effective == State::kBuild) continue;
      for (int view = effective == State::kEnforce ? 0 : 1; view < 2; ++view) {
        end->selecting[view] = std::min(end->selecting[view], selects.number);
      }
    }
  }

  // A possible match selects too: who may be meant must not be left open.
  static bool Selects(const Signature& signature, uint32_t selector) {
    const auto it = std::lower_bound(
        signature.selectors.begin(), signature.selectors.end(), selector,
        [](const std::pair<uint32_t, Tri>& hit, uint32_t number) { return hit.first < number; });
    return it != signature.selectors.end() && it->first == selector;
  }

  PortLedgers ByPort(const SetLedgers& sets) const {
    PortLedgers out;
    for (const auto& [set, ledger] : sets) {
      if (set == 0) {
        out[0].Merge(ledger);
        continue;
      }
      for (uint16_t port : ports_.of_set[set]) out[port].Merge(ledger);
    }
    return out;
  }

  mseg_row RowOf(const End& end, const Ledger& ledger) const {
    const Outcome enforced = Resolve(ledger, 0, end.selecting[0]);
    const Outcome would_be = Resolve(ledger, 1, end.selecting[1]);
    mseg_row row{};
    row.rule = enforced.rule;
    row.verdict = enforced.verdict;
    row.reason = enforced.reason;
    row.would_rule = would_be.rule;
    row.would_be = would_be.verdict;
    row.would_reason = would_be.reason;
    return row;
  }

  // What every port class gets that differs from class 0's answer or is named by a rule; [0] is
  // always there and stands for all others.
  using PortRows = std::map<uint16_t, mseg_row>;
  PortRows RowsOf(const End& end, const PortLedgers& base, const PortLedgers& peer) const {
    Ledger everywhere;
    auto merge = [](const PortLedgers& from, uint16_t port, Ledger* into) {
      if (const auto it = from.find(port); it != from.end()) into->Merge(it->second);
    };
    merge(base, 0, &everywhere);
    merge(peer, 0, &everywhere);
    PortRows rows;
    auto add = [&](uint16_t port) {
      if (rows.contains(port)) return;
      Ledger ledger = everywhere;
      merge(base, port, &ledger);
      merge(peer, port, &ledger);
      rows.emplace(port, RowOf(end, ledger));
    };
    add(0);
    for (const auto& [port, ledger] : base) add(port);
    for (const auto& [port, ledger] : peer) add(port);
    return rows;
  }

  static const mseg_row& At(const PortRows& rows, uint16_t port) {
    const auto it = rows.find(port);
    return it != rows.end() ? it->second : rows.at(0);
  }

  absl::Status Emit(const End& end, uint32_t peer, uint16_t port, const mseg_row& row) {
    if (rows_->size() >= max_rows_) {
      return absl::ResourceExhaustedError(Cat("more than ", max_rows_, " rows are needed"));
    }
    mseg_row_key key{};
    key.local = end.local;
    key.peer = peer;
    key.port = port;
    key.direction = static_cast<uint8_t>(end.direction);
    rows_->emplace_back(key, row);
    return absl::OkStatus();
  }

  // Rows of every peer that has none of its own: look-ups c and d.
  absl::Status EmitAll(const End& end, const PortRows& all) {
    for (const auto& [port, row] : all) {
      if (port != 0 && SameRow(row, all.at(0))) continue;
      if (absl::Status status = Emit(end, 0, port, row); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Rows of one peer, look-ups a and b, as far as c and d do not say the same. Either with a row b,
  // which hides c and d, or without: whichever takes fewer rows.
  absl::Status EmitPeer(const End& end, uint32_t peer, const PortRows& own, const PortRows& all) {
    std::vector<uint16_t> beside_all;  // port classes to emit if there is no row b
    std::vector<uint16_t> beside_own;  // and if there is one
    auto compare = [&](uint16_t port) {
      if (port == 0) return;
      if (!SameRow(At(own, port), At(all, port))) beside_all.push_back(port);
      if (!SameRow(At(own, port), At(own, 0))) beside_own.push_back(port);
    };
    for (const auto& [port, row] : own) compare(port);
    for (const auto& [port, row] : all) {
      if (!own.contains(port)) compare(port);
    }
    const bool needs_b = !SameRow(At(own, 0), At(all, 0));
    const bool with_b = needs_b || beside_own.size() + 1 < beside_all.size();
    if (with_b) {
      if (absl::Status status = Emit(end, peer, 0, At(own, 0)); !status.ok()) return status;
    }
    for (uint16_t port : with_b ? beside_own : beside_all) {
      if (absl::Status status = Emit(end, peer, port, At(own, port)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status AddEnd(uint32_t local, mseg_direction direction) {
    const End end = Collect(local, direction);
    const PortLedgers base = ByPort(end.base);
    const auto anonymous = end.peers.find(0);
    const PortLedgers nothing;
    const PortRows all =
        RowsOf(end, base, anonymous == end.peers.end() ? nothing : ByPort(anonymous->second));
    if (absl::Status status = EmitAll(end, all); !status.ok()) return status;
    // Peers that no rule of this end names need rows only if class 0, whose rows stand for every
    // other peer, is named by one.
    if (anonymous != end.peers.end()) {
      const PortRows unnamed = RowsOf(end, base, nothing);
      for (uint32_t peer = 1; peer < signatures_.size(); ++peer) {
        if (end.peers.contains(peer)) continue;
        if (absl::Status status = EmitPeer(end, peer, unnamed, all); !status.ok()) return status;
      }
    }
    for (const auto& [peer, sets] : end.peers) {
      if (peer == 0) continue;
      absl::Status status = EmitPeer(end, peer, RowsOf(end, base, ByPort(sets)), all);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const Program& program_;
  const PortClasses& ports_;
  const std::vector<Signature>& signatures_;
  uint64_t max_rows_;
  GenerationImage::Table<mseg_row_key, mseg_row>* rows_;
  std::vector<std::vector<std::pair<uint32_t, Tri>>> classes_of_;  // by selector
  Sides sides_[2];
};

}  // namespace

absl::Status BuildRows(const Program& program, const PortClasses& ports,
                       const std::vector<Signature>& signatures, const std::set<uint32_t>& locals,
                       uint64_t max_rows, GenerationImage::Table<mseg_row_key, mseg_row>* rows) {
  RowBuilder builder(program, ports, signatures, max_rows, rows);
  for (uint32_t local : locals) {
    if (absl::Status status = builder.AddLocal(local); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace mseg
