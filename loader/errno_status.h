// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_ERRNO_STATUS_H_
#define MSEG_LOADER_ERRNO_STATUS_H_

#include <cerrno>
#include <cstring>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mseg {

// The one place where an errno (positive, or negative as libbpf returns it) becomes a Status.
inline absl::Status ErrnoStatus(int error, absl::string_view what) {
  if (error < 0) error = -error;
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(message);
    case ENOENT:
      return absl::NotFoundError(message);
    case EEXIST:
      return absl::AlreadyExistsError(message);
    case E2BIG:
    case ENOSPC:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    case EBUSY:
    case EAGAIN:
      return absl::UnavailableError(message);
    case EINVAL:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace mseg

#define MSEG_RETURN_IF_ERROR(expr)                                \
  do {                                                            \
    if (absl::Status mseg_status_ = (expr); !mseg_status_.ok()) { \
      return mseg_status_;                                        \
    }                                                             \
  } while (false)

#endif  // MSEG_LOADER_ERRNO_STATUS_H_
