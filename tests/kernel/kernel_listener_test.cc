// SPDX-License-Identifier: Apache-2.0
// Who answers at an address: what the listener table says about sockets of the managed cgroups.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/kernel/kernel_fixture.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace mseg::testing {
namespace {

struct Endpoint {
  int family = AF_INET;
  int type = SOCK_STREAM;
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  bool reuse = false;
};

// A bound socket, listening if it is of TCP. `port` is filled in. For children too: no Catch.
ScopedFd Bind(Endpoint* where) {
  ScopedFd fd(socket(where->family, where->type | SOCK_CLOEXEC, 0));
  const int one = 1;
  if (where->reuse) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (where->family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&storage);
    size = sizeof(*in);
    in->sin_family = AF_INET;
    in->sin_port = htons(where->port);
    inet_pton(AF_INET, where->address.c_str(), &in->sin_addr);
  } else {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&storage);
    size = sizeof(*in6);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(where->port);
    inet_pton(AF_INET6, where->address.c_str(), &in6->sin6_addr);
  }
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return ScopedFd();
  if (where->type == SOCK_STREAM && listen(fd.get(), 8) != 0) return ScopedFd();
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  where->port =
      ntohs(where->family == AF_INET ? reinterpret_cast<sockaddr_in*>(&storage)->sin_port
                                     : reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port);
  return fd;
}

uint64_t NetnsCookie() {
  const ScopedFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  REQUIRE(getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0);
  return cookie;
}

mseg_listener_key KeyOf(const Endpoint& where) {
  mseg_listener_key key{};
  key.netns_cookie = NetnsCookie();
  key.port = where.port;
  key.protocol = where.type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
  if (where.family == AF_INET) {
    key.addr[10] = key.addr[11] = 0xff;
    inet_pton(AF_INET, where.address.c_str(), &key.addr[12]);
  } else {
    inet_pton(AF_INET6, where.address.c_str(), key.addr);
  }
  return key;
}

class Listeners {
 public:
  Listeners() : Listeners(SharedInstance()) {}
  explicit Listeners(Instance& instance) : scratch(instance.scratch), plane(instance.plane.get()) {
    static int cases = 0;
    cgroup = scratch.MakeCgroup("web" + std::to_string(cases++));
    scratch.Join(cgroup);
  }

  void Observe() {
    REQUIRE(plane->Attach(Stage::kObserve).ok());
    REQUIRE(plane->AdoptTasks().ok());
  }
  std::optional<mseg_listener> Find(const Endpoint& where) const {
    const auto found = plane->listeners().Lookup(KeyOf(where));
    REQUIRE(found.ok());
    return *found;
  }
  mseg_listener Get(const Endpoint& where) const {
    const auto found = Find(where);
    INFO(where.address << " port " << where.port);
    REQUIRE(found.has_value());
    return *found;
  }
  size_t Entries() const {
    const auto all = plane->listeners().Dump();
    REQUIRE(all.ok());
    return all->size();
  }
  size_t Sockets() const {
    const auto all = plane->View<uint64_t, mseg_listener_key>("mseg_listening").Dump();
    REQUIRE(all.ok());
    return all->size();
  }

  Scratch& scratch;
  Dataplane* plane;
  std::string cgroup;
};

// Where no hook has ever run.
struct OwnInstance {
  Instance instance;
};
class FreshListeners : private OwnInstance, public Listeners {
 public:
  FreshListeners() : Listeners(instance) {}
};

}  // namespace

