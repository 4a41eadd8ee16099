// SPDX-License-Identifier: Apache-2.0
#include "daemon/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

absl::Status Failed(const char* what) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(errno)));
}

std::optional<IpAddress> AddressOf(const sockaddr* from) {
  IpAddress address{};
  if (from != nullptr && from->sa_family == AF_INET) {
    address[10] = address[11] = 0xff;
    memcpy(&address[12], &reinterpret_cast<const sockaddr_in*>(from)->sin_addr, 4);
    return address;
  }
  if (from == nullptr || from->sa_family != AF_INET6) return std::nullopt;
  memcpy(address.data(), &reinterpret_cast<const sockaddr_in6*>(from)->sin6_addr, 16);
  return address;
}

// On a thread that has entered the namespace.
absl::StatusOr<NetnsView> Look(const IpAddress& address) {
  NetnsView view;
  const ScopedFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.ok()) return Failed("a socket in the process's network namespace");
  socklen_t length = sizeof(view.cookie);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &view.cookie, &length) != 0) {
    return Failed("the cookie of a network namespace");
  }
  view.own = IsLoopback(address);
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return Failed("the addresses of a network namespace");
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    const auto own = AddressOf(at->ifa_addr);
    view.own |= own.has_value() && *own == address;
  }
  freeifaddrs(list);
  return view;
}

}  // namespace

absl::StatusOr<NetnsView> LookFromProcess(uint32_t pid, const IpAddress& address) {
  const ScopedFd ns(open(absl::StrCat("/proc/", pid, "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!ns.ok()) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("no process with pid ", pid));
    return Failed("the network namespace of a process");
  }
  absl::StatusOr<NetnsView> view = absl::InternalError("no answer");
  // Namespaces are a thread's own: the daemon stays where it is.
  std::thread([&]() {
    if (setns(ns.get(), CLONE_NEWNET) != 0) {
      view = Failed("enter the network namespace of a process");
    } else {
      view = Look(address);
    }
  }).join();
  return view;
}

}  // namespace mseg
