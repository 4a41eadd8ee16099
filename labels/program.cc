// SPDX-License-Identifier: Apache-2.0
#include "labels/program.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "labels/classifier.h"
#include "labels/stable_numbers.h"
#include "labels/text.h"

namespace mseg {
namespace {

class ProgramBuilder {
 public:
  explicit ProgramBuilder(const CompileOptions& options) : options_(options) {}

  Program Build(const PolicySet& policy) {
    program_.port_sets.push_back({PortRange{.kind = PortRange::Kind::kAny}});
    port_set_ids_.emplace(program_.port_sets[0], 0);
    Reserve(policy);
    AddToTable({}, 0);
    for (const FailsafeEntry& entry : options_.failsafe) AddFailsafe(entry);
    CollectPortNames(policy);
    for (size_t i : policy.OfKind(DocumentKind::kWorkload)) AddWorkload(*policy.documents()[i]);
    for (size_t i : policy.OfKind(DocumentKind::kAddressGroup)) AddGroup(*policy.documents()[i]);
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
  void Reserve(const PolicySet& policy) {
    size_t rules = 1 + options_.failsafe.size();
    size_t selectors = 0;
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
      const Policy& document = std::get<Policy>(policy.documents()[i]->spec);
      rules += document.rules.size() + 1;
      if (document.form != nullptr) selectors += document.form->selectors.size();
    }
    program_.rules.reserve(rules);
    program_.rule_table.reserve(rules);
    program_.rule_members.reserve(rules);
    selectors_by_name_.reserve(selectors);
  }

  uint32_t AddExeMatcher(const ExeMatcherRef& matcher) {
    if (matcher == nullptr) return kNone;
    const auto [it, added] = exe_matcher_ids_.emplace(
        matcher->text, static_cast<uint32_t>(program_.exe_matchers.size()));
    if (added) program_.exe_matchers.push_back(matcher);
    return it->second;
  }

  void AddUsers(const std::vector<std::string>& users) {
    program_.users.insert(program_.users.end(), users.begin(), users.end());
  }

  uint32_t AddForm(const SelectorFormRef& form) {
    const auto [it, added] = selectors_by_name_.try_emplace(
        form->name, static_cast<uint32_t>(program_.selectors.size()));
    if (!added) return it->second;
    AddUsers(form->users);
    program_.selectors.push_back({.form = form, .exe_matcher = AddExeMatcher(form->exe)});
    return it->second;
  }

