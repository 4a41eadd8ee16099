// SPDX-License-Identifier: Apache-2.0
#include "labels/program.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "labels/stable_numbers.h"
#include "labels/text.h"
#include "labels/workings.h"

namespace mseg {
namespace {

class ProgramBuilder {
 public:
  // With `before` the vocabulary is taken from there.
  ProgramBuilder(const CompileOptions& options, const Program* before)
      : options_(options), before_(before) {
    if (before_ == nullptr) {
      own_ = std::make_shared<Vocabulary>();
      vocabulary_ = own_.get();
      return;
    }
    vocabulary_ = before_->vocabulary.get();
    used_.resize(vocabulary_->selectors.size());
    port_set_here_.resize(before_->port_sets.size(), kNone);
  }

  // Nothing if the vocabulary before is not the one that this policy needs.
  std::optional<Program> Build(const PolicySet& policy) {
    AddPortSet({PortRange{.kind = PortRange::Kind::kAny}});
    Reserve(policy);
    AddToTable({}, 0);
    const PortNames port_names = CollectPortNames(policy);
    const std::vector<DocumentRef> documents = LabelDocuments(policy);
    if (own_ != nullptr) {
      own_->port_names = port_names;
      own_->documents = documents;
      for (const DocumentRef& document : documents) AddLabels(*document);
    } else if (vocabulary_->documents != documents || vocabulary_->port_names != port_names) {
      return std::nullopt;
    }
    program_.failsafe = options_.failsafe;
    for (const FailsafeEntry& entry : options_.failsafe) AddFailsafe(entry);
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) AddPolicy(policy, policy.documents()[i]);
    AddPart(nullptr, State::kBuild);
    if (own_ != nullptr) {
      FinishVocabulary();
    } else if (missing_ ||
               !std::all_of(used_.begin(), used_.end(), [](bool used) { return used; })) {
      return std::nullopt;
    }
    program_.vocabulary = own_ != nullptr ? own_ : before_->vocabulary;
    program_.rules = SharedList(rules_);
    program_.rule_table = SharedList(rule_table_);
    program_.rule_members = SharedList(rule_members_);
    NumberRules(options_.previous);
    return std::move(program_);
  }

  // The program before, with a few policies made anew that say other verdicts, services or words in
  // the same places. Nothing where more than that differs.
  std::optional<Program> Remake(const PolicySet& policy) {
    const std::optional<std::vector<size_t>> parts = ChangedParts(policy);
    if (!parts) return std::nullopt;
    program_.port_sets = before_->port_sets;
    for (uint32_t i = 0; i < program_.port_sets.size(); ++i) {
      port_set_ids_.emplace(program_.port_sets[i], i);
    }
    Program out = *before_;
    Remade remade;
    for (const size_t part : *parts) {
      if (!RemakePart(policy, part, &remade)) return std::nullopt;
      out.parts[part].policy = *now_[part];
    }
    out.rules = before_->rules.Replaced(remade.rules);
    out.rule_table = before_->rule_table.Replaced(remade.table);
    out.port_sets = std::move(program_.port_sets);
    out.remade = *parts;
    if (!remade.same_ports && !AllPortSetsUsed(out)) return std::nullopt;
    return out;
  }

 private:
  using PortNames = std::map<PortName, std::set<uint16_t>>;

  void Reserve(const PolicySet& policy) {
    size_t rules = 1 + options_.failsafe.size();
    size_t selectors = 0;
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
      const Policy& document = std::get<Policy>(policy.documents()[i]->spec);
      rules += document.rules.size() + 1;
      if (document.form != nullptr) selectors += document.form->selectors.size();
    }
    rules_.reserve(rules);
    rule_table_.reserve(rules);
    rule_members_.reserve(rules);
    if (own_ != nullptr) own_->selector_of.reserve(selectors);
  }

  static std::vector<DocumentRef> LabelDocuments(const PolicySet& policy) {
    std::vector<DocumentRef> out;
    for (const DocumentKind kind : {DocumentKind::kWorkload, DocumentKind::kAddressGroup}) {
      for (size_t i : policy.OfKind(kind)) out.push_back(policy.documents()[i]);
    }
    return out;
  }

  void AddLabels(const Document& document) {
    if (document.kind == DocumentKind::kWorkload) {
      AddWorkload(document);
    } else {
      AddGroup(document);
    }
  }

