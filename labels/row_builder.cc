// SPDX-License-Identifier: Apache-2.0
#include "labels/row_builder.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "labels/class_parts.h"
#include "labels/class_words.h"
#include "labels/direction_rules.h"
#include "labels/ledger.h"
#include "labels/row_writer.h"
#include "labels/text.h"
#include "mseg/decide.h"

// A direction at a time. Local classes that the rules of the direction do not tell apart are one
// end; ends that its coarse rules and defaults do not tell apart share a tail. Rules are sorted by
// the peers and port sets that they name, and never by the product of all classes. What a set of
// rules decides is a Ledger; the ledger of a union is the minimum of the ledgers, so the rules for
// any peer and any port are read once and not again for every class. Peers that most selectors
// match perhaps, such as processes of a cgroup that is not known yet, are served by the wide groups
// of selectors instead of one selector after the other.

namespace mseg {
namespace {

absl::Status TooManyRows(const CompileOptions& options) {
  return absl::ResourceExhaustedError(Cat("more than ", options.max_rows, " rows are needed"));
}

class RowBuilder {
 public:
  RowBuilder(const Program& program, const PortClasses& ports, const Signatures& signatures,
             const PeerGroups& groups, mseg_direction direction,
             std::shared_ptr<const DirectionShape> shape, const CompileOptions& options,
             GenerationImage* image)
      : program_(program),
        ports_(ports),
        signatures_(signatures),
        groups_(groups),
        direction_(direction),
        options_(options),
        image_(image),
        rules_(program, groups, direction, std::move(shape)),
        writer_(program, ports, groups, direction) {}

  // Ends and tails of the direction whose rows were made; the others are those of before.
  struct Made {
    bool all = true;
    absl::flat_hash_set<uint32_t> ends;
    absl::flat_hash_set<uint32_t> tails;
    // Of these ends the rows of some peers alone, and there of some port classes.
    absl::flat_hash_set<uint32_t> in_part;
    std::vector<bool> peers;
    std::vector<bool> ports;

    bool Holds(const mseg_row_key& key) const {
      if (all) return true;
      if ((key.peer & MSEG_PEER_CELL) != 0) return tails.contains(key.local);
      return ends.contains(key.local) || (peers.size() > key.peer && peers[key.peer] &&
                                          ports[key.port] && in_part.contains(key.local));
    }
  };

  // Fills in what the direction has to say of each class; `classes` is by number.
  absl::StatusOr<Made> Build(const std::set<uint32_t>& locals, const RuleChanges* changes,
                             Workings* workings, std::vector<mseg_class>* classes) {
    const RuleChanges::Direction* changed = nullptr;
    const DirectionShape& shape = *rules_.shape();
    const GenerationImage* previous = options_.previous;
    if (changes != nullptr && SameParts(*previous->workings->shapes[direction_], shape)) {
      changed = &changes->directions[direction_];
    }
    const Parts parts = changed != nullptr
                            ? PartsBefore(*previous, direction_)
                            : PartsOf(locals, signatures_, shape, direction_, previous);
    image_->budget.ends += parts.ends.size();
    Made made;
    made.all = changed == nullptr;
    absl::flat_hash_map<uint32_t, std::optional<Tail>> tails;  // by number
    absl::flat_hash_map<uint64_t, uint32_t> tail_of;           // by class
    for (const Part& part : parts.tails) {
      if (part.number >= options_.max_tails) {
        return absl::ResourceExhaustedError(
            Cat("more than ", options_.max_tails, " tails are needed"));
      }
      std::optional<Tail>& tail = tails[part.number];
      for (const uint64_t cls : part.members) tail_of[cls] = part.number;
      if (changed != nullptr && !Touched(part, changed->any_tail, changed->tail_selectors))
        continue;
      made.tails.insert(part.number);
      if (absl::Status status = MakeTail(part, &tail); !status.ok()) return status;
      if (absl::Status status = Append(writer_.OfTail(*tail)); !status.ok()) return status;
    }
    std::vector<End> list;
    std::vector<const Part*> listed;
    std::vector<End> in_part;
    const std::vector<uint32_t> peers =
        changed != nullptr ? PeersOf(*changed) : std::vector<uint32_t>();
    for (const Part& part : parts.ends) {
      const uint32_t number = tail_of.at(part.members[0]);
      for (const uint64_t cls : part.members) {
        (*classes)[cls].end[direction_] = part.number;
        (*classes)[cls].tail[direction_] = number;
      }
      if (changed != nullptr && !made.tails.contains(number) &&
          !Touched(part, changed->any_end, changed->selectors)) {
        continue;
      }
      std::optional<Tail>& tail = tails.at(number);
      if (!tail) {
        if (absl::Status status = MakeTail({number, part.members}, &tail); !status.ok()) {
          return status;
        }
      }
      const End end{
          .number = part.number, .local = static_cast<uint32_t>(part.members[0]), .tail = &*tail};
      if (!peers.empty() && !made.tails.contains(number) && in_part.size() < kMostInPart) {
        in_part.push_back(end);
        continue;
      }
      made.ends.insert(part.number);
      listed.push_back(&part);
      list.push_back(end);
    }
    if (absl::Status status = AddEnds(&list); !status.ok()) return status;
    if (!in_part.empty()) {
      if (absl::Status s = AddInPart(&in_part, peers, changed->ports, &made); !s.ok()) return s;
    }
    if (changed != nullptr) CopyBefore(made, classes);
    for (size_t i = 0; i < list.size(); ++i) {
      for (const uint64_t cls : listed[i]->members) {
        (*classes)[cls].by_peer[direction_] = list[i].by_peer ? 1 : 0;
      }
    }
    for (const Part& part : parts.tails) {
      const std::optional<Tail>& tail = tails.at(part.number);
      if (made.tails.contains(part.number) && !tail->cells.empty()) {
        image_->tails.emplace_back(part.number, tail->mask);
      }
    }
    workings->shapes[direction_] = rules_.shape();
    return made;
  }

