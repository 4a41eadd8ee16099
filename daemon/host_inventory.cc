// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_inventory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "daemon/file_system.h"
#include "daemon/mountinfo.h"
#include "labels/text.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

// enum fid_type of the kernel's <linux/exportfs.h>, which it does not export.
constexpr int kFileidKernfs = 0xfe;

struct KernfsHandle {
  file_handle header;
  uint64_t id;
};
// The handle's bytes begin where its header ends.
static_assert(offsetof(KernfsHandle, id) == sizeof(file_handle));

// On 64-bit kernels a kernfs inode number is the id itself.
constexpr bool kNumberIsId = sizeof(ino_t) == sizeof(uint64_t) && sizeof(void*) == 8;

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  if (!in || !(text << in.rdbuf())) {
    return absl::UnavailableError(Cat("host: cannot read ", path));
  }
  return text.str();
}

bool IsCgroup2(const std::string& path) {
  struct statfs fs;
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

// Zero: it cannot be told, the directory is going away.
uint64_t IdOfFd(int fd) {
  KernfsHandle handle{};
  handle.header.handle_bytes = sizeof(handle.id);
  int mount_id = 0;
  if (name_to_handle_at(fd, "", &handle.header, &mount_id, AT_EMPTY_PATH) == 0 &&
      handle.header.handle_type == kFileidKernfs &&
      handle.header.handle_bytes == sizeof(handle.id)) {
    return handle.id;
  }
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

ScopedFd OpenDir(int at, const char* path) {
  return ScopedFd(openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

absl::StatusOr<ScopedFd> OpenRoot(const std::string& root) {
  ScopedFd fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) {
    return absl::ErrnoToStatus(errno, Cat("host: cannot open the cgroup root ", root));
  }
  return fd;
}

// A cgroup has dozens of files; which of them are directories need not be looked for where the
// kernel counts none.
bool HasChildren(const struct stat& st) {
  constexpr nlink_t kNone = 2;  // its name, and `.`
  return st.st_nlink != kNone;
}

// Adds the sub-directories of `fd`, which lies at `path` below the root: to `cgroups` those that
// have none themselves, the others to `pending`. Takes the descriptor.
void ListChildren(ScopedFd fd, const std::string& path, std::vector<CgroupInfo>* cgroups,
                  std::vector<std::string>* pending) {
  const std::unique_ptr<DIR, DirCloser> dir(fdopendir(fd.get()));
  if (dir == nullptr) return;
  fd.Release();
  while (const dirent* entry = readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) continue;
    struct stat st;
    if (fstatat(dirfd(dir.get()), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISDIR(st.st_mode)) {
      continue;
    }
    std::string child = Cat(path == "/" ? "" : path, "/", name);
    // Most cgroups have no others below them, and are not opened: their number is their id.
    if (kNumberIsId && !HasChildren(st)) {
      cgroups->push_back({.id = st.st_ino, .path = std::move(child)});
    } else {
      pending->push_back(std::move(child));
    }
  }
}

// Asks the kernel for the cgroup by its id (CAP_DAC_READ_SEARCH). Empty: no answer that holds.
std::string PathByHandle(int root_fd, uint64_t id) {
  KernfsHandle handle{};
  handle.header.handle_bytes = sizeof(id);
  handle.header.handle_type = kFileidKernfs;
  handle.id = id;
  const ScopedFd fd(open_by_handle_at(root_fd, &handle.header, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return "";
  const std::string root = PathOfFd(root_fd);
  const std::string target = PathOfFd(fd.get());
  if (target == root) return "/";
  if (root.empty() || target.rfind(Cat(root, "/"), 0) != 0) return "";
  const std::string path = target.substr(root.size());
  // The link of a removed cgroup carries a suffix, and so might a live one's name: only what opens
  // and has the id is an answer.
  const ScopedFd again = OpenDir(root_fd, path.c_str() + 1);
  return again.ok() && IdOfFd(again.get()) == id ? path : "";
}

}  // namespace

absl::StatusOr<std::string> CgroupRootOf(std::string_view mountinfo) {
  std::string found;
  for (const Mount& mount : ParseMounts(mountinfo)) {
    if (mount.type != "cgroup2") continue;
    if (mount.root != "/") continue;  // a part of the hierarchy, bound into a container
    if (mount.point == "/sys/fs/cgroup") return mount.point;
    if (found.empty() || mount.point == "/sys/fs/cgroup/unified") found = mount.point;
  }
  if (!found.empty()) return found;
  return absl::FailedPreconditionError(
      "host: no cgroup v2 hierarchy is mounted. Boot with systemd.unified_cgroup_hierarchy=1, or "
      "mount one (mount -t cgroup2 none /sys/fs/cgroup/unified) and name it with --cgroup-root.");
}

absl::StatusOr<std::string> FindCgroupRoot(const std::string& mountinfo) {
  absl::StatusOr<std::string> text = ReadFile(mountinfo);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::string> root = CgroupRootOf(*text);
  if (!root.ok() || IsCgroup2(*root)) return root;
  // The path is one of pid 1's mount namespace; this process may live in another.
  const std::string from_init = Cat("/proc/1/root", *root);
  if (IsCgroup2(from_init)) return from_init;
  return absl::FailedPreconditionError(
      Cat("host: the host's cgroup v2 root ", *root,
          " cannot be seen from here. Run msegd in the host's mount namespace, or name a path with "
          "--cgroup-root."));
}

absl::StatusOr<uint64_t> CgroupId(const std::string& dir) {
  const ScopedFd fd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const uint64_t id = fd.ok() ? IdOfFd(fd.get()) : 0;
  if (id != 0) return id;
  return absl::ErrnoToStatus(errno, Cat("host: cannot tell the cgroup id of ", dir));
}

absl::StatusOr<std::vector<CgroupInfo>> WalkCgroups(const std::string& root) {
  absl::StatusOr<ScopedFd> root_fd = OpenRoot(root);
  if (!root_fd.ok()) return root_fd.status();
  std::vector<CgroupInfo> cgroups;
  std::vector<std::string> pending = {"/"};
  while (!pending.empty()) {
    const std::string path = std::move(pending.back());
    pending.pop_back();
    // Whatever cannot be opened has gone, or somebody nested cgroups beyond what a path can name;
    // neither may keep the rest of the host from being seen.
    ScopedFd fd = OpenDir(root_fd->get(), path == "/" ? "." : path.c_str() + 1);
    const uint64_t id = fd.ok() ? IdOfFd(fd.get()) : 0;
    if (id == 0) continue;
    cgroups.push_back({.id = id, .path = path});
    ListChildren(std::move(fd), path, &cgroups, &pending);
  }
  if (cgroups.empty()) {
    return absl::UnavailableError(Cat("host: cannot read the cgroup root ", root));
  }
  std::sort(cgroups.begin(), cgroups.end(),
            [](const CgroupInfo& a, const CgroupInfo& b) { return a.path < b.path; });
  return cgroups;
}

absl::StatusOr<std::string> CgroupPathOf(const std::string& root, uint64_t id) {
  absl::StatusOr<ScopedFd> root_fd = OpenRoot(root);
  if (!root_fd.ok()) return root_fd.status();
  std::string path = PathByHandle(root_fd->get(), id);
  if (!path.empty()) return path;
  absl::StatusOr<std::vector<CgroupInfo>> cgroups = WalkCgroups(root);
  if (!cgroups.ok()) return cgroups.status();
  for (CgroupInfo& cgroup : *cgroups) {
    if (cgroup.id == id) return std::move(cgroup.path);
  }
  return absl::NotFoundError(Cat("host: no cgroup below ", root, " has the id ", id));
}

namespace {

// Unset: the host does not know the name.
absl::StatusOr<std::optional<uint32_t>> UidOf(const std::string& name) {
  std::vector<char> buffer(4096);
  while (true) {
    passwd entry;
    passwd* result = nullptr;
    const int error = getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &result);
    if (error == ERANGE && buffer.size() < (1 << 20)) {
      buffer.resize(buffer.size() * 2);
      continue;
    }
    if (error == EINTR) continue;
    if (result != nullptr) return entry.pw_uid;
    // What "no such user" looks like differs between name services; see getpwnam(3).
    if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM) {
      return std::nullopt;
    }
    return absl::ErrnoToStatus(error, Cat("host: cannot look up the user ", name));
  }
}

}  // namespace

absl::StatusOr<std::map<std::string, uint32_t>> ResolveUsers(const std::set<std::string>& names) {
  std::map<std::string, uint32_t> uids;
  for (const std::string& name : names) {
    absl::StatusOr<std::optional<uint32_t>> uid = UidOf(name);
    if (!uid.ok()) return uid.status();
    if (uid->has_value()) uids.emplace(name, **uid);
  }
  return uids;
}

std::string UserName(uint32_t uid) {
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found != nullptr) {
    return found->pw_name;
  }
  return std::to_string(uid);
}

absl::StatusOr<std::string> ReadBootId() {
  absl::StatusOr<std::string> text = ReadFile("/proc/sys/kernel/random/boot_id");
  if (!text.ok()) return text.status();
  return std::string(absl::StripAsciiWhitespace(*text));
}

absl::StatusOr<std::string> ReadHostName() {
  utsname names;
  if (uname(&names) != 0) return absl::ErrnoToStatus(errno, "host: cannot read the host's name");
  return names.nodename;
}

absl::StatusOr<KernelInfo> ReadKernelInfo() {
  utsname names;
  if (uname(&names) != 0) return absl::ErrnoToStatus(errno, "host: cannot read the kernel's name");
  return KernelInfo{.release = names.release, .version = names.version, .machine = names.machine};
}

}  // namespace mseg
