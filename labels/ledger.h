// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_LEDGER_H_
#define MSEG_LABELS_LEDGER_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "labels/matcher.h"
#include "labels/program.h"
#include "mseg/abi.h"

// What a set of rules decides, as far as precedence looks at them; private to labels/.

namespace mseg {

// The first rule of each sort, over policies in enforce [0] and in enforce or test [1]. The ledger
// of a union is the minimum of the ledgers.
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

// Ledgers by port set of the program, or by port class; key 0 is what counts on every port. Few
// keys, mostly one, made and merged millions of times: a sorted vector.
class LedgerMap {
 public:
  using Entry = std::pair<uint32_t, Ledger>;

  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  void clear() { entries_.clear(); }

  const Ledger* Find(uint32_t key) const {
    const auto it = std::lower_bound(entries_.begin(), entries_.end(), key, Before);
    return it != entries_.end() && it->first == key ? &it->second : nullptr;
  }
  Ledger& operator[](uint32_t key) {
    auto it = std::lower_bound(entries_.begin(), entries_.end(), key, Before);
    if (it == entries_.end() || it->first != key) it = entries_.insert(it, Entry(key, Ledger()));
    return it->second;
  }
  void Merge(const LedgerMap& other) {
    if (entries_.empty()) {
      entries_ = other.entries_;
      return;
    }
    for (const auto& [key, ledger] : other.entries_) (*this)[key].Merge(ledger);
  }
  // What counts on one port: what counts on every port, and what counts there.
  void MergePort(uint32_t port, Ledger* into) const {
    if (const Ledger* every = Find(0)) into->Merge(*every);
    if (port == 0) return;
    if (const Ledger* own = Find(port)) into->Merge(*own);
  }

 private:
  static bool Before(const Entry& entry, uint32_t key) { return entry.first < key; }

  absl::InlinedVector<Entry, 1> entries_;
};

}  // namespace mseg

#endif  // MSEG_LABELS_LEDGER_H_
