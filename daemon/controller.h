// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_CONTROLLER_H_
#define MSEG_DAEMON_CONTROLLER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/api/service.h"
#include "daemon/exe_registry.h"
#include "daemon/exec_watch.h"
#include "daemon/flow_log.h"
#include "daemon/guard.h"
#include "daemon/open_connections.h"
#include "daemon/own_identities.h"
#include "daemon/remote_directory.h"
#include "daemon/store.h"
#include "daemon/wire_publisher.h"
#include "labels/compiler.h"
#include "labels/failsafe.h"
#include "labels/image.h"
#include "labels/interpreters.h"
#include "labels/policy_set.h"
#include "labels/simulator.h"
#include "loader/dataplane.h"
#include "loader/device_filters.h"
#include "loader/events.h"
#include "loader/policy_tables.h"
#include "loader/refusals.h"

namespace mseg {

// Microseconds since the epoch.
inline int64_t NowUs() { return absl::ToUnixMicros(absl::Now()); }

struct ControllerOptions {
  std::string cgroup_root;
  uint64_t max_rows = 131072;
  uint64_t max_identities = 32768;
  uint64_t udp_flow_ns = 30'000'000'000;
  bool report_allowed = true;
  std::vector<FailsafeEntry> failsafe = DefaultFailsafe();
  std::string host_key;  // the file of this host's private keys
  std::string state_dir;
  std::vector<std::string> interpreters = DefaultInterpreters();
  GuardConfig guard;
  WireConfig wire;
  bool exec_watch = false;
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
  absl::StatusOr<std::vector<api::ExplainAnswer>> Explain(
      const std::vector<api::ExplainQuery>& queries, bool kernel) override;
  absl::StatusOr<api::WhyAnswer> Why(const api::WhyRequest& request) override;
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

 private:
  // A change of the documents, from request to revision.
  struct Change {
    std::vector<DocumentChange> documents;
    std::vector<api::Change> report;
    std::string author;
    std::optional<Peer> peer;
    std::string message;
    bool dry_run = false;
    std::optional<Confirmation> confirmation;  // what waits once this is in force
  };
  // A moment of the wall clock that has to come: by that clock, or by how long it was to go when it
  // was first seen, so that a clock that is set back keeps nobody waiting.
  struct Deadline {
    int64_t wall_us = 0;
    std::chrono::steady_clock::time_point steady;
  };
  // Who changes what `panic` says, and why.
  struct PanicChange {
    std::optional<Panic> panic;  // nothing: the end
    std::string author;
    std::optional<Peer> peer;
    std::string message;
  };
  // Both ends of a question to `why`, as far as they are known.
  struct WhyEnds;

  // controller.cc
  absl::Status WriteConfig(const mseg_task_key& daemon);
  absl::Status NameDaemon();
  absl::Status Protect();
  absl::Status StartTables();
  absl::StatusOr<Inventory> TakeInventory(const Mentions& mentions);
  absl::StatusOr<GenerationImage> CompileNow(const PolicySet& policy, const Mentions& mentions,
                                             Diagnostics* diagnostics);
  bool NeedsIngress(const GenerationImage& image) const;
  std::vector<std::pair<Stage, bool>> StagesOf(const GenerationImage& image) const;
  absl::Status PutInForce(GenerationImage image, api::Timings* timings);
  absl::Status Recompile(const char* why);
  absl::Status ClassifyNewCgroups();
  void OnCgroup(const mseg_cgroup_event& event);
  CompileOptions compile_options() const;
  absl::Status ReadFlows(bool collect = true);

  // controller_executables.cc
  void OnExe(const mseg_exe_event& event);
  void OnScript(const mseg_script_event& event);
  absl::Status StartExecWatch();
  bool LearnBeforeExec(int fd, uint32_t tgid);
  void LearnPending(const mseg_task& task);
  absl::Status Enrol(const ExeRegistry::Known& known);
  // What becomes of a file when it is executed, ready for that: a script's pair, or the file.
  absl::StatusOr<ExeRegistry::Known> EnrolFile(ExeRegistry::Known known);
  absl::Status EnrolPair(const ExecutableInfo& interpreter, const ExecutableInfo& script);
  void LogIfNotEnrolled(const std::string& path, const absl::Status& status) const;
  // False: it has to be compiled first, and is in force now.
  absl::StatusOr<bool> SetExeClasses(const ExecutableInfo& info);
  void LearnUnknownTasks();
  void RecheckTrust();
  void LearnMentioned(const Mentions& mentions);
  void LearnScripts(const Mentions& mentions);

