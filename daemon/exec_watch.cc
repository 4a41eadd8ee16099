// SPDX-License-Identifier: Apache-2.0
#include "daemon/exec_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <list>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/host_inventory.h"
#include "daemon/mountinfo.h"
#include "loader/errno_status.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxHeld = 256;     // each keeps a descriptor open
constexpr size_t kMaxKnown = 16384;  // then they are forgotten, and looked at again
constexpr char kMounts[] = "/proc/self/mountinfo";

// What changes when a file's content does.
using Stamp = std::tuple<dev_t, ino_t, off_t, time_t, long>;

std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Held {
  ScopedFd fd;
  uint32_t tgid = 0;
  Stamp stamp;
  Clock::time_point until;
  bool answered = false;
};

// A descriptor that cannot be opened for an event makes the kernel refuse that exec.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

class FanotifyWatch final : public ExecWatch {
 public:
  FanotifyWatch(const ExecWatchOptions& options, Learn learn, Log log)
      : options_(options), learn_(std::move(learn)), log_(std::move(log)) {}

  ~FanotifyWatch() override {
    if (!reader_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    eventfd_write(stop_.get(), 1);
    wake_.notify_one();
    reader_.join();
    learner_.join();
  }

  absl::Status Open() {
    RaiseFileLimit();
    fanotify_ =
        ScopedFd(fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE,
                               O_RDONLY | O_CLOEXEC | O_LARGEFILE));
    if (!fanotify_.ok()) return ErrnoStatus(errno, "fanotify");
    mounts_ = ScopedFd(open(kMounts, O_RDONLY | O_CLOEXEC));
    if (!mounts_.ok()) return ErrnoStatus(errno, absl::StrCat("open ", kMounts));
    stop_ = ScopedFd(eventfd(0, EFD_CLOEXEC));
    if (!stop_.ok()) return ErrnoStatus(errno, "eventfd");
    const auto hierarchy = FindCgroupRoot();
    if (hierarchy.ok() && absl::StartsWith(options_.cgroup_root, *hierarchy)) {
      inside_ = options_.cgroup_root.substr(hierarchy->size());
    }
    MSEG_RETURN_IF_ERROR(MarkFileSystems());
    reader_ = std::thread([this]() { Watch(); });
    learner_ = std::thread([this]() { LearnHeld(); });
    return absl::OkStatus();
  }

  ExecWatchCounts counts() const override {
    return {.held = held_count_, .late = late_count_, .unwatched = unwatched_count_};
  }

 private:
  // Every file system that holds programs; those that are marked already stay so.
  absl::Status MarkFileSystems() {
    std::set<std::string> unwatched;
    bool supported = false;
    for (const Mount& mount : ExecutableMounts(ParseMounts(ReadAll(kMounts)))) {
      if (fanotify_mark(fanotify_.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC_PERM,
                        AT_FDCWD, mount.point.c_str()) == 0) {
        supported = true;
        continue;
      }
      const int error = errno;
      if (error == ENOENT) continue;  // gone by now, or hidden by another mount
      unwatched.insert(mount.point);
      if (unwatched_.count(mount.point) != 0) continue;
      log_(absl::StrCat("exec_watch: execs of files on ", mount.point, " (", mount.type,
                        ") are not held: ", ErrnoStatus(error, "fanotify_mark").message()));
    }
    unwatched_ = std::move(unwatched);
    unwatched_count_ = unwatched_.size();
    if (supported) return absl::OkStatus();
    return absl::UnimplementedError(
        "the kernel holds no execs (it needs CONFIG_FANOTIFY_ACCESS_PERMISSIONS)");
  }

  void Watch() {
    pollfd fds[] = {
        {fanotify_.get(), POLLIN, 0}, {mounts_.get(), POLLPRI, 0}, {stop_.get(), POLLIN, 0}};
    for (;;) {
      if (poll(fds, std::size(fds), LetGoLate()) < 0 && errno != EINTR) return;
      if (fds[2].revents != 0) return;
      if (fds[1].revents != 0) MarkFileSystems().IgnoreError();
      if (fds[0].revents != 0) ReadEvents();
    }
  }