 private:
  // More pairs of an end and a peer are looked at sooner end by end.
  static constexpr size_t kMostInPart = 64;
  static constexpr size_t kMostPeersInPart = 256;

  // Whether a changed rule counts at these classes.
  bool Touched(const Part& part, bool any, const std::vector<uint32_t>& selectors) const {
    constexpr size_t kMany = 256;  // looking for each takes longer than making all
    if (any || selectors.size() > kMany) return true;
    const Hits& hits = signatures_[part.members[0]]->selectors;
    return std::any_of(selectors.begin(), selectors.end(), [&hits](uint32_t selector) {
      const auto it = std::lower_bound(hits.begin(), hits.end(), std::pair(selector, Tri::kNo));
      return it != hits.end() && it->first == selector;
    });
  }

  // What of the classes and masks is as before.
  void CopyBefore(const Made& made, std::vector<mseg_class>* classes) const {
    for (const auto& [cls, entry] : options_.previous->classes) {
      (*classes)[cls].by_peer[direction_] = entry.by_peer[direction_];
    }
    for (const auto& [number, mask] : options_.previous->tails) {
      if (number % 2 == static_cast<uint32_t>(direction_) && !made.tails.contains(number)) {
        image_->tails.emplace_back(number, mask);
      }
    }
  }

  static DirectionRules::Judge JudgeOf(State state, const Tail& tail) {
    return {.state = state, .selected = {tail.selecting[0] != kNone, tail.selecting[1] != kNone}};
  }

  absl::Status MakeTail(const Part& part, std::optional<Tail>* out) const {
    absl::StatusOr<Tail> tail = TailOf(static_cast<uint32_t>(part.members[0]));
    if (!tail.ok()) return tail.status();
    *out = *std::move(tail);
    (*out)->number = part.number;
    return absl::OkStatus();
  }

