// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_UNIT_DAEMON_FAULT_FS_H_
#define MSEG_TESTS_UNIT_DAEMON_FAULT_FS_H_

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace mseg::testing {

enum class FaultKind { kOnce, kFromThenOn };

// A file system whose n-th write, sync, rename or directory sync fails, and which can forget what
// was never synced, as a machine that loses power does.
class FaultFs : public rocksdb::FileSystemWrapper {
 public:
  FaultFs() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FaultFs"; }

  // `again`: after the first failure, how many operations later another one follows (0: none).
  void Arm(int nth, FaultKind kind, rocksdb::IOStatus error, int again = 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    left_ = nth;
    again_ = again;
    kind_ = kind;
    error_ = std::move(error);
    fired_ = false;
  }
  // Returns whether anything failed since Arm.
  bool Disarm() {
    const std::lock_guard<std::mutex> lock(mutex_);
    left_ = 0;
    return fired_;
  }
  void DropUnsynced() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [path, synced] : synced_) {
      if (access(path.c_str(), F_OK) == 0 && truncate(path.c_str(), static_cast<off_t>(synced))) {
        abort();
      }
    }
    synced_.clear();
  }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* dir,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
    if (rocksdb::IOStatus status = Step(); !status.ok()) return status;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto it = synced_.find(from); it != synced_.end()) {
      synced_[to] = it->second;
      synced_.erase(it);
    }
    return target()->RenameFile(from, to, options, debug);
  }

  // One operation that may fail.
  rocksdb::IOStatus Step() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (left_ == 0 || --left_ > 0) return rocksdb::IOStatus::OK();
    left_ = kind_ == FaultKind::kFromThenOn ? 1 : std::exchange(again_, 0);
    fired_ = true;
    return error_;
  }
  void NoteSynced(const std::string& path, uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    synced_[path] = bytes;
  }

 private:
  std::mutex mutex_;
  int left_ = 0;
  int again_ = 0;
  FaultKind kind_ = FaultKind::kOnce;
  rocksdb::IOStatus error_;
  bool fired_ = false;
  std::map<std::string, uint64_t> synced_;  // bytes of each file that survive a loss of power
};

class FaultFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::string path, FaultFs* fs)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), fs_(*fs) {
    fs_.NoteSynced(path_, 0);
  }

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    if (rocksdb::IOStatus status = fs_.Step(); !status.ok()) {
      // Half of it arrives: a torn write.
      const rocksdb::Slice half(data.data(), data.size() / 2);
      target()->Append(half, options, debug).PermitUncheckedError();
      return status;
    }
    written_ += data.size();
    return target()->Append(data, options, debug);
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo&,
                           rocksdb::IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                         rocksdb::IODebugContext* debug) override {
    if (rocksdb::IOStatus status = fs_.Step(); !status.ok()) return status;
    rocksdb::IOStatus status = target()->Sync(options, debug);
    if (status.ok()) fs_.NoteSynced(path_, written_);
    return status;
  }
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                          rocksdb::IODebugContext* debug) override {
    return Sync(options, debug);
  }
  bool IsSyncThreadSafe() const override { return false; }

 private:
  const std::string path_;
  FaultFs& fs_;
  uint64_t written_ = 0;
};

class FaultDirectory : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(std::unique_ptr<rocksdb::FSDirectory> dir, FaultFs* fs)
      : FSDirectoryWrapper(std::move(dir)), fs_(*fs) {}
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                          rocksdb::IODebugContext* debug) override {
    if (rocksdb::IOStatus status = fs_.Step(); !status.ok()) return status;
    return FSDirectoryWrapper::Fsync(options, debug);
  }
  rocksdb::IOStatus FsyncWithDirOptions(const rocksdb::IOOptions& options,
                                        rocksdb::IODebugContext* debug,
                                        const rocksdb::DirFsyncOptions& dir_options) override {
    if (rocksdb::IOStatus status = fs_.Step(); !status.ok()) return status;
    return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, dir_options);
  }

 private:
  FaultFs& fs_;
};

inline rocksdb::IOStatus FaultFs::NewWritableFile(const std::string& path,
                                                  const rocksdb::FileOptions& options,
                                                  std::unique_ptr<rocksdb::FSWritableFile>* file,
                                                  rocksdb::IODebugContext* debug) {
  if (rocksdb::IOStatus status = Step(); !status.ok()) return status;
  std::unique_ptr<rocksdb::FSWritableFile> plain;
  rocksdb::IOStatus status = target()->NewWritableFile(path, options, &plain, debug);
  if (status.ok()) *file = std::make_unique<FaultFile>(std::move(plain), path, this);
  return status;
}

inline rocksdb::IOStatus FaultFs::NewDirectory(const std::string& path,
                                               const rocksdb::IOOptions& options,
                                               std::unique_ptr<rocksdb::FSDirectory>* dir,
                                               rocksdb::IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> plain;
  rocksdb::IOStatus status = target()->NewDirectory(path, options, &plain, debug);
  if (status.ok()) *dir = std::make_unique<FaultDirectory>(std::move(plain), this);
  return status;
}

// RocksDB's background threads pause for a second after an error.
class HastyClock : public rocksdb::SystemClockWrapper {
 public:
  HastyClock() : SystemClockWrapper(rocksdb::SystemClock::Default()) {}
  const char* Name() const override { return "HastyClock"; }
  void SleepForMicroseconds(int micros) override {
    SystemClockWrapper::SleepForMicroseconds(std::min(micros, 1000));
  }
};

class FaultEnv : public rocksdb::EnvWrapper {
 public:
  explicit FaultEnv(const std::shared_ptr<FaultFs>& fs)
      : EnvWrapper(rocksdb::NewCompositeEnv(fs)) {
    file_system_ = fs;
    system_clock_ = std::make_shared<HastyClock>();
  }
};

}  // namespace mseg::testing

#endif  // MSEG_TESTS_UNIT_DAEMON_FAULT_FS_H_
