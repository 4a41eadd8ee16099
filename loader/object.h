// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_OBJECT_H_
#define MSEG_LOADER_OBJECT_H_

#include <array>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "loader/programs.h"
#include "loader/scoped_fd.h"
#include "mseg/abi.h"

namespace mseg {

// The BPF object that is part of this binary: the only file that sees the skeleton is object.cc.

struct ObjectOptions {
  mseg_mode mode = MSEG_MODE_CGROUP;
  uint64_t cgroup_root_id = 0;
  uint32_t cgroup_root_level = 0;
  std::map<std::string, uint32_t> limits;  // max_entries by map
  std::vector<absl::string_view> without;  // programs that are not loaded
  std::string pin_dir;
  bool reuse_maps = false;  // take what is pinned in pin_dir instead of making maps anew
};

struct LoadedObject {
  std::array<ScopedFd, kPrograms.size()> programs;  // not ok: not wanted, or not in this mode
  std::map<std::string, ScopedFd, std::less<>> maps;
};

// Loads every program of the mode and pins programs and maps. Nothing is attached. An error carries
// the end of the verifier's log.
absl::StatusOr<LoadedObject> LoadObject(const ObjectOptions& options);

std::vector<std::string> MapNames();
// SHA-256 of the object's bytes.
absl::StatusOr<std::array<uint8_t, 32>> ObjectDigest();

}  // namespace mseg

#endif  // MSEG_LOADER_OBJECT_H_
