// SPDX-License-Identifier: Apache-2.0
#include "daemon/exe_registry.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "daemon/file_hash.h"
#include "daemon/file_system.h"
#include "daemon/trusted_path.h"
#include "loader/errno_status.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

constexpr size_t kMaxFailures = 256;

// What the kernel makes of a `#!` line; empty: nothing.
std::string InterpreterOf(int fd) {
  char head[256];
  const ssize_t n = pread(fd, head, sizeof(head), 0);
  absl::string_view line(head, n > 0 ? static_cast<size_t>(n) : 0);
  if (!absl::ConsumePrefix(&line, "#!")) return "";
  line = line.substr(0, line.find('\n'));
  const size_t from = line.find_first_not_of(" \t");
  if (from == absl::string_view::npos) return "";
  line.remove_prefix(from);
  return std::string(line.substr(0, line.find_first_of(absl::string_view(" \t\0", 3))));
}

bool SameKey(const mseg_exe_key& a, const mseg_exe_key& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

// Kernels before 6.13 stamp files once a tick: a ctime of the current tick may come again with
// another content. Waiting for the tick to pass is at most some milliseconds.
void WaitForSettledCtime(const mseg_exe_key& key) {
  if (key.flags & MSEG_FILE_FINE_CTIME) return;
  timespec ctime{};
  ctime.tv_sec = key.ctime_sec;
  ctime.tv_nsec = key.ctime_nsec;
  absl::SleepFor(std::min(SettleWait(ctime), absl::Milliseconds(50)));
}

absl::Status CheckHashable(const mseg_exe_key& key) {
  if (key.flags & MSEG_FILE_UNLINKED) {
    return absl::FailedPreconditionError("the file has no name any more (deleted, or a memfd)");
  }
  if (key.flags & MSEG_FILE_REMOTE) {
    return absl::FailedPreconditionError(
        "the file lies on a network or FUSE file system and can change unseen");
  }
  if (key.flags & MSEG_FILE_LAYERED) {
    return absl::FailedPreconditionError(
        "the file lies on overlayfs, and others than root can write it: who has it mapped can do "
        "so unseen, even while it runs");
  }
  return absl::OkStatus();
}

ExecutableInfo ContentOf(const Digest& digest) {
  ExecutableInfo info;
  info.digest = digest;
  return info;
}

std::string NameOf(const ExecutableInfo& info) {
  const std::string digest = DigestText(info.digest);
  return info.path.empty() ? digest : absl::StrCat(info.path, " (", digest, ")");
}

}  // namespace

bool ExeRegistry::KeyLess::operator()(const mseg_exe_key& a, const mseg_exe_key& b) const {
  return std::memcmp(&a, &b, sizeof(a)) < 0;
}

ExeRegistry::ExeRegistry(const Dataplane& dataplane, Store& store, bool writes_show)
    : dataplane_(dataplane), store_(store), writes_show_(writes_show), ids_(store.salt()) {
  ExecutableInfo kernel;
  kernel.ref = MSEG_EXE_REF_KERNEL;
  kernel.path = "[kernel]";
  kernel.grade = MSEG_GRADE_PATH;
  kernel.kernel = true;
  Remember(std::move(kernel));
}

absl::Status ExeRegistry::Load() {
  auto stored = store_.Executables();
  if (!stored.ok()) return stored.status();
  for (const StoredExecutable& executable : *stored) {
    by_key_[executable.key] = executable.info.ref;
    Remember(executable.info);
  }
  MSEG_RETURN_IF_ERROR(LoadDigests());
  MSEG_RETURN_IF_ERROR(LoadPairs());
  for (const auto& [key, ref] : by_key_) {
    ExecutableInfo info = by_ref_.at(ref);
    if (info.exe_id == 0 && info.digest != Digest{}) GiveId(&info);  // to tell it again
  }
  return absl::OkStatus();
}

void ExeRegistry::Remember(ExecutableInfo info) {
  info.interpreter = IsInterpreter(info.digest);
  ids_.Keep(info);
  by_ref_[info.ref] = std::move(info);
}

