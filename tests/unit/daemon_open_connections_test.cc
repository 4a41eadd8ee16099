// SPDX-License-Identifier: Apache-2.0
// Which open connections a generation denies: who opened them, who answers, and what is one
// connection.
#include <netinet/in.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "daemon/open_connections.h"
#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

constexpr uint64_t kWeb = 10, kOther = 20, kDb = 30;  // cgroups
constexpr uint64_t kHere = 1, kThere = 2;             // network namespaces
constexpr uint8_t kTcpEstablished = 1, kTcpSynReceived = 12;

IpAddress Ip(std::string_view text) { return *ParseIpAddress(text); }

mseg_task Process(uint64_t cgroup, uint32_t tgid) {
  mseg_task task{};
  task.id.cgroup_id = cgroup;
  task.id.tgid = tgid;
  return task;
}

// Everybody listens on port 7000 of /db; only /web may.
std::string DbPolicy(std::string_view state, std::string_view rules) {
  return WorkloadYaml("web", "{labels: {role: web}, match: {cgroup: /web}}") +
         WorkloadYaml("other", "{labels: {role: other}, match: {cgroup: /other}}") +
         WorkloadYaml("db", "{labels: {role: db}, match: {cgroup: /db}}") +
         GroupYaml("office", "{labels: {loc: office}, cidrs: [192.0.2.0/25, '2001:db8::/64']}") +
         PolicyYaml("p", Cat("{state: ", state, ", ", rules, "}"));
}
constexpr std::string_view kOnlyWeb =
    "selects: {labels: {role: db}}, directions: [ingress], rules: [{name: web, verdict: allow, "
    "from: {labels: {role: web}}, to: {labels: {role: db}}}, {name: office, verdict: allow, from: "
    "{labels: {loc: office}}, to: {labels: {role: db}}}]";

class Host {
 public:
  explicit Host(const std::string& policy)
      : image_(GoodImage(GoodPolicy(policy), Cgroups())), simulator_(image_) {}

  OpenSocket& Add(uint64_t netns, std::string_view local, uint16_t local_port,
                  std::string_view remote, uint16_t remote_port, uint64_t cgroup,
                  uint8_t protocol = IPPROTO_TCP) {
    OpenSocket socket;
    mseg_socket_record& record = socket.record;
    record.cookie = open.sockets.size() + 1;
    record.netns_cookie = netns;
    record.holder = Process(cgroup, static_cast<uint32_t>(100 + record.cookie));
    const IpAddress here = Ip(local), there = Ip(remote);
    std::copy(here.begin(), here.end(), record.local);
    std::copy(there.begin(), there.end(), record.remote);
    record.local_port = local_port;
    record.remote_port = remote_port;
    record.protocol = protocol;
    record.state = kTcpEstablished;
    open.sockets.push_back(socket);
    return open.sockets.back();
  }
  // One that its process connected.
  void Client(uint64_t netns, std::string_view local, uint16_t local_port, std::string_view remote,
              uint16_t remote_port, uint64_t cgroup, uint8_t protocol = IPPROTO_TCP) {
    OpenSocket& socket = Add(netns, local, local_port, remote, remote_port, cgroup, protocol);
    socket.opener = socket.record.holder.id;
  }
  void Listen(uint64_t netns, std::string_view address, uint16_t port, uint64_t cgroup,
              uint8_t protocol = IPPROTO_TCP) {
    mseg_listener_key key{};
    key.netns_cookie = netns;
    const IpAddress at = Ip(address);
    std::copy(at.begin(), at.end(), key.addr);
    key.port = port;
    key.protocol = protocol;
    mseg_listener listener{};
    listener.owner = Process(cgroup, 7);
    listener.sockets = 1;
    open.listeners[key] = listener;
  }
  std::vector<DeniedConnection> Denied() const {
    return FindDenied(open, simulator_, [this](const mseg_task& task) {
      mseg_identity id = task.id;
      id.cls = simulator_.Identity(id.cgroup_id, 0, MSEG_GRADE_UNKNOWN, 0).cls;
      return id;
    });
  }
  // The local ports of what is to be closed, a connection in brackets.
  std::string Closed() const {
    std::string out;
    for (const DeniedConnection& connection : Denied()) {
      std::vector<uint16_t> ports;
      for (const size_t i : connection.sockets) ports.push_back(open.sockets[i].record.local_port);
      std::sort(ports.begin(), ports.end());
      std::string inner;
      for (const uint16_t port : ports) Append(&inner, inner.empty() ? "" : " ", port);
      Append(&out, "(", inner, ")");
    }
    return out;
  }

