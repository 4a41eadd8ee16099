// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_KERNEL_KERNEL_FIXTURE_H_
#define MSEG_TESTS_KERNEL_KERNEL_FIXTURE_H_

#include <sched.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "loader/dataplane.h"
#include "loader/scoped_fd.h"
#include "tests/support/environment.h"

struct bpf_object;

namespace mseg::testing {

// Where the cgroup v2 hierarchy is mounted: /sys/fs/cgroup, or a folder of it on a hybrid host.
std::string CgroupMount();
uint64_t CgroupId(const std::string& dir);

// A cgroup, a pin directory and a folder of this process alone. They go with the object, and if the
// process dies without unwinding a small child that waits for its death removes them.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& cgroup() const { return cgroup_; }
  const std::string& pin_dir() const { return pin_dir_; }
  const std::string& dir() const { return dir_; }
  std::string MakeCgroup(const std::string& name) const;
  DataplaneOptions Options() const;
  // Loads with what this kernel has. A failure fails the test.
  std::unique_ptr<Dataplane> Open() const;
  // Moves this process into a cgroup; it goes back with the object.
  void Join(const std::string& cgroup);

 private:
  std::string name_;
  std::string cgroup_;
  std::string pin_dir_;
  std::string dir_;
  std::string home_;  // the cgroup this process came from
  pid_t janitor_ = 0;
  ScopedFd alive_;
};

// A scratch place and what is loaded there.
struct Instance {
  Instance() : plane(scratch.Open()) {}
  Scratch scratch;
  std::unique_ptr<Dataplane> plane;
};
// One for all test cases of a program that ask for it, removed at its end: on an emulated processor
// loading takes longer than everything else.
Instance& SharedInstance();

// For an object of the test's own that is about to be loaded: its maps are those of the instance.
void UseMapsOf(const Instance& instance, bpf_object* object);

// The calling thread stays on the processor it is on, as long as this lives: for what each
// processor has of its own.
class OneProcessor {
 public:
  OneProcessor();
  ~OneProcessor();
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

 private:
  cpu_set_t before_;
};

// Asks until the answer is true; false after the limit. For what the kernel does a moment later.
bool Eventually(const std::function<bool()>& question,
                std::chrono::milliseconds limit = std::chrono::seconds(10));

// A child of this process that is killed and reaped with the object.
class Child {
 public:
  // Runs `body` in a fork; its result is the exit status. The body must not use Catch.
  explicit Child(const std::function<int()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // Exit status, or 128 + signal.
  int Wait();
  void Kill();

 private:
  pid_t pid_ = 0;
  std::optional<int> status_;
};

// A pair of pipes by which parent and child wait for each other.
class Handshake {
 public:
  Handshake();
  void Signal();  // one byte from here to there
  // False if the other side is gone or says nothing within 20 seconds.
  bool Await();
  void InChild();  // call first in the child: swaps the directions

 private:
  ScopedFd read_[2];
  ScopedFd write_[2];
  int side_ = 0;
};

// The key of a process, from /proc. tgid only is compared where the start time is unknown.
std::optional<mseg_task> TaskOf(const Dataplane& plane, pid_t tgid);
void WriteFile(const std::string& path, const std::string& text);
std::string ReadFile(const std::string& path);
// A file with the content of another one, executable.
void CopyProgram(const std::string& from, const std::string& to);
std::string ProgramPath(const std::string& name);  // of this machine, symbolic links resolved

}  // namespace mseg::testing

#endif  // MSEG_TESTS_KERNEL_KERNEL_FIXTURE_H_
