// SPDX-License-Identifier: Apache-2.0
#include "daemon/flow_log.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "labels/address.h"
#include "labels/address_classes.h"
#include "labels/ast.h"
#include "labels/simulator.h"

namespace mseg {
namespace {

constexpr size_t kKeptGenerations = 16;
constexpr size_t kDefaultPage = 1000;

int64_t Micros(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1000000 + now.tv_nsec / 1000;
}

// What the kernel counts as equal, too.
std::string EventKey(const mseg_flow_event& event) {
  return std::string(reinterpret_cast<const char*>(&event), MSEG_FLOW_EQUAL_BYTES);
}

std::string RuleName(const GenerationNames* names, uint32_t rule) {
  if (names == nullptr || rule == 0 || rule >= names->rules->size()) return "";
  return (*names->rules)[rule].Name();
}

const LabelSet* LabelsOf(const GenerationNames* names, const mseg_identity& id) {
  if (names == nullptr) return nullptr;
  const auto it = names->label_sets->find(id.label_id);
  return it == names->label_sets->end() ? nullptr : &it->second;
}

template <typename End>
void RenderIdentity(const mseg_identity& id, const GenerationNames* names,
                    const FlowLog::FindExe& exes, End* out) {
  if (const LabelSet* labels = LabelsOf(names, id)) out->labels = labels->values();
  out->grade = std::string(GradeName(static_cast<mseg_grade>(id.grade)));
  const ExecutableInfo* exe = exes(id);
  if (exe == nullptr) return;
  out->exe = exe->path;
  if (exe->kernel) return;
  out->digest = DigestText(exe->digest);
  if (!exe->script) return;
  out->script = exe->script->path;
  out->script_digest = DigestText(exe->script->digest);
}

}  // namespace

std::string ProtocolName(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_ICMP:
      return "icmp";
    case IPPROTO_ICMPV6:
      return "icmpv6";
    case IPPROTO_SCTP:
      return "sctp";
    default:
      return std::to_string(protocol);
  }
}

std::string HookName(uint8_t hook) {
  switch (hook) {
    case MSEG_HOOK_CONNECT:
      return "connect";
    case MSEG_HOOK_SENDMSG:
      return "sendmsg";
    case MSEG_HOOK_INGRESS:
      return "ingress";
    case MSEG_HOOK_LSM_CONNECT:
      return "lsm_connect";
    case MSEG_HOOK_LSM_SENDMSG:
      return "lsm_sendmsg";
    case MSEG_HOOK_TEST:
      return "test";
    case MSEG_HOOK_REVOKE:
      return "revoke";
    case MSEG_HOOK_ESTABLISHED:
      return "established";
    case MSEG_HOOK_SOCK_CREATE:
      return "sock_create";
    case MSEG_HOOK_LSM_SOCKET_CREATE:
      return "lsm_socket_create";
    case MSEG_HOOK_LSM_TUN:
      return "lsm_tun";
    case MSEG_HOOK_LSM_SQPOLL:
      return "lsm_uring_sqpoll";
    case MSEG_HOOK_LSM_FILE_RECEIVE:
      return "lsm_file_receive";
    case MSEG_HOOK_LSM_PTRACE:
      return "lsm_ptrace";
    case MSEG_HOOK_LSM_BPF:
      return "lsm_bpf";
    case MSEG_HOOK_LSM_ACCEPT:
      return "lsm_accept";
    case MSEG_HOOK_LSM_UNIX:
      return "lsm_unix";
    case MSEG_HOOK_LSM_LIBRARY:
      return "lsm_library";
    default:
      return "";
  }
}

std::string ProofName(uint8_t proof) {
  switch (proof) {
    case MSEG_PROOF_BOUND:
      return "bound";
    case MSEG_PROOF_UNBOUND:
      return "unbound";
    case MSEG_PROOF_NONE:
      return "none";
    case MSEG_PROOF_LEGACY:
      return "legacy";
    default:
      return "";
  }
}

std::shared_ptr<const GenerationNames> NamesOf(uint32_t generation, const GenerationImage& image) {
  auto names = std::make_shared<GenerationNames>();
  names->generation = generation;
  names->rules = image.rules;
  names->label_sets = image.label_sets;
  names->regions = image.regions;
  return names;
}

void FlowLog::AddGeneration(std::shared_ptr<const GenerationNames> names) {
  generations_.push_back(std::move(names));
  if (generations_.size() > kKeptGenerations) generations_.pop_front();
}

std::shared_ptr<const GenerationNames> FlowLog::FindNames(uint32_t generation) const {
  const auto it = std::find_if(generations_.rbegin(), generations_.rend(),
                               [generation](const auto& n) { return n->generation == generation; });
  return it == generations_.rend() ? nullptr : *it;
}

