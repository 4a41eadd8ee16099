// SPDX-License-Identifier: Apache-2.0
// The client of an arm: does one slice of work at a time.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/worker.h"

namespace mseg::bench {
namespace {

constexpr size_t kRequestBytes = 64;
constexpr size_t kChunk = 1 << 18;  // of a stream; four are a MiB

class Client {
 public:
  explicit Client(const std::string& address) {
    address_.sin_family = AF_INET;
    inet_pton(AF_INET, address.c_str(), &address_.sin_addr);
  }

  void Do(const Slice& slice, Outcome* out);

 private:
  sockaddr_in To(uint32_t port) const {
    sockaddr_in to = address_;
    to.sin_port = htons(static_cast<uint16_t>(port));
    return to;
  }
  // 0, or the errno of what failed.
  int Connected(int type, uint32_t port, int* fd) const;
  int Connect(uint32_t port) const;
  int ConnectGives(const Slice& slice) const;
  int Refused(const Slice& slice);
  int Exchange(int fd) const;
  int Request();
  int Stream();
  int Udp(bool connected);
  int UdpOnce() const;
  int Exec(bool exec) const;
  int One(const Slice& slice);
  void Until(const Slice& slice, Outcome* out);
  void Many(const Slice& slice, Outcome* out);
  void Watch(const Slice& slice, Outcome* out) const;
  void Rate(const Slice& slice, Outcome* out);
  // What a slice left in flight.
  void Settle();

