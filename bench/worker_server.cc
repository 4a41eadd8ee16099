// SPDX-License-Identifier: Apache-2.0
// The server of an arm: a thread for every way to be asked.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "bench/worker.h"

namespace mseg::bench {
namespace {

sockaddr_in AddressOf(const std::string& address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  inet_pton(AF_INET, address.c_str(), &out.sin_addr);
  return out;
}

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  _exit(1);
}

int Bound(const std::string& address, uint16_t port, int type) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const int one = 1;
  const sockaddr_in at = AddressOf(address, port);
  if (fd < 0) Die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (port == kPortMany) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) Die("bind");
  if (type == SOCK_STREAM && listen(fd, 1024) != 0) Die("listen");
  return fd;
}

// Answers every request with as many bytes until the other side closes.
void Answer(int connection) {
  char buffer[4096];
  for (;;) {
    const ssize_t n = recv(connection, buffer, sizeof(buffer), 0);
    if (n <= 0 || send(connection, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) != n) return;
  }
}

// A byte for every MiB that was read.
void Drain(int connection) {
  std::vector<char> buffer(1 << 18);
  uint64_t read = 0, told = 0;
  for (;;) {
    const ssize_t n = recv(connection, buffer.data(), buffer.size(), 0);
    if (n <= 0) return;
    read += static_cast<uint64_t>(n);
    for (; told < read >> 20; told++) {
      if (send(connection, "m", 1, MSG_NOSIGNAL) != 1) return;
    }
  }
}

void Accept(int listener, void (*serve)(int)) {
  for (;;) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    const int one = 1;
    if (serve == Drain) setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    serve(connection);
    close(connection);
  }
}

void Echo(int fd) {
  char buffer[4096];
  for (;;) {
    sockaddr_in from{};
    socklen_t size = sizeof(from);
    const ssize_t n =
        recvfrom(fd, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (n > 0) {
      sendto(fd, buffer, static_cast<size_t>(n), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }
}

void UseAllProcessors() {
  cpu_set_t set;
  memset(&set, 0xff, sizeof(set));
  sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace

int ServerMain(const std::string& address) {
  std::vector<std::thread> threads;
  threads.emplace_back(Accept, Bound(address, kPortConnect, SOCK_STREAM), Answer);
  threads.emplace_back(Accept, Bound(address, kPortRequest, SOCK_STREAM), Answer);
  threads.emplace_back(Accept, Bound(address, kPortStream, SOCK_STREAM), Drain);
  threads.emplace_back(Echo, Bound(address, kPortUdp, SOCK_DGRAM));
  for (uint32_t i = 0; i < kManyThreads; i++) {
    const int listener = Bound(address, kPortMany, SOCK_STREAM);
    threads.emplace_back([listener] {
      UseAllProcessors();
      Accept(listener, Answer);
    });
  }
  if (send(kWorkerSocket, "r", 1, MSG_NOSIGNAL) != 1) return 1;
  // The other end's close is the end of the work.
  char byte = 0;
  while (recv(kWorkerSocket, &byte, 1, 0) > 0) {
  }
  _exit(0);
}

}  // namespace mseg::bench
