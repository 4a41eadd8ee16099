// SPDX-License-Identifier: Apache-2.0
// Acts of `selftest --bypass` on the wire between two hosts: handshakes that are listened to, and
// handshakes that are made by hand, by somebody whom the kernel of his host knows nothing of.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "absl/time/clock.h"
#include "ctl/selftest_acts.h"
#include "ctl/selftest_link.h"
#include "mseg/abi.h"
#include "mseg/tcp_option.h"

namespace mseg::ctl {
namespace {

constexpr absl::Duration kCaptureLimit = absl::Seconds(40);
constexpr absl::Duration kAnswerLimit = absl::Milliseconds(500);
constexpr uint32_t kUnknownHost = 9;  // trusted by nobody
const std::string kMss("\x02\x04\x05\xb4", 4);

// What somebody on the path saw of one handshake.
struct Captured {
  uint32_t client_isn = 0;
  uint8_t claim[MSEG_CLAIM_LEN] = {};
  uint8_t proof[MSEG_PROOF_LEN] = {};
};

struct Segment {
  tcphdr tcp{};
  std::string options;
  bool has_data = false;
};

// What belongs to TCP of this size, or nothing.
std::optional<Segment> ParseSegment(const char* bytes, size_t size) {
  Segment out;
  iphdr ip{};
  if (size < sizeof(ip)) return std::nullopt;
  std::memcpy(&ip, bytes, sizeof(ip));
  const size_t head = ip.ihl * size_t{4};
  const size_t all = std::min<size_t>(size, ntohs(ip.tot_len));
  if (ip.protocol != IPPROTO_TCP || all < head + sizeof(out.tcp)) return std::nullopt;
  std::memcpy(&out.tcp, bytes + head, sizeof(out.tcp));
  const size_t data = head + out.tcp.doff * size_t{4};
  if (data < head + sizeof(out.tcp) || data > all) return std::nullopt;
  out.options.assign(bytes + head + sizeof(out.tcp), bytes + data);
  out.has_data = all > data;
  return out;
}

// mseg's option of this length; false: there is none.
bool FindOption(const Segment& segment, uint8_t size, uint8_t* to) {
  mseg_option_walk walk{};
  walk.size = static_cast<uint32_t>(std::min<size_t>(segment.options.size(), MSEG_OPTIONS_MAX));
  std::memcpy(walk.bytes, segment.options.data(), walk.size);
  walk.kind = MSEG_OPTION_KIND;
  walk.exid = kWireExid;
  walk.want = size;
  while (mseg_option_step(&walk) != 0) continue;
  if (walk.found != 0) std::memcpy(to, walk.bytes + walk.at, size);
  return walk.found != 0;
}

// A packet socket at the wire. Closed by the end of the act.
class Wire {
 public:
  // 0, or an errno.
  int Open() {
    fd_ = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    if (fd_ < 0) return errno;
    to_.sll_family = AF_PACKET;
    to_.sll_protocol = htons(ETH_P_IP);
    to_.sll_ifindex = static_cast<int>(if_nametoindex(kWireDevice));
    to_.sll_halen = kFarMac.size();
    std::copy(kFarMac.begin(), kFarMac.end(), to_.sll_addr);
    const auto* at = reinterpret_cast<const sockaddr*>(&to_);
    return to_.sll_ifindex != 0 && bind(fd_, at, sizeof(to_)) == 0 ? 0 : kActNotTried;
  }
  bool Send(const std::string& packet) const {
    return sendto(fd_, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to_),
                  sizeof(to_)) >= 0;
  }
  // The next segment that arrives; nothing: not in time.
  std::optional<Segment> Next(absl::Time until) const {
    char bytes[65536];
    while (true) {
      const int64_t left_ms = absl::ToInt64Milliseconds(until - absl::Now());
      pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
      if (left_ms <= 0 || poll(&ready, 1, static_cast<int>(left_ms)) != 1) return std::nullopt;
      const ssize_t size = recv(fd_, bytes, sizeof(bytes), 0);
      if (size <= 0) return std::nullopt;
      if (auto segment = ParseSegment(bytes, static_cast<size_t>(size))) return segment;
    }
  }

 private:
  int fd_ = -1;
  sockaddr_ll to_{};
};

// Waits for a handshake that arrives here, and keeps what it carries.
int Capture(const std::string& file) {
  Wire wire;
  Captured found;
  if (const int error = wire.Open(); error != 0) return error;
  if (write(1, "ready", 5) != 5) return EPIPE;
  const absl::Time until = absl::Now() + kCaptureLimit;
  uint16_t port = 0;
  while (const auto segment = wire.Next(until)) {
    if (segment->tcp.syn != 0 && FindOption(*segment, MSEG_CLAIM_LEN, found.claim)) {
      port = segment->tcp.source;
      found.client_isn = ntohl(segment->tcp.seq);
    } else if (port != 0 && segment->tcp.source == port &&
               FindOption(*segment, MSEG_PROOF_LEN, found.proof)) {
      std::ofstream out(file, std::ios::binary);
      out.write(reinterpret_cast<const char*>(&found), sizeof(found)).flush();
      return out ? 0 : kActNotTried;
    }
  }
  return ETIMEDOUT;
}

template <typename Value>
std::string Bytes(const Value& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

uint16_t Checksum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i++) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    sum += i % 2 == 0 ? uint32_t{byte} << 8 : byte;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

uint32_t Random() {
  uint32_t value = 0;
  return getrandom(&value, sizeof(value), 0) == sizeof(value) ? value : 0;
}

// A connection that no kernel knows of at this end.
class Handmade {
 public:
  Handmade(const Wire& wire, uint16_t port, uint32_t isn)
      : wire_(wire), isn_(isn), to_(port), from_(static_cast<uint16_t>(0x8000 | Random())) {}

