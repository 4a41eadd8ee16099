// SPDX-License-Identifier: Apache-2.0
// Executables and scripts: those that are seen or named become known, and have classes before the
// cache has them.
#include <string.h>

#include <array>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/controller.h"
#include "daemon/trusted_path.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

// A failure that is the same until the file changes.
bool LiesInTheFile(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) ||
         absl::IsResourceExhausted(status);
}

}  // namespace

// Classes first, then the cache: in between the executable is still unknown, never "other".
absl::Status Controller::Enrol(const ExeRegistry::Known& known) {
  auto published = exes_.IsPublished(known);
  if (!published.ok()) return published.status();
  if (*published) return absl::OkStatus();
  auto ready = SetExeClasses(known.info);
  if (!ready.ok()) return ready.status();
  return *ready ? exes_.Publish(known) : absl::OkStatus();
}

absl::StatusOr<ExeRegistry::Known> Controller::EnrolFile(ExeRegistry::Known known) {
  MSEG_RETURN_IF_ERROR(Enrol(known));
  if (features_.mode != MSEG_MODE_FULL) return known;
  const auto interpreter = exes_.LearnInterpreterOf(known.info);
  if (!interpreter) return known;
  MSEG_RETURN_IF_ERROR(Enrol(*interpreter));
  MSEG_RETURN_IF_ERROR(EnrolPair(interpreter->info, known.info));
  auto pair = exes_.NamePair(interpreter->info, known.info);
  if (!pair.ok()) return pair.status();
  known.info = *std::move(pair);
  return known;
}

absl::StatusOr<bool> Controller::SetExeClasses(const ExecutableInfo& info) {
  for (const mseg_grade grade : {info.grade, MSEG_GRADE_PATH}) {
    const ExeClass cls = image_->classifier->ExeClassOf(info, grade);
    if (!cls.known) {
      MSEG_RETURN_IF_ERROR(Recompile("an executable that the policy names"));
      return false;
    }
    if (cls.cls == MSEG_EXE_OTHER) continue;
    MSEG_RETURN_IF_ERROR(tables_.SetExeClass(info.ref, grade, cls.cls));
  }
  return true;
}

absl::Status Controller::EnrolPair(const ExecutableInfo& interpreter,
                                   const ExecutableInfo& script) {
  auto pair = exes_.NamePair(interpreter, script);
  if (!pair.ok()) return pair.status();
  if (!started_) return absl::OkStatus();
  auto ready = SetExeClasses(*pair);
  if (!ready.ok()) return ready.status();
  return *ready ? exes_.PublishPair(interpreter.ref, script.ref) : absl::OkStatus();
}

void Controller::LogIfNotEnrolled(const std::string& path, const absl::Status& status) const {
  if (status.ok()) return;
  log_(absl::StrCat("identity: cannot enrol ", path, ": ", std::string(status.message())));
}

void Controller::OnExe(const mseg_exe_event& event) {
  std::optional<Digest> ima(std::to_array(event.ima.sha256));
  if (*ima == Digest{}) ima.reset();
  auto known = exes_.LearnProcess(event.tgid, event.exe, ima);
  // Gone, changed, or noted as a failure: it stays unknown, unless it was known before.
  const auto exe = known.ok() ? std::optional(*known) : exes_.ByKey(event.exe);
  if (!exe) return;
  const auto failure = exes_.failures().find(exe->info.path);
  if (known.ok() && failure != exes_.failures().end()) {
    log_(absl::StrCat("identity: ", exe->info.path, ": ", failure->second.reason));
  }
  absl::Status status;
  if (started_ && known.ok()) status = Enrol(*exe);  // else it enters with the first generation
  const auto script = exes_.ByKey(event.script);
  if (status.ok() && script) status = EnrolPair(exe->info, script->info);
  LogIfNotEnrolled(exe->info.path, status);
}

// Its event was lost, and the script's own too, unless another exec brought that.
void Controller::LearnPending(const mseg_task& task) {
  const ExecutableInfo* interpreter = exes_.ByRef(task.id.exe_ref);
  const auto script = exes_.ByKey(task.exe);
  if (interpreter == nullptr || !script) return;
  LogIfNotEnrolled(script->info.path, EnrolPair(ExecutableInfo(*interpreter), script->info));
}

void Controller::OnScript(const mseg_script_event& event) {
  const std::string path(event.path, strnlen(event.path, sizeof(event.path)));
  auto known = exes_.LearnScript(event.tgid, event.script, path);
  if (!known.ok() || !started_) return;
  LogIfNotEnrolled(path, Enrol(*known));
}

