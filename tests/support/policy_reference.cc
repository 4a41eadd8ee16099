// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_reference.h"

#include <fnmatch.h>

#include <algorithm>
#include <sstream>
#include <tuple>

namespace mseg::testing {
namespace {

std::vector<std::string> Components(const std::string& path) {
  std::vector<std::string> out;
  std::istringstream stream(path);
  for (std::string part; std::getline(stream, part, '/');) {
    if (!part.empty()) out.push_back(part);
  }
  return out;
}

bool GlobMatches(const std::vector<std::string>& pattern, size_t i,
                 const std::vector<std::string>& path, size_t j) {
  if (i == pattern.size()) return j == path.size();
  if (pattern[i] == "**") {
    for (size_t k = j; k <= path.size(); ++k) {
      if (GlobMatches(pattern, i + 1, path, k)) return true;
    }
    return false;
  }
  return j < path.size() && fnmatch(pattern[i].c_str(), path[j].c_str(), 0) == 0 &&
         GlobMatches(pattern, i + 1, path, j + 1);
}

bool PathMatches(const std::string& pattern, const std::string& path) {
  return GlobMatches(Components(pattern), 0, Components(path), 0);
}

// How deep the deepest of the cgroup and its ancestors lies that the pattern matches; -1: none.
int CgroupDepth(const std::string& pattern, const std::string& cgroup) {
  std::vector<std::string> path = Components(cgroup);
  while (true) {
    if (GlobMatches(Components(pattern), 0, path, 0)) return static_cast<int>(path.size());
    if (path.empty()) return -1;
    path.pop_back();
  }
}

bool V4(const IpAddress& address) {
  for (int i = 0; i < 10; ++i) {
    if (address[static_cast<size_t>(i)] != 0) return false;
  }
  return address[10] == 0xFF && address[11] == 0xFF;
}

bool InCidr(const Cidr& cidr, const IpAddress& address) {
  const bool v4_prefix = cidr.bits >= 96 && V4(cidr.address);
  if (v4_prefix != V4(address)) return false;
  for (int bit = 0; bit < cidr.bits; ++bit) {
    const size_t byte = static_cast<size_t>(bit / 8);
    const int shift = 7 - bit % 8;
    if (((cidr.address[byte] >> shift) & 1) != ((address[byte] >> shift) & 1)) return false;
  }
  return true;
}

bool InAny(const std::vector<Spotted<Cidr>>& cidrs, const IpAddress& address) {
  return std::any_of(cidrs.begin(), cidrs.end(),
                     [&](const Spotted<Cidr>& cidr) { return InCidr(cidr.value, address); });
}

State Lower(State a, State b) { return a < b ? a : b; }

}  // namespace

PolicyReference::Truth PolicyReference::UserMatches(const std::vector<SpottedText>& users,
                                                    const ReferenceSubject& subject) const {
  if (users.empty()) return kTrue;
  if (subject.is_address) return kPerhaps;
  for (const SpottedText& user : users) {
    const bool number = user.value.find_first_not_of("0123456789") == std::string::npos;
    std::optional<uint32_t> uid;
    if (number) uid = static_cast<uint32_t>(std::stoul(user.value));
    if (!number && uids_.contains(user.value)) uid = uids_.at(user.value);
    if (uid && subject.facts.uid && *uid == *subject.facts.uid) return kTrue;
    if (!subject.facts.user.empty() && subject.facts.user == user.value) return kTrue;
  }
  return kFalse;
}

PolicyReference::Truth PolicyReference::ExeMatches(const ProcessSelector& process,
                                                   const ReferenceSubject& subject) const {
  const auto& [names, exes, digests, grade] =
      std::tie(process.names, process.exes, process.digests, process.grade);
  const bool scripts = !process.scripts.empty() || !process.script_digests.empty();
  if (names.empty() && exes.empty() && digests.empty() && !grade && !scripts) return kTrue;
  if (subject.is_address || subject.facts.exe == IdentityFacts::Exe::kUnknown) return kPerhaps;
  if (subject.facts.exe == IdentityFacts::Exe::kOther) return kFalse;
  const ExecutableInfo& exe = subject.facts.executable;
  if (exe.kernel) return kFalse;
  if (grade && *grade > exe.grade) return kPerhaps;
  auto is_named = [&](const SpottedText& name) {
    const std::vector<std::string> parts = Components(exe.path);
    return !parts.empty() && parts.back() == name.value;
  };
  auto is_at = [&](const SpottedText& path) { return PathMatches(path.value, exe.path); };
  auto is_content = [&](const Spotted<Digest>& digest) { return digest.value == exe.digest; };
  if (!names.empty() && !(exe.trusted_path && std::any_of(names.begin(), names.end(), is_named))) {
    return kFalse;
  }
  if (!exes.empty() && !(exe.trusted_path && std::any_of(exes.begin(), exes.end(), is_at))) {
    return kFalse;
  }
  if (!digests.empty() && std::none_of(digests.begin(), digests.end(), is_content)) return kFalse;
  if (!scripts) return kTrue;
  if (!exe.script) return exe.interpreter ? kPerhaps : kFalse;
  for (const Spotted<Digest>& digest : process.script_digests) {
    if (digest.value == exe.script->digest) return kTrue;
  }
  for (const SpottedText& path : process.scripts) {
    if (exe.script->path.empty()) return kPerhaps;
    if (PathMatches(path.value, exe.script->path)) return kTrue;
  }
  return kFalse;
}

struct PolicyReference::Applies {
  const Workload* workload;
  std::map<std::string, std::string> labels;
  bool certain;
  std::pair<bool, int> level;  // process fields, then cgroup depth
};

std::vector<PolicyReference::Applies> PolicyReference::ApplyingWorkloads(
    const ReferenceSubject& subject) const {
  std::vector<Applies> out;
  for (const DocumentRef& ref : policy_.documents()) {
    const Document& document = *ref;
    if (document.kind != DocumentKind::kWorkload) continue;
    const Workload& workload = std::get<Workload>(document.spec);
    const WorkloadMatch& match = workload.match;
    const bool process = !match.exes.empty() || !match.digests.empty() || !match.users.empty();
    if (!process && match.cgroups.empty() && !match.host) continue;
    int depth = -1;
    if (!match.cgroups.empty()) {
      if (!subject.facts.cgroup) continue;  // then all labels are unknown anyway
      for (const SpottedText& cgroup : match.cgroups) {
        depth = std::max(depth, CgroupDepth(cgroup.value, *subject.facts.cgroup));
      }
      if (depth < 0) continue;
    }
    ProcessSelector program;
    program.exes = match.exes;
    program.digests = match.digests;
    const Truth truth = std::min(ExeMatches(program, subject),
                                 UserMatches(match.users, subject));
    if (truth != kFalse) {
      out.push_back(Applies{&workload, LabelsOf(workload), truth == kTrue, {process, depth}});
    }
  }
  return out;
}

// What one key may be.
ReferenceKey PolicyReference::KeyOf(const std::string& key, const std::vector<Applies>& applying) {
  ReferenceKey result;
  std::optional<std::pair<bool, int>> certain_level;
  std::set<std::string> certain_values;
  for (const Applies& a : applying) {
    if (!a.certain || !a.labels.contains(key)) continue;
    if (!certain_level || a.level > *certain_level) certain_level = a.level;
  }
  if (!certain_level) result.values.insert(std::nullopt);
  for (const Applies& a : applying) {
    if (!a.labels.contains(key)) continue;
    if (certain_level && a.level < *certain_level) continue;
    const std::string value = a.labels.at(key);
    result.values.insert(value);
    if (a.certain) certain_values.insert(value);
  }
  result.unknown = certain_values.size() > 1;
  return result;
}

ReferenceSubject PolicyReference::Process(const IdentityFacts& facts) const {
  ReferenceSubject subject;
  subject.facts = facts;
  if (facts.labels) {
    for (const auto& [key, value] : facts.labels->values()) subject.labels[key].values = {value};
    subject.addresses = facts.addresses;
    subject.state = facts.state;
    return subject;
  }
  std::set<std::string> keys;
  const std::vector<Applies> applying = ApplyingWorkloads(subject);
  for (const Applies& a : applying) {
    if (a.certain) subject.state = Lower(subject.state, a.workload->state);
    for (const auto& [key, value] : a.labels) keys.insert(key);
  }
  std::optional<std::pair<bool, int>> addresses_level;
  for (const Applies& a : applying) {
    if (!a.certain || a.workload->match.addresses.empty()) continue;
    if (!addresses_level || a.level > *addresses_level) addresses_level = a.level;
  }
  for (const Applies& a : applying) {
    if (!a.certain || a.level != addresses_level) continue;
    for (const auto& address : a.workload->match.addresses) {
      subject.addresses.push_back(address.value.address);
    }
  }
  subject.all_labels_unknown = !facts.cgroup;
  if (subject.all_labels_unknown) return subject;
  bool conflict = false;
  for (const std::string& key : keys) {
    subject.labels[key] = KeyOf(key, applying);
    conflict = conflict || subject.labels[key].unknown;
  }
  if (conflict) subject.labels["mseg/conflict"].values = {"true"};
  const bool known = facts.exe == IdentityFacts::Exe::kKnown;
  if (known && facts.executable.kernel) subject.labels["mseg/kernel"].values = {"true"};
  return subject;
}

ReferenceSubject PolicyReference::Address(const IpAddress& address) const {
  ReferenceSubject subject;
  subject.is_address = true;
  subject.address = address;
  int best = -1;
  for (const DocumentRef& ref : policy_.documents()) {
    const Document& document = *ref;
    std::map<std::string, std::string> labels;
    int bits = -1;
    if (document.kind == DocumentKind::kWorkload) {
      const Workload& workload = std::get<Workload>(document.spec);
      if (InAny(workload.match.addresses, address)) bits = 128;
      labels = LabelsOf(workload);
    } else if (document.kind == DocumentKind::kAddressGroup) {
      const AddressGroup& group = std::get<AddressGroup>(document.spec);
      if (InAny(group.except, address)) continue;
      for (const Spotted<Cidr>& cidr : group.cidrs) {
        if (InCidr(cidr.value, address)) bits = std::max(bits, static_cast<int>(cidr.value.bits));
      }
      labels.insert(group.labels.values().begin(), group.labels.values().end());
    }
    if (bits <= best) continue;
    best = bits;
    subject.labels.clear();
    for (const auto& [key, value] : labels) subject.labels[key].values = {value};
  }
  return subject;
}

PolicyReference::Truth PolicyReference::LabelMatches(const LabelRequirement& requirement,
                                                     const ReferenceSubject& subject) const {
  if (subject.all_labels_unknown) return kPerhaps;
  std::set<std::optional<std::string>> possible = {std::nullopt};
  if (const auto it = subject.labels.find(requirement.key); it != subject.labels.end()) {
    if (it->second.unknown) return kPerhaps;
    possible = it->second.values;
  }
  bool holds_for_one = false;
  bool fails_for_one = false;
  for (const std::optional<std::string>& value : possible) {
    bool listed = false;
    for (const std::string& wanted : requirement.values) listed = listed || value == wanted;
    bool holds = false;
    if (requirement.op == LabelRequirement::Operator::kIn) holds = listed;
    if (requirement.op == LabelRequirement::Operator::kNotIn) holds = !listed;
    if (requirement.op == LabelRequirement::Operator::kExists) holds = value.has_value();
    if (requirement.op == LabelRequirement::Operator::kDoesNotExist) holds = !value.has_value();
    (holds ? holds_for_one : fails_for_one) = true;
  }
  if (!holds_for_one) return kFalse;
  return fails_for_one ? kPerhaps : kTrue;
}

PolicyReference::Truth PolicyReference::SelectorMatches(const std::optional<Selector>& selector,
                                                        const ReferenceSubject& subject) const {
  if (!selector) return kTrue;
  Truth truth = kTrue;
  for (const LabelRequirement& requirement : selector->labels) {
    truth = std::min(truth, LabelMatches(requirement, subject));
  }
  if (const auto& process = selector->process) {
    truth = std::min(truth, ExeMatches(*process, subject));
    truth = std::min(truth, UserMatches(process->users, subject));
  }
  if (!selector->cidrs.empty()) truth = std::min(truth, CidrsMatch(*selector, subject));
  return truth;
}

PolicyReference::Truth PolicyReference::CidrsMatch(const Selector& selector,
                                                   const ReferenceSubject& subject) const {
  auto inside = [&](const IpAddress& address) {
    return InAny(selector.cidrs, address) && !InAny(selector.except, address);
  };
  if (subject.is_address) return inside(subject.address) ? kTrue : kFalse;
  if (!selector.all_peers) return kFalse;
  if (subject.addresses.empty()) return kPerhaps;
  size_t count = 0;
  size_t hits = 0;
  for (const IpAddress& address : subject.addresses) {
    bool same_family = false;
    for (const Spotted<Cidr>& cidr : selector.cidrs) {
      const bool v4 = cidr.value.bits >= 96 && V4(cidr.value.address);
      same_family = same_family || v4 == V4(address);
    }
    if (!same_family) continue;
    ++count;
    hits += inside(address) ? 1 : 0;
  }
  if (hits == 0) return kFalse;
  return hits == count ? kTrue : kPerhaps;
}

namespace {
std::string PortLabel(const PortName& name) {
  const std::string protocol = name.protocol == 6 ? "tcp" : name.protocol == 17 ? "udp" : "sctp";
  return "mseg/port/" + protocol + "/" + name.name;
}
}  // namespace

std::map<std::string, std::string> PolicyReference::LabelsOf(const Workload& workload) const {
  std::map<std::string, std::string> labels(workload.labels.values().begin(),
                                            workload.labels.values().end());
  for (const DocumentRef& ref : policy_.documents()) {
    const Document& document = *ref;
    if (document.kind != DocumentKind::kPolicy) continue;
    const Policy& policy = std::get<Policy>(document.spec);
    if (policy.state == State::kBuild) continue;
    for (const Rule& rule : policy.rules) {
      for (const ServiceItem& item : rule.services) {
        if (!item.named || !workload.ports.contains(*item.named)) continue;
        labels[PortLabel(*item.named)] = std::to_string(workload.ports.at(*item.named));
      }
    }
  }
  return labels;
}

PolicyReference::Truth PolicyReference::ServiceMatches(const Rule& rule,
                                                       const ReferenceSubject& responder,
                                                       uint8_t protocol, uint16_t port) const {
  if (rule.services.empty()) return kTrue;
  Truth truth = kFalse;
  for (const ServiceItem& item : rule.services) {
    std::vector<PortRange> ranges = item.ports;
    for (const DocumentRef& ref : policy_.documents()) {
      const Document& document = *ref;
      if (const auto* workload = std::get_if<Workload>(&document.spec)) {
        // What is not known of a responder's port is still one that somebody has given the name.
        if (!item.named || item.named->protocol != protocol) continue;
        const auto known = workload->ports.find(*item.named);
        if (known == workload->ports.end() || known->second != port) continue;
        LabelRequirement asked;
        asked.key = PortLabel(*item.named);
        asked.values = {std::to_string(port)};
        truth = std::max(truth, LabelMatches(asked, responder));
      } else if (const auto* service = std::get_if<Service>(&document.spec)) {
        if (!item.service.empty() && document.name == item.service) ranges = service->ports;
      }
    }
    for (const PortRange& range : ranges) {
      if (range.kind == PortRange::Kind::kAny) return kTrue;
      if (range.protocol != protocol) continue;
      if (range.kind == PortRange::Kind::kProtocol) return kTrue;
      if (port >= range.first && port <= range.last) return kTrue;
    }
  }
  return truth;
}

ReferenceVerdict::View PolicyReference::JudgeView(const ReferenceSubject& local,
                                                  const ReferenceSubject& peer,
                                                  mseg_direction direction, uint8_t protocol,
                                                  uint16_t port, State least) const {
  const bool egress = direction == MSEG_EGRESS;
  const ReferenceSubject& initiator = egress ? local : peer;
  const ReferenceSubject& responder = egress ? peer : local;
  std::optional<std::string> denying;
  std::optional<std::string> allowing;
  std::optional<std::string> selecting;
  bool perhaps_allowed = false;
  // Documents are sorted by name, rules stand in their order: the first found is the first named.
  for (const DocumentRef& ref : policy_.documents()) {
    const Document& document = *ref;
    if (document.kind != DocumentKind::kPolicy) continue;
    const Policy& policy = std::get<Policy>(document.spec);
    if (policy.state == State::kBuild || Lower(policy.state, local.state) < least) continue;
    for (const Rule& rule : policy.rules) {
      if (egress && rule.at == RuleAt::kTo) continue;
      if (!egress && rule.at == RuleAt::kFrom) continue;
      const Truth truth =
          std::min({SelectorMatches(rule.from, initiator), SelectorMatches(rule.to, responder),
                    ServiceMatches(rule, responder, protocol, port)});
      if (truth == kFalse) continue;
      const std::string name = document.name + "/" + rule.name;
      if (rule.verdict == MSEG_DENY && !denying) denying = name;
      if (rule.verdict == MSEG_ALLOW && truth == kTrue && !allowing) allowing = name;
      if (rule.verdict == MSEG_ALLOW && truth == kPerhaps) perhaps_allowed = true;
    }
    if (!policy.selects || !(egress ? policy.egress : policy.ingress)) continue;
    if (SelectorMatches(policy.selects, local) != kFalse && !selecting) selecting = document.name;
  }
  if (denying) return {false, MSEG_REASON_RULE, *denying};
  if (allowing) return {true, MSEG_REASON_RULE, *allowing};
  if (!selecting) return {true, MSEG_REASON_DEFAULT, ""};
  if (perhaps_allowed) return {false, MSEG_REASON_UNKNOWN_IDENTITY, *selecting};
  return {false, MSEG_REASON_DEFAULT, *selecting};
}

ReferenceVerdict PolicyReference::Judge(const ReferenceSubject& local, const ReferenceSubject& peer,
                                        mseg_direction direction, uint8_t protocol,
                                        uint16_t port) const {
  return ReferenceVerdict{
      .enforced = JudgeView(local, peer, direction, protocol, port, State::kEnforce),
      .would_be = JudgeView(local, peer, direction, protocol, port, State::kTest)};
}

}  // namespace mseg::testing
