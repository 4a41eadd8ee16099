// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_ERRNO_NAME_H_
#define MSEG_CTL_ERRNO_NAME_H_

#include <cstring>
#include <string>

namespace mseg::ctl {

// ECONNREFUSED and the like; the number of one that has no name.
inline std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name == nullptr ? std::to_string(error) : name;
}

}  // namespace mseg::ctl

#endif  // MSEG_CTL_ERRNO_NAME_H_
