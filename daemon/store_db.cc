// SPDX-License-Identifier: Apache-2.0
#include "daemon/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "labels/text.h"

namespace mseg {
namespace {

// Reopening writes what the log of the database holds into a table and starts new files; this much
// room beside twice that log is asked for first.
constexpr uint64_t kReopenBytes = uint64_t{1} << 20;
constexpr size_t kLargeWrite = size_t{4} << 20;

absl::Status FromRocks(const rocksdb::Status& status, std::string_view doing,
                       std::string_view where) {
  if (status.ok()) return absl::OkStatus();
  std::string text = Cat("store: cannot ", doing, " ", where, ": ", status.ToString());
  if (status.IsNoSpace()) {
    return absl::ResourceExhaustedError(Cat(text, ". Free disk space and try again."));
  }
  if (status.IsCorruption()) return absl::DataLossError(text);
  // Incomplete: a write that waited for a flush, which failed.
  if (status.IsIOError() || status.IsIncomplete()) return absl::UnavailableError(text);
  return absl::InternalError(text);
}

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view FromSlice(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// RocksDB's own recovery from a full disk goes on with a log whose last record may be torn. Ours
// starts a new one, so it must be the only one.
class NoAutoRecovery : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

// The whole daemon has to fit into 50 MiB and the data is small: intent, not flows.
rocksdb::Options SmallOptions(rocksdb::Env* env) {
  rocksdb::Options options;
  options.env = env;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.compression = rocksdb::kNoCompression;
  options.bottommost_compression = rocksdb::kNoCompression;
  options.write_buffer_size = 1 << 20;
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = 4 << 20;
  options.target_file_size_base = 4 << 20;
  options.max_open_files = 32;
  options.max_file_opening_threads = 1;
  options.max_background_jobs = 2;
  options.max_manifest_file_size = 1 << 20;
  options.writable_file_max_buffer_size = 64 << 10;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 256 << 10;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;
  options.max_bgerror_resume_count = 0;
  options.listeners.push_back(std::make_shared<NoAutoRecovery>());

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(2 << 20, 0);
  table.cache_index_and_filter_blocks = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

absl::Status MakeDirectory(const std::string& dir, mode_t mode) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(dir).parent_path(), error);
  if (mkdir(dir.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, Cat("store: cannot make the directory ", dir));
}

}  // namespace

absl::Status WithAdvice(const absl::Status& status, std::string_view data_dir) {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(Cat(
      status.message(), ". Restore ", data_dir,
      " from a backup, or move it away and apply the policy again; what the kernel enforces is not "
      "touched."));
}

StoreDb::StoreDb(std::string dir, rocksdb::Env* env)
    : dir_(std::move(dir)),
      data_dir_(Cat(dir_, "/store")),
      env_(env != nullptr ? env : rocksdb::Env::Default()) {}

StoreDb::~StoreDb() = default;

absl::StatusOr<std::unique_ptr<StoreDb>> StoreDb::Open(const std::string& dir, rocksdb::Env* env) {
  std::unique_ptr<StoreDb> db(new StoreDb(dir, env));
  if (absl::Status status = MakeDirectory(dir, 0755); !status.ok()) return status;
  if (absl::Status status = db->TakeOwnership(); !status.ok()) return status;
  // The store holds the salt that keys every short id: nobody else may read it.
  if (absl::Status status = MakeDirectory(db->data_dir_, 0700); !status.ok()) return status;
  // Debian builds RocksDB with its assertions on, and one of them ends the process when the disk
  // fills up while a database is opened (WritableFileWriter, 7.8).
  if (absl::Status status = db->ProbeSpace(); !status.ok()) return status;
  if (absl::Status status = db->OpenData(); !status.ok()) return WithAdvice(status, db->data_dir_);
  return db;
}

// RocksDB has a lock of its own, but it is let go while Recover reopens the database, and it does
// not say who holds it.
absl::Status StoreDb::TakeOwnership() {
  const std::string path = Cat(dir_, "/store.lock");
  ScopedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.ok()) {
    return absl::ErrnoToStatus(errno, Cat("store: cannot open ", path, " for writing"));
  }
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return absl::ErrnoToStatus(errno, Cat("store: cannot lock ", path));
    }
    char text[32] = {};
    int64_t pid = 0;
    std::string holder = "another process";
    if (pread(fd.get(), text, sizeof(text) - 1, 0) > 0 &&
        absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &pid)) {
      holder = Cat("process ", pid);
    }
    return absl::FailedPreconditionError(
        Cat("store: ", dir_, " is in use by ", holder,
            ". Stop that msegd first, or give this one another --state-dir."));
  }
  // Only for the message above: a full disk must not keep the daemon from starting.
  const std::string pid = Cat(getpid(), "\n");
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    errno = 0;
  }
  owner_ = std::move(fd);
  return absl::OkStatus();
}

