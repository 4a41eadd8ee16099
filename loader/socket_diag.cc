// SPDX-License-Identifier: Apache-2.0
#include "loader/socket_diag.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace mseg {
namespace {

// States as the kernel numbers them (include/net/tcp_states.h); a request waits in state 12.
constexpr uint8_t kEstablished = 1, kSynReceived = 3, kFinWait1 = 4, kFinWait2 = 5, kCloseWait = 8,
                  kNewSynReceived = 12;
constexpr uint32_t Bit(uint8_t state) { return 1u << state; }
constexpr uint32_t kTcpStates = Bit(kEstablished) | Bit(2) | Bit(kSynReceived) | Bit(kFinWait1) |
                                Bit(kFinWait2) | Bit(kCloseWait) | Bit(kNewSynReceived);

struct DiagRequest {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

DiagRequest NewRequest(uint16_t type, uint16_t flags, uint8_t family, uint8_t protocol) {
  DiagRequest request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  request.body.sdiag_family = family;
  request.body.sdiag_protocol = protocol;
  return request;
}

absl::Status Send(int netlink, const DiagRequest& request) {
  while (send(netlink, &request, sizeof(request), 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "ask for sockets");
  }
  return absl::OkStatus();
}

// 0, or the errno of an answer that carries nothing else.
int ErrorOf(const nlmsghdr* message) {
  nlmsgerr error{};
  if (message->nlmsg_len < NLMSG_LENGTH(sizeof(error))) return EBADMSG;
  std::memcpy(&error, NLMSG_DATA(message), sizeof(error));
  return -error.error;
}

// One request with one answer: 0 or an errno.
absl::StatusOr<int> Acknowledged(int netlink, const DiagRequest& request) {
  if (absl::Status status = Send(netlink, request); !status.ok()) return status;
  alignas(nlmsghdr) char buffer[1024];
  ssize_t size = 0;
  while ((size = recv(netlink, buffer, sizeof(buffer), 0)) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "read an answer about sockets");
  }
  const auto* message = reinterpret_cast<const nlmsghdr*>(buffer);
  if (!NLMSG_OK(message, static_cast<size_t>(size)) || message->nlmsg_type != NLMSG_ERROR) {
    return absl::InternalError("an answer about sockets that cannot be read");
  }
  return ErrorOf(message);
}

SocketDiag::Address MappedAddress(const void* ipv4) {
  SocketDiag::Address out{};
  out[10] = out[11] = 0xff;
  std::memcpy(&out[12], ipv4, 4);
  return out;
}

bool IsMapped(const uint8_t* address) {
  static constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(address, kPrefix, sizeof(kPrefix)) == 0;
}

void ReadEnd(uint8_t family, const uint32_t* words, uint8_t* out) {
  SocketDiag::Address address{};
  if (family == AF_INET) {
    address = MappedAddress(words);
  } else {
    std::memcpy(address.data(), words, address.size());
  }
  std::memcpy(out, address.data(), address.size());
}

uint64_t CgroupOf(const nlmsghdr* message) {
  const auto* attribute = reinterpret_cast<const rtattr*>(
      static_cast<const char*>(NLMSG_DATA(message)) + NLMSG_ALIGN(sizeof(inet_diag_msg)));
  auto left = static_cast<int>(message->nlmsg_len - NLMSG_LENGTH(sizeof(inet_diag_msg)));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type != INET_DIAG_CGROUP_ID) continue;
    uint64_t id = 0;
    std::memcpy(&id, RTA_DATA(attribute), sizeof(id));
    return id;
  }
  return 0;
}

// What its process has closed already is nobody's connection any more.
bool IsOrphan(const inet_diag_msg& said) {
  return said.idiag_inode == 0 && (said.idiag_state == kFinWait1 || said.idiag_state == kFinWait2);
}

mseg_socket_record RecordOf(const nlmsghdr* message, const inet_diag_msg& said, uint8_t protocol) {
  mseg_socket_record out{};
  std::memcpy(&out.cookie, said.id.idiag_cookie, sizeof(out.cookie));
  ReadEnd(said.idiag_family, said.id.idiag_src, out.local);
  ReadEnd(said.idiag_family, said.id.idiag_dst, out.remote);
  out.local_port = ntohs(said.id.idiag_sport);
  out.remote_port = ntohs(said.id.idiag_dport);
  out.ifindex = said.id.idiag_if;
  out.protocol = protocol;
  out.state = said.idiag_state;
  out.holder.id.cgroup_id = CgroupOf(message);
  out.holder.id.uid = said.idiag_uid;
  out.holder.id.flags = MSEG_ID_NO_RECORD;
  out.holder.exe.flags = MSEG_FILE_UNLINKED;  // never to be found in the cache
  return out;
}

// Reads one dump to its end. False in `*more` when it was the last part.
absl::Status ReadPart(const char* data, size_t size, uint8_t protocol, bool* more,
                      std::vector<mseg_socket_record>* out) {
  const auto* message = reinterpret_cast<const nlmsghdr*>(data);
  for (; NLMSG_OK(message, size); message = NLMSG_NEXT(message, size)) {
    if (message->nlmsg_type == NLMSG_DONE) {
      *more = false;
      return absl::OkStatus();
    }
    if (message->nlmsg_type == NLMSG_ERROR) return ErrnoStatus(ErrorOf(message), "list sockets");
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) continue;
    inet_diag_msg said{};
    std::memcpy(&said, NLMSG_DATA(message), sizeof(said));
    if (!IsOrphan(said)) out->push_back(RecordOf(message, said, protocol));
  }
  return absl::OkStatus();
}

