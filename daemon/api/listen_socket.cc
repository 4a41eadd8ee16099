// SPDX-License-Identifier: Apache-2.0
#include "daemon/api/listen_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mseg {
namespace {

absl::Status SystemError(const char* what, const std::string& path, int error) {
  return absl::FailedPreconditionError(absl::StrCat(what, " ", path, ": ", strerror(error)));
}

absl::StatusOr<int> Lock(const std::string& path) {
  std::string lock_path = path + ".lock";
  int fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return SystemError("cannot create", lock_path, errno);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  int error = errno;
  close(fd);
  if (error != EWOULDBLOCK) return SystemError("cannot lock", lock_path, error);
  return absl::FailedPreconditionError(
      absl::StrCat("another msegd serves ", path, "; stop it or choose another --socket"));
}

// Someone who does not know of the lock may serve the path: ask the socket itself too.
bool Answers(const sockaddr_un& address) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  bool refused = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
                 errno == ECONNREFUSED;
  close(fd);
  return !refused;
}

absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? absl::OkStatus() : SystemError("cannot look at", path, errno);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " exists and is not a socket"));
  }
  if (Answers(address)) {
    return absl::FailedPreconditionError(absl::StrCat("another process serves ", path));
  }
  if (unlink(path.c_str()) != 0) return SystemError("cannot remove", path, errno);
  return absl::OkStatus();
}

absl::StatusOr<int> BindAndListen(const std::string& path, const sockaddr_un& address) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return SystemError("cannot make a socket for", path, errno);
  // bind() takes the mode of the socket's own inode, so the path never has another mode, not even
  // for a moment, and the umask, which all threads share, is left alone.
  if (fchmod(fd, 0600) != 0 ||
      bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    int error = errno;
    close(fd);
    return SystemError("cannot bind", path, error);
  }
  if (listen(fd, 64) != 0) {
    int error = errno;
    unlink(path.c_str());
    close(fd);
    return SystemError("cannot listen on", path, error);
  }
  return fd;
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::Open(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket path '", path, "' must have 1 to ",
                                                   sizeof(address.sun_path) - 1, " bytes"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  auto lock_fd = Lock(path);
  if (!lock_fd.ok()) return lock_fd.status();
  absl::Status removed = RemoveStale(path, address);
  if (!removed.ok()) {
    close(*lock_fd);
    return removed;
  }
  auto fd = BindAndListen(path, address);
  if (!fd.ok()) {
    close(*lock_fd);
    return fd.status();
  }
  return ListenSocket(path, *lock_fd, *fd);
}

ListenSocket::ListenSocket(ListenSocket&& other) noexcept
    : path_(std::move(other.path_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      fd_(std::exchange(other.fd_, -1)) {}

ListenSocket::~ListenSocket() {
  if (fd_ < 0) return;
  unlink(path_.c_str());
  close(fd_);
  close(lock_fd_);  // last: who gets the lock must not find our socket
}

}  // namespace mseg
