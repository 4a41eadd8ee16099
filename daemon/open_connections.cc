// SPDX-License-Identifier: Apache-2.0
#include "daemon/open_connections.h"

#include <netinet/in.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace mseg {
namespace {

constexpr uint8_t kSynSent = 2, kSynReceived = 3, kNewSynReceived = 12;
constexpr size_t kNone = SIZE_MAX;

// Both ends of a socket, to find the one at the other end. Network namespace 0: any.
struct Tuple {
  uint64_t netns = 0;
  IpAddress local{};
  IpAddress remote{};
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  uint8_t protocol = 0;

  auto operator<=>(const Tuple&) const = default;
};

IpAddress AddressOf(const uint8_t (&bytes)[16]) {
  IpAddress out;
  std::copy(std::begin(bytes), std::end(bytes), out.begin());
  return out;
}

Tuple TupleOf(const mseg_socket_record& record) {
  return {record.netns_cookie, AddressOf(record.local), AddressOf(record.remote),
          record.local_port,   record.remote_port,      record.protocol};
}

Tuple Reversed(Tuple tuple) {
  std::swap(tuple.local, tuple.remote);
  std::swap(tuple.local_port, tuple.remote_port);
  return tuple;
}

mseg_task TaskOf(const mseg_identity& id) {
  mseg_task task{};
  task.id = id;
  task.exe.flags = MSEG_FILE_UNLINKED;  // what it ran then is known or stays unknown
  return task;
}

// One end: a process, or an address.
struct Party {
  mseg_identity id{};
  uint32_t cls = 0;
  bool known = false;    // a process of this host
  bool proven = false;   // of another one
  bool refused = false;  // its host may not say what it said
};

class Judge {
 public:
  Judge(const OpenSockets& open, const Simulator& simulator, const ResolveIdentity& resolve)
      : open_(open), simulator_(simulator), resolve_(resolve), initiator_(open.sockets.size()) {}

  std::vector<DeniedConnection> Run();

 private:
  const mseg_socket_record& Record(size_t i) const { return open_.sockets[i].record; }
  const mseg_listener* FindListener(uint64_t netns, const IpAddress& address, uint8_t protocol,
                                    uint16_t port) const;
  const mseg_listener* OwnListener(size_t i) const;
  bool IsLocalAddress(uint64_t netns, const IpAddress& address) const;
  std::optional<bool> KnownToInitiate(size_t i) const;
  void FindPairs();
  void FindInitiators();
  Party Resolve(const mseg_task& task) const;
  Party Self(size_t i) const;
  Party PeerOf(size_t i) const;
  mseg_decision Decide(const Party& local, const Party& peer, mseg_direction direction,
                       size_t i) const;
  std::optional<mseg_flow_event> JudgeInitiator(size_t i) const;
  std::optional<mseg_flow_event> JudgeResponder(size_t i) const;