void FlowLog::BeginBatch() {
  batch_.clear();
  clock_offset_us_ = Micros(CLOCK_REALTIME) - Micros(CLOCK_MONOTONIC);
}

void FlowLog::Add(const mseg_flow_event& event) {
  const int64_t time_us = static_cast<int64_t>(event.time_ns / 1000) + clock_offset_us_;
  judged_ += event.count;
  const auto [it, fresh] = batch_.try_emplace(EventKey(event), next_number_);
  if (!fresh && it->second >= first_number()) {
    Record& record = records_[it->second - first_number()];
    record.count += event.count;
    // What was counted may come after what happened later on another processor.
    if (time_us >= record.time_us) {
      record.time_us = time_us;
      record.event.peer_port = event.peer_port;
    }
    return;
  }
  it->second = next_number_++;
  records_.push_back({event, time_us, event.count, FindNames(event.generation)});
  if (records_.size() > capacity_) records_.pop_front();
}

api::FlowRecord FlowLog::Render(const Record& record, const FindExe& exes) const {
  const mseg_flow_event& event = record.event;
  const GenerationNames* names = record.names.get();
  api::FlowRecord out;
  out.time_us = record.time_us;
  out.direction = std::string(DirectionName(event.direction));
  out.protocol = ProtocolName(event.protocol);
  RenderIdentity(event.local, names, exes, &out.local);
  out.local.pid = event.local.tgid;
  IpAddress address;
  std::copy(std::begin(event.peer_addr), std::end(event.peer_addr), address.begin());
  if (event.peer_known) {
    RenderIdentity(event.peer, names, exes, &out.peer);
  } else {
    out.peer.grade = std::string(GradeName(MSEG_GRADE_UNKNOWN));
    if (names != nullptr) out.peer.labels = RegionOf(*names->regions, address).labels.values();
  }
  out.peer.address = IpAddressText(address);
  out.peer.port = event.peer_port;
  out.port = event.port;
  out.verdict = std::string(VerdictName(event.verdict));
  out.would_be = std::string(VerdictName(event.would_be));
  out.reason = std::string(ReasonName(event.reason));
  out.rule = RuleName(names, event.rule);
  out.would_rule = RuleName(names, event.would_rule);
  out.hook = HookName(event.hook);
  out.proof = ProofName(event.proof);
  out.generation = event.generation;
  out.count = record.count;
  return out;
}

std::optional<FlowLog::Refusal> FlowLog::LastRefusal(uint32_t pid, const FindExe& exes) const {
  const Record* last = nullptr;  // a record may say of an earlier one's time what came after it
  for (const Record& record : records_) {
    const mseg_flow_event& event = record.event;
    const bool wanted =
        pid == 0 || event.local.tgid == pid ||
        (event.peer_known && !(event.peer.flags & MSEG_ID_REMOTE) && event.peer.tgid == pid);
    if (event.verdict != MSEG_DENY || !wanted) continue;
    if (last == nullptr || record.time_us >= last->time_us) last = &record;
  }
  if (last == nullptr) return std::nullopt;
  return Refusal{last->event, Render(*last, exes)};
}

api::FlowPage FlowLog::Read(const api::FlowsRequest& request, const FindExe& exes) const {
  api::FlowPage page;
  const size_t limit =
      std::min<size_t>(request.limit == 0 ? kDefaultPage : request.limit, api::kMaxFlowPage);
  auto passes = [&request](const Record& record) {
    if (!request.verdict.empty() && VerdictName(record.event.verdict) != request.verdict) {
      return false;
    }
    return record.time_us >= request.since_unix_us;
  };
  if (request.cursor.has_value()) {
    // A cursor is the number of the last record that was given.
    const uint64_t from = std::max(*request.cursor + 1, first_number());
    page.lost =
        *request.cursor == 0 || *request.cursor >= next_number_ ? 0 : from - *request.cursor - 1;
    uint64_t number = std::min(from, next_number_);
    for (; number < next_number_ && page.records.size() < limit; number++) {
      const Record& record = records_[number - first_number()];
      if (passes(record)) page.records.push_back(Render(record, exes));
    }
    page.next_cursor = number - 1;
    return page;
  }
  for (auto it = records_.rbegin(); it != records_.rend() && page.records.size() < limit; ++it) {
    if (passes(*it)) page.records.push_back(Render(*it, exes));
  }
  std::reverse(page.records.begin(), page.records.end());
  page.next_cursor = next_number_ - 1;
  return page;
}

}  // namespace mseg