  sockaddr_in address_{};
  int request_ = -1, stream_ = -1, udp_connected_ = -1, udp_ = -1, refused_ = -1;
  uint64_t chunks_ = 0, told_ = 0;
  std::vector<char> bulk_ = std::vector<char>(kChunk);
};

int Client::Connected(int type, uint32_t port, int* fd) const {
  const sockaddr_in to = To(port);
  *fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  if (*fd < 0) return errno;
  if (connect(*fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) return 0;
  const int error = errno;
  close(*fd);
  *fd = -1;
  return error;
}

int Client::Exchange(int fd) const {
  char buffer[kRequestBytes] = {};
  if (send(fd, buffer, sizeof(buffer), MSG_NOSIGNAL) < 0) return errno;
  const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
  return n > 0 ? 0 : n == 0 ? ECONNRESET : errno;
}

int Client::Connect(uint32_t port) const {
  int fd = -1;
  if (const int error = Connected(SOCK_STREAM, port, &fd); error != 0) return error;
  const int error = Exchange(fd);
  close(fd);
  return error;
}

int Client::ConnectGives(const Slice& slice) const {
  const sockaddr_in to = To(slice.port);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  // EINPROGRESS: nobody answers in this time.
  const timeval patience{.tv_sec = 0, .tv_usec = 200'000};
  if (slice.want == EINPROGRESS) {
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  }
  const int error =
      connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 ? 0 : errno;
  close(fd);
  return error == slice.want ? 0 : error == 0 ? EISCONN : error;
}

// connect() alone: a socket that was refused can be used again.
int Client::Refused(const Slice& slice) {
  if (slice.want != EPERM && slice.want != ECONNREFUSED) return ConnectGives(slice);
  if (refused_ < 0) refused_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in to = To(slice.port);
  if (connect(refused_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return errno == slice.want ? 0 : errno;
  }
  close(std::exchange(refused_, -1));
  return EISCONN;
}

int Client::Request() {
  if (request_ < 0) {
    if (const int error = Connected(SOCK_STREAM, kPortRequest, &request_); error != 0) return error;
    const int one = 1;
    setsockopt(request_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  }
  return Exchange(request_);
}

// A MiB more on its way; at most four of them unread.
int Client::Stream() {
  if (stream_ < 0) {
    if (const int error = Connected(SOCK_STREAM, kPortStream, &stream_); error != 0) return error;
  }
  for (size_t i = 0; i < (1 << 20) / kChunk; i++, chunks_++) {
    for (size_t done = 0; done < kChunk;) {
      const ssize_t n = send(stream_, bulk_.data() + done, kChunk - done, MSG_NOSIGNAL);
      if (n < 0) return errno;
      done += static_cast<size_t>(n);
    }
  }
  char told[64];
  while ((chunks_ * kChunk >> 20) - told_ > 4) {
    const ssize_t n = recv(stream_, told, sizeof(told), 0);
    if (n <= 0) return n < 0 ? errno : ECONNRESET;
    told_ += static_cast<uint64_t>(n);
  }
  return 0;
}

void Client::Settle() {
  char told[64];
  while (stream_ >= 0 && told_ < chunks_ * kChunk >> 20) {
    const ssize_t n = recv(stream_, told, sizeof(told), 0);
    if (n <= 0) return;
    told_ += static_cast<uint64_t>(n);
  }
}

int Client::Udp(bool connected) {
  char buffer[kRequestBytes] = {};
  const sockaddr_in to = To(kPortUdp);
  if (connected) {
    if (udp_connected_ < 0) {
      if (const int error = Connected(SOCK_DGRAM, kPortUdp, &udp_connected_); error != 0) {
        return error;
      }
    }
    return Exchange(udp_connected_);
  }
  if (udp_ < 0) udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sendto(udp_, buffer, sizeof(buffer), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) <
      0) {
    return errno;
  }
  return recv(udp_, buffer, sizeof(buffer), 0) > 0 ? 0 : errno;
}

int Client::UdpOnce() const {
  int fd = -1;
  if (const int error = Connected(SOCK_DGRAM, kPortUdp, &fd); error != 0) return error;
  const int error = Exchange(fd);
  close(fd);
  return error;
}

int Client::Exec(bool exec) const {
  char program[] = "/bin/true";
  char* const argv[] = {program, nullptr};
  char* const environment[] = {nullptr};
  const pid_t pid = exec ? vfork() : fork();
  if (pid < 0) return errno;
  if (pid == 0) {
    if (exec) execve(program, argv, environment);
    _exit(exec ? 127 : 0);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0 ? 0 : ENOEXEC;
}

int Client::One(const Slice& slice) {
  switch (slice.work) {
    case Work::kConnect:
      return Connect(kPortConnect);
    case Work::kRefused:
      return Refused(slice);
    case Work::kRequest:
      return Request();
    case Work::kStream:
      return Stream();
    case Work::kUdpConnected:
    case Work::kUdpUnconnected:
      return Udp(slice.work == Work::kUdpConnected);
    case Work::kUdpExchange:
      return UdpOnce();
    case Work::kExec:
    case Work::kFork:
      return Exec(slice.work == Work::kExec);
    default:
      return EINVAL;
  }
}

void Fail(int error, Outcome* out) {
  if (error == 0) return;
  if (out->failures++ == 0) out->error = error;
}

void Client::Until(const Slice& slice, Outcome* out) {
  const uint64_t end = NowNs() + slice.max_ns;
  Histogram latency;
  uint64_t before = NowNs();
  // At least one, however slow. Failures end it: what hangs or is refused is no measurement.
  do {
    Fail(One(slice), out);
    const uint64_t now = NowNs();
    latency.Add(now - before);
    before = now;
    out->ops++;
  } while (before < end && out->ops < slice.max_ops && out->failures == 0);
  Settle();
  memcpy(out->latency, latency.counts().data(), sizeof(out->latency));
}

void Client::Many(const Slice& slice, Outcome* out) {
  std::vector<Outcome> outcomes(kManyThreads);
  std::vector<std::thread> threads;
  for (Outcome& mine : outcomes) {
    threads.emplace_back([this, &mine, end = NowNs() + slice.max_ns] {
      cpu_set_t all;
      memset(&all, 0xff, sizeof(all));
      sched_setaffinity(0, sizeof(all), &all);
      Histogram latency;
      for (uint64_t before = NowNs(); before < end && mine.failures == 0;) {
        Fail(Connect(kPortMany), &mine);
        const uint64_t now = NowNs();
        latency.Add(now - before);
        before = now;
        mine.ops++;
      }
      memcpy(mine.latency, latency.counts().data(), sizeof(mine.latency));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Outcome& mine : outcomes) {
    out->ops += mine.ops;
    if (mine.failures > 0) Fail(mine.error, out);
    for (size_t i = 0; i < Histogram::kBuckets; i++) out->latency[i] += mine.latency[i];
  }
}

// Looks often, and leaves the processors to what it waits for.
void Client::Watch(const Slice& slice, Outcome* out) const {
  constexpr timespec kPause = {.tv_sec = 0, .tv_nsec = 200'000};
  const uint64_t end = NowNs() + slice.max_ns;
  for (uint64_t now = NowNs(); now < end; now = NowNs()) {
    out->ops++;
    if (ConnectGives(slice) == 0) {
      out->at_ns = NowNs();
      return;
    }
    nanosleep(&kPause, nullptr);
  }
  Fail(ETIMEDOUT, out);
}

void Client::Rate(const Slice& slice, Outcome* out) {
  Slice one = slice;
  const uint64_t start = NowNs();
  constexpr uint64_t kBurst = 32;
  while (out->ops < slice.max_ops && NowNs() - start < 2 * slice.max_ns) {
    const uint64_t due = start + slice.max_ns * out->ops / slice.max_ops;
    if (NowNs() < due) continue;
    for (uint64_t i = 0; i < kBurst && out->ops < slice.max_ops; i++, out->ops++) {
      one.port = slice.port + static_cast<uint32_t>(out->ops % slice.ports);
      Fail(Refused(one), out);
    }
  }
}

void Client::Do(const Slice& slice, Outcome* out) {
  switch (slice.work) {
    case Work::kConnectMany:
      return Many(slice, out);
    case Work::kWatch:
      return Watch(slice, out);
    case Work::kRate:
      return Rate(slice, out);
    default:
      return Until(slice, out);
  }
}

// exec and fork are judged by wall time: the CPU time of children comes only in ticks.
uint64_t OwnCpuNs() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

}  // namespace

int ClientMain(const std::string& address, pid_t server) {
  Client client(address);
  if (send(kWorkerSocket, "r", 1, MSG_NOSIGNAL) != 1) return 1;
  Slice slice;
  Outcome out;
  while (recv(kWorkerSocket, &slice, sizeof(slice), 0) == sizeof(slice)) {
    out = Outcome();
    const uint64_t server_before = ProcessCpuNs(server), mine_before = OwnCpuNs();
    const uint64_t start = NowNs();
    client.Do(slice, &out);
    out.wall_ns = NowNs() - start;
    out.client_cpu_ns = OwnCpuNs() - mine_before;
    out.server_cpu_ns = ProcessCpuNs(server) - server_before;
    if (send(kWorkerSocket, &out, sizeof(out), MSG_NOSIGNAL) != sizeof(out)) return 1;
  }
  return 0;
}

}  // namespace mseg::bench
