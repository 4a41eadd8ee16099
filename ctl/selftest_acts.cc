// SPDX-License-Identifier: Apache-2.0
// Acts of `selftest --bypass` that open, or try to open, a way to the service.
#include "ctl/selftest_acts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif

namespace mseg::ctl {
namespace {

constexpr int kMptcp = 262;

sockaddr_in Local4(uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}

sockaddr_in6 Local6(const char* address, uint16_t port) {
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(port);
  inet_pton(AF_INET6, address, &to.sin6_addr);
  return to;
}

template <typename Address>
const sockaddr* Generic(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

int Socket(int family, int type, int protocol = 0) {
  const int fd = socket(family, type | SOCK_CLOEXEC, protocol);
  // Nothing here may hang: a packet that is dropped on its way shows as a time-out.
  const timeval limit{.tv_sec = 2, .tv_usec = 0};
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  return fd;
}

// Done is only what came back.
int Exchange(int fd) {
  char byte = 'x';
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) return errno;
  const ssize_t got = recv(fd, &byte, 1, 0);
  return got == 1 ? 0 : got == 0 ? ECONNRESET : errno;
}

template <typename Address>
int Stream(int fd, const Address& to) {
  if (fd < 0) return errno;
  if (connect(fd, Generic(to), sizeof(to)) != 0) return errno == EINPROGRESS ? ETIMEDOUT : errno;
  return Exchange(fd);
}

template <typename Address>
int Datagram(int fd, const Address& to) {
  if (fd < 0) return errno;
  char byte = 'x';
  if (sendto(fd, &byte, 1, 0, Generic(to), sizeof(to)) != 1) return errno;
  return recv(fd, &byte, 1, 0) == 1 ? 0 : errno;
}

int FastOpen(bool by_connect) {
  const int fd = Socket(AF_INET, SOCK_STREAM);
  const sockaddr_in to = Local4(kSelftestService);
  const int on = 1;
  char byte = 'x';
  if (by_connect) {
    if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) != 0) return errno;
    return Stream(fd, to);
  }
  if (sendto(fd, &byte, 1, MSG_FASTOPEN | MSG_NOSIGNAL, Generic(to), sizeof(to)) != 1) {
    return errno == EINPROGRESS ? ETIMEDOUT : errno;
  }
  return recv(fd, &byte, 1, 0) == 1 ? 0 : errno;
}

int UdpRedirect() {
  const int fd = Socket(AF_INET, SOCK_DGRAM);
  const sockaddr_in lure = Local4(kSelftestLure);
  if (connect(fd, Generic(lure), sizeof(lure)) != 0) return kActNotTried;
  const sockaddr_in to = Local4(kSelftestService);
  char byte = 'x';
  // The answer would come from another address than the one it is connected to; being sent is
  // what counts.
  return sendto(fd, &byte, 1, 0, Generic(to), sizeof(to)) == 1 ? 0 : errno;
}

// An echo request, from a socket that may send nothing else, to an address of its choice.
int Ping(bool v6) {
  const int fd =
      v6 ? Socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6) : Socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  if (fd < 0) return errno;
  char request[8] = {};
  request[0] = static_cast<char>(v6 ? 128 : 8);
  const sockaddr_in to4 = Local4(0);
  const sockaddr_in6 to6 = Local6("::1", 0);
  const ssize_t sent = v6 ? sendto(fd, request, sizeof(request), 0, Generic(to6), sizeof(to6))
                          : sendto(fd, request, sizeof(request), 0, Generic(to4), sizeof(to4));
  return sent == sizeof(request) ? 0 : errno;
}

struct Ring {
  int fd = -1;
  io_uring_params params{};
  char* queue = nullptr;
  io_uring_sqe* entries = nullptr;
};

