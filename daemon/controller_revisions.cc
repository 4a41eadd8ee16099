// SPDX-License-Identifier: Apache-2.0
// Going back: history, rollback, changes that wait to be confirmed, panic.
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/controller.h"
#include "daemon/host_inventory.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

constexpr uint32_t kDefaultHistory = 100;
constexpr absl::Duration kShortest = absl::Seconds(1);
constexpr absl::Duration kLongestConfirmation = absl::Hours(24);
constexpr absl::Duration kLongestPanic = absl::Hours(24 * 7);
constexpr std::chrono::seconds kTryAgain{10};


std::string TimeText(int64_t us) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMicros(us), absl::UTCTimeZone());
}

const char* EventName(RevisionEvent event) {
  switch (event) {
    case RevisionEvent::kPanic:
      return "panic";
    case RevisionEvent::kPanicEnd:
      return "panic_end";
    case RevisionEvent::kHosts:
      return "hosts";
    case RevisionEvent::kChange:
      break;
  }
  return "change";
}

absl::Status CheckDuration(const char* what, int64_t us, absl::Duration longest) {
  if (us >= absl::ToInt64Microseconds(kShortest) && us <= absl::ToInt64Microseconds(longest)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(what, " must be from ",
                                                 absl::FormatDuration(kShortest), " to ",
                                                 absl::FormatDuration(longest)));
}

bool SameDocument(const StoredDocument& a, const StoredDocument& b) {
  return a.text == b.text && a.file == b.file && a.line == b.line;
}

// What makes `have` into `wanted`, and how a report says it.
void Difference(const std::vector<StoredDocument>& have, const std::vector<StoredDocument>& wanted,
                std::vector<DocumentChange>* changes, std::vector<api::Change>* report) {
  std::map<std::pair<std::string, std::string>, const StoredDocument*> old;
  for (const StoredDocument& document : have) old[{document.kind, document.name}] = &document;
  for (const StoredDocument& document : wanted) {
    const auto there = old.find({document.kind, document.name});
    const bool created = there == old.end();
    const bool same = !created && SameDocument(*there->second, document);
    if (!created) old.erase(there);
    if (same) continue;
    report->push_back({created ? "created" : "configured", document.kind, document.name});
    changes->push_back({.op = ChangeOp::kUpsert,
                        .kind = document.kind,
                        .name = document.name,
                        .text = document.text,
                        .file = document.file,
                        .line = document.line});
  }
  for (const auto& [name, document] : old) {
    report->push_back({"deleted", document->kind, document->name});
    changes->push_back({.op = ChangeOp::kDelete, .kind = document->kind, .name = document->name});
  }
}

}  // namespace

Peer Controller::PeerOf(const api::Caller& caller) {
  return {.uid = caller.uid, .user = UserName(caller.uid)};
}

absl::StatusOr<std::vector<api::RevisionInfo>> Controller::History(
    const api::HistoryRequest& request) {
  const std::lock_guard lock(mutex_);
  auto log = store_.History(request.limit == 0 ? kDefaultHistory : request.limit, request.before);
  if (!log.ok()) return log.status();
  std::vector<api::RevisionInfo> out;
  for (const Revision& revision : *log) {
    api::RevisionInfo& info = out.emplace_back();
    info.number = revision.number;
    info.time_us = revision.time_us;
    info.author = revision.author;
    if (revision.peer.has_value()) {
      info.uid = revision.peer->uid;
      info.user = revision.peer->user;
    }
    info.message = revision.message;
    info.event = EventName(revision.event);
    info.changed = revision.changes.size();
    info.active = revision.number == store_.active().revision;
  }
  return out;
}

// ---- rollback -----------------------------------------------------------------------------------

// Without a wish: what was there before the change that waits, else before the last one that
// changed a document.
absl::StatusOr<uint64_t> Controller::RollbackTarget(std::optional<uint64_t> wanted) const {
  const uint64_t head = store_.head().revision;
  if (wanted.has_value()) {
    if (*wanted <= head) return *wanted;
    return absl::NotFoundError(
        absl::StrCat("there is no revision ", *wanted, "; the last one is ", head));
  }
  if (store_.confirmation().has_value()) return store_.confirmation()->back_to;
  for (uint64_t number = head; number > 0; number--) {
    auto revision = store_.GetRevision(number);
    if (!revision.ok()) return revision.status();
    if (!revision->changes.empty()) return number - 1;
  }
  return absl::FailedPreconditionError("no revision has changed a document: nothing to go back to");
}

