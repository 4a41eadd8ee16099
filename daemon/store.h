// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_STORE_H_
#define MSEG_DAEMON_STORE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "labels/inventory.h"
#include "labels/label.h"
#include "mseg/abi.h"

namespace rocksdb {
class Env;
}

namespace mseg {

using ChainHash = std::array<uint8_t, 32>;  // BLAKE2b-256

// Every member has an initialiser, so that a designated one may leave any of them out without a
// warning.

enum class ChangeOp { kUpsert = 0, kDelete = 1 };

// One document of a revision. A deletion carries kind and name only.
struct DocumentChange {
  ChangeOp op = ChangeOp::kUpsert;
  std::string kind{};  // "Policy"; kind and name are not empty and hold no NUL
  std::string name{};
  std::string text{};
  std::string file{};  // where the author had it, for diagnostics
  int line = 0;
  bool operator==(const DocumentChange&) const = default;
};

// Who asked for a revision, as the kernel says it.
struct Peer {
  uint32_t uid = 0;
  std::string user{};
  bool operator==(const Peer&) const = default;
};

// What an entry of the log is about. Only `change` changes documents; `hosts` is about who this
// host is, and which others it trusts.
enum class RevisionEvent { kChange = 0, kPanic = 1, kPanicEnd = 2, kHosts = 3 };

// A change that is taken back at the deadline unless somebody confirms it. At most one waits, and
// it is about the head of the log: whatever is appended either replaces or settles it.
struct Confirmation {
  uint64_t revision = 0;    // the head
  uint64_t back_to = 0;     // the last revision that nobody had to confirm
  int64_t deadline_us = 0;  // microseconds since 1970
  bool operator==(const Confirmation&) const = default;
};

// This host blocks nothing for a while.
struct Panic {
  int64_t since_us = 0;
  int64_t until_us = 0;
  std::string author{};
  std::string reason{};
  bool operator==(const Panic&) const = default;
};

// A row of what is known of hosts (store_hosts.h); no value: it goes.
struct HostRow {
  std::string key{};
  std::optional<std::string> value{};
  bool operator==(const HostRow&) const = default;
};

// What a caller wants to append. Names each (kind, name) at most once.
struct RevisionInput {
  int64_t time_us = 0;   // microseconds since 1970, from the caller's clock
  std::string author{};  // what the author says; `peer` is what is known
  std::string message{};
  std::vector<DocumentChange> changes{};
  RevisionEvent event = RevisionEvent::kChange;
  std::optional<Peer> peer{};
  // What waits for confirmation from then on, its `revision` filled in; nothing: nothing waits.
  std::optional<Confirmation> confirmation{};
  std::optional<Panic> panic{};  // with kPanic, and only then
  // With kHosts, and only then; what waits for confirmation goes on waiting.
  std::vector<HostRow> host_rows{};
  std::optional<uint32_t> host_id{};  // who this host is from then on
};

// One entry of the log. Immutable.
struct Revision {
  uint64_t number = 0;  // from 1, dense
  int64_t time_us = 0;
  std::string author{};
  std::string message{};
  std::vector<DocumentChange> changes{};
  RevisionEvent event = RevisionEvent::kChange;
  std::optional<Peer> peer{};
  ChainHash previous_hash{};  // zero for revision 1
  ChainHash state_hash{};     // over all documents after this revision
  ChainHash hash{};           // BLAKE2b-256 over (previous_hash, encoded revision)
};

// A document in the state that the log leads to.
struct StoredDocument {
  std::string kind{};
  std::string name{};
  std::string text{};
  std::string file{};
  int line = 0;
  uint64_t revision = 0;  // that last changed it
  bool operator==(const StoredDocument&) const = default;
};

struct Head {
  uint64_t revision = 0;  // 0: nothing was ever appended
  ChainHash hash{};
  bool operator==(const Head&) const = default;
};

// What was last put in force in the kernel.
struct ActiveMark {
  uint64_t revision = 0;
  uint32_t generation = 0;  // 0: none yet
  bool operator==(const ActiveMark&) const = default;
};

// An executable known on this host in this boot. One ref stands for one (digest, path, trusted,
// grade) for the whole boot and never changes its meaning; several keys (copies of a state of the
// file) may share a ref.
struct StoredExecutable {
  ExecutableInfo info;
  mseg_exe_key key{};
};

struct StoredHost {
  uint32_t id = 0;  // 24 bits, 0: stand-alone
  std::string name{};
  Salt salt{};
  uint64_t store_id = 0;  // names this store, whoever shares its salt
};

struct StoreOptions {
  // Executables recorded under another boot id are dropped at open.
  std::string boot_id{};
  // Of the fleet: a new store takes it, a store with another one is refused. Without it a new store
  // draws its own.
  std::optional<Salt> salt{};
  // Where RocksDB does its I/O; null: the operating system. Not owned.
  rocksdb::Env* env = nullptr;
};

enum class VerifyExtent {
  kSinceCheckpoint,  // what Open does: at most a few thousand revisions
  kFull,             // every revision, and the log replayed
};

class StoreDb;

// What the daemon must not forget: the log of policy revisions, the documents it leads to, what is
// in force, the executables of this boot, and who this host is. See docs/store.md.
//
// Not thread-safe: one thread at a time, const functions included.
//
// After a write that failed (disk full, I/O error) reads go on showing the state before it. The
// next write first opens the database anew and takes back whatever the failed one left; so an error
// from here means "not done", as long as this process lives. If it is killed before, the next
// process finds either the old or the new state, never a part of it.
class Store {
 public:
  // Makes the directory where it is missing. FailedPrecondition: another process holds it, or it is
  // of another schema; DataLoss: the log is broken or the state does not follow from it.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& dir,
                                                     const StoreOptions& options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const Head& head() const { return head_; }

