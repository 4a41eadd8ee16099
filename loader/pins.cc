// SPDX-License-Identifier: Apache-2.0
#include "loader/pins.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "loader/dataplane.h"
#include "loader/device_filters.h"
#include "loader/errno_status.h"
#include "loader/programs.h"

namespace mseg {
namespace {

namespace fs = std::filesystem;
constexpr char kDefaultBpffs[] = "/sys/fs/bpf";
constexpr char kFresh[] = "_new";  // suffix of a pin that is about to replace another
constexpr const char* kFolders[] = {kLinkPins, kProgramPins, kMapPins};
constexpr char kOwn[] = "mseg_";  // how the name of every pin begins: others are not touched

bool IsBpffs(const std::string& path) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 && info.f_type == BPF_FS_MAGIC;
}

bool IsMountRoot(const std::string& path) {
  struct stat here {
  }, up{};
  return stat(path.c_str(), &here) == 0 && stat((path + "/..").c_str(), &up) == 0 &&
         here.st_dev != up.st_dev;
}

std::string NearestExisting(fs::path path) {
  std::error_code error;
  while (!fs::exists(path, error) && path.has_parent_path() && path != path.parent_path()) {
    path = path.parent_path();
  }
  return path.string();
}

// What mseg pinned in a folder, in order.
std::set<std::string> PinsIn(const std::string& pin_dir, const char* folder) {
  std::set<std::string> pins;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(pin_dir + "/" + folder, error)) {
    if (absl::StartsWith(entry.path().filename().string(), kOwn)) pins.insert(entry.path());
  }
  return pins;
}

// Program ids of the links and programs pinned below a directory.
std::set<uint32_t> PinnedPrograms(const std::string& pin_dir) {
  std::set<uint32_t> ids;
  for (const std::string& pin : PinsIn(pin_dir, kLinkPins)) {
    const ScopedFd fd(bpf_obj_get(pin.c_str()));
    bpf_link_info info{};
    uint32_t size = sizeof(info);
    if (fd.ok() && bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0) ids.insert(info.prog_id);
  }
  for (const std::string& pin : PinsIn(pin_dir, kProgramPins)) {
    const ScopedFd fd(bpf_obj_get(pin.c_str()));
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (fd.ok() && bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0) ids.insert(info.id);
  }
  return ids;
}

std::set<uint32_t> PinnedMaps(const std::string& pin_dir) {
  std::set<uint32_t> ids;
  for (const std::string& pin : PinsIn(pin_dir, kMapPins)) {
    const ScopedFd fd(bpf_obj_get(pin.c_str()));
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (fd.ok() && bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0) ids.insert(info.id);
  }
  return ids;
}

// Of the instance that pinned its state here; 0 where that cannot be read.
uint64_t PinnedCgroupRoot(const std::string& pin_dir) {
  const ScopedFd fd(bpf_obj_get(absl::StrCat(pin_dir, "/", kMapPins, "/", kManifestMap).c_str()));
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  mseg_manifest manifest{};
  const uint32_t zero = 0;
  if (!fd.ok() || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0 ||
      info.value_size != sizeof(manifest) || bpf_map_lookup_elem(fd.get(), &zero, &manifest) != 0) {
    return 0;
  }
  return manifest.cgroup_root_id;
}

// The kernel frees programs and maps some time after the last reference went.
absl::Status WaitUntilGone(const std::set<uint32_t>& programs, const std::set<uint32_t>& maps) {
  for (int attempt = 0; attempt < 400; attempt++) {
    const bool program = std::any_of(programs.begin(), programs.end(), [](uint32_t id) {
      return ScopedFd(bpf_prog_get_fd_by_id(id)).ok();
    });
    const bool map = std::any_of(maps.begin(), maps.end(), [](uint32_t id) {
      return ScopedFd(bpf_map_get_fd_by_id(id)).ok();
    });
    if (!program && !map) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return absl::UnavailableError(
      "some programs or maps are still held by a process; stop every msegd and bpftool and try "
      "again");
}

// A program of mseg that the kernel has, whoever holds it; 0 when there is none.
uint32_t LoadedProgram(std::string* name) {
  for (uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
    const ScopedFd fd(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (!fd.ok() || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) continue;
    *name = info.name;
    for (const ProgramSpec& spec : kPrograms) {
      if (*name == spec.name.substr(0, sizeof(info.name) - 1)) return id;
    }
  }
  return 0;
}

// "Nothing is left on this host" is asked of the kernel: pins may be where they are not seen.
absl::Status CheckNothingLoaded() {
  std::string name;
  uint32_t id = LoadedProgram(&name);
  for (int attempt = 0; id != 0 && attempt < 80; attempt++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
    id = LoadedProgram(&name);
  }
  if (id == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "programs of mseg are still loaded (", name, ", id ", id,
      "): they are pinned on a bpf file system that is not seen from here, or a process holds "
      "them. Run msegd --detach-all in the host's mount namespace, with every msegd stopped"));
}

}  // namespace

std::string ResolvePinDir(const std::string& path) {
  return IsBpffs(path) && IsMountRoot(path) ? path + "/mseg" : path;
}

absl::StatusOr<std::string> PreparePinDir(const std::string& path) {
  if (!IsBpffs(NearestExisting(path)) && absl::StartsWith(path + "/", "/sys/fs/bpf/")) {
    if (mount("bpf", kDefaultBpffs, "bpf", 0, nullptr) != 0) {
      return ErrnoStatus(errno, "mount a bpf file system at /sys/fs/bpf");
    }
  }
  if (!IsBpffs(NearestExisting(path))) {
    return absl::FailedPreconditionError(
        absl::StrCat("pin directory ", path,
                     " is not on a bpf file system; mount one there (mount "
                     "-t bpf bpf DIR) or use a path below /sys/fs/bpf"));
  }
  const std::string dir = ResolvePinDir(path);
  for (const char* folder : kFolders) {
    std::error_code error;
    fs::create_directories(dir + "/" + folder, error);
    if (error) return ErrnoStatus(error.value(), absl::StrCat("make ", dir, "/", folder));
  }
  chmod(dir.c_str(), 0700);
  return dir;
}

