// SPDX-License-Identifier: Apache-2.0
#include "labels/rule_changes.h"

#include <algorithm>

namespace mseg {
namespace {

// Rules and defaults are known by their numbers in the generation, which is all that a row says of
// them. Both programs have them in the order of naming, so that one walk compares the two. A rule
// that moved among the others counts as changed: which of two is named depends on their order.
class Comparison {
 public:
  Comparison(const Workings& before, const Program& program, const PortClasses& ports,
             const PeerGroups& groups)
      : before_(before), program_(program), ports_(ports), groups_(groups) {}

  std::optional<RuleChanges> Run() {
    if (program_.remade.has_value() && before_.ports.of_set.size() <= ports_.of_set.size() &&
        std::equal(before_.ports.of_set.begin(), before_.ports.of_set.end(),
                   ports_.of_set.begin())) {
      for (const size_t part : *program_.remade) {
        const size_t end = program_.parts[part + 1].rules;
        for (size_t place = program_.parts[part].rules; place < end; ++place) {
          NoteIfOther(before_.program.rules[place], program_.rules[place]);
        }
      }
      return Sorted();
    }
    FindPlaces();
    if (!SameSelects()) return std::nullopt;
    const SharedList<CompiledRule>& were = before_.program.rules;
    const SharedList<CompiledRule>& are = program_.rules;
    size_t i = 0;
    size_t j = 0;
    while (i < are.size() || j < were.size()) {
      const uint32_t place = j < were.size() ? place_now_[were[j].number] : kNone;
      if (j < were.size() && place == kNone) {
        Note(were[j++], before_.ports);
      } else if (i < are.size() && are[i].number < place) {
        Note(are[i++], ports_);
      } else if (i == are.size() || place < are[i].number) {
        Note(were[j++], before_.ports);
      } else {
        NoteIfOther(were[j], are[i]);
        ++i;
        ++j;
      }
    }
    return Sorted();
  }

 private:
  RuleChanges Sorted() {
    for (RuleChanges::Direction& direction : out_.directions) {
      Sort(&direction.selectors);
      Sort(&direction.tail_selectors);
      Sort(&direction.peers);
      Sort(&direction.ports);
    }
    return std::move(out_);
  }
  template <typename Number>
  static void Sort(std::vector<Number>* list) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }

  // Where each rule and default of before is named now, kNone where it is gone.
  void FindPlaces() {
    std::vector<uint32_t> by_number;
    for (uint32_t place = 0; place < program_.numbers.size(); ++place) {
      const uint32_t number = program_.numbers[place];
      if (number >= by_number.size()) by_number.resize(number + 1, kNone);
      by_number[number] = place;
    }
    place_now_.assign(before_.program.numbers.size(), kNone);
    for (size_t place = 1; place < place_now_.size(); ++place) {
      const uint32_t number = before_.program.numbers[place];
      if (number < by_number.size()) place_now_[place] = by_number[number];
    }
  }

  bool SameSelects() const {
    return std::equal(
        before_.program.selects.begin(), before_.program.selects.end(), program_.selects.begin(),
        program_.selects.end(), [this](const CompiledSelects& a, const CompiledSelects& b) {
          return a.state == b.state && a.selector == b.selector && a.egress == b.egress &&
                 a.ingress == b.ingress && place_now_[a.number] == b.number;
        });
  }

  bool Same(const CompiledRule& a, const CompiledRule& b) const {
    return a.state == b.state && a.verdict == b.verdict && a.failsafe == b.failsafe &&
           a.at_from == b.at_from && a.at_to == b.at_to && a.from == b.from && a.to == b.to &&
           (a.ports == 0) == (b.ports == 0) &&
           before_.ports.of_set[a.ports] == ports_.of_set[b.ports];
  }

  void NoteIfOther(const CompiledRule& was, const CompiledRule& is) {
    if (Same(was, is)) return;
    Note(was, before_.ports);
    Note(is, ports_);
  }
  void Note(const CompiledRule& rule, const PortClasses& ports) {
    if (rule.at_from) Note(MSEG_EGRESS, rule.from, rule.to, rule.ports, ports);
    if (rule.at_to) Note(MSEG_INGRESS, rule.to, rule.from, rule.ports, ports);
  }
  void Note(mseg_direction direction, uint32_t local, uint32_t peer, uint32_t set,
            const PortClasses& ports) {
    RuleChanges::Direction& out = out_.directions[direction];
    const bool tail = peer == kNone || groups_.coarse[peer];
    if (!tail) {
      out.peers.push_back(peer);
      out.ports.insert(out.ports.end(), ports.of_set[set].begin(), ports.of_set[set].end());
      out.every_port = out.every_port || set == 0;
    }
    if (local == kNone) {
      (tail ? out.any_tail : out.any_end) = true;
      return;
    }
    (tail ? out.tail_selectors : out.selectors).push_back(local);
  }

  const Workings& before_;
  const Program& program_;
  const PortClasses& ports_;
  const PeerGroups& groups_;
  std::vector<uint32_t> place_now_;  // by place in the rule table of before
  RuleChanges out_;
};

}  // namespace

std::optional<RuleChanges> FindRuleChanges(const Workings& before, const Program& program,
                                           const PortClasses& ports, const PeerGroups& groups) {
  return Comparison(before, program, ports, groups).Run();
}

}  // namespace mseg
