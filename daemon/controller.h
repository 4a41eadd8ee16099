// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_CONTROLLER_H_
#define MSEG_DAEMON_CONTROLLER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/api/service.h"
#include "daemon/exe_registry.h"
#include "daemon/flow_log.h"
#include "daemon/open_connections.h"
#include "daemon/store.h"
#include "labels/compiler.h"
#include "labels/image.h"
#include "labels/policy_set.h"
#include "labels/simulator.h"
#include "loader/dataplane.h"
#include "loader/events.h"
#include "loader/policy_tables.h"

namespace mseg {

struct ControllerOptions {
  std::string cgroup_root;
  uint64_t max_rows = 131072;
  uint64_t max_identities = 32768;
  uint64_t udp_flow_ns = 30'000'000'000;
  bool report_allowed = true;
};

// Joins store, compiler and kernel: policy text in, a generation in force, events out. The one
// owner of what is in force. Methods of api::Service come from the RPC thread, the others from the
// main thread; one lock orders them.
class Controller : public api::Service {
 public:
  using Log = std::function<void(const std::string&)>;  // one line for the operator

  Controller(Dataplane& dataplane, Store& store, const Features& features,
             ControllerOptions options, Log log);
  ~Controller() override;
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Brings the kernel to what the store says, whatever state it was found in, then attaches what is
  // not attached. What was in force stays so until the new generation is.
  absl::Status Start();

  // Readable when HandleControlEvents() has something to do.
  int control_fd() const { return events_->control_fd(); }
  void HandleControlEvents();
  // To be called some times a second: reads flows, notices lost events.
  void Tick();

  absl::StatusOr<api::Status> GetStatus() override;
  absl::StatusOr<api::ApplyReport> ApplyPolicy(const api::ApplyRequest& request,
                                               Diagnostics* diagnostics) override;
  absl::StatusOr<std::vector<api::Document>> GetPolicies(const std::string& kind,
                                                         const std::string& name) override;
  absl::StatusOr<api::ApplyReport> DeletePolicies(const std::vector<api::DocumentId>& documents,
                                                  const std::string& message,
                                                  Diagnostics* diagnostics) override;
  absl::StatusOr<std::vector<api::ExplainAnswer>> Explain(
      const std::vector<api::ExplainQuery>& queries, bool kernel) override;
  absl::StatusOr<std::vector<api::Process>> ListIdentities() override;
  absl::StatusOr<api::Process> ShowIdentity(const std::string& target) override;
  absl::StatusOr<api::FlowPage> Flows(const api::FlowsRequest& request) override;

 private:
  // A change of the documents, from request to revision.
  struct Change {
    std::vector<DocumentChange> documents;
    std::vector<api::Change> report;
    std::string author;
    std::string message;
    bool dry_run = false;
  };

  // controller.cc
  absl::Status StartTables();
  absl::StatusOr<Inventory> TakeInventory(const PolicySet& policy);
  absl::StatusOr<GenerationImage> CompileNow(const PolicySet& policy, Diagnostics* diagnostics);
  absl::Status PutInForce(GenerationImage image, api::Timings* timings);
  absl::Status Recompile(const char* why);
  absl::Status ClassifyNewCgroups();
  void OnExe(const mseg_exe_event& event);
  void OnCgroup(const mseg_cgroup_event& event);
  absl::Status Enrol(const ExeRegistry::Known& known);
  void LearnUnknownTasks();
  void RecheckTrust();
  void LearnMentioned(const PolicySet& policy);
  CompileOptions compile_options() const;

  // controller_policy.cc
  absl::StatusOr<PolicySet> StoredPolicy(const std::vector<DocumentChange>& changes,
                                         Diagnostics* diagnostics);
  absl::StatusOr<api::ApplyReport> Apply(Change change, const PolicySet& policy,
                                         api::ApplyReport report, Diagnostics* diagnostics);
  absl::Status RevertRevision(const Change& change, const std::vector<StoredDocument>& before,
                              const absl::Status& cause);

  // controller_connections.cc
  static constexpr std::chrono::milliseconds kSecondWalk{80};
  struct Walk;
  absl::StatusOr<Walk> WalkConnections(const GenerationImage& image) const;
  void AddUnheld(const GenerationImage& image, Walk* walk) const;
  mseg_identity ResolveFacts(const Simulator& simulator, mseg_task task) const;
  std::vector<DeniedConnection> Denied(const Walk& walk, const GenerationImage& image) const;
  // How many open connections would not survive this image.
  uint64_t CountDenied(const GenerationImage& image);
  // Closes what the generation in force denies; returns how many connections that were.
  uint64_t CloseDenied();
  void CloseDeniedLater(int times, std::chrono::milliseconds delay);
  void CloseDeniedIfDue();

  // controller_view.cc
  api::Process Describe(const mseg_task& task) const;
  absl::StatusOr<IdentityFacts> FactsOfProcess(uint32_t pid) const;
  std::optional<mseg_task> Refreshed(mseg_task task) const;
  absl::StatusOr<mseg_task> TaskOf(uint32_t pid) const;
  absl::Status ExplainOne(const api::ExplainQuery& query, const PolicySet& policy,
                          std::vector<Query>* resolved);
  void CompareWithKernel(const Query& query, api::ExplainAnswer* answer) const;

  std::mutex mutex_;
  Dataplane& dataplane_;
  Store& store_;
  const Features& features_;
  ControllerOptions options_;
  Log log_;
  PolicyTables tables_;
  ExeRegistry exes_;
  FlowLog flows_;
  std::unique_ptr<EventReader> events_;
  PolicySet policy_;
  std::shared_ptr<const GenerationImage> image_;
  // What each side of the kernel's tables holds; null where that is not known for certain.
  std::shared_ptr<const GenerationImage> sides_[2];
  uint32_t generation_ = 0;
  bool started_ = false;
  bool recompile_wanted_ = false;
  uint64_t lost_control_events_ = 0;
  uint64_t drift_ = 0;
  uint64_t ticks_ = 0;
  int walks_due_ = 0;
  std::chrono::steady_clock::time_point next_walk_;
  uint64_t connections_closed_ = 0;
  uint64_t connections_not_closed_ = 0;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_CONTROLLER_H_
