// SPDX-License-Identifier: Apache-2.0
#include "labels/simulator.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "labels/text.h"

namespace mseg {
namespace {

constexpr uint64_t kMaxExplainRows = 16'000'000;  // about 1 GiB

constexpr std::string_view kReasons[] = {"none",
                                         "rule",
                                         "default",
                                         "unknown_identity",
                                         "no_row",
                                         "reply",
                                         "no_state",
                                         "no_policy",
                                         "loopback",
                                         "failsafe",
                                         "no_proof",
                                         "bad_proof",
                                         "label_not_permitted",
                                         "no_record",
                                         "passing",
                                         "library"};
static_assert(std::size(kReasons) == MSEG_REASON_MAX);

template <typename Key, typename Value>
const Value* Find(const GenerationImage::Table<Key, Value>& table, const Key& key) {
  const auto it =
      std::lower_bound(table.begin(), table.end(), key, [](const auto& entry, const Key& wanted) {
        return std::memcmp(&entry.first, &wanted, sizeof(Key)) < 0;
      });
  if (it == table.end() || std::memcmp(&it->first, &key, sizeof(Key)) != 0) return nullptr;
  return &it->second;
}

// The end whose verdict names the answer: one that denies, else one where a rule allows, else any
// that judges.
const EndVerdict* NamingEnd(const EndVerdict& egress, const EndVerdict& ingress) {
  for (const EndVerdict* end : {&egress, &ingress}) {
    if (end->judged && end->decision.verdict == MSEG_DENY) return end;
  }
  for (const EndVerdict* end : {&egress, &ingress}) {
    if (end->judged && end->decision.reason == MSEG_REASON_RULE) return end;
  }
  return egress.judged ? &egress : ingress.judged ? &ingress : nullptr;
}

// Of a table that is sorted by number and leaves out what is zero.
template <typename Value>
Value At(const GenerationImage::Table<uint32_t, Value>& table, uint32_t number) {
  const auto it = std::lower_bound(
      table.begin(), table.end(), number,
      [](const std::pair<uint32_t, Value>& entry, uint32_t key) { return entry.first < key; });
  return it != table.end() && it->first == number ? it->second : Value{};
}

// The fall-back chain of abi.h.
mseg_identity_value Chain(const GenerationImage& image, uint64_t cgroup, uint64_t exe,
                          uint32_t user) {
  mseg_identity_key key{};
  key.cgroup = cgroup;
  for (const auto& [e, u] : {std::pair(exe, user), std::pair(exe, MSEG_USER_OTHER),
                             std::pair(uint64_t{MSEG_EXE_OTHER}, user),
                             std::pair(uint64_t{MSEG_EXE_OTHER}, MSEG_USER_OTHER)}) {
    key.exe = e;
    key.user = u;
    if (const mseg_identity_value* value = Find(image.identities, key)) return *value;
  }
  return mseg_identity_value{};
}

// The letter of decide.h for what a key asks.
char StepOf(const mseg_row_key& key) {
  if (key.peer == MSEG_PEER_ALL) return key.port != 0 ? 'c' : 'f';
  if ((key.peer & MSEG_PEER_CELL) != 0) return key.port != 0 ? 'd' : 'e';
  return key.port != 0 ? 'a' : 'b';
}

}  // namespace

std::string_view ReasonName(uint8_t reason) {
  return reason < MSEG_REASON_MAX ? kReasons[reason] : "none";
}
std::string_view DirectionName(uint8_t direction) {
  return direction == MSEG_EGRESS ? "egress" : "ingress";
}
std::string_view VerdictName(uint8_t verdict) { return verdict == MSEG_ALLOW ? "allow" : "deny"; }

std::string ProbeText(std::string_view direction, const Probe& probe) {
  std::string peer = "any peer";
  const char* local = "tail";
  if ((probe.key.peer & MSEG_PEER_CELL) == 0) {
    local = "end";
    peer = Cat("peer class ", probe.key.peer);
  } else if (probe.key.peer != MSEG_PEER_ALL) {
    peer = Cat("peer cell ", probe.key.peer & ~MSEG_PEER_CELL);
  }
  const std::string port = probe.key.port == 0 ? "any port" : Cat("port class ", probe.key.port);
  return Cat(direction, " ", std::string(1, probe.step), ": ", local, " ", probe.key.local, ", ",
             peer, ", ", port, probe.hit ? ": found" : ": nothing");
}

// What decide.h asks through its look-up function.
struct Simulator::Lookup {
  const GenerationImage* image;
  std::vector<Probe>* probes;  // may be null

