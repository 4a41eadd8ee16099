// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_EXE_REGISTRY_H_
#define MSEG_DAEMON_EXE_REGISTRY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/executable_ids.h"
#include "daemon/store.h"
#include "labels/inventory.h"
#include "loader/dataplane.h"
#include "mseg/abi.h"

namespace mseg {

// Executables of this host: from the key that the kernel gave a file to what is in it. The key is
// always the kernel's own, also for files that nobody runs yet: it is read from an open descriptor.
class ExeRegistry {
 public:
  struct Known {
    ExecutableInfo info;
    mseg_exe_key key{};
  };
  struct Failure {
    std::string path;
    std::string reason;
    uint32_t pid = 0;
  };

  // `writes_show`: the kernel tells of every file that is opened for writing (full mode). Else a
  // file that others than root can write stays unknown.
  ExeRegistry(const Dataplane& dataplane, Store& store, bool writes_show);
  ExeRegistry(const ExeRegistry&) = delete;
  ExeRegistry& operator=(const ExeRegistry&) = delete;

  // What the store knows of this boot.
  absl::Status Load();

  // Hashes what a process runs. Aborted: by now it runs something else, or the file changed;
  // FailedPrecondition: a file whose content nobody can vouch for.
  // `ima`: what the kernel read of the file at exec, if it did; then both must agree.
  absl::StatusOr<Known> LearnProcess(uint32_t tgid, const mseg_exe_key& key,
                                     const std::optional<Digest>& ima);
  // Hashes a file before anyone runs it. Remembered only if its path is trusted: whoever may write
  // it could change it between now and its exec through a mapping that is open already; its `ref`
  // is 0 then. `trusted_only`: PermissionDenied for such a file, without reading it.
  absl::StatusOr<Known> LearnFile(const std::string& path, bool trusted_only);

  // A file that is about to be executed, in three steps, of which only the one that takes its time
  // needs no lock: Read(). Aborted: somebody has it open for writing, or it changed, or it cannot
  // be looked at now; FailedPrecondition as for `LearnProcess`.
  struct Reading;
  absl::StatusOr<Reading> BeginOpened(int fd, uint32_t tgid);
  static absl::StatusOr<Digest> Read(int fd, const Reading& reading);
  absl::StatusOr<Known> FinishOpened(int fd, uint32_t tgid, const Reading& reading,
                                     const absl::StatusOr<Digest>& read);

  // Looks at every trusted path again: a directory that others may write by now leaves the file and
  // its key as they were. Returns those that lost their trust, with a new ref, to be published.
  absl::StatusOr<std::vector<Known>> RecheckTrust();
  // Trusted links that lead to executables: link -> file. Replaces what was known for those links.
  void SetLinks(const std::map<std::string, std::string>& links);

  // The script of an exec under way, at `path` below the root of the process. It is read only if
  // the path is trusted, else its digest stays zero. Aborted: another file lies there, or it
  // changed.
  absl::StatusOr<Known> LearnScript(uint32_t tgid, const mseg_exe_key& key,
                                    const std::string& path);
  // An interpreter and the script that the kernel started it for, as one executable; the
  // interpreter alone, if others than root can change the script or its path.
  absl::StatusOr<ExecutableInfo> NamePair(const ExecutableInfo& interpreter,
                                          const ExecutableInfo& script);
  // Puts a pair that was named into the kernel's table. Its class must be in the tables before.
  absl::Status PublishPair(uint32_t interpreter, uint32_t script) const;
  absl::Status PublishPairs() const;
  // What the kernel turns to when this file is executed, if it begins with `#!` and both are
  // trusted.
  std::optional<Known> LearnInterpreterOf(const ExecutableInfo& script);
  // Contents that take what they do from elsewhere: ExecutableInfo::interpreter.
  void SetInterpreters(std::set<Digest> interpreters);
  // Contents whose short ids are taken, by records of other hosts, by policy.
  void SetRemote(const std::vector<ExecutableInfo>& remote) { ids_.KeepRemote(remote); }
  void ReserveIds(const std::set<Digest>& digests);
  // InvalidArgument, with both named: this has, or one of these have, the id of another content.
  absl::Status CheckId(ExecutableInfo info) const;
  absl::Status CheckDigestIds(const std::set<Digest>& digests) const;
  bool IsInterpreter(const Digest& digest) const { return interpreters_.count(digest) != 0; }

