// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_DAEMON_CONFIG_H_
#define MSEG_DAEMON_DAEMON_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "daemon/guard_config.h"
#include "daemon/wire_config.h"
#include "labels/failsafe.h"
#include "labels/interpreters.h"

namespace mseg {

// What does not fit refuses a policy; the budget is printed with it.
struct DaemonLimits {
  uint32_t rows = 131072;
  uint32_t identities = 32768;
  uint32_t tasks = 65536;
  uint32_t listeners = 16384;
  bool operator==(const DaemonLimits&) const = default;
};

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError };

struct DaemonConfig {
  std::string state_dir = "/var/lib/mseg";
  std::string socket = "/run/mseg/msegd.sock";
  std::string cgroup_root;  // empty: the host's cgroup v2 root
  std::string bpffs = "/sys/fs/bpf/mseg";
  std::string host_name;  // empty: the kernel's host name
  std::string salt_file;  // of the fleet; empty: this host draws its own salt
  WireConfig wire;
  absl::Duration udp_flow_timeout = absl::Seconds(30);
  bool report_allowed = true;
  DaemonLimits limits;
  std::vector<FailsafeEntry> failsafe = DefaultFailsafe();
  std::vector<std::string> interpreters = DefaultInterpreters();
  GuardConfig guard;
  bool exec_watch = false;
  LogLevel log_level = LogLevel::kInfo;
  bool operator==(const DaemonConfig&) const = default;
};

// The command line of msegd. Unset: the config file, then the default, decides.
struct DaemonFlags {
  std::optional<std::string> config;
  std::optional<std::string> state_dir;
  std::optional<std::string> socket;
  std::optional<std::string> cgroup_root;
  std::optional<std::string> bpffs;
  bool detach_all = false;
  bool help = false;
  bool version = false;
};

// `--name VALUE` or `--name=VALUE`; `args` without the program's name. InvalidArgument: bad usage.
absl::StatusOr<DaemonFlags> ParseDaemonFlags(absl::Span<const char* const> args);

// A config file's text. Strict: an unknown or repeated key, or a value of the wrong kind, is
// InvalidArgument with FILE:LINE:COL, the line and a caret.
absl::StatusOr<DaemonConfig> ParseDaemonConfig(std::string_view text, const std::string& file);

// Defaults, then the config file if `flags` names one, then the flags.
absl::StatusOr<DaemonConfig> LoadDaemonConfig(const DaemonFlags& flags);

// The usage text of msegd.
std::string DaemonUsage();

std::string_view LogLevelName(LogLevel level);

}  // namespace mseg

#endif  // MSEG_DAEMON_DAEMON_CONFIG_H_
