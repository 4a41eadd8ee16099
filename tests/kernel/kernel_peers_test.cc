// SPDX-License-Identifier: Apache-2.0
// Who is at the other end of proven connections: what the kernel keeps and what the daemon reads of
// it, against a plain map.
#include <bpf/bpf.h>
#include <linux/types.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <vector>

#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/peers.skel.h"
#include "tests/kernel/peers_args.h"

namespace mseg::testing {
namespace {

// test_peers over the maps of an instance.
class Hooks {
 public:
  explicit Hooks(const Instance& instance) : object_(mseg_peers_test__open()) {
    REQUIRE(object_ != nullptr);
    UseMapsOf(instance, object_->obj);
    REQUIRE(mseg_peers_test__load(object_) == 0);
  }
  ~Hooks() { mseg_peers_test__destroy(object_); }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

  bool Remember(uint64_t cookie, uint64_t label_id) {
    return Run({.cookie = cookie, .label_id = label_id, .forget = 0, .kept = 0}).kept != 0;
  }
  void Forget(uint64_t cookie) { Run({.cookie = cookie, .label_id = 0, .forget = 1, .kept = 0}); }

 private:
  peers_args Run(peers_args args) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = &args;
    options.ctx_size_in = sizeof(args);
    REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(object_->progs.test_peers), &options) == 0);
    return args;
  }

  mseg_peers_test* object_;
};

std::vector<uint64_t> Cookies(const Dataplane& plane) {
  auto cookies = plane.PeerCookies();
  REQUIRE(cookies.ok());
  std::sort(cookies->begin(), cookies->end());
  return *std::move(cookies);
}

uint64_t LabelOf(const Dataplane& plane, uint64_t cookie) {
  const auto peer = plane.Peer(cookie);
  REQUIRE(peer.ok());
  return peer->has_value() ? (*peer)->label_id : 0;
}

TEST_CASE("two connections of one place are both known, and go one by one") {
  Instance& here = SharedInstance();
  Hooks hooks(here);
  const uint64_t first = 5, second = first + MSEG_PEER_SLOTS, third = second + MSEG_PEER_SLOTS;
  REQUIRE(hooks.Remember(first, 11));
  REQUIRE(hooks.Remember(second, 22));
  REQUIRE(hooks.Remember(third, 33));
  REQUIRE(hooks.Remember(first, 12));  // it connected again
  REQUIRE(hooks.Remember(second, 23));
  CHECK(LabelOf(*here.plane, first) == 12);
  CHECK(LabelOf(*here.plane, second) == 23);
  CHECK(LabelOf(*here.plane, third) == 33);
  CHECK(Cookies(*here.plane) == std::vector<uint64_t>{first, second, third});
  hooks.Forget(first);
  CHECK(LabelOf(*here.plane, first) == 0);
  CHECK(LabelOf(*here.plane, second) == 23);
  hooks.Forget(third);
  hooks.Forget(third + 1);
  hooks.Forget(second);
  CHECK(Cookies(*here.plane).empty());
}

TEST_CASE("what the daemon finds gone leaves its place") {
  Instance& here = SharedInstance();
  Hooks hooks(here);
  const uint64_t first = 9, second = first + MSEG_PEER_SLOTS;
  REQUIRE(hooks.Remember(first, 1));
  REQUIRE(hooks.Remember(second, 2));
  REQUIRE(here.plane->ForgetPeer(first).ok());
  REQUIRE(here.plane->ForgetPeer(second).ok());
  REQUIRE(here.plane->ForgetPeer(second).ok());
  CHECK(Cookies(*here.plane).empty());
  REQUIRE(hooks.Remember(second, 3));
  CHECK(LabelOf(*here.plane, second) == 3);
  hooks.Forget(second);
}

// Short connections beside ones that outlive several laps of all places.
TEST_CASE("what is kept is what a plain map has") {
  Instance& here = SharedInstance();
  Hooks hooks(here);
  std::mt19937_64 random(FromEnvironment("MSEG_TEST_SEED", 1));
  const uint64_t steps = FromEnvironment("MSEG_KERNEL_FLOWS", 200000) / 5;
  std::map<uint64_t, uint64_t> model;
  std::vector<uint64_t> live;
  uint64_t cookie = 1;
  for (uint64_t step = 0; step < steps; step++) {
    cookie += 1 + random() % 40;
    if (random() % 4 != 0) {
      REQUIRE(hooks.Remember(cookie, step + 1));
      model[cookie] = step + 1;
      live.push_back(cookie);
    }
    // Mostly the youngest goes, so that some grow old.
    while (live.size() > 300 || (!live.empty() && random() % 3 == 0)) {
      const size_t at = random() % 8 == 0 ? random() % live.size() : live.size() - 1;
      hooks.Forget(live[at]);
      if (random() % 16 == 0) hooks.Forget(cookie + MSEG_PEER_SLOTS);  // of a socket without one
      model.erase(live[at]);
      live.erase(live.begin() + static_cast<ptrdiff_t>(at));
    }
    if (step % 512 == 0 && !live.empty()) {
      const uint64_t one = live[random() % live.size()];
      CHECK(LabelOf(*here.plane, one) == model[one]);
    }
  }
  std::vector<uint64_t> expected;
  for (const auto& [one, label] : model) {
    expected.push_back(one);
    CHECK(LabelOf(*here.plane, one) == label);
  }
  CHECK(Cookies(*here.plane) == expected);
  for (const uint64_t one : expected) hooks.Forget(one);
  CHECK(Cookies(*here.plane).empty());
}

}  // namespace
}  // namespace mseg::testing
