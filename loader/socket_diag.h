// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_SOCKET_DIAG_H_
#define MSEG_LOADER_SOCKET_DIAG_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "loader/scoped_fd.h"
#include "mseg/abi.h"

namespace mseg {

// The sockets of one network namespace: lists them, those without a descriptor included (not yet
// accepted, on their way to another process), and closes them. The caller's own namespace never
// changes.
class SocketDiag {
 public:
  using Address = std::array<uint8_t, 16>;

  // Of the namespace that `fd` of process `tgid` was made in. NotFound if that descriptor is not of
  // the namespace `netns_cookie` (any more).
  static absl::StatusOr<SocketDiag> Open(uint32_t tgid, uint32_t fd, uint64_t netns_cookie);

  // TCP connections, half-open ones too, and connected UDP sockets. Of the holder, only cgroup (0
  // for a half-open connection) and user are known.
  absl::StatusOr<std::vector<mseg_socket_record>> List() const;
  // The namespace's own addresses.
  const std::vector<Address>& addresses() const { return addresses_; }
  // Closes a socket, at both ends if it is of TCP. False: it was gone already.
  absl::StatusOr<bool> Destroy(const mseg_socket_record& socket) const;

 private:
  SocketDiag() = default;

  ScopedFd netlink_;
  uint64_t netns_cookie_ = 0;
  std::vector<Address> addresses_;
};

// Can this kernel close other people's TCP and UDP sockets? Asked with a socket that does not
// exist.
bool CanDestroySockets();

}  // namespace mseg

#endif  // MSEG_LOADER_SOCKET_DIAG_H_
