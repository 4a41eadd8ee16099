// SPDX-License-Identifier: Apache-2.0
// What is open: the walk over sockets, the list of a network namespace, and closing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "loader/feature_probe.h"
#include "loader/socket_diag.h"
#include "tests/kernel/kernel_fixture.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

namespace mseg::testing {
namespace {

constexpr uint8_t kEstablished = 1, kListening = 10;

uint64_t CookieOption(int fd, int option) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, option, &cookie, &size) == 0 ? cookie : 0;
}

sockaddr_in6 Address(const char* text, uint16_t port) {
  sockaddr_in6 out{};
  out.sin6_family = AF_INET6;
  out.sin6_port = htons(port);
  inet_pton(AF_INET6, text, &out.sin6_addr);
  return out;
}

// Sockets of one kind through their IPv6 form; AF_INET for IPv4 of its own. For children too: no
// Catch.
struct Pair {
  ScopedFd listener;
  ScopedFd client;
  ScopedFd server;
  uint16_t port = 0;
  uint16_t client_port = 0;

  // accept: false leaves the connection in the listener's queue.
  bool Open(int family, int type, const char* address, bool accept) {
    sockaddr_in6 at = Address(address, 0);
    sockaddr_in at4{};
    at4.sin_family = AF_INET;
    inet_pton(AF_INET, address, &at4.sin_addr);
    auto* where =
        family == AF_INET ? reinterpret_cast<sockaddr*>(&at4) : reinterpret_cast<sockaddr*>(&at);
    const socklen_t full = family == AF_INET ? sizeof(at4) : sizeof(at);
    socklen_t size = full;
    listener = ScopedFd(socket(family, type | SOCK_CLOEXEC, 0));
    client = ScopedFd(socket(family, type | SOCK_CLOEXEC, 0));
    if (bind(listener.get(), where, size) != 0) return false;
    if (type == SOCK_STREAM && listen(listener.get(), 8) != 0) return false;
    if (getsockname(listener.get(), where, &size) != 0) return false;
    port = ntohs(family == AF_INET ? at4.sin_port : at.sin6_port);
    if (connect(client.get(), where, full) != 0) return false;
    if (type == SOCK_STREAM && accept) {
      server = ScopedFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    size = full;
    if (getsockname(client.get(), where, &size) != 0) return false;
    client_port = ntohs(family == AF_INET ? at4.sin_port : at.sin6_port);
    return true;
  }
};

std::vector<mseg_socket_record> Of(const std::vector<mseg_socket_record>& all, uint64_t cookie) {
  std::vector<mseg_socket_record> out;
  std::copy_if(all.begin(), all.end(), std::back_inserter(out),
               [cookie](const mseg_socket_record& r) { return r.cookie == cookie; });
  return out;
}

std::vector<mseg_socket_record> WalkFor(const Dataplane& plane, int fd) {
  const auto all = plane.OpenSockets();
  INFO(all.status().ToString());
  REQUIRE(all.ok());
  return Of(*all, CookieOption(fd, SO_COOKIE));
}

std::string Text(const uint8_t (&address)[16]) {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(AF_INET6, address, text, sizeof(text));
}

// This process, in a cgroup of the managed root.
class Managed {
 public:
  Managed() : scratch(SharedInstance().scratch), plane(*SharedInstance().plane) {
    static int cases = 0;
    cgroup = scratch.MakeCgroup("sockets" + std::to_string(cases++));
    scratch.Join(cgroup);
    REQUIRE(plane.AdoptTasks().ok());
  }
  Scratch& scratch;
  Dataplane& plane;
  std::string cgroup;
};

SocketDiag DiagOf(int fd) {
  auto diag = SocketDiag::Open(static_cast<uint32_t>(getpid()), static_cast<uint32_t>(fd),
                               CookieOption(fd, SO_NETNS_COOKIE));
  INFO(diag.status().ToString());
  REQUIRE(diag.ok());
  return *std::move(diag);
}

TEST_CASE("the walk gives every end of a connection") {
  Managed here;
  struct Case {
    int family;
    const char* address;
    const char* said;
  };
  for (const Case& c :
       {Case{AF_INET, "127.0.0.1", "::ffff:127.0.0.1"}, Case{AF_INET6, "::1", "::1"},
        Case{AF_INET6, "::ffff:127.0.0.1", "::ffff:127.0.0.1"}}) {
    INFO(c.address);
    Pair tcp;
    REQUIRE(tcp.Open(c.family, SOCK_STREAM, c.address, true));
    const auto client = WalkFor(here.plane, tcp.client.get());
    REQUIRE(client.size() == 1);
    CHECK(client[0].protocol == IPPROTO_TCP);
    CHECK(client[0].state == kEstablished);
    CHECK(Text(client[0].local) == c.said);
    CHECK(Text(client[0].remote) == c.said);
    CHECK(client[0].local_port == tcp.client_port);
    CHECK(client[0].remote_port == tcp.port);
    CHECK(client[0].ifindex == 0);
    CHECK(client[0].fd == static_cast<uint32_t>(tcp.client.get()));
    CHECK(client[0].netns_cookie == CookieOption(tcp.client.get(), SO_NETNS_COOKIE));
    CHECK(client[0].holder.id.tgid == static_cast<uint32_t>(getpid()));
    CHECK(client[0].holder.id.cgroup_id == CgroupId(here.cgroup));
    CHECK(client[0].holder.id.uid == getuid());
    CHECK(client[0].holder.exe.ino != 0);
    CHECK(client[0].holder_start_ns != 0);
    const auto server = WalkFor(here.plane, tcp.server.get());
    REQUIRE(server.size() == 1);
    CHECK(server[0].local_port == tcp.port);
    CHECK(server[0].remote_port == tcp.client_port);
    const auto listener = WalkFor(here.plane, tcp.listener.get());
    REQUIRE(listener.size() == 1);
    CHECK(listener[0].state == kListening);

    Pair udp;
    REQUIRE(udp.Open(c.family, SOCK_DGRAM, c.address, false));
    const auto connected = WalkFor(here.plane, udp.client.get());
    REQUIRE(connected.size() == 1);
    CHECK(connected[0].protocol == IPPROTO_UDP);
    CHECK(connected[0].state == kEstablished);
    CHECK(Text(connected[0].remote) == c.said);
    CHECK(connected[0].remote_port == udp.port);
    CHECK(WalkFor(here.plane, udp.listener.get()).empty());  // not connected
  }
}

TEST_CASE("a socket is managed by its own cgroup or its holder's") {
  Managed here;
  Pair inside;
  REQUIRE(inside.Open(AF_INET, SOCK_STREAM, "127.0.0.1", true));
  WriteFile(CgroupMount() + "/cgroup.procs", "0");
  Pair outside;
  REQUIRE(outside.Open(AF_INET, SOCK_STREAM, "127.0.0.1", true));
  CHECK(WalkFor(here.plane, inside.client.get()).size() == 1);
  CHECK(WalkFor(here.plane, outside.client.get()).empty());
  here.scratch.Join(here.cgroup);
  CHECK(WalkFor(here.plane, outside.client.get()).size() == 1);
}

TEST_CASE("each descriptor of a shared socket has a record") {
  Managed here;
  Pair tcp;
  REQUIRE(tcp.Open(AF_INET, SOCK_STREAM, "127.0.0.1", true));
  const ScopedFd copy(dup(tcp.client.get()));
  CHECK(WalkFor(here.plane, tcp.client.get()).size() == 2);
  Handshake wait;
  Child child([&] {
    wait.InChild();
    wait.Signal();
    wait.Await();
    return 0;
  });
  REQUIRE(wait.Await());
  const auto records = WalkFor(here.plane, tcp.client.get());
  CHECK(records.size() == 4);
  CHECK(std::count_if(records.begin(), records.end(), [&](const mseg_socket_record& r) {
          return r.holder.id.tgid == static_cast<uint32_t>(child.pid());
        }) == 2);
  wait.Signal();
  child.Wait();
}

TEST_CASE("the owner of a socket is its slot's, as long as nobody took the slot") {
  Managed here;
  const auto slots = here.plane.View<uint32_t, mseg_slot>("mseg_slots");
  const auto places = Dataplane::OwnedSockets();
  REQUIRE(places.ok());
  mseg_slot slot{};
  slot.cookie = 3 * uint64_t{*places} + 17;
  slot.owner.cgroup_id = 4711;
  REQUIRE(slots.Update(17, slot).ok());
  const auto owner = here.plane.SocketOwner(slot.cookie);
  REQUIRE(owner.ok());
  REQUIRE(owner->has_value());
  CHECK((*owner)->cgroup_id == 4711);
  CHECK_FALSE(here.plane.SocketOwner(17)->has_value());
  REQUIRE(slots.Update(17, mseg_slot{}).ok());
}

TEST_CASE("a connection that nobody accepted is on the namespace's list") {
  Managed here;
  for (const int family : {AF_INET, AF_INET6}) {
    Pair tcp;
    REQUIRE(tcp.Open(family, SOCK_STREAM, family == AF_INET ? "127.0.0.1" : "::1", false));
    const SocketDiag diag = DiagOf(tcp.client.get());
    const auto listed = diag.List();
    REQUIRE(listed.ok());
    const auto at = std::find_if(listed->begin(), listed->end(), [&](const auto& r) {
      return r.protocol == IPPROTO_TCP && r.local_port == tcp.port &&
             r.remote_port == tcp.client_port;
    });
    REQUIRE(at != listed->end());
    CHECK(at->holder.id.cgroup_id == CgroupId(here.cgroup));
    CHECK(at->netns_cookie == CookieOption(tcp.client.get(), SO_NETNS_COOKIE));
    CHECK(Text(at->local) == (family == AF_INET ? "::ffff:127.0.0.1" : "::1"));
    const auto walked = here.plane.OpenSockets();
    REQUIRE(walked.ok());
    CHECK(Of(*walked, at->cookie).empty());
    CHECK(Of(*listed, CookieOption(tcp.client.get(), SO_COOKIE)).size() == 1);
    const auto closed = diag.Destroy(*at);
    REQUIRE(closed.ok());
    CHECK(*closed);
    char byte = 0;
    CHECK(recv(tcp.client.get(), &byte, 1, 0) == -1);
    CHECK(errno == ECONNRESET);
    CHECK(std::count(diag.addresses().begin(), diag.addresses().end(),
                     SocketDiag::Address{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}) ==
          1);
  }
}

TEST_CASE("closing takes the one socket, once") {
  Managed here;
  for (const char* address : {"127.0.0.1", "::1", "::ffff:127.0.0.1"}) {
    INFO(address);
    const int family = std::strchr(address, ':') == nullptr ? AF_INET : AF_INET6;
    Pair loser, winner;
    REQUIRE(loser.Open(family, SOCK_STREAM, address, true));
    REQUIRE(winner.Open(family, SOCK_STREAM, address, true));
    const SocketDiag diag = DiagOf(loser.client.get());
    const mseg_socket_record record = WalkFor(here.plane, loser.client.get()).at(0);
    mseg_socket_record stale = record;
    stale.cookie++;
    CHECK_FALSE(*diag.Destroy(stale));
    CHECK(*diag.Destroy(record));
    CHECK_FALSE(*diag.Destroy(record));
    char byte = 0;
    CHECK(recv(loser.client.get(), &byte, 1, 0) == -1);
    CHECK(errno == ECONNABORTED);
    CHECK(recv(loser.server.get(), &byte, 1, 0) == -1);
    CHECK(errno == ECONNRESET);
    CHECK(send(winner.client.get(), "x", 1, MSG_NOSIGNAL) == 1);
    CHECK(recv(winner.server.get(), &byte, 1, 0) == 1);

    Pair udp;
    REQUIRE(udp.Open(family, SOCK_DGRAM, address, false));
    CHECK(*diag.Destroy(WalkFor(here.plane, udp.client.get()).at(0)));
    CHECK(recv(udp.client.get(), &byte, 1, MSG_DONTWAIT) == -1);
    CHECK(errno == ECONNABORTED);
    CHECK(WalkFor(here.plane, udp.client.get()).empty());
  }
}

// Loopback of a fresh network namespace. For a child: no Catch.
bool OwnNetns() {
  if (unshare(CLONE_NEWNET) != 0) return false;
  const ScopedFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name));
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