  // All documents, sorted by kind and name.
  absl::StatusOr<std::vector<StoredDocument>> Documents() const;
  // NotFound where there is none.
  absl::StatusOr<StoredDocument> GetDocument(std::string_view kind, std::string_view name) const;
  // The documents as they were after `revision` (0: none), by replay of the log.
  absl::StatusOr<std::vector<StoredDocument>> DocumentsAt(uint64_t revision) const;

  // Log, documents, head, confirmation and panic in one synced batch: on disk when this returns.
  // InvalidArgument: a change that makes no sense; NotFound: deletes what is not there;
  // ResourceExhausted: larger than kMaxRevisionBytes, or no space left.
  absl::StatusOr<Revision> Append(const RevisionInput& input);
  // Newest first, at most `limit`, only numbers below `before` (0: from the head).
  absl::StatusOr<std::vector<Revision>> History(size_t limit, uint64_t before = 0) const;
  absl::StatusOr<Revision> GetRevision(uint64_t number) const;

  // What waits to be confirmed; nothing, if nothing does.
  const std::optional<Confirmation>& confirmation() const { return confirmation_; }
  // Moves the deadline, or (nothing) settles what waits without a revision. Synced.
  // FailedPrecondition where nothing waits.
  absl::Status SetConfirmation(std::optional<int64_t> deadline_us);
  // From the revision that began it to the one that ended it, deadline or not.
  const std::optional<Panic>& panic() const { return panic_; }

  const ActiveMark& active() const { return active_; }
  absl::Status SetActive(const ActiveMark& mark);  // synced

  // Records what was hashed under `executable.key`. `info.ref` is ignored; the result carries the
  // ref of its (digest, path, trusted, grade), a new one where there was none. Of a digest without
  // a file (`any_path`) only the ref is kept. Not synced: it survives the daemon, and a crash of
  // the machine drops it anyway.
  absl::StatusOr<StoredExecutable> PutExecutable(const StoredExecutable& executable);
  // Many at once, in one batch; results in the order of the input.
  absl::StatusOr<std::vector<StoredExecutable>> PutExecutables(
      const std::vector<StoredExecutable>& executables);
  absl::StatusOr<std::vector<StoredExecutable>> Executables() const;  // sorted by key bytes
  // Forgets keys; their refs are not given to anything else.
  absl::Status ForgetExecutables(const std::vector<mseg_exe_key>& keys);

  const StoredHost& host() const { return host_; }
  const Salt& salt() const { return host_.salt; }
  absl::Status SetHost(uint32_t id, const std::string& name);  // synced; the salt stays

  absl::StatusOr<std::vector<HostRow>> HostRows() const;  // sorted by key; each has a value
  // Without an entry in the log. Synced.
  absl::Status PutHostRow(const HostRow& row);

  // DataLoss with what is wrong and what to do.
  absl::Status VerifyChain(VerifyExtent extent) const;

  static constexpr size_t kMaxRevisionBytes = size_t{48} << 20;

 private:
  explicit Store(std::unique_ptr<StoreDb> db);
  absl::Status Load(const StoreOptions& options);
  absl::Status LoadOrInitialise(const StoreOptions& options);
  absl::Status Initialise(const StoreOptions& options);
  absl::Status CheckSalt(const StoreOptions& options);
  absl::Status LoadTemporary();
  absl::Status LoadBoot(const std::string& boot_id);
  absl::Status Verify(VerifyExtent extent) const;
  absl::Status VerifyState(const ChainHash& expected,
                           std::map<std::string, ChainHash, std::less<>>* replay) const;

  std::unique_ptr<StoreDb> db_;
  Head head_;
  ChainHash state_hash_{};  // of the head
  ActiveMark active_;
  std::optional<Confirmation> confirmation_;
  std::optional<Panic> panic_;
  StoredHost host_;
  std::string boot_id_;
  uint32_t next_ref_ = 1;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_STORE_H_
