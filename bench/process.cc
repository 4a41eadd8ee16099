// SPDX-License-Identifier: Apache-2.0
#include "bench/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

volatile sig_atomic_t interrupted = 0;

void OnSignal(int) { interrupted = 1; }

// In the child, between fork and exec: says what failed on stderr and ends.
[[noreturn]] void Fail(const char* what) {
  dprintf(2, "mseg-bench: %s: %s\n", what, strerror(errno));
  _exit(126);
}

void GoTo(const Place& place) {
  if (!place.cgroup.empty()) {
    const int fd = open((place.cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) Fail("enter cgroup");
    close(fd);
  }
  if (!place.netns.empty()) {
    const int fd = open(place.netns.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) Fail("enter network namespace");
    close(fd);
  }
  if (place.cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(place.cpu), &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) Fail("pin to a processor");
  }
  if (place.nice != 0) setpriority(PRIO_PROCESS, 0, place.nice);
  if (place.fixed_layout && personality(ADDR_NO_RANDOMIZE) < 0) Fail("fix the layout of memory");
}

[[noreturn]] void Exec(const std::vector<std::string>& arguments, const Place& place,
                       pid_t parent) {
  // A session of its own: the terminal's SIGINT is for mseg-bench, which then ends its children.
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_DFL);
  GoTo(place);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  dprintf(2, "mseg-bench: run %s: %s\n", argv[0], strerror(errno));
  _exit(127);
}

int WaitFor(pid_t pid) {
  int raw = 0;
  while (waitpid(pid, &raw, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
}

struct Pipe {
  ScopedFd read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  return Pipe{ScopedFd(ends[0]), ScopedFd(ends[1])};
}

// Feeds the program and reads from it until it has closed both streams, or we are interrupted.
void Converse(ScopedFd in, const std::string& input, int out, int err, Finished* finished) {
  size_t fed = 0;
  if (input.empty()) in.Reset();
  pollfd fds[3] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {in.get(), POLLOUT, 0}};
  char buffer[65536];
  while (!Interrupted() && (fds[0].fd >= 0 || fds[1].fd >= 0)) {
    if (poll(fds, 3, 200) <= 0) continue;
    for (int i = 0; i < 2; i++) {
      if (fds[i].revents == 0) continue;
      const ssize_t n = read(fds[i].fd, buffer, sizeof(buffer));
      if (n <= 0) fds[i].fd = -1;
      if (n > 0) (i == 0 ? finished->out : finished->err).append(buffer, static_cast<size_t>(n));
    }
    if (fds[2].revents != 0) {
      const ssize_t n =
          write(in.get(), input.data() + fed, std::min<size_t>(input.size() - fed, 65536));
      if (n > 0) fed += static_cast<size_t>(n);
      if (n <= 0 || fed == input.size()) {
        in.Reset();
        fds[2].fd = -1;
      }
    }
  }
}

}  // namespace

bool Interrupted() { return interrupted != 0; }

void CatchSignals() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

absl::Status InterruptedStatus() { return absl::CancelledError("interrupted"); }

absl::StatusOr<Finished> RunProgram(const std::vector<std::string>& arguments, const Place& place,
                                    const std::string& input) {
  auto in = MakePipe(), out = MakePipe(), err = MakePipe();
  for (const auto* pipe : {&in, &out, &err}) {
    if (!pipe->ok()) return pipe->status();
  }
  const pid_t parent = getpid();
  const uint64_t start = NowNs();
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    dup2(in->read.get(), 0);
    dup2(out->write.get(), 1);
    dup2(err->write.get(), 2);
    Exec(arguments, place, parent);
  }
  in->read.Reset();
  out->write.Reset();
  err->write.Reset();
  Finished finished;
  fcntl(in->write.get(), F_SETFL, O_NONBLOCK);
  Converse(std::move(in->write), input, out->read.get(), err->read.get(), &finished);
  if (Interrupted()) kill(pid, SIGKILL);
  finished.status = WaitFor(pid);
  finished.wall_ns = NowNs() - start;
  if (Interrupted()) return InterruptedStatus();
  return finished;
}

absl::StatusOr<std::string> MustRun(const std::vector<std::string>& arguments, const Place& place,
                                    const std::string& input) {
  auto finished = RunProgram(arguments, place, input);
  if (!finished.ok()) return finished.status();
  if (finished->status == 0) return finished->out;
  const std::string said = finished->err.empty() ? finished->out : finished->err;
  return absl::InternalError(absl::StrCat(absl::StrJoin(arguments, " "), " failed with status ",
                                          finished->status, ": ", said.substr(0, 500)));
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    Kill();
    pid_ = std::exchange(other.pid_, 0);
  }
  return *this;
}

absl::StatusOr<Child> Child::Start(const std::vector<std::string>& arguments, const Place& place,
                                   const std::string& log, int inherit) {
  const ScopedFd out(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const ScopedFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!out.ok()) return ErrnoStatus(errno, "open " + log);
  const pid_t parent = getpid();
  Child child;
  child.pid_ = fork();
  if (child.pid_ < 0) return ErrnoStatus(errno, "fork");
  if (child.pid_ == 0) {
    // First, so that no descriptor of ours is lost by it: `inherit` may be any number but 3.
    const int kept = inherit >= 0 ? fcntl(inherit, F_DUPFD, 10) : -1;
    dup2(null.get(), 0);
    dup2(out.get(), 1);
    dup2(out.get(), 2);
    if (kept >= 0) dup2(kept, 3);
    if (kept >= 0) close(kept);
    Exec(arguments, place, parent);
  }
  return child;
}

bool Child::Running() const {
  if (pid_ == 0) return false;
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

void Child::Kill(int signal) {
  if (pid_ == 0) return;
  kill(pid_, signal);
  WaitFor(std::exchange(pid_, 0));
}

std::string FindProgram(const std::string& name) {
  const char* path = getenv("PATH");
  std::vector<std::string> folders = absl::StrSplit(path == nullptr ? "" : path, ':');
  for (const char* more : {"/usr/sbin", "/sbin", "/usr/bin"}) folders.emplace_back(more);
  for (const std::string& folder : folders) {
    const std::string file = folder + "/" + name;
    struct stat info {};
    if (!folder.empty() && stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        access(file.c_str(), X_OK) == 0) {
      return file;
    }
  }
  return "";
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("read ", path, ": ", strerror(errno)));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::Status WriteWhole(const std::string& path, const std::string& text) {
  const ScopedFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.ok()) return ErrnoStatus(errno, "open " + path);
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0) return ErrnoStatus(errno, "write " + path);
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t ProcessCpuNs(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) return 0;
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

int PinnedCpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 0;
  int last = 0;
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(static_cast<size_t>(i), &set)) last = i;
  }
  return last;
}

}  // namespace mseg::bench