absl::StatusOr<api::ApplyReport> Controller::RollBackTo(uint64_t revision, Change change,
                                                        Diagnostics* diagnostics) {
  auto wanted = store_.DocumentsAt(revision);
  if (!wanted.ok()) return wanted.status();
  auto have = store_.Documents();
  if (!have.ok()) return have.status();
  auto stored = StoredPolicy(diagnostics);
  if (!stored.ok()) return stored.status();
  Difference(*have, *wanted, &change.documents, &change.report);
  auto policy = PolicyAfter(*stored, change.documents, diagnostics, {});
  if (!policy.ok()) return policy.status();
  const bool settle = !change.dry_run;
  auto report = Apply(std::move(change), *policy, {}, diagnostics);
  if (!report.ok()) return report.status();
  // Where no document differed there is no revision that would have settled it.
  if (settle && store_.confirmation().has_value()) {
    MSEG_RETURN_IF_ERROR(store_.SetConfirmation(std::nullopt));
  }
  report->pending = Pending();
  return report;
}

absl::StatusOr<api::ApplyReport> Controller::Rollback(const api::RollbackRequest& request,
                                                      Diagnostics* diagnostics) {
  const std::lock_guard lock(mutex_);
  auto target = RollbackTarget(request.revision);
  if (!target.ok()) return target.status();
  Change change;
  change.author = request.author;
  change.peer = PeerOf(request.caller);
  change.message = absl::StrCat("rollback to revision ", *target,
                                request.message.empty() ? "" : ": ", request.message);
  change.dry_run = request.dry_run;
  return RollBackTo(*target, std::move(change), diagnostics);
}

// ---- changes that wait to be confirmed ----------------------------------------------------------

// What waits after a change that asks for `within_us` (0: for no confirmation). While something
// waits, a change that nobody has to confirm is refused: it would either be lost at the deadline or
// confirm the other by the way. One that is to be confirmed moves the deadline and goes back to the
// same revision.
absl::StatusOr<std::optional<Confirmation>> Controller::ConfirmationFor(int64_t within_us) const {
  const std::optional<Confirmation>& waits = store_.confirmation();
  if (within_us == 0) {
    if (!waits.has_value()) return std::optional<Confirmation>();
    return absl::FailedPreconditionError(absl::StrCat(
        "revision ", waits->revision, " waits to be confirmed until ", TimeText(waits->deadline_us),
        ": `msegctl policy confirm` or `msegctl policy rollback` ",
        "first, or apply with --confirm-within"));
  }
  MSEG_RETURN_IF_ERROR(CheckDuration("--confirm-within", within_us, kLongestConfirmation));
  Confirmation confirmation;
  confirmation.back_to = waits.has_value() ? waits->back_to : store_.head().revision;
  confirmation.deadline_us = NowUs() + within_us;
  return std::optional<Confirmation>(confirmation);
}

std::optional<api::PendingConfirmation> Controller::Pending() const {
  const std::optional<Confirmation>& waits = store_.confirmation();
  if (!waits.has_value()) return std::nullopt;
  return api::PendingConfirmation{
      .revision = waits->revision, .back_to = waits->back_to, .deadline_us = waits->deadline_us};
}

absl::StatusOr<api::PendingConfirmation> Controller::Confirm() {
  const std::lock_guard lock(mutex_);
  const auto waits = Pending();
  if (!waits.has_value()) {
    return absl::FailedPreconditionError(
        "nothing waits to be confirmed: it was confirmed, rolled back, or its time is over");
  }
  MSEG_RETURN_IF_ERROR(store_.SetConfirmation(std::nullopt));
  log_(absl::StrCat("policy: revision ", waits->revision, " is confirmed"));
  return *waits;
}

void Controller::RollBackUnconfirmed() {
  const Confirmation waits = *store_.confirmation();
  Change change;
  change.author = "msegd";
  change.message =
      absl::StrCat("rollback to revision ", waits.back_to, ": revision ", waits.revision,
                   " was not confirmed until ", TimeText(waits.deadline_us));
  log_(absl::StrCat("policy: ", change.message));
  Diagnostics diagnostics;
  auto report = RollBackTo(waits.back_to, std::move(change), &diagnostics);
  if (report.ok()) return;
  log_(absl::StrCat("policy: the rollback failed and is tried again: ",
                    std::string(report.status().message())));
  not_before_ = std::chrono::steady_clock::now() + kTryAgain;
}

// ---- panic --------------------------------------------------------------------------------------

absl::Status Controller::AppendPanic(const PanicChange& change) {
  RevisionInput input;
  input.time_us = NowUs();
  input.author = change.author;
  input.peer = change.peer;
  input.message = change.message;
  input.event = change.panic.has_value() ? RevisionEvent::kPanic : RevisionEvent::kPanicEnd;
  input.panic = change.panic;
  input.confirmation = store_.confirmation();  // has nothing to do with it, and goes on to wait
  return store_.Append(input).status();
}

