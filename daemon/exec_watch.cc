// SPDX-License-Identifier: Apache-2.0
#include "daemon/exec_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/file_system.h"
#include "daemon/host_inventory.h"
#include "daemon/mountinfo.h"
#include "loader/errno_status.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxHeld = 256;       // each keeps a descriptor open
constexpr size_t kMaxKnown = 16384;    // then they are forgotten, and looked at again
constexpr uint64_t kLarge = 32 << 20;  // bytes that take long enough to have a thread of their own
constexpr char kMounts[] = "/proc/self/mountinfo";

// What changes when a file's content or its name does.
using Stamp = std::tuple<std::string, uint64_t, uint64_t, uint64_t, int64_t, uint32_t>;

// Not O_NONBLOCK, and whoever holds a write lease on a file would hold the thread that answers all
// others.
absl::StatusOr<ScopedFd> OpenFanotify() {
  ScopedFd fd(fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE,
                            O_RDONLY | O_CLOEXEC | O_LARGEFILE | O_NONBLOCK));
  if (!fd.ok()) return ErrnoStatus(errno, "fanotify");
  return fd;
}

// Marks the file system of an open file. 0, or an errno.
int MarkFileSystem(int fanotify, int file) {
  const std::string path = absl::StrCat("/proc/self/fd/", file);
  const int done = fanotify_mark(fanotify, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC_PERM,
                                 AT_FDCWD, path.c_str());
  return done == 0 ? 0 : errno;
}

// Empty: something else is mounted over it by now.
ScopedFd OpenMount(const Mount& mount) {
  ScopedFd fd(open(mount.point.c_str(), O_PATH | O_CLOEXEC | O_NOFOLLOW));
  struct statx st {};
  if (!fd.ok() || statx(fd.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &st) != 0) return {};
  return (st.stx_mask & STATX_MNT_ID) != 0 && st.stx_mnt_id == mount.id ? std::move(fd)
                                                                        : ScopedFd();
}

