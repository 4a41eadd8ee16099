// SPDX-License-Identifier: Apache-2.0
#include "ctl_fake_service.h"

#include <algorithm>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "labels/ast.h"

namespace mseg {
namespace {

constexpr char kDigest[] =
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

api::Process MySql() {
  return {.pid = 812,
          .comm = "mysqld",
          .labels = {{"app", "order"}, {"env", "prod"}, {"loc", "北京"}, {"role", "db"}},
          .exe = "/usr/sbin/mysqld",
          .digest = kDigest,
          .script = "",
          .script_digest = "",
          .grade = "hash",
          .exe_id = 0x1234567890ab,
          .label_id = 0xba0987654321,
          .cgroup = "/system.slice/mysql.service",
          .user = "mysql",
          .cls = 3,
          .unknown_reason = ""};
}

api::ApplyReport Report(uint64_t revision) {
  api::ApplyReport report;
  report.revision = revision;
  report.generation = revision + 30;
  report.will_close = 2;
  report.timings_ms = {
      .check = 0.5, .compile = 1.25, .store = 3, .stage = 0.75, .flip = 0.001, .close = 2};
  report.budget.policies = 1;
  report.budget.rules = 2;
  report.budget.workloads = 2;
  report.budget.classes = 5;
  report.budget.port_classes = 2;
  report.budget.rows = 9;
  report.budget.identities = 4;
  report.budget.entries = 40;
  report.budget.kernel_bytes = 5 << 20;
  return report;
}

bool Same(const api::Document& document, const api::DocumentId& id) {
  return document.kind == id.kind && document.name == id.name;
}

}  // namespace

FakeService::FakeService() {
  flows = {MakeFlow(0, "allow"), MakeFlow(1, "deny"), MakeFlow(2, "allow")};
}

absl::Status FakeService::Enter() {
  if (delay > absl::ZeroDuration()) absl::SleepFor(delay);
  if (throws) throw std::runtime_error("boom");
  return fail.value_or(absl::OkStatus());
}

absl::StatusOr<api::Status> FakeService::GetStatus() {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  api::Status status;
  status.mode = "cgroup";
  status.kernel = "6.12.0-test";
  status.features = {
      {.name = "bpf_lsm", .present = false, .costs = "AF_UNIX policy, self-protection"},
      {.name = "task_storage", .present = true, .costs = ""}};
  status.gaps = {"AF_UNIX sockets are not judged: the kernel was booted without lsm=bpf"};
  status.generation = 37;
  status.revision = revision_;
  status.host_id = 0;
  status.trusted_hosts = 2;
  status.host_records = 1;
  status.host_name = "db-1";
  status.programs = {{.name = "mseg_connect4",
                      .attach = "cgroup_inet4_connect",
                      .cgroup = "/sys/fs/cgroup",
                      .loaded_at_us = kStartUs}};
  status.counters = {{"allowed", 1200}, {"denied", 3}, {"would_deny", 0}};
  status.conflicts = {"pid 99: env is dev (Workload \"a\") and prod (Workload \"b\")"};
  status.unknown_executables = {{.path = "/memfd:x (deleted)", .reason = "unlinked", .pid = 77}};
  status.unlabelled_listeners = {
      {.protocol = "tcp", .address = "0.0.0.0", .port = 22, .pid = 501, .exe = "/usr/sbin/sshd"}};
  status.pending = pending;
  status.panic = panic;
  status.failsafe = {
      {.direction = "ingress", .services = {"tcp/22"}, .exe = ""},
      {.direction = "egress", .services = {"udp/67-68", "icmp"}, .exe = "/sbin/dhclient"}};
  status.tampering = {{.time_us = kStartUs,
                       .act = "map",
                       .subject = 17,
                       .pid = 4711,
                       .uid = 0,
                       .comm = "bpftool",
                       .exe = "/usr/sbin/bpftool"}};
  status.last_drift = last_drift;
  return status;
}

absl::StatusOr<api::ApplyReport> FakeService::ApplyPolicy(const api::ApplyRequest& request,
                                                          Diagnostics* diagnostics) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_apply = request;
  last_bytes = 0;
  for (const api::PolicyFile& file : request.files) last_bytes += file.text.size();
  api::ApplyReport report = Report(request.dry_run ? revision_ : revision_ + 1);
  if (skip_parsing) return report;
  std::vector<Document> parsed;
  for (const api::PolicyFile& file : request.files) {
    auto documents = ParseDocuments(file.name, file.text, diagnostics);
    if (documents.ok()) parsed.insert(parsed.end(), documents->begin(), documents->end());
  }
  if (!diagnostics->empty()) return absl::InvalidArgumentError("the policy has errors");
  for (const Document& document : parsed) {
    api::DocumentId id{.kind = std::string(DocumentKindName(document.kind)), .name = document.name};
    auto found = std::find_if(documents_.begin(), documents_.end(),
                              [&](const api::Document& known) { return Same(known, id); });
    report.changes.push_back({.action = found == documents_.end() ? "created" : "configured",
                              .kind = id.kind,
                              .name = id.name});
    if (request.dry_run) continue;
    if (found == documents_.end()) found = documents_.emplace(documents_.end());
    *found = {.kind = id.kind,
              .name = id.name,
              .text = document.text,
              .file = document.file,
              .line = document.first_line,
              .revision = revision_ + 1};
  }
  if (request.dry_run) return report;
  if (request.confirm_within_us != 0) {
    pending = {.revision = revision_ + 1,
               .back_to = revision_,
               .deadline_us = kStartUs + request.confirm_within_us};
  }
  report.pending = pending;
  Record(request.author, request.message, "change", report.changes.size());
  report.closed = report.will_close;
  return report;
}

