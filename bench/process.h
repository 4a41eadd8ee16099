// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_PROCESS_H_
#define MSEG_BENCH_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "loader/scoped_fd.h"

namespace mseg::bench {

// True once SIGINT, SIGTERM or SIGHUP came: whatever runs stops at the next slice, and everything
// is removed.
bool Interrupted();
void CatchSignals();
absl::Status InterruptedStatus();

// Where a program runs.
struct Place {
  std::string netns = {};   // a path; empty: this process's
  std::string cgroup = {};  // a directory; empty: this process's
  int cpu = -1;             // -1: all of them
  int nice = 0;
  bool fixed_layout = false;  // the same addresses every time: no randomization
};

struct Finished {
  int status = 0;  // exit status, or 128 + signal
  std::string out;
  std::string err;
  uint64_t wall_ns = 0;
};

// Runs a program to its end. It gets `input` on stdin. Not found, or killed by a signal of ours: an
// error; any exit status is a result.
absl::StatusOr<Finished> RunProgram(const std::vector<std::string>& arguments,
                                    const Place& place = {}, const std::string& input = "");
// The same; an exit status other than 0 is an error that carries what the program printed.
absl::StatusOr<std::string> MustRun(const std::vector<std::string>& arguments,
                                    const Place& place = {}, const std::string& input = "");

// A program in the background that dies with this object, and with this process.
class Child {
 public:
  Child() = default;
  ~Child() { Kill(); }
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;

  // Output goes to `log`. `inherit` is its descriptor 3.
  static absl::StatusOr<Child> Start(const std::vector<std::string>& arguments, const Place& place,
                                     const std::string& log, int inherit = -1);
  pid_t pid() const { return pid_; }
  bool Running() const;
  void Kill(int signal = 9);

 private:
  pid_t pid_ = 0;
};

std::string FindProgram(const std::string& name);  // empty: not installed
absl::StatusOr<std::string> ReadWhole(const std::string& path);
absl::Status WriteWhole(const std::string& path, const std::string& text);
uint64_t NowNs();                  // CLOCK_MONOTONIC
uint64_t ProcessCpuNs(pid_t pid);  // 0: no such process
int PinnedCpu();                   // the last processor that this process may use

}  // namespace mseg::bench

#endif  // MSEG_BENCH_PROCESS_H_
