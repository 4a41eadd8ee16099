// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_CONTEXT_H_
#define MSEG_CTL_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "ctl/dial.h"

namespace mseg::ctl {

// All that msegctl takes from the world around it, so that a test can run a command in-process.
struct Context {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool color = false;       // `out` is a terminal and NO_COLOR is not set
  std::string socket_path;  // unless --socket says otherwise
  std::string user;         // who is recorded as the author of a change
  std::function<int64_t()> now_us;
  // Waits between two looks at a stream; false: stop following.
  std::function<bool(absl::Duration)> pause;
  std::function<Dialled(const std::string& address, uint32_t port)> dial;
};

// Runs one command line, without the program's name, and gives its exit code (see ExitCode).
int Run(const std::vector<std::string>& arguments, Context& context);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_CONTEXT_H_
