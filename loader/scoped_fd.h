// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_SCOPED_FD_H_
#define MSEG_LOADER_SCOPED_FD_H_

#include <unistd.h>

#include <utility>

namespace mseg {

// A file descriptor that is closed with its owner.
class ScopedFd {
 public:
  ScopedFd() = default;
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() { Reset(); }
  ScopedFd(ScopedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ScopedFd& operator=(ScopedFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace mseg

#endif  // MSEG_LOADER_SCOPED_FD_H_
