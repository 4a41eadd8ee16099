// SPDX-License-Identifier: Apache-2.0
// Kubernetes objects to mseg documents, and what those say. The truth tables (tests/truth) have the
// common cases; here is what they do not have. tests/golden/networkpolicy holds objects and beside
// each file what it gives; MSEG_UPDATE_GOLDEN=1 writes the latter anew.
#include "labels/networkpolicy_import.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string ImportText(const std::string& name, const std::string& text) {
  Diagnostics diagnostics;
  const auto result = ImportNetworkPolicies({{name, text}}, {}, &diagnostics);
  CHECK(result.ok() == diagnostics.empty());
  std::string out;
  for (const Diagnostic& diagnostic : diagnostics) out += FormatDiagnostic(diagnostic);
  if (!result.ok()) return out;
  for (const std::string& note : result->notes) Append(&out, "# note: ", note, "\n");
  return out + result->documents;
}

TEST_CASE("objects become documents, or errors, as recorded", "[networkpolicy]") {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MSEG_GOLDEN_NETWORKPOLICY_DIR)) {
    if (entry.path().extension() != ".yaml") continue;
    ++files;
    const std::string name = entry.path().filename().string();
    INFO(name);
    const std::string got = ImportText(name, ReadFile(entry.path()));
    const auto recorded = std::filesystem::path(entry.path()).replace_extension(".out");
    if (std::getenv("MSEG_UPDATE_GOLDEN") != nullptr) std::ofstream(recorded) << got;
    CHECK(got == ReadFile(recorded));
    if (got.find("error: ") == std::string::npos) GoodPolicy(got);
  }
  CHECK(files >= 4);
}

// Objects as flow maps, a document each.
std::string Ns(std::string_view name, std::string_view labels = "{}") {
  return Cat("---\n{apiVersion: v1, kind: Namespace, metadata: {name: ", name, ", labels: ", labels,
             "}}\n");
}
std::string Pod(std::string_view name_space, std::string_view name, std::string_view ip,
                std::string_view labels = "{}", std::string_view ports = "[]",
                std::string_view uid = "null") {
  return Cat("---\n{apiVersion: v1, kind: Pod, metadata: {name: ", name,
             ", namespace: ", name_space, ", uid: ", uid, ", labels: ", labels,
             "}, spec: {containers: [{ports: ", ports, "}]}, status: {podIP: ", ip, "}}\n");
}
std::string Netpol(std::string_view name_space, std::string_view name, std::string_view spec) {
  return Cat("---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ", name,
             ", namespace: ", name_space, "}, spec: ", spec, "}\n");
}

PolicySet Imported(const std::string& objects) {
  Diagnostics diagnostics;
  const auto result = ImportNetworkPolicies({{"cluster.yaml", objects}}, {}, &diagnostics);
  for (const Diagnostic& diagnostic : diagnostics) FAIL_CHECK(FormatDiagnostic(diagnostic));
  REQUIRE(result.ok());
  return GoodPolicy(result->documents);
}

bool Passes(const PolicySet& policy, std::string_view from, std::string_view to,
            std::string_view service = "tcp/80") {
  return Ask(policy, from, to, service).verdict == MSEG_ALLOW;
}

const std::string kThree =
    Ns("x", "{team: red}") + Ns("y") + Pod("x", "a", "10.0.1.1", "{app: a}") +
    Pod("x", "b", "10.0.1.2", "{app: b, old: \"\"}") + Pod("y", "c", "10.0.2.1", "{}");

TEST_CASE("NotIn holds for an absent key, of pods only", "[networkpolicy]") {
  const PolicySet policy = Imported(
      kThree + Netpol("x", "p",
                      "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{namespaceSelector:"
                      " {matchExpressions: [{key: team, operator: NotIn, values: [red]}]}}]}]}"));
  CHECK(Passes(policy, "pod:y/c", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "pod:x/b", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "ip:192.0.2.1", "pod:x/a"));
  const PolicySet pods = Imported(
      kThree +
      Netpol("x", "p",
             "{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [b]}]},"
             " ingress: []}"));
  CHECK_FALSE(Passes(pods, "pod:y/c", "pod:x/a"));
  CHECK(Passes(pods, "pod:y/c", "pod:x/b"));
  CHECK(Passes(pods, "pod:x/a", "pod:y/c"));
}

