// SPDX-License-Identifier: Apache-2.0
#include "ctl/executable_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mseg::ctl {
namespace {

absl::Status CannotRead(const std::string& path, int error) {
  return absl::InvalidArgumentError(absl::StrCat("cannot read ", path, ": ", strerror(error)));
}

bool OnlyRootWrites(const std::string& path) {
  struct stat found;
  return lstat(path.c_str(), &found) == 0 && found.st_uid == 0 &&
         (found.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// The file and every directory above it.
bool TrustedPath(std::string path) {
  while (path != "/") {
    if (!OnlyRootWrites(path)) return false;
    size_t slash = path.rfind('/');
    path.resize(slash == 0 ? 1 : slash);
  }
  return OnlyRootWrites("/");
}

absl::StatusOr<Digest> HashDescriptor(int fd, const std::string& path) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  std::vector<unsigned char> buffer(1 << 16);
  for (;;) {
    ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CannotRead(path, errno);
    if (got == 0) break;
    crypto_hash_sha256_update(&state, buffer.data(), static_cast<unsigned long long>(got));
  }
  Digest digest{};
  crypto_hash_sha256_final(&state, digest.data());
  return digest;
}

}  // namespace

absl::StatusOr<ExecutableInfo> ReadExecutable(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return CannotRead(path, errno);
  // O_NONBLOCK: a pipe must not make us wait.
  int fd = open(resolved, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return CannotRead(path, errno);
  struct stat found;
  if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  auto digest = HashDescriptor(fd, path);
  close(fd);
  if (!digest.ok()) return digest.status();
  ExecutableInfo executable;
  executable.ref = 1;
  executable.digest = *digest;
  executable.path = resolved;
  executable.trusted_path = TrustedPath(resolved);
  executable.grade = MSEG_GRADE_HASH;
  return executable;
}

}  // namespace mseg::ctl
