// SPDX-License-Identifier: Apache-2.0
#include "labels/document_parser.h"
#include "labels/field_reader.h"
#include "labels/icmp_types.h"
#include "labels/text.h"

namespace mseg {
namespace {

WorkloadMatch ParseMatch(const SourceText& source, const YamlNode& node) {
  FieldReader fields(source, node, "`match`");
  WorkloadMatch match;
  match.spot = node.spot;
  if (const YamlNode* cgroups = fields.Take("cgroup")) {
    match.cgroups = ParsePathPatterns(source, *cgroups, "`cgroup`");
  }
  if (const YamlNode* exes = fields.Take("exe")) {
    match.exes = ParsePathPatterns(source, *exes, "`exe`");
  }
  if (const YamlNode* digests = fields.Take("digest")) {
    match.digests = ParseDigests(source, *digests);
  }
  if (const YamlNode* users = fields.Take("user")) match.users = ParseUsers(source, *users);
  if (const YamlNode* host = fields.Take("host")) {
    match.host = OneOf(source, *host, "`host`", {"true"}) == 0;
  }
  if (const YamlNode* addresses = fields.Take("addresses")) {
    match.addresses = ParseCidrs(source, *addresses, "`addresses`");
    for (const Spotted<Cidr>& address : match.addresses) {
      if (address.value.bits != 128) {
        source.Error(address.spot,
                     Cat("`addresses` takes single addresses, not ", CidrText(address.value),
                         "; for a prefix use an AddressGroup"));
      }
    }
  }
  fields.Finish();
  if (fields.usable() && node.children.empty()) {
    source.Error(node.spot,
                 "`match` is empty; to mean every process of this host write `host: true`");
  }
  return match;
}

// `http: tcp/8080`, or a list of such with one port a protocol.
std::map<PortName, uint16_t> ParseNamedPorts(const SourceText& source, const YamlNode& node) {
  std::map<PortName, uint16_t> out;
  if (node.kind != YamlNode::Kind::kMap) {
    source.Error(node.spot, Cat("`ports` of a Workload must be a map from names to ports, not ",
                                YamlKindName(node.kind)));
    return out;
  }
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const YamlNode& key = node.children[i];
    if (key.kind != YamlNode::Kind::kScalar) continue;  // reported by the reader
    if (!ParsePortName(Cat("tcp/", key.text))) {
      source.Error(key.spot, Cat("`", key.text.substr(0, 80),
                                 "` is no name for a port; write at most 15 lower-case letters, ",
                                 "digits and hyphens, at least one of them a letter"));
      continue;
    }
    for (const SpottedText& text : TextList(source, node.children[i + 1], "a named port")) {
      const absl::StatusOr<std::vector<PortRange>> item = ParsePortItem(text.value);
      if (!item.ok() || item->front().kind != PortRange::Kind::kPorts ||
          IsIcmp(item->front().protocol) || item->front().first != item->front().last) {
        source.Error(text.spot, Cat("`", text.value.substr(0, 80),
                                    "` is not one port; write for example tcp/8080"));
        continue;
      }
      const PortRange& port = item->front();
      if (!out.emplace(PortName{port.protocol, key.text}, port.first).second) {
        source.Error(text.spot,
                     Cat("`", key.text, "` names two ports of one protocol; it can name one"));
      }
    }
  }
  return out;
}

// Ways that have no address, and whose code runs; null where nothing is said.
struct DoorNodes {
  const YamlNode* passing;
  const YamlNode* unix_sockets;
  const YamlNode* raw;
  const YamlNode* family;
  const YamlNode* bpf;
  const YamlNode* libraries;
};

void ParseDoors(const SourceText& source, const DoorNodes& nodes, Workload* workload) {
  for (const YamlNode* node :
       {nodes.passing, nodes.unix_sockets, nodes.raw, nodes.family, nodes.bpf,
        nodes.libraries}) {
    if (node != nullptr && workload->match.HasProcessField()) {
      source.Error(node->spot,
                   "this is for workloads that are matched by `cgroup` or `host` alone; remove "
                   "it, or `exe`, `digest` and `user` of `match`");
    }
  }
  auto needs_full_mode = [workload](const YamlNode& node) {
    if (workload->full_mode_spot.line == 0) workload->full_mode_spot = node.spot;
  };
  if (const YamlNode* passing = nodes.passing) {
    const int said = OneOf(source, *passing, "`passing`", {"restamp", "allow", "deny"});
    if (said == 1) workload->doors |= MSEG_DOOR_PASSING_ALLOW;
    if (said == 2) workload->doors |= MSEG_DOOR_PASSING_DENY;
    if (said != 1) needs_full_mode(*passing);
  }
  if (const YamlNode* unix_node = nodes.unix_sockets) {
    if (OneOf(source, *unix_node, "`unix`", {"allow", "judge"}) == 1) {
      workload->doors |= MSEG_DOOR_UNIX_JUDGE;
      needs_full_mode(*unix_node);
    }
  }
  if (const YamlNode* libraries = nodes.libraries) {
    if (OneOf(source, *libraries, "`libraries`", {"any", "trusted"}) == 1) {
      workload->doors |= MSEG_DOOR_LIBRARIES;
      needs_full_mode(*libraries);
    }
  }
  if (const YamlNode* raw = nodes.raw) {
    if (OneOf(source, *raw, "`raw`", {"judge", "allow"}) == 1) workload->doors |= MSEG_DOOR_RAW;
  }
  if (const YamlNode* bpf = nodes.bpf) {
    if (OneOf(source, *bpf, "`bpf`", {"judge", "allow"}) == 1) workload->doors |= MSEG_DOOR_BPF;
  }
  if (const YamlNode* families = nodes.family) {
    for (const SpottedText& family : TextList(source, *families, "`family`")) {
      const DoorFamily* known =
          std::find_if(std::begin(kDoorFamilies), std::end(kDoorFamilies),
                       [&](const DoorFamily& one) { return one.name == family.value; });
      if (known == std::end(kDoorFamilies)) {
        source.Error(family.spot,
                     Cat("`", family.value.substr(0, 80), "` is no family; write one of packet, "
                         "vsock, xdp, alg, can, tipc, bluetooth"));
      } else {
        workload->doors |= known->door;
      }
    }
  }
}

}  // namespace

