// SPDX-License-Identifier: Apache-2.0
// Acts of `selftest --bypass` that go through another program, another file or another process.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <array>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ctl/selftest_acts.h"
#include "ctl/selftest_fuse.h"

namespace mseg::ctl {
namespace {

using Arguments = std::vector<std::string>;

std::vector<char*> Pointers(const Arguments& words) {
  std::vector<char*> out;
  for (const std::string& word : words) out.push_back(const_cast<char*>(word.c_str()));
  out.push_back(nullptr);
  return out;
}

// The words of a command line that makes a copy of msegctl act.
Arguments Command(const std::string& program, const Arguments& act) {
  Arguments words = {program, "selftest", "--act"};
  words.insert(words.end(), act.begin(), act.end());
  return words;
}

int Execute(const std::string& program, const Arguments& words) {
  execv(program.c_str(), Pointers(words).data());
  return kActNotTried;
}

int StatusOf(pid_t pid) {
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return kActNotTried;
  return WEXITSTATUS(status);
}

sockaddr_in Local(uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}

int Connected() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);  // inherited on purpose
  const sockaddr_in to = Local(kSelftestService);
  const timeval limit{.tv_sec = 2, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) return -1;
  return fd;
}

int UseDescriptor(int fd) {
  char byte = 'x';
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) return errno;
  return recv(fd, &byte, 1, 0) == 1 ? 0 : EPIPE;
}

int Inherit(const std::string& program) {
  const int fd = Connected();
  if (fd < 0) return kActNotTried;
  return Execute(program, Command(program, {"use", absl::StrCat(fd)}));
}

// Answers on a connection that somebody else accepted.
int Answer(int fd) {
  char byte = 0;
  if (recv(fd, &byte, 1, 0) != 1) return EPIPE;
  return send(fd, &byte, 1, MSG_NOSIGNAL) == 1 ? 0 : errno;
}

// Answers one connection to a socket that somebody else opened.
int Accept(int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  return fd < 0 ? errno : Answer(fd);
}

bool EnterCgroup(const std::string& cgroup) {
  std::ofstream procs(cgroup + "/cgroup.procs");
  return static_cast<bool>(procs << "0" << std::flush);
}

// Listens until `client`, started in `cgroup`, has connected, and leaves it to `program`: to
// accept, or accepted.
int HandOver(const std::string& program, const std::string& client, const std::string& cgroup,
             bool accepted) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);  // inherited on purpose
  const int on = 1;
  const sockaddr_in at = Local(kSelftestHanded);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0 || listen(fd, 8) != 0) {
    return kActNotTried;
  }
  if (fork() == 0) {
    if (!EnterCgroup(cgroup)) _exit(kActNotTried);
    close(fd);
    _exit(Execute(client, Command(client, {"handed"})));
  }
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, 10000) != 1) return kActNotTried;
  if (!accepted) return Execute(program, Command(program, {"accept", absl::StrCat(fd)}));
  const int connection = accept(fd, nullptr, nullptr);  // inherited on purpose
  if (connection < 0) return kActNotTried;
  return Execute(program, Command(program, {"answer", absl::StrCat(connection)}));
}

// Makes a pair, leaves one end to `program`, started in `cgroup`, and answers at the other.
int Pair(const std::string& program, const std::string& cgroup) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return kActNotTried;
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    if (!EnterCgroup(cgroup)) _exit(kActNotTried);
    _exit(Execute(program, Command(program, {"use", absl::StrCat(ends[1])})));
  }
  close(ends[1]);
  char byte = 0;
  const bool asked = read(ends[0], &byte, 1) == 1;
  if (asked && write(ends[0], &byte, 1) != 1) return kActNotTried;
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return kActNotTried;
  return WEXITSTATUS(status);
}

