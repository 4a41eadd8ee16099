// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_FILE_HASH_H_
#define MSEG_DAEMON_FILE_HASH_H_

#include <sys/types.h>
#include <time.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "labels/label.h"

namespace mseg {

// What fstat says of a file's content. Equal before and after reading: the content is what was
// read, if the ctime had settled before (see SettleWait).
struct FileStamp {
  dev_t dev = 0;
  ino_t ino = 0;
  uint64_t size = 0;
  timespec ctime{};
  timespec mtime{};
};
bool operator==(const FileStamp& a, const FileStamp& b);

absl::StatusOr<FileStamp> StampFile(int fd);

struct HashOptions {
  uint64_t max_bytes = uint64_t{1} << 30;  // a larger file is ResourceExhausted
};

struct FileHash {
  Digest digest{};
  FileStamp stamp;
  // False: the file had changed less than one clock tick before reading began, so that a change
  // during the same tick would not show in its ctime. Such a digest must not be kept under it.
  bool settled = false;
};

// SHA-256 of the file's content from its first byte, whatever the descriptor's offset.
// Aborted: it changed meanwhile (try again later); InvalidArgument: not a regular file.
absl::StatusOr<FileHash> HashFile(int fd, const HashOptions& options = {});

// How long to wait before a file with this ctime may be hashed and remembered; zero: now.
absl::Duration SettleWait(const timespec& ctime);
// The same at a given reading of CLOCK_REALTIME_COARSE whose tick is `tick`.
absl::Duration SettleWaitAt(const timespec& ctime, const timespec& coarse_now, absl::Duration tick);

}  // namespace mseg

#endif  // MSEG_DAEMON_FILE_HASH_H_