// A database without CURRENT would be made anew in silence, with another salt and no policy.
absl::Status StoreDb::RefuseHeadless() const {
  std::vector<std::string> names;
  if (!env_->GetChildren(data_dir_, &names).ok()) return absl::OkStatus();
  bool has_tables = false;
  for (const std::string& name : names) {
    if (name == "CURRENT") return absl::OkStatus();
    has_tables |= absl::EndsWith(name, ".sst");
  }
  if (!has_tables) return absl::OkStatus();
  return absl::DataLossError(
      Cat("store: ", data_dir_, " holds tables but its file CURRENT is missing"));
}

absl::Status StoreDb::OpenData() {
  if (absl::Status status = RefuseHeadless(); !status.ok()) return status;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(SmallOptions(env_), data_dir_, &db);
  db_.reset(db);
  malloc_trim(0);  // a long log passed through memory
  return FromRocks(status, "open", data_dir_);
}

absl::Status StoreDb::Usable() const {
  if (db_ != nullptr) return absl::OkStatus();
  return absl::UnavailableError(
      Cat("store: closed after a failure; the next write opens it again. The failure: ",
          last_failure_.message()));
}

absl::StatusOr<std::optional<std::string>> StoreDb::Get(std::string_view key) const {
  if (absl::Status status = Usable(); !status.ok()) return status;
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), ToSlice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return FromRocks(status, "read", data_dir_);
  return value;
}

