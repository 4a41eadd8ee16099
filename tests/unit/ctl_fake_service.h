// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_UNIT_CTL_FAKE_SERVICE_H_
#define MSEG_TESTS_UNIT_CTL_FAKE_SERVICE_H_

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "daemon/service.h"

namespace mseg {

inline constexpr int64_t kStartUs = 1767323045000000;  // 2026-01-02T03:04:05Z

// A daemon in memory: documents are really parsed and kept, everything else is made up. The members
// may be changed while no call runs.
class FakeService final : public api::Service {
 public:
  FakeService();

  absl::StatusOr<api::Status> GetStatus() override;
  absl::StatusOr<api::ApplyReport> ApplyPolicy(const api::ApplyRequest& request,
                                               Diagnostics* diagnostics) override;
  absl::StatusOr<std::vector<api::Document>> GetPolicies(const std::string& kind,
                                                         const std::string& name,
                                                         std::optional<uint64_t> revision) override;
  absl::StatusOr<api::ApplyReport> DeletePolicies(const api::DeleteRequest& request,
                                                  Diagnostics* diagnostics) override;
  absl::StatusOr<std::vector<api::RevisionInfo>> History(
      const api::HistoryRequest& request) override;
  absl::StatusOr<api::ApplyReport> Rollback(const api::RollbackRequest& request,
                                            Diagnostics* diagnostics) override;
  absl::StatusOr<api::PendingConfirmation> Confirm() override;
  absl::StatusOr<api::ApplyReport> SetPanic(const api::PanicRequest& request) override;
  absl::StatusOr<api::WhyAnswer> Why(const api::WhyRequest& request) override;
  absl::StatusOr<std::vector<api::ExplainAnswer>> Explain(
      const std::vector<api::ExplainQuery>& queries, bool kernel) override;
  absl::StatusOr<std::vector<api::Process>> ListIdentities() override;
  absl::StatusOr<api::Process> ShowIdentity(const std::string& target) override;
  absl::StatusOr<api::FlowPage> Flows(const api::FlowsRequest& request) override;
  absl::StatusOr<std::vector<api::Host>> ListHosts() override;
  absl::StatusOr<api::Host> InitHost(const api::HostInit& request) override;
  absl::StatusOr<api::Host> TrustHost(const api::HostTrust& request) override;
  absl::StatusOr<api::Host> DistrustHost(const api::HostDistrust& request) override;
  absl::StatusOr<std::string> ExportRecords() override;
  absl::StatusOr<std::vector<api::RecordImported>> ImportRecords(
      const api::RecordImport& request) override;
  absl::StatusOr<std::vector<api::IdentityRecord>> ListRecords(const std::string& host) override;

  std::optional<absl::Status> fail;  // every call gives this
  bool throws = false;               // every call throws
  bool skip_parsing = false;         // ApplyPolicy only counts bytes
  absl::Duration delay;              // every call takes this long
  api::ApplyRequest last_apply;
  size_t last_bytes = 0;
  std::string last_message;
  std::string last_author;  // of a delete
  std::string last_target;
  api::RollbackRequest last_rollback;
  api::PanicRequest last_panic;
  api::WhyRequest last_why;
  api::HostInit last_init;
  api::HostTrust last_trust;
  api::RecordImport last_import;
  bool has_identity = true;
  std::optional<api::PendingConfirmation> pending;
  std::optional<api::PanicState> panic;
  std::string last_drift;
  std::vector<api::ExplainQuery> last_queries;
  std::vector<api::FlowRecord> flows;
  std::mutex flows_mutex;  // a test adds flows while a client follows

 private:
  absl::Status Enter();  // what `fail`, `throws` and `delay` ask for

  void Record(const std::string& author, const std::string& message, const char* event,
              uint64_t changed);

  std::vector<api::Document> documents_;
  std::map<uint64_t, std::vector<api::Document>> states_ = {{7, {}}};  // by revision
  std::vector<api::RevisionInfo> log_;                                 // oldest first
  uint64_t revision_ = 7;
};

// A made-up flow, `n` seconds after 2026-01-02 03:04:05 UTC.
api::FlowRecord MakeFlow(int n, const std::string& verdict);

}  // namespace mseg

#endif  // MSEG_TESTS_UNIT_CTL_FAKE_SERVICE_H_