// As every change: compile, store, stage, flip. No document is touched.
absl::StatusOr<api::ApplyReport> Controller::ChangePanic(const PanicChange& change) {
  const State before = highest_state_;
  const std::optional<Panic> panic_before = store_.panic();
  highest_state_ = change.panic.has_value() ? State::kTest : State::kEnforce;
  Diagnostics diagnostics;
  api::ApplyReport report;
  auto image = CompileNow(policy_, CollectMentions(policy_), &diagnostics);
  absl::Status status = image.status();
  if (status.ok()) status = AppendPanic(change);
  if (!status.ok()) {
    highest_state_ = before;
    return status;
  }
  report.budget = image->budget;
  status = PutInForce(*std::move(image), &report.timings_ms);
  if (!status.ok()) {
    highest_state_ = before;
    const absl::Status undone =
        AppendPanic({.panic = panic_before,
                     .author = "msegd",
                     .peer = {},
                     .message = absl::StrCat("taken back: ", std::string(status.message()))});
    if (!undone.ok()) log_(absl::StrCat("panic: ", std::string(undone.message())));
    return status;
  }
  log_(absl::StrCat(
      change.panic.has_value() ? "PANIC: nothing is blocked on this host: " : "panic: ",
      change.message));
  report.revision = store_.head().revision;
  report.generation = generation_;
  report.pending = Pending();
  MSEG_RETURN_IF_ERROR(ClassifyNewCgroups());
  return report;
}

absl::StatusOr<api::ApplyReport> Controller::SetPanic(const api::PanicRequest& request) {
  const std::lock_guard lock(mutex_);
  PanicChange change;
  change.author = request.author;
  change.peer = PeerOf(request.caller);
  if (request.end) {
    if (!store_.panic().has_value()) {
      return absl::FailedPreconditionError("there is no panic to end: policies are in force");
    }
    change.message =
        absl::StrCat("panic ended", request.reason.empty() ? "" : ": ", request.reason);
    return ChangePanic(change);
  }
  if (request.reason.empty()) return absl::InvalidArgumentError("a panic needs a reason (-m)");
  MSEG_RETURN_IF_ERROR(CheckDuration("--for", request.for_us, kLongestPanic));
  Panic panic;
  panic.since_us = store_.panic().has_value() ? store_.panic()->since_us : NowUs();
  panic.until_us = NowUs() + request.for_us;
  panic.author = request.author.empty() ? change.peer->user : request.author;
  panic.reason = request.reason;
  change.message = absl::StrCat("panic until ", TimeText(panic.until_us), ": ", panic.reason);
  change.panic = std::move(panic);
  return ChangePanic(change);
}

void Controller::EndPanic() {
  PanicChange change;
  change.author = "msegd";
  change.message = absl::StrCat("panic is over, its time has come: ", store_.panic()->reason);
  auto report = ChangePanic(change);
  if (report.ok()) return;
  log_(absl::StrCat("panic: its end failed and is tried again: ",
                    std::string(report.status().message())));
  not_before_ = std::chrono::steady_clock::now() + kTryAgain;
}

// ---- deadlines ----------------------------------------------------------------------------------

void Controller::CheckDeadlines() {
  const auto now = std::chrono::steady_clock::now();
  if (now < not_before_) return;
  const auto due = [now](int64_t wall_us, Deadline* deadline) {
    const int64_t left_us = wall_us - NowUs();
    if (deadline->wall_us != wall_us)
      *deadline = {wall_us, now + std::chrono::microseconds(left_us)};
    return left_us <= 0 || now >= deadline->steady;
  };
  if (store_.confirmation().has_value() && due(store_.confirmation()->deadline_us, &confirm_by_)) {
    RollBackUnconfirmed();
  }
  if (store_.panic().has_value() && due(store_.panic()->until_us, &panic_until_)) EndPanic();
}

void Controller::FillRevisions(api::Status* status) const {
  status->pending = Pending();
  if (const auto& panic = store_.panic(); panic.has_value()) {
    status->panic = api::PanicState{.since_us = panic->since_us,
                                    .until_us = panic->until_us,
                                    .author = panic->author,
                                    .reason = panic->reason};
  }
  for (const FailsafeEntry& entry : options_.failsafe) {
    api::Failsafe& out = status->failsafe.emplace_back();
    out.direction = entry.direction == MSEG_INGRESS ? "ingress" : "egress";
    for (const PortRange& range : entry.ports) out.services.push_back(PortRangeText(range));
    out.exe = entry.exe;
  }
}

}  // namespace mseg