struct Held {
  ScopedFd fd;
  uint32_t tgid = 0;
  Stamp stamp;
  uint64_t size = 0;
  Clock::time_point until;
  bool answered = false;
  bool taken = false;  // by a thread that learns it
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
    if (threads_.empty()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    eventfd_write(stop_.get(), 1);
    wake_.notify_all();
    threads_[kReader].join();
    threads_[kMarker].join();
    {
      // Lets go whoever waits. What is being learned is not waited for.
      const std::lock_guard lock(mutex_);
      fanotify_.Reset();
    }
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  absl::Status Open() {
    if (prctl(PR_SET_DUMPABLE, 0) != 0) return ErrnoStatus(errno, "PR_SET_DUMPABLE");
    RaiseFileLimit();
    auto fanotify = OpenFanotify();
    if (!fanotify.ok()) return fanotify.status();
    fanotify_ = *std::move(fanotify);
    mounts_ = ScopedFd(open(kMounts, O_RDONLY | O_CLOEXEC));
    if (!mounts_.ok()) return ErrnoStatus(errno, absl::StrCat("open ", kMounts));
    stop_ = ScopedFd(eventfd(0, EFD_CLOEXEC));
    if (!stop_.ok()) return ErrnoStatus(errno, "eventfd");
    const auto hierarchy = FindCgroupRoot();
    if (hierarchy.ok() && absl::StartsWith(options_.cgroup_root, *hierarchy + "/")) {
      inside_ = options_.cgroup_root.substr(hierarchy->size());
    }
    threads_.resize(kThreads);
    threads_[kReader] = std::thread([this]() { Answer(); });
    // Whoever is marked waits for the reader. Those that come later are another thread's.
    MarkFileSystems();
    threads_[kMarker] = std::thread([this]() { FollowMounts(); });
    threads_[kSmall] = std::thread([this]() { LearnHeld(/*large=*/false); });
    threads_[kLarger] = std::thread([this]() { LearnHeld(/*large=*/true); });
    return absl::OkStatus();
  }

  ExecWatchCounts counts() const override {
    return {.held = held_count_, .late = late_count_, .unwatched = unwatched_count_};
  }

 private:
  enum Threads { kReader, kMarker, kSmall, kLarger, kThreads };

  // ---- which file systems: may wait for one that does not answer ----

  static std::string NotHeld(const Mount& mount, const char* why) {
    return absl::StrCat("exec_watch: execs of files on ", mount.point, " (", mount.type,
                        ") are not held: ", why);
  }

  // Each by the first of its mounts that leads there; those that are marked already stay so.
  void MarkFileSystems() {
    std::set<std::string> marked;
    std::map<std::string, std::string> failed;  // by device: what to tell
    for (const Mount& mount : ExecutableMounts(ReadMounts(kMounts))) {
      if (marked.count(mount.device) != 0) continue;
      const ScopedFd directory = OpenMount(mount);
      if (!directory.ok()) {
        failed.try_emplace(mount.device, NotHeld(mount, "another mount hides it"));
        continue;
      }
      const int error = MarkFileSystem(fanotify_.get(), directory.get());
      if (error == 0) {
        marked.insert(mount.device);
        failed.erase(mount.device);
      } else {
        failed[mount.device] = NotHeld(mount, strerror(error));
      }
    }
    for (const auto& [device, line] : failed) {
      if (told_.insert(line).second) log_(line);
    }
    unwatched_count_ = failed.size();
  }

  void FollowMounts() {
    pollfd fds[] = {{mounts_.get(), POLLPRI, 0}, {stop_.get(), POLLIN, 0}};
    while (Wait(fds, std::size(fds), -1), fds[1].revents == 0) {
      if (fds[0].revents != 0) MarkFileSystems();
    }
  }

  // ---- who waits: nothing here asks a file system, or waits for a lock that is held long ----

  static void Wait(pollfd* fds, size_t count, int milliseconds) {
    if (poll(fds, count, milliseconds) >= 0) return;
    for (size_t i = 0; i < count; i++) fds[i].revents = 0;  // EINTR, or no memory for now
  }

  void Answer() {
    pollfd fds[] = {{fanotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    while (Wait(fds, std::size(fds), LetGoLate()), fds[1].revents == 0) {
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
    struct statx st {};
    std::string path = PathOfFd(fd.get());
    const bool file = !path.empty() &&
                      statx(fd.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                            STATX_BASIC_STATS | STATX_MNT_ID, &st) == 0 &&
                      S_ISREG(st.stx_mode);
    if (!file) return Allow(fd.get());
    Stamp stamp(std::move(path), st.stx_mnt_id, st.stx_ino, st.stx_size, st.stx_ctime.tv_sec,
                st.stx_ctime.tv_nsec);
    if (IsKnown(stamp) || !IsInside(tgid)) return Allow(fd.get());
    const std::lock_guard lock(mutex_);
    held_count_++;
    if (held_.size() >= kMaxHeld) {
      late_count_++;
      return Allow(fd.get());
    }
    held_.push_back({.fd = std::move(fd),
                     .tgid = tgid,
                     .stamp = std::move(stamp),
                     .size = st.stx_size,
                     .until = Clock::now() + options_.limit});
    wake_.notify_all();
  }

  bool IsKnown(const Stamp& stamp) {
    const std::lock_guard lock(mutex_);
    return known_.count(stamp) != 0;
  }

  // False: certainly of another part of the hierarchy.
  bool IsInside(uint32_t tgid) const {
    if (inside_.empty()) return true;
    std::ifstream in(absl::StrCat("/proc/", tgid, "/cgroup"));
    const std::string groups(std::istreambuf_iterator<char>(in), {});
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

  // For how long nobody has to look again, in milliseconds; -1: until something comes. Who was let
  // go is learned when he runs, if nobody has begun yet.
  int LetGoLate() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    int wait = -1;
    for (auto held = held_.begin(); held != held_.end();) {
      const auto here = held++;
      if (here->answered) continue;
      if (here->until <= now) {
        here->answered = true;
        late_count_++;
        Allow(here->fd.get());
        if (!here->taken) held_.erase(here);
        continue;
      }
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(here->until - now).count();
      if (wait < 0 || left < wait) wait = static_cast<int>(left);
    }
    return wait;
  }

  // ---- what they wait for ----

  // The smallest first: whoever executes large files makes others with large files wait.
  std::list<Held>::iterator Next(bool large) {
    auto next = held_.end();
    for (auto held = held_.begin(); held != held_.end(); ++held) {
      if (held->taken || (held->size >= kLarge) != large) continue;
      if (next == held_.end() || held->size < next->size) next = held;
    }
    return next;
  }

  void LearnHeld(bool large) {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this, large]() { return stopping_ || Next(large) != held_.end(); });
      if (stopping_) return;
      const auto held = Next(large);  // stays where it is until it is taken out here
      held->taken = true;
      bool known = known_.count(held->stamp) != 0;
      if (!known) {
        lock.unlock();
        known = learn_(held->fd.get(), held->tgid);
        lock.lock();
        if (stopping_) return;
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
  std::set<std::string> told_;
  std::atomic<uint64_t> held_count_{0};
  std::atomic<uint64_t> late_count_{0};
  std::atomic<uint64_t> unwatched_count_{0};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Held> held_;  // in the order they came
  std::set<Stamp> known_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::Status ExecWatch::CheckSupported() {
  auto fanotify = OpenFanotify();
  if (!fanotify.ok()) return fanotify.status();
  const ScopedFd root(open("/", O_PATH | O_CLOEXEC));
  const int error = MarkFileSystem(fanotify->get(), root.get());
  // Some root file systems cannot be marked; that is told for each.
  if (error != EINVAL) return absl::OkStatus();
  return absl::UnimplementedError(
      "the kernel holds no execs (it needs CONFIG_FANOTIFY_ACCESS_PERMISSIONS)");
}

absl::StatusOr<std::unique_ptr<ExecWatch>> ExecWatch::Start(const ExecWatchOptions& options,
                                                            Learn learn, Log log) {
  auto watch = std::make_unique<FanotifyWatch>(options, std::move(learn), std::move(log));
  MSEG_RETURN_IF_ERROR(watch->Open());
  return watch;
}

}  // namespace mseg