TEST_CASE("sockets of another network namespace, whoever holds them, and this one stays") {
  Managed here;
  const ScopedFd own(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const uint64_t cookie = CookieOption(own.get(), SO_NETNS_COOKIE);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const ScopedFd told(ends[0]), tell(ends[1]);
  Handshake wait;
  Child child([&] {
    wait.InChild();
    Pair tcp;
    if (!OwnNetns() || !tcp.Open(AF_INET, SOCK_STREAM, "127.0.0.1", true)) return 1;
    const int fd = tcp.client.get();
    if (write(tell.get(), &fd, sizeof(fd)) != sizeof(fd)) return 1;
    wait.Signal();
    if (!wait.Await()) return 2;
    char byte = 0;
    return recv(tcp.client.get(), &byte, 1, 0) == -1 && errno == ECONNABORTED ? 0 : 3;
  });
  REQUIRE(wait.Await());
  int client_fd = -1;
  REQUIRE(read(told.get(), &client_fd, sizeof(client_fd)) == sizeof(client_fd));
  const auto all = here.plane.OpenSockets();
  REQUIRE(all.ok());
  const auto client = std::find_if(all->begin(), all->end(), [&](const mseg_socket_record& r) {
    return r.holder.id.tgid == static_cast<uint32_t>(child.pid()) && r.state == kEstablished &&
           r.fd == static_cast<uint32_t>(client_fd);
  });
  REQUIRE(client != all->end());
  CHECK(client->netns_cookie != cookie);
  CHECK(absl::IsNotFound(
      SocketDiag::Open(static_cast<uint32_t>(child.pid()), client->fd, cookie).status()));
  auto diag =
      SocketDiag::Open(static_cast<uint32_t>(child.pid()), client->fd, client->netns_cookie);
  REQUIRE(diag.ok());
  CHECK(diag->List()->size() == 2);
  CHECK(*diag->Destroy(*client));
  wait.Signal();
  CHECK(child.Wait() == 0);
  const ScopedFd still(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  CHECK(CookieOption(still.get(), SO_NETNS_COOKIE) == cookie);
}

TEST_CASE("the probe says what this kernel can close") {
  CHECK(CanDestroySockets());
  const Features features = ProbeFeatures();
  CHECK(std::any_of(features.list.begin(), features.list.end(),
                    [](const Feature& f) { return f.name == "sock_destroy" && f.present; }));
}

}  // namespace
}  // namespace mseg::testing