TEST_CASE("Exists takes an empty value, DoesNotExist with several keys wants none of them",
          "[networkpolicy]") {
  auto from = [](std::string_view expressions) {
    return Imported(kThree + Netpol("x", "p",
                                    Cat("{podSelector: {matchLabels: {app: a}}, ingress: [{from: ["
                                        "{namespaceSelector: {}, podSelector: {matchExpressions: [",
                                        expressions, "]}}]}]}")));
  };
  const PolicySet exists = from("{key: old, operator: Exists}");
  CHECK(Passes(exists, "pod:x/b", "pod:x/a"));
  CHECK_FALSE(Passes(exists, "pod:y/c", "pod:x/a"));
  const PolicySet empty = from("{key: old, operator: In, values: [\"\"]}");
  CHECK(Passes(empty, "pod:x/b", "pod:x/a"));
  CHECK_FALSE(Passes(empty, "pod:y/c", "pod:x/a"));
  const PolicySet none =
      from("{key: old, operator: DoesNotExist}, {key: app, operator: DoesNotExist}");
  CHECK(Passes(none, "pod:y/c", "pod:x/a"));
  CHECK_FALSE(Passes(none, "pod:x/b", "pod:x/a"));
  CHECK_FALSE(Passes(none, "pod:x/a", "pod:x/a"));
  CHECK_FALSE(Passes(none, "ip:192.0.2.1", "pod:x/a"));
}

TEST_CASE("ports: ranges, protocols, all of one protocol", "[networkpolicy]") {
  const PolicySet policy =
      Imported(kThree + Netpol("x", "p",
                               "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 82}, "
                               "{protocol: SCTP, port: 36412}, {protocol: UDP}]}]}"));
  for (const char* passes : {"tcp/80", "tcp/81", "tcp/82", "sctp/36412", "udp/1", "udp/65535"}) {
    INFO(passes);
    CHECK(Passes(policy, "pod:y/c", "pod:x/a", passes));
  }
  for (const char* fails : {"tcp/79", "tcp/83", "tcp/36412", "sctp/80", "icmp"}) {
    INFO(fails);
    CHECK_FALSE(Passes(policy, "pod:y/c", "pod:x/a", fails));
  }
}

TEST_CASE("policyTypes that are not given", "[networkpolicy]") {
  struct Case {
    const char* spec;
    bool in;
    bool out;
  };
  for (const Case& c : std::vector<Case>{
           {"{podSelector: {}}", false, true},
           {"{podSelector: {}, policyTypes: []}", false, true},
           {"{podSelector: {}, egress: []}", false, true},
           {"{podSelector: {}, egress: null, ingress: null}", false, true},
           {"{podSelector: {}, egress: [{}]}", false, true},
           {"{podSelector: {}, egress: [{ports: [{port: 1}]}]}", false, false},
           {"{podSelector: {}, ingress: [{}], egress: [{ports: [{port: 1}]}]}", true, false},
           {"{podSelector: {}, policyTypes: [Egress]}", true, false},
           {"{podSelector: {}, policyTypes: [Egress], ingress: [{ports: [{port: 1}]}]}", true,
            false},
           {"{podSelector: {}, policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}", false,
            true},
           {"{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}", true, false}}) {
    INFO(c.spec);
    const PolicySet policy = Imported(kThree + Netpol("x", "p", c.spec));
    CHECK(Passes(policy, "pod:y/c", "pod:x/a") == c.in);
    CHECK(Passes(policy, "pod:x/a", "pod:y/c") == c.out);
    CHECK(Passes(policy, "ip:192.0.2.1", "pod:x/a") == c.in);
  }
}

TEST_CASE("empty selectors", "[networkpolicy]") {
  auto from = [](std::string_view peers) {
    return Imported(
        kThree +
        Netpol("x", "p",
               Cat("{podSelector: {matchLabels: {app: a}}, ingress: ", "[{from: ", peers, "}]}")));
  };
  const PolicySet own = from("[{podSelector: {}}]");
  CHECK(Passes(own, "pod:x/b", "pod:x/a"));
  CHECK_FALSE(Passes(own, "pod:y/c", "pod:x/a"));
  const PolicySet all = from("[{namespaceSelector: {}}]");
  CHECK(Passes(all, "pod:x/b", "pod:x/a"));
  CHECK(Passes(all, "pod:y/c", "pod:x/a"));
  CHECK_FALSE(Passes(all, "ip:192.0.2.1", "pod:x/a"));
  CHECK_FALSE(Passes(all, "labels:app=b", "pod:x/a"));
  const PolicySet anyone = from("[]");
  CHECK(Passes(anyone, "pod:y/c", "pod:x/a"));
  CHECK(Passes(anyone, "ip:192.0.2.1", "pod:x/a"));
}

