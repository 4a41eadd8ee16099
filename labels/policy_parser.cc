// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>

#include <map>

#include "labels/document_parser.h"
#include "labels/field_reader.h"
#include "labels/icmp_types.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr uint8_t kIcmpV6 = 58;

struct ProtocolName {
  std::string_view name;
  uint8_t number;
};
constexpr ProtocolName kProtocols[] = {
    {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"sctp", IPPROTO_SCTP}};

absl::Status PortItemError(std::string_view text) {
  return absl::InvalidArgumentError(
      Cat("`", text.substr(0, 80),
          "` is not a service; write tcp/PORT, udp/PORT, sctp/PORT, tcp/FIRST-LAST, icmp, "
          "icmp/TYPE, any, or the name of a Service"));
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  const std::optional<uint32_t> port = ParseDecimal(text);
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

// As Kubernetes names ports (RFC 6335): `http`, `serve-80-tcp`; a letter at least, so that no
// number is a name.
bool IsPortName(std::string_view text) {
  constexpr size_t kLongest = 15;
  if (text.empty() || text.size() > kLongest || text.front() == '-' || text.back() == '-') {
    return false;
  }
  bool letter = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_letter = text[i] >= 'a' && text[i] <= 'z';
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (!is_letter && !is_digit && (text[i] != '-' || text[i - 1] == '-')) return false;
    letter = letter || is_letter;
  }
  return letter;
}

std::vector<ServiceItem> ParseServiceItems(const SourceText& source, const YamlNode& node) {
  std::vector<ServiceItem> out;
  if (node.kind == YamlNode::Kind::kSequence && node.children.empty()) {
    source.Error(node.spot, "`services` is an empty list; leave it out, or write `any`, for all");
    return out;
  }
  for (const SpottedText& text : TextList(source, node, "`services`")) {
    ServiceItem item;
    item.spot = text.spot;
    if (std::optional<PortName> named = ParsePortName(text.value)) {
      item.named = *std::move(named);
    } else if (LooksLikePortItem(text.value)) {
      absl::StatusOr<std::vector<PortRange>> ports = ParsePortItem(text.value);
      if (!ports.ok()) {
        source.Error(text.spot, std::string(ports.status().message()));
        continue;
      }
      item.ports = *std::move(ports);
    } else if (absl::Status status = CheckName(text.value); !status.ok()) {
      source.Error(text.spot, std::string(PortItemError(text.value).message()));
      continue;
    } else {
      item.service = text.value;
    }
    out.push_back(std::move(item));
  }
  return out;
}

Rule ParseRule(const SourceText& source, const YamlNode& node, size_t position) {
  FieldReader fields(source, node, "a rule");
  Rule rule;
  rule.name = Cat("#", position);
  rule.spot = node.spot;
  if (const YamlNode* name = fields.Take("name")) {
    if (const std::string* text = ScalarText(source, *name, "`name`")) {
      rule.name = *text;
      absl::Status status = CheckName(*text);
      if (!status.ok()) source.Error(name->spot, Cat("rule name: ", status.message()));
    }
    rule.spot = name->spot;
  }
  if (const YamlNode* verdict = fields.TakeRequired("verdict")) {
    rule.verdict =
        OneOf(source, *verdict, "`verdict`", {"deny", "allow"}) == 1 ? MSEG_ALLOW : MSEG_DENY;
  }
  if (const YamlNode* from = fields.Take("from")) {
    rule.from = ParseSelector(source, *from, "`from`");
  }
  if (const YamlNode* to = fields.Take("to")) rule.to = ParseSelector(source, *to, "`to`");
  if (const YamlNode* at = fields.Take("at")) {
    const int where = OneOf(source, *at, "`at`", {"both", "from", "to"});
    if (where >= 0) rule.at = static_cast<RuleAt>(where);
  }
  if (const YamlNode* services = fields.Take("services")) {
    rule.services = ParseServiceItems(source, *services);
  }
  fields.Finish();
  return rule;
}

void ParseRules(const SourceText& source, const YamlNode& node, Policy* policy) {
  if (node.kind != YamlNode::Kind::kSequence) {
    source.Error(node.spot, Cat("`rules` must be a list, not ", YamlKindName(node.kind)));
    return;
  }
  std::map<std::string, Spot> names;
  for (const YamlNode& item : node.children) {
    Rule rule = ParseRule(source, item, policy->rules.size() + 1);
    const auto [first, added] = names.emplace(rule.name, rule.spot);
    if (!added) {
      source.Error(rule.spot, Cat("rule `", rule.name.substr(0, 80), "` is already in line ",
                                  first->second.line, ", column ", first->second.column));
    }
    policy->rules.push_back(std::move(rule));
  }
}

void ParseDirections(const SourceText& source, const YamlNode& node, Policy* policy) {
  policy->ingress = false;
  policy->egress = false;
  for (const SpottedText& text : TextList(source, node, "`directions`")) {
    if (text.value == "ingress") {
      policy->ingress = true;
    } else if (text.value == "egress") {
      policy->egress = true;
    } else {
      source.Error(text.spot, Cat("`directions` takes ingress and egress, not `",
                                  text.value.substr(0, 80), "`"));
    }
  }
}

}  // namespace