  const OpenSockets& open_;
  const Simulator& simulator_;
  const ResolveIdentity& resolve_;
  std::vector<bool> initiator_;
  std::vector<size_t> pair_;  // the other end in the same network namespace
  std::set<Tuple> foreign_;
  std::vector<size_t> beyond_;  // in another one; by address only, so good for counting
};

const mseg_listener* Judge::FindListener(uint64_t netns, const IpAddress& address, uint8_t protocol,
                                         uint16_t port) const {
  mseg_listener_key key{};
  key.netns_cookie = netns;
  key.port = port;
  key.protocol = protocol;
  auto find = [&](const IpAddress& at) -> const mseg_listener* {
    std::copy(at.begin(), at.end(), key.addr);
    const auto it = open_.listeners.find(key);
    return it == open_.listeners.end() ? nullptr : &it->second;
  };
  if (const mseg_listener* found = find(address)) return found;
  if (IsIpv4(address)) {
    IpAddress any = address;
    std::fill(any.begin() + 12, any.end(), uint8_t{0});
    if (const mseg_listener* found = find(any)) return found;
  }
  return find(IpAddress{});
}

const mseg_listener* Judge::OwnListener(size_t i) const {
  const mseg_socket_record& at = Record(i);
  return FindListener(at.netns_cookie, AddressOf(at.local), at.protocol, at.local_port);
}

bool Judge::IsLocalAddress(uint64_t netns, const IpAddress& address) const {
  if (IsLoopback(address)) return true;
  const auto it = open_.addresses.find(netns);
  return it != open_.addresses.end() &&
         std::find(it->second.begin(), it->second.end(), address) != it->second.end();
}

std::optional<bool> Judge::KnownToInitiate(size_t i) const {
  const OpenSocket& socket = open_.sockets[i];
  if (socket.record.protocol == IPPROTO_UDP) {
    if (socket.flow) return *socket.flow == MSEG_EGRESS;
    if (socket.opener || !socket.bound) return true;
    return std::nullopt;
  }
  if (socket.opener || socket.record.state == kSynSent) return true;
  if (socket.record.state == kSynReceived || socket.record.state == kNewSynReceived) return false;
  if (OwnListener(i) != nullptr) return false;
  return std::nullopt;
}

void Judge::FindPairs() {
  const size_t count = open_.sockets.size();
  std::map<Tuple, size_t> here;
  std::multimap<Tuple, size_t> anywhere;
  for (size_t i = 0; i < count; i++) {
    Tuple tuple = TupleOf(Record(i));
    here.emplace(tuple, i);
    tuple.netns = 0;
    anywhere.emplace(tuple, i);
  }
  for (const mseg_socket_record& record : open_.foreign) foreign_.insert(TupleOf(record));
  pair_.assign(count, kNone);
  beyond_.assign(count, kNone);
  for (size_t i = 0; i < count; i++) {
    Tuple other = Reversed(TupleOf(Record(i)));
    const auto it = here.find(other);
    if (it != here.end()) {
      if (it->second != i) pair_[i] = it->second;
      continue;
    }
    other.netns = 0;
    const auto [first, last] = anywhere.equal_range(other);
    if (first != last && std::next(first) == last && !IsLoopback(other.local)) {
      beyond_[i] = first->second;
    }
  }
}

void Judge::FindInitiators() {
  std::vector<std::optional<bool>> known;
  for (size_t i = 0; i < initiator_.size(); i++) known.push_back(KnownToInitiate(i));
  for (size_t i = 0; i < initiator_.size(); i++) {
    const mseg_socket_record& record = Record(i);
    const size_t other = pair_[i];
    if (known[i].has_value()) {
      initiator_[i] = *known[i];
    } else if (other != kNone && known[other].has_value()) {
      initiator_[i] = !*known[other];
    } else {
      initiator_[i] = record.local_port >= record.remote_port;
    }
  }
}

Party Judge::Resolve(const mseg_task& task) const {
  Party out;
  out.known = true;
  out.id = resolve_(task);
  out.cls = out.id.cls;
  return out;
}

Party Judge::Self(size_t i) const {
  const OpenSocket& socket = open_.sockets[i];
  if (!initiator_[i]) {
    if (const mseg_listener* listener = OwnListener(i)) return Resolve(listener->owner);
  }
  return Resolve(socket.opener ? TaskOf(*socket.opener) : socket.record.holder);
}

Party Judge::PeerOf(size_t i) const {
  const mseg_socket_record& at = Record(i);
  const IpAddress remote = AddressOf(at.remote);
  if (pair_[i] != kNone) return Self(pair_[i]);
  if (initiator_[i] && IsLocalAddress(at.netns_cookie, remote)) {
    const mseg_listener* listener =
        FindListener(at.netns_cookie, remote, at.protocol, at.remote_port);
    if (listener != nullptr) return Resolve(listener->owner);
  }
  Party out;
  const std::optional<mseg_identity>& proven = open_.sockets[i].proven;
  if (proven.has_value()) {
    out.id = *proven;
    out.proven = true;
    const auto cls = simulator_.RemoteClass(*proven);
    out.refused = !cls.has_value();
    out.cls = cls.value_or(0);
    return out;
  }
  out.cls = simulator_.AddressClass(remote);
  return out;
}

// The verdict of one end of socket i's connection; the service is the responder's port.
mseg_decision Judge::Decide(const Party& local, const Party& peer, mseg_direction direction,
                            size_t i) const {
  const mseg_socket_record& at = Record(i);
  if (peer.refused) {
    mseg_decision refusal{};
    refusal.reason = refusal.would_reason = MSEG_REASON_LABEL_NOT_PERMITTED;
    return refusal;
  }
  return simulator_.Decide(local.cls, peer.cls, direction, at.protocol,
                           initiator_[i] ? at.remote_port : at.local_port);
}

mseg_flow_event EventOf(const mseg_socket_record& at, bool initiator, const Party& local,
                        const Party& peer, mseg_direction direction, const mseg_decision& d) {
  mseg_flow_event event{};
  event.type = MSEG_EVENT_FLOW;
  event.local = local.id;
  event.peer_known = peer.known || peer.proven ? 1 : 0;
  if (event.peer_known) event.peer = peer.id;
  // The peer of the end that judges; `at` is the initiator's socket, or the only one seen.
  const bool judged_here = initiator == (direction == MSEG_EGRESS);
  std::copy(std::begin(at.local), std::end(at.local), event.peer_addr);
  if (judged_here) std::copy(std::begin(at.remote), std::end(at.remote), event.peer_addr);
  event.peer_port = judged_here ? at.remote_port : at.local_port;
  event.port = initiator ? at.remote_port : at.local_port;
  event.rule = d.rule;
  event.would_rule = d.would_rule;
  event.protocol = at.protocol;
  event.direction = static_cast<uint8_t>(direction);
  event.verdict = d.verdict;
  event.would_be = d.would_be;
  event.reason = d.reason;
  event.would_reason = d.would_reason;
  event.hook = MSEG_HOOK_REVOKE;
  event.count = 1;
  return event;
}

std::optional<mseg_flow_event> Judge::JudgeInitiator(size_t i) const {
  const Party self = Self(i);
  const Party peer = PeerOf(i);
  const mseg_decision egress = Decide(self, peer, MSEG_EGRESS, i);
  if (egress.verdict != MSEG_ALLOW) {
    return EventOf(Record(i), true, self, peer, MSEG_EGRESS, egress);
  }
  if (!peer.known) return std::nullopt;
  const mseg_decision ingress = Decide(peer, self, MSEG_INGRESS, i);
  if (ingress.verdict == MSEG_ALLOW) return std::nullopt;
  return EventOf(Record(i), true, peer, self, MSEG_INGRESS, ingress);
}

std::optional<mseg_flow_event> Judge::JudgeResponder(size_t i) const {
  // With the initiator in the same namespace, both ends are judged there.
  if (pair_[i] != kNone && initiator_[pair_[i]]) return std::nullopt;
  if (pair_[i] == kNone && IsLocalAddress(Record(i).netns_cookie, AddressOf(Record(i).remote)) &&
      foreign_.count(Reversed(TupleOf(Record(i)))) == 0) {
    return std::nullopt;
  }
  // Half-open, and behind a listener that is not managed.
  if (Record(i).holder.id.cgroup_id == 0 && OwnListener(i) == nullptr) return std::nullopt;
  const Party self = Self(i);
  const Party peer = PeerOf(i);
  const mseg_decision ingress = Decide(self, peer, MSEG_INGRESS, i);
  if (ingress.verdict == MSEG_ALLOW) return std::nullopt;
  return EventOf(Record(i), false, self, peer, MSEG_INGRESS, ingress);
}

std::vector<DeniedConnection> Judge::Run() {
  FindPairs();
  FindInitiators();
  std::vector<DeniedConnection> denied;
  std::vector<size_t> place(initiator_.size(), kNone);  // of a socket's connection in `denied`
  auto add = [&](size_t at, size_t socket) {
    if (place[socket] == at) return;
    place[socket] = at;
    denied[at].sockets.push_back(socket);
  };
  for (size_t i = 0; i < initiator_.size(); i++) {
    const auto event = initiator_[i] ? JudgeInitiator(i) : JudgeResponder(i);
    if (!event) continue;
    size_t at = place[i];
    for (const size_t other : {pair_[i], beyond_[i]}) {
      if (at == kNone && other != kNone) at = place[other];
    }
    if (at == kNone) {
      at = denied.size();
      denied.push_back({{}, *event});
    }
    add(at, i);
    if (pair_[i] != kNone) add(at, pair_[i]);
  }
  return denied;
}

}  // namespace

std::vector<mseg_socket_record> OnePerSocket(std::vector<mseg_socket_record> records) {
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) {
    return std::tie(a.cookie, a.holder_start_ns, a.holder.id.tgid, a.fd) <
           std::tie(b.cookie, b.holder_start_ns, b.holder.id.tgid, b.fd);
  });
  const auto last = std::unique(records.begin(), records.end(),
                                [](const auto& a, const auto& b) { return a.cookie == b.cookie; });
  records.erase(last, records.end());
  return records;
}

std::vector<DeniedConnection> FindDenied(const OpenSockets& open, const Simulator& simulator,
                                         const ResolveIdentity& resolve) {
  return Judge(open, simulator, resolve).Run();
}

}  // namespace mseg
