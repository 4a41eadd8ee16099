// SPDX-License-Identifier: Apache-2.0
#include "ctl/json.h"

#include <optional>

#include "absl/strings/str_format.h"
#include "ctl/output.h"

namespace mseg::ctl {
namespace {

// What does not apply is null, so that a field is always there.
Json Text(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json Number(uint64_t number) { return number == 0 ? Json(nullptr) : Json(number); }

Json Time(int64_t unix_us) { return Text(TimeText(unix_us)); }

// 48 bits, in hexadecimal as everywhere else.
Json ShortId(uint64_t id) { return id == 0 ? Json(nullptr) : Json(absl::StrFormat("%012x", id)); }

Json LabelsJson(const api::Labels& labels) {
  Json tree = Json::object();
  for (const char* key : {"loc", "env", "app", "role"}) {
    auto found = labels.find(key);
    if (found != labels.end()) tree[key] = found->second;
  }
  for (const auto& [key, value] : labels) tree[key] = value;
  return tree;
}

template <typename List, typename Function>
Json Array(const List& list, Function element) {
  Json array = Json::array();
  for (const auto& item : list) array.push_back(element(item));
  return array;
}

}  // namespace

Json ToJson(const api::PendingConfirmation& pending) {
  return {{"revision", pending.revision},
          {"back_to", pending.back_to},
          {"deadline", Time(pending.deadline_us)}};
}

namespace {

Json PendingJson(const std::optional<api::PendingConfirmation>& pending) {
  return pending.has_value() ? ToJson(*pending) : Json(nullptr);
}

Json PanicJson(const std::optional<api::PanicState>& panic) {
  if (!panic.has_value()) return nullptr;
  return {{"since", Time(panic->since_us)},
          {"until", Time(panic->until_us)},
          {"author", Text(panic->author)},
          {"reason", panic->reason}};
}

Json WhyEndJson(const api::WhyEnd& end) {
  return {{"managed", end.managed},           {"pid", Number(end.pid)},
          {"labels", LabelsJson(end.labels)}, {"exe", Text(end.exe)},
          {"digest", Text(end.digest)},       {"grade", Text(end.grade)},
          {"script", Text(end.script)},       {"script_digest", Text(end.script_digest)},
          {"user", Text(end.user)},           {"address", Text(end.address)}};
}

}  // namespace

Json ToJson(const api::RevisionInfo& revision) {
  return {{"revision", revision.number},
          {"time", Time(revision.time_us)},
          {"author",
           {{"uid", revision.uid.has_value() ? Json(*revision.uid) : Json(nullptr)},
            {"user", Text(revision.user)},
            {"says", Text(revision.author)}}},
          {"message", revision.message},
          {"event", revision.event},
          {"changed", revision.changed},
          {"active", revision.active}};
}

Json ToJson(const api::WhyAnswer& answer) {
  return {{"verdict", answer.verdict},     {"would_be", Text(answer.would_be)},
          {"egress", Text(answer.egress)}, {"ingress", Text(answer.ingress)},
          {"reason", answer.reason},       {"rule", Text(answer.rule)},
          {"at", Text(answer.at)},         {"source", answer.source},
          {"time", Time(answer.time_us)},  {"protocol", answer.protocol},
          {"port", answer.port},           {"from", WhyEndJson(answer.from)},
          {"to", WhyEndJson(answer.to)},   {"allow", Text(answer.allow)},
          {"note", Text(answer.note)}};
}

Json ToJson(const api::Status& status) {
  Json counters = Json::object();
  for (const auto& [name, value] : status.counters) counters[name] = value;
  return {
      {"mode", status.mode},
      {"kernel", status.kernel},
      {"features",
       Array(status.features,
             [](const api::Feature& f) -> Json {
               return {{"name", f.name}, {"present", f.present}, {"costs", Text(f.costs)}};
             })},
      {"gaps", status.gaps},
      {"generation", status.generation},
      {"revision", status.revision},
      {"host",
       {{"id", status.host_id},
        {"name", status.host_name},
        {"trusted", status.trusted_hosts},
        {"records", status.host_records}}},
      {"programs", Array(status.programs,
                         [](const api::Program& p) -> Json {
                           return {{"name", p.name},
                                   {"attach", p.attach},
                                   {"cgroup", Text(p.cgroup)},
                                   {"loaded_at", Time(p.loaded_at_us)}};
                         })},
      {"counters", counters},
      {"conflicts", status.conflicts},
      {"unknown_executables",
       Array(status.unknown_executables,
             [](const api::UnknownExecutable& e) -> Json {
               return {{"path", Text(e.path)}, {"reason", Text(e.reason)}, {"pid", Number(e.pid)}};
             })},
      {"unlabelled_listeners", Array(status.unlabelled_listeners,
                                     [](const api::UnlabelledListener& l) -> Json {
                                       return {{"protocol", l.protocol},
                                               {"address", l.address},
                                               {"port", l.port},
                                               {"pid", Number(l.pid)},
                                               {"exe", Text(l.exe)}};
                                     })},
      {"pending", PendingJson(status.pending)},
      {"panic", PanicJson(status.panic)},
      {"failsafe",
       Array(status.failsafe,
             [](const api::Failsafe& f) -> Json {
               return {{"direction", f.direction}, {"services", f.services}, {"exe", Text(f.exe)}};
             })},
      {"tampering", Array(status.tampering,
                          [](const api::Tampering& t) -> Json {
                            return {{"time", Time(t.time_us)},
                                    {"act", t.act},
                                    {"subject", t.subject},
                                    {"pid", t.pid},
                                    {"uid", t.uid},
                                    {"comm", t.comm},
                                    {"exe", Text(t.exe)}};
                          })},
      {"last_drift", Text(status.last_drift)},
  };
}

Json ToJson(const Budget& budget) {
  return {{"policies", budget.policies},         {"rules", budget.rules},
          {"workloads", budget.workloads},       {"classes", budget.classes},
          {"port_classes", budget.port_classes}, {"rows", budget.rows},
          {"identities", budget.identities},     {"entries", budget.entries},
          {"kernel_bytes", budget.kernel_bytes}};
}

Json ToJson(const api::ApplyReport& report) {
  const api::Timings& ms = report.timings_ms;
  return {
      {"revision", report.revision},
      {"generation", report.generation},
      {"will_close", report.will_close},
      {"closed", report.closed},
      {"timings_ms",
       {{"check", ms.check},
        {"compile", ms.compile},
        {"store", ms.store},
        {"stage", ms.stage},
        {"flip", ms.flip},
        {"close", ms.close}}},
      {"budget", ToJson(report.budget)},
      {"changes", Array(report.changes,
                        [](const api::Change& c) -> Json {
                          return {{"action", c.action}, {"kind", c.kind}, {"name", c.name}};
                        })},
      {"pending", PendingJson(report.pending)},
  };
}

Json ToJson(const api::Document& document) {
  return {{"kind", document.kind},
          {"name", document.name},
          {"file", Text(document.file)},
          {"line", Number(document.line < 0 ? 0 : static_cast<uint64_t>(document.line))},
          {"revision", document.revision},
          {"text", document.text}};
}

Json ToJson(const api::ExplainAnswer& answer, bool full) {
  if (!answer.error.empty()) return {{"error", answer.error}};
  Json tree = {{"verdict", answer.verdict}, {"egress", answer.egress},
               {"ingress", answer.ingress}, {"would_be", answer.would_be},
               {"reason", answer.reason},   {"rule", Text(answer.rule)},
               {"at", Text(answer.at)}};
  if (full) {
    tree["would_rule"] = Text(answer.would_rule);
    tree["lookups"] = answer.lookups;
  }
  if (!answer.kernel.empty()) {
    tree["kernel"] = answer.kernel;
    tree["drift"] = answer.drift;
  }
  return tree;
}

Json ToJson(const api::Process& process) {
  return {{"pid", Number(process.pid)},
          {"comm", Text(process.comm)},
          {"labels", LabelsJson(process.labels)},
          {"exe", Text(process.exe)},
          {"digest", Text(process.digest)},
          {"script", Text(process.script)},
          {"script_digest", Text(process.script_digest)},
          {"grade", process.grade},
          {"exe_id", ShortId(process.exe_id)},
          {"label_id", ShortId(process.label_id)},
          {"cgroup", Text(process.cgroup)},
          {"user", Text(process.user)},
          {"class", process.cls},
          {"unknown_reason", Text(process.unknown_reason)}};
}

Json ToJson(const api::FlowRecord& flow) {
  return {
      {"time", Time(flow.time_us)},
      {"direction", flow.direction},
      {"protocol", flow.protocol},
      {"local",
       {{"labels", LabelsJson(flow.local.labels)},
        {"exe", Text(flow.local.exe)},
        {"digest", Text(flow.local.digest)},
        {"script", Text(flow.local.script)},
        {"script_digest", Text(flow.local.script_digest)},
        {"grade", flow.local.grade},
        {"pid", Number(flow.local.pid)}}},
      {"peer",
       {{"labels", LabelsJson(flow.peer.labels)},
        {"exe", Text(flow.peer.exe)},
        {"digest", Text(flow.peer.digest)},
        {"script", Text(flow.peer.script)},
        {"script_digest", Text(flow.peer.script_digest)},
        {"grade", Text(flow.peer.grade)},
        {"address", Text(flow.peer.address)},
        {"port", Number(flow.peer.port)}}},
      {"port", flow.port},
      {"verdict", flow.verdict},
      {"would_be", flow.would_be},
      {"reason", flow.reason},
      {"rule", Text(flow.rule)},
      {"would_rule", Text(flow.would_rule)},
      {"hook", Text(flow.hook)},
      {"proof", Text(flow.proof)},
      {"generation", flow.generation},
      {"count", flow.count},
  };
}

Json ToJson(const api::Host& host) {
  Json trusted = nullptr, records = nullptr;
  if (host.trusted_at_us != 0) {
    trusted = {{"time", Time(host.trusted_at_us)},
               {"author",
                {{"uid", host.uid.has_value() ? Json(*host.uid) : Json(nullptr)},
                 {"user", Text(host.user)},
                 {"says", Text(host.author)}}},
               {"limits", host.limits}};
  }
  if (host.own || host.sequence != 0) {
    records = {{"sequence", Number(host.sequence)},
               {"issued", Time(host.records_issued_us)},
               {"labels", host.labels},
               {"executables", host.executables},
               {"pairs", host.pairs}};
  }
  return {{"id", host.id},
          {"name", host.name},
          {"own", host.own},
          {"addresses", host.addresses},
          {"claims", host.claims},
          {"signing_key", host.signing_key},
          {"exchange_key", host.exchange_key},
          {"issued", Time(host.issued_us)},
          {"trusted", std::move(trusted)},
          {"records", std::move(records)}};
}

Json ToJson(const api::RecordImported& imported) {
  return {{"file", imported.file}, {"action", imported.action}, {"host", ToJson(imported.host)}};
}

Json ToJson(const api::IdentityRecord& record) {
  const bool label = record.kind == "label";
  return {{"host", {{"id", record.host_id}, {"name", record.host_name}}},
          {"kind", record.kind},
          {"id", ShortId(record.id)},
          {"labels", label ? LabelsJson(record.labels) : Json(nullptr)},
          {"permitted", label ? Json(record.permitted) : Json(nullptr)},
          {"digest", Text(record.digest)},
          {"script", Text(record.script)},
          {"path", Text(record.path)},
          {"package", Text(record.package)},
          {"trusted_path", label ? Json(nullptr) : Json(record.trusted_path)},
          {"aliases", label ? Json(nullptr) : Json(record.aliases)}};
}

std::string JsonLine(const Json& tree) {
  return tree.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void PrintJson(std::ostream& out, const Json& tree) {
  out << tree.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace mseg::ctl