  void FinishVocabulary() {
    std::sort(own_->owners.begin(), own_->owners.end(),
              [](const AddressOwner& a, const AddressOwner& b) { return a.cidr < b.cidr; });
    std::sort(own_->users.begin(), own_->users.end());
    own_->users.erase(std::unique(own_->users.begin(), own_->users.end()), own_->users.end());
  }

  uint32_t AddExeMatcher(const ExeMatcherRef& matcher) {
    if (matcher == nullptr) return kNone;
    const auto [it, added] =
        exe_matcher_ids_.emplace(matcher->text, static_cast<uint32_t>(own_->exe_matchers.size()));
    if (added) own_->exe_matchers.push_back(matcher);
    return it->second;
  }

  void AddUsers(const std::vector<std::string>& users) {
    own_->users.insert(own_->users.end(), users.begin(), users.end());
  }

  uint32_t AddForm(const SelectorFormRef& form) {
    const auto it = vocabulary_->selector_of.find(form->name);
    if (it != vocabulary_->selector_of.end()) {
      Use(it->second);
      return it->second;
    }
    if (own_ == nullptr) {
      missing_ = true;
      return kNone;
    }
    const auto number = static_cast<uint32_t>(own_->selectors.size());
    own_->selector_of.emplace(form->name, number);
    AddUsers(form->users);
    own_->selectors.push_back({.form = form, .exe_matcher = AddExeMatcher(form->exe)});
    return number;
  }
  void Use(uint32_t selector) {
    if (selector != kNone && !used_.empty()) used_[selector] = true;
  }