bool SendDescriptor(int channel, int fd) {
  char byte = 'x';
  iovec part{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  return sendmsg(channel, &message, 0) == 1;
}

int Receive(int channel) {
  char byte = 0;
  iovec part{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(channel, &message, 0) != 1) return errno == 0 ? EPIPE : errno;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  // The kernel leaves out what the receiver may not have.
  if (header == nullptr || header->cmsg_len < CMSG_LEN(sizeof(int))) return EPERM;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return UseDescriptor(fd);
}

// Gives its connection to a process of another program.
int Pass(const std::string& program) {
  int ends[2];
  const int fd = Connected();
  if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return kActNotTried;
  const pid_t child = fork();
  if (child == 0) {
    close(fd);
    _exit(Execute(program, Command(program, {"receive", absl::StrCat(ends[1])})));
  }
  if (!SendDescriptor(ends[0], fd)) return kActNotTried;
  return StatusOf(child);
}

// One exec: by a fork, by a vfork, or by a thread that is not the first.
int ExecuteOnce(const std::string& program, int how) {
  const Arguments words = Command(program, {"tcp"});
  const std::vector<char*> pointers = Pointers(words);
  const pid_t child = how == 1 ? vfork() : fork();
  if (child == 0) {
    if (how == 2) {
      std::thread thread([&]() { execv(program.c_str(), pointers.data()); });
      thread.join();
    } else {
      execv(program.c_str(), pointers.data());
    }
    _exit(kActNotTried);
  }
  return StatusOf(child);
}

// Many at once after each other: `any`, done if one is; `all`, done if all are.
int Race(const std::string& program, bool any) {
  int failed = 0;
  for (int i = 0; i < 15; i++) {
    const int status = ExecuteOnce(program, i % 3);
    if (any && status == 0) return 0;
    if (status != 0 && failed == 0) failed = status;
  }
  return failed;
}

bool CopyTo(const std::string& from, int to) {
  const int fd = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st {};
  if (fd < 0 || fstat(fd, &st) != 0) return false;
  off_t done = 0;
  while (done < st.st_size) {
    if (sendfile(to, fd, &done, static_cast<size_t>(st.st_size - done)) <= 0) return false;
  }
  close(fd);
  return true;
}

// Executes a file that has no name: a memfd, or one that was deleted.
int Nameless(const std::string& program, const std::string& place) {
  const Arguments words = Command(program, {"tcp"});
  int fd = -1;
  if (place.empty()) {
    fd = memfd_create("mseg-selftest", 0);
    if (fd < 0 || !CopyTo(program, fd)) return kActNotTried;
  } else {
    const int written = open(place.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (written < 0 || !CopyTo(program, written)) return kActNotTried;
    close(written);
    fd = open(place.c_str(), O_RDONLY | O_CLOEXEC);
    unlink(place.c_str());
  }
  fexecve(fd, Pointers(words).data(), environ);
  return kActNotTried;
}

bool OwnMounts() {
  return unshare(CLONE_NEWNS) == 0 && mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

int BindOver(const std::string& from, const std::string& over) {
  if (!OwnMounts() || mount(from.c_str(), over.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return kActNotTried;
  }
  return Execute(over, Command(over, {"tcp_soon"}));
}

bool Overwrite(const std::string& file, const std::string& with) {
  const int fd = open(file.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return false;
  const bool copied = CopyTo(with, fd);
  close(fd);
  return copied;
}

// LOWER/program through an overlay; with `instead`, written over there first (a copy-up).
int Overlay(const std::string& lower, const std::string& instead) {
  const std::string base = absl::StrCat(lower, ".overlay");
  if (!OwnMounts() || (mkdir(base.c_str(), 0755) != 0 && errno != EEXIST) ||
      mount("mseg-selftest", base.c_str(), "tmpfs", 0, "mode=755") != 0) {
    return kActNotTried;
  }
  for (const char* dir : {"/upper", "/work", "/merged"}) mkdir((base + dir).c_str(), 0755);
  const std::string merged = base + "/merged";
  const std::string options =
      absl::StrCat("lowerdir=", lower, ",upperdir=", base, "/upper,workdir=", base, "/work");
  if (mount("mseg-selftest", merged.c_str(), "overlay", 0, options.c_str()) != 0) {
    return errno == ENODEV ? ENODEV : kActNotTried;
  }
  const std::string program = merged + "/program";
  if (!instead.empty()) {
    // Known under its path and inode before its content changes.
    if (const int before = ExecuteOnce(program, 0); before == kActNotTried) return before;
    if (!Overwrite(program, instead)) return kActNotTried;
  }
  return Execute(program, Command(program, {"tcp_soon"}));
}

// The kernel connects to the service in our place. That is no SMB server: once it is reached, the
// mount fails after a while, whoever asks for it.
int MountSmb() {
  const std::string options =
      absl::StrCat("ip=127.0.0.1,port=", kSelftestService, ",vers=3.0,sec=none");
  if (!OwnMounts()) return kActNotTried;
  const pid_t child = fork();
  if (child == 0) {
    const bool done = mount("//127.0.0.1/x", "/mnt", "cifs", 0, options.c_str()) == 0;
    _exit(done ? 0 : errno);
  }
  for (int i = 0; i < 50; i++) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      const int error = WIFEXITED(status) ? WEXITSTATUS(status) : kActNotTried;
      const bool reached = error == EHOSTDOWN || error == EIO || error == EAGAIN;
      return reached ? 0 : error;
    }
    usleep(100 * 1000);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return 0;
}

// Executes a file with the content of `program` that a process of our own serves at `dir`.
int Served(const std::string& program, const std::string& dir, const std::string& act) {
  pid_t server = -1;
  if (!OwnMounts()) return kActNotTried;
  if (const int error = ServeOneFile(program, dir, &server); error != 0) return error;
  const std::string file = dir + "/program";
  const pid_t child = fork();
  if (child == 0) _exit(Execute(file, Command(file, {act})));
  const int status = StatusOf(child);
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  return status;
}

int Loader(const std::string& program) {
  for (const char* loader : {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"}) {
    if (access(loader, X_OK) != 0) continue;
    Arguments words = Command(program, {"tcp"});
    words.insert(words.begin(), loader);
    return Execute(loader, words);
  }
  return ENOENT;
}

bool IsMapped(const std::string& file) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (absl::EndsWith(line, file)) return true;
  }
  return false;
}

// Connects with somebody else's code in this process.
int Library(const std::string& library) {
  if (dlopen(library.c_str(), RTLD_NOW) == nullptr) {
    // It does not say why; whether its code may be mapped does.
    const int fd = open(library.c_str(), O_RDONLY | O_CLOEXEC);
    const bool mapped = mmap(nullptr, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED;
    return mapped ? kActNotTried : errno;
  }
  return IsMapped(library) ? ActTcp(kSelftestService) : kActNotTried;
}

int Preload(const std::string& library, const std::string& program) {
  if (setenv("LD_PRELOAD", library.c_str(), 1) != 0) return kActNotTried;
  return Execute(program, Command(program, {"preloaded", library}));
}

// EPERM: it is not there, because this was executed like a set-user-ID program, which it is not.
int Preloaded(const std::string& library) {
  if (IsMapped(library)) return 0;
  const bool changed_user = getuid() != geteuid() || getgid() != getegid();
  return getauxval(AT_SECURE) != 0 && !changed_user ? EPERM : EIO;
}

// What bash is told to do: by its command line, by its argument, or (`script`) by the kernel.
int Interpreter(const std::string& how, const std::string& script) {
  const pid_t child = fork();
  if (child == 0) {
    const std::string line =
        absl::StrCat("exec 3<>/dev/tcp/127.0.0.1/", kSelftestService, " 2>/dev/null");
    if (how == "line") execl("/bin/bash", "bash", "-c", line.c_str(), nullptr);
    if (how == "argument") execl("/bin/bash", "bash", script.c_str(), nullptr);
    if (how == "script") execl(script.c_str(), script.c_str(), nullptr);
    _exit(127);
  }
  const int status = StatusOf(child);
  return status == 127 ? ENOENT : status == 0 ? 0 : EPERM;
}

// A process that changes what /proc/PID/exe says. The kernel refuses that while the old file is
// mapped, so its mappings are replaced by copies first; mremap() does each in one step.
bool LeaveOwnFile() {
  char self[4096];
  const ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
  std::ifstream maps("/proc/self/maps");
  std::vector<std::array<unsigned long, 3>> own;
  std::string line;
  while (size > 0 && std::getline(maps, line)) {
    unsigned long start = 0;
    unsigned long end = 0;
    char perms[8];
    char path[4096] = "";
    const int fields =
        sscanf(line.c_str(), "%lx-%lx %7s %*s %*s %*s %4095s", &start, &end, perms, path);
    if (fields < 4 || std::string(path) != std::string(self, static_cast<size_t>(size))) continue;
    const int protection = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
                           (perms[2] == 'x' ? PROT_EXEC : 0);
    own.push_back({start, end, static_cast<unsigned long>(protection)});
  }
  for (const auto& [start, end, protection] : own) {
    const size_t length = end - start;
    void* copy = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return false;
    if ((protection & PROT_READ) != 0) {
      std::memcpy(copy, reinterpret_cast<const void*>(start), length);
    }
    if (mprotect(copy, length, static_cast<int>(protection)) != 0 ||
        mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
               reinterpret_cast<void*>(start)) == MAP_FAILED) {
      return false;
    }
  }
  return !own.empty();
}

int SwapExe(const std::string& program) {
  const int fd = open(program.c_str(), O_RDONLY | O_CLOEXEC);
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::vector<std::string> words(3);
  for (std::string word; fields >> word;) words.push_back(word);
  if (fd < 0 || words.size() < 52) return kActNotTried;
  auto number = [&words](size_t i) { return strtoull(words[i].c_str(), nullptr, 10); };
  prctl_mm_map map{};
  map.start_code = number(26);
  map.end_code = number(27);
  map.start_stack = number(28);
  map.start_data = number(45);
  map.end_data = number(46);
  map.start_brk = number(47);
  map.arg_start = number(48);
  map.arg_end = number(49);
  map.env_start = number(50);
  map.env_end = number(51);
  map.brk = reinterpret_cast<uint64_t>(sbrk(0));
  map.exe_fd = static_cast<uint32_t>(fd);
  if (!LeaveOwnFile() || prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0) != 0) {
    return kActNotTried;
  }
  close(fd);
  return ActTcp(kSelftestService);
}

}  // namespace

int RunExecAct(const std::string& name, const std::vector<std::string>& arguments) {
  auto argument = [&arguments](size_t i) {
    return i < arguments.size() ? arguments[i] : std::string();
  };
  if (name == "use") return UseDescriptor(atoi(argument(0).c_str()));
  if (name == "receive") return Receive(atoi(argument(0).c_str()));
  if (name == "inherit") return Inherit(argument(0));
  if (name == "accept") return Accept(atoi(argument(0).c_str()));
  if (name == "answer") return Answer(atoi(argument(0).c_str()));
  if (name == "hand_over" || name == "hand_accepted") {
    return HandOver(argument(0), argument(1), argument(2), name == "hand_accepted");
  }
  if (name == "pair") return Pair(argument(0), argument(1));
  if (name == "pass") return Pass(argument(0));
  if (name == "race") return Race(argument(0), argument(1) == "any");
  if (name == "nameless") return Nameless(argument(0), argument(1));
  if (name == "bind") return BindOver(argument(0), argument(1));
  if (name == "overlay") return Overlay(argument(0), argument(1));
  if (name == "mount_smb") return MountSmb();
  if (name == "served") return Served(argument(0), argument(1), argument(2));
  if (name == "loader") return Loader(argument(0));
  if (name == "library") return Library(argument(0));
  if (name == "preload") return Preload(argument(0), argument(1));
  if (name == "preloaded") return Preloaded(argument(0));
  if (name == "interpreter") return Interpreter(argument(0), argument(1));
  if (name == "swap") return SwapExe(argument(0));
  return RunWireAct(name, arguments);
}

}  // namespace mseg::ctl
