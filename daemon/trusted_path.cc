// SPDX-License-Identifier: Apache-2.0
#include "daemon/trusted_path.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "labels/glob.h"
#include "labels/text.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

// Who answers for such a file system is not this host's kernel: owner, mode and content are what a
// server or another process says they are. Values that <linux/magic.h> lacks are those of the
// kernel's fs/ceph/super.h and of Lustre's and GPFS's own headers.
constexpr long kForeignFileSystems[] = {
    NFS_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB_SUPER_MAGIC, SMB2_SUPER_MAGIC,
    FUSE_SUPER_MAGIC, V9FS_MAGIC,       AFS_SUPER_MAGIC, AFS_FS_MAGIC,
    CODA_SUPER_MAGIC, 0x00c36400,       0x0bd00bd0,      0x47504653,
};

// What is wrong with something on the way to the file; empty: nothing.
using Complaint = std::optional<std::string>;

std::string Errno(int error) { return strerror(error); }

// An entry that lets anybody but root write. Entries above the mask count too: the next chmod may
// raise the mask.
bool GrantsWrite(const posix_acl_xattr_entry& entry) {
  if ((le16toh(entry.e_perm) & ACL_WRITE) == 0) return false;
  switch (le16toh(entry.e_tag)) {
    case ACL_USER_OBJ:  // the owner, who is root
    case ACL_MASK:      // grants nothing by itself
      return false;
    case ACL_USER:
      return le32toh(entry.e_id) != 0;
    default:
      return true;
  }
}

Complaint CheckAcl(int fd) {
  // An O_PATH descriptor has no xattr calls of its own.
  const std::string link = Cat("/proc/self/fd/", fd);
  std::vector<char> value(4096);
  const ssize_t size =
      getxattr(link.c_str(), "system.posix_acl_access", value.data(), value.size());
  if (size < 0) {
    if (errno == ENODATA || errno == EOPNOTSUPP) return std::nullopt;
    return Cat("has an access control list that cannot be read (", Errno(errno), ")");
  }
  posix_acl_xattr_header header;
  const size_t body = static_cast<size_t>(size) - std::min<size_t>(size, sizeof(header));
  if (static_cast<size_t>(size) < sizeof(header) || body % sizeof(posix_acl_xattr_entry) != 0) {
    return "has an access control list of an unknown form";
  }
  memcpy(&header, value.data(), sizeof(header));
  if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION) {
    return "has an access control list of an unknown version";
  }
  for (size_t at = sizeof(header); at < static_cast<size_t>(size);
       at += sizeof(posix_acl_xattr_entry)) {
    posix_acl_xattr_entry entry;
    memcpy(&entry, value.data() + at, sizeof(entry));
    if (GrantsWrite(entry)) return "has an access control list that lets others than root write";
  }
  return std::nullopt;
}

// Owner, mode, ACL and file system of one directory or file. A sticky bit does not help: it keeps
// others from renaming what is there, not from adding names.
Complaint CheckNode(int fd, const struct stat& st) {
  if (st.st_uid != 0) return Cat("belongs to uid ", st.st_uid, ", not to root");
  if ((st.st_mode & S_IWGRP) != 0) return "is writable by its group";
  if ((st.st_mode & S_IWOTH) != 0) return "is writable by everybody";
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return Cat("cannot be examined: ", Errno(errno));
  // Kept as 32 bits: some of the numbers above have their highest bit set.
  for (const long foreign : kForeignFileSystems) {
    if (static_cast<uint32_t>(fs.f_type) == static_cast<uint32_t>(foreign)) {
      return "lies on a network or FUSE file system";
    }
  }
  return CheckAcl(fd);
}

PathTrust Untrusted(std::string_view node, std::string_view complaint) {
  return {.trusted = false, .reason = Cat(node, " ", complaint)};
}

// The components of a resolved absolute path; nothing if it is not one.
std::optional<std::vector<std::string>> Components(std::string_view path) {
  if (path.size() < 2 || path.front() != '/' || path.back() == '/') return std::nullopt;
  if (path.find('\0') != path.npos || path.find("//") != path.npos) return std::nullopt;
  std::vector<std::string> parts;
  for (const std::string_view part : PathComponents(path)) {
    if (part == "." || part == "..") return std::nullopt;
    parts.emplace_back(part);
  }
  return parts;
}

// What one step of the walk expects to find.
Complaint CheckStep(int fd, bool last, struct stat* st) {
  if (fstat(fd, st) != 0) return Cat("cannot be examined: ", Errno(errno));
  if (S_ISLNK(st->st_mode)) return "is a symbolic link";
  if (last && !S_ISREG(st->st_mode)) return "is not a regular file";
  if (!last && !S_ISDIR(st->st_mode)) return "is not a directory";
  return CheckNode(fd, *st);
}

}  // namespace

