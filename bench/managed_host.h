// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_MANAGED_HOST_H_
#define MSEG_BENCH_MANAGED_HOST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/process.h"

namespace mseg::bench {

// Where one msegd keeps what is its own.
struct ManagedHostPlaces {
  std::string msegd, msegctl;  // programs
  std::string dir;             // for its state, socket, configuration and log; must exist
  std::string pin_dir;         // of a bpffs
  std::string cgroup_root;     // what it manages; must exist
  std::string own_cgroup;      // where it runs itself, outside of that
};

// A host of mseg: a msegd and what it manages. Stopped with the object.
class ManagedHost {
 public:
  explicit ManagedHost(ManagedHostPlaces places) : places_(std::move(places)) {}
  ~ManagedHost() { daemon_.Kill(15); }
  ManagedHost(const ManagedHost&) = delete;
  ManagedHost& operator=(const ManagedHost&) = delete;

  // Returns when it answers. `config`: YAML.
  absl::Status Start(const std::string& config);
  // msegctl against it: what it prints.
  absl::StatusOr<std::string> Ctl(const std::vector<std::string>& arguments) const;
  absl::StatusOr<std::string> CtlJson(std::vector<std::string> arguments) const;
  // Applies a policy that is kept in policy_file().
  absl::Status Apply(const std::string& policy);

  std::string policy_file() const { return places_.dir + "/policy.yaml"; }
  const ManagedHostPlaces& places() const { return places_; }
  pid_t pid() const { return daemon_.pid(); }
  uint64_t CpuNs() const { return ProcessCpuNs(daemon_.pid()); }
  // How the last policy came into force: the command's time, and what it printed.
  uint64_t apply_ns() const { return apply_ns_; }
  const std::string& apply_output() const { return apply_output_; }

 private:
  std::string Socket() const { return places_.dir + "/sock"; }

  ManagedHostPlaces places_;
  Child daemon_;
  std::string apply_output_;
  uint64_t apply_ns_ = 0;
};

}  // namespace mseg::bench

#endif  // MSEG_BENCH_MANAGED_HOST_H_
