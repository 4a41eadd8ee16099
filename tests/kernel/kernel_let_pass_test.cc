// SPDX-License-Identifier: Apache-2.0
// In full mode two hooks ask about one connection: what the first let pass the second does not
// judge anew, and nothing else passes for it.
#include <bpf/bpf.h>
#include <linux/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>

#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/let_pass.skel.h"
#include "tests/kernel/let_pass_args.h"

namespace mseg::testing {
namespace {

constexpr uint32_t kGeneration = 4;

// test_let_pass over the maps of an instance with this generation, on one processor: a note is one
// processor's.
class Hooks {
 public:
  explicit Hooks(const Instance& instance)
      : instance_(instance), object_(mseg_let_pass_test__open()) {
    REQUIRE(object_ != nullptr);
    UseMapsOf(instance, object_->obj);
    REQUIRE(mseg_let_pass_test__load(object_) == 0);
    SetGeneration(kGeneration);
  }
  ~Hooks() { mseg_let_pass_test__destroy(object_); }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

  void SetGeneration(uint32_t generation) {
    const auto active = instance_.plane->active().Lookup(0);
    REQUIRE(active.ok());
    mseg_active changed = **active;
    changed.generation = generation;
    REQUIRE(instance_.plane->active().Update(0, changed).ok());
  }
  void Note(let_pass_args args) {
    args.note = 1;
    REQUIRE(Run(&args));
  }
  bool Passes(let_pass_args args) const {
    REQUIRE(Run(&args));
    return args.passed != 0;
  }
  // The same, asked by another process.
  bool PassesElsewhere(let_pass_args args) const {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) _exit(Run(&args) ? (args.passed != 0 ? 1 : 0) : 2);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
  }
  bool Run(let_pass_args* args) const {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = args;
    options.ctx_size_in = sizeof(*args);
    return bpf_prog_test_run_opts(bpf_program__fd(object_->progs.test_let_pass), &options) == 0;
  }

 private:
  const Instance& instance_;
  mseg_let_pass_test* object_;
  OneProcessor here_;
};

let_pass_args Connection() {
  let_pass_args args{};
  args.cookie = 77;
  args.peer_low = 0xffff0000;
  args.peer_high = 0x0100007f;
  args.peer_port = 6379;
  args.protocol = 6;
  args.generation = kGeneration;
  return args;
}

TEST_CASE("what was let pass passes once") {
  Hooks hooks(SharedInstance());
  CHECK_FALSE(hooks.Passes(Connection()));
  hooks.Note(Connection());
  CHECK(hooks.Passes(Connection()));
  CHECK_FALSE(hooks.Passes(Connection()));
}

TEST_CASE("by what its other end is known goes with it") {
  Hooks hooks(SharedInstance());
  let_pass_args args = Connection();
  args.proof = MSEG_PROOF_LEGACY;
  hooks.Note(args);
  args.proof = 0;
  REQUIRE(hooks.Run(&args));
  CHECK(args.passed == 1);
  CHECK(args.proof == MSEG_PROOF_LEGACY);
}

TEST_CASE("another socket, destination, service or protocol does not pass for it") {
  Hooks hooks(SharedInstance());
  const std::function<void(let_pass_args*)> changes[] = {
      [](let_pass_args* args) { args->cookie += MSEG_SLOTS_MIN; },
      [](let_pass_args* args) { args->cookie = 0; },
      [](let_pass_args* args) { args->peer_low ^= 1; },
      [](let_pass_args* args) { args->peer_high ^= 1U << 31; },
      [](let_pass_args* args) { args->peer_port++; },
      [](let_pass_args* args) { args->protocol = 17; },
  };
  for (const auto& change : changes) {
    INFO("change " << &change - changes);
    let_pass_args changed = Connection();
    change(&changed);
    hooks.Note(Connection());
    CHECK_FALSE(hooks.Passes(changed));
    CHECK(hooks.Passes(Connection()));
  }
}

TEST_CASE("the socket's slot is written once it passes, not before") {
  Hooks hooks(SharedInstance());
  let_pass_args args = Connection();
  args.cookie += 3;
  args.wire = MSEG_SLOT_CLAIM;
  args.path = MSEG_PATH_REQUIRE;
  hooks.Note(args);
  let_pass_args elsewhere = args;  // another thread's, of the same socket
  elsewhere.peer_port++;
  elsewhere.wire = elsewhere.path = 0;
  REQUIRE(hooks.Run(&elsewhere));
  CHECK(elsewhere.passed == 0);
  CHECK(elsewhere.owned == 0);
  args.wire = args.path = 0;
  REQUIRE(hooks.Run(&args));
  CHECK(args.passed == 1);
  CHECK(args.owned == 1);
  CHECK(args.wire == MSEG_SLOT_CLAIM);
  CHECK(args.path == MSEG_PATH_REQUIRE);
}

TEST_CASE("nor what its process was as another user, or in another cgroup") {
  Hooks hooks(SharedInstance());
  const std::function<void(let_pass_args*)> changes[] = {
      [](let_pass_args* args) { args->other_user = 1; },
      [](let_pass_args* args) { args->other_cgroup = 1; },
  };
  for (const auto& change : changes) {
    INFO("change " << &change - changes);
    let_pass_args changed = Connection();
    change(&changed);
    hooks.Note(changed);
    CHECK_FALSE(hooks.Passes(Connection()));
    hooks.Note(Connection());
    CHECK(hooks.Passes(Connection()));
  }
}

TEST_CASE("nor does another process, nor the same one after a change of policy") {
  Hooks hooks(SharedInstance());
  hooks.Note(Connection());
  CHECK_FALSE(hooks.PassesElsewhere(Connection()));
  CHECK(hooks.Passes(Connection()));
  hooks.Note(Connection());
  hooks.SetGeneration(kGeneration + 1);
  CHECK_FALSE(hooks.Passes(Connection()));
  hooks.SetGeneration(kGeneration);
  CHECK(hooks.Passes(Connection()));
}

}  // namespace
}  // namespace mseg::testing