int OpenRing(uint32_t flags, Ring* ring) {
  ring->params.flags = flags;
  ring->fd = static_cast<int>(syscall(SYS_io_uring_setup, 4, &ring->params));
  if (ring->fd < 0) return errno;
  const size_t size = 16384;
  void* queue =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
  void* entries =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
  if (queue == MAP_FAILED || entries == MAP_FAILED) return kActNotTried;
  ring->queue = static_cast<char*>(queue);
  ring->entries = static_cast<io_uring_sqe*>(entries);
  return 0;
}

uint32_t* Word(const Ring& ring, uint32_t offset) {
  return reinterpret_cast<uint32_t*>(ring.queue + offset);
}

int UringConnect() {
  Ring ring;
  if (const int error = OpenRing(0, &ring); error != 0) return error;
  if ((ring.params.features & IORING_FEAT_SINGLE_MMAP) == 0) return kActNotTried;
  const int fd = Socket(AF_INET, SOCK_STREAM);
  const sockaddr_in to = Local4(kSelftestService);
  io_uring_sqe& entry = ring.entries[0];
  entry = {};
  entry.opcode = IORING_OP_CONNECT;
  entry.fd = fd;
  entry.addr = reinterpret_cast<uint64_t>(&to);
  entry.off = sizeof(to);
  Word(ring, ring.params.sq_off.array)[0] = 0;
  __atomic_store_n(Word(ring, ring.params.sq_off.tail), 1, __ATOMIC_RELEASE);
  if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) < 0) {
    return errno;
  }
  const auto* done = reinterpret_cast<io_uring_cqe*>(ring.queue + ring.params.cq_off.cqes);
  return done->res < 0 ? -done->res : Exchange(fd);
}

int Sqpoll() {
  Ring ring;
  return OpenRing(IORING_SETUP_SQPOLL, &ring);
}

// Every family, type and protocol of the list; done if one of them is, else how the first that this
// kernel knows was refused.
int AnySocket(const std::vector<std::string>& kinds) {
  int refused = 0;
  int missing = EAFNOSUPPORT;
  for (size_t i = 0; i + 2 < kinds.size(); i += 3) {
    const int fd =
        Socket(atoi(kinds[i].c_str()), atoi(kinds[i + 1].c_str()), atoi(kinds[i + 2].c_str()));
    if (fd >= 0) return 0;
    const bool unknown = errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT ||
                         errno == ESOCKTNOSUPPORT || errno == EINVAL;
    if (unknown) {
      missing = errno;
    } else if (refused == 0) {
      refused = errno;
    }
  }
  return refused != 0 ? refused : missing;
}

int Tun() {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) return errno;
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  return ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : errno;
}

int MoveThenConnect(const std::string& cgroup) {
  const int fd = Socket(AF_INET, SOCK_STREAM);
  std::ofstream procs(cgroup + "/cgroup.procs");
  if (!(procs << "0" << std::flush)) return kActNotTried;
  return Stream(fd, Local4(kSelftestService));
}

int OtherNamespace() {
  if (unshare(CLONE_NEWUSER) != 0) return kActNotTried;
  return ActTcp(kSelftestService);
}

int Flood() {
  for (int i = 0; i < 2000; i++) {
    const int fd = Socket(AF_INET, SOCK_STREAM);
    const sockaddr_in to = Local4(static_cast<uint16_t>(20000 + i));
    if (connect(fd, Generic(to), sizeof(to)) == 0) return kActNotTried;
    close(fd);
  }
  return ActTcp(kSelftestService);
}

int Trace(pid_t pid) {
  if (ptrace(PTRACE_ATTACH, pid, nullptr, nullptr) != 0) return errno;
  waitpid(pid, nullptr, __WALL);
  ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  return 0;
}

// A descriptor of what is pinned there, or -1.
int OpenPin(const std::string& path) {
  bpf_attr attr{};
  attr.pathname = reinterpret_cast<uint64_t>(path.c_str());
  return static_cast<int>(syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr)));
}

