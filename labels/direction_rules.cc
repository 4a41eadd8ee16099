// SPDX-License-Identifier: Apache-2.0
#include "labels/direction_rules.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace mseg {

DirectionRules::DirectionRules(const Program& program, const PeerGroups& groups,
                               mseg_direction direction,
                               std::shared_ptr<const DirectionShape> shape)
    : program_(program), groups_(groups), direction_(direction), shape_(std::move(shape)) {
  selects_of_ = SelectorIndex(program.vocabulary->selectors.size(), [&](const auto& visit) {
    for (uint32_t place = 0; place < program.selects.size(); ++place) {
      const CompiledSelects& item = program.selects[place];
      if (CountsHere(item) && item.selector != kNone) visit(item.selector, place);
    }
  });
  for (uint32_t place = 0; place < program.selects.size(); ++place) {
    const CompiledSelects& item = program.selects[place];
    if (CountsHere(item) && item.selector == kNone) selects_any_.push_back(place);
  }
  if (shape_ == nullptr) shape_ = std::make_shared<const DirectionShape>(ShapeOf());
}

DirectionShape DirectionRules::ShapeOf() const {
  const size_t selectors = program_.vocabulary->selectors.size();
  DirectionShape out;
  out.for_end.resize(selectors);
  out.for_tail.resize(selectors);
  for (uint32_t place = 0; place < program_.rules.size(); ++place) {
    const CompiledRule& rule = program_.rules[place];
    if (!CountsHere(rule)) continue;
    const uint32_t local = LocalOf(rule);
    if (local == kNone) {
      out.rules_of_any.push_back(place);
      continue;
    }
    out.for_end[local] = true;
    if (IsCoarse(PeerOf(rule))) out.for_tail[local] = true;
  }
  for (uint32_t selector = 0; selector < selectors; ++selector) {
    if (selects_of_.Of(selector).empty()) continue;
    out.for_end[selector] = true;
    out.for_tail[selector] = true;
  }
  out.coarse = IndexOf(true);
  return out;
}

SelectorIndex DirectionRules::IndexOf(bool coarse) const {
  return SelectorIndex(program_.vocabulary->selectors.size(), [&](const auto& visit) {
    for (uint32_t place = 0; place < program_.rules.size(); ++place) {
      const CompiledRule& rule = program_.rules[place];
      if (!CountsHere(rule) || LocalOf(rule) == kNone) continue;
      if (IsCoarse(PeerOf(rule)) == coarse) visit(LocalOf(rule), place);
    }
  });
}

namespace {

// Whether a rule that matches only perhaps changes anything: an allow does where a default denies,
// because that is named as the reason then.
bool MattersPerhaps(const CompiledRule& rule, State effective, const DirectionRules::Judge& judge) {
  if (rule.failsafe) return false;
  if (rule.verdict == MSEG_DENY) return true;
  return judge.selected[1] || (effective == State::kEnforce && judge.selected[0]);
}

// How a rule counts at an end that its selector matches.
struct Weight {
  State effective = State::kEnforce;
  bool perhaps = false;  // also for peers that are only perhaps meant
};
// Nothing: it does not count.
std::optional<Weight> WeightOf(const CompiledRule& rule, const DirectionRules::Judge& judge,
                               Tri match) {
  const State effective = rule.failsafe ? State::kEnforce : std::min(rule.state, judge.state);
  if (effective == State::kBuild) return std::nullopt;
  const bool perhaps = MattersPerhaps(rule, effective, judge);
  if (match != Tri::kYes && !perhaps) return std::nullopt;
  return Weight{.effective = effective, .perhaps = perhaps};
}

}  // namespace

void DirectionRules::AddRule(const CompiledRule& rule, const Judge& judge, Tri match,
                             PeerLedgers* peers, LedgerMap* base) const {
  const std::optional<Weight> weight = WeightOf(rule, judge, match);
  if (!weight) return;
  const auto [effective, perhaps] = *weight;
  if (PeerOf(rule) == kNone) {
    (*base)[rule.ports].Add(rule, effective, match);
    return;
  }
  if (match != Tri::kYes && rule.verdict == MSEG_ALLOW && judge.may_already != nullptr &&
      (*judge.may_already)[PeerOf(rule)]) {
    return;
  }
  SelectorLedgers& ledgers = (*peers)[PeerOf(rule)];
  ledgers.certain[rule.ports].Add(rule, effective, match);
  if (perhaps) ledgers.possible[rule.ports].Add(rule, effective, Tri::kMaybe);
}

