// SPDX-License-Identifier: Apache-2.0
// What the daemon tells: status, identities, explanations, flows.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/controller.h"
#include "daemon/counter_names.h"
#include "daemon/host_inventory.h"
#include "labels/endpoint.h"
#include "labels/simulator.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

std::string ReadFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string UnknownReason(const mseg_task& task) {
  if (task.id.flags & MSEG_ID_NO_RECORD) return "no_record";
  if (task.exe.flags & MSEG_FILE_UNLINKED) return "unlinked";
  if (task.exe.flags & MSEG_FILE_REMOTE) return "remote";
  if (task.exe.flags & MSEG_FILE_LAYERED) return "layered";
  return "not_hashed";
}

absl::StatusOr<uint32_t> ParsePid(const std::string& text) {
  uint32_t pid = 0;
  if (!absl::SimpleAtoi(text, &pid) || pid == 0) {
    return absl::InvalidArgumentError(absl::StrCat("`", text, "` is no process id"));
  }
  return pid;
}

std::string RuleText(const GenerationImage& image, uint32_t rule) {
  return rule == 0 || rule >= image.rules->size() ? "" : (*image.rules)[rule].Name();
}

api::ExplainAnswer ToAnswer(const Explanation& explanation, const std::string& would_rule) {
  auto word = [](const EndVerdict& end) {
    return std::string(VerdictName(end.judged ? end.decision.verdict : uint8_t{MSEG_ALLOW}));
  };
  api::ExplainAnswer answer;
  answer.verdict = std::string(VerdictName(explanation.verdict));
  answer.would_be = std::string(VerdictName(explanation.would_be));
  answer.egress = word(explanation.egress);
  answer.ingress = word(explanation.ingress);
  answer.reason = std::string(ReasonName(explanation.reason));
  answer.rule = explanation.rule;
  answer.at = explanation.at;
  answer.would_rule = would_rule;
  for (const Probe& probe : explanation.egress.probes) {
    answer.lookups.push_back(ProbeText("egress", probe));
  }
  for (const Probe& probe : explanation.ingress.probes) {
    answer.lookups.push_back(ProbeText("ingress", probe));
  }
  return answer;
}

}  // namespace

void Controller::FillExecWatch(api::Status* status) const {
  const ExecWatchCounts counts = exec_watch_->counts();
  status->counters.emplace_back("execs_held", counts.held);
  status->counters.emplace_back("execs_held_too_long", counts.late);
  status->counters.emplace_back("file_systems_unwatched", counts.unwatched);
  std::erase_if(status->gaps,
                [](const std::string& gap) { return gap.starts_with("first_exec:"); });
  status->gaps.push_back(
      "first_exec: an executable that takes longer than a second to hash, or lies on a file system "
      "that is not mounted in the daemon's mount namespace, is unknown until the daemon has read "
      "it");
}

void Controller::FillDevices(api::Status* status) const {
  for (const auto& [inode, ns] : filters_.namespaces()) {
    for (const std::string& device : ns.devices) {
      const std::string place = absl::StrCat(" ", device, " (net:[", inode, "])");
      status->programs.push_back({"mseg_tc_ingress", "tc/ingress" + place, "", 0});
      status->programs.push_back({"mseg_tc_egress", "tc/egress" + place, "", 0});
    }
    for (const std::string& problem : ns.problems) {
      status->gaps.push_back(absl::StrCat("datagrams: net:[", inode, "] ", problem,
                                          ": they carry no identities there"));
    }
  }
}