TEST_CASE("a named port is what the responder calls so", "[networkpolicy]") {
  const std::string pods = Ns("x") + Pod("x", "client", "10.0.1.1") +
                           Pod("x", "old", "10.0.1.2", "{}", "[{name: web, containerPort: 80}]") +
                           Pod("x", "new", "10.0.1.3", "{}",
                               "[{name: web, containerPort: 8080}, {name: web, containerPort: 443, "
                               "protocol: UDP}]") +
                           Pod("x", "none", "10.0.1.4");
  const PolicySet policy = Imported(
      pods + Netpol("x", "p",
                    "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: "
                    "[{to: [{podSelector: {}}], ports: [{port: web}, {port: 9}]}]}"));
  auto passes = [&](const char* to, const char* service) {
    return Passes(policy, "pod:x/client", to, service);
  };
  CHECK(passes("pod:x/old", "tcp/80"));
  CHECK_FALSE(passes("pod:x/old", "tcp/8080"));
  CHECK(passes("pod:x/new", "tcp/8080"));
  CHECK_FALSE(passes("pod:x/new", "tcp/80"));
  CHECK_FALSE(passes("pod:x/new", "udp/443"));
  CHECK_FALSE(passes("pod:x/none", "tcp/80"));
  CHECK(passes("pod:x/none", "tcp/9"));
  // The same where a pod is known by its address only.
  CHECK(passes("ip:10.0.1.3", "tcp/8080"));
  CHECK_FALSE(passes("ip:10.0.1.3", "tcp/80"));
  CHECK_FALSE(passes("ip:192.0.2.1", "tcp/80"));
  // A name that nobody has opens nothing.
  const PolicySet nobody =
      Imported(pods + Netpol("x", "p", "{podSelector: {}, ingress: [{ports: [{port: nobody}]}]}"));
  CHECK_FALSE(Passes(nobody, "pod:x/client", "pod:x/old"));
}

TEST_CASE("ipBlock matches every peer by its address", "[networkpolicy]") {
  const std::string pods = Ns("x") + Pod("x", "a", "10.0.1.1", "{app: a}") +
                           Pod("x", "in", "10.0.1.2") + Pod("x", "out", "10.0.1.200") +
                           Pod("x", "six", "\"fd00::1\"") +
                           Pod("x", "starting", "null", "{}", "[]", "0a-0b");
  const PolicySet policy =
      Imported(pods + Netpol("x", "p",
                             "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{ipBlock: "
                             "{cidr: 10.0.1.0/24, except: [10.0.1.128/25]}}]}]}"));
  CHECK(Passes(policy, "pod:x/in", "pod:x/a"));
  CHECK(Passes(policy, "ip:10.0.1.77", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "pod:x/out", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "ip:10.0.1.201", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "pod:x/six", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "ip:192.0.2.1", "pod:x/a"));
  // Where it is reached is not known: an allow needs certainty.
  CHECK(Ask(policy, "pod:x/starting", "pod:x/a", "tcp/80").reason == MSEG_REASON_UNKNOWN_IDENTITY);
  CHECK(Passes(policy, "labels:a=b;ip=10.0.1.5", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "labels:a=b", "pod:x/a"));
}

TEST_CASE("a pod's own labels do not move it to another namespace", "[networkpolicy]") {
  const PolicySet policy = Imported(
      Ns("x", "{team: red}") + Ns("y") + Pod("x", "a", "10.0.1.1") +
      Pod("y", "liar", "10.0.2.1", "{ns/team: red, ns/kubernetes.io: x, mseg/conflict: \"true\"}") +
      Netpol("x", "p",
             "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}},"
             " {podSelector: {}}]}]}") +
      Netpol("y", "q", "{podSelector: {matchLabels: {ns/team: red}}, ingress: []}"));
  CHECK(Passes(policy, "pod:x/a", "pod:x/a"));
  CHECK_FALSE(Passes(policy, "pod:y/liar", "pod:x/a"));
  // And are still what its own namespace's policies select.
  CHECK_FALSE(Passes(policy, "pod:x/a", "pod:y/liar"));
}