// Of an earlier daemon of this boot: processes carry their numbers.
absl::Status ExeRegistry::LoadPairs() {
  auto table = dataplane_.scripts().Dump();
  if (!table.ok()) return table.status();
  for (const auto& [key, pair] : *table) {
    const ExecutableInfo* interpreter = ByRef(key.interpreter);
    const ExecutableInfo* script = ByRef(key.script);
    if (interpreter == nullptr || script == nullptr) continue;
    MSEG_RETURN_IF_ERROR(NamePair(ExecutableInfo(*interpreter), ExecutableInfo(*script)).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<ExecutableInfo> ExeRegistry::NamePair(const ExecutableInfo& interpreter,
                                                     const ExecutableInfo& script) {
  const std::pair<uint32_t, uint32_t> refs(interpreter.ref, script.ref);
  if (const auto it = pairs_.find(refs); it != pairs_.end()) return by_ref_.at(it->second);
  StoredExecutable pair{.info = interpreter};
  if (script.trusted_path) {
    pair.info.script = ScriptInfo{.digest = script.digest, .path = script.path};
    pair.info.grade = std::min(interpreter.grade, script.grade);
    GiveId(&pair.info);
    auto stored = store_.PutExecutable(pair);
    if (!stored.ok()) return stored.status();
    pair = *std::move(stored);
    Remember(pair.info);
  }
  pairs_[refs] = pair.info.ref;
  return by_ref_.at(pair.info.ref);
}

absl::Status ExeRegistry::PublishPair(uint32_t interpreter, uint32_t script) const {
  const auto it = pairs_.find({interpreter, script});
  if (it == pairs_.end()) return absl::NotFoundError("no such pair");
  const ExecutableInfo& pair = by_ref_.at(it->second);
  mseg_exe entry{};
  entry.exe_id = pair.exe_id;
  entry.ref = pair.ref;
  entry.grade = static_cast<uint8_t>(pair.grade);
  return dataplane_.scripts().Update({.interpreter = interpreter, .script = script}, entry);
}

absl::Status ExeRegistry::PublishPairs() const {
  absl::Status first;
  for (const auto& [key, ref] : pairs_) first.Update(PublishPair(key.first, key.second));
  return first;
}

std::optional<ExeRegistry::Known> ExeRegistry::LearnInterpreterOf(const ExecutableInfo& script) {
  if (!script.trusted_path) return std::nullopt;
  const ScopedFd fd(open(script.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const std::string path = fd.ok() ? InterpreterOf(fd.get()) : "";
  if (path.empty()) return std::nullopt;
  auto interpreter = LearnFile(path, /*trusted_only=*/true);
  return interpreter.ok() ? std::optional(*std::move(interpreter)) : std::nullopt;
}

void ExeRegistry::SetInterpreters(std::set<Digest> interpreters) {
  interpreters_ = std::move(interpreters);
  for (auto& [ref, info] : by_ref_) info.interpreter = IsInterpreter(info.digest);
}

// What the kernel recognises already, because an earlier daemon said so: processes may carry it.
absl::Status ExeRegistry::LoadDigests() {
  auto table = dataplane_.digests().Dump();
  if (!table.ok()) return table.status();
  std::set<Digest> digests;
  for (const auto& [key, exe] : *table) digests.insert(std::to_array(key.sha256));
  return NameDigests(digests);
}

absl::Status ExeRegistry::NameDigests(const std::set<Digest>& digests) {
  for (const Digest& digest : digests) {
    if (by_digest_.count(digest) != 0) continue;
    StoredExecutable named;
    named.info.digest = digest;
    named.info.any_path = true;
    named.info.grade = MSEG_GRADE_IMA;
    GiveId(&named.info);
    auto stored = store_.PutExecutable(named);
    if (!stored.ok()) return stored.status();
    by_digest_[digest] = stored->info.ref;
    Remember(stored->info);
  }
  return absl::OkStatus();
}

absl::Status ExeRegistry::PublishDigests() const {
  for (const auto& [digest, ref] : by_digest_) {
    mseg_digest key{};
    std::copy(digest.begin(), digest.end(), key.sha256);
    mseg_exe entry{};
    entry.exe_id = by_ref_.at(ref).exe_id;
    entry.ref = ref;
    entry.grade = MSEG_GRADE_IMA;
    entry.roles = RolesOf(digest);
    MSEG_RETURN_IF_ERROR(dataplane_.digests().Update(key, entry));
  }
  return absl::OkStatus();
}

absl::Status ExeRegistry::SetRoles(std::map<Digest, uint8_t> roles) {
  roles_ = std::move(roles);
  std::set<Digest> digests;
  for (const auto& [digest, role] : roles_) digests.insert(digest);
  return NameDigests(digests);
}

uint8_t ExeRegistry::RolesOf(const Digest& digest) const {
  const auto it = roles_.find(digest);
  return it == roles_.end() ? 0 : it->second;
}

absl::StatusOr<mseg_exe_key> ExeRegistry::KeyOf(int fd) const {
  auto keys = dataplane_.FileKeys();
  if (!keys.ok()) return keys.status();
  const auto it = keys->find(fd);
  if (it == keys->end()) return absl::InternalError("the kernel does not show an open file");
  return it->second;
}

absl::Status ExeRegistry::Forget(const std::vector<mseg_exe_key>& keys) {
  for (const mseg_exe_key& key : keys) {
    const absl::Status gone = dataplane_.exes().Delete(key);
    if (!gone.ok() && !absl::IsNotFound(gone)) return gone;
    by_key_.erase(key);
  }
  return keys.empty() ? absl::OkStatus() : store_.ForgetExecutables(keys);
}

// Full mode. A file that was opened for writing since, or that nobody has watched: what was known
// of it, under whichever path, goes before the watch begins anew, so that no old digest counts in
// between. Whoever writes from here on is noted.
absl::Status ExeRegistry::WatchForWrites(const mseg_exe_key& key) {
  if (!writes_show_) return absl::OkStatus();
  const mseg_inode_key inode{.ino = key.ino, .dev = key.dev, .generation = key.generation};
  auto written = dataplane_.written().Lookup(inode);
  if (!written.ok()) return written.status();
  if (*written == uint64_t{0}) return absl::OkStatus();
  std::vector<mseg_exe_key> stale;
  for (const auto& [known, ref] : by_key_) {
    if (known.ino != key.ino || known.dev != key.dev || known.generation != key.generation)
      continue;
    stale.push_back(known);
  }
  MSEG_RETURN_IF_ERROR(Forget(stale));
  return dataplane_.written().Update(inode, 0);
}

// That a file which others than root can write has changed, its ctime does not always say: not for
// a mapping on tmpfs, nor for extents that ext4 or XFS swap, nor where its owner sets it, as on
// FAT.
absl::Status ExeRegistry::CheckShowsChanges(int fd) const {
  if (writes_show_ || IsRootsAlone(fd) || HasVerity(fd)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "others than root can write it; without BPF LSM that may not show, so it cannot be known "
      "(fs-verity helps)");
}

absl::StatusOr<ExeRegistry::Reading> ExeRegistry::Begin(int fd, const Circumstances& at) {
  auto key = KeyOf(fd);
  if (!key.ok()) return key.status();
  if (at.expected != nullptr && !SameKey(*key, *at.expected)) {
    return absl::AbortedError("the process runs another file by now, or the file changed");
  }
  MSEG_RETURN_IF_ERROR(CheckHashable(*key));
  MSEG_RETURN_IF_ERROR(WatchForWrites(*key));
  Reading reading;
  reading.key = *key;
  if (const auto it = by_key_.find(*key); it != by_key_.end()) {
    const ExecutableInfo& info = by_ref_.at(it->second);
    // A path that was not trusted when it was looked at may be so by now.
    const bool read = info.digest != Digest{};
    const bool trusted = info.trusted_path || !at.trusted_only;
    // And fs-verity comes without a change of the ctime.
    if (read && trusted && (info.grade == MSEG_GRADE_VERITY || !HasVerity(fd))) {
      reading.known = Known{info, *key};
      return reading;
    }
  }
  reading.info.path = PathOfFd(fd);
  PathTrust trust;
  if (key->flags & MSEG_FILE_NO_PATH) {
    trust.reason = "its mount namespace belongs to an unprivileged user";
  } else {
    trust = CheckTrustedPath(at.root_fd, reading.info.path, fd);
  }
  if (at.trusted_only && !trust.trusted) {
    return absl::PermissionDeniedError(
        absl::StrCat(reading.info.path, " is not a trusted path: ", trust.reason));
  }
  reading.info.trusted_path = trust.trusted;
  reading.ima = at.ima;
  // Nobody can write a file while it runs; one that only lies there may be mapped by somebody who
  // then changes it without a trace. So what is not trusted is told, and not remembered.
  reading.remember = trust.trusted || at.expected != nullptr || at.must_be_unwritten;
  reading.must_be_unwritten = at.must_be_unwritten || (reading.remember && !trust.trusted);
  if (reading.remember && !trust.trusted) MSEG_RETURN_IF_ERROR(CheckShowsChanges(fd));
  return reading;
}

absl::StatusOr<Digest> ExeRegistry::Read(int fd, const Reading& reading) {
  WaitForSettledCtime(reading.key);
  // From here on whoever opens it for writing leaves a later ctime, or a mark.
  if (reading.must_be_unwritten) MSEG_RETURN_IF_ERROR(CheckUnwritten(fd));
  auto hash = HashFile(fd);
  if (!hash.ok()) return hash.status();
  if (!(reading.key.flags & MSEG_FILE_FINE_CTIME) && !hash->settled) {
    return absl::AbortedError("its change time lies in the future of this host's clock");
  }
  return hash->digest;
}

mseg_grade ExeRegistry::GradeOf(int fd, const Reading& reading) {
  if (HasVerity(fd)) return MSEG_GRADE_VERITY;
  return reading.ima.has_value() ? MSEG_GRADE_IMA : MSEG_GRADE_HASH;
}

absl::StatusOr<ExeRegistry::Known> ExeRegistry::Finish(int fd, const Reading& reading,
                                                       const absl::StatusOr<Digest>& read) {
  if (!read.ok()) return read.status();
  const Digest& digest = *read;
  auto after = KeyOf(fd);
  if (!after.ok()) return after.status();
  if (!SameKey(reading.key, *after)) {
    return absl::AbortedError("the file changed while it was read");
  }
  if (reading.ima.has_value() && *reading.ima != digest) {
    return absl::DataLossError("the kernel read another content at its exec");
  }
  const mseg_grade grade = GradeOf(fd, reading);
  if (const auto it = by_key_.find(reading.key); it != by_key_.end()) {
    const ExecutableInfo& info = by_ref_.at(it->second);  // somebody else was quicker
    if (info.digest == digest && info.trusted_path == reading.info.trusted_path &&
        info.grade >= grade) {
      return Known{info, reading.key};
    }
  }
  StoredExecutable executable{.info = reading.info, .key = reading.key};
  executable.info.digest = digest;
  executable.info.grade = grade;
  failures_.erase(executable.info.path);
  GiveId(&executable.info);
  if (!reading.remember) return Known{executable.info, reading.key};
  auto stored = store_.PutExecutable(executable);
  if (!stored.ok()) return stored.status();
  AddAliases(&stored->info);
  by_key_[reading.key] = stored->info.ref;
  Remember(stored->info);
  return Known{by_ref_.at(stored->info.ref), reading.key};
}

absl::StatusOr<ExeRegistry::Known> ExeRegistry::LearnFd(int fd, const Circumstances& at) {
  auto reading = Begin(fd, at);
  if (!reading.ok()) return reading.status();
  if (reading->known) return *reading->known;
  return Finish(fd, *reading, Read(fd, *reading));
}

absl::StatusOr<ExeRegistry::Known> ExeRegistry::LearnScript(uint32_t tgid, const mseg_exe_key& key,
                                                            const std::string& path) {
  // A script may be over before it is looked at; the key says whether it lies there for us, too.
  ScopedFd root(
      open(absl::StrCat("/proc/", tgid, "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.ok()) root = ScopedFd(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.ok()) return ErrnoStatus(errno, "open /");
  const ScopedFd fd(openat(root.get(), path.substr(path.find_first_not_of('/')).c_str(),
                           O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!fd.ok()) return ErrnoStatus(errno, "open " + path);
  auto known = LearnFd(fd.get(), {.root_fd = root.get(), .expected = &key, .trusted_only = true});
  if (absl::IsPermissionDenied(known.status())) return RememberUnread(key, PathOfFd(fd.get()));
  if (!known.ok() && !absl::IsAborted(known.status())) NoteFailure(path, tgid, known.status());
  return known;
}

// Whoever would have another content's id is told, and runs without one.
void ExeRegistry::GiveId(ExecutableInfo* info) {
  const ExecutableInfo* other = ids_.Give(info);
  if (other == nullptr) return;
  NoteFailure(info->path.empty() ? DigestText(info->digest) : info->path, 0,
              absl::AlreadyExistsError(
                  absl::StrCat("its content (", DigestText(info->digest), ") has the short id of ",
                               NameOf(*other), "; other hosts take it for an unknown executable")));
}

void ExeRegistry::ReserveIds(const std::set<Digest>& digests) {
  for (const Digest& digest : digests) {
    ExecutableInfo info = ContentOf(digest);
    if (ids_.Give(&info) == nullptr) ids_.Keep(info);
  }
}

absl::Status ExeRegistry::CheckId(ExecutableInfo info) const {
  const ExecutableInfo* other = ids_.Give(&info);
  if (other == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("two executables have one short id: ", NameOf(*other), " and ", NameOf(info),
                   "; one of them must be replaced"));
}

absl::Status ExeRegistry::CheckDigestIds(const std::set<Digest>& digests) const {
  for (const Digest& digest : digests) MSEG_RETURN_IF_ERROR(CheckId(ContentOf(digest)));
  return absl::OkStatus();
}

// A script that says nothing, whatever is in it: known by its number, so that nobody asks again.
absl::StatusOr<ExeRegistry::Known> ExeRegistry::RememberUnread(const mseg_exe_key& key,
                                                               const std::string& path) {
  StoredExecutable unread{.info = {}, .key = key};
  unread.info.path = path;
  auto stored = store_.PutExecutable(unread);
  if (!stored.ok()) return stored.status();
  by_key_[key] = stored->info.ref;
  Remember(stored->info);
  return Known{stored->info, key};
}

absl::StatusOr<ExeRegistry::Known> ExeRegistry::LearnProcess(uint32_t tgid, const mseg_exe_key& key,
                                                             const std::optional<Digest>& ima) {
  const std::string proc = absl::StrCat("/proc/", tgid);
  const ScopedFd fd(open((proc + "/exe").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoStatus(errno, "open " + proc + "/exe");
  const ScopedFd root(open((proc + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.ok()) return ErrnoStatus(errno, "open " + proc + "/root");
  auto known = LearnFd(fd.get(), {.root_fd = root.get(), .expected = &key, .ima = ima});
  if (!known.ok() && !absl::IsAborted(known.status())) {
    NoteFailure(PathOfFd(fd.get()), tgid, known.status());
  }
  return known;
}

absl::StatusOr<ExeRegistry::Known> ExeRegistry::LearnFile(const std::string& path,
                                                          bool trusted_only) {
  // O_NONBLOCK: a FIFO in its place must not hold the daemon.
  const ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.ok()) return ErrnoStatus(errno, "open " + path);
  const ScopedFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.ok()) return ErrnoStatus(errno, "open /");
  return LearnFd(fd.get(), {.root_fd = root.get(), .trusted_only = trusted_only});
}

absl::StatusOr<ExeRegistry::Reading> ExeRegistry::BeginOpened(int fd, uint32_t tgid) {
  const std::string proc = absl::StrCat("/proc/", tgid);
  const ScopedFd root(open((proc + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  // Whoever was to execute it has been killed.
  if (!root.ok()) return absl::AbortedError("the process is gone");
  auto reading = Begin(fd, {.root_fd = root.get(), .must_be_unwritten = true});
  if (absl::IsFailedPrecondition(reading.status()))
    NoteFailure(PathOfFd(fd), tgid, reading.status());
  return reading;
}

absl::StatusOr<ExeRegistry::Known> ExeRegistry::FinishOpened(int fd, uint32_t tgid,
                                                             const Reading& reading,
                                                             const absl::StatusOr<Digest>& read) {
  auto known = Finish(fd, reading, read);
  if (!known.ok() && !absl::IsAborted(known.status())) {
    NoteFailure(reading.info.path, tgid, known.status());
  }
  return known;
}

absl::StatusOr<std::vector<ExeRegistry::Known>> ExeRegistry::RecheckTrust() {
  const ScopedFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.ok()) return ErrnoStatus(errno, "open /");
  std::vector<Known> lost;
  std::vector<mseg_exe_key> unknown;
  for (auto& [key, ref] : by_key_) {
    const ExecutableInfo& info = by_ref_.at(ref);
    if (!info.trusted_path) continue;
    const ScopedFd fd(open(info.path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat st {};
    // Gone, replaced, or of a container: nobody can execute this key under this path here.
    if (!fd.ok() || fstat(fd.get(), &st) != 0 || st.st_ino != key.ino) continue;
    if (CheckTrustedPath(root.get(), info.path, fd.get()).trusted) continue;
    if (const absl::Status status = CheckShowsChanges(fd.get()); !status.ok()) {
      NoteFailure(info.path, 0, status);
      unknown.push_back(key);
      continue;
    }
    StoredExecutable executable{.info = info, .key = key};
    executable.info.trusted_path = false;
    auto stored = store_.PutExecutable(executable);
    if (!stored.ok()) {
      NoteFailure(info.path, 0, stored.status());
      unknown.push_back(key);
      continue;
    }
    ref = stored->info.ref;
    Remember(stored->info);
    lost.push_back({stored->info, key});
  }
  for (const mseg_exe_key& key : unknown) {
    if (const absl::Status status = Forget({key}); !status.ok()) NoteFailure("", 0, status);
  }
  return lost;
}

void ExeRegistry::AddAliases(ExecutableInfo* info) const {
  info->aliases.clear();
  for (const auto& [link, file] : links_) {
    if (file == info->path) info->aliases.push_back(link);
  }
}

void ExeRegistry::SetLinks(const std::map<std::string, std::string>& links) {
  for (const auto& [link, file] : links) links_[link] = file;
  for (auto& [ref, info] : by_ref_) AddAliases(&info);
}

void ExeRegistry::NoteFailure(const std::string& path, uint32_t pid, const absl::Status& status) {
  if (failures_.size() >= kMaxFailures && failures_.count(path) == 0) return;
  failures_[path] = Failure{path, std::string(status.message()), pid};
}

const ExecutableInfo* ExeRegistry::ByRef(uint32_t ref) const {
  const auto it = by_ref_.find(ref);
  return it == by_ref_.end() ? nullptr : &it->second;
}

std::optional<ExeRegistry::Known> ExeRegistry::ByKey(const mseg_exe_key& key) const {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return Known{by_ref_.at(it->second), key};
}

std::optional<ExecutableInfo> ExeRegistry::Of(const mseg_task& task) const {
  const auto file = by_key_.find(task.exe);
  uint32_t ref = task.id.exe_ref;
  if (task.id.script == MSEG_SCRIPT_NONE && ref != MSEG_EXE_REF_KERNEL) {
    ref = file == by_key_.end() ? 0 : file->second;
  } else if (task.id.script == MSEG_SCRIPT_PENDING && file != by_key_.end()) {
    if (const auto it = pairs_.find({ref, file->second}); it != pairs_.end()) ref = it->second;
  }
  const ExecutableInfo* info = ByRef(ref);
  return info == nullptr ? std::nullopt : std::optional(*info);
}

void ExeRegistry::BringUpToDate(mseg_task* task) const {
  mseg_identity& id = task->id;
  const bool may_change =
      id.exe_ref == 0 || id.flags & MSEG_ID_DIGEST_ONLY || id.script == MSEG_SCRIPT_PENDING;
  if (!may_change) return;
  const auto known = Of(*task);
  if (!known) return;
  id.exe_ref = known->ref;
  id.exe_id = known->exe_id;
  id.grade = static_cast<uint8_t>(id.flags & MSEG_ID_WALKED ? MSEG_GRADE_PATH : known->grade);
}

std::vector<ExeRegistry::Known> ExeRegistry::All() const {
  std::vector<Known> all;
  for (const auto& [key, ref] : by_key_) all.push_back({by_ref_.at(ref), key});
  return all;
}

std::vector<ExecutableInfo> ExeRegistry::Infos() const {
  std::vector<ExecutableInfo> infos;
  std::set<uint32_t> scripts;
  for (const auto& [refs, pair] : pairs_) scripts.insert(refs.second);
  for (const auto& [ref, info] : by_ref_) {
    if (scripts.count(ref) == 0) infos.push_back(info);
  }
  return infos;
}

absl::Status ExeRegistry::Publish(const Known& known) const {
  mseg_exe entry{};
  entry.exe_id = known.info.exe_id;
  entry.ref = known.info.ref;
  entry.grade = static_cast<uint8_t>(known.info.grade);
  entry.roles = RolesOf(known.info.digest);
  return dataplane_.exes().Update(known.key, entry);
}

absl::StatusOr<bool> ExeRegistry::IsPublished(const Known& known) const {
  auto entry = dataplane_.exes().Lookup(known.key);
  if (!entry.ok()) return entry.status();
  return entry->has_value() && (*entry)->ref == known.info.ref &&
         (*entry)->roles == RolesOf(known.info.digest);
}

}  // namespace mseg