  // The names that rules use, with the ports that Workloads give them.
  void CollectPortNames(const PolicySet& policy) {
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
      const Policy& document = std::get<Policy>(policy.documents()[i]->spec);
      if (document.state == State::kBuild) continue;
      if (document.form != nullptr && !document.form->names_ports) continue;
      for (const Rule& rule : document.rules) {
        for (const ServiceItem& item : rule.services) {
          if (item.named) port_names_[*item.named];
        }
      }
    }
    if (port_names_.empty()) return;
    for (size_t i : policy.OfKind(DocumentKind::kWorkload)) {
      for (const auto& [name, port] : std::get<Workload>(policy.documents()[i]->spec).ports) {
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
    return AddPortSet(Sorted(std::move(ranges)));
  }

  // Sorted, each once.
  uint32_t AddPortSet(const std::vector<PortRange>& ranges) {
    const auto it = port_set_ids_.find(ranges);
    if (it != port_set_ids_.end()) return it->second;
    const auto number = static_cast<uint32_t>(program_.port_sets.size());
    port_set_ids_.emplace(ranges, number);
    program_.port_sets.push_back(ranges);
    return number;
  }
  static std::vector<PortRange> Sorted(std::vector<PortRange> ranges) {
    std::sort(ranges.begin(), ranges.end());
    ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
    return ranges;
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
    for (const std::string& cgroup : SortedValues(workload.match.cgroups)) {
      if (absl::StatusOr<PathPattern> pattern = PathPattern::Parse(cgroup); pattern.ok()) {
        compiled.cgroups.push_back(*std::move(pattern));
      }
    }
    ProcessSelector process;
    process.exes = workload.match.exes;
    process.digests = workload.match.digests;
    compiled.exe_matcher = AddExeMatcher(forms_.ExeOf(process));
    compiled.users = SortedValues(workload.match.users);
    AddUsers(compiled.users);
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

  uint32_t AddToTable(RuleInfo rule, uint64_t member) {
    program_.rule_table.push_back(std::move(rule));
    program_.rule_members.push_back(member);
    return static_cast<uint32_t>(program_.rule_table.size() - 1);
  }

  void NumberRules(const GenerationImage* previous) {
    const Program* before = previous == nullptr ? nullptr : &previous->classifier->program();
    if (before != nullptr && before->rule_members == program_.rule_members) {
      program_.numbers = before->numbers;
      return;
    }
    const std::vector<uint64_t> members(program_.rule_members.begin() + 1,
                                        program_.rule_members.end());
    program_.numbers =
        AssignNumbers(members, previous == nullptr ? nullptr : previous->rule_book.get(), 1);
    program_.numbers.insert(program_.numbers.begin(), 0);
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
      (compiled.at_from ? compiled.from : compiled.to) = AddForm(forms_.Of(local));
    }
    compiled.ports = AddPortSet(Sorted(entry.ports));
    std::string name = entry.direction == MSEG_EGRESS ? "egress" : "ingress";
    for (const PortRange& range : entry.ports) Append(&name, " ", PortRangeText(range));
    if (!entry.exe.empty()) Append(&name, " ", entry.exe);
    compiled.number = AddToTable(RuleInfo("failsafe", name), MemberKey("failsafe", name));
    program_.rules.push_back(compiled);
  }

  void AddPolicy(const PolicySet& set, const DocumentRef& document) {
    const Policy& policy = std::get<Policy>(document->spec);
    const State state = std::min(policy.state, options_.highest_state);
    if (state == State::kBuild) return;
    const std::shared_ptr<const PolicyForm> form =
        policy.form != nullptr ? policy.form : forms_.OfPolicy(document->name, policy);
    std::vector<uint32_t> selectors(form->selectors.size(), kNone);
    auto selector = [&](uint32_t index) {
      if (index == PolicyForm::kNone) return kNone;
      if (selectors[index] == kNone) selectors[index] = AddForm(form->selectors[index]);
      return selectors[index];
    };
    std::vector<uint32_t> port_sets;
    for (const std::vector<PortRange>& ports : form->port_sets) {
      port_sets.push_back(AddPortSet(ports));
    }
    for (size_t i = 0; i < form->rules.size(); ++i) {
      const PolicyForm::RuleForm& rule = form->rules[i];
      CompiledRule compiled;
      compiled.state = state;
      compiled.verdict = rule.verdict;
      compiled.at_from = rule.at != RuleAt::kTo;
      compiled.at_to = rule.at != RuleAt::kFrom;
      compiled.from = selector(rule.from);
      compiled.number = AddToTable(RuleInfo(document, i), rule.member);
      const std::optional<uint32_t> ports = rule.ports != PolicyForm::kNone
                                                ? port_sets[rule.ports]
                                                : AddPorts(set, policy.rules[i].services);
      if (ports) {
        compiled.to = selector(rule.to);
        compiled.ports = *ports;
        program_.rules.push_back(compiled);
      }
      if (rule.named) AddNamedPorts(policy.rules[i], compiled);
    }
    if (!policy.selects) return;
    CompiledSelects selects;
    selects.state = state;
    selects.selector = selector(form->selects);
    selects.egress = policy.egress;
    selects.ingress = policy.ingress;
    selects.number = AddToTable(RuleInfo(document, RuleInfo::kDefault), form->selects_member);
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
        compiled.to = AddForm(forms_.Of(to));
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
  SelectorForms forms_;  // of what no document says
  absl::flat_hash_map<std::array<uint64_t, 2>, uint32_t> selectors_by_name_;
  absl::flat_hash_map<std::vector<PortRange>, uint32_t> port_set_ids_;
};

}  // namespace

Program BuildProgram(const PolicySet& policy, const CompileOptions& options) {
  return ProgramBuilder(options).Build(policy);
}

std::string NamedPortLabel(const PortName& name) { return Cat("mseg/port/", PortNameText(name)); }

}  // namespace mseg