bool HasPins(const std::string& pin_dir) {
  return HasLinks(pin_dir) || !PinsIn(pin_dir, kProgramPins).empty() ||
         !PinsIn(pin_dir, kMapPins).empty();
}

bool HasLinks(const std::string& pin_dir) { return !PinsIn(pin_dir, kLinkPins).empty(); }

absl::Status ReplacePin(int fd, const std::string& path) {
  const std::string fresh = path + kFresh;
  unlink(fresh.c_str());
  if (bpf_obj_pin(fd, fresh.c_str()) != 0) return ErrnoStatus(errno, "pin " + fresh);
  if (rename(fresh.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "pin " + path);
  return absl::OkStatus();
}

void FinishPins(const std::string& pin_dir) {
  for (const char* folder : kFolders) {
    std::error_code error;
    for (const std::string& fresh : PinsIn(pin_dir, folder)) {
      if (!absl::EndsWith(fresh, kFresh)) continue;
      const std::string pin = fresh.substr(0, fresh.size() - strlen(kFresh));
      if (fs::exists(pin, error)) {
        unlink(fresh.c_str());
      } else {
        rename(fresh.c_str(), pin.c_str());
      }
    }
  }
}

absl::StatusOr<std::vector<std::string>> RemovePins(const std::string& pin_dir,
                                                    bool keep_directories) {
  std::vector<std::string> removed;
  for (const char* folder : kFolders) {
    const std::string dir = pin_dir + "/" + folder;
    for (const std::string& pin : PinsIn(pin_dir, folder)) {
      if (unlink(pin.c_str()) != 0) return ErrnoStatus(errno, "unpin " + pin);
      removed.push_back(pin);
    }
    if (!keep_directories) rmdir(dir.c_str());
  }
  if (!keep_directories) rmdir(pin_dir.c_str());
  return removed;
}

absl::StatusOr<std::vector<std::string>> FindPinDirs() {
  std::set<std::string> dirs;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 5 || dash == fields.end() || dash + 1 == fields.end()) continue;
    if (*(dash + 1) != "bpf") continue;
    std::error_code error;
    for (auto it = fs::recursive_directory_iterator(fields[4], error);
         it != fs::recursive_directory_iterator(); it.increment(error)) {
      // Any pin will do: a removal that was killed, or somebody, may have taken the manifest.
      const fs::path folder = it->path().parent_path();
      if (!absl::StartsWith(it->path().filename().string(), kOwn)) continue;
      if (absl::c_linear_search(kFolders, folder.filename())) {
        dirs.insert(folder.parent_path().string());
      }
    }
  }
  return std::vector<std::string>(dirs.begin(), dirs.end());
}

absl::StatusOr<int> PinDirHolder(const std::string& pin_dir) {
  struct stat info {};
  if (stat(pin_dir.c_str(), &info) != 0) return 0;
  const ScopedFd fd(open(pin_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoStatus(errno, "open " + pin_dir);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return 0;
  std::ifstream locks("/proc/locks");
  if (const int pid = LockHolder(locks, info.st_dev, info.st_ino); pid > 0) return pid;
  return absl::UnavailableError(absl::StrCat(pin_dir, " is locked by a process that is not shown"));
}

int LockHolder(std::istream& locks, dev_t device, ino_t inode) {
  // An inode's number alone is another file's on another file system.
  const std::string wanted =
      absl::StrFormat("%02x:%02x:%d", major(device), minor(device), uint64_t{inode});
  for (std::string line; std::getline(locks, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    // 1: FLOCK ADVISORY WRITE pid major:minor:inode ...
    int pid = 0;
    if (fields.size() >= 6 && fields[1] == "FLOCK" && fields[5] == wanted &&
        absl::SimpleAtoi(fields[4], &pid)) {
      return pid;
    }
  }
  return 0;
}

absl::StatusOr<std::vector<std::string>> DetachAll(const std::string& pin_dir) {
  std::vector<std::string> dirs;
  if (pin_dir.empty()) {
    auto found = FindPinDirs();
    if (!found.ok()) return found.status();
    dirs = *found;
  } else {
    dirs.push_back(ResolvePinDir(pin_dir));
  }
  std::set<uint32_t> programs, maps;
  std::vector<std::string> removed;
  for (const std::string& dir : dirs) {
    const std::set<uint32_t> pinned = PinnedPrograms(dir);
    programs.insert(pinned.begin(), pinned.end());
    maps.merge(PinnedMaps(dir));
    MSEG_RETURN_IF_ERROR(
        RemoveDeviceFilters({.programs = pinned, .cgroup_root_id = PinnedCgroupRoot(dir)}));
    auto pins = RemovePins(dir);
    if (!pins.ok()) return pins.status();
    removed.insert(removed.end(), pins->begin(), pins->end());
  }
  if (pin_dir.empty()) MSEG_RETURN_IF_ERROR(RemoveDeviceFilters({.any = true}));
  MSEG_RETURN_IF_ERROR(WaitUntilGone(programs, maps));
  if (pin_dir.empty()) MSEG_RETURN_IF_ERROR(CheckNothingLoaded());
  return removed;
}

}  // namespace mseg