  // Digests that the kernel is to recognise at exec, before their file is known here: each gets a
  // ref that stands for the content wherever it lies. What was named once stays known.
  absl::Status NameDigests(const std::set<Digest>& digests);
  // Puts them into the kernel's table. Their classes must be in the tables before.
  absl::Status PublishDigests() const;

  // What content may do to mseg (enum mseg_role), whatever the file; replaces what was said before.
  absl::Status SetRoles(std::map<Digest, uint8_t> roles);

  const ExecutableInfo* ByRef(uint32_t ref) const;
  std::optional<Known> ByKey(const mseg_exe_key& key) const;
  // What a task runs, with its script if that is known.
  std::optional<ExecutableInfo> Of(const mseg_task& task) const;
  // As the kernel will at its next look: what is known by now of an executable that may still
  // become more (mseg_exe_may_change in task.bpf.h).
  void BringUpToDate(mseg_task* task) const;
  std::vector<Known> All() const;
  // What a process may be, each ref once; no process is a script alone.
  std::vector<ExecutableInfo> Infos() const;

  // Puts an executable into the kernel's cache. Its class must be in the tables before.
  absl::Status Publish(const Known& known) const;
  absl::StatusOr<bool> IsPublished(const Known& known) const;

  const std::map<std::string, Failure>& failures() const { return failures_; }

 private:
  struct KeyLess {
    bool operator()(const mseg_exe_key& a, const mseg_exe_key& b) const;
  };
  // What is known of a file beside its descriptor.
  struct Circumstances {
    int root_fd = -1;                        // where its path begins
    const mseg_exe_key* expected = nullptr;  // it runs under this key, and so nobody writes it
    bool trusted_only = false;
    bool must_be_unwritten = false;  // Aborted if anybody has it open for writing
    std::optional<Digest> ima = std::nullopt;
  };
  static mseg_grade GradeOf(int fd, const Reading& reading);
  absl::StatusOr<Reading> Begin(int fd, const Circumstances& at);
  absl::StatusOr<Known> Finish(int fd, const Reading& reading, const absl::StatusOr<Digest>& read);
  absl::StatusOr<Known> LearnFd(int fd, const Circumstances& at);
  absl::Status LoadDigests();
  absl::Status LoadPairs();
  absl::StatusOr<Known> RememberUnread(const mseg_exe_key& key, const std::string& path);
  void Remember(ExecutableInfo info);
  uint8_t RolesOf(const Digest& digest) const;
  absl::Status Forget(const std::vector<mseg_exe_key>& keys);
  absl::Status WatchForWrites(const mseg_exe_key& key);
  absl::Status CheckShowsChanges(int fd) const;
  absl::StatusOr<mseg_exe_key> KeyOf(int fd) const;
  void AddAliases(ExecutableInfo* info) const;
  void GiveId(ExecutableInfo* info);
  void NoteFailure(const std::string& path, uint32_t pid, const absl::Status& status);

  const Dataplane& dataplane_;
  Store& store_;
  const bool writes_show_;
  std::map<mseg_exe_key, uint32_t, KeyLess> by_key_;
  std::map<uint32_t, ExecutableInfo> by_ref_;
  std::map<Digest, uint32_t> by_digest_;  // refs that stand for a content wherever it lies
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> pairs_;  // (interpreter, script) -> ref
  ExecutableIds ids_;
  std::set<Digest> interpreters_;
  std::map<Digest, uint8_t> roles_;
  std::map<std::string, std::string> links_;
  std::map<std::string, Failure> failures_;  // by path, bounded
};

struct ExeRegistry::Reading {
  std::optional<Known> known;  // there is nothing to read
  mseg_exe_key key{};
  ExecutableInfo info;
  bool must_be_unwritten = false;
  bool remember = false;
  std::optional<Digest> ima;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_EXE_REGISTRY_H_