absl::Status Dump(int netlink, uint8_t family, uint8_t protocol, uint32_t states,
                  std::vector<mseg_socket_record>* out) {
  DiagRequest request = NewRequest(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, protocol);
  request.body.idiag_states = states;
  if (absl::Status status = Send(netlink, request); !status.ok()) return status;
  std::vector<char> buffer(65536);
  for (bool more = true; more;) {
    const ssize_t size = recv(netlink, buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return ErrnoStatus(size < 0 ? errno : EBADMSG, "list sockets");
    MSEG_RETURN_IF_ERROR(ReadPart(buffer.data(), static_cast<size_t>(size), protocol, &more, out));
  }
  return absl::OkStatus();
}

// The namespace that somebody's socket was made in, by a copy of its descriptor.
absl::StatusOr<ScopedFd> NetnsOfSocket(uint32_t tgid, uint32_t fd) {
  const ScopedFd process(static_cast<int>(syscall(SYS_pidfd_open, tgid, 0)));
  if (!process.ok()) return ErrnoStatus(errno, absl::StrCat("open process ", tgid));
  const ScopedFd socket(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), fd, 0)));
  if (!socket.ok()) return ErrnoStatus(errno, absl::StrCat("copy a socket of process ", tgid));
  ScopedFd netns(ioctl(socket.get(), SIOCGSKNS));
  if (!netns.ok()) return ErrnoStatus(errno, "network namespace of a socket");
  return netns;
}

std::vector<SocketDiag::Address> OwnAddresses() {
  std::vector<SocketDiag::Address> out;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return out;
  for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) continue;
    if (at->ifa_addr->sa_family == AF_INET) {
      out.push_back(MappedAddress(&reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr));
    } else if (at->ifa_addr->sa_family == AF_INET6) {
      SocketDiag::Address address;
      std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr,
                  16);
      out.push_back(address);
    }
  }
  freeifaddrs(first);
  return out;
}

ScopedFd DiagSocket() {
  return ScopedFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
}

bool CanDestroy(int netlink, uint8_t protocol) {
  std::vector<mseg_socket_record> none;
  if (!Dump(netlink, AF_INET, protocol, 0, &none).ok()) return false;
  const auto error = Acknowledged(netlink, NewRequest(SOCK_DESTROY, NLM_F_ACK, AF_INET, protocol));
  return error.ok() && *error == ENOENT;
}

}  // namespace

absl::StatusOr<SocketDiag> SocketDiag::Open(uint32_t tgid, uint32_t fd, uint64_t netns_cookie) {
  auto netns = NetnsOfSocket(tgid, fd);
  if (!netns.ok()) return netns.status();
  SocketDiag diag;
  absl::Status entered;
  // A thread of its own, because a namespace is entered for good. The netlink socket stays there.
  std::thread visitor([&] {
    if (setns(netns->get(), CLONE_NEWNET) != 0) {
      entered = ErrnoStatus(errno, "enter a network namespace");
      return;
    }
    diag.netlink_ = DiagSocket();
    if (!diag.netlink_.ok()) entered = ErrnoStatus(errno, "open a NETLINK_SOCK_DIAG socket");
    diag.addresses_ = OwnAddresses();
  });
  visitor.join();
  if (!entered.ok()) return entered;
  socklen_t size = sizeof(diag.netns_cookie_);
  if (getsockopt(diag.netlink_.get(), SOL_SOCKET, SO_NETNS_COOKIE, &diag.netns_cookie_, &size) !=
      0) {
    return ErrnoStatus(errno, "cookie of a network namespace");
  }
  if (diag.netns_cookie_ != netns_cookie) {
    return absl::NotFoundError(
        absl::StrCat("descriptor ", fd, " of process ", tgid, " is of another network namespace"));
  }
  return diag;
}

absl::StatusOr<std::vector<mseg_socket_record>> SocketDiag::List() const {
  std::vector<mseg_socket_record> out;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    MSEG_RETURN_IF_ERROR(Dump(netlink_.get(), family, IPPROTO_TCP, kTcpStates, &out));
    MSEG_RETURN_IF_ERROR(Dump(netlink_.get(), family, IPPROTO_UDP, Bit(kEstablished), &out));
  }
  for (mseg_socket_record& record : out) record.netns_cookie = netns_cookie_;
  return out;
}

absl::StatusOr<bool> SocketDiag::Destroy(const mseg_socket_record& socket) const {
  const bool ipv4 = IsMapped(socket.local) && IsMapped(socket.remote);
  DiagRequest request =
      NewRequest(SOCK_DESTROY, NLM_F_ACK, ipv4 ? AF_INET : AF_INET6, socket.protocol);
  inet_diag_sockid& id = request.body.id;
  const size_t skip = ipv4 ? 12 : 0;
  std::memcpy(id.idiag_src, socket.local + skip, 16 - skip);
  std::memcpy(id.idiag_dst, socket.remote + skip, 16 - skip);
  id.idiag_sport = htons(socket.local_port);
  id.idiag_dport = htons(socket.remote_port);
  id.idiag_if = socket.ifindex;
  std::memcpy(id.idiag_cookie, &socket.cookie, sizeof(socket.cookie));
  auto error = Acknowledged(netlink_.get(), request);
  if (!error.ok()) return error.status();
  if (*error == 0) return true;
  // Another socket may have the tuple by now (ESTALE: the cookie differs).
  if (*error == ENOENT || *error == ESRCH || *error == ESTALE) return false;
  return ErrnoStatus(*error, "close a socket");
}

bool CanDestroySockets() {
  const ScopedFd netlink = DiagSocket();
  return netlink.ok() && CanDestroy(netlink.get(), IPPROTO_TCP) &&
         CanDestroy(netlink.get(), IPPROTO_UDP);
}

}  // namespace mseg