PathTrust CheckTrustedPath(int root_fd, std::string_view path, int file_fd) {
  const auto parts = Components(path);
  if (!parts.has_value()) return {.trusted = false, .reason = "the path is not a resolved one"};
  struct stat st;
  ScopedFd current(openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!current.ok()) return Untrusted("/", Cat("cannot be opened: ", Errno(errno)));
  if (Complaint bad = CheckStep(current.get(), false, &st)) return Untrusted("/", *bad);

  std::string walked;
  for (size_t i = 0; i < parts->size(); ++i) {
    Append(&walked, "/", (*parts)[i]);
    ScopedFd next(openat(current.get(), (*parts)[i].c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!next.ok()) return Untrusted(walked, Cat("cannot be opened: ", Errno(errno)));
    if (Complaint bad = CheckStep(next.get(), i + 1 == parts->size(), &st)) {
      return Untrusted(walked, *bad);
    }
    current = std::move(next);
  }
  struct stat file;
  if (fstat(file_fd, &file) != 0) {
    return Untrusted(walked, Cat("cannot be compared: ", Errno(errno)));
  }
  if (st.st_dev != file.st_dev || st.st_ino != file.st_ino) {
    return Untrusted(walked, "is another file now");
  }
  return {.trusted = true, .reason = ""};
}

namespace {

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

struct FreeDeleter {
  void operator()(char* text) const { free(text); }
};

void AddIfFile(const std::string& path, std::set<std::string>* found) {
  const std::unique_ptr<char, FreeDeleter> resolved(realpath(path.c_str(), nullptr));
  struct stat st;
  if (resolved == nullptr || stat(resolved.get(), &st) != 0 || !S_ISREG(st.st_mode)) return;
  found->insert(resolved.get());
}

// Walks the directories that the pattern may match below. Directories that cannot be read hold no
// candidate; symlinks are followed only where they are the match itself.
class GlobWalk {
 public:
  GlobWalk(const PathPattern& pattern, std::set<std::string>* found)
      : pattern_(pattern), found_(*found) {}

  void Below(const std::string& dir) {
    const std::unique_ptr<DIR, DirCloser> stream(opendir(dir.empty() ? "/" : dir.c_str()));
    if (stream == nullptr) return;
    std::vector<std::string> deeper;
    while (const dirent* entry = readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (++visited_ > kMostEntries) return;
      const std::string path = Cat(dir, "/", name);
      struct stat st;
      if (lstat(path.c_str(), &st) != 0) continue;
      if (S_ISDIR(st.st_mode)) {
        if (pattern_.MayMatchBelow(path)) deeper.push_back(path);
      } else if (pattern_.Matches(path)) {
        AddIfFile(path, &found_);
      }
    }
    for (const std::string& path : deeper) Below(path);
  }

 private:
  // `/**` must not keep the daemon busy for minutes; what is beyond is hashed when it is executed.
  static constexpr size_t kMostEntries = 200000;

  const PathPattern& pattern_;
  std::set<std::string>& found_;
  size_t visited_ = 0;
};

void AddMatches(const std::string& text, std::set<std::string>* found) {
  const absl::StatusOr<PathPattern> pattern = PathPattern::Parse(text);
  if (!pattern.ok()) return;  // the compiler says what is wrong with it
  if (pattern->literal()) return AddIfFile(pattern->text(), found);
  // The walk begins at the last directory that is named without a wildcard.
  const size_t wildcard = text.find_first_of("*?[\\");
  GlobWalk(*pattern, found).Below(text.substr(0, text.rfind('/', wildcard)));
}

}  // namespace

std::vector<std::string> ResolveNamed(const std::set<std::string>& exe_patterns,
                                      const std::set<std::string>& names,
                                      absl::Span<const std::string_view> search_path) {
  std::set<std::string> found;
  for (const std::string& pattern : exe_patterns) {
    AddMatches(pattern, &found);
  }
  for (const std::string& name : names) {
    if (name.empty() || name.find('/') != std::string::npos) continue;
    if (name == "." || name == "..") continue;
    for (const std::string_view dir : search_path) {
      AddIfFile(Cat(dir, "/", name), &found);
    }
  }
  return {found.begin(), found.end()};
}

namespace {

constexpr int kMostLinks = 40;

// Follows a path step by step, as the kernel would, and holds every directory and every link on the
// way to the same standard as a trusted path.
bool LinkIsTrusted(const std::string& path) {
  std::deque<std::string> todo;
  for (const std::string_view part : PathComponents(path)) todo.emplace_back(part);
  std::vector<std::string> done;
  for (int links = 0; !todo.empty();) {
    const std::string part = todo.front();
    todo.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      if (!done.empty()) done.pop_back();
      continue;
    }
    std::string at;
    for (const std::string& name : done) Append(&at, "/", name);
    const std::string here = Cat(at, "/", part);
    const ScopedFd dir(
        open(at.empty() ? "/" : at.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;
    if (!dir.ok() || CheckStep(dir.get(), false, &st)) return false;
    if (lstat(here.c_str(), &st) != 0 || st.st_uid != 0) return false;
    if (!S_ISLNK(st.st_mode)) {
      done.push_back(part);
      continue;
    }
    char target[PATH_MAX];
    const ssize_t n = readlink(here.c_str(), target, sizeof(target));
    if (n <= 0 || n == sizeof(target) || ++links > kMostLinks) return false;
    const std::string_view text(target, static_cast<size_t>(n));
    if (text.front() == '/') done.clear();
    const auto parts = PathComponents(text);
    todo.insert(todo.begin(), parts.begin(), parts.end());
  }
  return true;
}

void AddLink(const std::string& path, std::map<std::string, std::string>* links) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr || path == resolved) return;
  if (LinkIsTrusted(path)) (*links)[path] = resolved;
}

}  // namespace

std::map<std::string, std::string> ResolveTrustedLinks(
    const std::set<std::string>& exe_patterns, const std::set<std::string>& names,
    absl::Span<const std::string_view> search_path) {
  std::map<std::string, std::string> links;
  for (const std::string& text : exe_patterns) {
    const absl::StatusOr<PathPattern> pattern = PathPattern::Parse(text);
    if (pattern.ok() && pattern->literal()) AddLink(pattern->text(), &links);
  }
  for (const std::string& name : names) {
    if (name.empty() || name.find('/') != std::string::npos) continue;
    for (const std::string_view dir : search_path) AddLink(Cat(dir, "/", name), &links);
  }
  return links;
}

}  // namespace mseg
