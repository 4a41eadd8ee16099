// SPDX-License-Identifier: Apache-2.0
#include "bench/workspace.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/process.h"
#include "loader/dataplane.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

namespace fs = std::filesystem;

constexpr char kNetnsDir[] = "/run/netns";
constexpr char kPins[] = "/sys/fs/bpf";

// These run in the janitor, too: nothing here may throw or need the parent's state.
void RemoveCgroup(const std::string& dir) {
  std::error_code error;
  if (!fs::exists(dir, error)) return;
  { std::ofstream(dir + "/cgroup.kill") << 1; }
  for (int attempt = 0; attempt < 200; attempt++) {
    std::vector<fs::path> below;
    for (auto it = fs::recursive_directory_iterator(dir, error);
         !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      if (it->is_directory(error)) below.push_back(it->path());
    }
    for (auto it = below.rbegin(); it != below.rend(); ++it) rmdir(it->c_str());
    if (rmdir(dir.c_str()) == 0 || errno == ENOENT) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

std::vector<std::string> StartingWith(const std::string& dir, const std::string& prefix) {
  std::vector<std::string> out;
  std::error_code error;
  for (auto it = fs::directory_iterator(dir, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (absl::StartsWith(it->path().filename().string(), prefix)) out.push_back(it->path());
  }
  return out;
}

void RemoveAll(const std::string& prefix, const std::string& cgroup, const std::string& dir) {
  RemoveCgroup(cgroup);
  for (const std::string& pins : StartingWith(kPins, prefix)) {
    DetachAll(pins).status().IgnoreError();
    rmdir(pins.c_str());
  }
  for (const std::string& netns : StartingWith(kNetnsDir, prefix)) {
    umount2(netns.c_str(), MNT_DETACH);
    unlink(netns.c_str());
  }
  std::error_code error;
  fs::remove_all(dir, error);
}

}  // namespace

absl::StatusOr<std::string> CgroupRoot() {
  auto mounts = ReadWhole("/proc/self/mounts");
  if (!mounts.ok()) return mounts.status();
  std::istringstream lines(*mounts);
  std::string device, where, type, rest;
  while (lines >> device >> where >> type && std::getline(lines, rest)) {
    if (type == "cgroup2") return where;
  }
  return absl::FailedPreconditionError("no cgroup v2 hierarchy is mounted");
}

absl::StatusOr<std::unique_ptr<Workspace>> Workspace::Make() {
  auto root = CgroupRoot();
  if (!root.ok()) return root.status();
  std::unique_ptr<Workspace> out(new Workspace());
  out->name_ = absl::StrCat("mseg-bench-", getpid());
  out->dir_ = "/tmp/" + out->name_;
  out->cgroup_ = absl::StrCat(*root, "/", out->name_);
  out->StartJanitor();
  if (mkdir(out->dir_.c_str(), 0755) != 0) return ErrnoStatus(errno, "make " + out->dir_);
  if (mkdir(out->cgroup_.c_str(), 0755) != 0) return ErrnoStatus(errno, "make " + out->cgroup_);
  return out;
}

void Workspace::StartJanitor() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  const ScopedFd watched(ends[0]);
  alive_ = ScopedFd(ends[1]);
  janitor_ = fork();
  if (janitor_ != 0) return;
  setsid();
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, SIG_IGN);
  alive_.Reset();
  char byte = 0;
  while (read(watched.get(), &byte, 1) < 0 && errno == EINTR) {
  }
  RemoveAll(name_ + "-", cgroup_, dir_);
  _exit(0);
}

Workspace::~Workspace() {
  alive_.Reset();
  while (janitor_ > 0 && waitpid(janitor_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<std::string> Workspace::MakeDir(const std::string& name) const {
  const std::string path = absl::StrCat(dir_, "/", name);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return absl::InternalError(absl::StrCat("make ", path, ": ", error.message()));
  return path;
}

absl::StatusOr<std::string> Workspace::MakeCgroup(const std::string& name) const {
  const std::string path = absl::StrCat(cgroup_, "/", name);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return absl::InternalError(absl::StrCat("make ", path, ": ", error.message()));
  return path;
}

absl::StatusOr<std::string> Workspace::MakeNetns(const std::string& name) const {
  const std::string whole = absl::StrCat(name_, "-", name);
  auto made = MustRun({"ip", "netns", "add", whole});
  if (!made.ok()) return made.status();
  const std::string path = absl::StrCat(kNetnsDir, "/", whole);
  made = MustRun({"ip", "link", "set", "lo", "up"}, {.netns = path});
  if (!made.ok()) return made.status();
  // Closed connections are forgotten early, so that every slice finds the same table of them.
  made = MustRun({"sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=1024", "net.ipv4.tcp_tw_reuse=1",
                  "net.ipv4.ip_local_port_range=10000 65000"},
                 {.netns = path});
  if (!made.ok()) return made.status();
  return path;
}

void Workspace::RemoveArm(const std::string& arm) const {
  RemoveAll(absl::StrCat(name_, "-", arm), absl::StrCat(cgroup_, "/", arm),
            absl::StrCat(dir_, "/", arm));
}

std::vector<std::string> Workspace::Left() const {
  std::vector<std::string> out = StartingWith(kPins, name_ + "-");
  for (const std::string& path : StartingWith(kNetnsDir, name_ + "-")) out.push_back(path);
  for (const std::string& path : {cgroup_, dir_}) {
    std::error_code error;
    if (fs::exists(path, error)) out.push_back(path);
  }
  return out;
}

}  // namespace mseg::bench
