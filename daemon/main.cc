// SPDX-License-Identifier: Apache-2.0
// msegd: builds everything, joins it, runs until it is told to stop. Enforcement stays when it
// ends.
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/controller.h"
#include "daemon/daemon_config.h"
#include "daemon/exec_watch.h"
#include "daemon/host_identity.h"
#include "daemon/host_inventory.h"
#include "daemon/rpc_server.h"
#include "daemon/store.h"
#include "loader/dataplane.h"
#include "loader/errno_status.h"
#include "loader/feature_probe.h"
#include "loader/pins.h"

namespace mseg {
namespace {

constexpr int kTickMilliseconds = 100;

std::string Words(const absl::Status& status) { return std::string(status.message()); }

int Refuse(const absl::Status& status) {
  fmt::print(stderr, "msegd: {}\n", Words(status));
  return kExitRefused;
}

std::shared_ptr<spdlog::logger> MakeLogger(LogLevel level) {
  auto logger = std::make_shared<spdlog::logger>(
      "msegd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(spdlog::level::from_str(std::string(LogLevelName(level))));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %l %v", spdlog::pattern_time_type::utc);
  return logger;
}

// A running daemon would attach everything again, so it is stopped first.
absl::Status StopHolder(const std::string& pin_dir) {
  auto holder = PinDirHolder(pin_dir);
  if (!holder.ok()) return holder.status();
  if (*holder == 0) return absl::OkStatus();
  fmt::print("stopping msegd (pid {})\n", *holder);
  if (kill(*holder, SIGTERM) != 0) return ErrnoStatus(errno, "stop the running msegd");
  for (int i = 0; i < 100; i++) {
    auto now = PinDirHolder(pin_dir);
    if (now.ok() && *now == 0) return absl::OkStatus();
    absl::SleepFor(absl::Milliseconds(100));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("msegd (pid ", *holder, ") does not stop; nothing was removed"));
}

int RunDetachAll(const DaemonFlags& flags) {
  if (geteuid() != 0) return Refuse(absl::PermissionDeniedError("--detach-all needs root"));
  const std::string only = flags.bpffs.value_or("");
  std::vector<std::string> dirs;
  if (!only.empty()) {
    dirs.push_back(ResolvePinDir(only));
  } else if (auto found = FindPinDirs(); found.ok()) {
    dirs = *found;
  }
  for (const std::string& dir : dirs) {
    if (const absl::Status status = StopHolder(dir); !status.ok()) return Refuse(status);
  }
  auto removed = DetachAll(only);
  if (!removed.ok()) return Refuse(removed.status());
  for (const std::string& pin : *removed) fmt::print("removed {}\n", pin);
  fmt::print("{} pins removed; nothing of mseg is left{}\n", removed->size(),
             only.empty() ? " on this host" : " in " + only);
  return kExitDone;
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const DaemonConfig& config) {
  auto boot_id = ReadBootId();
  if (!boot_id.ok()) return boot_id.status();
  StoreOptions options{.boot_id = *boot_id};
  if (!config.salt_file.empty()) {
    auto salt = ReadFleetSalt(config.salt_file);
    if (!salt.ok()) return salt.status();
    options.salt = *salt;
  }
  auto store = Store::Open(config.state_dir, options);
  if (!store.ok()) return store.status();
  std::string name = config.host_name;
  if (name.empty()) {
    auto host = ReadHostName();
    if (!host.ok()) return host.status();
    name = *host;
  }
  if ((*store)->host().name != name) {
    MSEG_RETURN_IF_ERROR((*store)->SetHost((*store)->host().id, name));
  }
  return store;
}

DataplaneOptions PlaneOptions(const DaemonConfig& config, const Store& store) {
  DataplaneOptions options;
  options.store_id = store.host().store_id;
  options.cgroup_root = config.cgroup_root;
  options.pin_dir = config.bpffs;
  options.max_rows = config.limits.rows;
  options.max_identities = config.limits.identities;
  options.max_tasks = config.limits.tasks;
  options.max_listeners = config.limits.listeners;
  // Not loaded either while mseg does not protect itself: verifying them takes its time.
  for (const ProgramSpec& spec : kPrograms) {
    if (spec.stage == Stage::kGuard && !config.guard.enabled) options.without.push_back(spec.name);
  }
  return options;
}

ControllerOptions MakeControllerOptions(const DaemonConfig& config) {
  ControllerOptions options;
  options.cgroup_root = config.cgroup_root;
  options.max_rows = config.limits.rows;
  options.max_identities = config.limits.identities;
  options.udp_flow_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(config.udp_flow_timeout));
  options.report_allowed = config.report_allowed;
  options.failsafe = config.failsafe;
  options.interpreters = config.interpreters;
  options.host_key = config.state_dir + "/host.key";
  options.state_dir = config.state_dir;
  options.guard = config.guard;
  options.wire = config.wire;
  options.exec_watch = config.exec_watch;
  return options;
}

// SIGTERM and SIGINT as a descriptor; everything else keeps its meaning. A closed pipe is an error
// of a call, not of the daemon.
absl::StatusOr<ScopedFd> StopSignals() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  signal(SIGPIPE, SIG_IGN);
  if (sigprocmask(SIG_BLOCK, &stop, nullptr) != 0) return ErrnoStatus(errno, "block signals");
  ScopedFd fd(signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.ok()) return ErrnoStatus(errno, "signalfd");
  return fd;
}