  OpenSockets open;

 private:
  static Inventory Cgroups() {
    Inventory inventory;
    inventory.cgroups = {{1, "/"}, {kWeb, "/web"}, {kOther, "/other"}, {kDb, "/db"}};
    return inventory;
  }

  GenerationImage image_;
  Simulator simulator_;
};

TEST_CASE("both ends on this host: one connection, judged by both identities") {
  for (const char* address : {"127.0.0.1", "::1", "192.0.2.200"}) {
    INFO(address);
    Host host(DbPolicy("enforce", kOnlyWeb));
    host.Listen(kHere, address, 7000, kDb);
    host.Client(kHere, address, 40001, address, 7000, kWeb);
    host.Add(kHere, address, 7000, address, 40001, kDb);
    host.Client(kHere, address, 40002, address, 7000, kOther);
    host.Add(kHere, address, 7000, address, 40002, kDb);
    CHECK(host.Closed() == "(7000 40002)");
    const auto denied = host.Denied();
    REQUIRE(denied.size() == 1);
    const mseg_flow_event& event = denied[0].event;
    CHECK(event.hook == MSEG_HOOK_REVOKE);
    CHECK(event.direction == MSEG_INGRESS);
    CHECK(event.verdict == MSEG_DENY);
    CHECK(event.reason == MSEG_REASON_DEFAULT);
    CHECK(event.rule != 0);
    CHECK(event.local.cgroup_id == kDb);
    CHECK(event.peer.cgroup_id == kOther);
    CHECK(event.peer_known == 1);
    CHECK(event.port == 7000);
    CHECK(event.peer_port == 40002);
  }
}

TEST_CASE("a connection of this host whose other end is not there is left alone") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.Listen(kHere, "127.0.0.1", 7000, kDb);
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40001, kDb);
  CHECK(host.Closed().empty());
  // It is there, and of no process that mseg manages: its address is all that is known of it.
  OpenSocket foreign;
  foreign.record = host.open.sockets[0].record;
  std::swap(foreign.record.local, foreign.record.remote);
  std::swap(foreign.record.local_port, foreign.record.remote_port);
  host.open.foreign.push_back(foreign.record);
  CHECK(host.Closed() == "(7000)");
}

TEST_CASE("the initiator's end judges too") {
  const std::string rules =
      "rules: [{name: cut, verdict: deny, from: {labels: {role: other}}, to: {labels: {role: db}}, "
      "at: from}]";
  Host host(DbPolicy("enforce", rules));
  host.Listen(kHere, "0.0.0.0", 7000, kDb);
  host.Client(kHere, "127.0.0.1", 40001, "127.0.0.1", 7000, kOther);
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40001, kDb);
  host.Client(kHere, "127.0.0.1", 40002, "127.0.0.1", 7000, kWeb);
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40002, kDb);
  CHECK(host.Closed() == "(7000 40001)");
  CHECK(host.Denied()[0].event.direction == MSEG_EGRESS);
  CHECK(host.Denied()[0].event.reason == MSEG_REASON_RULE);
}

TEST_CASE("a policy in test or build closes nothing") {
  for (const char* state : {"test", "build"}) {
    Host host(DbPolicy(state, kOnlyWeb));
    host.Listen(kHere, "127.0.0.1", 7000, kDb);
    host.Client(kHere, "127.0.0.1", 40002, "127.0.0.1", 7000, kOther);
    host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40002, kDb);
    CHECK(host.Closed().empty());
  }
}