LabelSet ParseLabels(const SourceText& source, const YamlNode& node) {
  LabelSet labels;
  if (node.kind != YamlNode::Kind::kMap) {
    source.Error(node.spot, Cat("`labels` must be a map, not ", YamlKindName(node.kind)));
    return labels;
  }
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const YamlNode& key = node.children[i];
    const YamlNode& value = node.children[i + 1];
    if (key.kind != YamlNode::Kind::kScalar) continue;  // reported by the reader
    if (value.kind == YamlNode::Kind::kNull) {
      source.Error(key.spot, Cat("label `", key.text.substr(0, 63),
                                 "` has no value; write `\"\"` for an empty one"));
      continue;
    }
    const std::string* text = ScalarText(source, value, "the value of a label");
    if (text == nullptr) continue;
    if (absl::Status status = labels.Set(key.text, *text); !status.ok()) {
      const bool in_key = !CheckLabelKey(key.text).ok() || CheckLabelValue(*text).ok();
      source.Error(in_key ? key.spot : value.spot, std::string(status.message()));
    }
  }
  return labels;
}

State ParseStateField(const SourceText& source, const YamlNode* node) {
  if (node == nullptr) return State::kEnforce;
  const int state = OneOf(source, *node, "`state`", {"build", "test", "enforce"});
  return state < 0 ? State::kEnforce : static_cast<State>(state);
}

Workload ParseWorkload(const SourceText& source, const YamlNode& spec) {
  FieldReader fields(source, spec, "`spec` of a Workload");
  Workload workload;
  if (const YamlNode* labels = fields.TakeRequired("labels")) {
    workload.labels = ParseLabels(source, *labels);
  }
  workload.labels_spot = fields.SpotOf("labels");
  if (const YamlNode* match = fields.TakeRequired("match")) {
    workload.match = ParseMatch(source, *match);
  }
  workload.state = ParseStateField(source, fields.Take("state"));
  if (const YamlNode* loopback = fields.Take("loopback")) {
    workload.loopback_allowed = OneOf(source, *loopback, "`loopback`", {"judge", "allow"}) == 1;
    if (workload.loopback_allowed && workload.match.HasProcessField()) {
      source.Error(
          loopback->spot,
          "`loopback: allow` is for workloads that are matched by `cgroup` or `host` alone");
    }
  }
  ParseDoors(source,
             {.passing = fields.Take("passing"),
              .unix_sockets = fields.Take("unix"),
              .raw = fields.Take("raw"),
              .family = fields.Take("family"),
              .bpf = fields.Take("bpf"),
              .libraries = fields.Take("libraries")},
             &workload);
  if (const YamlNode* ports = fields.Take("ports")) {
    workload.ports = ParseNamedPorts(source, *ports);
  }
  fields.Finish();
  return workload;
}

}  // namespace mseg
