// SPDX-License-Identifier: Apache-2.0
// Connects to 127.0.0.1:PORT again and again, at RATE attempts a second, and counts what happens.
//
//   e2e_churn PORT RATE [COUNT [PORTS]]  until SIGTERM or COUNT attempts, at so many ports in turn;
//                                        prints one JSON object then
//   e2e_churn --serve PORT       accepts and closes, for ever
//
// Each attempt is a whole connection: connect, the server's byte, close by the server first (so
// that TIME_WAIT is there and the client's ports last).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

volatile sig_atomic_t stop = 0;

sockaddr_in Address(const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(atoi(port)));
  return address;
}

int Die(const char* what) {
  fprintf(stderr, "e2e_churn: %s: %s\n", what, strerror(errno));
  return 2;
}

int Serve(const char* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  const sockaddr_in address = Address(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, 4096) != 0) {
    return Die("listen");
  }
  for (;;) {
    const int peer = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (peer < 0) continue;
    if (write(peer, "x", 1) < 0) Die("write");
    close(peer);
  }
}

// 0, or the errno of the step that failed.
int Connect(const sockaddr_in& to) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  int error = 0;
  char byte = 0;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    error = errno;
  } else if (const ssize_t n = read(fd, &byte, 1); n != 1) {
    error = n < 0 ? errno : ECONNRESET;
  }
  close(fd);
  return error;
}

int Churn(const char* port, double rate, uint64_t limit, uint64_t ports) {
  struct sigaction action {};
  action.sa_handler = [](int) { stop = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  sockaddr_in to = Address(port);
  const uint16_t first = ntohs(to.sin_port);
  std::map<int, uint64_t> errors;
  uint64_t attempts = 0, ok = 0;
  double slowest = 0;
  const auto start = Clock::now();
  while (!stop && attempts < limit) {
    // Paced from the start: after a pause it catches up, so that the mean rate holds.
    const auto due = start + std::chrono::duration<double>(static_cast<double>(attempts) / rate);
    std::this_thread::sleep_until(due);
    to.sin_port = htons(static_cast<uint16_t>(first + attempts % ports));
    const auto before = Clock::now();
    const int error = Connect(to);
    if (error == EINTR && stop) break;  // told to stop in the middle of it: no answer, no attempt
    slowest = std::max(slowest, std::chrono::duration<double>(Clock::now() - before).count());
    attempts++;
    if (error == 0) {
      ok++;
    } else {
      errors[error]++;
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::string list;
  for (const auto& [error, count] : errors) {
    list += (list.empty() ? "\"" : ", \"") + std::string(strerrorname_np(error)) +
            "\": " + std::to_string(count);
  }
  printf(
      "{\"attempts\": %llu, \"ok\": %llu, \"errors\": {%s}, \"seconds\": %.2f, "
      "\"rate\": %.0f, \"slowest_ms\": %.1f}\n",
      static_cast<unsigned long long>(attempts), static_cast<unsigned long long>(ok), list.c_str(),
      seconds, static_cast<double>(attempts) / seconds, slowest * 1000);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc == 3 && strcmp(argv[1], "--serve") == 0) return Serve(argv[2]);
  const auto number = [&](int at, uint64_t otherwise) {
    return argc > at ? strtoull(argv[at], nullptr, 10) : otherwise;
  };
  if (argc >= 3 && argc <= 5 && atof(argv[2]) > 0 && number(4, 1) > 0) {
    return Churn(argv[1], atof(argv[2]), number(3, UINT64_MAX), number(4, 1));
  }
  fprintf(stderr, "usage: e2e_churn PORT RATE [COUNT [PORTS]] | --serve PORT\n");
  return 2;
}
