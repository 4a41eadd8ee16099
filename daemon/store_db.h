// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_STORE_DB_H_
#define MSEG_DAEMON_STORE_DB_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "loader/scoped_fd.h"

namespace rocksdb {
class DB;
class Env;
}  // namespace rocksdb

namespace mseg {

// Adds to a DataLoss what to do about it; other statuses stay as they are.
absl::Status WithAdvice(const absl::Status& status, std::string_view data_dir);

// The key-value store below Store: RocksDB, small in memory, one process at a time, and a failed
// write is undone before the next one. The only place that sees a rocksdb::Status.
class StoreDb {
 public:
  struct Write {
    std::string key;
    std::optional<std::string> value;  // unset: delete the key
  };
  // Returns false to end the scan.
  using Visitor =
      absl::FunctionRef<absl::StatusOr<bool>(std::string_view key, std::string_view value)>;

  static absl::StatusOr<std::unique_ptr<StoreDb>> Open(const std::string& dir, rocksdb::Env* env);
  ~StoreDb();
  StoreDb(const StoreDb&) = delete;
  StoreDb& operator=(const StoreDb&) = delete;

  // Recovers from a failed write, where there was one. To be called before reads that a write
  // depends on.
  absl::Status Ready();

  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const;
  // All or nothing. `sync`: on disk when this returns.
  absl::Status Apply(const std::vector<Write>& writes, bool sync);
  // The keys that begin with `prefix`, upwards from `from` (or downwards from it; empty: from the
  // first or last of them). `from` is a whole key.
  absl::Status Scan(std::string_view prefix, std::string_view from, Visitor visit) const;
  absl::Status ScanBackward(std::string_view prefix, std::string_view from, Visitor visit) const;

  // The directory, and what to tell people to move away when its content is beyond repair.
  const std::string& data_dir() const { return data_dir_; }

 private:
  StoreDb(std::string dir, rocksdb::Env* env);
  absl::Status TakeOwnership();
  absl::Status OpenData();
  absl::Status RefuseHeadless() const;
  absl::Status Usable() const;
  absl::Status Commit(const std::vector<Write>& writes, bool sync);
  void RememberBefore(const std::vector<Write>& writes);
  absl::Status Recover();
  absl::Status ProbeSpace() const;
  void FlushLargeWrite();

  const std::string dir_;
  const std::string data_dir_;
  rocksdb::Env* const env_;
  ScopedFd owner_;  // locked as long as this lives
  std::unique_ptr<rocksdb::DB> db_;
  absl::Status last_failure_;  // of a write; ok: none since the last recovery
  std::vector<Write> undo_;    // what the keys of the failed write held before
  bool undo_known_ = true;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_STORE_DB_H_
