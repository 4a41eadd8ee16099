// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_OFFLINE_H_
#define MSEG_CTL_OFFLINE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "daemon/api/service.h"

// What can be answered from policy files alone.
namespace mseg::ctl {

// Checks files as `policy apply` would, and gives what they cost a host that runs one process of
// each workload.
absl::StatusOr<Budget> CheckOffline(const std::vector<api::PolicyFile>& files,
                                    Diagnostics* diagnostics);

// The documents in files, each once, in the order of the files.
absl::StatusOr<std::vector<api::DocumentId>> DocumentsOf(const std::vector<api::PolicyFile>& files,
                                                         Diagnostics* diagnostics);

// The documents themselves, as a store would keep them.
absl::StatusOr<std::vector<api::Document>> ReadDocuments(const std::vector<api::PolicyFile>& files,
                                                         Diagnostics* diagnostics);

// One answer a query. Fails as a whole only if the files are wrong. `file:` endpoints are read now,
// as processes of the host itself; `pid:` needs the daemon and gives an error in its place.
absl::StatusOr<std::vector<api::ExplainAnswer>> ExplainOffline(
    const std::vector<api::PolicyFile>& files, const std::vector<api::ExplainQuery>& queries,
    Diagnostics* diagnostics);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_OFFLINE_H_