absl::StatusOr<api::Status> Controller::GetStatus() {
  const std::lock_guard lock(mutex_);
  api::Status status;
  status.mode = features_.mode == MSEG_MODE_FULL ? "full" : "cgroup";
  auto kernel = ReadKernelInfo();
  if (kernel.ok()) status.kernel = kernel->release;
  for (const Feature& feature : features_.list) {
    status.features.push_back({feature.name, feature.present, feature.costs});
  }
  status.gaps = features_.gaps;
  status.generation = generation_;
  status.revision = store_.head().revision;
  status.host_id = store_.host().id;
  const std::optional<HostRecord>& own = directory_.own();
  status.host_name = own.has_value() ? own->name : store_.host().name;
  status.trusted_hosts = directory_.hosts().size();
  status.host_records = directory_.bundles().size();
  if (!directory_.problem().empty()) status.gaps.push_back(directory_.problem());
  auto programs = dataplane_.Attached();
  if (!programs.ok()) return programs.status();
  for (const AttachedProgram& program : *programs) {
    status.programs.push_back(
        {program.name, program.hook, program.cgroup, program.loaded_at * 1000000});
  }
  FillDevices(&status);
  auto counters = dataplane_.Counters();
  if (!counters.ok()) return counters.status();
  for (size_t i = 0; i < counters->size(); i++) {
    status.counters.emplace_back(std::string(kCounterNames[i]), (*counters)[i]);
  }
  status.counters.emplace_back("flow_events", flows_.judged());
  status.counters.emplace_back("malformed_events", events_->malformed());
  status.counters.emplace_back("drift", drift_);
  status.counters.emplace_back("connections_closed", connections_closed_);
  status.counters.emplace_back("connections_not_closed", connections_not_closed_);
  if (auto memory = dataplane_.MapMemory(); memory.ok()) {
    status.counters.emplace_back("map_bytes", *memory);
  }
  status.conflicts = image_->conflicts;
  for (const auto& [path, failure] : exes_.failures()) {
    status.unknown_executables.push_back({failure.path, failure.reason, failure.pid});
  }
  auto listeners = dataplane_.listeners().Dump();
  if (!listeners.ok()) return listeners.status();
  for (const auto& [key, listener] : *listeners) {
    const api::Process owner = Describe(listener.owner);
    if (!owner.labels.empty()) continue;
    IpAddress address;
    std::copy(std::begin(key.addr), std::end(key.addr), address.begin());
    status.unlabelled_listeners.push_back(
        {ProtocolName(key.protocol), IpAddressText(address), key.port, owner.pid, owner.exe});
  }
  FillRevisions(&status);
  if (features_.mode == MSEG_MODE_FULL && !guard_.enabled()) {
    status.gaps.push_back(
        "self_protection: off in the configuration: root can detach mseg's programs, change its "
        "maps and state, and kill or trace the daemon");
  }
  if (exec_watch_ != nullptr) FillExecWatch(&status);
  status.tampering.assign(guard_.attempts().begin(), guard_.attempts().end());
  status.last_drift = last_drift_;
  return status;
}

// Labels and class as the tables in force give them for these facts.
// Of another host only the executable id is known, and what its records say of that.
const ExecutableInfo* Controller::ExeOf(const mseg_identity& id) const {
  if ((id.flags & MSEG_ID_REMOTE) == 0) return exes_.ByRef(id.exe_ref);
  const auto it = remote_exes_.find(id.exe_id);
  return it == remote_exes_.end() ? nullptr : &it->second;
}

api::Process Controller::Describe(const mseg_task& task) const {
  api::Process out;
  out.pid = task.id.tgid;
  out.comm = ReadFirstLine(absl::StrCat("/proc/", out.pid, "/comm"));
  mseg_task now = task;
  exes_.BringUpToDate(&now);
  const mseg_identity& id = now.id;
  if (const ExecutableInfo* exe = exes_.ByRef(id.exe_ref)) {
    out.exe = exe->path;
    if (!exe->kernel) out.digest = DigestText(exe->digest);
    out.exe_id = exe->exe_id;
    if (exe->script) {
      out.script = exe->script->path;
      out.script_digest = DigestText(exe->script->digest);
    }
  } else {
    out.unknown_reason = UnknownReason(task);
  }
  out.grade = std::string(GradeName(static_cast<mseg_grade>(id.grade)));
  const Simulator simulator(*image_);
  const mseg_identity_value value =
      simulator.Identity(id.cgroup_id, id.exe_ref, static_cast<mseg_grade>(id.grade), id.uid);
  out.label_id = value.label_id;
  out.cls = value.cls;
  const LabelSets& sets = *image_->label_sets;
  if (const auto it = sets.find(value.label_id); it != sets.end()) {
    out.labels = it->second.values();
  }
  if (auto path = CgroupPathOf(options_.cgroup_root, id.cgroup_id); path.ok()) out.cgroup = *path;
  out.user = UserName(id.uid);
  return out;
}