absl::Status StoreDb::Scan(std::string_view prefix, std::string_view from, Visitor visit) const {
  if (absl::Status status = Usable(); !status.ok()) return status;
  rocksdb::ReadOptions options;
  options.fill_cache = false;  // a scan of the log would push everything else out
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  for (it->Seek(ToSlice(from.empty() ? prefix : from)); it->Valid(); it->Next()) {
    if (!it->key().starts_with(ToSlice(prefix))) break;
    const absl::StatusOr<bool> more = visit(FromSlice(it->key()), FromSlice(it->value()));
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
  return FromRocks(it->status(), "read", data_dir_);
}

absl::Status StoreDb::ScanBackward(std::string_view prefix, std::string_view from,
                                   Visitor visit) const {
  if (absl::Status status = Usable(); !status.ok()) return status;
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  // No key has 0xff after its prefix: see the key makers in store_codec.h.
  it->SeekForPrev(from.empty() ? Cat(prefix, "\xff") : std::string(from));
  for (; it->Valid(); it->Prev()) {
    if (!it->key().starts_with(ToSlice(prefix))) break;
    const absl::StatusOr<bool> more = visit(FromSlice(it->key()), FromSlice(it->value()));
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
  return FromRocks(it->status(), "read", data_dir_);
}

absl::Status StoreDb::Commit(const std::vector<Write>& writes, bool sync) {
  rocksdb::WriteBatch batch;
  for (const Write& write : writes) {
    const rocksdb::Status status =
        write.value.has_value() ? batch.Put(write.key, *write.value) : batch.Delete(write.key);
    if (!status.ok()) return FromRocks(status, "prepare a write to", data_dir_);
  }
  rocksdb::WriteOptions options;
  options.sync = sync;
  return FromRocks(db_->Write(options, &batch), "write to", data_dir_);
}

absl::Status StoreDb::Ready() { return last_failure_.ok() ? absl::OkStatus() : Recover(); }

absl::Status StoreDb::Apply(const std::vector<Write>& writes, bool sync) {
  if (absl::Status status = Ready(); !status.ok()) return status;
  absl::Status status = Commit(writes, sync);
  if (!status.ok()) {
    last_failure_ = status;
    RememberBefore(writes);
    return status;
  }
  size_t bytes = 0;
  for (const Write& write : writes) bytes += write.value.has_value() ? write.value->size() : 0;
  if (bytes > kLargeWrite) FlushLargeWrite();
  return absl::OkStatus();
}

// A large write would stay in RocksDB's write buffer, whatever that one's size, until the next one.
void StoreDb::FlushLargeWrite() {
  const rocksdb::Status status = db_->Flush(rocksdb::FlushOptions());
  if (!status.ok()) {
    // What was written is safe in the log. The next write opens the database anew.
    last_failure_ = FromRocks(status, "write to", data_dir_);
    undo_.clear();
    undo_known_ = true;
  }
}

// A failed write never reached the tables in memory, so reads still show what was there before.
void StoreDb::RememberBefore(const std::vector<Write>& writes) {
  undo_.clear();
  undo_known_ = true;
  for (const Write& write : writes) {
    absl::StatusOr<std::optional<std::string>> before = Get(write.key);
    if (!before.ok()) {
      undo_known_ = false;
      return;
    }
    undo_.push_back({write.key, *std::move(before)});
  }
}

// After a failed write the end of RocksDB's log is unknown: the record may be absent, torn, or
// whole but reported as failed (fsync). Anything appended behind a torn record would be lost at the
// next start, so DB::Resume() is not enough; opening the database anew cuts the log at the first
// bad record and begins another. If the failed record was whole, it is back now: the undo takes it
// out.
absl::Status StoreDb::Recover() {
  if (!undo_known_) {
    return absl::UnavailableError(
        Cat("store: a write failed and what was there before cannot be read. Restart "
            "msegd; enforcement goes on meanwhile. The failure: ",
            last_failure_.message()));
  }
  if (db_ != nullptr) {
    // While there is no room, the old handle still serves reads; do not give it up in vain.
    if (absl::Status status = ProbeSpace(); !status.ok()) return status;
    db_.reset();
  }
  if (absl::Status status = OpenData(); !status.ok()) return status;
  if (absl::Status status = Commit(undo_, /*sync=*/true); !status.ok()) {
    last_failure_ = status;
    return status;
  }
  last_failure_ = absl::OkStatus();
  undo_.clear();
  return absl::OkStatus();
}

absl::Status StoreDb::ProbeSpace() const {
  uint64_t wanted = kReopenBytes;
  std::vector<std::string> names;
  rocksdb::Status status = env_->GetChildren(data_dir_, &names);
  if (!status.ok()) return FromRocks(status, "list", data_dir_);
  for (const std::string& name : names) {
    uint64_t size = 0;
    if (absl::EndsWith(name, ".log") && env_->GetFileSize(Cat(data_dir_, "/", name), &size).ok()) {
      wanted += 2 * size;
    }
  }
  const std::string path = Cat(dir_, "/store.probe");
  std::unique_ptr<rocksdb::WritableFile> file;
  status = env_->NewWritableFile(path, &file, rocksdb::EnvOptions());
  const std::string block(64 << 10, '\0');
  for (uint64_t done = 0; status.ok() && done < wanted; done += block.size()) {
    status = file->Append(block);
  }
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  file.reset();
  const rocksdb::Status deleted = env_->DeleteFile(path);
  if (status.ok()) status = deleted;
  return FromRocks(status, "write to", dir_);
}

}  // namespace mseg
