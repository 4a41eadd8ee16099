// SPDX-License-Identifier: Apache-2.0
#include "labels/matcher.h"

#include <algorithm>
#include <climits>
#include <set>
#include <tuple>

#include "absl/hash/hash.h"
#include "labels/text.h"

namespace mseg {

// One Workload that may apply to a process. Rank orders specificity: process fields over cgroup,
// deeper cgroups over shallower ones, all over `host`.
struct Matcher::Contribution {
  uint32_t workload = 0;
  std::pair<int, int> rank;
  Tri tri = Tri::kNo;
};

namespace {

constexpr int kNoCgroup = -1;

Tri And(Tri a, Tri b) { return std::min(a, b); }
Tri YesIf(bool condition) { return condition ? Tri::kYes : Tri::kNo; }

uint64_t LabelHash(std::string_view key, std::string_view value) {
  return absl::HashOf(key, value);
}

// One path must satisfy both `name` and `exe` where a selector has both.
bool MatchesPath(const ExeMatcher& matcher, const std::string& path) {
  const bool name =
      matcher.names.empty() || std::binary_search(matcher.names.begin(), matcher.names.end(),
                                                  path.substr(path.rfind('/') + 1));
  return name && (matcher.exes.empty() ||
                  std::any_of(matcher.exes.begin(), matcher.exes.end(),
                              [&](const PathPattern& pattern) { return pattern.Matches(path); }));
}

Tri MatchScript(const ExeMatcher& matcher, const ExecutableInfo& executable) {
  if (matcher.scripts.empty() && matcher.script_digests.empty()) return Tri::kYes;
  if (!executable.script) return executable.interpreter ? Tri::kMaybe : Tri::kNo;
  const ScriptInfo& script = *executable.script;
  if (std::binary_search(matcher.script_digests.begin(), matcher.script_digests.end(),
                         script.digest)) {
    return Tri::kYes;
  }
  if (script.path.empty()) return matcher.scripts.empty() ? Tri::kNo : Tri::kMaybe;
  return YesIf(
      std::any_of(matcher.scripts.begin(), matcher.scripts.end(),
                  [&](const PathPattern& pattern) { return pattern.Matches(script.path); }));
}

Tri MatchExe(const ExeMatcher& matcher, const ExecutableInfo& executable, mseg_grade grade) {
  // What was found out with less certainty than asked for is not known, whatever it says.
  if (matcher.grade > grade) return Tri::kMaybe;
  const bool asks_path = !matcher.names.empty() || !matcher.exes.empty();
  if (asks_path && !executable.any_path) {
    if (!executable.trusted_path) return Tri::kNo;
    const bool found = MatchesPath(matcher, executable.path) ||
                       std::any_of(executable.aliases.begin(), executable.aliases.end(),
                                   [&](const auto& link) { return MatchesPath(matcher, link); });
    if (!found) return Tri::kNo;
  }
  if (!matcher.digests.empty() &&
      !std::binary_search(matcher.digests.begin(), matcher.digests.end(), executable.digest)) {
    return Tri::kNo;
  }
  return And(asks_path && executable.any_path ? Tri::kMaybe : Tri::kYes,
             MatchScript(matcher, executable));
}

// Whether a requirement holds for one value; null: the key is absent.
bool Holds(const LabelRequirement& requirement, const std::string* value) {
  using Operator = LabelRequirement::Operator;
  const bool listed = value != nullptr && std::binary_search(requirement.values.begin(),
                                                             requirement.values.end(), *value);
  switch (requirement.op) {
    case Operator::kIn:
      return listed;
    case Operator::kNotIn:
      return !listed;
    case Operator::kExists:
      return value != nullptr;
    case Operator::kDoesNotExist:
      return value == nullptr;
  }
  return false;
}

Tri MatchRequirement(const LabelRequirement& requirement, const Subject& subject) {
  if (subject.labels_unknown) return Tri::kMaybe;
  const auto it = subject.labels.find(requirement.key);
  if (it == subject.labels.end()) return YesIf(Holds(requirement, nullptr));
  if (it->second.unknown) return Tri::kMaybe;
  size_t worlds = it->second.values.size();
  size_t matching = 0;
  for (const std::string& value : it->second.values) matching += Holds(requirement, &value) ? 1 : 0;
  if (it->second.may_be_absent) {
    ++worlds;
    matching += Holds(requirement, nullptr) ? 1 : 0;
  }
  if (matching == 0) return Tri::kNo;
  return matching == worlds ? Tri::kYes : Tri::kMaybe;
}

// A process has all its addresses at once. Those of a family that no prefix has do not count: a pod
// with two families is in an IPv4 block or is not. Where it is reached may be unknown.
Tri MatchOwnAddresses(const CompiledSelector& selector, const Subject& subject) {
  if (subject.addresses.empty()) return Tri::kMaybe;
  bool inside = false;
  bool outside = false;
  for (const Cidr& address : subject.addresses) {
    auto same_family = [&address](const Cidr& cidr) { return cidr.ipv4 == address.ipv4; };
    if (std::none_of(selector->cidrs.begin(), selector->cidrs.end(), same_family)) continue;
    const bool match =
        AnyContains(selector->cidrs, address) && !AnyContains(selector->except, address);
    (match ? inside : outside) = true;
  }
  if (!inside) return Tri::kNo;
  return outside ? Tri::kMaybe : Tri::kYes;
}

Tri MatchCidrs(const CompiledSelector& selector, const Subject& subject) {
  if (selector->cidrs.empty()) return Tri::kYes;
  // An address says nothing about a process that has an identity, unless `peers: all` asks.
  if (!subject.is_address)
    return selector->all_peers ? MatchOwnAddresses(selector, subject) : Tri::kNo;
  return YesIf(AnyContains(selector->cidrs, subject.region) &&
               !AnyContains(selector->except, subject.region));
}

}  // namespace

Tri ExeVector::At(uint32_t matcher) const {
  if (unknown) return Tri::kMaybe;
  const auto it = std::lower_bound(
      hits.begin(), hits.end(), matcher,
      [](const std::pair<uint32_t, Tri>& hit, uint32_t number) { return hit.first < number; });
  return it != hits.end() && it->first == matcher ? it->second : Tri::kNo;
}

Matcher::Matcher(std::shared_ptr<const Vocabulary> vocabulary, std::map<std::string, uint32_t> uids)
    : vocabulary_(std::move(vocabulary)), uids_(std::move(uids)) {
  IndexWorkloads();
  IndexSelectors();
}

void Matcher::IndexWorkloads() {
  workloads_by_exe_.resize(vocabulary_->exe_matchers.size());
  for (uint32_t i = 0; i < vocabulary_->workloads.size(); ++i) {
    const CompiledWorkload& workload = vocabulary_->workloads[i];
    for (uint32_t p = 0; p < workload.cgroups.size(); ++p) {
      const PathPattern& pattern = workload.cgroups[p];
      if (!pattern.literal()) {
        glob_cgroups_.emplace_back(i, p);
        continue;
      }
      workloads_by_cgroup_[pattern.text()].push_back(i);
      for (std::string_view above = pattern.text(); above.size() > 1;) {
        above = above.substr(0, std::max<size_t>(above.rfind('/'), 1));
        literal_parents_.emplace(above, true);
      }
    }
    if (!workload.cgroups.empty()) continue;
    if (workload.exe_matcher != kNone) {
      workloads_by_exe_[workload.exe_matcher].push_back(i);
    } else {
      other_workloads_.push_back(i);
    }
  }
}

void Matcher::IndexSelectors() {
  for (uint32_t i = 0; i < vocabulary_->selectors.size(); ++i) {
    const CompiledSelector& selector = vocabulary_->selectors[i];
    unlabelled_.push_back({.exe_matcher = selector.exe_matcher,
                           .labels = !selector->labels.empty(),
                           .more = !selector->users.empty() || !selector->cidrs.empty()});
    for (const LabelRequirement& r : selector->labels) {
      asks_for_kernel_ = asks_for_kernel_ || r.key == kKernelKey;
    }
    auto demands = [](const LabelRequirement& r) {
      return r.op == LabelRequirement::Operator::kIn;
    };
    const auto first = std::find_if(selector->labels.begin(), selector->labels.end(), demands);
    if (first == selector->labels.end()) {
      if (selector->cidrs.empty() || selector->all_peers) {
        other_selectors_.push_back(i);
        continue;
      }
      for (const Cidr& cidr : selector->cidrs) {
        selectors_by_cidr_[cidr].push_back(i);
        cidr_lengths_.insert({cidr.ipv4, cidr.bits});
      }
      continue;
    }
    selectors_by_key_[first->key].push_back(i);
    const auto second = std::find_if(first + 1, selector->labels.end(), [&](const auto& r) {
      return demands(r) && r.key != first->key;
    });
    for (const std::string& value : first->values) {
      Demanded& demanded = selectors_by_label_[LabelHash(first->key, value)];
      if (second == selector->labels.end()) {
        demanded.alone.push_back(i);
        continue;
      }
      for (const std::string& other : second->values) {
        demanded.with[LabelHash(second->key, other)].push_back(i);
      }
    }
  }
}

ExeVector Matcher::ExeVectorOf(const ExecutableInfo& executable, mseg_grade grade) const {
  ExeVector out;
  if (executable.kernel) {
    out.kernel = true;
    return out;
  }
  for (uint32_t i = 0; i < vocabulary_->exe_matchers.size(); ++i) {
    const Tri tri = MatchExe(*vocabulary_->exe_matchers[i], executable, grade);
    if (tri != Tri::kNo) out.hits.emplace_back(i, tri);
  }
  return out;
}

CgroupHits Matcher::CgroupHitsOf(std::string_view path) const {
  std::map<uint32_t, int> deepest;
  auto add = [&deepest](uint32_t workload, int depth) {
    const auto [it, added] = deepest.emplace(workload, depth);
    it->second = std::max(it->second, depth);
  };
  std::string above;
  int depth = 0;
  auto add_literals = [&](std::string_view at) {
    const auto it = workloads_by_cgroup_.find(ToAbsl(at));
    if (it == workloads_by_cgroup_.end()) return;
    for (uint32_t workload : it->second) add(workload, depth);
  };
  add_literals("/");
  for (std::string_view component : PathComponents(path)) {
    Append(&above, "/", component);
    ++depth;
    add_literals(above);
  }
  for (const auto& [workload, pattern] : glob_cgroups_) {
    const int found = vocabulary_->workloads[workload].cgroups[pattern].DeepestMatch(path);
    if (found >= 0) add(workload, found);
  }
  return CgroupHits{.pending = false, .hits = {deepest.begin(), deepest.end()}};
}

uint32_t Matcher::LoopbackOf(const CgroupHits& cgroup) const {
  if (cgroup.pending) return kNone;
  for (uint32_t workload : other_workloads_) {
    if (vocabulary_->workloads[workload].loopback_allowed) return workload;
  }
  std::pair<int, uint32_t> outermost(INT_MAX, kNone);
  for (const auto& [workload, depth] : cgroup.hits) {
    if (!vocabulary_->workloads[workload].loopback_allowed) continue;
    outermost = std::min(outermost, std::pair<int, uint32_t>(depth, workload));
  }
  return outermost.second;
}

uint16_t Matcher::DoorsOf(const CgroupHits& cgroup, State highest) const {
  uint16_t doors = 0;
  auto add = [&](uint32_t number) {
    const CompiledWorkload& workload = vocabulary_->workloads[number];
    uint16_t said = workload.doors;
    // What is not enforced refuses nothing.
    const State state = std::min(workload.state, highest);
    if (state != State::kEnforce) said &= ~(MSEG_DOOR_PASSING_DENY | MSEG_DOOR_LIBRARIES);
    if (state == State::kTest && (workload.doors & MSEG_DOOR_LIBRARIES) != 0) {
      said |= MSEG_DOOR_LIBRARIES_TEST;
    }
    doors |= said;
  };
  for (const uint32_t workload : other_workloads_) add(workload);
  for (const auto& [workload, depth] : cgroup.hits) add(workload);
  if ((doors & MSEG_DOOR_PASSING_DENY) != 0) doors &= ~MSEG_DOOR_PASSING_ALLOW;
  return doors;
}

bool Matcher::AnyDoor(uint16_t doors) const {
  return std::any_of(
      vocabulary_->workloads.begin(), vocabulary_->workloads.end(),
      [doors](const CompiledWorkload& workload) { return (workload.doors & doors) != 0; });
}

bool Matcher::Watch(std::string_view path) const {
  const std::string clean = path.size() > 1 && path.ends_with('/')
                                ? std::string(path.substr(0, path.size() - 1))
                                : std::string(path);
  if (literal_parents_.contains(clean)) return true;
  return std::any_of(glob_cgroups_.begin(), glob_cgroups_.end(), [&](const auto& glob) {
    return vocabulary_->workloads[glob.first].cgroups[glob.second].MayMatchBelow(path);
  });
}

std::vector<uint32_t> Matcher::MentionedUids() const {
  std::set<uint32_t> out;
  for (const std::string& user : vocabulary_->users) {
    if (const std::optional<uint32_t> number = ParseDecimal(user)) {
      out.insert(*number);
    } else if (auto it = uids_.find(user); it != uids_.end()) {
      out.insert(it->second);
    }
  }
  return {out.begin(), out.end()};
}

Tri Matcher::MatchUsers(const std::vector<std::string>& users, const UserFacts& user) const {
  if (users.empty()) return Tri::kYes;
  if (!user.known) return Tri::kMaybe;
  for (const std::string& wanted : users) {
    if (!user.name.empty() && wanted == user.name) return Tri::kYes;
    std::optional<uint32_t> uid = ParseDecimal(wanted);
    if (!uid) {
      const auto it = uids_.find(wanted);
      if (it != uids_.end()) uid = it->second;
    }
    if (uid && user.uid == uid) return Tri::kYes;
  }
  return Tri::kNo;
}

void Matcher::AddContribution(uint32_t workload, int depth, Tri cgroup, const ExeVector& exe,
                              const UserFacts& user, std::vector<Contribution>* out) const {
  const CompiledWorkload& compiled = vocabulary_->workloads[workload];
  Tri tri = And(cgroup, MatchUsers(compiled.users, user));
  if (compiled.exe_matcher != kNone) tri = And(tri, exe.At(compiled.exe_matcher));
  if (tri == Tri::kNo) return;
  out->push_back(Contribution{
      .workload = workload, .rank = {compiled.has_process_field ? 1 : 0, depth}, .tri = tri});
}

std::vector<Matcher::Contribution> Matcher::Contributions(const CgroupHits& cgroup,
                                                          const ExeVector& exe,
                                                          const UserFacts& user) const {
  std::vector<Contribution> out;
  for (const auto& [workload, depth] : cgroup.hits) {
    AddContribution(workload, depth, Tri::kYes, exe, user, &out);
  }
  for (uint32_t workload : other_workloads_) {
    AddContribution(workload, kNoCgroup, Tri::kYes, exe, user, &out);
  }
  if (exe.unknown) {
    for (const std::vector<uint32_t>& workloads : workloads_by_exe_) {
      for (uint32_t workload : workloads) {
        AddContribution(workload, kNoCgroup, Tri::kYes, exe, user, &out);
      }
    }
  }
  for (const auto& [matcher, tri] : exe.hits) {
    for (uint32_t workload : workloads_by_exe_[matcher]) {
      AddContribution(workload, kNoCgroup, Tri::kYes, exe, user, &out);
    }
  }
  return out;
}

void Matcher::MergeLabels(const std::vector<Contribution>& contributions, Subject* subject) const {
  struct Offer {
    std::pair<int, int> rank;
    Tri tri;
    const std::string* value;
    const std::string* workload;
  };
  std::map<std::string_view, std::vector<Offer>> offers;
  for (const Contribution& contribution : contributions) {
    const CompiledWorkload& workload = vocabulary_->workloads[contribution.workload];
    for (const auto& [key, value] : workload.labels.values()) {
      offers[key].push_back(Offer{contribution.rank, contribution.tri, &value, &workload.name});
    }
  }
  for (auto& [key, list] : offers) {
    std::sort(list.begin(), list.end(), [](const Offer& a, const Offer& b) {
      return std::tie(b.rank, b.tri, *a.value, *a.workload) <
             std::tie(a.rank, a.tri, *b.value, *b.workload);
    });
    const auto certain =
        std::find_if(list.begin(), list.end(), [](const Offer& o) { return o.tri == Tri::kYes; });
    LabelChoice choice;
    choice.may_be_absent = certain == list.end();
    std::set<std::string> values;
    for (const Offer& offer : list) {
      if (certain != list.end() && offer.rank < certain->rank) break;
      values.insert(*offer.value);
      if (offer.tri == Tri::kYes && *offer.value != *certain->value && !choice.unknown) {
        choice.unknown = true;
        subject->conflicts.push_back(Cat(key, " is ", *certain->value, " (Workload `",
                                         *certain->workload, "`) and ", *offer.value,
                                         " (Workload `", *offer.workload, "`)"));
      }
    }
    choice.values.assign(values.begin(), values.end());
    if (!choice.unknown && !choice.may_be_absent && choice.values.size() == 1) {
      subject->certain.SetReserved(key, choice.values[0]);
    } else if (!choice.unknown) {
      subject->exact = false;
    }
    subject->labels.emplace(std::string(key), std::move(choice));
  }
}

Subject Matcher::ProcessSubject(const CgroupHits& cgroup, const ExeVector& exe,
                                const UserFacts& user) const {
  Subject subject;
  subject.exe = exe;
  subject.user = user;
  const std::vector<Contribution> contributions = Contributions(cgroup, exe, user);
  std::pair<int, int> addresses_rank;
  for (const Contribution& contribution : contributions) {
    // What only may apply does not soften enforcement.
    if (contribution.tri != Tri::kYes) {
      subject.conditional = true;
      continue;
    }
    const CompiledWorkload& workload = vocabulary_->workloads[contribution.workload];
    subject.state = std::min(subject.state, workload.state);
    // The most specific Workload that has addresses says where the process is reached.
    if (workload.addresses.empty()) continue;
    if (subject.addresses.empty() || contribution.rank > addresses_rank) {
      subject.addresses.clear();
      addresses_rank = contribution.rank;
    }
    if (contribution.rank < addresses_rank) continue;
    subject.addresses.insert(subject.addresses.end(), workload.addresses.begin(),
                             workload.addresses.end());
  }
  if (cgroup.pending) {
    subject.labels_unknown = true;
    subject.exact = false;
    return subject;
  }
  MergeLabels(contributions, &subject);
  auto give = [&subject](std::string_view key) {
    subject.certain.SetReserved(key, "true");
    subject.labels.emplace(std::string(key), LabelChoice{.values = {"true"}});
  };
  if (!subject.conflicts.empty()) give(kConflictKey);
  if (exe.kernel) give(kKernelKey);
  return subject;
}

Subject Matcher::SubjectOf(const IdentityFacts& facts) const {
  ExeVector exe;
  if (facts.exe == IdentityFacts::Exe::kUnknown) exe.unknown = true;
  if (facts.exe == IdentityFacts::Exe::kKnown) {
    exe = ExeVectorOf(facts.executable, facts.executable.grade);
  }
  UserFacts user{.known = true, .uid = facts.uid, .name = facts.user};
  if (!facts.labels) {
    const CgroupHits cgroup =
        facts.cgroup ? CgroupHitsOf(*facts.cgroup) : CgroupHits{.pending = true, .hits = {}};
    return ProcessSubject(cgroup, exe, user);
  }
  Subject subject;
  subject.exe = std::move(exe);
  subject.user = std::move(user);
  subject.state = facts.state;
  for (const IpAddress& address : facts.addresses) {
    subject.addresses.push_back(Cidr{.address = address, .bits = 128, .ipv4 = IsIpv4(address)});
  }
  subject.certain = *facts.labels;
  for (const auto& [key, value] : facts.labels->values()) {
    subject.labels.emplace(key, LabelChoice{.values = {value}});
  }
  return subject;
}

Subject Matcher::RemoteSubject(const LabelSet& labels, const ExeVector& exe,
                               const UserFacts& user) const {
  Subject subject;
  subject.exe = exe;
  subject.user = user;
  subject.certain = labels;
  for (const auto& [key, value] : labels.values()) {
    subject.labels.emplace(key, LabelChoice{.values = {value}});
  }
  return subject;
}

Subject Matcher::AddressSubject(const Cidr& region, const LabelSet& labels) const {
  Subject subject;
  subject.is_address = true;
  subject.region = region;
  subject.exe.unknown = true;
  subject.user.known = false;
  subject.certain = labels;
  for (const auto& [key, value] : labels.values()) {
    subject.labels.emplace(key, LabelChoice{.values = {value}});
  }
  return subject;
}

Tri Matcher::Matches(uint32_t number, const Subject& subject) const {
  const CompiledSelector& selector = vocabulary_->selectors[number];
  Tri tri = MatchCidrs(selector, subject);
  for (const LabelRequirement& requirement : selector->labels) {
    if (tri == Tri::kNo) return tri;
    tri = And(tri, MatchRequirement(requirement, subject));
  }
  if (tri == Tri::kNo) return tri;
  if (selector.exe_matcher != kNone) tri = And(tri, subject.exe.At(selector.exe_matcher));
  return And(tri, MatchUsers(selector->users, subject.user));
}

// `own`: hashes of the labels that a subject has or may have. `open`: it may have others.
void Matcher::AddDemanded(const Demanded& demanded, const std::vector<uint64_t>& own, bool open,
                          std::vector<uint32_t>* out) {
  out->insert(out->end(), demanded.alone.begin(), demanded.alone.end());
  if (open || demanded.with.size() <= own.size()) {
    for (const auto& [label, selectors] : demanded.with) {
      out->insert(out->end(), selectors.begin(), selectors.end());
    }
    return;
  }
  for (const uint64_t label : own) {
    const auto it = demanded.with.find(label);
    if (it != demanded.with.end()) {
      out->insert(out->end(), it->second.begin(), it->second.end());
    }
  }
}

// Whom a selector demands labels of that the subject cannot have is no candidate.
std::vector<uint32_t> Matcher::Candidates(const Subject& subject) const {
  std::vector<uint32_t> out = other_selectors_;
  if (subject.is_address) {
    const Cidr& region = subject.region;
    for (auto it = cidr_lengths_.lower_bound({region.ipv4, 0});
         it != cidr_lengths_.end() && *it <= std::pair(region.ipv4, region.bits); ++it) {
      const auto holds = selectors_by_cidr_.find(region.Shortened(it->second));
      if (holds == selectors_by_cidr_.end()) continue;
      out.insert(out.end(), holds->second.begin(), holds->second.end());
    }
  }
  std::vector<uint64_t> own;
  bool open = false;
  for (const auto& [key, choice] : subject.labels) {
    if (choice.unknown) {
      open = true;
      const auto it = selectors_by_key_.find(key);
      if (it != selectors_by_key_.end()) {
        out.insert(out.end(), it->second.begin(), it->second.end());
      }
      continue;
    }
    for (const std::string& value : choice.values) own.push_back(LabelHash(key, value));
  }
  for (const uint64_t label : own) {
    const auto it = selectors_by_label_.find(label);
    if (it != selectors_by_label_.end()) AddDemanded(it->second, own, open, &out);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// Every selector of labels matches perhaps, so that all of them are asked for the rest.
Signature Matcher::SignatureOfUnlabelled(const Subject& subject) const {
  Signature signature;
  signature.state = subject.state;
  std::vector<Tri> exes(vocabulary_->exe_matchers.size(),
                        subject.exe.unknown ? Tri::kMaybe : Tri::kNo);
  if (!subject.exe.unknown) {
    for (const auto& [matcher, tri] : subject.exe.hits) exes[matcher] = tri;
  }
  for (uint32_t i = 0; i < unlabelled_.size(); ++i) {
    const Unlabelled& selector = unlabelled_[i];
    Tri tri = selector.labels ? Tri::kMaybe : Tri::kYes;
    if (selector.more) {
      tri = Matches(i, subject);
    } else if (selector.exe_matcher != kNone) {
      tri = And(tri, exes[selector.exe_matcher]);
    }
    if (tri != Tri::kNo) signature.selectors.emplace_back(i, tri);
  }
  return signature;
}

Signature Matcher::SignatureOf(const Subject& subject) const {
  if (subject.labels_unknown) return SignatureOfUnlabelled(subject);
  Signature signature;
  signature.state = subject.state;
  for (uint32_t selector : Candidates(subject)) {
    const Tri tri = Matches(selector, subject);
    if (tri != Tri::kNo) signature.selectors.emplace_back(selector, tri);
  }
  return signature;
}

}  // namespace mseg