// A record with the cgroup and user of this moment; nothing if the process is gone.
std::optional<mseg_task> Controller::Refreshed(mseg_task task) const {
  const std::string proc = absl::StrCat("/proc/", task.id.tgid);
  std::ifstream status(proc + "/status");
  if (!status) return std::nullopt;
  for (std::string line; std::getline(status, line);) {
    if (!absl::StartsWith(line, "Uid:")) continue;
    const std::vector<std::string> fields =
        absl::StrSplit(line, absl::ByAnyChar("\t "), absl::SkipEmpty());
    if (fields.size() > 1 && !absl::SimpleAtoi(fields[1], &task.id.uid)) task.id.uid = 0;
  }
  std::ifstream cgroup(proc + "/cgroup");
  for (std::string line; std::getline(cgroup, line);) {
    if (!absl::StartsWith(line, "0::")) continue;
    // Relative to the hierarchy's root, which may lie above the managed one.
    for (std::string dir = options_.cgroup_root; dir.size() > 1;
         dir = dir.substr(0, dir.rfind('/'))) {
      if (auto id = CgroupId(dir + line.substr(3)); id.ok()) {
        task.id.cgroup_id = *id;
        break;
      }
    }
  }
  return task;
}

absl::StatusOr<mseg_task> Controller::TaskOf(uint32_t pid) const {
  auto tasks = dataplane_.tasks().Dump();
  if (!tasks.ok()) return tasks.status();
  for (const auto& [key, task] : *tasks) {
    if (key.tgid != pid) continue;
    if (auto now = Refreshed(task)) return *now;
  }
  return absl::NotFoundError(absl::StrCat("no process with pid ", pid));
}

absl::StatusOr<std::vector<api::Process>> Controller::ListIdentities() {
  const std::lock_guard lock(mutex_);
  auto tasks = dataplane_.tasks().Dump();
  if (!tasks.ok()) return tasks.status();
  std::vector<api::Process> out;
  for (const auto& [key, task] : *tasks) {
    const auto now = Refreshed(task);
    if (!now) continue;
    api::Process process = Describe(*now);
    // Outside the managed root nothing is judged.
    if (process.cgroup.empty()) continue;
    out.push_back(std::move(process));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.pid < b.pid; });
  return out;
}

absl::StatusOr<ExeRegistry::Known> Controller::KnownFile(const std::string& path) {
  auto known = exes_.LearnFile(path, /*trusted_only=*/false);
  return known.ok() && known->info.trusted_path ? EnrolFile(*std::move(known)) : known;
}

absl::StatusOr<api::Process> Controller::ShowIdentity(const std::string& target) {
  const std::lock_guard lock(mutex_);
  if (!absl::StartsWith(target, "/")) {
    auto pid = ParsePid(target);
    if (!pid.ok()) return pid.status();
    auto task = TaskOf(*pid);
    if (!task.ok()) return task.status();
    return Describe(*task);
  }
  auto known = KnownFile(target);
  if (!known.ok()) return known.status();
  mseg_task task{};
  task.exe = known->key;
  task.id.exe_ref = known->info.ref;
  task.id.grade = static_cast<uint8_t>(known->info.grade);
  task.id.cgroup_id = dataplane_.cgroup_root_id();
  api::Process process = Describe(task);
  process.user.clear();
  process.cgroup.clear();
  process.exe = known->info.path;
  process.digest = DigestText(known->info.digest);
  process.exe_id = known->info.exe_id;
  process.unknown_reason.clear();
  return process;
}

absl::StatusOr<IdentityFacts> Controller::FactsOfProcess(uint32_t pid) const {
  auto task = TaskOf(pid);
  if (!task.ok()) return task.status();
  IdentityFacts facts = FactsOf(*task);
  if (!facts.cgroup.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", pid, " lives outside the managed cgroup root"));
  }
  return facts;
}

// As the kernel resolves them: a cgroup that is not below the managed root has no class.
IdentityFacts Controller::FactsOf(const mseg_task& task) const {
  IdentityFacts facts;
  if (auto path = CgroupPathOf(options_.cgroup_root, task.id.cgroup_id); path.ok()) {
    facts.cgroup = *path;
  }
  facts.uid = task.id.uid;
  facts.exe = IdentityFacts::Exe::kUnknown;
  auto known = exes_.Of(task);
  if (!known) return facts;
  facts.exe = IdentityFacts::Exe::kKnown;
  facts.executable = *std::move(known);
  if (task.id.flags & MSEG_ID_WALKED) facts.executable.grade = MSEG_GRADE_PATH;
  return facts;
}

