// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_WORKSPACE_H_
#define MSEG_BENCH_WORKSPACE_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "loader/scoped_fd.h"

namespace mseg::bench {

// Everything that a run makes on this machine carries one name, and all of it goes with this
// object. If the process dies without unwinding, a small child that waits for its death removes it:
//   a cgroup NAME           with everything that runs below it
//   pins /sys/fs/bpf/NAME*  with the programs that hang on them
//   network namespaces NAME*
//   a folder /tmp/NAME
class Workspace {
 public:
  static absl::StatusOr<std::unique_ptr<Workspace>> Make();
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const std::string& dir() const { return dir_; }
  const std::string& cgroup() const { return cgroup_; }
  std::string PinDir(const std::string& arm) const { return "/sys/fs/bpf/" + name_ + "-" + arm; }
  absl::StatusOr<std::string> MakeDir(const std::string& name) const;
  // Below the run's cgroup; parents too.
  absl::StatusOr<std::string> MakeCgroup(const std::string& name) const;
  // A network namespace with `lo` up; its path.
  absl::StatusOr<std::string> MakeNetns(const std::string& name) const;

  // Removes what one arm made, names as given above: NAME/ARM, NAME-ARM*.
  void RemoveArm(const std::string& arm) const;
  // Paths that a clean-up could not remove.
  std::vector<std::string> Left() const;

 private:
  Workspace() = default;
  void StartJanitor();
  std::string name_, dir_, cgroup_;
  pid_t janitor_ = 0;
  ScopedFd alive_;
};

absl::StatusOr<std::string> CgroupRoot();

}  // namespace mseg::bench

#endif  // MSEG_BENCH_WORKSPACE_H_
