// SPDX-License-Identifier: Apache-2.0
// The same permission in several languages: the client may reach the server's ports, and `rules`
// other permissions stand before it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/arm.h"
#include "tests/support/fleet.h"

namespace mseg::bench {
namespace {

testing::Fleet FleetOf(uint64_t rules) {
  testing::Fleet fleet;
  fleet.rules = rules;
  fleet.coarse = std::min<uint64_t>(50, rules / 10);
  fleet.identities = std::clamp<uint64_t>(rules / 10, 5, 10'000);
  fleet.local = std::max<uint64_t>(1, fleet.identities / 20);
  return fleet;
}

// The i-th other peer and its port.
std::string Peer(uint64_t i) {
  return absl::StrFormat("10.%d.%d.%d", i / 65536 % 256, i / 256 % 256, i % 256);
}
uint64_t PeerPort(uint64_t i) { return 1000 + i * 7 % 200; }

// The ports of the server, which are far apart.
const std::vector<int>& Ports() {
  static const std::vector<int> ports = {kPortConnect, kPortMany, kPortStream, kPortRequest,
                                         7010,         7020,      7030,        7040};
  return ports;
}

constexpr char kPolicy[] = R"(apiVersion: mseg.io/v1
kind: Workload
metadata: {name: bench-client}
spec: {labels: {bench: client}, match: {cgroup: /client}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: bench-server}
spec: {labels: {bench: server}, match: {cgroup: /server}}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: bench}
spec:
  selects: {matchExpressions: [{key: bench, operator: Exists}]}
  rules:
)";
constexpr char kRule[] = R"(  - name: client-to-server-%d
    verdict: allow
    from: %s
    to: %s
    services: [tcp/7000-7400, udp/7400]
)";

}  // namespace

std::string MsegPolicy(uint64_t rules, const std::vector<Permission>& permissions) {
  std::string out = kPolicy;
  for (size_t i = 0; i < permissions.size(); i++) {
    absl::StrAppend(&out, absl::StrFormat(kRule, i, permissions[i].from, permissions[i].to));
  }
  if (rules <= 1) return out;
  const testing::Fleet fleet = FleetOf(rules - 1);
  for (const auto& documents : {fleet.Workloads(), fleet.Policies()}) {
    for (const std::string& document : documents) absl::StrAppend(&out, "---\n", document);
  }
  return out;
}

std::vector<std::string> FleetCgroups(uint64_t rules) {
  std::vector<std::string> out;
  if (rules <= 1) return out;
  for (const CgroupInfo& cgroup : FleetOf(rules - 1).Host().cgroups) {
    if (cgroup.path != "/") out.push_back(cgroup.path.substr(1));
  }
  return out;
}

std::string NftRules(const std::string& form, uint64_t rules, const std::string& address) {
  std::string out = "table inet bench {\n";
  const bool set = form != "linear";
  if (set) {
    out += " set allowed {\n  type ipv4_addr . inet_service\n  elements = {\n";
    for (uint64_t i = 1; i < rules; i++) {
      absl::StrAppend(&out, "   ", Peer(i), " . ", PeerPort(i), ",\n");
    }
    for (const int port : Ports()) absl::StrAppend(&out, "   ", address, " . ", port, ",\n");
    absl::StrAppend(&out, "   ", address, " . ", static_cast<int>(kPortUdp), "\n  }\n }\n");
  }
  out += " chain input {\n  type filter hook input priority 0; policy drop;\n";
  if (form == "ct-set") out += "  ct state established,related accept\n";
  if (set) {
    out += "  meta l4proto { tcp, udp } ip saddr . th dport @allowed accept\n";
  } else {
    for (uint64_t i = 1; i < rules; i++) {
      absl::StrAppend(&out, "  ip saddr ", Peer(i), " tcp dport ", PeerPort(i), " accept\n");
    }
    absl::StrAppend(&out, "  meta l4proto { tcp, udp } ip saddr ", address,
                    " th dport 7000-7400 accept\n");
  }
  // Without connection tracking answers need a rule of their own.
  if (form == "set") out += "  meta l4proto { tcp, udp } ip daddr . th sport @allowed accept\n";
  if (form == "linear") {
    absl::StrAppend(&out, "  meta l4proto { tcp, udp } ip saddr ", address,
                    " th sport 7000-7400 accept\n");
  }
  return out + " }\n}\n";
}

std::string IptablesRules(uint64_t rules, const std::string& address) {
  std::string out = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n";
  for (uint64_t i = 1; i < rules; i++) {
    absl::StrAppend(&out, "-A INPUT -s ", Peer(i), "/32 -p tcp --dport ", PeerPort(i),
                    " -j ACCEPT\n");
  }
  for (const char* protocol : {"tcp", "udp"}) {
    for (const char* port : {"--dport", "--sport"}) {
      absl::StrAppend(&out, "-A INPUT -s ", address, "/32 -p ", protocol, " ", port,
                      " 7000:7400 -j ACCEPT\n");
    }
  }
  return out + "COMMIT\n";
}

}  // namespace mseg::bench
