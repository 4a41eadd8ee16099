// SPDX-License-Identifier: Apache-2.0
// Life of the controller: start, generations, events.
#include "daemon/controller.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/host_inventory.h"
#include "labels/interpreters.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

mseg_cgroup EntryOf(const CgroupClass& cls) {
  mseg_cgroup entry{};
  entry.cls = cls.cls;
  entry.watch = cls.watch ? 1 : 0;
  entry.doors = cls.doors;
  entry.loopback = cls.loopback;
  return entry;
}

constexpr size_t kFlowCapacity = 16384;
constexpr std::chrono::milliseconds kTick(100);
constexpr uint64_t kTicksBetweenChecks = 10;
constexpr uint64_t kTicksBetweenTrustChecks = 100;
constexpr uint64_t kTicksBetweenListenerLooks = 3;
constexpr uint64_t kTicksBetweenIdentityLooks = 10;
constexpr uint64_t kTicksBetweenDeviceLooks = 10;

TableSet TablesOf(const GenerationImage& image) {
  return TableSet{.cgroups = image.cgroups,
                  .exe_classes = image.exe_classes,
                  .users = image.users,
                  .identities = image.identities,
                  .peer_labels = image.peer_labels,
                  .peer_exes = image.peer_exes,
                  .addresses = image.addresses,
                  .ports = image.ports,
                  .classes = image.classes,
                  .groups = image.groups,
                  .tails = image.tails,
                  .rows = image.rows};
}

class Stopwatch {
 public:
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::milli> took = now - start_;
    start_ = now;
    return took.count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Does any end deny anything, now or if policies in test were enforced?
bool Restricts(const GenerationImage& image) {
  for (const auto& [key, row] : image.rows) {
    if (row.verdict == MSEG_DENY || row.would_be == MSEG_DENY) return true;
  }
  return false;
}

}  // namespace

Controller::Controller(Dataplane& dataplane, Store& store, const Features& features,
                       ControllerOptions options, Log log)
    : dataplane_(dataplane),
      store_(store),
      features_(features),
      options_(std::move(options)),
      log_(std::move(log)),
      tables_(dataplane),
      refusals_(dataplane),
      filters_(dataplane),
      exes_(dataplane, store, features.mode == MSEG_MODE_FULL),
      guard_(dataplane, exes_, options_.guard, options_.state_dir, log_),
      flows_(kFlowCapacity),
      directory_(store, options_.host_key),
      wire_(dataplane, directory_, options_.wire, features.mode) {}

Controller::~Controller() = default;

CompileOptions Controller::compile_options() const {
  CompileOptions options;
  options.salt = store_.salt();
  options.max_rows = options_.max_rows;
  options.max_identities = options_.max_identities;
  options.highest_state = highest_state_;
  options.failsafe = options_.failsafe;
  options.wire = directory_.identity() != nullptr;
  return options;
}

absl::Status Controller::Start() {
  const std::lock_guard lock(mutex_);
  MSEG_RETURN_IF_ERROR(WriteConfig({}));
  auto events = EventReader::Create(
      dataplane_, {.exe = [this](const mseg_exe_event& event) { OnExe(event); },
                   .cgroup = [this](const mseg_cgroup_event& event) { OnCgroup(event); },
                   .flow = [this](const mseg_flow_event& event) { flows_.Add(event); },
                   .quarantine = [this](const mseg_quarantine_event& e) { OnQuarantine(e); },
                   .tamper =
                       [this](const mseg_tamper_event& e) {
                         guard_.Note(e, started_ ? Describe(e.by).exe : "");
                       },
                   .script = [this](const mseg_script_event& event) { OnScript(event); }});
  if (!events.ok()) return events.status();
  events_ = *std::move(events);
  MSEG_RETURN_IF_ERROR(exes_.Load());
  MSEG_RETURN_IF_ERROR(StartHosts());
  if (store_.panic().has_value()) {
    highest_state_ = State::kTest;
    log_(absl::StrCat("PANIC: nothing is blocked on this host: ", store_.panic()->reason));
  }
  Diagnostics diagnostics;
  auto policy = StoredPolicy(&diagnostics);
  if (!policy.ok()) {
    std::string message =
        absl::StrCat("the stored policy cannot be read: ", std::string(policy.status().message()));
    for (const Diagnostic& d : diagnostics) absl::StrAppend(&message, "\n", FormatDiagnostic(d));
    return absl::DataLossError(message);
  }
  policy_ = *std::move(policy);
  return StartTables();
}

