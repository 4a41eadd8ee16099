// SPDX-License-Identifier: Apache-2.0
// The socket: who may have it, who may speak through it, and how much fits.
#include <kj/async-io.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "ctl/client.h"
#include "ctl_fixture.h"

namespace mseg {
namespace {

sockaddr_un Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// A bound socket that nobody listens on any more, as a killed daemon leaves it.
void LeaveStaleSocket(const std::string& path) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = Address(path);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  close(fd);
}

absl::Status StartAndStop(FakeService& service, const std::string& path) {
  return RpcServer::StartThread(service, {.socket_path = path}).status();
}

TEST_CASE("the socket is 0600 and goes away with the server", "[rpc]") {
  std::string path;
  struct stat found;
  {
    mode_t before = umask(0);
    CtlHost host;
    umask(before);
    path = host.socket_path();
    REQUIRE(stat(path.c_str(), &found) == 0);
    CHECK(S_ISSOCK(found.st_mode));
    CHECK((found.st_mode & 0777) == 0600);
  }
  CHECK(stat(path.c_str(), &found) != 0);
}

TEST_CASE("a live daemon's socket is refused, a dead one's replaced", "[rpc]") {
  CtlHost host;
  FakeService other;
  absl::Status live = StartAndStop(other, host.socket_path());
  CHECK(live.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(host.Run({"status"}).code == 0);

  std::string stale = host.directory() + "/stale.sock";
  LeaveStaleSocket(stale);
  CHECK(StartAndStop(other, stale).ok());

  std::string file = host.directory() + "/file";
  std::ofstream(file) << "precious";
  CHECK(StartAndStop(other, file).code() == absl::StatusCode::kFailedPrecondition);
  CHECK(std::ifstream(file).get() == 'p');

  CHECK(StartAndStop(other, host.directory() + "/no/dir.sock").code() ==
        absl::StatusCode::kFailedPrecondition);
  CHECK(StartAndStop(other, std::string(108, 'x')).code() == absl::StatusCode::kInvalidArgument);
  CHECK(StartAndStop(other, "").code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("someone who does not know of the lock keeps the socket too", "[rpc]") {
  CtlHost host;
  std::string path = host.directory() + "/foreign.sock";
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = Address(path);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(fd, 1) == 0);
  FakeService other;
  CHECK(StartAndStop(other, path).code() == absl::StatusCode::kFailedPrecondition);
  close(fd);
}

TEST_CASE("a server in a loop that exists", "[rpc]") {
  CtlHost host;  // for its directory
  std::string path = host.directory() + "/loop.sock";
  FakeService service;
  auto io = kj::setupAsyncIo();
  auto server = RpcServer::Create(io, service, {.socket_path = path});
  REQUIRE(server.ok());
  CtlResult result;
  auto done = kj::newPromiseAndFulfiller<void>();
  const kj::Executor& executor = kj::getCurrentThreadExecutor();
  std::thread client([&]() {
    result = RunCtl(path, {"status"});
    executor.executeSync([&]() { done.fulfiller->fulfill(); });
  });
  done.promise.wait(io.waitScope);
  client.join();
  CHECK(result.code == 0);
}

TEST_CASE("one thread speaks to two daemons in turn, and to another one later", "[rpc]") {
  CtlHost near;
  CtlHost far;
  near.service.fail = absl::NotFoundError("near");
  far.service.fail = absl::NotFoundError("far");
  auto name_of = [](api::Service& daemon) {
    return std::string(daemon.GetStatus().status().message());
  };
  {
    auto first = ctl::Connect(near.socket_path());
    auto second = ctl::Connect(far.socket_path());
    REQUIRE(first.ok());
    REQUIRE(second.ok());
    CHECK(name_of(**first) == "near");
    CHECK(name_of(**second) == "far");
    CHECK(name_of(**first) == "near");
    first->reset();
    CHECK(name_of(**second) == "far");
  }
  auto again = ctl::Connect(near.socket_path());
  REQUIRE(again.ok());
  CHECK(name_of(**again) == "near");
}

// Runs `work` in a child process as nobody; its exit code.
template <typename Work>
int AsNobody(Work work) {
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(99);
    _exit(work());
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("other users are refused, by the mode and by SO_PEERCRED", "[rpc]") {
  if (geteuid() != 0) {
    WARN("skipped: needs root");
    return;
  }
  CtlHost host;
  REQUIRE(chmod(host.directory().c_str(), 0755) == 0);
  auto why = [&](const char* text) {
    return AsNobody([&]() {
      auto daemon = ctl::Connect(host.socket_path());
      absl::Status status = daemon.ok() ? (*daemon)->GetStatus().status() : daemon.status();
      bool expected = status.code() == absl::StatusCode::kUnavailable &&
                      std::string(status.message()).find(text) != std::string::npos;
      return expected ? 3 : 0;
    });
  };
  CHECK(why("Permission denied") == 3);
  REQUIRE(chmod(host.socket_path().c_str(), 0666) == 0);
  CHECK(why("it answers only root and its own user") == 3);
  REQUIRE_FALSE(host.log().empty());
  CHECK(host.log().front().find("of user 65534") != std::string::npos);
  CHECK(host.Run({"status"}).code == 0);
}

TEST_CASE("20 MB of policy through the socket, and more than fits", "[rpc]") {
  CtlHost host;
  host.service.skip_parsing = true;
  std::string text(20 << 20, '#');
  text[5] = '\0';
  CtlResult result = host.Run({"policy", "apply", "-"}, {.in = text});
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK(host.service.last_bytes == text.size());
  CHECK(host.service.last_apply.files[0].text == text);

  text.assign(api::kMaxPolicyBytes, '#');
  CHECK(host.Run({"policy", "apply", "-"}, {.in = text}).code == 0);
  CHECK(host.service.last_bytes == text.size());
  text += '#';
  host.service.last_bytes = 0;
  result = host.Run({"policy", "apply", "-"}, {.in = text});
  CHECK(result.code == 2);
  CHECK(host.service.last_bytes == 0);
}

TEST_CASE("the server itself refuses what is too large", "[rpc]") {
  CtlHost host;
  host.service.skip_parsing = true;
  auto daemon = ctl::Connect(host.socket_path());
  REQUIRE(daemon.ok());
  api::ApplyRequest request;
  request.files.resize(1);
  request.files[0].text.assign(api::kMaxPolicyBytes + 1, '#');
  Diagnostics diagnostics;
  CHECK((*daemon)->ApplyPolicy(request, &diagnostics).status().code() ==
        absl::StatusCode::kInvalidArgument);
  api::FlowsRequest flows;
  flows.limit = api::kMaxFlowPage + 1;
  CHECK((*daemon)->Flows(flows).status().code() == absl::StatusCode::kInvalidArgument);
  // Beyond what a message may have the connection ends, and only that.
  request.files[0].text.assign(130 << 20, '#');
  CHECK((*daemon)->ApplyPolicy(request, &diagnostics).status().code() ==
        absl::StatusCode::kUnavailable);
  daemon->reset();
  CHECK(host.Run({"status"}).code == 0);
}

TEST_CASE("a service that throws is an error of that call", "[rpc]") {
  CtlHost host;
  host.service.throws = true;
  CtlResult result = host.Run({"status"});
  CHECK(result.code == 4);
  CHECK(result.err.find("boom") != std::string::npos);
  CHECK(host.Run({"policy", "apply", "order.yaml"}).code == 4);
  host.service.throws = false;
  CHECK(host.Run({"status"}).code == 0);
}

TEST_CASE("no more connections than agreed", "[rpc]") {
  CtlHost host(2);
  std::vector<int> fds;
  sockaddr_un address = Address(host.socket_path());
  for (int i = 0; i < 2; ++i) {
    fds.push_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(connect(fds.back(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  }
  CHECK(host.Run({"status"}).code == 3);
  for (int fd : fds) close(fd);
  int code = 3;
  for (int i = 0; i < 100 && code == 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    code = host.Run({"status"}).code;
  }
  CHECK(code == 0);
}

}  // namespace
}  // namespace mseg
