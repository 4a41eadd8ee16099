// SPDX-License-Identifier: Apache-2.0
// What hooks remember of addresses is what the tables say of them now: after every change of who
// listens there, and in each generation.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/types.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <utility>
#include <vector>

#include "loader/policy_tables.h"
#include "mseg/place_cache.h"
#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/places.skel.h"
#include "tests/kernel/places_args.h"
#include "tests/kernel/random_image.h"
#include "tests/kernel/table_set.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace mseg::testing {
namespace {

uint64_t NumberOf(int fd, int option) {
  uint64_t number = 0;
  socklen_t size = sizeof(number);
  return getsockopt(fd, SOL_SOCKET, option, &number, &size) == 0 ? number : 0;
}

// A socket that listens on 127.0.0.1, at `*port` or one that is filled in. For children too: no
// Catch.
ScopedFd Listen(uint16_t* port) {
  ScopedFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  in.sin_port = htons(*port);
  socklen_t size = sizeof(in);
  auto* address = reinterpret_cast<sockaddr*>(&in);
  if (bind(fd.get(), address, size) != 0 || listen(fd.get(), 8) != 0 ||
      getsockname(fd.get(), address, &size) != 0) {
    return ScopedFd();
  }
  *port = ntohs(in.sin_port);
  return fd;
}

// Another process that listens at the port.
class Elsewhere {
 public:
  explicit Elsewhere(uint16_t port)
      : child_([&] {
          talk_.InChild();
          const ScopedFd fd = Listen(&port);
          talk_.Signal();
          return talk_.Await() && fd.ok() ? 0 : 1;
        }) {
    REQUIRE(talk_.Await());
  }
  pid_t pid() const { return child_.pid(); }
  void End() {
    talk_.Signal();
    CHECK(child_.Wait() == 0);
  }

 private:
  Handshake talk_;
  Child child_;
};

class Places {
 public:
  Places() : instance_(SharedInstance()), object_(mseg_places_test__open()) {
    REQUIRE(object_ != nullptr);
    UseMapsOf(instance_, object_->obj);
    REQUIRE(mseg_places_test__load(object_) == 0);
    static int cases = 0;
    instance_.scratch.Join(instance_.scratch.MakeCgroup("web" + std::to_string(cases++)));
    REQUIRE(instance_.plane->Attach(Stage::kObserve).ok());
    REQUIRE(instance_.plane->AdoptTasks().ok());
    Flip(ImageRandom(1).Image());
  }
  ~Places() { mseg_places_test__destroy(object_); }
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  void Flip(const GenerationImage& image) {
    const PolicyTables tables(*instance_.plane);
    REQUIRE(tables.Stage(TablesOf(image)).ok());
    REQUIRE(tables.Flip().ok());
  }
  uint32_t Generation() const {
    const auto active = instance_.plane->active().Lookup(0);
    REQUIRE(active.ok());
    return (*active)->generation;
  }
  // Nothing is remembered of who may still turn out to run something else: as if it was hashed.
  void Settle(int fd, uint16_t port) {
    mseg_listener_key key{};
    key.netns_cookie = NumberOf(fd, SO_NETNS_COOKIE);
    key.port = port;
    key.protocol = IPPROTO_TCP;
    key.addr[10] = key.addr[11] = 0xff;
    key.addr[12] = 127;
    key.addr[15] = 1;
    auto listener = instance_.plane->listeners().Lookup(key);
    REQUIRE(listener.ok());
    REQUIRE(listener->has_value());
    (*listener)->owner.id.exe_ref = 4711;
    REQUIRE(instance_.plane->listeners().Update(key, **listener).ok());
  }
  // A socket that listens at a port of its own. The two questions about it have two places of the
  // memory: with one, in one of 64 sockets, either answer makes way for the other.
  ScopedFd ListenApart(uint16_t* port) {
    std::vector<ScopedFd> together;
    for (;;) {
      *port = 0;
      ScopedFd fd = Listen(port);
      REQUIRE(fd.ok());
      const places_args at = At(fd.get(), *port);
      mseg_listening_question address{}, socket{};
      mseg_ask_at_address(&address, at.netns_cookie, at.addr, IPPROTO_TCP << 16 | *port);
      mseg_ask_of_socket(&socket, at.cookie);
      if (mseg_listening_place(&address) != mseg_listening_place(&socket)) {
        return fd;
      }
      together.push_back(std::move(fd));
    }
  }
  places_args Ask(const places_args& of) {
    places_args args = of;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = &args;
    options.ctx_size_in = sizeof(args);
    REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(object_->progs.test_places), &options) == 0);
    return args;
  }
  places_args At(int fd, uint16_t port) {
    places_args args{};
    args.netns_cookie = NumberOf(fd, SO_NETNS_COOKIE);
    args.cookie = NumberOf(fd, SO_COOKIE);
    args.addr[2] = htonl(0xffff);
    args.addr[3] = htonl(INADDR_LOOPBACK);
    args.port = port;
    args.generation = Generation();
    return args;
  }

 private:
  Instance& instance_;
  mseg_places_test* object_;
  OneProcessor here_;
};