absl::Status Controller::WriteConfig(const mseg_task_key& daemon) {
  mseg_config config{};
  config.udp_flow_ns = options_.udp_flow_ns;
  config.report_allowed = options_.report_allowed ? 1 : 0;
  config.daemon = daemon;
  MSEG_RETURN_IF_ERROR(guard_.FillConfig(&config));
  return dataplane_.config().Update(0, config);
}

// Closing a connection takes a copy of its descriptor, which nobody else may take from a process
// that policy confines. Named as the kernel names tasks, so that a reused pid is not the daemon.
absl::Status Controller::NameDaemon() {
  auto tasks = dataplane_.tasks().Dump();
  if (!tasks.ok()) return tasks.status();
  for (const auto& [key, task] : *tasks) {
    if (key.tgid != static_cast<uint32_t>(getpid())) continue;
    self_ = task.exe;
    return WriteConfig(key);
  }
  log_(
      "identity: the daemon has no record of itself and cannot close connections of those that "
      "policy confines; raise limits.max_tasks");
  return absl::OkStatus();
}

// Observers first: from then on no process, listener or cgroup escapes; then what was there before
// them; then the tables; then the programs that enforce.
absl::Status Controller::StartTables() {
  MSEG_RETURN_IF_ERROR(dataplane_.Attach(Stage::kObserve));
  MSEG_RETURN_IF_ERROR(dataplane_.AdoptTasks());
  MSEG_RETURN_IF_ERROR(NameDaemon());
  MSEG_RETURN_IF_ERROR(dataplane_.AdoptListeners());
  auto generation = tables_.Generation();
  if (!generation.ok()) return generation.status();
  generation_ = *generation;
  const Mentions mentions = mentions_.Of(policy_);
  LearnMentioned(mentions);
  LearnUnknownTasks();
  MSEG_RETURN_IF_ERROR(guard_.NameOwn(self_));
  Diagnostics diagnostics;
  auto image = CompileNow(policy_, mentions, &diagnostics);
  if (!image.ok()) return image.status();
  // Flows that an earlier daemon's generation left in the ring: the policy is the same one.
  if (generation_ != 0) flows_.AddGeneration(NamesOf(generation_, *image));
  api::Timings timings;
  MSEG_RETURN_IF_ERROR(PutInForce(*std::move(image), &timings));
  MSEG_RETURN_IF_ERROR(dataplane_.Attach(Stage::kEnforce));
  MSEG_RETURN_IF_ERROR(Protect());
  MSEG_RETURN_IF_ERROR(dataplane_.MarkComplete());
  started_ = true;
  // What was opened before there was an mseg, or while none watched.
  CloseDenied();
  CloseDeniedLater(1, kSecondWalk);
  if (options_.exec_watch) MSEG_RETURN_IF_ERROR(StartExecWatch());
  return ClassifyNewCgroups();
}

// Everything is in force: from here on nobody but mseg changes it. What was there before may load
// BPF programs if its file is on the list, and that is known by now.
absl::Status Controller::Protect() {
  MSEG_RETURN_IF_ERROR(guard_.NameGuarded());
  if (!guard_.enabled()) return dataplane_.Detach(Stage::kGuard);
  MSEG_RETURN_IF_ERROR(dataplane_.AdoptTasks());
  return dataplane_.Attach(Stage::kGuard);
}

absl::StatusOr<Inventory> Controller::TakeInventory(const Mentions& mentions) {
  Inventory inventory;
  auto cgroups = WalkCgroups(options_.cgroup_root);
  if (!cgroups.ok()) return cgroups.status();
  inventory.cgroups = *std::move(cgroups);
  inventory.executables = exes_.Infos();
  auto uids = ResolveUsers(mentions.users);
  if (!uids.ok()) return uids.status();
  inventory.uids = *std::move(uids);
  directory_.FillInventory(own_, &inventory);
  remote_exes_.clear();
  for (ExecutableInfo& executable : inventory.remote_executables) {
    // Elsewhere it may be another version, so its name counts too.
    executable.interpreter = exes_.IsInterpreter(executable.digest) ||
                             (executable.trusted_path && IsInterpreterPath(executable.path));
    ExecutableInfo& known = remote_exes_[executable.exe_id];
    if (known.exe_id == 0 || executable.trusted_path) known = executable;
  }
  return inventory;
}