void Loop(Controller& controller, int stop_fd) {
  pollfd fds[2] = {{stop_fd, POLLIN, 0}, {controller.control_fd(), POLLIN, 0}};
  for (;;) {
    const int ready = poll(fds, 2, kTickMilliseconds);
    if (ready < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0) controller.HandleControlEvents();
    controller.Tick();
  }
}

int Run(DaemonConfig config) {
  const auto logger = MakeLogger(config.log_level);
  auto stop = StopSignals();  // before any thread exists
  if (!stop.ok()) return Refuse(stop.status());
  if (config.cgroup_root.empty()) {
    auto root = FindCgroupRoot();
    if (!root.ok()) return Refuse(root.status());
    config.cgroup_root = *root;
  }
  while (config.cgroup_root.size() > 1 && config.cgroup_root.ends_with('/')) {
    config.cgroup_root.pop_back();
  }
  const Features features = ProbeFeatures();
  if (const absl::Status status = features.CheckRequired(); !status.ok()) return Refuse(status);
  if (config.guard.enabled && features.mode != MSEG_MODE_FULL) {
    return Refuse(absl::FailedPreconditionError(
        "self_protection: enabled: true needs full mode (BPF LSM; boot with lsm=...,bpf); remove "
        "it from the configuration"));
  }
  if (config.exec_watch) {
    if (const absl::Status status = ExecWatch::CheckSupported(); !status.ok()) {
      return Refuse(absl::FailedPreconditionError(
          absl::StrCat("exec_watch: ", Words(status), "; remove it from the configuration")));
    }
  }
  auto store = OpenStore(config);
  if (!store.ok()) return Refuse(store.status());
  auto plane = Dataplane::Open(PlaneOptions(config, **store), features);
  if (!plane.ok()) return Refuse(plane.status());
  Controller controller(**plane, **store, features, MakeControllerOptions(config),
                        [&logger](const std::string& line) { logger->info(line); });
  if (const absl::Status status = controller.Start(); !status.ok()) return Refuse(status);
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(config.socket).parent_path(), ignored);
  RpcOptions rpc;
  rpc.socket_path = config.socket;
  rpc.log = [&logger](const std::string& line) { logger->warn(line); };
  auto server = RpcServer::StartThread(controller, rpc);
  if (!server.ok()) return Refuse(server.status());
  logger->info("msegd: {} mode, cgroup root {}, pins {}, socket {}{}",
               features.mode == MSEG_MODE_FULL ? "full" : "cgroup", config.cgroup_root,
               config.bpffs, config.socket,
               (*plane)->adopted() ? ", adopted what was in force" : "");
  sd_notify(0, "READY=1");
  Loop(controller, stop->get());
  sd_notify(0, "STOPPING=1");
  logger->info("msegd: stopped; enforcement stays in place (msegd --detach-all removes it)");
  return kExitDone;
}

int Main(int argc, char** argv) {
  auto flags = ParseDaemonFlags(absl::MakeConstSpan(argv + 1, static_cast<size_t>(argc - 1)));
  if (!flags.ok()) {
    fmt::print(stderr, "{}\n", Words(flags.status()));
    return kExitBadInput;
  }
  if (flags->help) {
    fmt::print("{}", DaemonUsage());
    return kExitDone;
  }
  if (flags->version) {
    fmt::print("msegd {} (ABI {})\n", MSEG_VERSION, MSEG_ABI_VERSION);
    return kExitDone;
  }
  if (flags->detach_all) return RunDetachAll(*flags);
  auto config = LoadDaemonConfig(*flags);
  if (!config.ok()) {
    // Diagnostics begin with their place.
    fmt::print(stderr, "{}\n", Words(config.status()));
    return kExitBadInput;
  }
  return Run(*std::move(config));
}

}  // namespace
}  // namespace mseg

int main(int argc, char** argv) {
  // A few threads that allocate little: one arena serves them, and what is free in it can be given
  // back. malloc_trim() leaves the top of every other arena as it is.
  mallopt(M_ARENA_MAX, 1);
  return mseg::Main(argc, argv);
}
