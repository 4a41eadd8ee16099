// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_HOST_INVENTORY_H_
#define MSEG_DAEMON_HOST_INVENTORY_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/inventory.h"

namespace mseg {

// Where the host mounts its cgroup v2 hierarchy: the mount of type cgroup2 that shows the root of
// the hierarchy, /sys/fs/cgroup or, on hybrid hosts, /sys/fs/cgroup/unified. FailedPrecondition
// with a sentence where there is none.
absl::StatusOr<std::string> FindCgroupRoot(const std::string& mountinfo = "/proc/1/mountinfo");

// The same decision on the text of a mountinfo file, without a look at the mount itself.
absl::StatusOr<std::string> CgroupRootOf(std::string_view mountinfo);

// The kernel's 64-bit id of a cgroup directory: what BPF calls its cgroup id.
absl::StatusOr<uint64_t> CgroupId(const std::string& dir);

// Every cgroup from `root` down, "/" first, then sorted by path. Cgroups that vanish during the
// walk are left out.
absl::StatusOr<std::vector<CgroupInfo>> WalkCgroups(const std::string& root);

// The path below `root` ("/" for the root itself) of a live cgroup. NotFound: it is gone, or lies
// outside `root`.
absl::StatusOr<std::string> CgroupPathOf(const std::string& root, uint64_t id);

// Uids of user names; names that the host does not know are left out.
absl::StatusOr<std::map<std::string, uint32_t>> ResolveUsers(const std::set<std::string>& names);

// The name of a user, or its number where it has none.
std::string UserName(uint32_t uid);

absl::StatusOr<std::string> ReadBootId();
absl::StatusOr<std::string> ReadHostName();

struct KernelInfo {
  std::string release;  // uname -r
  std::string version;  // uname -v
  std::string machine;  // uname -m
};
absl::StatusOr<KernelInfo> ReadKernelInfo();

}  // namespace mseg

#endif  // MSEG_DAEMON_HOST_INVENTORY_H_
