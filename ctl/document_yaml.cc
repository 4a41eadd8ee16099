// SPDX-License-Identifier: Apache-2.0
#include "ctl/document_yaml.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <tuple>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "labels/address.h"
#include "labels/sentence_parser.h"

namespace mseg::ctl {
namespace {

// One item stands for itself; several are a list.
void AddList(Json* tree, const char* key, std::vector<std::string> items) {
  if (items.empty()) return;
  if (items.size() == 1) {
    (*tree)[key] = std::move(items[0]);
  } else {
    (*tree)[key] = std::move(items);
  }
}

std::vector<std::string> Texts(const std::vector<SpottedText>& items) {
  std::vector<std::string> out;
  for (const SpottedText& item : items) out.push_back(item.value);
  return out;
}

std::vector<std::string> Texts(const std::vector<Spotted<Digest>>& items) {
  std::vector<std::string> out;
  for (const Spotted<Digest>& item : items) out.push_back(DigestText(item.value));
  return out;
}

std::vector<std::string> Texts(const std::vector<Spotted<Cidr>>& items) {
  std::vector<std::string> out;
  for (const Spotted<Cidr>& item : items) {
    std::string text = CidrText(item.value);
    if (item.value.bits == 128) text.resize(text.find('/'));
    out.push_back(std::move(text));
  }
  return out;
}

const char* ProtocolText(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_SCTP:
      return "sctp";
    default:
      return "icmp";
  }
}

std::string PortText(const PortRange& range) {
  if (range.kind == PortRange::Kind::kAny) return "any";
  std::string out = ProtocolText(range.protocol);
  if (range.kind == PortRange::Kind::kProtocol) return out;
  absl::StrAppend(&out, "/", range.first);
  if (range.last != range.first) absl::StrAppend(&out, "-", range.last);
  return out;
}

// `icmp` is two protocols, next to each other.
void AddPorts(const std::vector<PortRange>& ports, std::vector<std::string>* out) {
  for (const PortRange& range : ports) {
    std::string text = PortText(range);
    if (out->empty() || out->back() != text) out->push_back(std::move(text));
  }
}

Json LabelsTree(const LabelSet& labels) {
  Json tree = Json::object();
  for (const auto& [key, value] : labels.values()) tree[key] = value;
  return tree;
}

const char* OperatorText(LabelRequirement::Operator op) {
  switch (op) {
    case LabelRequirement::Operator::kIn:
      return "In";
    case LabelRequirement::Operator::kNotIn:
      return "NotIn";
    case LabelRequirement::Operator::kExists:
      return "Exists";
    case LabelRequirement::Operator::kDoesNotExist:
      return "DoesNotExist";
  }
  return "";
}

// Equality under `labels`, all else under `matchExpressions`.
void AddRequirements(std::vector<LabelRequirement> requirements, Json* tree) {
  std::stable_sort(requirements.begin(), requirements.end(),
                   [](const LabelRequirement& a, const LabelRequirement& b) {
                     return std::tie(a.key, a.op, a.values) < std::tie(b.key, b.op, b.values);
                   });
  Json labels = Json::object();
  Json expressions = Json::array();
  for (const LabelRequirement& requirement : requirements) {
    const bool equal = requirement.op == LabelRequirement::Operator::kIn &&
                       requirement.values.size() == 1 && !labels.contains(requirement.key);
    if (equal) {
      labels[requirement.key] = requirement.values[0];
      continue;
    }
    Json expression{{"key", requirement.key}, {"operator", OperatorText(requirement.op)}};
    if (!requirement.values.empty()) expression["values"] = requirement.values;
    expressions.push_back(std::move(expression));
  }
  if (!labels.empty()) (*tree)["labels"] = std::move(labels);
  if (!expressions.empty()) (*tree)["matchExpressions"] = std::move(expressions);
}

Json SelectorTree(const Selector& selector) {
  Json tree = Json::object();
  AddRequirements(selector.labels, &tree);
  if (const auto& process = selector.process) {
    Json fields = Json::object();
    AddList(&fields, "name", Texts(process->names));
    AddList(&fields, "exe", Texts(process->exes));
    AddList(&fields, process->pinned ? "pin" : "digest", Texts(process->digests));
    if (process->pin) fields["pin"] = true;
    if (process->grade) fields["grade"] = std::string(GradeName(*process->grade));
    AddList(&fields, "user", Texts(process->users));
    std::vector<std::string> scripts = Texts(process->scripts);
    for (std::string& digest : Texts(process->script_digests)) {
      scripts.push_back(std::move(digest));
    }
    AddList(&fields, "script", scripts);
    tree["process"] = std::move(fields);
  }
  AddList(&tree, "cidrs", Texts(selector.cidrs));
  AddList(&tree, "except", Texts(selector.except));
  if (selector.all_peers) tree["peers"] = "all";
  return tree;
}

Json RuleTree(const Rule& rule) {
  Json tree = Json::object();
  if (!rule.name.empty() && rule.name[0] != '#') tree["name"] = rule.name;
  tree["verdict"] = rule.verdict == MSEG_ALLOW ? "allow" : "deny";
  if (rule.from) tree["from"] = SelectorTree(*rule.from);
  if (rule.to) tree["to"] = SelectorTree(*rule.to);
  if (rule.at != RuleAt::kBoth) tree["at"] = rule.at == RuleAt::kFrom ? "from" : "to";
  std::vector<std::string> services;
  for (const ServiceItem& item : rule.services) {
    if (!item.service.empty()) services.push_back(item.service);
    if (item.named) services.push_back(PortNameText(*item.named));
    AddPorts(item.ports, &services);
  }
  if (!services.empty()) tree["services"] = std::move(services);
  return tree;
}

Json Tree(const Policy& policy) {
  Json tree{{"state", std::string(StateName(policy.state))}};
  if (policy.selects) tree["selects"] = SelectorTree(*policy.selects);
  if (policy.ingress != policy.egress) {
    tree["directions"] = Json::array({policy.ingress ? "ingress" : "egress"});
  }
  for (const Rule& rule : policy.rules) tree["rules"].push_back(RuleTree(rule));
  return tree;
}

Json Tree(const Workload& workload) {
  const WorkloadMatch& match = workload.match;
  Json fields = Json::object();
  AddList(&fields, "cgroup", Texts(match.cgroups));
  AddList(&fields, "exe", Texts(match.exes));
  AddList(&fields, "digest", Texts(match.digests));
  AddList(&fields, "user", Texts(match.users));
  if (match.host) fields["host"] = true;
  if (!match.addresses.empty()) fields["addresses"] = Texts(match.addresses);
  Json tree{{"labels", LabelsTree(workload.labels)},
            {"match", std::move(fields)},
            {"state", std::string(StateName(workload.state))}};
  if (workload.loopback_allowed) tree["loopback"] = "allow";
  if ((workload.doors & MSEG_DOOR_PASSING_ALLOW) != 0) tree["passing"] = "allow";
  if ((workload.doors & MSEG_DOOR_PASSING_DENY) != 0) tree["passing"] = "deny";
  if ((workload.doors & MSEG_DOOR_UNIX_JUDGE) != 0) tree["unix"] = "judge";
  if ((workload.doors & MSEG_DOOR_RAW) != 0) tree["raw"] = "allow";
  if ((workload.doors & MSEG_DOOR_BPF) != 0) tree["bpf"] = "allow";
  std::vector<std::string> families;
  for (const DoorFamily& family : kDoorFamilies) {
    if ((workload.doors & family.door) != 0) families.emplace_back(family.name);
  }
  AddList(&tree, "family", families);
  if ((workload.doors & MSEG_DOOR_LIBRARIES) != 0) tree["libraries"] = "trusted";
  std::map<std::string, std::vector<std::string>> ports;
  for (const auto& [name, port] : workload.ports) {
    ports[name.name].push_back(absl::StrCat(ProtocolText(name.protocol), "/", port));
  }
  for (const auto& [name, items] : ports) AddList(&tree["ports"], name.c_str(), items);
  return tree;
}

Json Tree(const Service& service) {
  std::vector<std::string> ports;
  AddPorts(service.ports, &ports);
  return Json{{"ports", std::move(ports)}};
}

Json Tree(const AddressGroup& group) {
  Json tree{{"labels", LabelsTree(group.labels)}, {"cidrs", Texts(group.cidrs)}};
  if (!group.except.empty()) tree["except"] = Texts(group.except);
  return tree;
}

}  // namespace

Json DocumentTree(const Document& document) {
  return Json{{"apiVersion", "mseg.io/v1"},
              {"kind", std::string(DocumentKindName(document.kind))},
              {"metadata", {{"name", document.name}}},
              {"spec", std::visit([](const auto& spec) { return Tree(spec); }, document.spec)}};
}

std::string DocumentYaml(const Document& document) {
  std::ostringstream out;
  if (IsSentenceFile(document.file)) {
    out << "# " << absl::StripAsciiWhitespace(document.text) << '\n';
  }
  PrintYaml(out, DocumentTree(document));
  return std::move(out).str();
}

}  // namespace mseg::ctl
