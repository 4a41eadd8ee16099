// SPDX-License-Identifier: Apache-2.0
#include "daemon/file_system.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/mountinfo.h"

namespace mseg {
namespace {

// The kernel exports no name for these.
constexpr auto kXfs = 0x58465342;
constexpr auto kBcachefs = 0xca451a4e;
constexpr auto kErofs = 0xe0f5e1e2;

bool ShowsChanges(uint32_t type) {
  static constexpr uint32_t kTypes[] = {
      EXT4_SUPER_MAGIC, kXfs,   BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
      kBcachefs,        kErofs, SQUASHFS_MAGIC,    ISOFS_SUPER_MAGIC};
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

std::optional<Mount> MountOf(int fd, const std::string& proc) {
  std::ifstream info(absl::StrCat("/proc/self/fdinfo/", fd));
  std::string line;
  uint64_t id = 0;
  while (std::getline(info, line)) {
    if (!absl::StartsWith(line, "mnt_id:")) continue;
    if (!absl::SimpleAtoi(line.substr(sizeof("mnt_id:") - 1), &id)) return std::nullopt;
    for (Mount& mount : ReadMounts(proc + "/mountinfo")) {
      if (mount.id == id) return std::move(mount);
    }
  }
  return std::nullopt;
}

absl::Status Unseen(const std::string& where) {
  return absl::FailedPreconditionError(absl::StrCat(
      "others than root can write it, and ", where,
      " does not show each change of a file; without BPF LSM it cannot be known there"));
}

}  // namespace

absl::Status CheckChangesShow(int fd, const std::string& proc) {
  struct statfs fs {};
  if (fstatfs(fd, &fs) != 0) return absl::ErrnoToStatus(errno, "fstatfs");
  if (ShowsChanges(static_cast<uint32_t>(fs.f_type))) return absl::OkStatus();
  const std::optional<Mount> mount = proc.empty() ? std::nullopt : MountOf(fd, proc);
  const std::string type = mount ? mount->type : "its file system";
  if (static_cast<uint32_t>(fs.f_type) != OVERLAYFS_SUPER_MAGIC || !mount) return Unseen(type);
  // What is written lies in the upper directory; below there is what root has put there.
  const auto upper = mount->settings.find("upperdir");
  if (upper == mount->settings.end()) return absl::OkStatus();
  if (statfs(upper->second.c_str(), &fs) == 0 && ShowsChanges(static_cast<uint32_t>(fs.f_type))) {
    return absl::OkStatus();
  }
  return Unseen(absl::StrCat("the upper directory of its overlay, ", upper->second, ","));
}

}  // namespace mseg