void CheckFound(const places_args& got, int remembered, pid_t owner) {
  for (int i : {0, 1}) {
    INFO((i == 0 ? "at the address" : "of the socket"));
    CHECK(got.remembered[i] == remembered);
    CHECK(got.found[i] == 1);
    CHECK(got.tgid[i] == static_cast<uint32_t>(owner));
    CHECK((got.flags[i] & MSEG_ID_AMBIGUOUS) == 0);
  }
}

TEST_CASE("who listens is remembered until it changes") {
  Places places;
  uint16_t port = 0;
  ScopedFd fd = places.ListenApart(&port);
  const places_args where = places.At(fd.get(), port);
  CheckFound(places.Ask(where), 0, getpid());
  CheckFound(places.Ask(where), 0, getpid());  // its executable is not known yet
  places.Settle(fd.get(), port);
  CheckFound(places.Ask(where), 0, getpid());
  CheckFound(places.Ask(where), 1, getpid());

  fd.Reset();
  REQUIRE(Eventually([&] { return places.Ask(where).found[0] == 0; }));
  CHECK(places.Ask(where).remembered[0] == 0);
  CHECK(places.Ask(where).found[1] == 0);

  Elsewhere elsewhere(port);
  const places_args now = places.Ask(where);
  CHECK(now.found[0] == 1);
  CHECK(now.tgid[0] == static_cast<uint32_t>(elsewhere.pid()));
  CHECK(now.found[1] == 0);  // the socket is gone
  elsewhere.End();
}

TEST_CASE("a second owner of the address is not overlooked") {
  Places places;
  uint16_t port = 0;
  const ScopedFd fd = places.ListenApart(&port);
  const places_args where = places.At(fd.get(), port);
  places.Settle(fd.get(), port);
  places.Ask(where);
  CheckFound(places.Ask(where), 1, getpid());
  Elsewhere elsewhere(port);  // its executable is another one to the table
  const places_args now = places.Ask(where);
  for (int i : {0, 1}) {
    CHECK(now.remembered[i] == 0);
    CHECK(now.found[i] == 1);
    CHECK((now.flags[i] & MSEG_ID_AMBIGUOUS) != 0);
  }
  elsewhere.End();
}

TEST_CASE("another generation asks anew") {
  Places places;
  uint16_t port = 0;
  const ScopedFd fd = places.ListenApart(&port);
  places.Settle(fd.get(), port);
  for (int generation = 0; generation < 4; generation++) {
    INFO("generation " << generation);
    places.Flip(ImageRandom(1).Image());
    const places_args where = places.At(fd.get(), port);
    const places_args first = places.Ask(where), second = places.Ask(where);
    CheckFound(first, 0, getpid());
    CheckFound(second, 1, getpid());
  }
}

}  // namespace
}  // namespace mseg::testing