void FakeService::Record(const std::string& author, const std::string& message, const char* event,
                         uint64_t changed) {
  ++revision_;
  states_[revision_] = documents_;
  if (!log_.empty()) log_.back().active = false;
  log_.push_back({.number = revision_,
                  .time_us = kStartUs + static_cast<int64_t>(revision_),
                  .author = author,
                  .uid = 0,
                  .user = "root",
                  .message = message,
                  .event = event,
                  .changed = changed,
                  .active = true});
}

absl::StatusOr<std::vector<api::RevisionInfo>> FakeService::History(
    const api::HistoryRequest& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  std::vector<api::RevisionInfo> found;
  for (auto it = log_.rbegin(); it != log_.rend() && found.size() < request.limit; ++it) {
    if (request.before == 0 || it->number < request.before) found.push_back(*it);
  }
  return found;
}

absl::StatusOr<api::ApplyReport> FakeService::Rollback(const api::RollbackRequest& request,
                                                       Diagnostics*) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_rollback = request;
  const uint64_t target = request.revision.value_or(revision_ - 1);
  const auto state = states_.find(target);
  if (state == states_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no revision ", target));
  }
  api::ApplyReport report = Report(request.dry_run ? revision_ : revision_ + 1);
  for (const api::Document& document : documents_) {
    report.changes.push_back({.action = "deleted", .kind = document.kind, .name = document.name});
  }
  if (request.dry_run) return report;
  documents_ = state->second;
  pending.reset();
  Record(request.author, absl::StrCat("rollback to revision ", target), "change",
         report.changes.size());
  return report;
}

absl::StatusOr<api::PendingConfirmation> FakeService::Confirm() {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  if (!pending.has_value()) return absl::FailedPreconditionError("nothing waits to be confirmed");
  const api::PendingConfirmation confirmed = *pending;
  pending.reset();
  return confirmed;
}

absl::StatusOr<api::ApplyReport> FakeService::SetPanic(const api::PanicRequest& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_panic = request;
  if (request.end && !panic.has_value()) {
    return absl::FailedPreconditionError("there is no panic to end");
  }
  panic.reset();
  if (!request.end) {
    panic = {.since_us = kStartUs,
             .until_us = kStartUs + request.for_us,
             .author = request.author,
             .reason = request.reason};
  }
  Record(request.author, request.reason, request.end ? "panic_end" : "panic", 0);
  return Report(revision_);
}