absl::Status Controller::ExplainOne(const api::ExplainQuery& query, const PolicySet& policy,
                                    std::vector<Query>* resolved) {
  auto end = [&](const std::string& text) -> absl::StatusOr<ResolvedEnd> {
    auto endpoint = ParseEndpoint(text);
    if (!endpoint.ok()) return endpoint.status();
    ResolvedEnd out;
    if (endpoint->kind == Endpoint::Kind::kPid) {
      auto facts = FactsOfProcess(endpoint->pid);
      if (!facts.ok()) return facts.status();
      out.managed = true;
      out.facts = *std::move(facts);
      return out;
    }
    if (endpoint->kind == Endpoint::Kind::kFile) {
      auto known = KnownFile(endpoint->name);
      if (!known.ok()) return known.status();
      out.managed = true;
      out.facts.cgroup = "/";
      out.facts.exe = IdentityFacts::Exe::kKnown;
      out.facts.executable = known->info;
      return out;
    }
    return ResolveEnd(policy, *endpoint);
  };
  Query out;
  auto from = end(query.from);
  if (!from.ok()) return from.status();
  auto to = end(query.to);
  if (!to.ok()) return to.status();
  auto service = ParseServicePort(policy, query.service);
  if (!service.ok()) return service.status();
  out.from = *std::move(from);
  out.to = *std::move(to);
  out.protocol = service->protocol;
  out.port = service->port;
  resolved->push_back(std::move(out));
  return absl::OkStatus();
}

// Asks the maps in force. Where an end has no class there, it lives nowhere on this host and the
// kernel has no opinion.
void Controller::CompareWithKernel(const Query& query, api::ExplainAnswer* answer) const {
  auto class_of = [this](const ResolvedEnd& end) -> std::optional<uint32_t> {
    if (end.managed) return image_->classifier->ClassOf(end.facts);
    uint8_t address[16];
    std::copy(end.address.begin(), end.address.end(), address);
    auto cls = tables_.AddressClass(address);
    if (!cls.ok()) return std::nullopt;
    return *cls;
  };
  const auto from = class_of(query.from);
  const auto to = class_of(query.to);
  if (!from || !to) return;
  bool allow = true;
  auto ask = [&](uint32_t local, uint32_t peer, uint8_t direction) {
    mseg_explain args{};
    args.local_class = local;
    args.peer_class = peer;
    args.port = query.port;
    args.protocol = query.protocol;
    args.direction = direction;
    if (!dataplane_.Explain(&args).ok()) return false;
    allow = allow && args.verdict == MSEG_ALLOW;
    return true;
  };
  if (query.from.managed && !ask(*from, *to, MSEG_EGRESS)) return;
  if (query.to.managed && !ask(*to, *from, MSEG_INGRESS)) return;
  answer->kernel = std::string(VerdictName(allow ? MSEG_ALLOW : MSEG_DENY));
  answer->drift = answer->kernel != answer->verdict;
}

absl::StatusOr<std::vector<api::ExplainAnswer>> Controller::Explain(
    const std::vector<api::ExplainQuery>& queries, bool kernel) {
  const std::lock_guard lock(mutex_);
  std::vector<api::ExplainAnswer> answers(queries.size());
  std::vector<Query> resolved;
  std::vector<size_t> places;
  for (size_t i = 0; i < queries.size(); i++) {
    const absl::Status status = ExplainOne(queries[i], policy_, &resolved);
    if (status.ok()) {
      places.push_back(i);
    } else {
      answers[i].error = std::string(status.message());
    }
  }
  auto inventory = TakeInventory(CollectMentions(policy_));
  if (!inventory.ok()) return inventory.status();
  Diagnostics diagnostics;
  auto explained =
      ExplainAll(policy_, *std::move(inventory), compile_options(), resolved, &diagnostics);
  if (!explained.ok()) return explained.status();
  for (size_t i = 0; i < places.size(); i++) {
    const Explanation& explanation = (*explained)[i];
    const uint32_t would =
        explanation.egress.judged && explanation.egress.decision.would_be == MSEG_DENY
            ? explanation.egress.decision.would_rule
            : explanation.ingress.decision.would_rule;
    api::ExplainAnswer& answer = answers[places[i]];
    answer = ToAnswer(explanation, RuleText(*image_, would));
    if (!kernel) continue;
    CompareWithKernel(resolved[i], &answer);
    if (answer.drift) {
      NoteDrift(absl::StrCat(queries[places[i]].from, " to ", queries[places[i]].to, " ",
                             queries[places[i]].service, ": the kernel says ", answer.kernel,
                             ", the simulator ", answer.verdict));
    }
  }
  return answers;
}

absl::StatusOr<api::FlowPage> Controller::Flows(const api::FlowsRequest& request) {
  const std::lock_guard lock(mutex_);
  MSEG_RETURN_IF_ERROR(ReadFlows());
  return flows_.Read(request, [this](const mseg_identity& id) { return ExeOf(id); });
}

}  // namespace mseg