void DirectionRules::AddRules(const Hits& locals, const Judge& judge, bool coarse,
                              PeerLedgers* peers, LedgerMap* base) const {
  const SelectorIndex& index = coarse ? shape_->coarse : Others();
  size_t rules = 0;
  for (const auto& [selector, tri] : locals) rules += index.Of(selector).size();
  peers->reserve(std::min(rules, groups_.coarse.size()));
  for (const auto& [selector, tri] : locals) {
    for (const uint32_t place : index.Of(selector)) {
      AddRule(program_.rules[place], judge, tri, peers, base);
    }
  }
}

void DirectionRules::AddRulesOfAny(const Judge& judge, bool coarse, PeerLedgers* peers,
                                   LedgerMap* base) const {
  for (const uint32_t place : shape_->rules_of_any) {
    const CompiledRule& rule = program_.rules[place];
    if (IsCoarse(PeerOf(rule)) == coarse) AddRule(rule, judge, Tri::kYes, peers, base);
  }
}

ClassLedgers DirectionRules::ByClass(const PeerLedgers& peers) const {
  ClassLedgers classes;
  classes.reserve(std::min(peers.size(), groups_.group_of.size()));
  absl::flat_hash_map<uint32_t, SelectorLedgers> wide;
  for (const auto& [selector, ledgers] : peers) {
    for (const auto& [cls, tri] : groups_.classes_of[selector]) {
      classes[cls].Merge(ledgers.For(tri));
    }
    if (const uint32_t group = groups_.wide_group_of[selector]; group != 0) {
      wide[group].Merge(ledgers);
    }
  }
  for (const auto& [group, ledgers] : wide) {
    for (const auto& [cls, tri] : groups_.wide_classes_of[group]) {
      classes[cls].Merge(ledgers.For(tri));
    }
  }
  return classes;
}

namespace {

// Whom each selector matches, and how: places in a list of hits.
class Matched {
 public:
  using Place = std::pair<uint32_t, Tri>;

  Matched(size_t selectors, const std::vector<const Hits*>& list)
      : places_(selectors, [&list](const auto& visit) {
          for (uint32_t i = 0; i < list.size(); ++i) {
            for (const auto& [selector, tri] : *list[i]) visit(selector, Place(i, tri));
          }
        }) {
    for (uint32_t i = 0; i < list.size(); ++i) everybody_.emplace_back(i, Tri::kYes);
  }
  // kNone matches anyone.
  absl::Span<const Place> Of(uint32_t selector) const {
    return selector == kNone ? everybody_ : places_.Of(selector);
  }

 private:
  BySelector<Place> places_;
  std::vector<Place> everybody_;
};

}  // namespace

std::vector<LedgerMap> DirectionRules::ByPair(const std::vector<JudgingEnd>& ends,
                                              const std::vector<const Hits*>& peers,
                                              const std::vector<bool>& counts) const {
  std::vector<const Hits*> hits;
  for (const JudgingEnd& end : ends) hits.push_back(end.hits);
  const Matched at_ends(program_.vocabulary->selectors.size(), hits);
  const Matched at_peers(program_.vocabulary->selectors.size(), peers);
  std::vector<LedgerMap> out(ends.size() * peers.size());
  for (const CompiledRule& rule : program_.rules) {
    if (!counts[rule.ports] || !CountsHere(rule) || IsCoarse(PeerOf(rule))) continue;
    const absl::Span<const Matched::Place> who = at_peers.Of(PeerOf(rule));
    if (who.empty()) continue;
    for (const auto& [end, match] : at_ends.Of(LocalOf(rule))) {
      const std::optional<Weight> weight = WeightOf(rule, ends[end].judge, match);
      if (!weight) continue;
      for (const auto& [peer, tri] : who) {
        if (tri != Tri::kYes && !weight->perhaps) continue;
        out[end * peers.size() + peer][rule.ports].Add(rule, weight->effective,
                                                       tri == Tri::kYes ? match : Tri::kMaybe);
      }
    }
  }
  return out;
}

void DirectionRules::FindDefaults(const Signature& signature, uint32_t selecting[2]) const {
  selecting[0] = kNone;
  selecting[1] = kNone;
  auto add = [&](absl::Span<const uint32_t> defaults) {
    for (const uint32_t place : defaults) {
      const CompiledSelects& item = program_.selects[place];
      const State effective = std::min(item.state, signature.state);
      if (effective == State::kBuild) continue;
      for (int view = effective == State::kEnforce ? 0 : 1; view < 2; ++view) {
        selecting[view] = std::min(selecting[view], item.number);
      }
    }
  };
  add(selects_any_);
  // A possible match selects too: who may be meant must not be left open.
  for (const auto& [selector, tri] : signature.selectors) add(selects_of_.Of(selector));
}

}  // namespace mseg
