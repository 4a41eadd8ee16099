// SPDX-License-Identifier: Apache-2.0
#include "ctl/selftest_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

namespace mseg::ctl {
namespace {

absl::Status LinkError(const std::string& what) {
  return absl::ErrnoToStatus(errno, "selftest: " + what);
}

// Attributes in attributes, as rtnetlink wants them.
class LinkRequest {
 public:
  LinkRequest() {
    Append(nlmsghdr{});
    Append(ifinfomsg{});
  }

  template <typename Value>
  void Append(const Value& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }
  size_t Begin(uint16_t type) {
    const size_t at = bytes_.size();
    Append(rtattr{.rta_len = 0, .rta_type = type});
    return at;
  }
  void End(size_t at) { SetLength(at, bytes_.size() - at); }
  void Add(uint16_t type, const void* value, size_t size) {
    const size_t at = Begin(type);
    bytes_.append(static_cast<const char*>(value), size);
    SetLength(at, bytes_.size() - at);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }
  void AddDevice(const WireMac& mac) {
    Add(IFLA_IFNAME, kWireDevice, sizeof(kWireDevice));
    Add(IFLA_ADDRESS, mac.data(), mac.size());
  }

  // Sends it; 0 or an errno.
  int Ask() {
    auto* header = reinterpret_cast<nlmsghdr*>(bytes_.data());
    header->nlmsg_len = static_cast<uint32_t>(bytes_.size());
    header->nlmsg_type = RTM_NEWLINK;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct {
      nlmsghdr header;
      nlmsgerr error;
      char rest[1024];
    } answer{};
    const bool done = fd >= 0 && send(fd, bytes_.data(), bytes_.size(), 0) >= 0 &&
                      recv(fd, &answer, sizeof(answer), 0) >= 0;
    const int error = done ? -answer.error.error : errno;
    if (fd >= 0) close(fd);
    return done && answer.header.nlmsg_type != NLMSG_ERROR ? EBADMSG : error;
  }

 private:
  void SetLength(size_t at, size_t length) {
    reinterpret_cast<rtattr*>(bytes_.data() + at)->rta_len = static_cast<uint16_t>(length);
  }

  std::string bytes_;
};

absl::Status FindPackets() {
  const int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) close(fd);
  if (fd >= 0) return absl::OkStatus();
  return errno == EAFNOSUPPORT ? absl::UnimplementedError("this kernel has no packet sockets")
                               : LinkError("a packet socket");
}

absl::Status MakePair(int far_netns) {
  LinkRequest request;
  request.AddDevice(kNearMac);
  const size_t info = request.Begin(IFLA_LINKINFO);
  request.Add(IFLA_INFO_KIND, "veth", 5);
  const size_t data = request.Begin(IFLA_INFO_DATA);
  const size_t peer = request.Begin(VETH_INFO_PEER);
  request.Append(ifinfomsg{});
  request.AddDevice(kFarMac);
  request.Add(IFLA_NET_NS_FD, &far_netns, sizeof(far_netns));
  request.End(peer);
  request.End(data);
  request.End(info);
  const int error = request.Ask();
  if (error == EOPNOTSUPP) return absl::UnimplementedError("this kernel has no veth devices");
  return error == 0 ? absl::OkStatus()
                    : absl::ErrnoToStatus(error, "selftest: a pair of veth devices");
}

ifreq DeviceRequest() {
  ifreq request{};
  std::copy(std::begin(kWireDevice), std::end(kWireDevice), request.ifr_name);
  return request;
}

sockaddr_in AddressOf(uint32_t address) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_addr.s_addr = htonl(address);
  return out;
}

bool SetAddress(int fd, unsigned long what, uint32_t address) {
  ifreq request = DeviceRequest();
  const sockaddr_in value = AddressOf(address);
  std::memcpy(&request.ifr_addr, &value, sizeof(value));
  return ioctl(fd, what, &request) == 0;
}

// Where a frame for an address goes, which nobody there would answer for.
bool SetNeighbour(int fd, uint32_t address, const WireMac& mac) {
  arpreq request{};
  const sockaddr_in value = AddressOf(address);
  std::memcpy(&request.arp_pa, &value, sizeof(value));
  request.arp_ha.sa_family = ARPHRD_ETHER;
  std::copy(mac.begin(), mac.end(), reinterpret_cast<uint8_t*>(request.arp_ha.sa_data));
  request.arp_flags = ATF_COM | ATF_PERM;
  std::copy(std::begin(kWireDevice), std::end(kWireDevice), request.arp_dev);
  return ioctl(fd, SIOCSARP, &request) == 0;
}

absl::Status SetUp(uint32_t address, bool knows_forger) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return LinkError("a socket");
  ifreq up = DeviceRequest();
  up.ifr_flags = IFF_UP;
  const bool done = SetAddress(fd, SIOCSIFADDR, address) &&
                    SetAddress(fd, SIOCSIFNETMASK, 0xffffff00) &&
                    ioctl(fd, SIOCSIFFLAGS, &up) == 0 &&
                    (!knows_forger || SetNeighbour(fd, kForgerAddress, kNearMac));
  const absl::Status status =
      done ? absl::OkStatus() : LinkError("set up " + std::string(kWireDevice));
  close(fd);
  return status;
}

// Does it there, and comes back.
absl::Status Inside(int netns, const std::function<absl::Status()>& what) {
  const int before = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (before < 0 || setns(netns, CLONE_NEWNET) != 0) return LinkError("enter a network namespace");
  absl::Status status = what();
  if (setns(before, CLONE_NEWNET) != 0) status.Update(LinkError("leave a network namespace"));
  close(before);
  return status;
}

}  // namespace

absl::Status JoinNetworks(int near_netns, int far_netns) {
  absl::Status status = Inside(near_netns, [far_netns]() {
    absl::Status made = FindPackets();
    if (made.ok()) made = MakePair(far_netns);
    if (made.ok()) made = SetUp(kNearAddress, /*knows_forger=*/false);
    return made;
  });
  if (!status.ok()) return status;
  return Inside(far_netns, []() { return SetUp(kFarAddress, /*knows_forger=*/true); });
}

}  // namespace mseg::ctl