  // How the other end takes it: 0 if a byte comes back, else an errno.
  int Try(const std::string& claim, const std::string& proof) const {
    if (!Send(isn_, 0, TH_SYN, kMss + claim, "")) return kActNotTried;
    const auto answer = Answer(absl::Now() + kAnswerLimit);
    if (!answer) return ETIMEDOUT;
    if (answer->tcp.rst != 0) return ECONNREFUSED;
    const uint32_t next = ntohl(answer->tcp.seq) + 1;
    for (const char* data : {"", "x"}) {
      if (!Send(isn_ + 1, next, TH_ACK, proof, data)) return kActNotTried;
    }
    const absl::Time until = absl::Now() + kAnswerLimit;
    while (const auto after = Answer(until)) {
      if (after->has_data) return 0;
      if (after->tcp.rst != 0 || after->tcp.fin != 0) return ECONNRESET;
    }
    return ETIMEDOUT;
  }

 private:
  std::optional<Segment> Answer(absl::Time until) const {
    while (auto segment = wire_.Next(until)) {
      if (segment->tcp.source == htons(to_) && segment->tcp.dest == htons(from_)) return segment;
    }
    return std::nullopt;
  }

  bool Send(uint32_t seq, uint32_t ack, uint8_t flags, std::string options,
            const std::string& data) const {
    options.append(-options.size() % 4, '\1');
    tcphdr tcp{};
    tcp.source = htons(from_);
    tcp.dest = htons(to_);
    tcp.seq = htonl(seq);
    tcp.ack_seq = htonl(ack);
    tcp.th_flags = flags;
    tcp.doff = static_cast<uint16_t>((sizeof(tcp) + options.size()) / 4) & 15;
    tcp.window = htons(64000);
    const auto size = static_cast<uint16_t>(sizeof(tcp) + options.size() + data.size());
    iphdr ip{};
    ip.version = 4;
    ip.ihl = 5;
    ip.ttl = 64;
    ip.protocol = IPPROTO_TCP;
    ip.tot_len = htons(static_cast<uint16_t>(sizeof(ip) + size));
    ip.saddr = htonl(kForgerAddress);
    ip.daddr = htonl(kFarAddress);
    ip.check = Checksum(Bytes(ip));
    const uint16_t pseudo[] = {htons(IPPROTO_TCP), htons(size)};
    tcp.check =
        Checksum(Bytes(ip.saddr) + Bytes(ip.daddr) + Bytes(pseudo) + Bytes(tcp) + options + data);
    return wire_.Send(Bytes(ip) + Bytes(tcp) + options + data);
  }

  const Wire& wire_;
  const uint32_t isn_;
  const uint16_t to_;
  const uint16_t from_;
};

std::string BuildClaim(uint8_t size, const mseg_claim& claim) {
  uint8_t bytes[MSEG_PROOF_LEN] = {};
  mseg_build_claim(bytes, MSEG_OPTION_KIND, kWireExid, size, &claim);
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

std::string BuildProof(const mseg_claim& claim, uint64_t mac) {
  std::string bytes = BuildClaim(MSEG_PROOF_LEN, claim);
  mseg_build_proof_mac(reinterpret_cast<uint8_t*>(bytes.data()), mac);
  return bytes;
}

// What stands in the options of a handshake made by hand, from what was captured of a real one.
// `how`: `replay` all of it, with its sequence number; `mac`, a MAC of one's own; `host`, the name
// of another host that is trusted; `stranger`, of one that is not; `claim` and no proof; `none`.
int Forge(uint16_t port, const std::string& file, const std::string& how) {
  Wire wire;
  Captured seen;
  if (const int error = wire.Open(); error != 0) return error;
  std::ifstream in(file, std::ios::binary);
  if (!in.read(reinterpret_cast<char*>(&seen), sizeof(seen))) return kActNotTried;
  mseg_claim claim = mseg_parse_claim(seen.claim);
  const std::string real(reinterpret_cast<const char*>(seen.claim), sizeof(seen.claim));
  const uint64_t mac = uint64_t{Random()} << 32 | Random();
  const Handmade fresh(wire, port, Random());
  if (how == "none") return fresh.Try("", "");
  if (how == "claim") return fresh.Try(real, "");
  if (how == "replay") {
    const std::string proof(reinterpret_cast<const char*>(seen.proof), sizeof(seen.proof));
    return Handmade(wire, port, seen.client_isn).Try(real, proof);
  }
  if (how == "host") claim.host_id = kFarHost;
  if (how == "stranger") claim.host_id = kUnknownHost;
  return fresh.Try(BuildClaim(MSEG_CLAIM_LEN, claim), BuildProof(claim, mac));
}

// Of the network namespace that this process is in.
int SetNetwork(const std::string& name, const std::string& value) {
  std::ofstream file("/proc/sys/net/" + name);
  if (!file) return ENOENT;
  return file << value << std::flush ? 0 : kActNotTried;
}

}  // namespace

int RunWireAct(const std::string& name, const std::vector<std::string>& arguments) {
  auto argument = [&arguments](size_t i) {
    return i < arguments.size() ? arguments[i] : std::string();
  };
  const auto port = static_cast<uint16_t>(atoi(argument(0).c_str()));
  if (name == "reach") return ActTcp(port, kFarAddress);
  if (name == "capture") return Capture(argument(0));
  if (name == "forge") return Forge(port, argument(1), argument(2));
  if (name == "set_network") return SetNetwork(argument(0), argument(1));
  return kActNotTried;
}

}  // namespace mseg::ctl
