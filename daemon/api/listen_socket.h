// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_API_LISTEN_SOCKET_H_
#define MSEG_DAEMON_API_LISTEN_SOCKET_H_

#include <string>

#include "absl/status/statusor.h"

namespace mseg {

// The daemon's listening unix socket, mode 0600. Its path is owned for the life of the object by a
// lock on PATH.lock, which the kernel drops when the process dies: so a socket that a dead daemon
// left is removed, and that of a live one never. The lock file stays behind on purpose, because
// removing it would let two daemons hold two files of that name.
class ListenSocket {
 public:
  // FailedPrecondition if another process serves the path, or something else than a socket is
  // there.
  static absl::StatusOr<ListenSocket> Open(const std::string& path);

  ListenSocket(ListenSocket&& other) noexcept;
  ListenSocket& operator=(ListenSocket&& other) = delete;
  ~ListenSocket();  // removes the socket

  int fd() const { return fd_; }  // listening, non-blocking, close-on-exec
  const std::string& path() const { return path_; }

 private:
  ListenSocket(std::string path, int lock_fd, int fd)
      : path_(std::move(path)), lock_fd_(lock_fd), fd_(fd) {}

  std::string path_;
  int lock_fd_;
  int fd_;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_API_LISTEN_SOCKET_H_
