// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_SCRATCH_H_
#define MSEG_CTL_SELFTEST_SCRATCH_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/api/service.h"

namespace mseg::ctl {

// A place of its own for `selftest --bypass`, as good as a host: a network namespace with nothing
// but `lo`, a cgroup below the host's root, a pin directory, a folder that only root may write, and
// an msegd that judges nothing but that cgroup. A process of its own removes all of it when this
// one ends, however it ends.
class Scratch {
 public:
  // A process that runs one act until it is told to go on, or is ended.
  struct Held {
    pid_t pid = -1;
    int to = -1;  // its standard input
  };

  // `name`: where there are several.
  static absl::StatusOr<std::unique_ptr<Scratch>> Make(const std::string& name = "");
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Of each msegd that starts from here on; a YAML document.
  void Configure(const std::string& config) { config_ = config; }
  // Starts msegd; AwaitDaemon() waits until it answers. `guarded`: it protects itself.
  absl::Status LaunchDaemon(bool guarded = false);
  absl::Status AwaitDaemon();
  // Ends it and starts it anew: what was detached is attached again.
  absl::Status RestartDaemon(bool guarded = false);
  // What mseg itself may at any time: takes everything away, the daemon too.
  absl::Status DetachAll() const;
  // Detaches programs by their names; those that this mode has not are passed over.
  absl::Status Detach(const std::vector<std::string>& programs) const;
  // Puts it in force as the whole of one file. Internal, with all that is wrong: it is refused.
  absl::Status ApplyPolicy(const std::string& text);
  api::Service& daemon() { return *daemon_; }
  const std::string& dir() const { return dir_; }
  const std::string& pins() const { return pins_; }
  pid_t daemon_pid() const { return daemon_pid_; }
  int netns() const { return netns_; }
  std::string Cgroup(const std::string& name) const { return cgroup_ + "/" + name; }

  // A copy of this program with another content: its bytes, then `mark`.
  absl::Status Copy(const std::string& name, const std::string& mark) const;
  // An executable of any content.
  absl::Status Place(const std::string& name, const std::string& content) const;
  // As a policy names it.
  absl::StatusOr<std::string> DigestOf(const std::string& name) const;
  // Runs an act in a cgroup; its exit status. One that does not end is ended.
  int Run(const std::string& cgroup, const std::string& program,
          const std::vector<std::string>& act) const;
  // The same, left running once it has said that it is ready.
  absl::StatusOr<Held> Hold(const std::string& cgroup, const std::string& program,
                            const std::vector<std::string>& act) const;
  // Lets a held process go on; its exit status.
  static int Release(const Held& held);

  // Ends the instance and everything in it. Internal: something of it stays.
  absl::Status Remove();

 private:
  Scratch() = default;
  absl::Status MakePlaces(const std::string& name);
  absl::Status MakeNetwork();
  absl::Status StartJanitor();
  [[noreturn]] void Clean(int alive) const;
  pid_t Spawn(const std::string& cgroup, const std::string& program,
              const std::vector<std::string>& act, int input, int output) const;

  std::string name_;
  std::string dir_;
  std::string cgroup_;
  std::string pins_;
  std::string self_;   // this program
  std::string msegd_;  // beside it
  std::string image_;  // what copies are made of
  std::string config_;
  pid_t daemon_pid_ = -1;
  pid_t janitor_ = -1;
  int netns_ = -1;
  int alive_ = -1;  // the janitor sees it closed
  std::unique_ptr<api::Service> daemon_;
};

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_SCRATCH_H_