absl::StatusOr<GenerationImage> Controller::CompileNow(const PolicySet& policy,
                                                       const Mentions& mentions,
                                                       Diagnostics* diagnostics) {
  auto inventory = TakeInventory(mentions);
  if (!inventory.ok()) return inventory.status();
  CompileOptions options = compile_options();
  options.previous = image_.get();
  auto image = Compile(policy, *inventory, options, diagnostics);
  // Label sets that this very policy gives to local processes may come back from outside, too.
  if (!image.ok() || !AddOwnLabels(*image, &*inventory)) return image;
  return Compile(policy, *inventory, options, diagnostics);
}

// What comes in is judged there, and proofs are verified: who is on record as proven must be, also
// while nothing is denied.
bool Controller::NeedsIngress(const GenerationImage& image) const {
  return Restricts(image) || directory_.identity() != nullptr;
}

// Programs that cost everybody something: whether a Workload, or this host, asks for what they do.
std::vector<std::pair<Stage, bool>> Controller::StagesOf(const GenerationImage& image) const {
  return {{Stage::kIngress, NeedsIngress(image)},
          {Stage::kDatagrams, CarriesDatagrams()},
          {Stage::kUnix, image.classifier->AnyDoor(MSEG_DOOR_UNIX_JUDGE)},
          {Stage::kLibraries, image.classifier->AnyDoor(MSEG_DOOR_LIBRARIES)}};
}

// Stage beside, read back, flip. Only after that may an executable of the image enter the cache:
// before, its class would not be in the tables in force.
absl::Status Controller::PutInForce(GenerationImage image, api::Timings* timings) {
  Stopwatch watch;
  const TableSet tables = TablesOf(image);
  const uint32_t standby = MSEG_SIDE(generation_ + 1);
  // Known again once this generation is in force; until then whatever happens leaves it unknown.
  const std::shared_ptr<const GenerationImage> was = std::exchange(sides_[standby], nullptr);
  const TableSet known = was == nullptr ? TableSet() : TablesOf(*was);
  const TableSet* standby_has = was == nullptr ? nullptr : &known;
  MSEG_RETURN_IF_ERROR(tables_.Stage(tables, standby_has));
  absl::Status verified = tables_.Verify(tables, standby_has);
  if (absl::IsDataLoss(verified) && standby_has != nullptr) {
    // Somebody else wrote to the side that nobody should: read all of it, and put it right.
    NoteDrift(std::string(verified.message()));
    MSEG_RETURN_IF_ERROR(tables_.Stage(tables));
    verified = tables_.Verify(tables);
  }
  MSEG_RETURN_IF_ERROR(verified);
  MSEG_RETURN_IF_ERROR(CheckStandby(image));
  // A side that was read back as a whole has left megabytes that malloc would keep.
  if (standby_has == nullptr) malloc_trim(0);
  timings->stage = watch.Lap();
  // What judges what comes in must be there before the generation that needs it.
  const std::vector<std::pair<Stage, bool>> stages = StagesOf(image);
  for (const auto& [stage, needed] : stages) {
    if (needed) MSEG_RETURN_IF_ERROR(dataplane_.Attach(stage));
  }
  auto generation = tables_.Flip();
  if (!generation.ok()) return generation.status();
  generation_ = *generation;
  image_ = std::make_shared<const GenerationImage>(std::move(image));
  sides_[MSEG_SIDE(generation_)] = image_;
  flows_.AddGeneration(NamesOf(generation_, *image_));
  timings->flip = watch.Lap();
  for (const ExeRegistry::Known& known : exes_.All()) {
    auto published = exes_.IsPublished(known);
    if (published.ok() && !*published) MSEG_RETURN_IF_ERROR(exes_.Publish(known));
  }
  // A full table costs some milliseconds of an executable's life as unknown, or leaves a script
  // inline; neither allows anything.
  for (const absl::Status& status : {exes_.PublishPairs(), exes_.PublishDigests()}) {
    if (!status.ok()) log_(absl::StrCat("identity: ", std::string(status.message())));
  }
  // What costs each packet, message or exec something goes when nothing needs it.
  for (const auto& [stage, needed] : stages) {
    if (!needed) MSEG_RETURN_IF_ERROR(dataplane_.Detach(stage));
  }
  MSEG_RETURN_IF_ERROR(RefreshOwn(*image_).status());
  return store_.SetActive({.revision = store_.head().revision, .generation = generation_});
}

