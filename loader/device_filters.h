// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_DEVICE_FILTERS_H_
#define MSEG_LOADER_DEVICE_FILTERS_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "loader/dataplane.h"

namespace mseg {

// The programs that write and verify identities of datagrams (bpf/udp.bpf.c), as tc filters of the
// devices of network namespaces where managed processes are. A filter holds its program, so it
// outlives the daemon; which filters are whose is read from the kernel, never remembered.
class DeviceFilters {
 public:
  // A namespace, by inode number: devices with filters, and what went wrong, a line each.
  struct Namespace {
    std::vector<std::string> devices;
    std::vector<std::string> problems;
    pid_t process = 0;    // that is or was in it
    uint64_t cookie = 0;  // inode numbers are used again, these are not
  };

  explicit DeviceFilters(const Dataplane& dataplane) : dataplane_(dataplane) {}

  // Looks at the namespaces of these processes and those that were seen before. `thorough`: at
  // every device, because somebody may have taken a filter away; else at new ones.
  void Look(absl::Span<const uint32_t> processes, bool thorough);
  // Takes the filters off every device, in every namespace that can be found.
  absl::Status Remove();
  const std::map<ino_t, Namespace>& namespaces() const { return namespaces_; }

 private:
  void LookHere(ino_t inode, bool thorough);

  const Dataplane& dataplane_;
  std::map<ino_t, Namespace> namespaces_;
  std::set<std::pair<ino_t, int>> known_;  // devices with filters
};

// The same for one that is not running: filters with one of these programs, or of the instance with
// this cgroup root (0: of none). `any`: of whatever instance.
struct FilterOwner {
  std::set<uint32_t> programs{};
  uint64_t cgroup_root_id = 0;
  bool any = false;
};
absl::Status RemoveDeviceFilters(const FilterOwner& owner);

}  // namespace mseg

#endif  // MSEG_LOADER_DEVICE_FILTERS_H_
