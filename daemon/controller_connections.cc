// SPDX-License-Identifier: Apache-2.0
// Open connections are judged again when the generation moves, and losers are closed.
#include <netinet/in.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/controller.h"
#include "daemon/host_inventory.h"
#include "daemon/netns.h"
#include "loader/errno_status.h"
#include "loader/socket_diag.h"

namespace mseg {
namespace {

constexpr uint8_t kSynReceived = 3, kListening = 10;
constexpr size_t kHoldersTried = 8;

// Without a row that denies, nothing can lose.
bool Denies(const GenerationImage& image) {
  return std::any_of(image.rows.begin(), image.rows.end(),
                     [](const auto& entry) { return entry.second.verdict == MSEG_DENY; });
}

bool HasCgroup(const GenerationImage& image, uint64_t id) {
  mseg_cgroup_key key{};
  key.id = id;
  const auto it = std::lower_bound(image.cgroups.begin(), image.cgroups.end(), key,
                                   [](const auto& entry, const mseg_cgroup_key& want) {
                                     return BytesLess{}(entry.first, want);
                                   });
  return it != image.cgroups.end() && it->first.id == id;
}

mseg_flow_key FlowKeyOf(const mseg_socket_record& socket) {
  mseg_flow_key key{};
  key.cookie = socket.cookie;
  std::copy(std::begin(socket.remote), std::end(socket.remote), key.peer);
  key.peer_port = socket.remote_port;
  return key;
}

// How a socket came to be, as far as the kernel's maps tell.
absl::Status AddHistory(const Dataplane& dataplane, OpenSocket* socket) {
  const mseg_socket_record& record = socket->record;
  auto opener = dataplane.SocketOwner(record.cookie);
  if (!opener.ok()) return opener.status();
  socket->opener = *opener;
  if (record.protocol == IPPROTO_TCP) {
    auto proven = dataplane.Peer(record.cookie);
    if (!proven.ok()) return proven.status();
    socket->proven = *proven;
  }
  if (record.protocol != IPPROTO_UDP) return absl::OkStatus();
  auto flow =
      dataplane.View<mseg_flow_key, mseg_flow_state>("mseg_udp_flows").Lookup(FlowKeyOf(record));
  if (!flow.ok()) return flow.status();
  if (flow->has_value()) socket->flow = static_cast<mseg_direction>((*flow)->direction);
  auto bound = dataplane.View<uint64_t, mseg_listener_key>("mseg_listening").Lookup(record.cookie);
  if (!bound.ok()) return bound.status();
  socket->bound = bound->has_value();
  return absl::OkStatus();
}

uint64_t MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

struct Controller::Walk {
  OpenSockets open;
  std::map<uint64_t, SocketDiag> namespaces;  // by cookie
};

// What processes hold, then what the namespaces of those sockets have beside it.
absl::StatusOr<Controller::Walk> Controller::WalkConnections(const GenerationImage& image) const {
  Walk walk;
  auto records = dataplane_.OpenSockets();
  if (!records.ok()) return records.status();
  std::map<uint64_t, size_t> tried;
  for (const mseg_socket_record& record : *records) {
    const uint64_t netns = record.netns_cookie;
    if (walk.namespaces.count(netns) != 0 || tried[netns]++ == kHoldersTried) continue;
    auto diag = SocketDiag::Open(record.holder.id.tgid, record.fd, netns);
    if (diag.ok()) walk.namespaces.emplace(netns, *std::move(diag));
  }
  auto listeners = dataplane_.listeners().Dump();
  if (!listeners.ok()) return listeners.status();
  for (const auto& [key, listener] : *listeners) walk.open.listeners.emplace(key, listener);
  for (const mseg_socket_record& record : OnePerSocket(*std::move(records))) {
    if (record.state != kListening)
      walk.open.sockets.push_back(OpenSocket{record, {}, {}, {}, false});
  }
  AddUnheld(image, &walk);
  for (OpenSocket& socket : walk.open.sockets) {
    MSEG_RETURN_IF_ERROR(AddHistory(dataplane_, &socket));
    // The cgroup that it was opened in may be gone; then its holder's says what is left to say.
    if (!socket.opener || HasCgroup(image, socket.opener->cgroup_id) ||
        socket.record.holder.id.cgroup_id == 0) {
      continue;
    }
    if (!CgroupPathOf(options_.cgroup_root, socket.opener->cgroup_id).ok()) {
      socket.opener->cgroup_id = socket.record.holder.id.cgroup_id;
    }
  }
  return walk;
}

// Connections that wait to be accepted, are half-open, or on their way to another process. Those of
// other cgroups are not ours; a half-open one has no cgroup, and is its listener's. Where hosts
// carry identities the end of its handshake is judged, by who proves to be there; now nobody knows.
void Controller::AddUnheld(const GenerationImage& image, Walk* walk) const {
  std::set<uint64_t> held;
  for (const OpenSocket& socket : walk->open.sockets) held.insert(socket.record.cookie);
  std::map<uint64_t, bool> managed = {{0, false}};
  auto is_managed = [&](uint64_t cgroup) {
    const auto [it, fresh] = managed.try_emplace(cgroup, false);
    if (fresh) {
      it->second = HasCgroup(image, cgroup) || CgroupPathOf(options_.cgroup_root, cgroup).ok();
    }
    return it->second;
  };
  for (const auto& [netns, diag] : walk->namespaces) {
    walk->open.addresses.emplace(netns, diag.addresses());
    auto listed = diag.List();
    if (!listed.ok()) {
      log_(absl::StrCat("connections: ", std::string(listed.status().message())));
      continue;
    }
    for (const mseg_socket_record& record : *listed) {
      const bool half_open = record.state == kSynReceived;
      if (held.count(record.cookie) != 0) continue;
      const bool judged_later = half_open && directory_.identity() != nullptr;
      if (!judged_later && (half_open || is_managed(record.holder.id.cgroup_id))) {
        walk->open.sockets.push_back(OpenSocket{record, {}, {}, {}, false});
      } else {
        walk->open.foreign.push_back(record);
      }
    }
  }
}

// As the kernel's tables answer once this image is in force. A cgroup that is younger than the
// image is asked of its classifier, as ClassifyNewCgroups() does.
mseg_identity Controller::ResolveFacts(const Simulator& simulator, mseg_task task) const {
  mseg_identity& id = task.id;
  const bool ambiguous = (id.flags & MSEG_ID_AMBIGUOUS) != 0;
  if (!ambiguous) exes_.BringUpToDate(&task);
  const auto grade = static_cast<mseg_grade>(id.grade);
  const GenerationImage& image = simulator.image();
  if (!ambiguous && !HasCgroup(image, id.cgroup_id)) {
    const ExecutableInfo* exe = exes_.ByRef(id.exe_ref);
    if (auto path = CgroupPathOf(options_.cgroup_root, id.cgroup_id); path.ok()) {
      IdentityFacts facts;
      facts.cgroup = *path;
      facts.uid = id.uid;
      facts.exe = exe == nullptr ? IdentityFacts::Exe::kUnknown : IdentityFacts::Exe::kKnown;
      if (exe != nullptr) facts.executable = *exe;
      facts.executable.grade = grade;
      if (const auto cls = image.classifier->ClassOf(facts)) {
        id.cls = *cls;
        return id;
      }
    }
  }
  const mseg_identity_value value =
      simulator.Identity(ambiguous ? 0 : id.cgroup_id, ambiguous ? 0 : id.exe_ref, grade, id.uid);
  id.label_id = value.label_id;
  id.cls = value.cls;
  return id;
}

std::vector<DeniedConnection> Controller::Denied(const Walk& walk,
                                                 const GenerationImage& image) const {
  const Simulator simulator(image);
  return FindDenied(walk.open, simulator,
                    [&](const mseg_task& task) { return ResolveFacts(simulator, task); });
}

uint64_t Controller::CountDenied(const GenerationImage& image) {
  if (!Denies(image)) return 0;
  auto walk = WalkConnections(image);
  if (walk.ok()) return Denied(*walk, image).size();
  log_(absl::StrCat("connections: cannot tell how many will close: ",
                    std::string(walk.status().message())));
  return 0;
}

Controller::Closing Controller::CloseDenied() {
  if (!Denies(*image_)) return {};
  auto walk = WalkConnections(*image_);
  if (!walk.ok()) {
    log_(absl::StrCat("connections: those that the policy denies stay open: ",
                      std::string(walk.status().message())));
    return {};
  }
  uint64_t closed = 0, failed = 0;
  absl::Status failure;
  std::vector<DeniedConnection> denied = Denied(*walk, *image_);
  flows_.BeginBatch();
  for (DeniedConnection& connection : denied) {
    bool done = false;
    absl::Status trouble;
    for (const size_t i : connection.sockets) {
      const mseg_socket_record& socket = walk->open.sockets[i].record;
      const auto diag = walk->namespaces.find(socket.netns_cookie);
      absl::StatusOr<bool> gone = absl::NotFoundError("no way into its network namespace");
      if (diag != walk->namespaces.end()) gone = diag->second.Destroy(socket);
      if (gone.ok()) {
        done = done || *gone;
      } else {
        trouble = gone.status();
      }
    }
    if (done) {
      closed++;
      connection.event.time_ns = MonotonicNow();
      connection.event.generation = generation_;
      flows_.Add(connection.event);
    } else if (!trouble.ok()) {
      failed++;
      failure = trouble;
    }
  }
  connections_closed_ += closed;
  connections_not_closed_ += failed;
  if (closed != 0) {
    log_(absl::StrCat("connections: ", closed, " closed, which generation ", generation_,
                      " denies"));
  }
  if (failed != 0) {
    log_(absl::StrCat("connections: ", failed, " that generation ", generation_,
                      " denies stay open: ", std::string(failure.message())));
  }
  return {.denied = denied.size(), .closed = closed};
}

// A socket whose handshake lost carries nothing any more (bpf/quarantine.bpf.c); it is closed so
// that its processes learn of it.
void Controller::OnQuarantine(const mseg_quarantine_event& event) {
  if (image_ == nullptr) return;
  auto walk = WalkConnections(*image_);
  absl::StatusOr<bool> gone = walk.status().ok() ? absl::StatusOr<bool>(false) : walk.status();
  if (walk.ok()) {
    for (const OpenSocket& socket : walk->open.sockets) {
      if (socket.record.cookie != event.cookie) continue;
      const auto diag = walk->namespaces.find(socket.record.netns_cookie);
      gone = diag == walk->namespaces.end()
                 ? absl::StatusOr<bool>(absl::NotFoundError("no way into its network namespace"))
                 : diag->second.Destroy(socket.record);
      break;
    }
  }
  if (!gone.ok()) {
    log_(absl::StrCat("connections: a quarantined socket stays open: ",
                      std::string(gone.status().message())));
  }
}

// An entry goes when its socket is released; a connection that was closed before anybody accepted
// it is released without a word. What is missing from two walks is gone.
void Controller::ForgetGonePeers() {
  auto known = dataplane_.PeerCookies();
  if (!known.ok() || known->empty()) return;
  auto walk = WalkConnections(*image_);
  if (!walk.ok()) return;
  std::set<uint64_t> open, missing;
  for (const OpenSocket& socket : walk->open.sockets) open.insert(socket.record.cookie);
  for (const mseg_socket_record& record : walk->open.foreign) open.insert(record.cookie);
  for (const uint64_t cookie : *known) {
    if (open.count(cookie) != 0) continue;
    if (missing_peers_.count(cookie) == 0) {
      missing.insert(cookie);
    } else if (const absl::Status status = dataplane_.ForgetPeer(cookie); !status.ok()) {
      log_(absl::StrCat("connections: ", std::string(status.message())));
    }
  }
  missing_peers_ = std::move(missing);
}

// Where somebody listens, a refused client is to learn of it at once.
void Controller::AttachRefusals() {
  auto listeners = dataplane_.listeners().Dump();
  if (!listeners.ok()) return;
  for (const auto& [key, listener] : *listeners) {
    if (key.protocol != IPPROTO_TCP || refusing_in_.count(key.netns_cookie) != 0) continue;
    const uint32_t pid = listener.owner.id.tgid;
    const auto view = LookFromProcess(pid, IpAddress{});
    if (!view.ok() || view->cookie != key.netns_cookie) continue;
    const absl::Status status = refusals_.AttachIn(pid, key.netns_cookie);
    if (status.ok()) {
      refusing_in_.insert(key.netns_cookie);
    } else {
      log_(absl::StrCat("refusals: clients that a listener refuses will time out: ",
                        std::string(status.message())));
      refusing_in_.insert(key.netns_cookie);
    }
  }
  refusals_.ForgetGone();
}

// A walk can miss a connection that comes to be while it runs, so there are several.
void Controller::CloseDeniedLater(int times, std::chrono::milliseconds delay) {
  if (walks_due_ == 0) next_walk_ = std::chrono::steady_clock::now() + delay;
  walks_due_ = std::max(walks_due_, times);
}

void Controller::CloseDeniedIfDue() {
  if (walks_due_ == 0 || std::chrono::steady_clock::now() < next_walk_) return;
  walks_due_--;
  CloseDenied();
  next_walk_ = std::chrono::steady_clock::now() + kSecondWalk;
}

}  // namespace mseg
