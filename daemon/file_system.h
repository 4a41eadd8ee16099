// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_FILE_SYSTEM_H_
#define MSEG_DAEMON_FILE_SYSTEM_H_

#include <string>

#include "absl/status/status.h"

namespace mseg {

// Whether every change of this file's content moves its ctime, so that inode and ctime stand for
// the content. So it is on ext4, XFS, Btrfs, F2FS and bcachefs, on what cannot be written to at
// all, and on overlays of those. FailedPrecondition, with the reason, for every other file system:
// pages of tmpfs that are mapped are written without a trace, and on FAT everybody sets the ctime
// of his own files. `proc` is /proc/self, or /proc/PID of a process that sees the file where it was
// opened; empty if others than root have mounted it there, who may say of an overlay what they
// like.
absl::Status CheckChangesShow(int fd, const std::string& proc);

}  // namespace mseg

#endif  // MSEG_DAEMON_FILE_SYSTEM_H_
