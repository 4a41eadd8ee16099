// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_MOUNTINFO_H_
#define MSEG_DAEMON_MOUNTINFO_H_

#include <string>
#include <string_view>
#include <vector>

namespace mseg {

// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), names unescaped.
struct Mount {
  std::string device;  // MAJOR:MINOR of the file system
  std::string root;    // the directory of the file system that is mounted
  std::string point;   // where
  std::string options;
  std::string type;  // ext4, overlay, ...
};

// Lines that are none are left out.
std::vector<Mount> ParseMounts(std::string_view mountinfo);

// Where programs of this host can lie that nobody changes from elsewhere: every file system once,
// by one of its mounts, without what cannot be executed, belongs to the kernel or is remote.
std::vector<Mount> ExecutableMounts(const std::vector<Mount>& mounts);

}  // namespace mseg

#endif  // MSEG_DAEMON_MOUNTINFO_H_
