// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_EXEC_WATCH_H_
#define MSEG_DAEMON_EXEC_WATCH_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mseg {

struct ExecWatchOptions {
  // A directory of the host's cgroup hierarchy: execs of processes elsewhere go on at once.
  std::string cgroup_root;
  // No exec waits for `learn` any longer.
  std::chrono::milliseconds limit{1000};
};

struct ExecWatchCounts {
  uint64_t held = 0;       // execs that waited for `learn`
  uint64_t late = 0;       // of those: went on before it had returned
  uint64_t unwatched = 0;  // file systems with programs that the kernel does not let us watch
};

// Holds each exec of a file that nobody has looked at yet, until somebody has: fanotify(7),
// FAN_OPEN_EXEC_PERM. It only ever delays; the kernel lets go what is held when this process ends.
// Refused is what the kernel cannot open for this process: a file on which somebody holds a write
// lease, or when it is out of memory. Sees the file systems that are mounted in this mount
// namespace, new ones as they come.
//
// From Start() on this process dumps no core: the program that core_pattern starts would wait for
// this process, and this process for that program.
class ExecWatch {
 public:
  // Called on threads of the watch: a file that is open for reading, and not yet protected from
  // writers. True: there is no need to ask again until the file or its name changes.
  using Learn = std::function<bool(int fd, uint32_t tgid)>;
  using Log = std::function<void(const std::string&)>;  // one line for the operator

  // Unimplemented: the kernel has no CONFIG_FANOTIFY_ACCESS_PERMISSIONS.
  static absl::Status CheckSupported();
  static absl::StatusOr<std::unique_ptr<ExecWatch>> Start(const ExecWatchOptions& options,
                                                          Learn learn, Log log);
  virtual ~ExecWatch() = default;

  virtual ExecWatchCounts counts() const = 0;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_EXEC_WATCH_H_
