// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_FUSE_H_
#define MSEG_CTL_SELFTEST_FUSE_H_

#include <sys/types.h>

#include <string>

namespace mseg::ctl {

// Mounts a FUSE file system at the directory `at`, whose every name is a file with the content of
// `program`, served by a new process, which the caller ends. An errno, 0 for done; ENODEV where the
// kernel has no FUSE.
int ServeOneFile(const std::string& program, const std::string& at, pid_t* server);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_FUSE_H_