  static const mseg_row* Row(const void* context, const mseg_row_key* key) {
    const Lookup* lookup = static_cast<const Lookup*>(context);
    const mseg_row* row = Find(lookup->image->rows, *key);
    if (lookup->probes != nullptr) {
      lookup->probes->push_back(Probe{.step = StepOf(*key), .key = *key, .hit = row != nullptr});
    }
    return row;
  }
};

uint16_t Simulator::PortClass(uint8_t protocol, uint16_t port) const {
  const auto at = mseg_port_place(0, protocol, port);
  return At(image_->ports, at.block * MSEG_PORT_BLOCK + at.index);
}

// Gathers for decide.h what judge.bpf.h does in the kernel.
mseg_decision Simulator::Trace(uint32_t local, uint32_t peer, mseg_direction direction,
                               uint8_t protocol, uint16_t port, std::vector<Probe>* probes) const {
  const mseg_class as_local = At(image_->classes, local);
  const mseg_class as_peer = At(image_->classes, peer);
  mseg_query query{};
  query.peer = peer;
  query.port = PortClass(protocol, port);
  query.direction = static_cast<uint8_t>(direction);
  mseg_query_local(&query, &as_local);
  if (mseg_cell_is_far(&as_local, &as_peer, query.direction)) {
    const mseg_coarse bits = At(image_->groups, as_peer.group);
    const mseg_coarse mask = At(image_->tails, query.tail);
    query.cell = mseg_cell(&bits, &mask);
  } else {
    query.cell = mseg_near_cell(&as_local, &as_peer, query.direction);
  }
  const Lookup lookup{image_, probes};
  return mseg_decide(&query, &Lookup::Row, &lookup);
}

mseg_decision Simulator::Decide(uint32_t local, uint32_t peer, mseg_direction direction,
                                uint8_t protocol, uint16_t port) const {
  return Trace(local, peer, direction, protocol, port, nullptr);
}

mseg_identity_value Simulator::Identity(uint64_t cgroup_id, uint32_t exe_ref, mseg_grade grade,
                                        uint32_t uid) const {
  mseg_identity_key key{};
  mseg_cgroup_key cgroup_key{};
  cgroup_key.id = cgroup_id;
  const mseg_cgroup* cgroup = Find(image_->cgroups, cgroup_key);
  key.cgroup = cgroup == nullptr ? MSEG_CGROUP_PENDING : cgroup->cls;
  mseg_exe_class_key exe_key{};
  exe_key.ref = exe_ref;
  exe_key.grade = static_cast<uint8_t>(grade);
  const uint64_t* exe = exe_ref == 0 ? nullptr : Find(image_->exe_classes, exe_key);
  const uint64_t exe_class = exe_ref == 0     ? MSEG_EXE_UNKNOWN
                             : exe == nullptr ? MSEG_EXE_OTHER
                                              : *exe;
  mseg_user_key user_key{};
  user_key.uid = uid;
  const uint32_t* user = Find(image_->users, user_key);
  const uint32_t user_class = user == nullptr ? MSEG_USER_OTHER : *user;
  return Chain(*image_, key.cgroup, exe_class, user_class);
}

std::optional<uint32_t> Simulator::RemoteClass(const mseg_identity& id) const {
  mseg_peer_label_key label_key{};
  label_key.label_id = id.label_id;
  label_key.host_id = id.tgid;
  const mseg_peer_label* label = Find(image_->peer_labels, label_key);
  if (label != nullptr && label->permitted == 0) return std::nullopt;
  mseg_peer_exe_key exe_key{};
  exe_key.exe_id = id.exe_id;
  exe_key.grade = id.grade;
  const uint64_t* exe = id.exe_id == 0 ? nullptr : Find(image_->peer_exes, exe_key);
  return Chain(*image_, label == nullptr ? MSEG_CGROUP_PENDING : label->cls,
               exe == nullptr ? MSEG_EXE_UNKNOWN : *exe, MSEG_USER_UNKNOWN)
      .cls;
}

uint32_t Simulator::AddressClass(const IpAddress& address) const {
  for (int bits = 128; bits >= 0; --bits) {
    mseg_address_key key{};
    key.prefixlen = 8u + static_cast<uint32_t>(bits);
    for (int i = 0; i < 16; ++i) {
      const int left = std::clamp(bits - 8 * i, 0, 8);
      key.addr[i] = static_cast<uint8_t>(address[i] & (0xFF00 >> left));
    }
    if (const uint32_t* cls = Find(image_->addresses, key)) return *cls;
  }
  return 0;
}

Explanation ExplainClasses(const Simulator& simulator, bool from_managed, uint32_t from_class,
                           bool to_managed, uint32_t to_class, uint8_t protocol, uint16_t port) {
  Explanation out;
  out.verdict = MSEG_ALLOW;
  out.would_be = MSEG_ALLOW;
  auto judge = [&](bool managed, uint32_t local, uint32_t peer, mseg_direction direction,
                   EndVerdict* end) {
    end->judged = managed;
    end->decision.verdict = MSEG_ALLOW;
    end->decision.would_be = MSEG_ALLOW;
    if (!managed) return;
    end->decision = simulator.Trace(local, peer, direction, protocol, port, &end->probes);
    if (end->decision.verdict == MSEG_DENY) out.verdict = MSEG_DENY;
    if (end->decision.would_be == MSEG_DENY) out.would_be = MSEG_DENY;
  };
  judge(from_managed, from_class, to_class, MSEG_EGRESS, &out.egress);
  judge(to_managed, to_class, from_class, MSEG_INGRESS, &out.ingress);
  const EndVerdict* naming = NamingEnd(out.egress, out.ingress);
  if (naming == nullptr) return out;
  out.reason = naming->decision.reason;
  const uint32_t number = naming->decision.rule;
  const RuleTable& rules = *simulator.image().rules;
  if (number == 0 || number >= rules.size()) return out;
  out.rule = rules[number].Name();
  const Place place = rules[number].place();
  if (!place.file.empty()) out.at = Cat(place.file, ":", place.line);
  return out;
}

absl::StatusOr<ResolvedEnd> ResolveEnd(const PolicySet& policy, const Endpoint& endpoint) {
  ResolvedEnd end;
  end.managed = endpoint.managed();
  switch (endpoint.kind) {
    case Endpoint::Kind::kIp:
      end.address = endpoint.address.value_or(IpAddress{});
      return end;
    case Endpoint::Kind::kLabels:
      end.facts = endpoint.facts;
      return end;
    case Endpoint::Kind::kWorkload: {
      absl::StatusOr<IdentityFacts> facts = WorkloadFacts(policy, endpoint.name);
      if (!facts.ok()) return facts.status();
      end.facts = *std::move(facts);
      return end;
    }
    case Endpoint::Kind::kFile:
    case Endpoint::Kind::kPid:
      break;
  }
  return absl::FailedPreconditionError(
      "a `file:` or `pid:` endpoint must be looked up on its host");
}

absl::StatusOr<std::vector<Explanation>> ExplainAll(const PolicySet& policy, Inventory inventory,
                                                    const CompileOptions& options,
                                                    const std::vector<Query>& queries,
                                                    Diagnostics* diagnostics) {
  std::vector<size_t> places;  // of both ends of each query, among the identities
  for (const Query& query : queries) {
    for (const ResolvedEnd* end : {&query.from, &query.to}) {
      places.push_back(inventory.identities.size());
      if (end->managed) inventory.identities.push_back(end->facts);
    }
  }
  // The kernel's limits are not a question's: a fleet's worth of ends may be asked about at once.
  CompileOptions unbounded = options;
  unbounded.max_rows = kMaxExplainRows;
  unbounded.max_identities = kMaxExplainRows;
  absl::StatusOr<GenerationImage> image = Compile(policy, inventory, unbounded, diagnostics);
  if (!image.ok()) return image.status();
  const Simulator simulator(*image);
  std::vector<Explanation> out;
  out.reserve(queries.size());
  for (size_t i = 0; i < queries.size(); ++i) {
    auto class_of = [&](const ResolvedEnd& end, size_t place) {
      return end.managed ? image->identity_classes[place] : simulator.AddressClass(end.address);
    };
    const Query& query = queries[i];
    out.push_back(ExplainClasses(simulator, query.from.managed, class_of(query.from, places[2 * i]),
                                 query.to.managed, class_of(query.to, places[2 * i + 1]),
                                 query.protocol, query.port));
  }
  return out;
}

}  // namespace mseg
