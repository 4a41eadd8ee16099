// SPDX-License-Identifier: Apache-2.0
#include "daemon/file_system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mseg {

std::string PathOfFd(int fd) {
  char path[PATH_MAX];
  const ssize_t size = readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), path, sizeof(path));
  return size > 0 ? std::string(path, static_cast<size_t>(size)) : "";
}

// A lease is for such files. It is given back at once, and who opens the file meanwhile is told by
// a signal that nobody notices.
absl::Status CheckUnwritten(int fd) {
  fcntl(fd, F_SETSIG, SIGURG);
  if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return absl::OkStatus();
  }
  if (errno == EAGAIN) return absl::AbortedError("somebody has it open for writing");
  return absl::FailedPreconditionError(absl::StrCat(
      "whether somebody has it open for writing cannot be told (F_SETLEASE: ", strerror(errno),
      ")"));
}

bool IsRootsAlone(int fd) {
  struct stat st {};
  struct statvfs mount {};
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
         (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 && fstatvfs(fd, &mount) == 0 &&
         (mount.f_flag & ST_NOSUID) == 0;
}

bool HasVerity(int fd) {
  constexpr uint16_t kLargest = 64;
  alignas(fsverity_digest) char space[sizeof(fsverity_digest) + kLargest] = {};
  auto* digest = reinterpret_cast<fsverity_digest*>(space);
  digest->digest_size = kLargest;
  return ioctl(fd, FS_IOC_MEASURE_VERITY, digest) == 0;
}

}  // namespace mseg
