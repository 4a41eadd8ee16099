// SPDX-License-Identifier: Apache-2.0
#include "ctl/selftest_scratch.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/client.h"
#include "ctl/executable_file.h"
#include "ctl/selftest_acts.h"

namespace mseg::ctl {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kActLimit = absl::Seconds(90);
constexpr absl::Duration kLoadLimit = absl::Seconds(240);  // an emulated processor takes long

absl::Status Errno(const std::string& what) { return absl::ErrnoToStatus(errno, what); }

std::string CgroupMount() {
  std::ifstream mounts("/proc/self/mounts");
  std::string device;
  std::string place;
  std::string type;
  std::string rest;
  while (mounts >> device >> place >> type && std::getline(mounts, rest)) {
    if (type == "cgroup2") return place;
  }
  return "";
}

bool WriteTo(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  return static_cast<bool>(file << text << std::flush);
}

// What of this program is loaded when it runs. Its symbols can be ten times that, and every copy is
// hashed several times.
absl::StatusOr<std::string> ProgramImage(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Elf64_Ehdr header{};
  if (bytes.size() < sizeof(header)) return Errno("selftest: read " + path);
  std::memcpy(&header, bytes.data(), sizeof(header));
  size_t end = 0;
  for (size_t i = 0; i < header.e_phnum; i++) {
    Elf64_Phdr part{};
    const size_t place = header.e_phoff + i * sizeof(part);
    if (place + sizeof(part) > bytes.size()) return bytes;
    std::memcpy(&part, bytes.data() + place, sizeof(part));
    end = std::max<size_t>({end, place + sizeof(part), part.p_offset + part.p_filesz});
  }
  if (end == 0 || end > bytes.size()) return bytes;
  bytes.resize(end);
  header.e_shoff = 0;
  header.e_shnum = 0;
  header.e_shstrndx = 0;
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

void RemoveCgroup(const std::string& cgroup) {
  WriteTo(cgroup + "/cgroup.kill", "1");
  for (int i = 0; i < 200 && access(cgroup.c_str(), F_OK) == 0; i++) {
    for (const char* name : {"/client", "/server", "/open", ""}) rmdir((cgroup + name).c_str());
    absl::SleepFor(absl::Milliseconds(20));
  }
}

absl::Status SetUpNetwork() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::copy_n("lo", 3, request.ifr_name);
  request.ifr_flags = IFF_UP;
  const bool up = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  close(fd);
  // Of this namespace alone: so that Fast Open and ping sockets can be tried, and so that nothing
  // is forwarded, which a namespace inherits from the host.
  WriteTo("/proc/sys/net/ipv4/tcp_fastopen", "3");
  WriteTo("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  WriteTo("/proc/sys/net/ipv4/ip_forward", "0");
  return up ? absl::OkStatus() : Errno("selftest: lo up");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Scratch>> Scratch::Make(const std::string& name) {
  if (geteuid() != 0) {
    return absl::FailedPreconditionError("selftest --bypass: needs root");
  }
  std::unique_ptr<Scratch> scratch(new Scratch);
  if (absl::Status status = scratch->MakePlaces(name); !status.ok()) return status;
  return scratch;
}

absl::Status Scratch::MakePlaces(const std::string& name) {
  char self[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", self, sizeof(self));
  const std::string mount = CgroupMount();
  if (size <= 0) return Errno("selftest: /proc/self/exe");
  if (mount.empty()) return absl::FailedPreconditionError("selftest: no cgroup v2 is mounted");
  self_.assign(self, static_cast<size_t>(size));
  msegd_ = (fs::path(self_).parent_path() / "msegd").string();
  if (access(msegd_.c_str(), X_OK) != 0) {
    const char* installed = "/usr/sbin/msegd";
    if (access(installed, X_OK) != 0) return Errno("selftest: " + msegd_);
    msegd_ = installed;
  }
  auto image = ProgramImage(self_);
  if (!image.ok()) return image.status();
  image_ = *std::move(image);
  name_ = absl::StrCat("mseg-selftest-", getpid(), name.empty() ? "" : "-", name);
  cgroup_ = absl::StrCat(mount, "/", name_);
  pins_ = absl::StrCat("/sys/fs/bpf/", name_);
  dir_ = absl::StrCat("/var/lib/", name_);
  // Before anything is made: whatever happens from here on, it goes.
  if (absl::Status status = StartJanitor(); !status.ok()) return status;
  if (mkdir(dir_.c_str(), 0755) != 0) return Errno("selftest: " + dir_);
  if (mkdir(cgroup_.c_str(), 0755) != 0) return Errno("selftest: " + cgroup_);
  for (const char* name : {"client", "server", "open"}) {
    if (mkdir(Cgroup(name).c_str(), 0755) != 0) return Errno("selftest: " + Cgroup(name));
  }
  return MakeNetwork();
}

// This process stays where it is: whatever it starts enters by itself.
absl::Status Scratch::MakeNetwork() {
  const char* own = "/proc/thread-self/ns/net";
  const int before = open(own, O_RDONLY | O_CLOEXEC);
  if (before < 0 || unshare(CLONE_NEWNET) != 0) return Errno("selftest: a network namespace");
  netns_ = open(own, O_RDONLY | O_CLOEXEC);
  const absl::Status status = netns_ < 0 ? Errno("selftest: a network namespace") : SetUpNetwork();
  const bool back = setns(before, CLONE_NEWNET) == 0;
  close(before);
  return back ? status : Errno("selftest: back to the host's network namespace");
}

absl::Status Scratch::StartJanitor() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Errno("selftest: pipe");
  janitor_ = fork();
  if (janitor_ < 0) return Errno("selftest: fork");
  if (janitor_ == 0) {
    // Nothing else may stay open: not the other end, nor that of another janitor.
    dup2(ends[0], 3);
    close_range(4, ~0U, 0);
    Clean(3);
  }
  close(ends[0]);
  alive_ = ends[1];
  return absl::OkStatus();
}

void Scratch::Clean(int alive) const {
  setsid();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_IGN);
  char byte = 0;
  while (read(alive, &byte, 1) != 0) {
    if (errno != EINTR) break;
  }
  RemoveCgroup(cgroup_);
  if (access(pins_.c_str(), F_OK) == 0) {
    DetachAll().IgnoreError();
  }
  std::error_code ignored;
  fs::remove_all(pins_, ignored);
  fs::remove_all(dir_, ignored);
  const bool left = access(cgroup_.c_str(), F_OK) == 0 || access(pins_.c_str(), F_OK) == 0 ||
                    access(dir_.c_str(), F_OK) == 0;
  _exit(left ? 1 : 0);
}

absl::Status Scratch::DetachAll() const {
  const pid_t child = fork();
  if (child == 0) {
    const int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    execl(msegd_.c_str(), "msegd", "--detach-all", "--bpffs", pins_.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) == child && status == 0) return absl::OkStatus();
  return absl::InternalError("selftest: msegd --detach-all failed");
}

absl::Status Scratch::Remove() {
  daemon_.reset();
  // On a host where mseg protects itself only mseg may: then the janitor's `--detach-all` stops it.
  if (daemon_pid_ > 0 && kill(daemon_pid_, SIGKILL) == 0) {
    waitpid(std::exchange(daemon_pid_, -1), nullptr, 0);
  }
  if (alive_ < 0) return absl::OkStatus();
  close(std::exchange(alive_, -1));
  if (netns_ >= 0) close(std::exchange(netns_, -1));
  int status = 0;
  const bool done = waitpid(janitor_, &status, 0) == janitor_ && status == 0;
  if (daemon_pid_ > 0) waitpid(std::exchange(daemon_pid_, -1), nullptr, WNOHANG);
  if (!done) {
    return absl::InternalError(absl::StrCat("selftest: something of ", name_, " is left in ",
                                            cgroup_, ", ", pins_, " or ", dir_));
  }
  return absl::OkStatus();
}

Scratch::~Scratch() { Remove().IgnoreError(); }

absl::Status Scratch::LaunchDaemon(bool guarded) {
  const std::string config = dir_ + "/config.yaml";
  const std::string guard = guarded ? "self_protection: {enabled: true}\n" : "";
  const std::string text = config_ + guard;
  if (!WriteTo(config, text.empty() ? "{}\n" : text)) return Errno("selftest: " + config);
  const std::string socket = dir_ + "/sock";
  const std::string log = dir_ + "/log";
  daemon_pid_ = fork();
  if (daemon_pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (setns(netns_, CLONE_NEWNET) != 0) _exit(127);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execl(msegd_.c_str(), "msegd", "--config", config.c_str(), "--state-dir",
          (dir_ + "/state").c_str(), "--socket", socket.c_str(), "--cgroup-root", cgroup_.c_str(),
          "--bpffs", pins_.c_str(), nullptr);
    _exit(127);
  }
  return daemon_pid_ > 0 ? absl::OkStatus() : Errno("selftest: fork");
}

absl::Status Scratch::AwaitDaemon() {
  const std::string socket = dir_ + "/sock";
  const std::string log = dir_ + "/log";
  const absl::Time limit = absl::Now() + kLoadLimit;
  while (absl::Now() < limit) {
    if (waitpid(daemon_pid_, nullptr, WNOHANG) == daemon_pid_) {
      daemon_pid_ = -1;
      std::stringstream said;
      said << std::ifstream(log).rdbuf();
      return absl::FailedPreconditionError("selftest: msegd ended: " + said.str());
    }
    if (access(socket.c_str(), F_OK) == 0) {
      auto daemon = Connect(socket);
      if (daemon.ok()) {
        daemon_ = *std::move(daemon);
        return absl::OkStatus();
      }
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  return absl::DeadlineExceededError("selftest: msegd does not answer");
}

absl::Status Scratch::RestartDaemon(bool guarded) {
  daemon_.reset();
  if (kill(daemon_pid_, SIGKILL) != 0) return Errno("selftest: end msegd");
  waitpid(std::exchange(daemon_pid_, -1), nullptr, 0);
  unlink((dir_ + "/sock").c_str());
  if (absl::Status status = LaunchDaemon(guarded); !status.ok()) return status;
  return AwaitDaemon();
}

absl::Status Scratch::ApplyPolicy(const std::string& text) {
  api::ApplyRequest request;
  request.files.push_back({"selftest.yaml", text});
  request.message = "selftest";
  request.author = "selftest";
  Diagnostics diagnostics;
  auto report = daemon_->ApplyPolicy(request, &diagnostics);
  if (report.ok()) return absl::OkStatus();
  std::string message(report.status().message());
  for (const Diagnostic& d : diagnostics) absl::StrAppend(&message, "\n", FormatDiagnostic(d));
  return absl::InternalError("selftest: the policy is refused: " + message);
}

absl::Status Scratch::Detach(const std::vector<std::string>& programs) const {
  for (const std::string& program : programs) {
    const std::string link = absl::StrCat(pins_, "/links/", program);
    if (unlink(link.c_str()) != 0 && errno != ENOENT) return Errno("selftest: unpin " + link);
  }
  return absl::OkStatus();
}

absl::Status Scratch::Copy(const std::string& name, const std::string& mark) const {
  return Place(name, image_ + mark);
}

absl::Status Scratch::Place(const std::string& name, const std::string& content) const {
  const fs::path to = fs::path(dir_) / name;
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  std::ofstream file(to, std::ios::trunc | std::ios::binary);
  if (!(file << content << std::flush)) return Errno("selftest: " + to.string());
  file.close();
  return chmod(to.c_str(), 0755) == 0 ? absl::OkStatus() : Errno("selftest: " + to.string());
}

absl::StatusOr<std::string> Scratch::DigestOf(const std::string& name) const {
  auto executable = ReadExecutable(dir_ + "/" + name);
  if (!executable.ok()) return executable.status();
  return DigestText(executable->digest);
}

pid_t Scratch::Spawn(const std::string& cgroup, const std::string& program,
                     const std::vector<std::string>& act, int input, int output) const {
  std::vector<std::string> words = {program, "selftest", "--act"};
  words.insert(words.end(), act.begin(), act.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const std::string procs = Cgroup(cgroup) + "/cgroup.procs";
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int null = open("/dev/null", O_RDWR);
  dup2(input < 0 ? null : input, 0);
  dup2(output < 0 ? null : output, 1);
  dup2(null, 2);
  if (setns(netns_, CLONE_NEWNET) != 0) _exit(kActNotTried);
  const int fd = open(procs.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) _exit(kActNotTried);
  execv(program.c_str(), pointers.data());
  _exit(kActNotTried);
}

int Scratch::Run(const std::string& cgroup, const std::string& program,
                 const std::vector<std::string>& act) const {
  const pid_t child = Spawn(cgroup, program, act, -1, -1);
  const absl::Time limit = absl::Now() + kActLimit;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (absl::Now() > limit) kill(child, SIGKILL);
    absl::SleepFor(absl::Milliseconds(2));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kActNotTried;
}

absl::StatusOr<Scratch::Held> Scratch::Hold(const std::string& cgroup, const std::string& program,
                                            const std::vector<std::string>& act) const {
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) return Errno("selftest: pipe");
  const Held held{.pid = Spawn(cgroup, program, act, in[0], out[1]), .to = in[1]};
  close(in[0]);
  close(out[1]);
  pollfd ready{.fd = out[0], .events = POLLIN, .revents = 0};
  char bytes[8];
  const bool said = poll(&ready, 1, 60000) == 1 && read(out[0], bytes, sizeof(bytes)) > 0;
  close(out[0]);
  if (said) return held;
  kill(held.pid, SIGKILL);
  return absl::InternalError(absl::StrCat("selftest: ", act.front(), " of ", program,
                                          " is not ready: status ", Release(held)));
}

int Scratch::Release(const Held& held) {
  int status = 0;
  close(held.to);
  if (waitpid(held.pid, &status, 0) != held.pid) return kActNotTried;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kActNotTried;
}

}  // namespace mseg::ctl