std::optional<PortName> ParsePortName(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || !IsPortName(text.substr(slash + 1))) return std::nullopt;
  for (const ProtocolName& known : kProtocols) {
    if (known.name == text.substr(0, slash)) {
      return PortName{.protocol = known.number, .name = std::string(text.substr(slash + 1))};
    }
  }
  return std::nullopt;
}

std::string PortNameText(const PortName& name) {
  for (const ProtocolName& known : kProtocols) {
    if (known.number == name.protocol) return Cat(known.name, "/", name.name);
  }
  return Cat(static_cast<int>(name.protocol), "/", name.name);
}

bool LooksLikePortItem(std::string_view text) {
  return text == "any" || text == "icmp" || text == "icmpv6" || text == "tcp" || text == "udp" ||
         text == "sctp" || Contains(text, '/');
}

absl::StatusOr<std::vector<PortRange>> ParsePortItem(std::string_view text) {
  using Kind = PortRange::Kind;
  if (text == "any") return std::vector<PortRange>{PortRange{.kind = Kind::kAny}};
  if (text == "icmp") {
    return std::vector<PortRange>{PortRange{.kind = Kind::kProtocol, .protocol = IPPROTO_ICMP},
                                  PortRange{.kind = Kind::kProtocol, .protocol = kIcmpV6}};
  }
  const size_t slash = text.find('/');
  const std::string_view protocol = text.substr(0, slash);
  if (const auto icmp = IcmpProtocol(protocol); icmp && slash != std::string_view::npos) {
    return ParseIcmpTypes(*icmp, text.substr(slash + 1));
  }
  for (const ProtocolName& known : kProtocols) {
    if (known.name != protocol) continue;
    if (slash == std::string_view::npos) {
      return absl::InvalidArgumentError(
          Cat("`", protocol, "` needs a port; write ", protocol, "/1-65535 for all of them"));
    }
    const std::string_view ports = text.substr(slash + 1);
    const size_t dash = ports.find('-');
    const std::optional<uint16_t> first = ParsePort(ports.substr(0, dash));
    const std::optional<uint16_t> last =
        dash == std::string_view::npos ? first : ParsePort(ports.substr(dash + 1));
    if (!first || !last) {
      return absl::InvalidArgumentError(
          Cat("`", text.substr(0, 80), "`: a port is a number from 1 to 65535"));
    }
    if (*first > *last) {
      return absl::InvalidArgumentError(
          Cat("`", text.substr(0, 80), "`: the range is empty; write the lower port first"));
    }
    return std::vector<PortRange>{
        PortRange{.kind = Kind::kPorts, .protocol = known.number, .first = *first, .last = *last}};
  }
  return PortItemError(text);
}

Policy ParsePolicy(const SourceText& source, const YamlNode& spec) {
  FieldReader fields(source, spec, "`spec` of a Policy");
  Policy policy;
  policy.state = ParseStateField(source, fields.Take("state"));
  if (const YamlNode* selects = fields.Take("selects")) {
    policy.selects = ParseSelector(source, *selects, "`selects`");
    policy.selects->spot = fields.SpotOf("selects");
    if (!policy.selects->cidrs.empty()) {
      source.Error(policy.selects->cidrs.front().spot,
                   "`selects` cannot take `cidrs`: an address is not a workload that mseg manages");
    }
  }
  if (const YamlNode* directions = fields.Take("directions")) {
    ParseDirections(source, *directions, &policy);
  }
  if (const YamlNode* rules = fields.Take("rules")) ParseRules(source, *rules, &policy);
  fields.Finish();
  return policy;
}

Service ParseService(const SourceText& source, const YamlNode& spec) {
  FieldReader fields(source, spec, "`spec` of a Service");
  Service service;
  if (const YamlNode* ports = fields.TakeRequired("ports")) {
    for (const SpottedText& text : TextList(source, *ports, "`ports`")) {
      absl::StatusOr<std::vector<PortRange>> item =
          LooksLikePortItem(text.value) ? ParsePortItem(text.value) : PortItemError(text.value);
      if (!item.ok()) {
        source.Error(text.spot, std::string(item.status().message()));
        continue;
      }
      service.ports.insert(service.ports.end(), item->begin(), item->end());
    }
  }
  fields.Finish();
  return service;
}

AddressGroup ParseAddressGroup(const SourceText& source, const YamlNode& spec) {
  FieldReader fields(source, spec, "`spec` of an AddressGroup");
  AddressGroup group;
  if (const YamlNode* labels = fields.TakeRequired("labels")) {
    group.labels = ParseLabels(source, *labels);
  }
  group.labels_spot = fields.SpotOf("labels");
  if (const YamlNode* cidrs = fields.TakeRequired("cidrs")) {
    group.cidrs = ParseCidrs(source, *cidrs, "`cidrs`");
  }
  if (const YamlNode* except = fields.Take("except")) {
    group.except = ParseCidrs(source, *except, "`except`");
  }
  fields.Finish();
  return group;
}

}  // namespace mseg