  // controller_policy.cc
  std::vector<Digest> DigestsAt(const Pin& pin);
  // FailedPrecondition for what this mode cannot do.
  absl::Status CheckMode(const std::vector<Document>& documents) const;
  // Puts the digests of what lies there in place of `pin: true`.
  absl::Status FixPins(std::vector<Document>* documents, Diagnostics* diagnostics);
  absl::StatusOr<PolicySet> StoredPolicy(Diagnostics* diagnostics);
  static absl::StatusOr<PolicySet> PolicyAfter(const PolicySet& stored,
                                               const std::vector<DocumentChange>& changes,
                                               Diagnostics* diagnostics,
                                               const std::vector<DocumentRef>& parsed);
  absl::StatusOr<api::ApplyReport> Apply(Change change, const PolicySet& policy,
                                         api::ApplyReport report, Diagnostics* diagnostics);
  absl::Status RevertRevision(const Change& change, const PolicySet& before,
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
  // Closes what the generation in force denies, connections in numbers: what it denied, and what of
  // that was there to be closed.
  struct Closing {
    uint64_t denied = 0;
    uint64_t closed = 0;
  };
  Closing CloseDenied();
  void CloseDeniedLater(int times, std::chrono::milliseconds delay);
  void CloseDeniedIfDue();
  void OnQuarantine(const mseg_quarantine_event& event);
  void AttachRefusals();
  bool CarriesDatagrams() const;
  void LookAtDevices();
  void ForgetGonePeers();

  // controller_revisions.cc
  static Peer PeerOf(const api::Caller& caller);
  absl::StatusOr<std::optional<Confirmation>> ConfirmationFor(int64_t within_us) const;
  std::optional<api::PendingConfirmation> Pending() const;
  absl::StatusOr<uint64_t> RollbackTarget(std::optional<uint64_t> wanted) const;
  absl::StatusOr<api::ApplyReport> RollBackTo(uint64_t revision, Change change,
                                              Diagnostics* diagnostics);
  absl::StatusOr<api::ApplyReport> ChangePanic(const PanicChange& change);
  absl::Status AppendPanic(const PanicChange& change);
  void FillRevisions(api::Status* status) const;
  void CheckDeadlines();
  void RollBackUnconfirmed();
  void EndPanic();

  // controller_drift.cc
  absl::StatusOr<std::string> FindDifference(const GenerationImage& image, uint32_t generation);
  absl::Status CheckStandby(const GenerationImage& image);
  void CheckDrift();
  void NoteDrift(const std::string& example);

  // controller_hosts.cc
  absl::Status StartHosts();
  void ReserveRemoteIds();
  // What local processes may show, by this image; what changed is published. True: anything did.
  absl::StatusOr<bool> RefreshOwn(const GenerationImage& image);
  // Adds label sets of this image that the inventory lacks as ones of this host. True: any.
  bool AddOwnLabels(const GenerationImage& image, Inventory* inventory) const;
  absl::Status HostsChanged(const char* why);
  void RotateKeys();
  void LookAtOwnIdentities();
  std::set<IdentityPair> SeenPairs() const;
  api::Host DescribeHost(uint32_t id) const;
  void DescribeRecords(const IdentityBundle& bundle, const std::string& name,
                       std::vector<api::IdentityRecord>* out) const;

  // controller_why.cc
  absl::StatusOr<api::WhyAnswer> WhyNow(const api::WhyRequest& request);
  absl::StatusOr<api::WhyAnswer> WhyRefused(uint32_t pid);
  absl::Status FillServer(const api::WhyRequest& request, const IpAddress& address,
                          uint8_t protocol, WhyEnds* ends);
  absl::Status JudgeEnds(WhyEnds* ends, api::WhyAnswer* answer);
  std::string PlaceOfRule(const std::string& rule) const;

  // controller_view.cc
  void FillExecWatch(api::Status* status) const;
  void FillDevices(api::Status* status) const;
  const ExecutableInfo* ExeOf(const mseg_identity& id) const;
  api::Process Describe(const mseg_task& task) const;
  absl::StatusOr<IdentityFacts> FactsOfProcess(uint32_t pid) const;
  IdentityFacts FactsOf(const mseg_task& task) const;
  // A file as `LearnFile` has it; at a trusted path, what becomes of it when it is executed.
  absl::StatusOr<ExeRegistry::Known> KnownFile(const std::string& path);
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
  Refusals refusals_;
  DeviceFilters filters_;
  bool filtering_ = true;             // filters may be there
  std::set<std::string> told_;        // problems of devices that are in the log
  std::set<uint64_t> refusing_in_;    // network namespaces, by cookie
  std::set<uint64_t> missing_peers_;  // sockets that the last walk did not find
  ExeRegistry exes_;
  std::map<uint64_t, ExecutableInfo> remote_exes_;  // by executable id; a trusted path where one is
  Guard guard_;
  mseg_exe_key self_{};  // what this daemon runs
  FlowLog flows_;
  RemoteDirectory directory_;
  WirePublisher wire_;
  OwnIdentities own_;
  std::unique_ptr<EventReader> events_;
  PolicySet policy_;  // in force
  PolicySet stored_;  // what the store held at a revision; the same, unless the kernel refused it
  std::optional<uint64_t> stored_at_;
  MentionsBook mentions_;
  std::shared_ptr<const GenerationImage> image_;
  // What each side of the kernel's tables holds; null where that is not known for certain.
  std::shared_ptr<const GenerationImage> sides_[2];
  uint32_t generation_ = 0;
  bool started_ = false;
  bool recompile_wanted_ = false;
  uint64_t lost_control_events_ = 0;
  uint64_t drift_ = 0;
  std::string last_drift_;
  uint32_t compared_generation_ = 0;
  std::mt19937_64 random_{std::random_device()()};
  State highest_state_ = State::kEnforce;  // kTest during a panic
  Deadline confirm_by_;
  Deadline panic_until_;
  std::chrono::steady_clock::time_point not_before_;  // of another try at what a deadline asks for
  uint64_t ticks_ = 0;
  std::chrono::steady_clock::time_point next_tick_;
  int walks_due_ = 0;
  std::chrono::steady_clock::time_point next_walk_;
  uint64_t connections_closed_ = 0;
  uint64_t connections_not_closed_ = 0;
  std::unique_ptr<ExecWatch> exec_watch_;  // last: its threads use all of the above
};

}  // namespace mseg

#endif  // MSEG_DAEMON_CONTROLLER_H_
