// SPDX-License-Identifier: Apache-2.0
#include "daemon/own_identities.h"

#include <algorithm>

#include "labels/text.h"

namespace mseg {
namespace {

// Of which each host of 250 may have as many in a map of 262,144.
constexpr size_t kFewPairs = 1024;

bool IsText(const std::string& text) { return FindInvalidUtf8(text) == std::string_view::npos; }

ExecutableRecord RecordOf(const ExecutableInfo& info) {
  ExecutableRecord record;
  record.id = info.exe_id;
  record.digest = info.digest;
  if (info.script) record.script = info.script->digest;
  if (!IsText(info.path)) return record;
  record.path = info.path;
  record.name = info.path.substr(info.path.rfind('/') + 1);
  record.trusted_path = info.trusted_path;
  for (const std::string& alias : info.aliases) {
    if (IsText(alias)) record.aliases.push_back(alias);
  }
  std::sort(record.aliases.begin(), record.aliases.end());
  return record;
}

}  // namespace

LabelSets OwnLabels(const GenerationImage& image, const Salt& salt) {
  std::set<uint64_t> local;  // classes of cgroups that are here
  for (const auto& [key, value] : image.cgroups) local.insert(value.cls);
  LabelSets own = {{LabelId(salt, LabelSet()), LabelSet()}};
  for (const auto& [key, value] : image.identities) {
    if (!local.contains(key.cgroup)) continue;
    const auto meaning = image.label_sets->find(value.label_id);
    if (meaning != image.label_sets->end()) own.insert(*meaning);
  }
  return own;
}

std::vector<IdentityPair> PairsOf(const OwnIdentities& own, const std::set<IdentityPair>& seen) {
  std::set<uint64_t> executables = {0};
  for (const ExecutableInfo& info : own.executables) executables.insert(info.exe_id);
  const bool few = own.labels.size() * executables.size() <= kFewPairs;
  std::set<IdentityPair> pairs;
  for (const auto& [id, labels] : own.labels) {
    pairs.emplace(id, 0);
    if (!few) continue;
    for (const uint64_t executable : executables) pairs.emplace(id, executable);
  }
  for (const IdentityPair& pair : seen) {
    if (own.labels.contains(pair.first) && executables.contains(pair.second)) pairs.insert(pair);
  }
  return {pairs.begin(), pairs.end()};
}

IdentityBundle BundleOf(const OwnIdentities& own) {
  IdentityBundle bundle;
  for (const auto& [id, labels] : own.labels) {
    if (bundle.labels.size() < kMaxBundleLabels) bundle.labels.push_back({id, labels});
  }
  for (const ExecutableInfo& info : own.executables) {
    if (bundle.executables.size() < kMaxBundleExecutables && info.exe_id != 0) {
      bundle.executables.push_back(RecordOf(info));
    }
  }
  SortBundle(&bundle);
  std::set<uint64_t> labels, executables = {0};
  for (const LabelRecord& record : bundle.labels) labels.insert(record.id);
  for (const ExecutableRecord& record : bundle.executables) executables.insert(record.id);
  for (const IdentityPair& pair : own.pairs) {
    const bool told = labels.contains(pair.first) && executables.contains(pair.second);
    if (told && bundle.pairs.size() < kMaxBundlePairs) bundle.pairs.push_back(pair);
  }
  return bundle;
}

}  // namespace mseg