  void ReadEvents() {
    alignas(fanotify_event_metadata) char buffer[2048];
    const ssize_t size = read(fanotify_.get(), buffer, sizeof(buffer));
    ssize_t left = size;
    const auto* event = reinterpret_cast<const fanotify_event_metadata*>(buffer);
    for (; FAN_EVENT_OK(event, left); event = FAN_EVENT_NEXT(event, left)) {
      if (event->fd >= 0) OnExec(ScopedFd(event->fd), static_cast<uint32_t>(event->pid));
    }
  }

  void OnExec(ScopedFd fd, uint32_t tgid) {
    struct stat st {};
    const bool file = fstat(fd.get(), &st) == 0 && S_ISREG(st.st_mode);
    const Stamp stamp(st.st_dev, st.st_ino, st.st_size, st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    if (!file || IsKnown(stamp) || !IsInside(tgid)) return Allow(fd.get());
    const std::lock_guard lock(mutex_);
    held_count_++;
    if (held_.size() >= kMaxHeld) {
      late_count_++;
      return Allow(fd.get());
    }
    held_.push_back({.fd = std::move(fd),
                     .tgid = tgid,
                     .stamp = stamp,
                     .until = Clock::now() + options_.limit});
    wake_.notify_one();
  }

  bool IsKnown(const Stamp& stamp) {
    const std::lock_guard lock(mutex_);
    return known_.count(stamp) != 0;
  }

  // False: certainly of another part of the hierarchy.
  bool IsInside(uint32_t tgid) const {
    if (inside_.empty()) return true;
    const std::string groups = ReadAll(absl::StrCat("/proc/", tgid, "/cgroup"));
    const size_t at = groups.find("0::/");
    if (at == std::string::npos || (at != 0 && groups[at - 1] != '\n')) return true;
    const std::string path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
    return absl::StartsWith(path, "/..") || path == inside_ ||
           absl::StartsWith(path, absl::StrCat(inside_, "/"));
  }

  void Allow(int fd) const {
    const fanotify_response response{.fd = fd, .response = FAN_ALLOW};
    // It fails only for what waits no longer.
    [[maybe_unused]] const ssize_t n = write(fanotify_.get(), &response, sizeof(response));
  }

  // For how long nobody has to look again, in milliseconds; -1: until something comes.
  int LetGoLate() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    int wait = -1;
    for (Held& held : held_) {
      if (held.answered) continue;
      if (held.until <= now) {
        held.answered = true;
        late_count_++;
        Allow(held.fd.get());
        continue;
      }
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(held.until - now).count();
      if (wait < 0 || left < wait) wait = static_cast<int>(left);
    }
    return wait;
  }

  void LearnHeld() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this]() { return stopping_ || !held_.empty(); });
      if (stopping_) return;
      const auto held = held_.begin();  // stays where it is until it is taken out here
      bool known = known_.count(held->stamp) != 0;
      if (!known) {
        lock.unlock();
        known = learn_(held->fd.get(), held->tgid);
        lock.lock();
        if (known_.size() >= kMaxKnown) known_.clear();
        if (known) known_.insert(held->stamp);
      }
      if (!held->answered) Allow(held->fd.get());
      held_.erase(held);
    }
  }

  const ExecWatchOptions options_;
  const Learn learn_;
  const Log log_;
  std::string inside_;  // the managed part of the hierarchy; empty: all of it
  ScopedFd fanotify_;
  ScopedFd mounts_;
  ScopedFd stop_;
  std::set<std::string> unwatched_;
  std::atomic<uint64_t> held_count_{0};
  std::atomic<uint64_t> late_count_{0};
  std::atomic<uint64_t> unwatched_count_{0};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Held> held_;  // in the order they came
  std::set<Stamp> known_;
  bool stopping_ = false;
  std::thread reader_;
  std::thread learner_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ExecWatch>> ExecWatch::Start(const ExecWatchOptions& options,
                                                            Learn learn, Log log) {
  auto watch = std::make_unique<FanotifyWatch>(options, std::move(learn), std::move(log));
  MSEG_RETURN_IF_ERROR(watch->Open());
  return watch;
}

}  // namespace mseg