  absl::StatusOr<Tail> TailOf(uint32_t local) const {
    Tail tail;
    const Signature& signature = *signatures_[local];
    rules_.FindDefaults(signature, tail.selecting);
    LedgerMap base;
    PeerLedgers peers;
    const DirectionRules::Judge judge = JudgeOf(signature.state, tail);
    rules_.AddRulesOfAny(judge, true, &peers, &base);
    rules_.AddRules(signature.selectors, judge, true, &peers, &base);
    tail.base = writer_.ByPort(base);

    // What the selectors that matter here say of each group: a run of equal groups for each.
    struct Said {
      uint32_t group;
      std::pair<uint32_t, Tri> hit;
      auto operator<=>(const Said&) const = default;
    };
    std::vector<Said> said;
    for (const auto& [selector, ledgers] : peers) {
      for (size_t i = 0; i < MSEG_COARSE_WORDS; ++i) {
        tail.mask.bits[i] |= groups_.mask_of[selector].bits[i];
      }
      for (const auto& [group, tri] : groups_.groups_of[selector]) {
        said.push_back({group, {selector, tri}});
      }
    }
    std::sort(said.begin(), said.end());
    absl::flat_hash_map<uint32_t, std::pair<size_t, size_t>> meanings;  // cell -> its first run
    for (size_t begin = 0, end = 0; begin < said.size(); begin = end) {
      while (end < said.size() && said[end].group == said[begin].group) ++end;
      const uint32_t cell = mseg_cell(&groups_.bits[said[begin].group], &tail.mask);
      const auto [it, added] = meanings.try_emplace(cell, begin, end);
      if (!added) {
        const auto [first, last] = it->second;
        const bool same = std::equal(said.begin() + static_cast<ptrdiff_t>(begin),
                                     said.begin() + static_cast<ptrdiff_t>(end),
                                     said.begin() + static_cast<ptrdiff_t>(first),
                                     said.begin() + static_cast<ptrdiff_t>(last),
                                     [](const Said& a, const Said& b) { return a.hit == b.hit; });
        if (!same) return absl::AbortedError("two cells with one number");
        continue;
      }
      LedgerMap sets;
      for (size_t i = begin; i < end; ++i) {
        const auto& [selector, tri] = said[i].hit;
        sets.Merge(peers.at(selector).For(tri));
      }
      tail.cells.emplace(cell, writer_.ByPort(sets));
    }
    auto add_ports = [&tail](const LedgerMap& ledgers) {
      for (const auto& [port, ledger] : ledgers) {
        if (port != 0) tail.ports.insert(static_cast<uint16_t>(port));
      }
    };
    add_ports(tail.base);
    for (const auto& [cell, ledgers] : tail.cells) add_ports(ledgers);
    return tail;
  }

