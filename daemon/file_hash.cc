// SPDX-License-Identifier: Apache-2.0
#include "daemon/file_hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr size_t kChunk = 256 << 10;

bool Same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

struct DigestContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

absl::Status CryptoFailed() {
  return absl::InternalError("file hash: libcrypto refuses SHA-256 on this host");
}

// Reads to the end of the file, or one byte beyond `limit`.
absl::StatusOr<uint64_t> Feed(int fd, uint64_t limit, EVP_MD_CTX* context) {
  std::vector<uint8_t> chunk(kChunk);
  uint64_t offset = 0;
  while (offset <= limit) {
    const ssize_t got = pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "file hash: cannot read");
    if (got == 0) break;
    if (EVP_DigestUpdate(context, chunk.data(), static_cast<size_t>(got)) != 1) {
      return CryptoFailed();
    }
    offset += static_cast<uint64_t>(got);
  }
  return offset;
}

absl::StatusOr<Digest> Sha256(int fd, uint64_t expected_size) {
  const std::unique_ptr<EVP_MD_CTX, DigestContextDeleter> context(EVP_MD_CTX_new());
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    return CryptoFailed();
  }
  absl::StatusOr<uint64_t> read = Feed(fd, expected_size, context.get());
  if (!read.ok()) return read.status();
  if (*read != expected_size) return absl::AbortedError("file hash: the size changed meanwhile");
  Digest digest;
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1 || size != digest.size()) {
    return CryptoFailed();
  }
  return digest;
}

absl::Duration Since1970(const timespec& time) { return absl::DurationFromTimespec(time); }

}  // namespace

bool operator==(const FileStamp& a, const FileStamp& b) {
  return a.dev == b.dev && a.ino == b.ino && a.size == b.size && Same(a.ctime, b.ctime) &&
         Same(a.mtime, b.mtime);
}

absl::StatusOr<FileStamp> StampFile(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return absl::ErrnoToStatus(errno, "file hash: cannot stat");
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError("file hash: not a regular file");
  return FileStamp{.dev = st.st_dev,
                   .ino = st.st_ino,
                   .size = static_cast<uint64_t>(st.st_size),
                   .ctime = st.st_ctim,
                   .mtime = st.st_mtim};
}

absl::StatusOr<FileHash> HashFile(int fd, const HashOptions& options) {
  absl::StatusOr<FileStamp> before = StampFile(fd);
  if (!before.ok()) return before.status();
  // Asked before the first byte is read: a change while reading must be able to show.
  const bool settled = SettleWait(before->ctime) == absl::ZeroDuration();
  if (before->size > options.max_bytes) {
    return absl::ResourceExhaustedError(Cat("file hash: ", before->size,
                                            " bytes are more than the ", options.max_bytes,
                                            " that are hashed"));
  }
  absl::StatusOr<Digest> digest = Sha256(fd, before->size);
  if (!digest.ok()) return digest.status();
  absl::StatusOr<FileStamp> after = StampFile(fd);
  if (!after.ok()) return after.status();
  if (!(*before == *after)) return absl::AbortedError("file hash: the file changed meanwhile");
  return FileHash{.digest = *digest, .stamp = *before, .settled = settled};
}

// Before Linux 6.13 a file's ctime is the coarse clock's time of its last change, which moves once
// a tick (1 to 10 ms). Two changes within one tick leave the same ctime, so a file that is hashed
// between them would keep the first digest under a key that also fits the second content. Once the
// coarse clock has passed the ctime, every later change gets a later one, and the stamps taken
// around the hashing differ. From 6.13 on, where a ctime that somebody looked at is never given
// twice, the wait is not needed and does no harm.
//
// A ctime without nanoseconds is most likely one of a file system that stores seconds: there the
// same holds for a whole second.
absl::Duration SettleWaitAt(const timespec& ctime, const timespec& coarse_now,
                            absl::Duration tick) {
  absl::Duration settles = Since1970(ctime);
  if (ctime.tv_nsec == 0) settles += absl::Seconds(1) - absl::Nanoseconds(1);
  const absl::Duration now = Since1970(coarse_now);
  if (now > settles) return absl::ZeroDuration();
  return settles - now + tick;
}

absl::Duration SettleWait(const timespec& ctime) {
  timespec now{};
  timespec tick{};
  if (clock_gettime(CLOCK_REALTIME_COARSE, &now) != 0 ||
      clock_getres(CLOCK_REALTIME_COARSE, &tick) != 0) {
    return absl::Seconds(1);  // cannot tell: not settled
  }
  return SettleWaitAt(ctime, now, Since1970(tick));
}

}  // namespace mseg
