// SPDX-License-Identifier: Apache-2.0
#include "bench/worker.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

constexpr char kReady = 'r';
constexpr int kStartMs = 20000;

// Waits for a message; false when the other side is gone, or silent for too long.
absl::Status Await(int socket, uint64_t patience_ns) {
  const uint64_t end = NowNs() + patience_ns;
  pollfd wait{.fd = socket, .events = POLLIN, .revents = 0};
  while (!Interrupted()) {
    const uint64_t now = NowNs();
    if (now >= end) return absl::DeadlineExceededError("the worker does not answer");
    const int ms = static_cast<int>(std::min<uint64_t>((end - now) / 1'000'000 + 1, 500));
    if (poll(&wait, 1, ms) > 0) return absl::OkStatus();
  }
  return InterruptedStatus();
}

std::string Tail(const std::string& log) {
  auto text = ReadWhole(log);
  if (!text.ok()) return "";
  return text->size() > 400 ? text->substr(text->size() - 400) : *text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(std::vector<std::string> arguments,
                                                      const Place& place, const std::string& log) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "make a socket pair");
  }
  auto out = std::make_unique<Worker>();
  out->log_ = log;
  out->socket_ = ScopedFd(ends[0]);
  ScopedFd theirs(ends[1]);
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (length < 0) return ErrnoStatus(errno, "read /proc/self/exe");
  arguments.insert(arguments.begin(), {std::string(self, static_cast<size_t>(length)), "worker"});
  // How many page tables a fork copies depends on where things happen to lie.
  Place fixed = place;
  fixed.fixed_layout = true;
  auto child = Child::Start(arguments, fixed, log, theirs.get());
  if (!child.ok()) return child.status();
  out->child_ = *std::move(child);
  theirs.Reset();
  if (const absl::Status status = Await(out->socket_.get(), kStartMs * 1'000'000ull);
      !status.ok()) {
    return status;
  }
  char byte = 0;
  if (recv(out->socket_.get(), &byte, 1, 0) != 1 || byte != kReady) {
    return absl::InternalError(absl::StrCat("a worker does not start: ", Tail(log)));
  }
  return out;
}

absl::StatusOr<std::unique_ptr<Worker>> Worker::StartServer(const Place& place,
                                                            const std::string& address,
                                                            const std::string& log) {
  return Start({"server", address}, place, log);
}

absl::StatusOr<std::unique_ptr<Worker>> Worker::StartClient(const Place& place,
                                                            const std::string& address,
                                                            pid_t server, const std::string& log) {
  return Start({"client", address, absl::StrCat(server)}, place, log);
}

absl::Status Worker::Begin(const Slice& slice) const {
  if (send(socket_.get(), &slice, sizeof(slice), MSG_NOSIGNAL) != sizeof(slice)) {
    return absl::InternalError(absl::StrCat("a worker is gone: ", Tail(log_)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Outcome> Worker::End(uint64_t patience_ns) const {
  if (const absl::Status status = Await(socket_.get(), patience_ns); !status.ok()) return status;
  Outcome outcome;
  if (recv(socket_.get(), &outcome, sizeof(outcome), 0) != sizeof(outcome)) {
    return absl::InternalError(absl::StrCat("a worker ended in a slice: ", Tail(log_)));
  }
  return outcome;
}

absl::StatusOr<Outcome> Worker::Run(const Slice& slice, uint64_t patience_ns) const {
  if (const absl::Status status = Begin(slice); !status.ok()) return status;
  return End(patience_ns);
}

int WorkerMain(int argc, char** argv) {
  if (argc >= 2 && strcmp(argv[0], "server") == 0) return ServerMain(argv[1]);
  if (argc >= 3 && strcmp(argv[0], "client") == 0) return ClientMain(argv[1], atoi(argv[2]));
  return 2;
}

}  // namespace mseg::bench
