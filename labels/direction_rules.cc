// SPDX-License-Identifier: Apache-2.0
#include "labels/direction_rules.h"

#include <algorithm>
#include <numeric>

namespace mseg {

DirectionRules::DirectionRules(const Program& program, const PeerGroups& groups,
                               mseg_direction direction)
    : groups_(groups),
      direction_(direction),
      first_rule_(program.vocabulary->selectors.size() + 1),
      selects_of_(program.vocabulary->selectors.size()),
      for_end_(program.vocabulary->selectors.size()),
      for_tail_(program.vocabulary->selectors.size()) {
  const auto local_of = [direction](const CompiledRule& rule) {
    return direction == MSEG_EGRESS ? rule.from : rule.to;
  };
  const auto counts_here = [direction](const CompiledRule& rule) {
    return direction == MSEG_EGRESS ? rule.at_from : rule.at_to;
  };
  for (const CompiledRule& rule : program.rules) {
    if (counts_here(rule) && local_of(rule) != kNone) ++first_rule_[local_of(rule) + 1];
  }
  std::partial_sum(first_rule_.begin(), first_rule_.end(), first_rule_.begin());
  rules_.resize(first_rule_.back());
  std::vector<uint32_t> next(first_rule_.begin(), first_rule_.end() - 1);
  for (const CompiledRule& rule : program.rules) {
    if (!counts_here(rule)) continue;
    const uint32_t local = local_of(rule);
    if (local == kNone) {
      rules_of_any_.push_back(&rule);
      continue;
    }
    rules_[next[local]++] = &rule;
    for_end_[local] = true;
    if (IsCoarse(PeerOf(rule))) for_tail_[local] = true;
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

namespace {

// Whether a rule that matches only perhaps changes anything: an allow does where a default denies,
// because that is named as the reason then.
bool MattersPerhaps(const CompiledRule& rule, State effective, const DirectionRules::Judge& judge) {
  if (rule.failsafe) return false;
  if (rule.verdict == MSEG_DENY) return true;
  return judge.selected[1] || (effective == State::kEnforce && judge.selected[0]);
}

}  // namespace

void DirectionRules::AddRule(const CompiledRule& rule, const Judge& judge, Tri match,
                             PeerLedgers* peers, LedgerMap* base) const {
  const State effective = rule.failsafe ? State::kEnforce : std::min(rule.state, judge.state);
  if (effective == State::kBuild) return;
  const bool perhaps = MattersPerhaps(rule, effective, judge);
  if (match != Tri::kYes && !perhaps) return;
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
  size_t rules = 0;
  for (const auto& [selector, tri] : locals) rules += RulesOf(selector).size();
  peers->reserve(std::min(rules, groups_.coarse.size()));
  for (const auto& [selector, tri] : locals) {
    for (const CompiledRule* rule : RulesOf(selector)) {
      if (IsCoarse(PeerOf(*rule)) == coarse) AddRule(*rule, judge, tri, peers, base);
    }
  }
}

void DirectionRules::AddRulesOfAny(const Judge& judge, bool coarse, PeerLedgers* peers,
                                   LedgerMap* base) const {
  for (const CompiledRule* rule : rules_of_any_) {
    if (IsCoarse(PeerOf(*rule)) == coarse) AddRule(*rule, judge, Tri::kYes, peers, base);
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

void DirectionRules::FindDefaults(const Signature& signature, uint32_t selecting[2]) const {
  selecting[0] = kNone;
  selecting[1] = kNone;
  auto add = [&](const std::vector<const CompiledSelects*>& defaults) {
    for (const CompiledSelects* item : defaults) {
      const State effective = std::min(item->state, signature.state);
      if (effective == State::kBuild) continue;
      for (int view = effective == State::kEnforce ? 0 : 1; view < 2; ++view) {
        selecting[view] = std::min(selecting[view], item->number);
      }
    }
  };
  add(selects_any_);
  // A possible match selects too: who may be meant must not be left open.
  for (const auto& [selector, tri] : signature.selectors) add(selects_of_[selector]);
}

}  // namespace mseg
