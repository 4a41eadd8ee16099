// SPDX-License-Identifier: Apache-2.0
#include "tests/kernel/kernel_fixture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "loader/feature_probe.h"
#include "loader/pins.h"

namespace mseg::testing {
namespace {

namespace fs = std::filesystem;

// Runs in the janitor too, hence no Catch and no exceptions.
void RemoveCgroup(const std::string& dir) {
  { std::ofstream(dir + "/cgroup.kill") << 1; }
  for (int attempt = 0; attempt < 100; attempt++) {
    std::error_code error;
    std::vector<fs::path> below;
    for (auto it = fs::recursive_directory_iterator(dir, error);
         it != fs::recursive_directory_iterator(); it.increment(error)) {
      if (it->is_directory(error)) below.push_back(it->path());
    }
    for (auto it = below.rbegin(); it != below.rend(); ++it) rmdir(it->c_str());
    if (rmdir(dir.c_str()) == 0 || errno == ENOENT) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void RemoveAll(const std::string& cgroup, const std::string& pin_dir, const std::string& dir) {
  std::error_code error;
  if (fs::exists(pin_dir, error)) DetachAll(pin_dir).status().IgnoreError();
  RemoveCgroup(cgroup);
  fs::remove_all(dir, error);
}

std::string OwnCgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return CgroupMount() + line.substr(3);
  }
  return CgroupMount();
}

}  // namespace

std::string CgroupMount() {
  std::ifstream mounts("/proc/self/mounts");
  std::string device, where, type, rest;
  while (mounts >> device >> where >> type && std::getline(mounts, rest)) {
    if (type == "cgroup2") return where;
  }
  throw std::runtime_error("no cgroup v2 hierarchy is mounted");
}

uint64_t CgroupId(const std::string& dir) {
  struct stat info {};
  REQUIRE(stat(dir.c_str(), &info) == 0);
  return info.st_ino;
}

Scratch::Scratch() {
  static int count = 0;
  name_ = "mseg-kernel-test-" + std::to_string(getpid()) + "-" + std::to_string(count++);
  cgroup_ = CgroupMount() + "/" + name_;
  pin_dir_ = "/sys/fs/bpf/" + name_;
  dir_ = (fs::temp_directory_path() / name_).string();
  home_ = OwnCgroup();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const ScopedFd watched(ends[0]);
  alive_ = ScopedFd(ends[1]);
  janitor_ = fork();
  if (janitor_ == 0) {
    setsid();
    alive_.Reset();
    char byte = 0;
    // A byte says that all is removed already; the end of the pipe, that the test is dead.
    if (read(watched.get(), &byte, 1) != 1) RemoveAll(cgroup_, pin_dir_, dir_);
    _exit(0);
  }
  if (mkdir(cgroup_.c_str(), 0755) != 0) throw std::runtime_error("make " + cgroup_);
  fs::create_directories(dir_);
}

Scratch::~Scratch() {
  std::ofstream(home_ + "/cgroup.procs") << getpid();
  RemoveAll(cgroup_, pin_dir_, dir_);
  const char done = 1;
  if (write(alive_.get(), &done, 1) == 1) waitpid(janitor_, nullptr, 0);
}

std::string Scratch::MakeCgroup(const std::string& name) const {
  const std::string path = cgroup_ + "/" + name;
  REQUIRE(mkdir(path.c_str(), 0755) == 0);
  return path;
}

DataplaneOptions Scratch::Options() const {
  DataplaneOptions options;
  options.cgroup_root = cgroup_;
  options.pin_dir = pin_dir_;
  // Reading a table takes as long as it is large, however little is in it.
  options.max_rows = 16384;
  options.max_identities = 8192;
  options.max_tasks = 16384;
  options.max_listeners = 4096;
  return options;
}

std::unique_ptr<Dataplane> Scratch::Open() const {
  static const Features features = ProbeFeatures();
  REQUIRE(features.CheckRequired().ok());
  auto plane = Dataplane::Open(Options(), features);
  INFO(plane.status().ToString());
  REQUIRE(plane.ok());
  return *std::move(plane);
}

void Scratch::Join(const std::string& cgroup) { WriteFile(cgroup + "/cgroup.procs", "0"); }

Instance& SharedInstance() {
  static Instance instance;
  return instance;
}

void UseMapsOf(const Instance& instance, bpf_object* object) {
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    const std::string pin =
        instance.scratch.pin_dir() + "/" + kMapPins + "/" + std::string(bpf_map__name(map));
    const ScopedFd fd(bpf_obj_get(pin.c_str()));
    if (fd.ok()) REQUIRE(bpf_map__reuse_fd(map, fd.get()) == 0);
  }
}

OneProcessor::OneProcessor() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  REQUIRE(sched_getaffinity(0, sizeof(before_), &before_) == 0);
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
}

OneProcessor::~OneProcessor() { sched_setaffinity(0, sizeof(before_), &before_); }

bool Eventually(const std::function<bool()>& question, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!question()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

Child::Child(const std::function<int()>& body) {
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  // Catch's handlers would report a test of their own from the child.
  for (int sig : {SIGINT, SIGTERM, SIGSEGV, SIGABRT}) signal(sig, SIG_DFL);
  _exit(body());
}

Child::~Child() { Kill(); }

int Child::Wait() {
  if (!status_) {
    int raw = 0;
    while (waitpid(pid_, &raw, 0) < 0 && errno == EINTR) {
    }
    status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
  }
  return *status_;
}

void Child::Kill() {
  if (status_) return;
  kill(pid_, SIGKILL);
  Wait();
}

Handshake::Handshake() {
  for (int i = 0; i < 2; i++) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    read_[i] = ScopedFd(ends[0]);
    write_[i] = ScopedFd(ends[1]);
  }
}

void Handshake::InChild() { side_ = 1; }

void Handshake::Signal() {
  const char byte = 1;
  if (write(write_[side_].get(), &byte, 1) != 1) _exit(126);
}

bool Handshake::Await() {
  pollfd wait{.fd = read_[1 - side_].get(), .events = POLLIN, .revents = 0};
  char byte = 0;
  return poll(&wait, 1, 20000) == 1 && read(wait.fd, &byte, 1) == 1;
}

std::optional<mseg_task> TaskOf(const Dataplane& plane, pid_t tgid) {
  const auto tasks = plane.tasks().Dump();
  REQUIRE(tasks.ok());
  std::optional<mseg_task> found;
  uint64_t newest = 0;
  for (const auto& [key, task] : *tasks) {
    if (key.tgid != static_cast<uint32_t>(tgid) || key.start_ns < newest) continue;
    newest = key.start_ns;
    found = task;
  }
  return found;
}

void WriteFile(const std::string& path, const std::string& text) {
  const ScopedFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  INFO(path);
  REQUIRE(fd.ok());
  REQUIRE(write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void CopyProgram(const std::string& from, const std::string& to) {
  fs::copy_file(from, to, fs::copy_options::overwrite_existing);
  REQUIRE(chmod(to.c_str(), 0755) == 0);
}

std::string ProgramPath(const std::string& name) {
  for (const char* folder : {"/usr/bin/", "/bin/", "/usr/sbin/"}) {
    std::error_code error;
    const fs::path path = fs::canonical(folder + name, error);
    if (!error) return path.string();
  }
  throw std::runtime_error(name + " is not installed");
}

}  // namespace mseg::testing
