// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_FILE_SYSTEM_H_
#define MSEG_DAEMON_FILE_SYSTEM_H_

#include <string>

#include "absl/status/status.h"

// What the kernel says of an open file, beside its content.

namespace mseg {

// Where it lies, as the kernel resolved it; empty if that cannot be told.
std::string PathOfFd(int fd);

// OK if nobody has the file open for writing; a shared mapping that can be written to counts, too.
// Aborted: somebody has; FailedPrecondition: it cannot be told.
absl::Status CheckUnwritten(int fd);

// Whether nobody but root can change the content of an open file, or has made the medium that it
// lies on: it belongs to uid 0, others may not write it, and its mount believes set-user-ID bits.
bool IsRootsAlone(int fd);

// Whether the file has fs-verity: nobody can change its content any more, and the kernel checks
// each page of it that is read.
bool HasVerity(int fd);

}  // namespace mseg

#endif  // MSEG_DAEMON_FILE_SYSTEM_H_
