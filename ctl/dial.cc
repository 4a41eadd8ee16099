// SPDX-License-Identifier: Apache-2.0
#include "ctl/dial.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ctl/errno_name.h"

namespace mseg::ctl {
namespace {

constexpr int kConnectMs = 5000;
// A host that cuts a connection off does so at once; its daemon's reset takes some milliseconds.
constexpr int kCutMs = 500;

socklen_t SocketAddress(const std::string& text, uint32_t port, sockaddr_storage* out) {
  auto* in = reinterpret_cast<sockaddr_in*>(out);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(out);
  if (inet_pton(AF_INET, text.c_str(), &in->sin_addr) == 1) {
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<uint16_t>(port));
    return sizeof(*in);
  }
  inet_pton(AF_INET6, text.c_str(), &in6->sin6_addr);
  in6->sin6_family = AF_INET6;
  in6->sin6_port = htons(static_cast<uint16_t>(port));
  return sizeof(*in6);
}

int PendingError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

// The error of connect, 0 for none.
int ConnectSocket(int fd, const sockaddr_storage& address, socklen_t size) {
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{.fd = fd, .events = POLLOUT, .revents = 0};
  if (poll(&wait, 1, kConnectMs) <= 0) return ETIMEDOUT;
  return PendingError(fd);
}

}  // namespace

Dialled DialTcp(const std::string& address, uint32_t port) {
  sockaddr_storage storage{};
  const socklen_t size = SocketAddress(address, port, &storage);
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {.connected = false, .error = ErrnoName(errno)};
  Dialled out;
  int error = ConnectSocket(fd, storage, size);
  out.connected = error == 0;
  if (out.connected) {
    pollfd wait{.fd = fd, .events = POLLRDHUP, .revents = 0};
    if (poll(&wait, 1, kCutMs) > 0) error = PendingError(fd);
  }
  if (error != 0) out.error = ErrnoName(error);
  close(fd);
  return out;
}

}  // namespace mseg::ctl