TEST_CASE("a peer of another host is judged by its address") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.Listen(kHere, "::", 7000, kDb);
  host.Add(kHere, "192.0.2.200", 7000, "192.0.2.1", 50001, kDb);    // office
  host.Add(kHere, "192.0.2.200", 7000, "192.0.2.129", 50002, kDb);  // not
  host.Add(kHere, "2001:db8:1::1", 7000, "2001:db8::9", 50003, kDb);
  host.Add(kHere, "2001:db8:1::1", 7000, "2001:db8:9::9", 50004, kDb);
  const auto denied = host.Denied();
  REQUIRE(denied.size() == 2);
  CHECK(denied[0].event.peer_port == 50002);
  CHECK(denied[0].event.peer_known == 0);
  CHECK(denied[0].event.peer_addr[15] == 129);
  CHECK(denied[1].event.peer_port == 50004);
}

TEST_CASE("egress by address") {
  const std::string rules =
      "selects: {labels: {role: web}}, directions: [egress], rules: [{verdict: allow, from: "
      "{labels: {role: web}}, to: {labels: {loc: office}}, services: [tcp/443]}]";
  Host host(DbPolicy("enforce", rules));
  host.Client(kHere, "10.0.0.1", 40001, "192.0.2.1", 443, kWeb);
  host.Client(kHere, "10.0.0.1", 40002, "192.0.2.1", 80, kWeb);
  host.Client(kHere, "10.0.0.1", 40003, "192.0.2.129", 443, kWeb);
  host.Client(kHere, "10.0.0.1", 40004, "192.0.2.129", 443, kDb);
  CHECK(host.Closed() == "(40002)(40003)");
}

TEST_CASE("two network namespaces of this host: addresses judge, and it is one connection") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.Listen(kThere, "10.0.0.2", 7000, kDb);
  // Labels do not help: across namespaces nobody sees the other's process.
  host.Client(kHere, "10.0.0.1", 40001, "10.0.0.2", 7000, kWeb);
  host.Add(kThere, "10.0.0.2", 7000, "10.0.0.1", 40001, kDb);
  host.Client(kHere, "192.0.2.1", 40002, "10.0.0.2", 7000, kOther);
  host.Add(kThere, "10.0.0.2", 7000, "192.0.2.1", 40002, kDb);
  const auto denied = host.Denied();
  REQUIRE(denied.size() == 1);
  CHECK(denied[0].sockets == std::vector<size_t>{1});

  // Where both ends deny, it is still one.
  Host both(DbPolicy("enforce", "selects: {}"));
  both.Listen(kThere, "10.0.0.2", 7000, kDb);
  both.Client(kHere, "10.0.0.1", 40001, "10.0.0.2", 7000, kWeb);
  both.Add(kThere, "10.0.0.2", 7000, "10.0.0.1", 40001, kDb);
  CHECK(both.Closed() == "(7000 40001)");
  // The same loopback ports in two namespaces are two connections.
  Host loops(DbPolicy("enforce", "selects: {}"));
  for (const uint64_t netns : {kHere, kThere}) {
    loops.Listen(netns, "127.0.0.1", 7000, kDb);
    loops.Client(netns, "127.0.0.1", 40001, "127.0.0.1", 7000, kWeb);
    loops.Add(netns, "127.0.0.1", 7000, "127.0.0.1", 40001, kDb);
  }
  CHECK(loops.Closed() == "(7000 40001)(7000 40001)");
}

TEST_CASE("the identity that a socket was opened with counts, not its holder's") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.Listen(kHere, "127.0.0.1", 7000, kDb);
  host.Client(kHere, "127.0.0.1", 40001, "127.0.0.1", 7000, kWeb);
  host.open.sockets.back().record.holder = Process(kOther, 9);  // handed on
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40001, kOther);
  host.Client(kHere, "127.0.0.1", 40002, "127.0.0.1", 7000, kOther);
  host.open.sockets.back().record.holder = Process(kWeb, 9);
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40002, kDb);
  CHECK(host.Closed() == "(7000 40002)");
}