int DetachLink(const std::string& path) {
  bpf_attr attr{};
  const int fd = OpenPin(path);
  if (fd < 0) return errno;
  attr.link_detach.link_fd = static_cast<uint32_t>(fd);
  return syscall(SYS_bpf, BPF_LINK_DETACH, &attr, sizeof(attr)) == 0 ? 0 : errno;
}

// A program that lets every packet pass.
int LoadProgram() {
  const bpf_insn code[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  bpf_attr attr{};
  attr.prog_type = BPF_PROG_TYPE_CGROUP_SKB;
  attr.insn_cnt = 2;
  attr.insns = reinterpret_cast<uint64_t>(code);
  attr.license = reinterpret_cast<uint64_t>("Dual BSD/GPL");
  return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) >= 0 ? 0 : errno;
}

int Stop(pid_t pid) {
  if (kill(pid, SIGSTOP) != 0) return errno;
  return kill(pid, SIGCONT) == 0 ? 0 : errno;
}

sockaddr_un LocalPath(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof(to.sun_path) - 1);
  return to;
}

// One datagram, which is not answered.
int UnixDatagram(const std::string& path) {
  const int fd = Socket(AF_UNIX, SOCK_DGRAM);
  const sockaddr_un to = LocalPath(path);
  char byte = 'x';
  return sendto(fd, &byte, 1, 0, Generic(to), sizeof(to)) == 1 ? 0 : errno;
}

int UnixListener(int type, const std::string& path) {
  const int fd = Socket(AF_UNIX, type);
  const sockaddr_un at = LocalPath(path);
  if (bind(fd, Generic(at), sizeof(at)) != 0) return -1;
  return type == SOCK_STREAM && listen(fd, 64) != 0 ? -1 : fd;
}

int Listener(int type, uint16_t port) {
  const int fd = Socket(AF_INET6, type);
  const int off = 0;
  const int on = 1;
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const sockaddr_in6 any = Local6("::", port);
  if (bind(fd, Generic(any), sizeof(any)) != 0) return -1;
  const int queue = 64;
  if (type == SOCK_STREAM) {
    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue));
    if (listen(fd, queue) != 0) return -1;
  }
  return fd;
}

void Echo(const pollfd& ready) {
  char bytes[64];
  sockaddr_in6 from{};
  socklen_t size = sizeof(from);
  const ssize_t got =
      recvfrom(ready.fd, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&from), &size);
  if (got > 0) {
    sendto(ready.fd, bytes, static_cast<size_t>(got), MSG_NOSIGNAL,
           size == 0 ? nullptr : Generic(from), size);
  }
}

// Where to listen: `t` or `u` and a port, `x` (stream) or `y` and a path.
int ListenerAt(const std::string& place) {
  const std::string where = place.substr(1);
  if (place[0] == 'x') return UnixListener(SOCK_STREAM, where);
  if (place[0] == 'y') return UnixListener(SOCK_DGRAM, where);
  return Listener(place[0] == 't' ? SOCK_STREAM : SOCK_DGRAM,
                  static_cast<uint16_t>(atoi(where.c_str())));
}

