// SPDX-License-Identifier: Apache-2.0
// Why was it refused, and what would allow it?
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "daemon/controller.h"
#include "daemon/host_inventory.h"
#include "daemon/netns.h"
#include "labels/allow_document.h"
#include "labels/endpoint.h"
#include "labels/simulator.h"
#include "loader/errno_status.h"

namespace mseg {

struct Controller::WhyEnds {
  ResolvedEnd from, to;
  AllowEnd allow_from, allow_to;
  api::WhyEnd server;
  std::string note;
  uint8_t protocol = 0;
  uint16_t port = 0;
};

namespace {

// A destination of all zeroes means this host to the kernel.
IpAddress Destination(IpAddress address) {
  const bool v4 = IsIpv4(address);
  const size_t from = v4 ? 12 : 0;
  if (std::any_of(address.begin() + from, address.end(), [](uint8_t b) { return b != 0; })) {
    return address;
  }
  if (v4) address[12] = 127;
  address[15] = 1;
  return address;
}

LabelSet ToLabelSet(const api::Labels& labels) {
  LabelSet set;
  for (const auto& [key, value] : labels) {
    if (!set.Set(key, value).ok()) set.SetReserved(key, value);
  }
  return set;
}

AllowEnd ToAllowEnd(const api::WhyEnd& end, const ExecutableInfo* executable,
                    const IpAddress& address) {
  AllowEnd out;
  out.managed = end.managed;
  out.labels = ToLabelSet(end.labels);
  if (executable != nullptr) out.executable = *executable;
  out.address = address;
  return out;
}

api::WhyEnd ToWhyEnd(const api::Process& process, const std::string& address) {
  api::WhyEnd end;
  end.managed = true;
  end.pid = process.pid;
  end.labels = process.labels;
  end.exe = process.exe;
  end.digest = process.digest;
  end.script = process.script;
  end.script_digest = process.script_digest;
  end.grade = process.grade;
  end.user = process.user;
  end.address = address;
  return end;
}

bool DeniedByRule(const EndVerdict& end) {
  return end.judged && end.decision.verdict == MSEG_DENY && end.decision.reason == MSEG_REASON_RULE;
}

// What can be done about a refusal: a document, or the reason why none would help.
void Advise(bool by_rule, uint8_t reason, const AllowEnd& from, const AllowEnd& to,
            uint8_t protocol, uint16_t port, api::WhyAnswer* answer) {
  std::string advice;
  if (by_rule) {
    advice = "A deny rule decides, which no allow rule outweighs: change or remove that rule";
  } else if (reason == MSEG_REASON_UNKNOWN_IDENTITY) {
    advice =
        "A rule would allow it if the identity of both ends were certain; see `msegctl identity "
        "show`";
  } else if (reason != MSEG_REASON_DEFAULT) {
    advice = "No rule is behind this refusal; docs/reasons.md says what the reason means";
  } else if (auto document = AllowDocument(from, to, protocol, port); document.ok()) {
    answer->allow = *document;
  } else {
    advice = std::string(document.status().message());
  }
  if (!advice.empty() && !answer->note.empty()) answer->note += ". ";
  answer->note += advice;
}

}  // namespace

absl::StatusOr<api::WhyAnswer> Controller::Why(const api::WhyRequest& request) {
  const std::lock_guard lock(mutex_);
  MSEG_RETURN_IF_ERROR(ReadFlows());
  return request.last ? WhyRefused(request.pid) : WhyNow(request);
}

// FILE:LINE of `POLICY/RULE` in the policy in force; empty if it is not there any more.
std::string Controller::PlaceOfRule(const std::string& rule) const {
  for (const RuleInfo& info : *image_->rules) {
    if (info.Name() == rule) return absl::StrCat(info.place().file, ":", info.place().line);
  }
  return "";
}

absl::StatusOr<api::WhyAnswer> Controller::WhyRefused(uint32_t pid) {
  const auto found = flows_.LastRefusal(pid, [this](const mseg_identity& id) { return ExeOf(id); });
  if (!found.has_value()) {
    return absl::NotFoundError(absl::StrCat("no refusal ",
                                            pid == 0 ? "" : absl::StrCat("of process ", pid, " "),
                                            "is on record since msegd started"));
  }
  const api::FlowRecord& flow = found->record;
  const mseg_flow_event& event = found->event;
  api::WhyEnd local{.managed = true,
                    .pid = event.local.tgid,
                    .labels = flow.local.labels,
                    .exe = flow.local.exe,
                    .digest = flow.local.digest,
                    .script = flow.local.script,
                    .script_digest = flow.local.script_digest,
                    .grade = flow.local.grade,
                    .user = UserName(event.local.uid),
                    .address = ""};
  const bool local_peer = event.peer_known != 0 && (event.peer.flags & MSEG_ID_REMOTE) == 0;
  api::WhyEnd peer{.managed = event.peer_known != 0,
                   .pid = local_peer ? event.peer.tgid : 0,
                   .labels = flow.peer.labels,
                   .exe = flow.peer.exe,
                   .digest = flow.peer.digest,
                   .script = flow.peer.script,
                   .script_digest = flow.peer.script_digest,
                   .grade = flow.peer.grade,
                   .user = local_peer ? UserName(event.peer.uid) : "",
                   .address = flow.peer.address};
  IpAddress address;
  std::copy(std::begin(event.peer_addr), std::end(event.peer_addr), address.begin());
  const AllowEnd allow_local = ToAllowEnd(local, ExeOf(event.local), {});
  const AllowEnd allow_peer = ToAllowEnd(peer, ExeOf(event.peer), address);
  const bool egress = event.direction == MSEG_EGRESS;
  api::WhyAnswer answer;
  answer.source = "flow";
  answer.time_us = flow.time_us;
  answer.protocol = flow.protocol;
  answer.port = flow.port;
  answer.from = egress ? local : peer;
  answer.to = egress ? peer : local;
  answer.verdict = flow.verdict;
  answer.would_be = flow.would_be;
  (egress ? answer.egress : answer.ingress) = flow.verdict;
  answer.reason = flow.reason;
  answer.rule = flow.rule;
  answer.at = PlaceOfRule(flow.rule);
  Advise(event.reason == MSEG_REASON_RULE, event.reason, egress ? allow_local : allow_peer,
         egress ? allow_peer : allow_local, event.protocol, event.port, &answer);
  return answer;
}

// Who is at the address, asked as connect() does: a listener of the process's own namespace at an
// address of that namespace, else nobody who is known.
absl::Status Controller::FillServer(const api::WhyRequest& request, const IpAddress& address,
                                    uint8_t protocol, WhyEnds* ends) {
  ends->to.address = address;
  ends->allow_to.address = address;
  ends->server.address = IpAddressText(address);
  ends->server.grade = std::string(GradeName(MSEG_GRADE_UNKNOWN));
  ends->server.labels = image_->classifier->LabelsOfAddress(address).values();
  auto view = LookFromProcess(request.pid, address);
  if (!view.ok()) return view.status();
  if (!view->own) return absl::OkStatus();
  auto listeners = dataplane_.listeners().Dump();
  if (!listeners.ok()) return listeners.status();
  IpAddress any4{};
  any4[10] = any4[11] = 0xff;
  std::vector<IpAddress> places = {address};
  if (IsIpv4(address)) places.push_back(any4);
  places.push_back(IpAddress{});
  for (const IpAddress& place : places) {
    for (const auto& [key, listener] : *listeners) {
      if (key.netns_cookie != view->cookie || key.port != request.port ||
          key.protocol != protocol || !std::equal(place.begin(), place.end(), key.addr)) {
        continue;
      }
      const mseg_task owner = Refreshed(listener.owner).value_or(listener.owner);
      ends->server = ToWhyEnd(Describe(owner), IpAddressText(address));
      ends->to.managed = true;
      ends->to.facts = FactsOf(owner);
      const auto known = exes_.Of(owner);
      ends->allow_to = ToAllowEnd(ends->server, known ? &*known : nullptr, address);
      if (listener.owner.id.flags & MSEG_ID_AMBIGUOUS) {
        ends->to.facts = IdentityFacts();  // for the kernel nothing of it is known then
        ends->to.facts.exe = IdentityFacts::Exe::kUnknown;
        ends->allow_to.executable.reset();
        ends->note = "Processes of several identities share the address (SO_REUSEPORT)";
      }
      return absl::OkStatus();
    }
  }
  ends->note = "Nobody listens there now, so only the client's end is judged";
  return absl::OkStatus();
}

absl::Status Controller::JudgeEnds(WhyEnds* ends, api::WhyAnswer* answer) {
  auto class_of = [this](const ResolvedEnd& end) -> std::optional<uint32_t> {
    if (end.managed) return image_->classifier->ClassOf(end.facts);
    return image_->classifier->ClassOfAddress(end.address);
  };
  const auto from = class_of(ends->from);
  const auto to = class_of(ends->to);
  Explanation explanation;
  if (from && to) {
    explanation = ExplainClasses(Simulator(*image_), ends->from.managed, *from, ends->to.managed,
                                 *to, ends->protocol, ends->port);
  } else {
    // Nobody of this kind lives here yet.
    auto inventory = TakeInventory(CollectMentions(policy_));
    if (!inventory.ok()) return inventory.status();
    Diagnostics diagnostics;
    const Query query{
        .from = ends->from, .to = ends->to, .protocol = ends->protocol, .port = ends->port};
    auto explained =
        ExplainAll(policy_, *std::move(inventory), compile_options(), {query}, &diagnostics);
    if (!explained.ok()) return explained.status();
    explanation = explained->front();
  }
  auto word = [](const EndVerdict& end) {
    return std::string(end.judged ? VerdictName(end.decision.verdict) : "");
  };
  answer->verdict = std::string(VerdictName(explanation.verdict));
  answer->would_be = std::string(VerdictName(explanation.would_be));
  answer->egress = word(explanation.egress);
  answer->ingress = word(explanation.ingress);
  answer->reason = std::string(ReasonName(explanation.reason));
  answer->rule = explanation.rule;
  answer->at = explanation.at;
  answer->note = ends->note;
  if (explanation.verdict == MSEG_DENY) {
    Advise(DeniedByRule(explanation.egress) || DeniedByRule(explanation.ingress),
           explanation.reason, ends->allow_from, ends->allow_to, ends->protocol, ends->port,
           answer);
  }
  return absl::OkStatus();
}

absl::StatusOr<api::WhyAnswer> Controller::WhyNow(const api::WhyRequest& request) {
  auto address = ParseIpAddress(request.address);
  if (!address.ok()) return address.status();
  *address = Destination(*address);
  auto service = ServicePortOf(request.protocol, request.port);
  if (!service.ok()) return service.status();
  auto task = TaskOf(request.pid);
  if (!task.ok()) return task.status();
  auto facts = FactsOfProcess(request.pid);
  if (!facts.ok()) return facts.status();
  const api::Process client = Describe(*task);
  const auto known = exes_.Of(*task);
  WhyEnds ends;
  ends.protocol = service->protocol;
  ends.port = service->port;
  api::WhyAnswer answer;
  answer.source = "explain";
  answer.protocol = request.protocol;
  answer.port = request.port;
  answer.from = ToWhyEnd(client, "");
  ends.from.managed = true;
  ends.from.facts = *std::move(facts);
  ends.allow_from = ToAllowEnd(answer.from, known ? &*known : nullptr, {});
  MSEG_RETURN_IF_ERROR(FillServer(request, *address, service->protocol, &ends));
  answer.to = ends.server;
  MSEG_RETURN_IF_ERROR(JudgeEnds(&ends, &answer));
  return answer;
}

}  // namespace mseg
