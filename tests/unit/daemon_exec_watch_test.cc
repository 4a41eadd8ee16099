// SPDX-License-Identifier: Apache-2.0
#include "daemon/exec_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "daemon/host_inventory.h"
#include "daemon/mountinfo.h"
#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

TEST_CASE("mounts with programs are told from others") {
  const auto mounts = ParseMounts(
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "23 22 0:5 / /proc rw - proc proc rw\n"
      "24 22 8:1 /srv /mnt/again rw - ext4 /dev/sda1 rw\n"
      "25 22 0:40 / /tmp rw,nosuid,noexec - tmpfs tmpfs rw\n"
      "26 22 0:40 / /opt/bound\\040here rw master:3 - tmpfs tmpfs rw\n"
      "27 22 0:41 / /net rw - nfs4 server:/ rw\n"
      "28 22 0:42 / /fuse rw - fuse.sshfs host: rw\n"
      "29 22 0:43 / /merged rw - overlay overlay rw,lowerdir=/l\n"
      "30 22 0:44 / /too-short\n"
      "31 22 0:45 / /no-source rw - ext4\n");
  CHECK(mounts.size() == 8);
  std::vector<std::string> points;
  for (const Mount& mount : ExecutableMounts(mounts)) points.push_back(mount.point);
  CHECK(points == std::vector<std::string>{"/", "/mnt/again", "/opt/bound here", "/merged"});
  CHECK(mounts[7].id == 29);
}

// Two cgroups, one of which is watched, and what `learn` was asked.
class Watched {
 public:
  explicit Watched(std::chrono::milliseconds limit = std::chrono::seconds(60)) {
    const auto hierarchy = FindCgroupRoot();
    REQUIRE(hierarchy.ok());
    name_ = "/mseg-test-" + std::to_string(getpid());
    inside = *hierarchy + name_;
    outside = inside + "-2";
    REQUIRE(mkdir(inside.c_str(), 0755) == 0);
    REQUIRE(mkdir(outside.c_str(), 0755) == 0);
    auto started = ExecWatch::Start(
        {.cgroup_root = inside, .limit = limit},
        [this](int fd, uint32_t tgid) { return Learn(fd, tgid); }, [](const std::string&) {});
    INFO(started.status().ToString());
    REQUIRE(started.ok());
    watch = *std::move(started);
  }
  ~Watched() {
    Open();
    watch.reset();
    rmdir(inside.c_str());
    rmdir(outside.c_str());
  }

  // Runs a program in a cgroup; its exit status.
  int Run(const std::string& program, const std::string& cgroup) {
    const std::string procs = cgroup + "/cgroup.procs";
    const pid_t child = fork();
    if (child == 0) {
      const int fd = open(procs.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd < 0 || write(fd, "0", 1) != 1) _exit(126);
      execl(program.c_str(), program.c_str(), nullptr);
      _exit(127);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  int Asked(const std::string& program) {
    const std::lock_guard lock(mutex_);
    int times = 0;
    for (const std::string& path : asked_) times += path == program;
    return times;
  }
  bool any_too_early() {
    const std::lock_guard lock(mutex_);
    return too_early_;
  }
  void Answer(bool answer) {
    const std::lock_guard lock(mutex_);
    answer_ = answer;
  }
  // Until `Open`, `learn` does not return: for any file, or for this one.
  void Close(const std::string& only = "") {
    const std::lock_guard lock(mutex_);
    open_ = false;
    closed_for_ = only;
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

  TempDir dir{"/var/tmp"};
  std::string inside;
  std::string outside;
  std::unique_ptr<ExecWatch> watch;

 private:
  static std::string LinkOf(const std::string& link) {
    char path[4096];
    const ssize_t size = readlink(link.c_str(), path, sizeof(path));
    return size < 0 ? "" : std::string(path, static_cast<size_t>(size));
  }

  bool Learn(int fd, uint32_t tgid) {
    const std::string file = LinkOf("/proc/self/fd/" + std::to_string(fd));
    const std::string runs = LinkOf("/proc/" + std::to_string(tgid) + "/exe");
    std::unique_lock lock(mutex_);
    asked_.push_back(file);
    too_early_ |= runs == file;
    opened_.wait(lock, [&] { return open_ || (!closed_for_.empty() && closed_for_ != file); });
    return answer_;
  }

  std::string name_;
  std::mutex mutex_;
  std::condition_variable opened_;
  std::vector<std::string> asked_;
  bool too_early_ = false;
  bool answer_ = true;
  bool open_ = true;
  std::string closed_for_;
};

std::string CopyOfTrue(const std::string& path) {
  std::filesystem::copy_file("/bin/true", path, std::filesystem::copy_options::overwrite_existing);
  return path;
}

TEST_CASE("an exec waits until its file was looked at, once for each content") {
  if (SkippedWithoutRoot()) return;
  Watched watched;
  const std::string program = CopyOfTrue(watched.dir / "program");
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 1);
  CHECK_FALSE(watched.any_too_early());
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 1);
  CopyOfTrue(program);
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 2);
  // What nobody could say anything about is asked again.
  watched.Answer(false);
  CopyOfTrue(program);
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 4);
  CHECK(watched.watch->counts().late == 0);
}

