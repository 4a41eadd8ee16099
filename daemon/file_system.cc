// SPDX-License-Identifier: Apache-2.0
#include "daemon/file_system.h"

#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdint>

namespace mseg {

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
