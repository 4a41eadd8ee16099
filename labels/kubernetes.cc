// SPDX-License-Identifier: Apache-2.0
#include "labels/kubernetes.h"

#include <netinet/in.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "labels/text.h"

namespace mseg {
namespace {

// One map of a Kubernetes object. As the API server reads them: a null is an absent field.
class KubeMap {
 public:
  KubeMap(const SourceText& source, const YamlNode& node, std::string_view what)
      : source_(source), node_(node), what_(what) {
    if (node.kind != YamlNode::Kind::kMap) {
      source.Error(node.spot, Cat("`", what, "` must be a map, not ", YamlKindName(node.kind)));
    }
  }

  const YamlNode* Find(std::string_view name) const {
    if (node_.kind != YamlNode::Kind::kMap) return nullptr;
    for (size_t i = 0; i + 1 < node_.children.size(); i += 2) {
      const YamlNode& value = node_.children[i + 1];
      if (node_.children[i].text == name && value.kind != YamlNode::Kind::kNull) return &value;
    }
    return nullptr;
  }

  // The text of a scalar; null where it is absent, and with an error where it is none.
  const YamlNode* Text(std::string_view name) const {
    const YamlNode* value = Find(name);
    if (value == nullptr || value->kind == YamlNode::Kind::kScalar) return value;
    source_.Error(value->spot,
                  Cat("`", name, "` must be a single value, not ", YamlKindName(value->kind)));
    return nullptr;
  }
  std::string_view TextOf(std::string_view name) const {
    const YamlNode* value = Text(name);
    return value == nullptr ? std::string_view() : std::string_view(value->text);
  }

  const std::vector<YamlNode>& Items(std::string_view name) const {
    static const std::vector<YamlNode> nothing;
    const YamlNode* value = Find(name);
    if (value == nullptr) return nothing;
    if (value->kind == YamlNode::Kind::kSequence) return value->children;
    source_.Error(value->spot, Cat("`", name, "` must be a list, not ", YamlKindName(value->kind)));
    return nothing;
  }

  // In an object whose every field means something, one that is not known may be the one that
  // forbids.
  void AllowOnly(const std::vector<std::string_view>& known) const {
    if (node_.kind != YamlNode::Kind::kMap) return;
    for (size_t i = 0; i + 1 < node_.children.size(); i += 2) {
      const YamlNode& key = node_.children[i];
      if (std::find(known.begin(), known.end(), key.text) != known.end()) continue;
      source_.Error(key.spot, Cat("unknown field `", key.text.substr(0, 80), "` in `", what_,
                                  "`; networking.k8s.io/v1 has ", JoinAlternatives(known)));
    }
  }

  Spot spot() const { return node_.spot; }

