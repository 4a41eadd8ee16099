// SPDX-License-Identifier: Apache-2.0
#include "labels/policy_form.h"

#include <sodium.h>

#include <tuple>

#include "absl/container/flat_hash_set.h"
#include "labels/stable_numbers.h"
#include "labels/text.h"

namespace mseg {
namespace {

// A separator that no checked text can hold.
constexpr char kEnd = '\x1f';

void AppendItem(std::string* out, char tag, std::string_view item) {
  *out += tag;
  *out += item;
  *out += kEnd;
}
void AppendList(std::string* out, char tag, const std::vector<std::string>& items) {
  for (const std::string& item : items) AppendItem(out, tag, item);
}

std::vector<LabelRequirement> SortedRequirements(std::vector<LabelRequirement> labels) {
  std::sort(labels.begin(), labels.end(), [](const LabelRequirement& a, const LabelRequirement& b) {
    return std::tie(a.key, a.op, a.values) < std::tie(b.key, b.op, b.values);
  });
  return labels;
}

std::vector<PathPattern> PatternsOf(const std::vector<std::string>& texts) {
  std::vector<PathPattern> out;
  for (const std::string& text : texts) {
    // The parser accepted it; parsing again cannot fail.
    if (absl::StatusOr<PathPattern> pattern = PathPattern::Parse(text); pattern.ok()) {
      out.push_back(*std::move(pattern));
    }
  }
  return out;
}

std::string TextOf(const SelectorForm& form) {
  std::string text;
  for (const LabelRequirement& requirement : form.labels) {
    AppendItem(&text, static_cast<char>('0' + static_cast<int>(requirement.op)), requirement.key);
    AppendList(&text, 'v', requirement.values);
  }
  if (form.exe != nullptr) AppendItem(&text, 'x', form.exe->text);
  AppendList(&text, 'u', form.users);
  for (const Cidr& cidr : form.cidrs) AppendItem(&text, 'c', CidrText(cidr));
  for (const Cidr& cidr : form.except) AppendItem(&text, 'z', CidrText(cidr));
  if (form.all_peers) AppendItem(&text, 'a', "");
  return text;
}

}  // namespace

ExeMatcherRef SelectorForms::ExeOf(const ProcessSelector& process) {
  ExeMatcher matcher;
  matcher.names = SortedValues(process.names);
  matcher.digests = SortedValues(process.digests);
  matcher.grade = process.grade.value_or(MSEG_GRADE_UNKNOWN);
  matcher.script_digests = SortedValues(process.script_digests);
  const std::vector<std::string> patterns = SortedValues(process.exes);
  const std::vector<std::string> scripts = SortedValues(process.scripts);
  AppendList(&matcher.text, 'n', matcher.names);
  AppendList(&matcher.text, 'e', patterns);
  for (const Digest& digest : matcher.digests) AppendItem(&matcher.text, 'd', DigestText(digest));
  if (process.grade) AppendItem(&matcher.text, 'g', GradeName(*process.grade));
  AppendList(&matcher.text, 's', scripts);
  for (const Digest& digest : matcher.script_digests) {
    AppendItem(&matcher.text, 't', DigestText(digest));
  }
  if (matcher.text.empty()) return nullptr;
  ExeMatcherRef& known = exes_[matcher.text];
  if (known != nullptr) return known;
  matcher.exes = PatternsOf(patterns);
  matcher.scripts = PatternsOf(scripts);
  known = std::make_shared<const ExeMatcher>(std::move(matcher));
  return known;
}

SelectorFormRef SelectorForms::Of(const Selector& selector) {
  SelectorForm form;
  form.labels = SortedRequirements(selector.labels);
  if (const auto& process = selector.process) {
    form.exe = ExeOf(*process);
    form.users = SortedValues(process->users);
  }
  form.cidrs = SortedValues(selector.cidrs);
  form.except = SortedValues(selector.except);
  form.all_peers = selector.all_peers;
  const std::string text = TextOf(form);
  SelectorFormRef& known = selectors_[text];
  if (known != nullptr) return known;
  form.key = MemberKey(text);
  static_assert(sizeof(form.name) == crypto_generichash_BYTES_MIN);
  (void)crypto_generichash(reinterpret_cast<uint8_t*>(form.name.data()), sizeof(form.name),
                           reinterpret_cast<const uint8_t*>(text.data()), text.size(), nullptr, 0);
  known = std::make_shared<const SelectorForm>(std::move(form));
  return known;
}

namespace {

constexpr PortRange kEveryPort{.kind = PortRange::Kind::kAny};

// Nothing: a Service has to be looked up, or there is no port but those with names.
std::optional<std::vector<PortRange>> PortsOf(const std::vector<ServiceItem>& items) {
  std::vector<PortRange> ports;
  for (const ServiceItem& item : items) {
    if (!item.service.empty()) return std::nullopt;
    ports.insert(ports.end(), item.ports.begin(), item.ports.end());
  }
  if (ports.empty() && !items.empty()) return std::nullopt;
  const bool every = std::any_of(ports.begin(), ports.end(), [](const PortRange& range) {
    return range.kind == PortRange::Kind::kAny;
  });
  if (ports.empty() || every) return std::vector<PortRange>{kEveryPort};
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  return ports;
}

}  // namespace

std::shared_ptr<const PolicyForm> SelectorForms::OfPolicy(const std::string& name,
                                                          const Policy& policy) {
  PolicyForm form;
  absl::flat_hash_map<const SelectorForm*, uint32_t> selectors;
  auto add_selector = [&](const std::optional<Selector>& selector) {
    if (!selector || selector->MatchesAnyone()) return PolicyForm::kNone;
    const SelectorFormRef ref = Of(*selector);
    const auto [it, added] =
        selectors.emplace(ref.get(), static_cast<uint32_t>(form.selectors.size()));
    if (added) form.selectors.push_back(ref);
    return it->second;
  };
  absl::flat_hash_map<std::vector<PortRange>, uint32_t> port_sets;
  form.rules.reserve(policy.rules.size());
  for (const Rule& rule : policy.rules) {
    PolicyForm::RuleForm out;
    out.from = add_selector(rule.from);
    out.to = add_selector(rule.to);
    out.verdict = rule.verdict;
    out.at = rule.at;
    out.member = MemberKey(name, rule.name);
    for (const ServiceItem& item : rule.services) {
      out.named = out.named || item.named.has_value();
      if (!item.service.empty() || !item.described_as.empty()) form.names_services = true;
    }
    form.names_ports = form.names_ports || out.named;
    if (const auto ports = PortsOf(rule.services)) {
      const auto [it, added] =
          port_sets.emplace(*ports, static_cast<uint32_t>(form.port_sets.size()));
      if (added) form.port_sets.push_back(*ports);
      out.ports = it->second;
    }
    form.rules.push_back(out);
  }
  form.selects = add_selector(policy.selects);
  form.selects_member = MemberKey(name, "");
  absl::flat_hash_set<const ExeMatcher*> exes;
  absl::flat_hash_set<std::string> users;
  for (const SelectorFormRef& selector : form.selectors) {
    if (selector->exe != nullptr && exes.insert(selector->exe.get()).second) {
      form.exes.push_back(selector->exe);
    }
    for (const std::string& user : selector->users) {
      if (users.insert(user).second) form.users.push_back(user);
    }
  }
  return std::make_shared<const PolicyForm>(std::move(form));
}

}  // namespace mseg