TEST_CASE_METHOD(Listeners, "listening sockets have an entry with their owner until they close") {
  Observe();
  const Endpoint places[] = {
      {.family = AF_INET, .type = SOCK_STREAM, .address = "127.0.0.1"},
      {.family = AF_INET, .type = SOCK_STREAM, .address = "0.0.0.0"},
      {.family = AF_INET6, .type = SOCK_STREAM, .address = "::1"},
      {.family = AF_INET6, .type = SOCK_STREAM, .address = "::"},
      {.family = AF_INET6, .type = SOCK_STREAM, .address = "::ffff:127.0.0.1"},
      {.family = AF_INET, .type = SOCK_DGRAM, .address = "127.0.0.1"},
      {.family = AF_INET, .type = SOCK_DGRAM, .address = "0.0.0.0"},
      {.family = AF_INET6, .type = SOCK_DGRAM, .address = "::1"},
      {.family = AF_INET6, .type = SOCK_DGRAM, .address = "::"},
  };
  for (Endpoint where : places) {
    INFO((where.type == SOCK_STREAM ? "tcp " : "udp ") << where.address);
    ScopedFd fd = Bind(&where);
    if (!fd.ok() && where.family == AF_INET6) {
      WARN("no IPv6 here: " << where.address << " not tested");
      continue;
    }
    REQUIRE(fd.ok());
    const mseg_listener listener = Get(where);
    CHECK(listener.sockets == 1);
    CHECK(listener.owner.id.tgid == static_cast<uint32_t>(getpid()));
    CHECK(listener.owner.id.cgroup_id == CgroupId(cgroup));
    CHECK(listener.owner.id.uid == getuid());
    CHECK((listener.owner.id.flags & MSEG_ID_AMBIGUOUS) == 0);
    CHECK(Entries() == 1);
    CHECK(Sockets() == 1);
    fd.Reset();
    CHECK(Eventually([&] { return !Find(where); }));
    CHECK(Entries() == 0);
    CHECK(Sockets() == 0);
  }
}

TEST_CASE_METHOD(Listeners,
                 "a bound TCP socket is no listener, nor is one outside the managed root") {
  Observe();
  Endpoint where;
  const ScopedFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&in), sizeof(in)) == 0);
  CHECK(Entries() == 0);
  REQUIRE(listen(fd.get(), 1) == 0);
  CHECK(Entries() == 1);

  const Scratch elsewhere;
  Handshake talk;
  Child child([&] {
    talk.InChild();
    const ScopedFd procs(open((elsewhere.cgroup() + "/cgroup.procs").c_str(), O_WRONLY));
    if (write(procs.get(), "0", 1) != 1) return 2;
    Endpoint outside;
    const ScopedFd foreign = Bind(&outside);
    talk.Signal();
    return talk.Await() && foreign.ok() ? 0 : 1;
  });
  REQUIRE(talk.Await());
  CHECK(Entries() == 1);
  talk.Signal();
  CHECK(child.Wait() == 0);
}

TEST_CASE_METHOD(Listeners, "sockets of one owner behind one address are counted") {
  Observe();
  Endpoint where{.reuse = true};
  ScopedFd first = Bind(&where);
  REQUIRE(first.ok());
  ScopedFd second = Bind(&where);
  REQUIRE(second.ok());
  CHECK(Get(where).sockets == 2);
  CHECK((Get(where).owner.id.flags & MSEG_ID_AMBIGUOUS) == 0);
  first.Reset();
  REQUIRE(Eventually([&] { return Get(where).sockets == 1; }));
  second.Reset();
  CHECK(Eventually([&] { return !Find(where); }));
}

TEST_CASE_METHOD(Listeners, "owners that differ make an address ambiguous") {
  Observe();
  const std::string other = scratch.MakeCgroup(cgroup.substr(cgroup.rfind('/') + 1) + "-other");
  Endpoint where{.type = GENERATE(SOCK_STREAM, SOCK_DGRAM), .reuse = true};
  const ScopedFd own = Bind(&where);
  REQUIRE(own.ok());
  Handshake talk;
  Child child([&] {
    talk.InChild();
    const ScopedFd procs(open((other + "/cgroup.procs").c_str(), O_WRONLY));
    if (write(procs.get(), "0", 1) != 1) return 2;
    Endpoint same = where;
    const ScopedFd theirs = Bind(&same);
    talk.Signal();
    return talk.Await() && theirs.ok() ? 0 : 1;
  });
  REQUIRE(talk.Await());
  CHECK(Get(where).sockets == 2);
  CHECK((Get(where).owner.id.flags & MSEG_ID_AMBIGUOUS) != 0);
  talk.Signal();
  CHECK(child.Wait() == 0);
  CHECK(Eventually([&] { return Get(where).sockets == 1; }));
}