absl::StatusOr<api::WhyAnswer> FakeService::Why(const api::WhyRequest& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_why = request;
  if (request.pid == 404) return absl::NotFoundError("no process with pid 404");
  api::WhyAnswer answer;
  answer.source = request.last ? "flow" : "explain";
  answer.time_us = request.last ? kStartUs : 0;
  answer.protocol = request.last ? "tcp" : request.protocol;
  answer.port = request.last ? 3306 : request.port;
  answer.from = {.managed = true,
                 .pid = request.pid == 0 ? 1001 : request.pid,
                 .labels = {{"app", "order"}, {"role", "web"}},
                 .exe = "/opt/webapp/bin/webapp",
                 .digest = kDigest,
                 .script = "",
                 .script_digest = "",
                 .grade = "hash",
                 .user = "web\x1b[2J",
                 .address = ""};
  answer.to.address = request.last ? "10.1.2.3" : request.address;
  answer.to.labels = {{"loc", "北京"}};
  answer.to.grade = "unknown";
  answer.verdict = answer.egress = answer.would_be = answer.port == 443 ? "allow" : "deny";
  answer.reason = "default";
  answer.rule = "order-web";
  answer.at = "order.yaml:11";
  if (answer.verdict == "deny") answer.allow = "apiVersion: mseg.io/v1\nkind: Policy\n";
  if (answer.port == 22) {
    answer.allow.clear();
    answer.note = "A deny rule decides";
  }
  return answer;
}

absl::StatusOr<std::vector<api::Document>> FakeService::GetPolicies(
    const std::string& kind, const std::string& name, std::optional<uint64_t> revision) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  if (revision.has_value() && states_.count(*revision) == 0) {
    return absl::NotFoundError(absl::StrCat("there is no revision ", *revision));
  }
  std::vector<api::Document> found;
  for (const api::Document& document : revision.has_value() ? states_[*revision] : documents_) {
    if ((kind.empty() || document.kind == kind) && (name.empty() || document.name == name)) {
      found.push_back(document);
    }
  }
  if (found.empty() && !name.empty()) {
    return absl::NotFoundError(absl::StrCat(kind, " \"", name, "\" not found"));
  }
  return found;
}

absl::StatusOr<api::ApplyReport> FakeService::DeletePolicies(const api::DeleteRequest& request,
                                                             Diagnostics*) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_message = request.message;
  last_author = request.author;
  api::ApplyReport report = Report(revision_ + 1);
  std::vector<api::Document> kept = documents_;
  for (const api::DocumentId& id : request.documents) {
    auto found = std::find_if(kept.begin(), kept.end(),
                              [&](const api::Document& known) { return Same(known, id); });
    if (found == kept.end()) {
      return absl::NotFoundError(absl::StrCat(id.kind, " \"", id.name, "\" not found"));
    }
    kept.erase(found);
    report.changes.push_back({.action = "deleted", .kind = id.kind, .name = id.name});
  }
  documents_ = std::move(kept);
  Record(request.author, request.message, "change", report.changes.size());
  report.closed = 1;
  return report;
}