  absl::Status AddEnds(std::vector<End>* ends) {
    std::map<std::pair<uint32_t, State>, std::vector<End*>> wide;
    for (End& end : *ends) {
      const State state = signatures_[end.local]->state;
      if (groups_.groups_of_wide.contains(end.local)) {
        wide[{end.tail->number, state}].push_back(&end);
        continue;
      }
      if (absl::Status status = AddEnd(&end); !status.ok()) return status;
    }
    for (const auto& [key, alike] : wide) {
      if (absl::Status status = AddWideEnds(alike, key.second); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // The classes of which the changed rules of a direction speak, if rows of these can be told from
  // the others: whether an end has rows for every service must not depend on the change.
  std::vector<uint32_t> PeersOf(const RuleChanges::Direction& changed) const {
    std::set<uint32_t> classes;
    if (changed.every_port) return {};
    for (const uint32_t selector : changed.peers) {
      for (const auto& [cls, tri] : groups_.classes_of[selector]) classes.insert(cls);
      for (const auto& [cls, tri] : groups_.wide_classes_of[groups_.wide_group_of[selector]]) {
        classes.insert(cls);
      }
    }
    if (classes.size() > kMostPeersInPart) return {};
    return {classes.begin(), classes.end()};
  }

  // Rows of a few peers at ends of which all other rows are those of before.
  absl::Status AddInPart(std::vector<End>* ends, const std::vector<uint32_t>& peers,
                         const std::vector<uint16_t>& changed_ports, Made* made) {
    std::vector<DirectionRules::JudgingEnd> judging;
    bool by_peer = false;
    for (End& end : *ends) {
      const Signature& signature = *signatures_[end.local];
      end.by_peer = WasByPeer(end.local);
      by_peer = by_peer || end.by_peer;
      judging.push_back({&signature.selectors, JudgeOf(signature.state, *end.tail)});
      made->in_part.insert(end.number);
    }
    made->peers.resize(signatures_.size());
    std::vector<const Hits*> hits;
    for (const uint32_t peer : peers) {
      hits.push_back(&signatures_[peer]->selectors);
      made->peers[peer] = true;
    }
    // Rows for every service depend on all ports, others on their own alone.
    made->ports.resize(size_t{UINT16_MAX} + 1, by_peer);
    for (const uint16_t port : changed_ports) made->ports[port] = true;
    const std::vector<LedgerMap> sets = rules_.ByPair(judging, hits, SetsOf(made->ports));
    RowList rows;
    for (size_t i = 0; i < sets.size(); ++i) {
      writer_.AddPeer((*ends)[i / peers.size()], peers[i % peers.size()], sets[i], &rows);
    }
    std::erase_if(rows, [made](const auto& row) { return !made->ports[row.first.port]; });
    return Append(rows);
  }

  bool WasByPeer(uint32_t local) const {
    const auto& classes = options_.previous->classes;
    const auto it =
        std::lower_bound(classes.begin(), classes.end(), local,
                         [](const auto& entry, uint32_t cls) { return entry.first < cls; });
    return it != classes.end() && it->first == local && it->second.by_peer[direction_] != 0;
  }

  // The port sets that say something of these port classes.
  std::vector<bool> SetsOf(const std::vector<bool>& ports) const {
    std::vector<bool> out(ports_.of_set.size());
    for (size_t set = 0; set < out.size(); ++set) {
      const auto& classes = ports_.of_set[set];
      out[set] = set == 0 || std::any_of(classes.begin(), classes.end(),
                                         [&ports](uint16_t port) { return ports[port]; });
    }
    return out;
  }

  absl::Status AddEnd(End* end) {
    const Signature& signature = *signatures_[end->local];
    PeerLedgers peers;
    LedgerMap base;  // stays empty: rules for any peer are the tail's
    const DirectionRules::Judge judge = JudgeOf(signature.state, *end->tail);
    rules_.AddRulesOfAny(judge, false, &peers, &base);
    rules_.AddRules(signature.selectors, judge, false, &peers, &base);
    const ClassLedgers classes = rules_.ByClass(peers);
    end->by_peer = NamesEveryService(classes);
    RowList rows;
    for (const auto& [peer, sets] : classes) writer_.AddPeer(*end, peer, sets, &rows);
    return Append(rows);
  }

  // Ends of wide classes read nearly all rules, and mostly the same ones: these are read once. An
  // end differs from that in the peers of which its other rules speak.
  absl::Status AddWideEnds(const std::vector<End*>& ends, State state) {
    Hits common = groups_.groups_of_wide.at(ends[0]->local);
    for (const End* end : ends) {
      common = Common(common, groups_.groups_of_wide.at(end->local));
    }
    PeerLedgers peers;
    LedgerMap base;  // stays empty
    DirectionRules::Judge judge = JudgeOf(state, *ends[0]->tail);
    const std::vector<bool> may_already = MayAlready(*ends[0]->tail);
    judge.may_already = &may_already;
    rules_.AddRulesOfAny(judge, false, &peers, &base);
    rules_.AddRules(SelectorsOf(common), judge, false, &peers, &base);
    const ClassLedgers shared = rules_.ByClass(peers);
    End pattern = *ends[0];
    pattern.by_peer = NamesEveryService(shared);
    absl::flat_hash_map<uint32_t, RowList> shared_rows;  // by peer
    for (const auto& [peer, sets] : shared) {
      writer_.AddPeer(pattern, peer, sets, &shared_rows[peer]);
    }
    for (End* end : ends) {
      PeerLedgers own_peers;
      const Hits own = Without(groups_.groups_of_wide.at(end->local), common);
      rules_.AddRules(SelectorsOf(own), judge, false, &own_peers, &base);
      ClassLedgers classes = rules_.ByClass(own_peers);
      end->by_peer = pattern.by_peer || NamesEveryService(classes);
      RowList rows;
      for (const auto& [peer, sets] : shared) {
        if (const auto it = classes.find(peer); it != classes.end()) {
          it->second.Merge(sets);
        } else if (end->by_peer != pattern.by_peer) {
          writer_.AddPeer(*end, peer, sets, &rows);
        } else {
          for (auto row : shared_rows[peer]) {
            row.first.local = end->number;
            rows.push_back(row);
          }
        }
      }
      for (const auto& [peer, sets] : classes) writer_.AddPeer(*end, peer, sets, &rows);
      if (absl::Status status = Append(rows); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // By selector: whether the tail says of all classes it matches that they might be allowed, on
  // every port and in both views. That more rules might allow them changes no row then: none of
  // them is named.
  std::vector<bool> MayAlready(const Tail& tail) const {
    std::vector<bool> by_group(groups_.bits.size());
    for (size_t group = 0; group < groups_.bits.size(); ++group) {
      const Ledger ledger = tail.At(mseg_cell(&groups_.bits[group], &tail.mask), 0);
      by_group[group] = ledger.possible_allow[0] != kNone && ledger.possible_allow[1] != kNone;
    }
    auto all_may = [&](const PeerGroups::Members& classes) {
      return std::all_of(classes.begin(), classes.end(), [&](const auto& member) {
        return by_group[groups_.group_of[member.first]];
      });
    };
    std::vector<bool> by_wide_group;
    for (const PeerGroups::Members& classes : groups_.wide_classes_of) {
      by_wide_group.push_back(all_may(classes));
    }
    std::vector<bool> out(groups_.classes_of.size());
    for (size_t selector = 0; selector < out.size(); ++selector) {
      out[selector] =
          by_wide_group[groups_.wide_group_of[selector]] && all_may(groups_.classes_of[selector]);
    }
    return out;
  }

  static Hits Common(const Hits& a, const Hits& b) {
    Hits out;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
    return out;
  }
  static Hits Without(const Hits& a, const Hits& b) {
    Hits out;
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
    return out;
  }
  // Of wide groups, with what the groups say.
  Hits SelectorsOf(const Hits& groups) const {
    Hits out;
    for (const auto& [group, tri] : groups) {
      for (const uint32_t selector : groups_.selectors_of_wide_group[group]) {
        out.emplace_back(selector, tri);
      }
    }
    return out;
  }
  static bool NamesEveryService(const ClassLedgers& classes) {
    return std::any_of(classes.begin(), classes.end(),
                       [](const auto& peer) { return peer.second.Find(0) != nullptr; });
  }

  absl::Status Append(const RowList& rows) {
    if (image_->rows.size() + rows.size() > options_.max_rows) {
      return TooManyRows(options_);
    }
    image_->rows.insert(image_->rows.end(), rows.begin(), rows.end());
    return absl::OkStatus();
  }

  const Program& program_;
  const PortClasses& ports_;
  const Signatures& signatures_;
  const PeerGroups& groups_;
  const mseg_direction direction_;
  const CompileOptions& options_;
  GenerationImage* image_;
  const DirectionRules rules_;
  const RowWriter writer_;
};

}  // namespace

absl::Status BuildRows(const Program& program, const PortClasses& ports,
                       const Signatures& signatures, const PeerGroups& groups,
                       const std::set<uint32_t>& locals, const CompileOptions& options,
                       const RuleChanges* changes, Workings* workings, GenerationImage* image) {
  image->rows.clear();
  image->classes.clear();
  image->groups.clear();
  image->tails.clear();
  image->budget.ends = 0;
  std::vector<mseg_class> classes(signatures.size());
  std::vector<RowBuilder::Made> made;
  for (mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
    std::shared_ptr<const DirectionShape> shape;
    // Rules that were remade in their places have the shape that they had.
    if (changes != nullptr && program.remade.has_value()) {
      shape = options.previous->workings->shapes[direction];
    }
    RowBuilder builder(program, ports, signatures, groups, direction, std::move(shape), options,
                       image);
    absl::StatusOr<RowBuilder::Made> built = builder.Build(locals, changes, workings, &classes);
    if (!built.ok()) return built.status();
    made.push_back(*std::move(built));
  }
  const auto before = [](const auto& a, const auto& b) {
    return std::memcmp(&a.first, &b.first, sizeof(a.first)) < 0;
  };
  std::sort(image->rows.begin(), image->rows.end(), before);
  if (changes != nullptr) {
    const auto fresh = static_cast<ptrdiff_t>(image->rows.size());
    for (const auto& row : options.previous->rows) {
      if (!made[row.first.direction].Holds(row.first)) image->rows.push_back(row);
    }
    if (image->rows.size() > options.max_rows) return TooManyRows(options);
    std::inplace_merge(image->rows.begin(), image->rows.begin() + fresh, image->rows.end(), before);
  }
  SetHints(image->rows, &classes);
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
  FillNearBits(image);
  return absl::OkStatus();
}

}  // namespace mseg