TEST_CASE_METHOD(Listeners, "another user behind one address makes it ambiguous") {
  Observe();
  Endpoint where{.reuse = true};
  Handshake talk;
  // SO_REUSEPORT asks for one effective user; the real one is what is recorded.
  Child child([&] {
    talk.InChild();
    if (setresuid(1234, 0, 0) != 0) return 2;
    Endpoint same = where;
    const ScopedFd theirs = Bind(&same);
    talk.Signal();
    return talk.Await() && theirs.ok() ? 0 : 1;
  });
  REQUIRE(talk.Await());
  // The child chose the port.
  const auto all = plane->listeners().Dump();
  REQUIRE(all.ok());
  REQUIRE(all->size() == 1);
  where.port = all->front().first.port;
  CHECK(all->front().second.owner.id.uid == 1234);
  const ScopedFd own = Bind(&where);
  REQUIRE(own.ok());
  CHECK(Get(where).sockets == 2);
  CHECK((Get(where).owner.id.flags & MSEG_ID_AMBIGUOUS) != 0);
  talk.Signal();
  CHECK(child.Wait() == 0);
}

TEST_CASE_METHOD(FreshListeners, "listeners older than the hooks are found by the walk") {
  Endpoint tcp{.address = "127.0.0.1"}, any{.family = AF_INET, .address = "0.0.0.0"},
      udp{.type = SOCK_DGRAM, .address = "127.0.0.1"};
  ScopedFd a = Bind(&tcp), b = Bind(&any), c = Bind(&udp);
  REQUIRE((a.ok() && b.ok() && c.ok()));
  Observe();
  CHECK(Entries() == 0);
  REQUIRE(plane->AdoptListeners().ok());
  for (const Endpoint& where : {tcp, any, udp}) {
    const mseg_listener listener = Get(where);
    CHECK(listener.sockets == 1);
    CHECK(listener.owner.id.tgid == static_cast<uint32_t>(getpid()));
    CHECK((listener.owner.id.flags & MSEG_ID_WALKED) != 0);
  }
  // A second walk finds nothing new.
  REQUIRE(plane->AdoptListeners().ok());
  CHECK(Get(tcp).sockets == 1);
  CHECK(Entries() == 3);
  // And they go like others.
  a.Reset();
  CHECK(Eventually([&] { return !Find(tcp); }));
}

TEST_CASE_METHOD(Listeners, "the same address in two network namespaces is two listeners") {
  Observe();
  Endpoint where;
  const ScopedFd own = Bind(&where);
  REQUIRE(own.ok());
  Handshake talk;
  Child child([&] {
    talk.InChild();
    if (unshare(CLONE_NEWNET) != 0) return 2;
    const ScopedFd control(socket(AF_INET, SOCK_DGRAM, 0));
    ifreq lo{};
    std::strcpy(lo.ifr_name, "lo");
    lo.ifr_flags = IFF_UP;
    if (ioctl(control.get(), SIOCSIFFLAGS, &lo) != 0) return 3;
    Endpoint same = where;
    const ScopedFd theirs = Bind(&same);
    talk.Signal();
    return talk.Await() && theirs.ok() ? 0 : 1;
  });
  REQUIRE(talk.Await());
  CHECK(Get(where).sockets == 1);
  const auto all = plane->listeners().Dump();
  REQUIRE(all.ok());
  REQUIRE(all->size() == 2);
  CHECK(all->at(0).first.netns_cookie != all->at(1).first.netns_cookie);
  CHECK(all->at(0).first.port == all->at(1).first.port);
  talk.Signal();
  CHECK(child.Wait() == 0);
}

TEST_CASE_METHOD(Listeners, "a child that keeps the socket keeps the entry") {
  Observe();
  Endpoint where;
  ScopedFd fd = Bind(&where);
  REQUIRE(fd.ok());
  Handshake talk;
  Child child([&] {
    talk.InChild();
    talk.Signal();
    return talk.Await() ? 0 : 1;
  });
  REQUIRE(talk.Await());
  fd.Reset();
  CHECK(Find(where).has_value());
  talk.Signal();
  CHECK(child.Wait() == 0);
  CHECK(Eventually([&] { return !Find(where); }));
}

}  // namespace mseg::testing
