// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_DIRECTION_RULES_H_
#define MSEG_LABELS_DIRECTION_RULES_H_

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "labels/ledger.h"
#include "labels/peer_groups.h"
#include "labels/program.h"

namespace mseg {

// What counts for the peers that a selector matches certainly, and for those it matches perhaps.
// Read once per selector, however many classes match it.
struct SelectorLedgers {
  LedgerMap certain;  // by port set
  LedgerMap possible;

  const LedgerMap& For(Tri tri) const { return tri == Tri::kYes ? certain : possible; }
  void Merge(const SelectorLedgers& other) {
    certain.Merge(other.certain);
    possible.Merge(other.possible);
  }
};
using PeerLedgers = absl::flat_hash_map<uint32_t, SelectorLedgers>;  // by selector of the peer
using ClassLedgers = absl::flat_hash_map<uint32_t, LedgerMap>;       // by class of the peer

// Items by selector, in the order in which they came.
template <typename Item>
class BySelector {
 public:
  BySelector() = default;
  // `for_each(visit)` calls `visit(selector, item)` for each of them, twice the same.
  template <typename ForEach>
  BySelector(size_t selectors, const ForEach& for_each) : first_(selectors + 1) {
    for_each([this](uint32_t selector, const Item&) { ++first_[selector + 1]; });
    std::partial_sum(first_.begin(), first_.end(), first_.begin());
    items_.resize(first_.back());
    std::vector<uint32_t> next(first_.begin(), first_.end() - 1);
    for_each([&](uint32_t selector, const Item& item) { items_[next[selector]++] = item; });
  }

  bool empty() const { return first_.empty(); }  // not made
  absl::Span<const Item> Of(uint32_t selector) const {
    return absl::MakeConstSpan(items_).subspan(first_[selector],
                                               first_[selector + 1] - first_[selector]);
  }

 private:
  std::vector<Item> items_;
  std::vector<uint32_t> first_;  // of each selector, and where the last one's end
};
// Places in another list (Program::rules, Program::selects), by the selector of the end that
// judges.
using SelectorIndex = BySelector<uint32_t>;

// What the selectors of the rules and defaults of one direction make of it, whatever their verdicts
// and ports.
struct DirectionShape {
  // Selectors that tell local classes apart here: at all, and by coarse rules or defaults.
  std::vector<bool> for_end;
  std::vector<bool> for_tail;
  std::vector<uint32_t> rules_of_any;  // places in Program::rules
  SelectorIndex coarse;                // the others for coarse peers
};

// The rules and defaults of one direction; private to labels/.
class DirectionRules {
 public:
  // `shape`: that of the same rules and groups, if it is known.
  DirectionRules(const Program& program, const PeerGroups& groups, mseg_direction direction,
                 std::shared_ptr<const DirectionShape> shape);

  const std::shared_ptr<const DirectionShape>& shape() const { return shape_; }

  // What the judging end is, as far as its rules are read.
  struct Judge {
    State state = State::kEnforce;
    bool selected[2] = {false, false};  // by a default, by view
    // By selector of the peer: all whom it matches may be allowed anyway, so that an allow that
    // matches this end only perhaps says nothing new of them. Null: nothing is known.
    const std::vector<bool>* may_already = nullptr;
  };

  // Adds to `peers` and `base` (every peer) what the rules of these selectors say for coarse peers,
  // or for the others.
  void AddRules(const Hits& locals, const Judge& judge, bool coarse, PeerLedgers* peers,
                LedgerMap* base) const;
  // The same for the rules that count at every class.
  void AddRulesOfAny(const Judge& judge, bool coarse, PeerLedgers* peers, LedgerMap* base) const;
  // What selectors say, by the classes that they match.
  ClassLedgers ByClass(const PeerLedgers& peers) const;

  // The same for a few pairs of an end and a peer, by end and then by peer, from one look at each
  // rule: rules for any and for coarse peers left out, and those of port sets that do not count.
  struct JudgingEnd {
    const Hits* hits;
    Judge judge;
  };
  std::vector<LedgerMap> ByPair(const std::vector<JudgingEnd>& ends,
                                const std::vector<const Hits*>& peers,
                                const std::vector<bool>& counts) const;

  // The first default that selects a class, by view; kNone if none does.
  void FindDefaults(const Signature& signature, uint32_t selecting[2]) const;

 private:
  uint32_t PeerOf(const CompiledRule& rule) const {
    return direction_ == MSEG_EGRESS ? rule.to : rule.from;
  }
  uint32_t LocalOf(const CompiledRule& rule) const {
    return direction_ == MSEG_EGRESS ? rule.from : rule.to;
  }
  bool CountsHere(const CompiledRule& rule) const {
    return direction_ == MSEG_EGRESS ? rule.at_from : rule.at_to;
  }
  bool CountsHere(const CompiledSelects& item) const {
    return direction_ == MSEG_EGRESS ? item.egress : item.ingress;
  }
  bool IsCoarse(uint32_t peer) const { return peer == kNone || groups_.coarse[peer]; }
  void AddRule(const CompiledRule& rule, const Judge& judge, Tri match, PeerLedgers* peers,
               LedgerMap* base) const;

  DirectionShape ShapeOf() const;
  SelectorIndex IndexOf(bool coarse) const;
  // Most rules are not for coarse peers; where few ends are made they are not asked for.
  const SelectorIndex& Others() const {
    if (others_.empty()) others_ = IndexOf(false);
    return others_;
  }

  const Program& program_;
  const PeerGroups& groups_;
  const mseg_direction direction_;
  std::shared_ptr<const DirectionShape> shape_;
  mutable SelectorIndex others_;       // empty until it is asked for
  std::vector<uint32_t> selects_any_;  // places in Program::selects
  SelectorIndex selects_of_;
};

}  // namespace mseg

#endif  // MSEG_LABELS_DIRECTION_RULES_H_
