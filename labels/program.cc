// SPDX-License-Identifier: Apache-2.0
#include "labels/program.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "labels/text.h"

namespace mseg {
namespace {

// A separator that no checked text can hold.
constexpr char kEnd = '\x1f';

std::vector<std::string> SortedTexts(const std::vector<SpottedText>& texts) {
  std::vector<std::string> out;
  for (const SpottedText& text : texts) out.push_back(text.value);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

template <typename T>
std::vector<T> SortedValues(const std::vector<Spotted<T>>& spotted) {
  std::vector<T> out;
  for (const Spotted<T>& item : spotted) out.push_back(item.value);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void AppendItem(std::string* out, char tag, std::string_view item) {
  *out += tag;
  *out += item;
  *out += kEnd;
}
void AppendList(std::string* out, char tag, const std::vector<std::string>& items) {
  for (const std::string& item : items) AppendItem(out, tag, item);
}

// In the order that makes equal selectors equal texts.
std::vector<const LabelRequirement*> SortedRequirements(
    const std::vector<LabelRequirement>& labels) {
  std::vector<const LabelRequirement*> out;
  for (const LabelRequirement& requirement : labels) out.push_back(&requirement);
  std::sort(out.begin(), out.end(), [](const LabelRequirement* a, const LabelRequirement* b) {
    return std::tie(a->key, a->op, a->values) < std::tie(b->key, b->op, b->values);
  });
  return out;
}

class ProgramBuilder {
 public:
  explicit ProgramBuilder(const CompileOptions& options) : options_(options) {}

  Program Build(const PolicySet& policy) {
    program_.port_sets.push_back({PortRange{.kind = PortRange::Kind::kAny}});
    port_set_ids_.emplace(program_.port_sets[0], 0);
    program_.rule_table.emplace_back();
    for (const FailsafeEntry& entry : options_.failsafe) AddFailsafe(entry);
    CollectPortNames(policy);
    for (size_t i : policy.OfKind(DocumentKind::kWorkload)) AddWorkload(policy.documents()[i]);
    for (size_t i : policy.OfKind(DocumentKind::kAddressGroup)) AddGroup(policy.documents()[i]);
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) AddPolicy(policy, policy.documents()[i]);
    std::sort(program_.owners.begin(), program_.owners.end(),
              [](const AddressOwner& a, const AddressOwner& b) { return a.cidr < b.cidr; });
    std::sort(program_.users.begin(), program_.users.end());
    program_.users.erase(std::unique(program_.users.begin(), program_.users.end()),
                         program_.users.end());
    NumberRules(options_.previous);
    return std::move(program_);
  }

 private:
  uint32_t AddExeMatcher(const std::vector<SpottedText>& names,
                         const std::vector<SpottedText>& exes,
                         const std::vector<Spotted<Digest>>& digests,
                         std::optional<mseg_grade> grade) {
    if (names.empty() && exes.empty() && digests.empty() && !grade) return kNone;
    // Nearly every one is there already, so its text is made before anything else.
    ExeMatcher matcher;
    matcher.names = SortedTexts(names);
    matcher.digests = SortedValues(digests);
    matcher.grade = grade.value_or(MSEG_GRADE_UNKNOWN);
    const std::vector<std::string> patterns = SortedTexts(exes);
    AppendList(&matcher.text, 'n', matcher.names);
    AppendList(&matcher.text, 'e', patterns);
    for (const Digest& digest : matcher.digests) {
      AppendItem(&matcher.text, 'd', DigestText(digest));
    }
    if (grade) AppendItem(&matcher.text, 'g', GradeName(*grade));
    const auto [it, added] =
        exe_matcher_ids_.emplace(matcher.text, static_cast<uint32_t>(program_.exe_matchers.size()));
    if (!added) return it->second;
    for (const std::string& exe : patterns) {
      // The parser accepted it; parsing again cannot fail.
      if (absl::StatusOr<PathPattern> pattern = PathPattern::Parse(exe); pattern.ok()) {
        matcher.exes.push_back(*std::move(pattern));
      }
    }
    program_.exe_matchers.push_back(std::move(matcher));
    return it->second;
  }

  std::vector<std::string> AddUsers(const std::vector<SpottedText>& users) {
    std::vector<std::string> out = SortedTexts(users);
    program_.users.insert(program_.users.end(), out.begin(), out.end());
    return out;
  }

  uint32_t AddSelector(const std::optional<Selector>& selector) {
    if (!selector || selector->MatchesAnyone()) return kNone;
    const std::vector<const LabelRequirement*> labels = SortedRequirements(selector->labels);
    CompiledSelector compiled;
    if (const auto& process = selector->process) {
      compiled.exe_matcher =
          AddExeMatcher(process->names, process->exes, process->digests, process->grade);
      compiled.users = AddUsers(process->users);
    }
    compiled.cidrs = SortedValues(selector->cidrs);
    compiled.except = SortedValues(selector->except);
    compiled.all_peers = selector->all_peers;
    std::string text;
    for (const LabelRequirement* requirement : labels) {
      AppendItem(&text, static_cast<char>('0' + static_cast<int>(requirement->op)),
                 requirement->key);
      AppendList(&text, 'v', requirement->values);
    }
    AppendItem(&text, 'x', Cat(compiled.exe_matcher));
    AppendList(&text, 'u', compiled.users);
    for (const Cidr& cidr : compiled.cidrs) AppendItem(&text, 'c', CidrText(cidr));
    for (const Cidr& cidr : compiled.except) AppendItem(&text, 'z', CidrText(cidr));
    if (compiled.all_peers) AppendItem(&text, 'a', "");
    const auto [it, added] = selector_ids_.try_emplace(
        std::move(text), static_cast<uint32_t>(program_.selectors.size()));
    if (!added) return it->second;
    for (const LabelRequirement* requirement : labels) compiled.labels.push_back(*requirement);
    compiled.key = MemberKey(it->first);
    program_.selectors.push_back(std::move(compiled));
    return it->second;
  }

  // The names that rules use, with the ports that Workloads give them.
  void CollectPortNames(const PolicySet& policy) {
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
      const Policy& document = std::get<Policy>(policy.documents()[i].spec);
      if (document.state == State::kBuild) continue;
      for (const Rule& rule : document.rules) {
        for (const ServiceItem& item : rule.services) {
          if (item.named) port_names_[*item.named];
        }
      }
    }
    if (port_names_.empty()) return;
    for (size_t i : policy.OfKind(DocumentKind::kWorkload)) {
      for (const auto& [name, port] : std::get<Workload>(policy.documents()[i].spec).ports) {
        if (const auto it = port_names_.find(name); it != port_names_.end()) {
          it->second.insert(port);
        }
      }
    }
  }

  // A Workload's labels, with the named ports that some rule asks for. Others would only tell
  // processes apart that no rule does.
  LabelSet LabelsOf(const Workload& workload) const {
    LabelSet labels = workload.labels;
    for (const auto& [name, port] : workload.ports) {
      if (port_names_.contains(name)) labels.SetReserved(NamedPortLabel(name), Cat(port));
    }
    return labels;
  }

  // `services` without the named ports; nothing if there is none but those.
  std::optional<uint32_t> AddPorts(const PolicySet& policy, const std::vector<ServiceItem>& items) {
    if (items.empty()) return 0;
    std::vector<PortRange> ranges;
    bool only_names = true;
    for (const ServiceItem& item : items) {
      if (item.named) continue;
      only_names = false;
      const std::vector<PortRange>* ports = &item.ports;
      if (!item.service.empty()) {
        // BuildPolicySet has checked that it exists.
        const Document* service = policy.Find(DocumentKind::kService, item.service);
        if (service == nullptr) continue;
        ports = &std::get<Service>(service->spec).ports;
      }
      ranges.insert(ranges.end(), ports->begin(), ports->end());
    }
    if (only_names) return std::nullopt;
    for (const PortRange& range : ranges) {
      if (range.kind == PortRange::Kind::kAny) return 0;
    }
    return AddPortSet(std::move(ranges));
  }

  uint32_t AddPortSet(std::vector<PortRange> ranges) {
    std::sort(ranges.begin(), ranges.end());
    ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
    const auto [it, added] =
        port_set_ids_.emplace(ranges, static_cast<uint32_t>(program_.port_sets.size()));
    if (added) program_.port_sets.push_back(std::move(ranges));
    return it->second;
  }

  void AddWorkload(const Document& document) {
    const Workload& workload = std::get<Workload>(document.spec);
    const LabelSet labels = LabelsOf(workload);
    for (const Spotted<Cidr>& address : workload.match.addresses) {
      program_.owners.push_back(
          AddressOwner{.cidr = address.value, .except = {}, .labels = labels});
    }
    if (!workload.match.MatchesProcesses()) return;
    CompiledWorkload compiled;
    compiled.name = document.name;
    compiled.labels = labels;
    compiled.addresses = SortedValues(workload.match.addresses);
    compiled.state = workload.state;
    for (const std::string& cgroup : SortedTexts(workload.match.cgroups)) {
      if (absl::StatusOr<PathPattern> pattern = PathPattern::Parse(cgroup); pattern.ok()) {
        compiled.cgroups.push_back(*std::move(pattern));
      }
    }
    compiled.exe_matcher =
        AddExeMatcher({}, workload.match.exes, workload.match.digests, std::nullopt);
    compiled.users = AddUsers(workload.match.users);
    compiled.has_process_field = workload.match.HasProcessField();
    compiled.loopback_allowed = workload.loopback_allowed;
    program_.workloads.push_back(std::move(compiled));
  }

  void AddGroup(const Document& document) {
    const AddressGroup& group = std::get<AddressGroup>(document.spec);
    for (const Spotted<Cidr>& cidr : group.cidrs) {
      program_.owners.push_back(AddressOwner{
          .cidr = cidr.value, .except = SortedValues(group.except), .labels = group.labels});
    }
  }

  uint32_t AddToTable(const Document& document, std::string rule, Spot spot) {
    program_.rule_table.push_back(
        RuleInfo{.policy = document.name, .rule = std::move(rule), .place = document.At(spot)});
    return static_cast<uint32_t>(program_.rule_table.size() - 1);
  }

  void NumberRules(const GenerationImage* previous) {
    std::vector<std::vector<uint64_t>> members;
    program_.rule_members.push_back(0);
    for (size_t i = 1; i < program_.rule_table.size(); ++i) {
      const RuleInfo& rule = program_.rule_table[i];
      members.push_back({MemberKey(Cat(rule.policy, "\x1f", rule.rule))});
      program_.rule_members.push_back(members.back()[0]);
    }
    const std::vector<uint32_t> numbers =
        AssignNumbers(members, previous == nullptr ? nullptr : &previous->rule_book, 1);
    program_.numbers.push_back(0);
    program_.numbers.insert(program_.numbers.end(), numbers.begin(), numbers.end());
  }

  void AddFailsafe(const FailsafeEntry& entry) {
    CompiledRule compiled;
    compiled.failsafe = true;
    compiled.verdict = MSEG_ALLOW;
    compiled.at_from = entry.direction == MSEG_EGRESS;
    compiled.at_to = entry.direction == MSEG_INGRESS;
    if (!entry.exe.empty()) {
      Selector local;
      local.process.emplace().exes.push_back({.value = entry.exe, .spot = {}});
      (compiled.at_from ? compiled.from : compiled.to) = AddSelector(local);
    }
    compiled.ports = AddPortSet(entry.ports);
    std::string name = entry.direction == MSEG_EGRESS ? "egress" : "ingress";
    for (const PortRange& range : entry.ports) Append(&name, " ", PortRangeText(range));
    if (!entry.exe.empty()) Append(&name, " ", entry.exe);
    program_.rule_table.push_back(
        RuleInfo{.policy = "failsafe", .rule = std::move(name), .place = {}});
    compiled.number = static_cast<uint32_t>(program_.rule_table.size() - 1);
    program_.rules.push_back(compiled);
  }

  void AddPolicy(const PolicySet& set, const Document& document) {
    const Policy& policy = std::get<Policy>(document.spec);
    const State state = std::min(policy.state, options_.highest_state);
    if (state == State::kBuild) return;
    for (const Rule& rule : policy.rules) {
      CompiledRule compiled;
      compiled.state = state;
      compiled.verdict = rule.verdict;
      compiled.at_from = rule.at != RuleAt::kTo;
      compiled.at_to = rule.at != RuleAt::kFrom;
      compiled.from = AddSelector(rule.from);
      compiled.number = AddToTable(document, rule.name, rule.spot);
      if (const std::optional<uint32_t> ports = AddPorts(set, rule.services)) {
        compiled.to = AddSelector(rule.to);
        compiled.ports = *ports;
        program_.rules.push_back(compiled);
      }
      AddNamedPorts(rule, compiled);
    }
    if (!policy.selects) return;
    CompiledSelects selects;
    selects.state = state;
    selects.selector = AddSelector(policy.selects);
    selects.egress = policy.egress;
    selects.ingress = policy.ingress;
    selects.number = AddToTable(document, "", policy.selects->spot);
    program_.selects.push_back(selects);
  }

  // The rule once more for every port that one of its names stands for.
  void AddNamedPorts(const Rule& rule, CompiledRule compiled) {
    std::set<PortName> names;
    for (const ServiceItem& item : rule.services) {
      if (item.named) names.insert(*item.named);
    }
    for (const PortName& name : names) {
      for (uint16_t port : port_names_.at(name)) {
        Selector to = rule.to.value_or(Selector{});
        to.labels.push_back(LabelRequirement{.key = NamedPortLabel(name),
                                             .op = LabelRequirement::Operator::kIn,
                                             .values = {Cat(port)},
                                             .spot = {}});
        compiled.to = AddSelector(to);
        compiled.ports = AddPortSet({PortRange{.kind = PortRange::Kind::kPorts,
                                               .protocol = name.protocol,
                                               .first = port,
                                               .last = port}});
        program_.rules.push_back(compiled);
      }
    }
  }

  const CompileOptions& options_;
  Program program_;
  std::map<PortName, std::set<uint16_t>> port_names_;
  absl::flat_hash_map<std::string, uint32_t> exe_matcher_ids_;
  absl::flat_hash_map<std::string, uint32_t> selector_ids_;
  std::map<std::vector<PortRange>, uint32_t> port_set_ids_;
};

}  // namespace

Program BuildProgram(const PolicySet& policy, const CompileOptions& options) {
  return ProgramBuilder(options).Build(policy);
}

std::string NamedPortLabel(const PortName& name) { return Cat("mseg/port/", PortNameText(name)); }

}  // namespace mseg