  // The names that rules use, with the ports that Workloads give them.
  static PortNames CollectPortNames(const PolicySet& policy) {
    PortNames port_names;
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
      const Policy& document = std::get<Policy>(policy.documents()[i]->spec);
      if (document.state == State::kBuild) continue;
      if (document.form != nullptr && !document.form->names_ports) continue;
      for (const Rule& rule : document.rules) {
        for (const ServiceItem& item : rule.services) {
          if (item.named) port_names[*item.named];
        }
      }
    }
    if (port_names.empty()) return port_names;
    for (size_t i : policy.OfKind(DocumentKind::kWorkload)) {
      for (const auto& [name, port] : std::get<Workload>(policy.documents()[i]->spec).ports) {
        if (const auto it = port_names.find(name); it != port_names.end()) {
          it->second.insert(port);
        }
      }
    }
    return port_names;
  }

  // A Workload's labels, with the named ports that some rule asks for. Others would only tell
  // processes apart that no rule does.
  LabelSet LabelsOf(const Workload& workload) const {
    LabelSet labels = workload.labels;
    for (const auto& [name, port] : workload.ports) {
      if (vocabulary_->port_names.contains(name))
        labels.SetReserved(NamedPortLabel(name), Cat(port));
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
      own_->owners.push_back(AddressOwner{.cidr = address.value, .except = {}, .labels = labels});
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
    compiled.doors = workload.doors;
    own_->workloads.push_back(std::move(compiled));
  }

  void AddGroup(const Document& document) {
    const AddressGroup& group = std::get<AddressGroup>(document.spec);
    for (const Spotted<Cidr>& cidr : group.cidrs) {
      own_->owners.push_back(AddressOwner{
          .cidr = cidr.value, .except = SortedValues(group.except), .labels = group.labels});
    }
  }

  uint32_t AddToTable(RuleInfo rule, uint64_t member) {
    rule_table_.push_back(rule);
    rule_members_.push_back(member);
    return static_cast<uint32_t>(rule_table_.size() - 1);
  }

  void NumberRules(const GenerationImage* previous) {
    const Program* before = previous == nullptr ? nullptr : &previous->workings->program;
    if (before != nullptr && before->rule_members == program_.rule_members) {
      program_.numbers = before->numbers;
      return;
    }
    const std::vector<uint64_t> members(rule_members_.begin() + 1, rule_members_.end());
    std::vector<uint32_t> numbers = AssignNumbers(
        members, previous == nullptr ? nullptr : previous->workings->rule_book.get(), 1);
    numbers.insert(numbers.begin(), 0);
    program_.numbers = SharedList(numbers);
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
    program_.said_by.push_back(FailsafeDocument(name));
    compiled.number =
        AddToTable(RuleInfo(program_.said_by.back().get(), 0), MemberKey("failsafe", name));
    rules_.push_back(compiled);
  }

  static DocumentRef FailsafeDocument(const std::string& rule) {
    Document document;
    document.name = "failsafe";
    Policy spec;
    spec.rules.emplace_back().name = rule;
    document.spec = std::move(spec);
    return std::make_shared<const Document>(std::move(document));
  }

  void AddPart(DocumentRef policy, State state) {
    program_.parts.push_back({.policy = std::move(policy),
                              .state = state,
                              .rules = rules_.size(),
                              .selects = program_.selects.size(),
                              .table = rule_table_.size()});
  }

  // What the same policy became before, unless other documents had a say in it.
  bool CopyPart(const Policy& policy, const DocumentRef& document, State state) {
    if (before_ == nullptr || policy.form == nullptr || policy.form->names_ports ||
        policy.form->names_services) {
      return false;
    }
    const auto& parts = before_->parts;
    while (next_part_ + 1 < parts.size() && parts[next_part_].policy->name < document->name) {
      ++next_part_;
    }
    if (next_part_ + 1 >= parts.size()) return false;
    const Program::Part& part = parts[next_part_];
    const Program::Part& end = parts[next_part_ + 1];
    if (part.policy != document || part.state != state) return false;
    const size_t table = rule_table_.size();
    const auto number_here = [&](uint32_t number) {
      return static_cast<uint32_t>(table + number - part.table);
    };
    for (size_t i = part.rules; i < end.rules; ++i) {
      CompiledRule rule = before_->rules[i];
      rule.number = number_here(rule.number);
      uint32_t& ports = port_set_here_[rule.ports];
      if (ports == kNone) ports = AddPortSet(before_->port_sets[rule.ports]);
      rule.ports = ports;
      Use(rule.from);
      Use(rule.to);
      rules_.push_back(rule);
    }
    for (size_t i = part.selects; i < end.selects; ++i) {
      CompiledSelects selects = before_->selects[i];
      selects.number = number_here(selects.number);
      Use(selects.selector);
      program_.selects.push_back(selects);
    }
    const auto copy = [&](const auto& from, auto* to) {
      to->insert(to->end(), from.begin() + static_cast<ptrdiff_t>(part.table),
                 from.begin() + static_cast<ptrdiff_t>(end.table));
    };
    copy(before_->rule_table, &rule_table_);
    copy(before_->rule_members, &rule_members_);
    return true;
  }

  // Parts of the program before whose policies are others now, and those that other documents have
  // a say in.
  std::optional<std::vector<size_t>> ChangedParts(const PolicySet& policy) {
    constexpr size_t kMost = 16;
    if (before_->failsafe != options_.failsafe ||
        vocabulary_->documents != LabelDocuments(policy) ||
        vocabulary_->port_names != CollectPortNames(policy)) {
      return std::nullopt;
    }
    std::vector<size_t> changed;
    size_t next = 0;
    now_.assign(before_->parts.size(), nullptr);
    for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
      const DocumentRef& document = policy.documents()[i];
      const Policy& said = std::get<Policy>(document->spec);
      const State state = std::min(said.state, options_.highest_state);
      if (state == State::kBuild) continue;
      const Program::Part& part = before_->parts[next];
      if (part.policy == nullptr || part.state != state) return std::nullopt;
      if (part.policy != document || said.form == nullptr || said.form->names_ports ||
          said.form->names_services) {
        if (part.policy->name != document->name || changed.size() == kMost) return std::nullopt;
        changed.push_back(next);
        now_[next] = &document;
      }
      ++next;
    }
    if (before_->parts[next].policy != nullptr) return std::nullopt;
    return changed;
  }

  // By place in the program before.
  struct Remade {
    std::vector<std::pair<size_t, CompiledRule>> rules;
    std::vector<std::pair<size_t, RuleInfo>> table;
    bool same_ports = true;  // as the rules named there
  };

  bool RemakePart(const PolicySet& policy, size_t number, Remade* out) {
    const Program::Part& part = before_->parts[number];
    const Program::Part& end = before_->parts[number + 1];
    rules_.clear();
    program_.selects.clear();
    rule_table_.clear();
    rule_members_.clear();
    AddPolicy(policy, *now_[number]);
    const auto at = [](const auto& list, size_t place) {
      return list.begin() + static_cast<ptrdiff_t>(place);
    };
    for (CompiledRule& rule : rules_) {
      rule.number += static_cast<uint32_t>(part.table);
    }
    for (CompiledSelects& selects : program_.selects) {
      selects.number += static_cast<uint32_t>(part.table);
    }
    const bool same =
        !missing_ &&
        std::equal(rules_.begin(), rules_.end(), at(before_->rules, part.rules),
                   at(before_->rules, end.rules), SamePlace) &&
        std::equal(program_.selects.begin(), program_.selects.end(),
                   at(before_->selects, part.selects), at(before_->selects, end.selects)) &&
        std::equal(rule_members_.begin(), rule_members_.end(),
                   at(before_->rule_members, part.table), at(before_->rule_members, end.table));
    if (!same) return false;
    for (size_t i = 0; i < rules_.size(); ++i) {
      const size_t place = part.rules + i;
      out->same_ports = out->same_ports && rules_[i].ports == before_->rules[place].ports;
      out->rules.emplace_back(place, rules_[i]);
    }
    for (size_t i = 0; i < rule_table_.size(); ++i) {
      out->table.emplace_back(part.table + i, rule_table_[i]);
    }
    return true;
  }

  static bool SamePlace(const CompiledRule& a, const CompiledRule& b) {
    return a.number == b.number && a.at_from == b.at_from && a.at_to == b.at_to &&
           a.from == b.from && a.to == b.to && (a.ports == 0) == (b.ports == 0);
  }

  static bool AllPortSetsUsed(const Program& program) {
    std::vector<bool> used(program.port_sets.size());
    used[0] = true;
    for (const CompiledRule& rule : program.rules) used[rule.ports] = true;
    return std::all_of(used.begin(), used.end(), [](bool use) { return use; });
  }

  void AddPolicy(const PolicySet& set, const DocumentRef& document) {
    const Policy& policy = std::get<Policy>(document->spec);
    const State state = std::min(policy.state, options_.highest_state);
    if (state == State::kBuild) return;
    AddPart(document, state);
    if (CopyPart(policy, document, state)) return;
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
      compiled.number = AddToTable(RuleInfo(document.get(), i), rule.member);
      const std::optional<uint32_t> ports = rule.ports != PolicyForm::kNone
                                                ? port_sets[rule.ports]
                                                : AddPorts(set, policy.rules[i].services);
      if (ports) {
        compiled.to = selector(rule.to);
        compiled.ports = *ports;
        rules_.push_back(compiled);
      }
      if (rule.named) AddNamedPorts(policy.rules[i], compiled);
    }
    if (!policy.selects) return;
    CompiledSelects selects;
    selects.state = state;
    selects.selector = selector(form->selects);
    selects.egress = policy.egress;
    selects.ingress = policy.ingress;
    selects.number = AddToTable(RuleInfo(document.get(), RuleInfo::kDefault), form->selects_member);
    program_.selects.push_back(selects);
  }

  // The rule once more for every port that one of its names stands for.
  void AddNamedPorts(const Rule& rule, CompiledRule compiled) {
    std::set<PortName> names;
    for (const ServiceItem& item : rule.services) {
      if (item.named) names.insert(*item.named);
    }
    for (const PortName& name : names) {
      for (uint16_t port : vocabulary_->port_names.at(name)) {
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
        rules_.push_back(compiled);
      }
    }
  }

  const CompileOptions& options_;
  const Program* const before_;
  Program program_;
  std::vector<CompiledRule> rules_;  // of the program, as are the next two
  std::vector<RuleInfo> rule_table_;
  std::vector<uint64_t> rule_members_;
  std::shared_ptr<Vocabulary> own_;  // null: it is the one before
  const Vocabulary* vocabulary_;
  bool missing_ = false;                 // a selector that is not in the vocabulary before
  std::vector<bool> used_;               // by selector of the vocabulary before
  std::vector<uint32_t> port_set_here_;  // by port set of the program before
  size_t next_part_ = 0;                 // of the program before
  std::vector<const DocumentRef*> now_;  // of parts of it that changed: their policies
  absl::flat_hash_map<std::string, uint32_t> exe_matcher_ids_;
  SelectorForms forms_;  // of what no document says
  absl::flat_hash_map<std::vector<PortRange>, uint32_t> port_set_ids_;
};

}  // namespace

Program BuildProgram(const PolicySet& policy, const CompileOptions& options) {
  if (options.previous != nullptr) {
    const Program* before = &options.previous->workings->program;
    std::optional<Program> program = ProgramBuilder(options, before).Remake(policy);
    if (!program) program = ProgramBuilder(options, before).Build(policy);
    if (program) return *std::move(program);
  }
  return *ProgramBuilder(options, nullptr).Build(policy);
}

std::string NamedPortLabel(const PortName& name) { return Cat("mseg/port/", PortNameText(name)); }

}  // namespace mseg
