// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_GUARD_CONFIG_H_
#define MSEG_DAEMON_GUARD_CONFIG_H_

#include <set>
#include <string>

#include "labels/label.h"
#include "labels/source_text.h"
#include "labels/yaml_reader.h"

namespace mseg {

// `self_protection` of the configuration: who may change mseg, and load BPF programs beside it.
struct GuardConfig {
  bool enabled = false;
  // Executables that count as mseg's own beside the running one: the next version.
  std::set<Digest> successors;
  bool limit_loaders = false;  // `bpf_loaders` is given
  std::set<Digest> loaders;
  std::set<std::string> loader_paths;
  bool operator==(const GuardConfig&) const = default;
};

// What is wrong goes to the source.
void ReadGuardConfig(const SourceText& source, const YamlNode& node, GuardConfig* config);

}  // namespace mseg

#endif  // MSEG_DAEMON_GUARD_CONFIG_H_