absl::Status Controller::StartExecWatch() {
  auto watch = ExecWatch::Start(
      {.cgroup_root = options_.cgroup_root},
      [this](int fd, uint32_t tgid) { return LearnBeforeExec(fd, tgid); }, log_);
  if (!watch.ok()) {
    return absl::Status(watch.status().code(),
                        absl::StrCat("exec_watch: ", std::string(watch.status().message())));
  }
  exec_watch_ = *std::move(watch);
  return absl::OkStatus();
}

// Whatever comes of it, the exec goes on; what is not learned here is told by its own event. Nobody
// waits for the lock while the file is read.
bool Controller::LearnBeforeExec(int fd, uint32_t tgid) {
  std::unique_lock lock(mutex_);
  auto reading = exes_.BeginOpened(fd, tgid);
  if (!reading.ok()) return LiesInTheFile(reading.status());
  std::optional<ExeRegistry::Known> known = reading->known;
  if (!known) {
    lock.unlock();
    const auto digest = ExeRegistry::Read(fd, *reading);
    lock.lock();
    auto finished = exes_.FinishOpened(fd, tgid, *reading, digest);
    if (!finished.ok()) return LiesInTheFile(finished.status());
    known = *std::move(finished);
  }
  const std::string path = known->info.path;
  const absl::Status status = EnrolFile(*std::move(known)).status();
  LogIfNotEnrolled(path, status);
  return status.ok();
}

// Binaries that a policy names are known before it is in force.
void Controller::LearnMentioned(const Mentions& mentions) {
  exes_.ReserveIds(mentions.digests);
  if (features_.mode == MSEG_MODE_FULL) {
    if (const absl::Status status = exes_.NameDigests(mentions.digests); !status.ok()) {
      log_(absl::StrCat("identity: ", std::string(status.message())));
    }
  }
  exes_.SetLinks(ResolveTrustedLinks(mentions.exe_paths, mentions.exe_names));
  for (const std::string& path : ResolveNamed(mentions.exe_paths, mentions.exe_names)) {
    auto known = exes_.LearnFile(path, /*trusted_only=*/true);
    if (known.ok()) continue;
    log_(absl::StrCat("identity: the policy names ", path,
                      ", but: ", std::string(known.status().message())));
  }
  LearnScripts(mentions);
}

// Where a policy tells scripts apart: which programs are interpreters, and what the scripts that it
// names by path will be when they are executed.
void Controller::LearnScripts(const Mentions& mentions) {
  if (!mentions.scripts) return;
  std::set<std::string> paths;
  std::set<std::string> names;
  for (const std::string& item : options_.interpreters) {
    (item[0] == '/' ? paths : names).insert(item);
  }
  std::set<Digest> interpreters;
  for (const std::string& path : ResolveNamed(paths, names)) {
    if (auto known = exes_.LearnFile(path, /*trusted_only=*/true); known.ok()) {
      interpreters.insert(known->info.digest);
    }
  }
  exes_.SetInterpreters(std::move(interpreters));
  for (const std::string& path : ResolveNamed(mentions.script_paths, {})) {
    auto known = exes_.LearnFile(path, /*trusted_only=*/true);
    if (!known.ok()) {
      log_(absl::StrCat("identity: the policy names ", path,
                        ", but: ", std::string(known.status().message())));
      continue;
    }
    const auto interpreter = exes_.LearnInterpreterOf(known->info);
    if (interpreter && exes_.NamePair(interpreter->info, known->info).ok()) continue;
    log_(absl::StrCat("identity: the policy names the script ", path,
                      ", but it does not begin with `#!` and a trusted interpreter"));
  }
}

// Processes whose executable nobody has hashed: at start, and whenever events were lost.
void Controller::LearnUnknownTasks() {
  auto tasks = dataplane_.tasks().Dump();
  if (!tasks.ok()) {
    log_(absl::StrCat("identity: ", std::string(tasks.status().message())));
    return;
  }
  for (const auto& [key, task] : *tasks) {
    if (task.id.script == MSEG_SCRIPT_PENDING) {
      LearnPending(task);
      continue;
    }
    const bool known = task.id.exe_ref != 0 && !(task.id.flags & MSEG_ID_DIGEST_ONLY);
    if (known || task.exe.flags & MSEG_FILE_UNHASHABLE) continue;
    mseg_exe_event event{};
    event.tgid = task.id.tgid;
    event.exe = task.exe;
    OnExe(event);
  }
}

void Controller::RecheckTrust() {
  auto lost = exes_.RecheckTrust();
  if (!lost.ok()) {
    log_(absl::StrCat("identity: ", std::string(lost.status().message())));
    return;
  }
  for (const ExeRegistry::Known& known : *lost) {
    log_(absl::StrCat("identity: ", known.info.path, " is no trusted path any more"));
    if (const absl::Status status = Enrol(known); !status.ok()) {
      log_(absl::StrCat("identity: ", std::string(status.message())));
    }
  }
}

}  // namespace mseg