// Answers what it is sent, until it is killed.
int Serve(const std::vector<std::string>& ports) {
  std::vector<pollfd> fds;
  const size_t listening = ports.size();
  for (const std::string& port : ports) {
    const int fd = ListenerAt(port);
    if (fd < 0) return errno;
    fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  }
  if (write(1, "ready", 5) != 5) return EPIPE;
  while (poll(fds.data(), fds.size(), -1) > 0) {
    for (size_t i = 0; i < fds.size(); i++) {
      if (fds[i].revents == 0) continue;
      if (i < listening && (ports[i][0] == 't' || ports[i][0] == 'x')) {
        const int fd = accept4(fds[i].fd, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
      } else if ((fds[i].revents & (POLLHUP | POLLERR)) != 0 && i >= listening) {
        close(fds[i].fd);
        fds[i].fd = -1;
      } else {
        Echo(fds[i]);
      }
    }
  }
  return errno;
}

// Connects, says so, and tries its connection when it is told to.
int Hold() {
  const int fd = Socket(AF_INET, SOCK_STREAM);
  const int error = Stream(fd, Local4(kSelftestService));
  char byte = 0;
  if (error != 0) return kActNotTried;
  if (write(1, "ready", 5) != 5 || read(0, &byte, 1) < 0) return kActNotTried;
  const int after = Exchange(fd);
  return after == 0 ? 0 : EPERM;
}

int Sleep() {
  if (write(1, "ready", 5) != 5) return EPIPE;
  pause();
  return 0;
}

// For a file in mounts of its own: it is read while the process lives that executed it, and that
// takes a moment.
int ActTcpSoon(uint16_t port) {
  int status = ActTcp(port);
  for (int i = 0; i < 20 && status == EPERM; i++) {
    usleep(100 * 1000);
    status = ActTcp(port);
  }
  return status;
}

}  // namespace

int ActTcp(uint16_t port, uint32_t address) {
  sockaddr_in to = Local4(port);
  to.sin_addr.s_addr = htonl(address);
  return Stream(Socket(AF_INET, SOCK_STREAM), to);
}

int RunAct(const std::string& name, const std::vector<std::string>& arguments) {
  const uint16_t port = kSelftestService;
  const std::string first = arguments.empty() ? "" : arguments.front();
  signal(SIGPIPE, SIG_IGN);
  if (name == "tcp") return ActTcp(port);
  if (name == "tcp_soon") return ActTcpSoon(port);
  if (name == "squatted") return ActTcp(kSelftestSquat);
  if (name == "handed") return ActTcp(kSelftestHanded);
  if (name == "tcp6") return Stream(Socket(AF_INET6, SOCK_STREAM), Local6("::1", port));
  if (name == "mapped_tcp") {
    return Stream(Socket(AF_INET6, SOCK_STREAM), Local6("::ffff:127.0.0.1", port));
  }
  if (name == "mapped_udp") {
    return Datagram(Socket(AF_INET6, SOCK_DGRAM), Local6("::ffff:127.0.0.1", port));
  }
  if (name == "udp") return Datagram(Socket(AF_INET, SOCK_DGRAM), Local4(port));
  if (name == "lure") return Datagram(Socket(AF_INET, SOCK_DGRAM), Local4(kSelftestLure));
  if (name == "udp_redirect") return UdpRedirect();
  if (name == "fastopen") return FastOpen(false);
  if (name == "fastopen_connect") return FastOpen(true);
  if (name == "mptcp") return Stream(Socket(AF_INET, SOCK_STREAM, kMptcp), Local4(port));
  if (name == "uring") return UringConnect();
  if (name == "sqpoll") return Sqpoll();
  if (name == "socket") return AnySocket(arguments);
  if (name == "ping") return Ping(first == "6");
  if (name == "tun") return Tun();
  if (name == "load_program") return LoadProgram();
  if (name == "unix") return Stream(Socket(AF_UNIX, SOCK_STREAM), LocalPath(first));
  if (name == "unix_datagram") return UnixDatagram(first);
  if (name == "open_map") return OpenPin(first) >= 0 ? 0 : errno;
  if (name == "detach") return DetachLink(first);
  if (name == "unpin") return unlink(first.c_str()) == 0 ? 0 : errno;
  if (name == "write") return open(first.c_str(), O_WRONLY | O_CLOEXEC) >= 0 ? 0 : errno;
  if (name == "stop") return Stop(atoi(first.c_str()));
  if (name == "move") return MoveThenConnect(first);
  if (name == "userns") return OtherNamespace();
  if (name == "flood") return Flood();
  if (name == "trace") return Trace(atoi(first.c_str()));
  if (name == "serve") return Serve(arguments);
  if (name == "hold") return Hold();
  if (name == "sleep") return Sleep();
  return RunExecAct(name, arguments);
}

}  // namespace mseg::ctl
