// SPDX-License-Identifier: Apache-2.0
// Peers that do not keep to the protocol: the other side must survive them.
#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <thread>

#include "ctl_fixture.h"
#include "daemon/api/mseg.capnp.h"

namespace mseg {
namespace {

int Dial(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

void Throw(int fd, const std::string& bytes) {
  // The server may have hung up already.
  (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

std::string Flat(capnp::MessageBuilder& message) {
  auto words = capnp::messageToFlatArray(message);
  return std::string(words.asChars().begin(), words.asChars().size());
}

// An exception whose type is none of the four that exist.
void MakeBadException(capnp::rpc::Exception::Builder exception) {
  exception.setReason("boo");
  exception.setType(static_cast<capnp::rpc::Exception::Type>(0x7fff));
}

std::string Abort() {
  capnp::MallocMessageBuilder message;
  MakeBadException(message.initRoot<capnp::rpc::Message>().initAbort());
  return Flat(message);
}

std::string Bootstrap() {
  capnp::MallocMessageBuilder message;
  message.initRoot<capnp::rpc::Message>().initBootstrap().setQuestionId(0);
  return Flat(message);
}

// A call of `method` of the bootstrap interface whose parameters are `words` words of 0xff.
std::string CallWithGarbage(uint16_t method) {
  capnp::MallocMessageBuilder message;
  auto call = message.initRoot<capnp::rpc::Message>().initCall();
  call.setQuestionId(1);
  call.initTarget().initPromisedAnswer().setQuestionId(0);
  call.setInterfaceId(capnp::typeId<wire::Daemon>());
  call.setMethodId(method);
  auto params = call.initParams().getContent().initAs<capnp::List<capnp::List<uint64_t>>>(4);
  for (unsigned i = 0; i < 4; ++i) {
    auto list = params.init(i, 8);
    for (unsigned j = 0; j < 8; ++j) list.set(j, ~uint64_t{0});
  }
  return Flat(message);
}

TEST_CASE("malformed bytes hurt nobody but their sender", "[rpc]") {
  CtlHost host;
  std::mt19937_64 random(20260102);
  INFO("seed 20260102");
  std::vector<std::string> attacks = {
      "",
      "x",
      "GET / HTTP/1.1\r\n\r\n",
      std::string(4096, '\0'),
      std::string(4096, '\xff'),
      std::string("\xff\xff\xff\x7f\0\0\0\0", 8),  // two thousand million segments
      std::string("\0\0\0\0\xff\xff\xff\xff", 8),  // one segment of 32 GiB
      std::string("\0\0\0\0\0\0\0\x01", 8),        // one of 128 MiB, never sent
      Abort(),
      Bootstrap() + Abort(),
      Bootstrap() + Bootstrap(),
  };
  for (uint16_t method = 0; method < 10; ++method) {
    attacks.push_back(Bootstrap() + CallWithGarbage(method));
  }
  for (int i = 0; i < 300; ++i) {
    std::string bytes = Bootstrap() + CallWithGarbage(static_cast<uint16_t>(i % 8));
    for (int flips = 0; flips < 1 + i % 7; ++flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    attacks.push_back(bytes);
  }
  for (const std::string& bytes : attacks) {
    int fd = Dial(host.socket_path());
    Throw(fd, bytes);
    close(fd);
  }
  CtlResult result = host.Run({"status"});
  INFO(result.err);
  CHECK(result.code == 0);
}

TEST_CASE("a client that vanishes in the middle of a call", "[rpc]") {
  CtlHost host;
  host.service.delay = absl::Milliseconds(50);
  for (int i = 0; i < 4; ++i) {
    int fd = Dial(host.socket_path());
    Throw(fd, Bootstrap() + CallWithGarbage(0));
    close(fd);
  }
  CHECK(host.Run({"status"}).code == 0);
}

TEST_CASE("a server stops while calls run and connections are open", "[rpc]") {
  auto host = std::make_unique<CtlHost>();
  host->service.delay = absl::Milliseconds(50);
  int idle = Dial(host->socket_path());
  int busy = Dial(host->socket_path());
  Throw(busy, Bootstrap() + CallWithGarbage(0));
  host.reset();
  close(idle);
  close(busy);
}

// A daemon that answers every connection with these bytes.
class Impostor {
 public:
  explicit Impostor(std::string bytes) : bytes_(std::move(bytes)) {
    char name[] = "/tmp/mseg-ctl-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    directory_ = name;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path().data(), path().size());
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(fd_, 8) == 0);
    thread_ = std::thread([this]() {
      int client = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      char request[4096];
      (void)!read(client, request, sizeof(request));
      Throw(client, bytes_);
      // Until the client has had enough, so that it reads all of it.
      shutdown(client, SHUT_WR);
      while (read(client, request, sizeof(request)) > 0) {
      }
      close(client);
    });
  }
  ~Impostor() {
    thread_.join();
    close(fd_);
    unlink(path().c_str());
    rmdir(directory_.c_str());
  }
  std::string path() const { return directory_ + "/socket"; }

 private:
  std::string bytes_;
  std::string directory_;
  int fd_ = -1;
  std::thread thread_;
};

std::string ReturnBadException(uint32_t question) {
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<capnp::rpc::Message>().initReturn();
  answer.setAnswerId(question);
  MakeBadException(answer.initException());
  return Flat(message);
}

TEST_CASE("msegctl survives whatever answers at the socket", "[rpc]") {
  for (const std::string& bytes : {std::string(), std::string("HTTP/1.1 400 Bad Request\r\n\r\n"),
                                   Abort(), std::string(64, '\xff'), ReturnBadException(0),
                                   ReturnBadException(0) + ReturnBadException(1),
                                   std::string("\0\0\0\0\xff\xff\xff\xff", 8)}) {
    Impostor impostor(bytes);
    CtlResult result = RunCtl(impostor.path(), {"status"});
    INFO(result.err);
    CHECK(result.code == 3);
    CHECK(result.out.empty());
  }
}

}  // namespace
}  // namespace mseg
