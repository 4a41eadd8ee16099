// SPDX-License-Identifier: Apache-2.0
#include "labels/document_parser.h"
#include "labels/field_reader.h"
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
      source.Error(key.spot, Cat("label `", key.text.substr(0, 63), "` has no value"));
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
    if (OneOf(source, *loopback, "`loopback`", {"judge", "allow"}) == 1) {
      source.Error(loopback->spot,
                   "`loopback: allow` is not supported yet; write a rule that allows the workload "
                   "to talk to itself");
    }
  }
  fields.Refuse("ports", "name the port number in the rule or a Service");
  fields.Finish();
  return workload;
}

}  // namespace mseg
