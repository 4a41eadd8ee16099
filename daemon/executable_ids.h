// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_EXECUTABLE_IDS_H_
#define MSEG_DAEMON_EXECUTABLE_IDS_H_

#include <cstdint>
#include <map>
#include <vector>

#include "labels/inventory.h"
#include "labels/label.h"

namespace mseg {

// Which content each short id stands for (labels/label.h, ExecutableId). 48 bits can be ground by
// who knows the salt: whoever comes second with an id gets none, and is a program of which nothing
// is known to other hosts. On this host contents are told apart by their digests.
class ExecutableIds {
 public:
  explicit ExecutableIds(const Salt& salt) : salt_(salt) {}

  // What has an id has it for good.
  void Keep(const ExecutableInfo& info);
  // Of other hosts, from their records; replaces what was said before.
  void KeepRemote(const std::vector<ExecutableInfo>& infos);

  // Sets `exe_id` to that of the content: 0, and whose it is, if it stands for another one already.
  const ExecutableInfo* Give(ExecutableInfo* info) const;

 private:
  Salt salt_;
  std::map<uint64_t, ExecutableInfo> own_;
  std::map<uint64_t, ExecutableInfo> remote_;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_EXECUTABLE_IDS_H_
