// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_MOUNTINFO_H_
#define MSEG_DAEMON_MOUNTINFO_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mseg {

// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), names unescaped.
struct Mount {
  uint64_t id = 0;
  std::string device;  // MAJOR:MINOR of the file system
  std::string root;    // the directory of the file system that is mounted
  std::string point;   // where
  std::string options;
  std::string type;  // ext4, overlay, ...
};

// Lines that are none are left out.
std::vector<Mount> ParseMounts(std::string_view mountinfo);
// `path` is /proc/PID/mountinfo; nothing, if that cannot be read.
std::vector<Mount> ReadMounts(const std::string& path);

// Mounts where programs of this host can lie that nobody changes from elsewhere: without what
// cannot be executed, belongs to the kernel or is remote. A file system may have several.
std::vector<Mount> ExecutableMounts(const std::vector<Mount>& mounts);

}  // namespace mseg

#endif  // MSEG_DAEMON_MOUNTINFO_H_