TEST_CASE("a pod's processes are those below its cgroup", "[networkpolicy]") {
  const std::string objects =
      Ns("x") + Pod("x", "a", "10.0.1.1", "{app: a}", "[]", "1f0a-22") +
      Netpol("x", "p", "{podSelector: {matchLabels: {app: a}}, ingress: []}");
  Diagnostics diagnostics;
  const auto nested =
      ImportNetworkPolicies({{"c", objects}}, {.cgroup_root = "/lab/kubelet/"}, &diagnostics);
  REQUIRE(nested.ok());
  for (const char* cgroup :
       {"/kubepods/burstable/pod1f0a-22/ctr", "/kubepods/pod1f0a-22",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1f0a_22.slice/cri.scope",
        "/lab/kubelet/kubepods/pod1f0a-22",
        "/lab.slice/lab-kubelet.slice/lab-kubelet-kubepods.slice/"
        "lab-kubelet-kubepods-pod1f0a_22.slice"}) {
    INFO(cgroup);
    const PolicySet policy = std::string_view(cgroup).starts_with("/lab")
                                 ? GoodPolicy(nested->documents)
                                 : Imported(objects);
    Inventory inventory;
    inventory.cgroups = {{1, "/"}, {2, cgroup}, {3, "/elsewhere/kubepods/pod1f0a-22"}};
    const GenerationImage image = GoodImage(policy, inventory);
    const Simulator simulator(image);
    auto verdict = [&](uint64_t id) {
      const uint32_t cls = simulator.Identity(id, 0, MSEG_GRADE_UNKNOWN, 0).cls;
      return simulator.Decide(cls, 0, MSEG_INGRESS, 6, 80).verdict;
    };
    CHECK(verdict(2) == MSEG_DENY);
    CHECK(verdict(3) == MSEG_ALLOW);
  }
}

TEST_CASE("objects may come in several files", "[networkpolicy]") {
  Diagnostics diagnostics;
  const auto both =
      ImportNetworkPolicies({{"a", Ns("x")}, {"b", Pod("x", "p", "10.0.0.1")}}, {}, &diagnostics);
  REQUIRE(both.ok());
  CHECK(both->documents.find("name: pod.x.p") != std::string::npos);
  CHECK(ImportNetworkPolicies({{"empty", "# nothing\n"}}, {}, &diagnostics)->documents.empty());
  CHECK(diagnostics.empty());
}

TEST_CASE("named ports and peers: all outside of an import", "[networkpolicy]") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("web",
                   "{labels: {app: web}, match: {cgroup: /web, addresses: [10.0.0.1]}, "
                   "ports: {http: tcp/8080, dns: [tcp/53, udp/5353]}}") +
      WorkloadYaml("api", "{labels: {app: api}, match: {cgroup: /api}, ports: {http: tcp/9090}}") +
      WorkloadYaml("host", "{labels: {env: lab}, match: {host: true, addresses: [10.9.9.9]}}") +
      PolicyYaml("p",
                 "{selects: {}, rules: ["
                 "{name: named, verdict: allow, services: [tcp/http, udp/dns]}, "
                 "{name: block, verdict: deny, from: {cidrs: [10.0.0.0/24], peers: all}}]}"));
  CHECK(Answer(policy, "workload:api", "workload:web", "tcp/8080") == "allow rule p/named");
  CHECK(Answer(policy, "workload:api", "workload:web", "udp/5353") == "allow rule p/named");
  CHECK(Answer(policy, "workload:api", "workload:web", "tcp/53") == "deny default p");
  CHECK(Answer(policy, "workload:api", "workload:web", "tcp/9090") == "deny default p");
  CHECK(Answer(policy, "ip:192.0.2.1", "workload:api", "tcp/9090") == "allow rule p/named");
  // A process has the addresses of its most specific Workload; a deny takes those it may have.
  CHECK(Answer(policy, "workload:web", "workload:api", "tcp/9090") == "deny rule p/block");
  CHECK(Answer(policy, "workload:host", "workload:api", "tcp/9090") == "allow rule p/named");
  CHECK(Answer(policy, "labels:a=b", "workload:api", "tcp/9090") == "deny rule p/block");
}

}  // namespace
}  // namespace mseg::testing