TEST_CASE("without a record the holder counts, and the lower port is the service") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.Add(kHere, "127.0.0.1", 40001, "127.0.0.1", 7000, kWeb);
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40001, kDb);
  host.Add(kHere, "127.0.0.1", 40002, "127.0.0.1", 7000, kOther);
  host.Add(kHere, "127.0.0.1", 7000, "127.0.0.1", 40002, kDb);
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.129", 50000, kDb);
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.1", 50000, kDb);
  host.Add(kHere, "10.0.0.1", 40003, "192.0.2.129", 80, kDb);  // it went out itself
  CHECK(host.Closed() == "(7000 40002)(7000)");
}

TEST_CASE("half-open connections are their listener's") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.Listen(kHere, "0.0.0.0", 7000, kDb);
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.129", 50000, 0).record.state = kTcpSynReceived;
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.1", 50001, 0).record.state = kTcpSynReceived;
  host.Add(kHere, "10.0.0.1", 7001, "192.0.2.129", 50002, 0).record.state = kTcpSynReceived;
  const auto denied = host.Denied();
  REQUIRE(denied.size() == 1);
  CHECK(denied[0].sockets == std::vector<size_t>{0});
  CHECK(denied[0].event.local.cgroup_id == kDb);
}

TEST_CASE("connected UDP: the flow says who began") {
  Host host(DbPolicy("enforce", kOnlyWeb));
  host.open.addresses[kHere] = {Ip("10.0.0.1")};
  host.Listen(kHere, "10.0.0.1", 7000, kDb, IPPROTO_UDP);
  // The server's socket is not connected, and has no record here.
  host.Client(kHere, "10.0.0.1", 40001, "10.0.0.1", 7000, kWeb, IPPROTO_UDP);
  host.Client(kHere, "10.0.0.1", 40002, "10.0.0.1", 7000, kOther, IPPROTO_UDP);
  // A server that connected its socket to who asked.
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.129", 50000, kDb, IPPROTO_UDP).flow = MSEG_INGRESS;
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.1", 50001, kDb, IPPROTO_UDP).flow = MSEG_INGRESS;
  host.Add(kHere, "10.0.0.1", 7000, "192.0.2.129", 50002, kDb, IPPROTO_UDP).bound = true;
  host.Add(kHere, "10.0.0.1", 40003, "192.0.2.129", 53, kDb, IPPROTO_UDP);
  host.Add(kHere, "10.0.0.1", 40004, "192.0.2.129", 53, kDb, IPPROTO_UDP).bound = true;
  CHECK(host.Closed() == "(40002)(7000)(7000)");
  // An address that is not this namespace's is only an address, whoever listens at the port.
  Host away(DbPolicy("enforce", kOnlyWeb));
  away.Listen(kHere, "0.0.0.0", 7000, kDb, IPPROTO_UDP);
  away.Client(kHere, "10.0.0.1", 40002, "10.9.9.9", 7000, kOther, IPPROTO_UDP);
  CHECK(away.Closed().empty());
}

TEST_CASE("a shared socket is one, its oldest holder's") {
  std::vector<mseg_socket_record> records(4);
  records[0].cookie = 5;
  records[0].holder_start_ns = 30;
  records[1].cookie = 5;
  records[1].holder_start_ns = 10;
  records[1].holder.id.tgid = 77;
  records[2].cookie = 6;
  records[3].cookie = 5;
  records[3].holder_start_ns = 10;
  records[3].holder.id.tgid = 78;
  const auto once = OnePerSocket(records);
  REQUIRE(once.size() == 2);
  CHECK(once[0].cookie == 5);
  CHECK(once[0].holder.id.tgid == 77);
  CHECK(once[1].cookie == 6);
  CHECK(OnePerSocket({}).empty());
}

}  // namespace
}  // namespace mseg::testing