TEST_CASE("execs of other parts of the hierarchy go on at once") {
  if (SkippedWithoutRoot()) return;
  Watched watched;
  const std::string program = CopyOfTrue(watched.dir / "program");
  watched.Close();
  // Its name begins as the watched one's does.
  CHECK(watched.Run(program, watched.outside) == 0);
  CHECK(watched.Asked(program) == 0);
  watched.Open();
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 1);
}

TEST_CASE("nobody waits longer than the limit, and who did is counted") {
  if (SkippedWithoutRoot()) return;
  Watched watched(std::chrono::milliseconds(50));
  const std::string program = CopyOfTrue(watched.dir / "program");
  const std::string another = CopyOfTrue(watched.dir / "another");
  watched.Close();
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 1);
  CHECK(watched.watch->counts().late >= 1);
  // The thread that learns is still at the first one.
  const uint64_t late = watched.watch->counts().late;
  CHECK(watched.Run(another, watched.inside) == 0);
  CHECK(watched.watch->counts().late > late);
  CHECK(watched.watch->counts().held >= 2);
}

// Like an unprivileged process that wants everybody else to wait.
class LeaseHolder {
 public:
  explicit LeaseHolder(const std::string& path) {
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    child_ = fork();
    if (child_ == 0) {
      signal(SIGIO, SIG_IGN);  // what tells it that somebody waits
      const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
      const bool held = fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
      (void)!write(ready[1], held ? "y" : "n", 1);
      for (;;) pause();
    }
    char held = 0;
    CHECK(read(ready[0], &held, 1) == 1);
    CHECK(held == 'y');
    close(ready[0]);
    close(ready[1]);
  }
  ~LeaseHolder() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_ = 0;
};

TEST_CASE("who holds a write lease makes nobody wait but himself") {
  if (SkippedWithoutRoot()) return;
  Watched watched;
  const std::string leased = CopyOfTrue(watched.dir / "leased");
  const std::string program = CopyOfTrue(watched.dir / "program");
  pid_t victim = 0;
  {
    const LeaseHolder holder(leased);
    victim = fork();
    if (victim == 0) {
      execl(leased.c_str(), leased.c_str(), nullptr);
      _exit(127);
    }
    // The lease lasts for as long as /proc/sys/fs/lease-break-time says, 45 s.
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; i++) {
      CopyOfTrue(program);
      CHECK(watched.Run(program, watched.inside) == 0);
    }
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
  }
  int status = 0;
  CHECK(waitpid(victim, &status, 0) == victim);
  CHECK(watched.Asked(program) == 20);
}

TEST_CASE("another name of a file is another file") {
  if (SkippedWithoutRoot()) return;
  Watched watched;
  const std::string program = CopyOfTrue(watched.dir / "program");
  const std::string link = watched.dir / "link";
  REQUIRE(::link(program.c_str(), link.c_str()) == 0);
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Run(link, watched.inside) == 0);
  CHECK(watched.Asked(program) == 1);
  CHECK(watched.Asked(link) == 1);
}

TEST_CASE("a large file makes no small one wait") {
  if (SkippedWithoutRoot()) return;
  Watched watched;
  const std::string large = CopyOfTrue(watched.dir / "large");
  std::filesystem::resize_file(large, 64 << 20);
  const std::string program = CopyOfTrue(watched.dir / "program");
  watched.Close(large);
  std::thread waits([&] { CHECK(watched.Run(large, watched.inside) == 0); });
  while (watched.Asked(large) == 0) std::this_thread::yield();
  CHECK(watched.Run(program, watched.inside) == 0);
  CHECK(watched.Asked(program) == 1);
  watched.Open();
  waits.join();
}

TEST_CASE("a file system that is mounted later is watched, too") {
  if (SkippedWithoutRoot()) return;
  Watched watched;
  const std::string place = watched.dir / "mounted";
  REQUIRE(mkdir(place.c_str(), 0755) == 0);
  REQUIRE(mount("none", place.c_str(), "tmpfs", 0, "size=4m") == 0);
  const std::string program = place + "/program";
  // The kernel tells of the mount in its own time.
  for (int i = 0; i < 500 && watched.Asked(program) == 0; i++) {
    CopyOfTrue(program);
    CHECK(watched.Run(program, watched.inside) == 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(watched.Asked(program) == 1);
  CHECK(umount2(place.c_str(), MNT_DETACH) == 0);
}

}  // namespace
}  // namespace mseg::testing