 private:
  const SourceText& source_;
  const YamlNode& node_;
  std::string_view what_;
};

// Lower-case letters, digits, `-`, and `.` where `dots`.
bool IsKubeName(std::string_view text, bool dots) {
  return !text.empty() && text.size() <= (dots ? 253 : 63) && text.front() != '-' &&
         text.front() != '.' && std::all_of(text.begin(), text.end(), [dots](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                  (dots && c == '.');
         });
}

std::optional<uint8_t> ProtocolOf(std::string_view name) {
  if (name.empty() || name == "TCP") return IPPROTO_TCP;
  if (name == "UDP") return IPPROTO_UDP;
  if (name == "SCTP") return IPPROTO_SCTP;
  return std::nullopt;
}

std::optional<uint16_t> PortOf(std::string_view text) {
  const std::optional<uint32_t> port = ParseDecimal(text);
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

bool IsNumber(std::string_view text) {
  return text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Kubernetes drops the bits behind a prefix (`10.0.0.1/8`), where mseg asks which of the two was
// meant.
absl::StatusOr<Cidr> ParseBlock(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return absl::InvalidArgumentError(Cat("`", text.substr(0, 80), "` has no prefix length"));
  }
  absl::StatusOr<IpAddress> address = ParseIpAddress(text.substr(0, slash));
  if (!address.ok()) return address.status();
  const bool ipv4 = IsIpv4(*address);
  const std::optional<uint32_t> length = ParseDecimal(text.substr(slash + 1));
  if (!length || *length > (ipv4 ? 32u : 128u)) {
    return absl::InvalidArgumentError(
        Cat("`", text.substr(0, 80), "`: the prefix length is a number up to ", ipv4 ? 32 : 128));
  }
  Cidr cidr{
      .address = *address, .bits = static_cast<uint8_t>(*length + (ipv4 ? 96 : 0)), .ipv4 = ipv4};
  for (int i = 0; i < 16; ++i) {
    const int left = std::clamp(cidr.bits - 8 * i, 0, 8);
    uint8_t& byte = cidr.address[static_cast<size_t>(i)];
    byte = static_cast<uint8_t>(byte & (0xFF00 >> left));
  }
  return cidr;
}

class ObjectReader {
 public:
  ObjectReader(const SourceText& source, KubeCluster* cluster)
      : source_(source), cluster_(cluster) {}

  // `kind` and `version` of the list that holds the object, for lists of one kind, whose items do
  // not say theirs.
  void Read(const YamlNode& node, std::string kind = {}, std::string version = {}) {
    KubeMap object(source_, node, "a Kubernetes object");
    if (const YamlNode* text = object.Text("kind")) kind = text->text;
    if (const YamlNode* text = object.Text("apiVersion")) version = text->text;
    if (node.kind != YamlNode::Kind::kMap) return;
    if (kind.empty() || version.empty()) {
      source_.Error(node.spot, "a Kubernetes object needs `apiVersion` and `kind`");
      return;
    }
    constexpr std::string_view kList = "List";
    if (kind.ends_with(kList) && object.Find("items") != nullptr) {
      kind.resize(kind.size() - kList.size());
      if (kind.empty()) version.clear();
      for (const YamlNode& item : object.Items("items")) Read(item, kind, version);
    } else if (kind.ends_with(kList)) {
      // `items: null` or none at all: an empty list.
    } else if (version == "v1" && kind == "Namespace") {
      ReadNamespace(object);
    } else if (version == "v1" && kind == "Pod") {
      ReadPod(object);
    } else if (version == "networking.k8s.io/v1" && kind == "NetworkPolicy") {
      ReadPolicy(object);
    } else {
      ++cluster_->ignored[Cat(version, " ", kind)];
    }
  }

 private:
  void Error(Spot spot, std::string message) const { source_.Error(spot, std::move(message)); }

  // What `metadata` says of every object; false if it has no name.
  bool ReadMetadata(const KubeMap& object, bool namespaced, KubeObject* out,
                    std::map<std::string, std::string>* labels, std::string* uid) const {
    const YamlNode* node = object.Find("metadata");
    if (node == nullptr) {
      Error(object.spot(), "`metadata` is missing");
      return false;
    }
    const KubeMap metadata(source_, *node, "metadata");
    const YamlNode* name = metadata.Text("name");
    if (name == nullptr) {
      Error(node->spot, "`metadata` has no `name`");
      return false;
    }
    out->source = &source_;
    out->spot = name->spot;
    out->name = name->text;
    if (!IsKubeName(name->text, namespaced)) {
      Error(name->spot, Cat("`", name->text.substr(0, 80), "` is no name of a Kubernetes object"));
    }
    if (labels != nullptr) {
      if (const YamlNode* map = metadata.Find("labels")) *labels = ReadLabels(*map);
    }
    if (uid != nullptr) *uid = std::string(metadata.TextOf("uid"));
    if (!namespaced) return true;
    const YamlNode* name_space = metadata.Text("namespace");
    if (name_space == nullptr) {
      Error(node->spot, "`metadata` has no `namespace`; print the objects with `kubectl get`");
      return false;
    }
    out->name_space = name_space->text;
    if (IsKubeName(name_space->text, /*dots=*/false)) return true;
    Error(name_space->spot,
          Cat("`", name_space->text.substr(0, 80), "` is no name of a namespace"));
    return false;
  }

  std::map<std::string, std::string> ReadLabels(const YamlNode& node) const {
    std::map<std::string, std::string> out;
    for (const LabelRequirement& label : ReadMatchLabels(node, "labels")) {
      out.emplace(label.key, label.values.front());
    }
    return out;
  }

  // A key that is too long for its namespace's or a pod's prefix to stand before it is no key of
  // Kubernetes.
  void CheckKey(const std::string& key, Spot spot) const {
    constexpr size_t kLongest = 317;
    if (key.size() > kLongest) {
      Error(spot, Cat("a label key of Kubernetes has at most ", kLongest, " bytes"));
    } else if (absl::Status status = CheckLabelKey(key); !status.ok()) {
      Error(spot, std::string(status.message()));
    }
  }
  void CheckValue(const std::string& value, Spot spot) const {
    absl::Status status = CheckLabelValue(value);
    if (!status.ok()) Error(spot, std::string(status.message()));
  }

  // A map of labels, as requirements: `key: value` is In with one value.
  KubeSelector ReadMatchLabels(const YamlNode& node, std::string_view what) const {
    KubeSelector out;
    if (node.kind != YamlNode::Kind::kMap) {
      Error(node.spot, Cat("`", what, "` must be a map, not ", YamlKindName(node.kind)));
      return out;
    }
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const YamlNode& key = node.children[i];
      const YamlNode& value = node.children[i + 1];
      if (value.kind != YamlNode::Kind::kScalar && value.kind != YamlNode::Kind::kNull) {
        Error(value.spot, "the value of a label must be a single value");
        continue;
      }
      CheckKey(key.text, key.spot);
      CheckValue(value.text, value.spot);
      out.push_back(LabelRequirement{.key = key.text,
                                     .op = LabelRequirement::Operator::kIn,
                                     .values = {value.text},
                                     .spot = key.spot});
    }
    return out;
  }

  KubeSelector ReadSelector(const YamlNode& node, std::string_view what) const {
    const KubeMap selector(source_, node, what);
    selector.AllowOnly({"matchLabels", "matchExpressions"});
    KubeSelector out;
    if (const YamlNode* labels = selector.Find("matchLabels")) {
      out = ReadMatchLabels(*labels, "matchLabels");
    }
    for (const YamlNode& item : selector.Items("matchExpressions")) ReadExpression(item, &out);
    return out;
  }

  void ReadExpression(const YamlNode& node, KubeSelector* out) const {
    static const std::vector<std::string_view> kOperators = {"In", "NotIn", "Exists",
                                                             "DoesNotExist"};
    const KubeMap expression(source_, node, "matchExpressions");
    expression.AllowOnly({"key", "operator", "values"});
    const YamlNode* key = expression.Text("key");
    const YamlNode* op = expression.Text("operator");
    if (key == nullptr || op == nullptr) {
      Error(node.spot, "an item of `matchExpressions` needs `key` and `operator`");
      return;
    }
    CheckKey(key->text, key->spot);
    const auto found = std::find(kOperators.begin(), kOperators.end(), op->text);
    if (found == kOperators.end()) {
      Error(op->spot, Cat("`operator` must be ", JoinAlternatives(kOperators), ", not `",
                          op->text.substr(0, 80), "`"));
      return;
    }
    LabelRequirement requirement{
        .key = key->text,
        .op = static_cast<LabelRequirement::Operator>(found - kOperators.begin()),
        .values = {},
        .spot = node.spot};
    for (const YamlNode& value : expression.Items("values")) {
      if (value.kind != YamlNode::Kind::kScalar && value.kind != YamlNode::Kind::kNull) {
        Error(value.spot, "an item of `values` must be a single value");
        continue;
      }
      CheckValue(value.text, value.spot);
      requirement.values.push_back(value.text);
    }
    const bool wants = requirement.op == LabelRequirement::Operator::kIn ||
                       requirement.op == LabelRequirement::Operator::kNotIn;
    if (wants == requirement.values.empty()) {
      Error(node.spot, Cat("`", op->text, wants ? "` needs `values`" : "` takes no `values`"));
    }
    std::sort(requirement.values.begin(), requirement.values.end());
    requirement.values.erase(std::unique(requirement.values.begin(), requirement.values.end()),
                             requirement.values.end());
    out->push_back(std::move(requirement));
  }

  void ReadNamespace(const KubeMap& object) const {
    KubeNamespace out;
    if (!ReadMetadata(object, /*namespaced=*/false, &out, &out.labels, nullptr)) return;
    cluster_->namespaces.push_back(std::move(out));
  }

  void ReadPod(const KubeMap& object) const {
    KubePod pod;
    if (!ReadMetadata(object, /*namespaced=*/true, &pod, &pod.labels, &pod.uid)) return;
    if (const YamlNode* node = object.Find("spec")) {
      const KubeMap spec(source_, *node, "spec");
      pod.host_network = spec.TextOf("hostNetwork") == "true";
      for (const YamlNode& container : spec.Items("containers")) {
        ReadPorts(KubeMap(source_, container, "containers"), &pod);
      }
      // Of the containers that start first, those that go on running have ports too.
      for (const YamlNode& node : spec.Items("initContainers")) {
        const KubeMap container(source_, node, "initContainers");
        if (container.TextOf("restartPolicy") == "Always") ReadPorts(container, &pod);
      }
    }
    if (const YamlNode* node = object.Find("status")) ReadStatus(*node, &pod);
    cluster_->pods.push_back(std::move(pod));
  }

  // Of a name that two containers use the first one counts, as everywhere in Kubernetes.
  void ReadPorts(const KubeMap& container, KubePod* pod) const {
    for (const YamlNode& node : container.Items("ports")) {
      const KubeMap port(source_, node, "ports");
      const YamlNode* name = port.Text("name");
      if (name == nullptr || name->text.empty()) continue;
      const YamlNode* number = port.Text("containerPort");
      const std::optional<uint8_t> protocol = ProtocolOf(port.TextOf("protocol"));
      const std::optional<uint16_t> value = number == nullptr ? std::nullopt : PortOf(number->text);
      if (!protocol || !value || !ParsePortName(Cat("tcp/", name->text))) {
        Error(node.spot,
              "not a port of a container: it has a `name` of up to 15 lower-case "
              "letters, digits and hyphens, a `containerPort` from 1 to 65535, and a "
              "`protocol` TCP, UDP or SCTP");
        continue;
      }
      pod->ports.emplace(PortName{*protocol, name->text}, *value);
    }
  }

  void ReadStatus(const YamlNode& node, KubePod* pod) const {
    const KubeMap status(source_, node, "status");
    const std::string_view phase = status.TextOf("phase");
    pod->finished = phase == "Succeeded" || phase == "Failed";
    pod->qos = std::string(status.TextOf("qosClass"));
    if (const YamlNode* ip = status.Text("podIP")) AddAddress(*ip, pod);
    for (const YamlNode& item : status.Items("podIPs")) {
      const KubeMap address(source_, item, "podIPs");
      if (const YamlNode* ip = address.Text("ip")) AddAddress(*ip, pod);
    }
    std::sort(pod->addresses.begin(), pod->addresses.end());
    pod->addresses.erase(std::unique(pod->addresses.begin(), pod->addresses.end()),
                         pod->addresses.end());
  }

  void AddAddress(const YamlNode& node, KubePod* pod) const {
    if (node.text.empty()) return;
    const absl::StatusOr<IpAddress> address = ParseIpAddress(node.text.substr(0, 80));
    if (!address.ok()) return Error(node.spot, std::string(address.status().message()));
    pod->addresses.push_back(Cidr{.address = *address, .bits = 128, .ipv4 = IsIpv4(*address)});
  }

  void ReadPolicy(const KubeMap& object) const {
    KubePolicy policy;
    if (!ReadMetadata(object, /*namespaced=*/true, &policy, nullptr, nullptr)) return;
    const YamlNode* node = object.Find("spec");
    if (node == nullptr) {
      Error(policy.spot, "this NetworkPolicy has no `spec`");
      return;
    }
    const KubeMap spec(source_, *node, "spec");
    spec.AllowOnly({"podSelector", "policyTypes", "ingress", "egress"});
    if (const YamlNode* pods = spec.Find("podSelector")) {
      policy.pods = ReadSelector(*pods, "podSelector");
    }
    std::vector<KubeRule> ingress_rules = ReadRules(spec.Items("ingress"), "ingress", "from");
    std::vector<KubeRule> egress_rules = ReadRules(spec.Items("egress"), "egress", "to");
    // Without policyTypes it is about ingress, and about egress if it has rules for that.
    bool ingress = true;
    bool egress = !egress_rules.empty();
    if (const std::vector<YamlNode>& types = spec.Items("policyTypes"); !types.empty()) {
      ingress = false;
      egress = false;
      for (const YamlNode& type : types) {
        ingress = ingress || type.text == "Ingress";
        egress = egress || type.text == "Egress";
        if (type.text == "Ingress" || type.text == "Egress") continue;
        Error(type.spot, "`policyTypes` takes Ingress and Egress");
      }
    }
    if (ingress) policy.ingress = std::move(ingress_rules);
    if (egress) policy.egress = std::move(egress_rules);
    cluster_->policies.push_back(std::move(policy));
  }

  std::vector<KubeRule> ReadRules(const std::vector<YamlNode>& nodes, std::string_view what,
                                  std::string_view peers) const {
    std::vector<KubeRule> out;
    for (const YamlNode& node : nodes) {
      const KubeMap fields(source_, node, what);
      fields.AllowOnly({peers, "ports"});
      KubeRule rule;
      for (const YamlNode& peer : fields.Items(peers)) rule.peers.push_back(ReadPeer(peer, peers));
      for (const YamlNode& port : fields.Items("ports")) ReadPort(port, &rule.ports);
      out.push_back(std::move(rule));
    }
    return out;
  }

  KubePeer ReadPeer(const YamlNode& node, std::string_view what) const {
    const KubeMap fields(source_, node, what);
    fields.AllowOnly({"podSelector", "namespaceSelector", "ipBlock"});
    KubePeer peer;
    if (const YamlNode* pods = fields.Find("podSelector")) {
      peer.pods = ReadSelector(*pods, "podSelector");
    }
    if (const YamlNode* namespaces = fields.Find("namespaceSelector")) {
      peer.namespaces = ReadSelector(*namespaces, "namespaceSelector");
    }
    const YamlNode* block = fields.Find("ipBlock");
    if (block != nullptr) ReadBlock(*block, &peer);
    const bool pods = peer.pods || peer.namespaces;
    if (pods == (block != nullptr)) {
      Error(node.spot, Cat("an item of `", what, "` needs `podSelector`, `namespaceSelector` or ",
                           "both, or `ipBlock` alone"));
    }
    return peer;
  }

  void ReadBlock(const YamlNode& node, KubePeer* peer) const {
    const KubeMap fields(source_, node, "ipBlock");
    fields.AllowOnly({"cidr", "except"});
    const YamlNode* cidr = fields.Text("cidr");
    if (cidr == nullptr) return Error(node.spot, "`ipBlock` needs `cidr`");
    const absl::StatusOr<Cidr> block = ParseBlock(cidr->text);
    if (!block.ok()) return Error(cidr->spot, std::string(block.status().message()));
    peer->block = *block;
    for (const YamlNode& item : fields.Items("except")) {
      const absl::StatusOr<Cidr> except = ParseBlock(item.text);
      if (!except.ok()) {
        Error(item.spot, std::string(except.status().message()));
      } else if (!block->Contains(*except)) {
        Error(item.spot, Cat("`except` ", CidrText(*except), " is not within ", CidrText(*block)));
      } else {
        peer->except.push_back(*except);
      }
    }
  }

  void ReadPort(const YamlNode& node, std::vector<KubePort>* out) const {
    const KubeMap fields(source_, node, "ports");
    fields.AllowOnly({"port", "protocol", "endPort"});
    KubePort port;
    const std::optional<uint8_t> protocol = ProtocolOf(fields.TextOf("protocol"));
    if (!protocol) return Error(node.spot, "`protocol` must be TCP, UDP or SCTP");
    port.protocol = *protocol;
    const YamlNode* first = fields.Text("port");
    const YamlNode* last = fields.Text("endPort");
    if (first != nullptr && !IsNumber(first->text)) {
      port.name = first->text;
      if (last != nullptr) return Error(last->spot, "`endPort` needs a `port` that is a number");
      if (!ParsePortName(Cat("tcp/", port.name))) {
        return Error(first->spot, Cat("`", port.name.substr(0, 80), "` is no name of a port"));
      }
    } else if (first != nullptr) {
      const std::optional<uint16_t> number = PortOf(first->text);
      const std::optional<uint16_t> end = last == nullptr ? number : PortOf(last->text);
      if (!number || !end) return Error(node.spot, "a port is a number from 1 to 65535");
      if (*end < *number) return Error(last->spot, "`endPort` is less than `port`");
      port.first = *number;
      port.last = *end;
    } else if (last != nullptr) {
      return Error(last->spot, "`endPort` needs `port`");
    }
    out->push_back(std::move(port));
  }

  const SourceText& source_;
  KubeCluster* cluster_;
};

}  // namespace

void ReadKubeObjects(std::string_view file, std::string_view text, KubeCluster* cluster,
                     Diagnostics* diagnostics) {
  text = WithoutByteOrderMark(text);
  if (!CheckYamlText(file, text, 1, diagnostics).ok()) return;
  for (const YamlChunk& chunk : SplitYaml(text, 1)) {
    auto source = std::make_unique<SourceText>(file, chunk.text, chunk.first_line, diagnostics);
    const absl::StatusOr<std::optional<YamlNode>> root = ReadYaml(*source);
    if (!root.ok() || !root->has_value()) continue;
    ObjectReader(*source, cluster).Read(**root);
    cluster->sources.push_back(std::move(source));
  }
}

}  // namespace mseg