// The policy is the same, the host is not: a new executable or cgroup needs classes of its own.
absl::Status Controller::Recompile(const char* why) {
  Diagnostics diagnostics;
  auto image = CompileNow(policy_, mentions_.Of(policy_), &diagnostics);
  if (!image.ok()) return image.status();
  api::Timings timings;
  MSEG_RETURN_IF_ERROR(PutInForce(*std::move(image), &timings));
  log_(absl::StrCat("policy: generation ", generation_, " in force, because of ", why));
  CloseDeniedLater(2, std::chrono::milliseconds(0));
  return ClassifyNewCgroups();
}

// Cgroups that appeared between the inventory and the flip.
absl::Status Controller::ClassifyNewCgroups() {
  std::set<uint64_t> known;
  for (const auto& [key, value] : image_->cgroups) known.insert(key.id);
  auto cgroups = WalkCgroups(options_.cgroup_root);
  if (!cgroups.ok()) return cgroups.status();
  for (const CgroupInfo& cgroup : *cgroups) {
    if (known.count(cgroup.id) != 0) continue;
    const CgroupClass cls = image_->classifier->CgroupClassOf(cgroup.path);
    if (!cls.known) {
      recompile_wanted_ = true;
      continue;
    }
    MSEG_RETURN_IF_ERROR(tables_.SetCgroup(cgroup.id, EntryOf(cls)));
  }
  return absl::OkStatus();
}

void Controller::OnCgroup(const mseg_cgroup_event& event) {
  if (event.removed || !started_) return;
  auto path = CgroupPathOf(options_.cgroup_root, event.id);
  if (!path.ok()) return;  // gone again
  const CgroupClass cls = image_->classifier->CgroupClassOf(*path);
  absl::Status status;
  if (!cls.known) {
    status = Recompile("a cgroup that the policy names");
  } else {
    status = tables_.SetCgroup(event.id, EntryOf(cls));
  }
  if (!status.ok()) {
    log_(absl::StrCat("identity: cannot classify cgroup ", *path, ": ",
                      std::string(status.message())));
  }
}

void Controller::HandleControlEvents() {
  const std::lock_guard lock(mutex_);
  if (const absl::Status status = events_->DrainControl(); !status.ok()) {
    log_(absl::StrCat("events: ", std::string(status.message())));
  }
}

// `collect`: what was counted in the kernel, too.
absl::Status Controller::ReadFlows(bool collect) {
  flows_.BeginBatch();
  absl::Status status = collect ? dataplane_.CollectFlows() : absl::OkStatus();
  status.Update(events_->DrainFlows());
  return status;
}

void Controller::Tick() {
  const std::lock_guard lock(mutex_);
  // Whatever wakes the daemon does not make time go faster.
  const auto now = std::chrono::steady_clock::now();
  const bool due = now >= next_tick_;
  if (due) next_tick_ = now + kTick;
  if (const absl::Status status = ReadFlows(due); !status.ok()) {
    log_(absl::StrCat("events: ", std::string(status.message())));
  }
  if (recompile_wanted_) {
    recompile_wanted_ = false;
    if (const absl::Status status = Recompile("new cgroups or executables"); !status.ok()) {
      log_(absl::StrCat("policy: ", std::string(status.message())));
    }
  }
  RotateKeys();
  CloseDeniedIfDue();
  if (!due) return;
  if (ticks_ % kTicksBetweenIdentityLooks == 0) LookAtOwnIdentities();
  if (ticks_ % kTicksBetweenListenerLooks == 0) AttachRefusals();
  if (ticks_ % kTicksBetweenDeviceLooks == 0) LookAtDevices();
  CheckDeadlines();
  if (compared_generation_ != generation_ || ticks_ % kTicksBetweenTrustChecks == 0) CheckDrift();
  if (++ticks_ % kTicksBetweenChecks != 0) return;
  if (ticks_ % kTicksBetweenTrustChecks == 0) {
    RecheckTrust();
    ForgetGonePeers();
    if (const absl::Status status = dataplane_.CountQuarantine(); !status.ok()) {
      log_(absl::StrCat("connections: ", std::string(status.message())));
    }
  }
  auto counters = dataplane_.Counters();
  if (!counters.ok()) return;
  const uint64_t lost = (*counters)[MSEG_CNT_CONTROL_EVENTS_LOST];
  if (lost == lost_control_events_) return;
  log_(absl::StrCat("events: ", lost - lost_control_events_,
                    " control events lost; looking at every process again"));
  lost_control_events_ = lost;
  LearnUnknownTasks();
  if (const absl::Status status = ClassifyNewCgroups(); !status.ok()) {
    log_(absl::StrCat("identity: ", std::string(status.message())));
  }
}

}  // namespace mseg
