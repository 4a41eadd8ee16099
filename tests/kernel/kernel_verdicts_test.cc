// SPDX-License-Identifier: Apache-2.0
// Verdicts as hooks come by them, which remember what was decided, against the simulator over one
// generation after another. MSEG_KERNEL_SEED=N starts with that image.
#include <bpf/bpf.h>
#include <linux/types.h>
#include <sys/random.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "labels/simulator.h"
#include "loader/policy_tables.h"
#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/random_image.h"
#include "tests/kernel/table_set.h"
#include "tests/kernel/verdicts.skel.h"
#include "tests/kernel/verdicts_args.h"

namespace mseg::testing {
namespace {

// test_verdicts over the maps of an instance, on one processor: each remembers for itself.
class Hooks {
 public:
  explicit Hooks(const Instance& instance) : object_(mseg_verdicts_test__open()) {
    REQUIRE(object_ != nullptr);
    UseMapsOf(instance, object_->obj);
    REQUIRE(mseg_verdicts_test__load(object_) == 0);
  }
  ~Hooks() { mseg_verdicts_test__destroy(object_); }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

  verdicts_args Judge(verdicts_args args) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = &args;
    options.ctx_size_in = sizeof(args);
    REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(object_->progs.test_verdicts), &options) == 0);
    return args;
  }

 private:
  mseg_verdicts_test* object_;
  OneProcessor here_;
};

verdicts_args Question(uint32_t end, uint32_t peer, uint8_t protocol, uint16_t port,
                       uint32_t direction) {
  verdicts_args out{};
  out.end = end;
  out.peer = peer;
  out.protocol = protocol;
  out.port = port;
  out.direction = direction;
  return out;
}

void Apply(const PolicyTables& tables, const GenerationImage& image) {
  REQUIRE(tables.Stage(TablesOf(image)).ok());
  REQUIRE(tables.Flip().ok());
}

bool IsSame(const verdicts_args& got, const mseg_decision& want) {
  return got.verdict == want.verdict && got.would_be == want.would_be && got.rule == want.rule &&
         got.would_rule == want.would_rule && got.reason == want.reason && got.probe == want.probe;
}

TEST_CASE("what hooks remember is what the tables of this generation say") {
  Instance& here = SharedInstance();
  const PolicyTables tables(*here.plane);
  Hooks hooks(here);
  uint64_t seed = 0;
  if (getrandom(&seed, 4, 0) != 4) seed = 1;
  seed = FromEnvironment("MSEG_KERNEL_SEED", seed);
  uint64_t remembered = 0, looked_up = 0, allowed = 0;
  for (int generation = 0; generation < 12; generation++, seed++) {
    INFO("MSEG_KERNEL_SEED=" << seed);
    ImageRandom random(seed);
    const GenerationImage image = random.Image();
    Apply(tables, image);
    const Simulator simulator(image);
    std::vector<verdicts_args> questions;
    for (int i = 0; i < 300; i++) {
      questions.push_back(Question(random.Class(), random.Class(), random.Protocol(), random.Port(),
                                   static_cast<uint32_t>(random.Below(2))));
    }
    for (int i = 0; i < 1000; i++) {
      const verdicts_args& asked = questions[random.Below(questions.size())];
      const mseg_decision want =
          simulator.Decide(asked.end, asked.peer, static_cast<mseg_direction>(asked.direction),
                           static_cast<uint8_t>(asked.protocol), static_cast<uint16_t>(asked.port));
      const verdicts_args got = hooks.Judge(asked);
      INFO("end " << asked.end << " peer " << asked.peer << " protocol " << asked.protocol
                  << " port " << asked.port << " direction " << asked.direction << " remembered "
                  << got.remembered);
      REQUIRE(IsSame(got, want));
      (got.remembered != 0 ? remembered : looked_up)++;
      allowed += got.verdict == MSEG_ALLOW;
    }
  }
  CHECK(remembered > 1000);
  CHECK(looked_up > 1000);
  CHECK(allowed > 100);
}

TEST_CASE("a verdict that changes with the policy is not remembered past it") {
  Instance& here = SharedInstance();
  const PolicyTables tables(*here.plane);
  Hooks hooks(here);
  const verdicts_args asked = Question(7, 8, 6, 443, MSEG_INGRESS);
  for (int round = 0; round < 6; round++) {
    const mseg_verdict verdict = round % 2 == 0 ? MSEG_ALLOW : MSEG_DENY;
    Apply(tables, ImageOf(asked.end, MSEG_INGRESS, verdict));
    const verdicts_args first = hooks.Judge(asked), second = hooks.Judge(asked);
    CHECK(first.remembered == 0);
    CHECK(second.remembered == 1);
    CHECK(first.verdict == verdict);
    CHECK(second.verdict == verdict);
  }
}

// A fault of the tables denies; when it is mended within a generation, nothing remembers it.
TEST_CASE("that there is no row is not remembered") {
  Instance& here = SharedInstance();
  const PolicyTables tables(*here.plane);
  Hooks hooks(here);
  Apply(tables, GenerationImage{});
  const verdicts_args asked = Question(7, 8, 6, 443, MSEG_INGRESS);
  for (int i = 0; i < 2; i++) {
    const verdicts_args got = hooks.Judge(asked);
    CHECK(got.verdict == MSEG_DENY);
    CHECK(got.reason == MSEG_REASON_NO_ROW);
    CHECK(got.remembered == 0);
  }
}

}  // namespace
}  // namespace mseg::testing
