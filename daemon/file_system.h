// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_FILE_SYSTEM_H_
#define MSEG_DAEMON_FILE_SYSTEM_H_

namespace mseg {

// Whether nobody but root can change the content of an open file, or has made the medium that it
// lies on: it belongs to uid 0, others may not write it, and its mount believes set-user-ID bits.
bool IsRootsAlone(int fd);

// Whether the file has fs-verity: nobody can change its content any more, and the kernel checks
// each page of it that is read.
bool HasVerity(int fd);

}  // namespace mseg

#endif  // MSEG_DAEMON_FILE_SYSTEM_H_
