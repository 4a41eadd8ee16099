// SPDX-License-Identifier: Apache-2.0
#include "labels/row_builder.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "labels/stable_numbers.h"
#include "labels/text.h"
#include "mseg/decide.h"

// A direction at a time. Local classes that the rules of the direction do not tell apart are one
// end; ends that its coarse rules and defaults do not tell apart share a tail. Rules are sorted by
// the peers and port sets that they name, and never by the product of all classes. What a set of
// rules decides is a Ledger; the ledger of a union is the minimum of the ledgers, so the rules for
// any peer and any port are read once and not again for every class.

namespace mseg {
namespace {

// The first rule of each sort, over policies in enforce [0] and in enforce or test [1].
struct Ledger {
  uint32_t failsafe = kNone;
  uint32_t deny[2] = {kNone, kNone};
  bool certain_deny = false;  // in force, whoever the peer turns out to be
  uint32_t allow[2] = {kNone, kNone};
  uint32_t possible_allow[2] = {kNone, kNone};

  void Add(const CompiledRule& rule, State effective, Tri match) {
    if (rule.failsafe) {
      if (match == Tri::kYes) failsafe = std::min(failsafe, rule.number);
      return;
    }
    for (int view = effective == State::kEnforce ? 0 : 1; view < 2; ++view) {
      uint32_t* slot = &deny[view];
      if (rule.verdict == MSEG_DENY && match == Tri::kYes && view == 0) certain_deny = true;
      if (rule.verdict == MSEG_ALLOW) {
        slot = match == Tri::kYes ? &allow[view] : &possible_allow[view];
      }
      *slot = std::min(*slot, rule.number);
    }
  }
  void Merge(const Ledger& other) {
    failsafe = std::min(failsafe, other.failsafe);
    certain_deny = certain_deny || other.certain_deny;
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

class RowBuilder {
 public:
  RowBuilder(const Program& program, const PortClasses& ports, const Signatures& signatures,
             const PeerGroups& groups, mseg_direction direction, const CompileOptions& options,
             GenerationImage* image)
      : program_(program),
        ports_(ports),
        signatures_(signatures),
        groups_(groups),
        direction_(direction),
        options_(options),
        image_(image),
        rules_of_(program.selectors.size()),
        selects_of_(program.selectors.size()),
        for_end_(program.selectors.size()),
        for_tail_(program.selectors.size()) {
    for (const CompiledRule& rule : program.rules) {
      if (!(direction == MSEG_EGRESS ? rule.at_from : rule.at_to)) continue;
      const uint32_t local = direction == MSEG_EGRESS ? rule.from : rule.to;
      if (local == kNone) {
        rules_of_any_.push_back(&rule);
        continue;
      }
      rules_of_[local].push_back(&rule);
      for_end_[local] = true;
      if (IsCoarse(Peer(rule))) for_tail_[local] = true;
    }
    for (const CompiledSelects& item : program.selects) {
      if (!(direction == MSEG_EGRESS ? item.egress : item.ingress)) continue;
      if (item.selector == kNone) {
        selects_any_.push_back(&item);
        continue;
      }
      selects_of_[item.selector].push_back(&item);
      for_end_[item.selector] = true;
      for_tail_[item.selector] = true;
    }
  }

  // Fills in what the direction has to say of each class; `classes` is by number.
  absl::Status Build(const std::set<uint32_t>& locals, std::vector<mseg_class>* classes) {
    Partition ends;
    Partition tails;
    std::map<uint32_t, size_t> tail_of;  // class -> part
    for (const uint32_t cls : locals) {
      ends.Add(Restricted(*signatures_[cls], for_end_), cls);
      tail_of[cls] = tails.Add(Restricted(*signatures_[cls], for_tail_), cls);
    }
    NumberBook end_book;
    NumberBook tail_book;
    if (options_.previous != nullptr) {
      for (const auto& [cls, entry] : options_.previous->classes) {
        end_book.emplace(cls, entry.end[direction_]);
        tail_book.emplace(cls, entry.tail[direction_] / 2);
      }
    }
    const std::vector<uint32_t> end_numbers = AssignNumbers(ends.members, &end_book, 1);
    const std::vector<uint32_t> tail_numbers = AssignNumbers(tails.members, &tail_book, 1);
    image_->budget.ends += ends.members.size();

    std::vector<Tail> built;
    built.reserve(tails.members.size());
    for (size_t i = 0; i < tails.members.size(); ++i) {
      // Tails of both directions share one table: even numbers are egress, odd ones ingress.
      const uint32_t number = 2 * tail_numbers[i] + static_cast<uint32_t>(direction_);
      if (number >= options_.max_tails) {
        return absl::ResourceExhaustedError(
            Cat("more than ", options_.max_tails, " tails are needed"));
      }
      absl::StatusOr<Tail> tail = TailOf(static_cast<uint32_t>(tails.members[i][0]));
      if (!tail.ok()) return tail.status();
      tail->number = number;
      if (absl::Status status = EmitTail(*tail); !status.ok()) return status;
      built.push_back(*std::move(tail));
    }
    for (size_t i = 0; i < ends.members.size(); ++i) {
      const Tail& tail = built[tail_of[static_cast<uint32_t>(ends.members[i][0])]];
      absl::StatusOr<bool> by_peer =
          AddEnd(end_numbers[i], static_cast<uint32_t>(ends.members[i][0]), tail);
      if (!by_peer.ok()) return by_peer.status();
      for (const uint64_t cls : ends.members[i]) {
        (*classes)[cls].end[direction_] = end_numbers[i];
        (*classes)[cls].tail[direction_] = tail.number;
        (*classes)[cls].by_peer[direction_] = *by_peer ? 1 : 0;
      }
    }
    for (const Tail& tail : built) {
      if (!tail.cells.empty()) image_->tails.emplace_back(tail.number, tail.mask);
    }
    return absl::OkStatus();
  }

 private:
  // Classes by what they have in common.
  struct Partition {
    std::map<Signature, size_t> parts;
    std::vector<std::vector<uint64_t>> members;
    size_t Add(Signature common, uint32_t cls) {
      const auto [it, added] = parts.emplace(std::move(common), members.size());
      if (added) members.emplace_back();
      members[it->second].push_back(cls);
      return it->second;
    }
  };

  static Signature Restricted(const Signature& signature, const std::vector<bool>& to) {
    Signature out;
    out.state = signature.state;
    for (const auto& hit : signature.selectors) {
      if (to[hit.first]) out.selectors.push_back(hit);
    }
    return out;
  }

  uint32_t Peer(const CompiledRule& rule) const {
    return direction_ == MSEG_EGRESS ? rule.to : rule.from;
  }
  bool IsCoarse(uint32_t peer) const { return peer == kNone || groups_.coarse[peer]; }

  // What counts for the peers that a selector matches certainly, and for those it matches perhaps.
  // Read once per selector, however many classes match it.
  struct SelectorLedgers {
    SetLedgers certain;
    SetLedgers possible;
    const SetLedgers& For(Tri tri) const { return tri == Tri::kYes ? certain : possible; }
  };
  using PeerLedgers = std::map<uint32_t, SelectorLedgers>;

  // What is decided for peers of which nothing narrower is said: rows c to f.
  struct Tail {
    uint32_t number = 0;
    uint32_t selecting[2] = {kNone, kNone};
    mseg_coarse mask{};
    PortLedgers base;                       // every peer
    std::map<uint32_t, PortLedgers> cells;  // beside that, the peers of a cell
    std::set<uint16_t> ports;               // that base or a cell names

    Ledger At(uint32_t cell, uint16_t port) const {
      Ledger ledger;
      MergePort(base, port, &ledger);
      if (const auto it = cells.find(cell); it != cells.end()) {
        MergePort(it->second, port, &ledger);
      }
      return ledger;
    }
  };

  // What counts on one port: what counts on every port, and what counts there.
  static void MergePort(const PortLedgers& from, uint16_t port, Ledger* into) {
    if (const auto it = from.find(0); it != from.end()) into->Merge(it->second);
    if (port == 0) return;
    if (const auto it = from.find(port); it != from.end()) into->Merge(it->second);
  }
  static void MergeSets(const SetLedgers& from, SetLedgers* into) {
    for (const auto& [set, ledger] : from) (*into)[set].Merge(ledger);
  }

  void AddRule(const CompiledRule& rule, State local_state, Tri local_match, SetLedgers* base,
               PeerLedgers* peers) const {
    const State effective = rule.failsafe ? State::kEnforce : std::min(rule.state, local_state);
    if (effective == State::kBuild) return;
    if (Peer(rule) == kNone) {
      (*base)[rule.ports].Add(rule, effective, local_match);
      return;
    }
    SelectorLedgers& ledgers = (*peers)[Peer(rule)];
    ledgers.certain[rule.ports].Add(rule, effective, local_match);
    ledgers.possible[rule.ports].Add(rule, effective, Tri::kMaybe);
  }

  // The rules that count at a local class: those for any or coarse peers, or the others.
  PeerLedgers Collect(uint32_t local, bool coarse, SetLedgers* base) const {
    PeerLedgers peers;
    auto add = [&](const CompiledRule* rule, Tri match) {
      if (IsCoarse(Peer(*rule)) == coarse) {
        AddRule(*rule, signatures_[local]->state, match, base, &peers);
      }
    };
    for (const CompiledRule* rule : rules_of_any_) add(rule, Tri::kYes);
    for (const auto& [selector, tri] : signatures_[local]->selectors) {
      for (const CompiledRule* rule : rules_of_[selector]) add(rule, tri);
    }
    return peers;
  }

  void AddDefault(const CompiledSelects& selects, State local_state, Tail* tail) const {
    const State effective = std::min(selects.state, local_state);
    if (effective == State::kBuild) return;
    for (int view = effective == State::kEnforce ? 0 : 1; view < 2; ++view) {
      tail->selecting[view] = std::min(tail->selecting[view], selects.number);
    }
  }

  absl::StatusOr<Tail> TailOf(uint32_t local) const {
    Tail tail;
    const Signature& signature = *signatures_[local];
    for (const CompiledSelects* item : selects_any_) AddDefault(*item, signature.state, &tail);
    for (const auto& [selector, tri] : signature.selectors) {
      // A possible match selects too: who may be meant must not be left open.
      for (const CompiledSelects* item : selects_of_[selector]) {
        AddDefault(*item, signature.state, &tail);
      }
    }
    SetLedgers base;
    const PeerLedgers peers = Collect(local, true, &base);
    tail.base = ByPort(base);

    // What the selectors that matter here say of each group.
    std::map<uint32_t, Hits> groups;
    for (const auto& [selector, ledgers] : peers) {
      for (size_t i = 0; i < MSEG_COARSE_WORDS; ++i) {
        tail.mask.bits[i] |= groups_.mask_of[selector].bits[i];
      }
      for (const auto& [group, tri] : groups_.groups_of[selector]) {
        groups[group].emplace_back(selector, tri);
      }
    }
    std::map<uint32_t, Hits> meanings;
    for (auto& [group, hits] : groups) {
      const uint32_t cell = mseg_cell(&groups_.bits[group], &tail.mask);
      const auto [it, added] = meanings.emplace(cell, std::move(hits));
      if (!added && it->second != hits) return absl::AbortedError("two cells with one number");
      if (!added) continue;
      SetLedgers sets;
      for (const auto& [selector, tri] : it->second) {
        MergeSets(peers.at(selector).For(tri), &sets);
      }
      tail.cells.emplace(cell, ByPort(sets));
    }
    auto add_ports = [&tail](const PortLedgers& ledgers) {
      for (const auto& [port, ledger] : ledgers) {
        if (port != 0) tail.ports.insert(port);
      }
    };
    add_ports(tail.base);
    for (const auto& [cell, ledgers] : tail.cells) add_ports(ledgers);
    return tail;
  }

  // Rows a and b. Whether rows b are to be asked for first.
  absl::StatusOr<bool> AddEnd(uint32_t end, uint32_t local, const Tail& tail) {
    SetLedgers base;  // stays empty: rules for any peer are the tail's
    const PeerLedgers peers = Collect(local, false, &base);
    std::map<uint32_t, SetLedgers> classes;
    for (const auto& [selector, ledgers] : peers) {
      for (const auto& [cls, tri] : groups_.classes_of[selector]) {
        MergeSets(ledgers.For(tri), &classes[cls]);
      }
    }
    const bool by_peer = std::any_of(classes.begin(), classes.end(),
                                     [](const auto& peer) { return peer.second.contains(0); });
    for (const auto& [peer, sets] : classes) {
      const PortLedgers own = ByPort(sets);
      const uint32_t cell = mseg_cell(&groups_.bits[groups_.group_of[peer]], &tail.mask);
      absl::Status status =
          by_peer ? EmitPeer(end, tail, peer, cell, own) : EmitPorts(end, tail, peer, cell, own);
      if (!status.ok()) return status;
    }
    return by_peer;
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

  mseg_row RowOf(const Tail& tail, const Ledger& ledger) const {
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
  mseg_row TailRow(const Tail& tail, uint32_t cell, uint16_t port) const {
    return RowOf(tail, tail.At(cell, port));
  }

  absl::Status Emit(uint32_t local, uint32_t peer, uint16_t port, const mseg_row& row) {
    if (image_->rows.size() >= options_.max_rows) {
      return absl::ResourceExhaustedError(Cat("more than ", options_.max_rows, " rows are needed"));
    }
    mseg_row_key key{};
    key.local = local;
    key.peer = peer;
    key.port = port;
    key.direction = static_cast<uint8_t>(direction_);
    image_->rows.emplace_back(key, row);
    return absl::OkStatus();
  }

  absl::Status EmitTail(const Tail& tail) {
    const mseg_row rest = TailRow(tail, 0, 0);
    if (absl::Status status = Emit(tail.number, MSEG_PEER_ALL, 0, rest); !status.ok()) {
      return status;
    }
    for (const auto& [cell, ledgers] : tail.cells) {
      const mseg_row row = TailRow(tail, cell, 0);
      if (SameRow(row, rest)) continue;
      absl::Status status = Emit(tail.number, MSEG_PEER_CELL | cell, 0, row);
      if (!status.ok()) return status;
    }
    for (const uint16_t port : tail.ports) {
      if (absl::Status status = EmitTailPort(tail, port); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // A row c hides e and f, so with it goes a row d for each cell that it does not speak for.
  absl::Status EmitTailPort(const Tail& tail, uint16_t port) {
    mseg_row all = TailRow(tail, 0, port);
    bool needed = !SameRow(all, TailRow(tail, 0, 0));
    std::vector<std::pair<uint32_t, mseg_row>> narrower;
    for (const auto& [cell, ledgers] : tail.cells) {
      const mseg_row row = TailRow(tail, cell, port);
      needed = needed || !SameRow(row, TailRow(tail, cell, 0));
      if (!SameRow(row, all)) narrower.emplace_back(cell, row);
    }
    if (!needed) return absl::OkStatus();
    all.more = narrower.empty() ? 0 : 1;
    if (absl::Status status = Emit(tail.number, MSEG_PEER_ALL, port, all); !status.ok()) {
      return status;
    }
    for (const auto& [cell, row] : narrower) {
      absl::Status status = Emit(tail.number, MSEG_PEER_CELL | cell, port, row);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Rows a of a peer of which rules name single services only, as far as the tail says otherwise.
  absl::Status EmitPorts(uint32_t end, const Tail& tail, uint32_t peer, uint32_t cell,
                         const PortLedgers& own) {
    for (const auto& [port, unused] : own) {
      Ledger ledger = tail.At(cell, port);
      const mseg_row behind = RowOf(tail, ledger);
      MergePort(own, port, &ledger);
      const mseg_row row = RowOf(tail, ledger);
      if (SameRow(row, behind)) continue;
      if (absl::Status status = Emit(end, peer, port, row); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Row b of a peer, which hides the tail, and rows a for each port that it does not speak for.
  absl::Status EmitPeer(uint32_t end, const Tail& tail, uint32_t peer, uint32_t cell,
                        const PortLedgers& own) {
    std::set<uint16_t> ports = tail.ports;
    for (const auto& [port, ledger] : own) {
      if (port != 0) ports.insert(port);
    }
    auto row_at = [&](uint16_t port) {
      Ledger ledger = tail.At(cell, port);
      MergePort(own, port, &ledger);
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
    if (!needed) return absl::OkStatus();
    every.more = narrower.empty() ? 0 : 1;
    if (absl::Status status = Emit(end, peer, 0, every); !status.ok()) return status;
    for (const auto& [port, row] : narrower) {
      if (absl::Status status = Emit(end, peer, port, row); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const Program& program_;
  const PortClasses& ports_;
  const Signatures& signatures_;
  const PeerGroups& groups_;
  const mseg_direction direction_;
  const CompileOptions& options_;
  GenerationImage* image_;
  // By the selector of the local end.
  std::vector<const CompiledRule*> rules_of_any_;
  std::vector<std::vector<const CompiledRule*>> rules_of_;
  std::vector<const CompiledSelects*> selects_any_;
  std::vector<std::vector<const CompiledSelects*>> selects_of_;
  std::vector<bool> for_end_;  // selectors that tell local classes apart here
  std::vector<bool> for_tail_;
};

}  // namespace

absl::Status BuildRows(const Program& program, const PortClasses& ports,
                       const Signatures& signatures, const PeerGroups& groups,
                       const std::set<uint32_t>& locals, const CompileOptions& options,
                       GenerationImage* image) {
  image->rows.clear();
  image->classes.clear();
  image->groups.clear();
  image->tails.clear();
  image->budget.ends = 0;
  std::vector<mseg_class> classes(signatures.size());
  for (mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
    RowBuilder builder(program, ports, signatures, groups, direction, options, image);
    if (absl::Status status = builder.Build(locals, &classes); !status.ok()) return status;
  }
  std::sort(image->tails.begin(), image->tails.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (uint32_t cls = 0; cls < classes.size(); ++cls) {
    if (signatures[cls] == nullptr) continue;
    classes[cls].group = groups.group_of[cls];
    const mseg_class nothing{};
    if (std::memcmp(&classes[cls], &nothing, sizeof(nothing)) == 0) continue;
    image->classes.emplace_back(cls, classes[cls]);
  }
  for (uint32_t group = 1; group < groups.bits.size(); ++group) {
    image->groups.emplace_back(group, groups.bits[group]);
  }
  image->budget.groups = groups.bits.size() - 1;
  return absl::OkStatus();
}

}  // namespace mseg
