// SPDX-License-Identifier: Apache-2.0
#include "labels/networkpolicy_import.h"

#include <netinet/in.h>

#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "labels/document_parser.h"
#include "labels/endpoint.h"
#include "labels/kubernetes.h"
#include "labels/text.h"

namespace mseg {
namespace {

// The API server gives it to every namespace and lets nobody change it.
constexpr std::string_view kNamespaceName = "ns/kubernetes.io/metadata.name";

// Keys of pods that would be taken for others of mseg stand under `pod/`. No two keys become one:
// what is not under `pod/` here was not under it before.
std::string PodKey(const std::string& key) {
  const bool taken = key.starts_with("ns/") || key.starts_with("pod/") || key.starts_with("mseg/");
  return taken ? Cat("pod/", key) : key;
}
std::string NamespaceKey(const std::string& key) { return Cat("ns/", key); }

// Whether YAML readers, others than mseg's too, take the bare word for a text.
bool IsPlainWord(std::string_view text) {
  static const std::set<std::string_view> kSpecial = {"true", "false", "null", "yes", "no",
                                                      "on",   "off",   "y",    "n"};
  std::string lower;
  for (char c : text) lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (lower.empty() || lower[0] < 'a' || lower[0] > 'z' || kSpecial.contains(lower)) return false;
  return lower.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._/-") == std::string::npos;
}

std::string Word(std::string_view text) {
  if (IsPlainWord(text)) return std::string(text);
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// `[a, b]` of texts that are written already.
std::string List(const std::vector<std::string>& items) {
  std::string out = "[";
  for (const std::string& item : items) Append(&out, out.size() > 1 ? ", " : "", item);
  return out + "]";
}
std::string Words(const std::vector<std::string>& items) {
  std::vector<std::string> words;
  for (const std::string& item : items) words.push_back(Word(item));
  return List(words);
}
std::string Map(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string out = "{";
  for (const auto& [key, value] : fields) {
    Append(&out, out.size() > 1 ? ", " : "", key, ": ", value);
  }
  return out + "}";
}

std::string CidrWord(const Cidr& cidr) { return Cat("\"", CidrText(cidr), "\""); }

std::string_view ProtocolWord(uint8_t protocol) {
  if (protocol == IPPROTO_UDP) return "udp";
  return protocol == IPPROTO_SCTP ? "sctp" : "tcp";
}

// A selector's fields: `labels` and `matchExpressions`.
class SelectorText {
 public:
  void Add(LabelRequirement requirement) {
    using Operator = LabelRequirement::Operator;
    static constexpr std::string_view kNames[] = {"In", "NotIn", "Exists", "DoesNotExist"};
    // As labels, which are read more easily, where they can be; a map holds a key once.
    const bool single = requirement.op == Operator::kIn && requirement.values.size() == 1;
    if (single && labels_.emplace(requirement.key, requirement.values[0]).second) return;
    std::vector<std::pair<std::string, std::string>> fields = {
        {"key", Word(requirement.key)},
        {"operator", std::string(kNames[static_cast<size_t>(requirement.op)])}};
    if (!requirement.values.empty()) fields.emplace_back("values", Words(requirement.values));
    expressions_.push_back(Map(fields));
  }
  std::string Text() const {
    std::vector<std::pair<std::string, std::string>> labels;
    for (const auto& [key, value] : labels_) labels.emplace_back(Word(key), Word(value));
    std::vector<std::pair<std::string, std::string>> fields;
    if (!labels.empty()) fields.emplace_back("labels", Map(labels));
    if (!expressions_.empty()) fields.emplace_back("matchExpressions", List(expressions_));
    return Map(fields);
  }

 private:
  std::map<std::string, std::string> labels_;
  std::vector<std::string> expressions_;
};

void AddPodSelector(const KubeSelector& selector, SelectorText* out) {
  for (LabelRequirement requirement : selector) {
    requirement.key = PodKey(requirement.key);
    out->Add(std::move(requirement));
  }
}

// Pods that `selector` selects in one namespace.
std::string PodsOf(const std::string& name_space, const KubeSelector& selector) {
  SelectorText out;
  out.Add(LabelRequirement{.key = std::string(kNamespaceName), .values = {name_space}, .spot = {}});
  AddPodSelector(selector, &out);
  return out.Text();
}

class Importer {
 public:
  Importer(const KubeCluster& cluster, const ImportOptions& options)
      : cluster_(cluster), options_(options) {}

  ImportResult Import() {
    CheckNamespaces();
    for (const KubePod& pod : cluster_.pods) AddPod(pod);
    for (const KubePolicy& policy : cluster_.policies) AddPolicy(policy);
    for (const auto& [kind, count] : cluster_.ignored) {
      result_.notes.push_back(Cat("left out: ", count, " of ", kind));
    }
    return std::move(result_);
  }

 private:
  static void Error(const KubeObject& object, std::string message) {
    object.source->Error(object.spot, std::move(message));
  }
  static std::string At(const KubeObject& object) {
    return Cat(object.source->file(), ":", object.spot.line, ":", object.spot.column);
  }
  static std::string NameOf(const KubeObject& object) {
    return Cat(object.name_space, "/", object.name);
  }
  void Note(const KubeObject& object, std::string_view why) {
    result_.notes.push_back(Cat("left out: pod ", NameOf(object), ", ", why));
  }

  void CheckNamespaces() {
    for (const KubeNamespace& name_space : cluster_.namespaces) {
      const auto [first, added] = namespaces_.emplace(name_space.name, &name_space);
      if (!added) {
        Error(name_space,
              Cat("namespace `", name_space.name, "` is already in ", At(*first->second)));
      }
      const auto name = name_space.labels.find("kubernetes.io/metadata.name");
      if (name != name_space.labels.end() && name->second != name_space.name) {
        Error(name_space, "the label kubernetes.io/metadata.name is not the namespace's name");
      }
    }
  }

  // The same name in the same namespace twice; a namespace that is not there.
  bool CheckObject(const KubeObject& object, std::string_view kind,
                   std::map<std::string, const KubeObject*>* seen) {
    const auto [first, added] = seen->emplace(NameOf(object), &object);
    if (!added) {
      Error(object, Cat(kind, " `", NameOf(object), "` is already in ", At(*first->second)));
      return false;
    }
    if (namespaces_.contains(object.name_space)) return true;
    Error(object, Cat("the namespace `", object.name_space, "` is not in the file; its labels ",
                      "matter, so print it too: kubectl get ns,pods,netpol -A -o yaml"));
    return false;
  }

  // Checks that nobody else has it, and says where else it is if somebody does.
  template <typename Key>
  void Claim(const KubePod& pod, const Key& key, std::string_view what,
             std::map<Key, const KubePod*>* owners) {
    const auto [first, added] = owners->emplace(key, &pod);
    if (added) return;
    Error(pod, Cat("pod ", NameOf(pod), " has the ", what, " of pod ", NameOf(*first->second), " (",
                   At(*first->second), ")"));
  }

  void Begin(std::string_view kind, const KubeObject& object, std::string_view name) {
    Append(&result_.documents, "---\n# ", kind == "Policy" ? "NetworkPolicy " : "Pod ",
           NameOf(object), ", ", Printable(object.source->file(), 200), ":", object.spot.line,
           "\napiVersion: mseg.io/v1\nkind: ", kind, "\nmetadata: {name: ", Word(name),
           "}\nspec:\n");
  }

  std::vector<std::string> LabelsOf(const KubePod& pod) const {
    std::map<std::string, std::string> labels;
    for (const auto& [key, value] : namespaces_.at(pod.name_space)->labels) {
      labels.emplace(NamespaceKey(key), value);
    }
    labels.emplace(std::string(kNamespaceName), pod.name_space);
    for (const auto& [key, value] : pod.labels) labels.emplace(PodKey(key), value);
    std::vector<std::string> out;
    for (const auto& [key, value] : labels) out.push_back(Cat(Word(key), ": ", Word(value)));
    return out;
  }

  // The pod's cgroup as both of kubelet's drivers name it. Whole paths, no `**`: a container that
  // may make cgroups below its own must not become another pod by a name.
  std::vector<std::string> CgroupsOf(const KubePod& pod) const {
    std::vector<std::string> out;
    if (pod.uid.empty()) return out;
    std::vector<std::string> classes = {"", "burstable", "besteffort"};
    if (pod.qos == "Guaranteed") classes = {""};
    if (pod.qos == "Burstable") classes = {"burstable"};
    if (pod.qos == "BestEffort") classes = {"besteffort"};
    for (const std::string& cls : classes) {
      std::vector<std::string> parts;
      std::string_view rest = options_.cgroup_root;
      while (!rest.empty()) {
        const size_t slash = std::min(rest.find('/'), rest.size());
        if (slash > 0) parts.emplace_back(rest.substr(0, slash));
        rest.remove_prefix(std::min(slash + 1, rest.size()));
      }
      parts.push_back("kubepods");
      if (!cls.empty()) parts.push_back(cls);
      parts.push_back(Cat("pod", pod.uid));
      out.push_back(Word(CgroupfsPath(parts)));
      out.push_back(Word(SystemdPath(parts)));
    }
    return out;
  }
  static std::string CgroupfsPath(const std::vector<std::string>& parts) {
    std::string out;
    for (const std::string& part : parts) Append(&out, "/", part);
    return out;
  }
  // Each slice's name holds those above it; kubelet writes a `-` of its own as `_`.
  static std::string SystemdPath(const std::vector<std::string>& parts) {
    std::string out;
    std::string slice;
    for (const std::string& part : parts) {
      if (!slice.empty()) slice += '-';
      for (char c : part) slice += c == '-' ? '_' : c;
      Append(&out, "/", slice, ".slice");
    }
    return out;
  }

  void AddPod(const KubePod& pod) {
    if (!CheckObject(pod, "pod", &pods_)) return;
    if (pod.finished) return Note(pod, "it has ended");
    if (pod.host_network) {
      return Note(pod, "it uses its node's network: its processes are the host's");
    }
    if (pod.uid.empty() && pod.addresses.empty()) {
      return Note(pod, "it has neither a uid nor an address");
    }
    if (pod.uid.find_first_not_of("0123456789abcdefABCDEF-") != std::string::npos ||
        pod.uid.size() > 64) {
      return Error(pod, Cat("`", pod.uid.substr(0, 80), "` is no uid of a pod"));
    }
    if (!pod.uid.empty()) Claim(pod, pod.uid, "uid", &uids_);
    std::vector<std::string> addresses;
    for (const Cidr& address : pod.addresses) {
      Claim(pod, address.address, "address", &addresses_);
      addresses.push_back(Cat("\"", IpAddressText(address.address), "\""));
    }
    Begin("Workload", pod, PodWorkloadName(pod.name_space, pod.name));
    std::string* out = &result_.documents;
    *out += "  labels:\n";
    for (const std::string& label : LabelsOf(pod)) Append(out, "    ", label, "\n");
    *out += "  match:\n";
    if (const std::vector<std::string> cgroups = CgroupsOf(pod); !cgroups.empty()) {
      *out += "    cgroup:\n";
      for (const std::string& cgroup : cgroups) Append(out, "    - ", cgroup, "\n");
    }
    if (!addresses.empty()) Append(out, "    addresses: ", List(addresses), "\n");
    *out += "  loopback: allow\n";
    AddPorts(pod);
  }

  void AddPorts(const KubePod& pod) {
    std::map<std::string, std::vector<std::string>> by_name;
    for (const auto& [name, port] : pod.ports) {
      by_name[name.name].push_back(Cat(ProtocolWord(name.protocol), "/", port));
    }
    if (by_name.empty()) return;
    result_.documents += "  ports:\n";
    for (const auto& [name, ports] : by_name) {
      Append(&result_.documents, "    ", Word(name), ": ",
             ports.size() == 1 ? ports[0] : List(ports), "\n");
    }
  }

  void AddPolicy(const KubePolicy& policy) {
    if (!CheckObject(policy, "NetworkPolicy", &policies_)) return;
    Begin("Policy", policy, Cat("netpol.", policy.name_space, ".", policy.name));
    const std::string own = PodsOf(policy.name_space, policy.pods);
    std::vector<std::string> directions;
    if (policy.ingress) directions.push_back("ingress");
    if (policy.egress) directions.push_back("egress");
    Append(&result_.documents, "  state: enforce\n  selects: ", own,
           "\n  directions: ", List(directions), "\n");
    std::string rules;
    if (policy.ingress) AddRules(policy, *policy.ingress, "ingress", own, &rules);
    if (policy.egress) AddRules(policy, *policy.egress, "egress", own, &rules);
    if (!rules.empty()) Append(&result_.documents, "  rules:\n", rules);
  }

  // One rule for every peer: the peers of a rule are alternatives.
  static void AddRules(const KubePolicy& policy, const std::vector<KubeRule>& rules,
                       std::string_view direction, const std::string& own, std::string* out) {
    const bool ingress = direction == "ingress";
    for (size_t i = 0; i < rules.size(); ++i) {
      const std::string name = Cat(direction, "-", i + 1);
      const std::string services = ServicesOf(rules[i]);
      auto add = [&](const std::string& rule, const std::string& peer) {
        Append(out, "  - name: ", rule, "\n    verdict: allow\n");
        if (ingress && !peer.empty()) Append(out, "    from: ", peer, "\n");
        Append(out, ingress ? "    to: " : "    from: ", own, "\n");
        if (!ingress && !peer.empty()) Append(out, "    to: ", peer, "\n");
        Append(out, "    at: ", ingress ? "to" : "from", "\n");
        if (!services.empty()) Append(out, "    services: ", services, "\n");
      };
      if (rules[i].peers.empty()) add(name, "");
      for (size_t p = 0; p < rules[i].peers.size(); ++p) {
        add(Cat(name, "-", p + 1), PeerText(policy, rules[i].peers[p]));
      }
    }
  }

  static std::string PeerText(const KubePolicy& policy, const KubePeer& peer) {
    if (peer.block) {
      std::vector<std::string> except;
      for (const Cidr& cidr : peer.except) except.push_back(CidrWord(cidr));
      std::vector<std::pair<std::string, std::string>> fields = {
          {"cidrs", List({CidrWord(*peer.block)})}};
      if (!except.empty()) fields.emplace_back("except", List(except));
      fields.emplace_back("peers", "all");
      return Map(fields);
    }
    const KubeSelector any;
    if (!peer.namespaces) return PodsOf(policy.name_space, peer.pods ? *peer.pods : any);
    // Only pods have namespaces; nothing else may match by what it does not have.
    SelectorText out;
    out.Add(LabelRequirement{.key = std::string(kNamespaceName),
                             .op = LabelRequirement::Operator::kExists,
                             .values = {},
                             .spot = {}});
    for (LabelRequirement requirement : *peer.namespaces) {
      requirement.key = NamespaceKey(requirement.key);
      out.Add(std::move(requirement));
    }
    AddPodSelector(peer.pods ? *peer.pods : any, &out);
    return out.Text();
  }

  static std::string ServicesOf(const KubeRule& rule) {
    std::vector<std::string> items;
    for (const KubePort& port : rule.ports) {
      const std::string protocol = Cat(ProtocolWord(port.protocol), "/");
      if (!port.name.empty()) {
        items.push_back(Cat(protocol, port.name));
      } else if (port.first == port.last) {
        items.push_back(Cat(protocol, port.first));
      } else {
        items.push_back(Cat(protocol, port.first, "-", port.last));
      }
    }
    return items.empty() ? std::string() : List(items);
  }

  const KubeCluster& cluster_;
  const ImportOptions& options_;
  ImportResult result_;
  std::map<std::string, const KubeNamespace*> namespaces_;
  std::map<std::string, const KubeObject*> pods_;
  std::map<std::string, const KubeObject*> policies_;
  std::map<std::string, const KubePod*> uids_;
  std::map<IpAddress, const KubePod*> addresses_;
};

}  // namespace

absl::StatusOr<ImportResult> ImportNetworkPolicies(const std::vector<ImportFile>& files,
                                                   const ImportOptions& options,
                                                   Diagnostics* diagnostics) {
  const size_t errors_before = diagnostics->size();
  KubeCluster cluster;
  for (const ImportFile& file : files) {
    ReadKubeObjects(file.name, file.text, &cluster, diagnostics);
  }
  // A file that could not be read hides objects; what is said about the others may be wrong then.
  ImportResult result;
  if (diagnostics->size() == errors_before) result = Importer(cluster, options).Import();
  SortDiagnostics(errors_before, diagnostics);
  const size_t errors = diagnostics->size() - errors_before;
  if (errors > 0) {
    return absl::InvalidArgumentError(Cat(errors, errors == 1 ? " error" : " errors"));
  }
  return result;
}

}  // namespace mseg
