// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_NETWORKPOLICY_IMPORT_H_
#define MSEG_LABELS_NETWORKPOLICY_IMPORT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/diagnostic.h"

namespace mseg {

// One file of what `kubectl get ns,pods,netpol -A -o yaml` prints.
struct ImportFile {
  std::string_view name;
  std::string_view text;
};

struct ImportOptions {
  std::string cgroup_root = "/";  // kubelet's --cgroup-root: where `kubepods` lies
};

struct ImportResult {
  std::string documents;           // YAML, for `policy check` and `policy apply`
  std::vector<std::string> notes;  // what was left out, and why
};

// Kubernetes objects to mseg documents; docs/networkpolicy.md says how. All files are one cluster.
// Collects every error; gives InvalidArgument if there was one.
absl::StatusOr<ImportResult> ImportNetworkPolicies(const std::vector<ImportFile>& files,
                                                   const ImportOptions& options,
                                                   Diagnostics* diagnostics);

}  // namespace mseg

#endif  // MSEG_LABELS_NETWORKPOLICY_IMPORT_H_
