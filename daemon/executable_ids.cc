// SPDX-License-Identifier: Apache-2.0
#include "daemon/executable_ids.h"

namespace mseg {
namespace {

Digest ScriptOf(const ExecutableInfo& info) { return info.script ? info.script->digest : Digest{}; }

}  // namespace

void ExecutableIds::Keep(const ExecutableInfo& info) {
  if (info.exe_id != 0) own_.emplace(info.exe_id, info);
}

void ExecutableIds::KeepRemote(const std::vector<ExecutableInfo>& infos) {
  remote_.clear();
  for (const ExecutableInfo& info : infos) remote_.emplace(info.exe_id, info);
}

const ExecutableInfo* ExecutableIds::Give(ExecutableInfo* info) const {
  info->exe_id = ExecutableId(salt_, info->digest, ScriptOf(*info));
  for (const auto* known : {&own_, &remote_}) {
    const auto it = known->find(info->exe_id);
    if (it == known->end()) continue;
    const ExecutableInfo& other = it->second;
    if (other.digest == info->digest && ScriptOf(other) == ScriptOf(*info)) continue;
    info->exe_id = 0;
    return &other;
  }
  return nullptr;
}

}  // namespace mseg