absl::StatusOr<std::vector<api::ExplainAnswer>> FakeService::Explain(
    const std::vector<api::ExplainQuery>& queries, bool kernel) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_queries = queries;
  std::vector<api::ExplainAnswer> answers;
  for (const api::ExplainQuery& query : queries) {
    api::ExplainAnswer answer;
    if (query.from == "workload:nobody") {
      answer.error = "no Workload \"nobody\"";
    } else if (query.service == "tcp/3306") {
      answer = {.error = "",
                .verdict = "allow",
                .egress = "allow",
                .ingress = "allow",
                .would_be = "allow",
                .reason = "rule",
                .rule = "order-db/web-to-db",
                .at = "order.yaml:17",
                .would_rule = "order-db/web-to-db",
                .lookups = {"egress a: end 3, peer class 4, port class 1: found"},
                .kernel = kernel ? "allow" : "",
                .drift = false};
    } else {
      answer.verdict = answer.ingress = answer.would_be = "deny";
      answer.egress = "allow";
      answer.reason = "default";
      answer.rule = "order-db";
      answer.at = "order.yaml:11";
      answer.kernel = kernel ? "allow" : "";
      answer.drift = kernel;
    }
    answers.push_back(answer);
  }
  return answers;
}

absl::StatusOr<std::vector<api::Process>> FakeService::ListIdentities() {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  api::Process unknown;
  unknown.pid = 77;
  unknown.comm = "evil\x1b[2J";
  unknown.grade = "unknown";
  unknown.cgroup = "/user.slice";
  unknown.user = "1000";
  unknown.unknown_reason = "unlinked";
  return std::vector<api::Process>{MySql(), unknown};
}

absl::StatusOr<api::Process> FakeService::ShowIdentity(const std::string& target) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_target = target;
  if (target == "812") return MySql();
  if (!absl::StartsWith(target, "/usr/")) {
    return absl::NotFoundError(absl::StrCat("no process or file ", target));
  }
  api::Process file;
  file.exe = target;
  file.digest = kDigest;
  file.grade = "hash";
  file.exe_id = 0xab;
  return file;
}

absl::StatusOr<api::FlowPage> FakeService::Flows(const api::FlowsRequest& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  std::lock_guard lock(flows_mutex);
  api::FlowPage page;
  size_t limit = request.limit == 0 ? 2 : request.limit;  // small pages, so that paging is used
  for (size_t i = request.cursor.value_or(0); i < flows.size(); ++i) {
    if (request.cursor.has_value() && page.records.size() == limit) break;
    page.next_cursor = i + 1;
    if (!request.verdict.empty() && flows[i].verdict != request.verdict) continue;
    if (flows[i].time_us < request.since_unix_us) continue;
    page.records.push_back(flows[i]);
  }
  page.next_cursor = std::max(page.next_cursor, request.cursor.value_or(0));
  if (page.records.size() > limit) {
    page.records.erase(page.records.begin(), page.records.end() - static_cast<ptrdiff_t>(limit));
  }
  return page;
}

api::FlowRecord MakeFlow(int n, const std::string& verdict) {
  api::FlowRecord flow;
  flow.time_us = kStartUs + n * 1000000 + n;
  flow.direction = n % 2 == 0 ? "egress" : "ingress";
  flow.protocol = "tcp";
  flow.local = {.labels = {{"app", "order"}, {"role", "web"}, {"tier", "1"}},
                .exe = "/opt/webapp/bin/webapp",
                .digest = kDigest,
                .script = n == 1 ? "/opt/webapp/sync.py" : "",
                .script_digest = n == 1 ? kDigest : "",
                .grade = "hash",
                .pid = 1000 + static_cast<uint32_t>(n)};
  flow.peer = {.labels = {{"loc", "北京"}},
               .exe = "",
               .digest = "",
               .script = "",
               .script_digest = "",
               .grade = "",
               .address = n % 2 == 0 ? "10.1.2.3" : "2001:db8::1",
               .port = 40000 + static_cast<uint32_t>(n)};
  flow.port = 3306;
  flow.verdict = verdict;
  flow.would_be = "deny";
  flow.reason = verdict == "allow" ? "rule" : "default";
  flow.rule = verdict == "allow" ? "order-db/web-to-db" : "order-db";
  flow.would_rule = "order-db";
  flow.hook = "connect";
  flow.proof = verdict == "allow" ? "bound" : "";
  flow.generation = 37;
  flow.count = 1 + static_cast<uint64_t>(n);
  return flow;
}

}  // namespace mseg
