// SPDX-License-Identifier: Apache-2.0
#include "bench/managed_host.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

constexpr uint64_t kStartNs = 120'000'000'000;  // a guest takes its time

}  // namespace

absl::Status ManagedHost::Start(const std::string& config) {
  const std::string log = places_.dir + "/msegd.log";
  const std::string file = places_.dir + "/msegd.yaml";
  MSEG_RETURN_IF_ERROR(WriteWhole(file, config));
  auto daemon = Child::Start(
      {places_.msegd, "--config", file, "--state-dir", places_.dir + "/state", "--socket", Socket(),
       "--cgroup-root", places_.cgroup_root, "--bpffs", places_.pin_dir},
      {.cgroup = places_.own_cgroup}, log);
  if (!daemon.ok()) return daemon.status();
  daemon_ = *std::move(daemon);
  for (const uint64_t end = NowNs() + kStartNs; NowNs() < end && !Interrupted(); usleep(20'000)) {
    if (!daemon_.Running()) break;
    if (access(Socket().c_str(), F_OK) == 0 && Ctl({"status"}).ok()) return absl::OkStatus();
  }
  if (Interrupted()) return InterruptedStatus();
  auto said = ReadWhole(log);
  return absl::InternalError(
      absl::StrCat("msegd does not start: ", said.ok() ? said->substr(0, 500) : "it says nothing"));
}

absl::StatusOr<std::string> ManagedHost::Ctl(const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {places_.msegctl, "--socket", Socket()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return MustRun(command);
}

absl::StatusOr<std::string> ManagedHost::CtlJson(std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"-o", "json"});
  return Ctl(arguments);
}

absl::Status ManagedHost::Apply(const std::string& policy) {
  MSEG_RETURN_IF_ERROR(WriteWhole(policy_file(), policy));
  const uint64_t start = NowNs();
  auto applied = CtlJson({"policy", "apply", policy_file()});
  if (!applied.ok()) return applied.status();
  apply_ns_ = NowNs() - start;
  apply_output_ = *std::move(applied);
  return absl::OkStatus();
}

}  // namespace mseg::bench
