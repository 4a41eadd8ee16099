// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_EXECUTABLE_FILE_H_
#define MSEG_CTL_EXECUTABLE_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "labels/inventory.h"

namespace mseg::ctl {

// What the file at `path` would be if it were executed: its SHA-256, its resolved path, and whether
// nobody but root could have put it there. InvalidArgument if it is no regular file or cannot be
// read.
absl::StatusOr<ExecutableInfo> ReadExecutable(const std::string& path);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_EXECUTABLE_FILE_H_
