// SPDX-License-Identifier: Apache-2.0
#include "daemon/guard.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

constexpr size_t kMaxAttempts = 16;
constexpr std::array<std::string_view, MSEG_TAMPER_MAX> kTamperNames = {
    "", "map", "link", "program", "bpf_load", "file", "unmount", "signal", "trace"};

struct KeyLess {
  bool operator()(const mseg_guarded_key& a, const mseg_guarded_key& b) const {
    return std::tie(a.number, a.dev, a.is_map) < std::tie(b.number, b.dev, b.is_map);
  }
};
using GuardedSet = std::set<mseg_guarded_key, KeyLess>;

// The directory itself and every one below it.
absl::StatusOr<std::vector<std::string>> DirectoriesOf(const std::string& parent) {
  std::vector<std::string> directories = {parent};
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(parent, error);
       it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    if (it->is_directory(error) && !it->is_symlink(error)) directories.push_back(it->path());
  }
  if (error) return ErrnoStatus(error.value(), "look through " + parent);
  return directories;
}

// As the kernel names them.
absl::StatusOr<std::vector<mseg_exe_key>> KeysOf(const Dataplane& dataplane,
                                                 const std::vector<std::string>& directories) {
  std::vector<ScopedFd> fds;
  for (const std::string& path : directories) {
    fds.emplace_back(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fds.back().ok()) return ErrnoStatus(errno, "open " + path);
  }
  const auto known = dataplane.FileKeys();
  if (!known.ok()) return known.status();
  std::vector<mseg_exe_key> keys;
  for (const ScopedFd& fd : fds) {
    const auto it = known->find(fd.get());
    if (it == known->end()) return absl::InternalError("the kernel does not show an open file");
    keys.push_back(it->second);
  }
  return keys;
}

int64_t WallUs(uint64_t monotonic_ns) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t age_ns =
      now.tv_sec * 1'000'000'000 + now.tv_nsec - static_cast<int64_t>(monotonic_ns);
  return absl::ToUnixMicros(absl::Now()) - age_ns / 1000;
}

}  // namespace

std::string_view TamperName(uint32_t act) { return act < MSEG_TAMPER_MAX ? kTamperNames[act] : ""; }

absl::Status Guard::NameOwn(const mseg_exe_key& self) {
  std::map<Digest, uint8_t> roles;
  if (config_.enabled) {
    const auto known = exes_.ByKey(self);
    if (!known.has_value()) {
      return absl::FailedPreconditionError(
          "self_protection: msegd's own executable cannot be known by its content; it must be a "
          "file of a local file system");
    }
    roles[known->info.digest] |= MSEG_ROLE_OWN;
    for (const Digest& digest : config_.successors) roles[digest] |= MSEG_ROLE_OWN;
    for (const Digest& digest : config_.loaders) roles[digest] |= MSEG_ROLE_LOADER;
    for (const std::string& path : config_.loader_paths) {
      const auto loader = exes_.LearnFile(path, /*trusted_only=*/true);
      if (loader.ok()) {
        roles[loader->info.digest] |= MSEG_ROLE_LOADER;
      } else {
        log_(absl::StrCat("self_protection: ", path, " of bpf_loaders loads nothing: ",
                          std::string(loader.status().message())));
      }
    }
  }
  return exes_.SetRoles(roles);
}

absl::Status Guard::FillConfig(mseg_config* config) const {
  if (!config_.enabled) return absl::OkStatus();
  const auto pins = KeysOf(dataplane_, {dataplane_.pin_dir()});
  if (!pins.ok()) return pins.status();
  struct stat ns {};
  if (stat("/proc/self/ns/mnt", &ns) != 0) return ErrnoStatus(errno, "/proc/self/ns/mnt");
  struct statx root {};
  if (statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &root) != 0) return ErrnoStatus(errno, "statx /");
  config->guard = MSEG_GUARD_ON | (config_.limit_loaders ? MSEG_GUARD_LOADERS : 0);
  config->pins_dev = pins->front().dev;
  config->mount_ns = static_cast<uint32_t>(ns.st_ino);
  config->root_mount = static_cast<uint32_t>(root.stx_mnt_id);
  return absl::OkStatus();
}

absl::Status Guard::NameGuarded() const {
  GuardedSet wanted;
  if (config_.enabled) {
    for (const std::string& parent : {dataplane_.pin_dir(), state_dir_}) {
      const auto directories = DirectoriesOf(parent);
      if (!directories.ok()) return directories.status();
      const auto keys = KeysOf(dataplane_, *directories);
      if (!keys.ok()) return keys.status();
      for (const mseg_exe_key& key : *keys) {
        wanted.insert({.number = key.ino, .dev = key.dev, .is_map = 0});
      }
    }
    auto maps = dataplane_.MapIds();
    if (!maps.ok()) return maps.status();
    for (const uint32_t id : *maps) wanted.insert({.number = id, .dev = 0, .is_map = 1});
  }
  const auto table = dataplane_.View<mseg_guarded_key, uint32_t>("mseg_guarded");
  for (const mseg_guarded_key& key : wanted) MSEG_RETURN_IF_ERROR(table.Update(key, 1));
  auto there = table.Dump();
  if (!there.ok()) return there.status();
  for (const auto& [key, value] : *there) {
    if (wanted.count(key) == 0) MSEG_RETURN_IF_ERROR(table.Delete(key));
  }
  return absl::OkStatus();
}

void Guard::Note(const mseg_tamper_event& event, const std::string& exe) {
  api::Tampering attempt;
  attempt.time_us = WallUs(event.time_ns);
  attempt.act = std::string(TamperName(event.act));
  attempt.subject = event.subject;
  attempt.pid = event.by.id.tgid;
  attempt.uid = event.by.id.uid;
  attempt.comm.assign(event.comm, strnlen(event.comm, sizeof(event.comm)));
  attempt.exe = exe;
  log_(absl::StrCat("TAMPERING refused: ", attempt.act, " ", attempt.subject, " by pid ",
                    attempt.pid, " (", attempt.comm, exe.empty() ? "" : ", ", exe, ", uid ",
                    attempt.uid, ")"));
  attempts_.push_back(std::move(attempt));
  if (attempts_.size() > kMaxAttempts) attempts_.pop_front();
}

}  // namespace mseg
