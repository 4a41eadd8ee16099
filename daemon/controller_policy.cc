// SPDX-License-Identifier: Apache-2.0
// From documents to a revision and a generation.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/controller.h"
#include "daemon/trusted_path.h"
#include "labels/glob.h"
#include "labels/source_text.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

constexpr size_t kManyDocuments = 1000;

double MillisSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

api::Document ToApi(const StoredDocument& stored) {
  api::Document out;
  out.kind = stored.kind;
  out.name = stored.name;
  out.text = stored.text;
  out.file = stored.file;
  out.line = stored.line;
  out.revision = stored.revision;
  return out;
}

bool SameWord(const std::string& a, const std::string& b) {
  return absl::AsciiStrToLower(a) == absl::AsciiStrToLower(b);
}

DocumentChange Upsert(const Document& document) {
  DocumentChange change;
  change.op = ChangeOp::kUpsert;
  change.kind = std::string(DocumentKindName(document.kind));
  change.name = document.name;
  change.text = document.text;
  change.file = document.file;
  change.line = document.first_line;
  return change;
}

std::string Key(const std::string& kind, const std::string& name) {
  return absl::StrCat(kind, "/", name);
}

// Of a word that a person wrote; nothing: there is no such kind.
std::optional<DocumentKind> KindOf(const std::string& word) {
  for (const DocumentKind kind : {DocumentKind::kWorkload, DocumentKind::kPolicy,
                                  DocumentKind::kService, DocumentKind::kAddressGroup}) {
    if (SameWord(std::string(DocumentKindName(kind)), word)) return kind;
  }
  return std::nullopt;
}

const Document* Find(const PolicySet& policy, const std::string& kind, const std::string& name) {
  const std::optional<DocumentKind> known = KindOf(kind);
  return known.has_value() ? policy.Find(*known, name) : nullptr;
}

bool SameDocument(const Document& document, const DocumentChange& change) {
  return document.text == change.text && document.file == change.file &&
         document.first_line == change.line;
}

// Deletes what came from these files and is not among the changes.
void Prune(const std::vector<api::PolicyFile>& files, const PolicySet& stored,
           std::vector<DocumentChange>* changes, std::vector<api::Change>* report) {
  absl::flat_hash_set<std::string> names;
  for (const api::PolicyFile& file : files) names.insert(file.name);
  absl::flat_hash_set<std::string> said;
  for (const DocumentChange& change : *changes) said.insert(Key(change.kind, change.name));
  for (const DocumentRef& document : stored.documents()) {
    const std::string kind(DocumentKindName(document->kind));
    if (!names.contains(document->file) || said.contains(Key(kind, document->name))) continue;
    report->push_back({"deleted", kind, document->name});
    changes->push_back({.op = ChangeOp::kDelete, .kind = kind, .name = document->name});
  }
}

}  // namespace

std::vector<Digest> Controller::DigestsAt(const Pin& pin) {
  std::vector<PathPattern> patterns;
  for (const std::string& exe : pin.exes) {
    if (auto pattern = PathPattern::Parse(exe); pattern.ok()) patterns.push_back(*pattern);
  }
  const std::set<std::string> names(pin.names.begin(), pin.names.end());
  std::set<Digest> digests;
  for (const std::string& path : ResolveNamed({pin.exes.begin(), pin.exes.end()}, names)) {
    // Where both are given, one path must satisfy both.
    const bool both = !patterns.empty() && !names.empty();
    if (both && (!names.contains(path.substr(path.rfind('/') + 1)) ||
                 std::none_of(patterns.begin(), patterns.end(),
                              [&path](const PathPattern& p) { return p.Matches(path); }))) {
      continue;
    }
    auto known = exes_.LearnFile(path, /*trusted_only=*/true);
    if (known.ok()) digests.insert(known->info.digest);
  }
  return {digests.begin(), digests.end()};
}

absl::Status Controller::CheckMode(const std::vector<Document>& documents) const {
  if (features_.mode == MSEG_MODE_FULL) return absl::OkStatus();
  for (const Document& document : documents) {
    const Workload* workload = std::get_if<Workload>(&document.spec);
    if (workload != nullptr && workload->full_mode_spot.line != 0) {
      const Place place = document.At(workload->full_mode_spot);
      return absl::FailedPreconditionError(absl::StrCat(
          place.file, ":", place.line, ":", place.column,
          ": cgroup mode does not see sockets that are passed on, AF_UNIX and libraries: boot a "
          "kernel with BPF LSM (lsm=...,bpf), or remove `passing`, `unix` and `libraries`"));
    }
    const Policy* policy = std::get_if<Policy>(&document.spec);
    if (policy == nullptr) continue;
    std::vector<const std::optional<Selector>*> selectors = {&policy->selects};
    for (const Rule& rule : policy->rules) {
      selectors.insert(selectors.end(), {&rule.from, &rule.to});
    }
    for (const std::optional<Selector>* selector : selectors) {
      if (!*selector || !(*selector)->process) continue;
      const ProcessSelector& process = *(*selector)->process;
      if (process.scripts.empty() && process.script_digests.empty()) continue;
      const Place place = document.At(process.spot);
      return absl::FailedPreconditionError(absl::StrCat(
          place.file, ":", place.line, ":", place.column,
          ": `script` needs script_identity, which cgroup mode does not have: boot a kernel with "
          "BPF LSM (lsm=...,bpf), or select the interpreter by `exe` alone"));
    }
  }
  return absl::OkStatus();
}

absl::Status Controller::FixPins(std::vector<Document>* documents, Diagnostics* diagnostics) {
  absl::Status failed;
  for (Document& document : *documents) {
    const std::vector<Pin> pins = PinsOf(document);
    if (pins.empty()) continue;
    const SourceText source(document.file, document.text, document.first_line, diagnostics);
    std::vector<std::vector<Digest>> digests;
    absl::Status missing;
    for (const Pin& pin : pins) {
      digests.push_back(DigestsAt(pin));
      if (!digests.back().empty()) continue;
      missing = absl::InvalidArgumentError("nothing to pin");
      source.Error(pin.spot,
                   "there is no such file on this host that only root can change, so "
                   "there is nothing to pin; install it first, or name its `digest`");
    }
    if (!missing.ok()) {
      failed = missing;
      continue;
    }
    auto text = PinnedText(document, pins, digests);
    if (!text.ok()) return text.status();
    auto again = ParseDocuments(document.file, *text, diagnostics, document.first_line);
    if (!again.ok()) return again.status();
    if (again->size() != 1) return absl::InternalError("a pinned document is not one document");
    document = std::move(again->front());
  }
  return failed;
}

// What the store holds. Reading and parsing all of it takes long where there are many documents, so
// it is kept, and what has been parsed already for the policy in force is not parsed again.
absl::StatusOr<PolicySet> Controller::StoredPolicy(Diagnostics* diagnostics) {
  if (stored_at_ == store_.head().revision) return stored_;
  auto documents = store_.Documents();
  if (!documents.ok()) return documents.status();
  absl::flat_hash_map<std::string, DocumentRef> known;
  for (const DocumentRef& document : policy_.documents()) {
    known[Key(std::string(DocumentKindName(document->kind)), document->name)] = document;
  }
  std::vector<DocumentRef> shared;
  std::vector<Document> fresh;
  for (const StoredDocument& document : *documents) {
    const auto it = known.find(Key(document.kind, document.name));
    if (it != known.end() && it->second->text == document.text &&
        it->second->file == document.file && it->second->first_line == document.line) {
      shared.push_back(it->second);
      continue;
    }
    auto parsed = ParseDocuments(document.file, document.text, diagnostics, document.line);
    if (!parsed.ok()) return parsed.status();
    for (Document& one : *parsed) fresh.push_back(std::move(one));
  }
  for (DocumentRef& document : ShareDocuments(std::move(fresh))) {
    shared.push_back(std::move(document));
  }
  auto policy = BuildPolicySet(std::move(shared), diagnostics);
  if (!policy.ok()) return policy.status();
  stored_ = *policy;
  stored_at_ = store_.head().revision;
  return policy;
}

// The documents as they would be after `changes`, checked against each other. What has been parsed
// already, in `parsed` or for the stored policy, is not parsed again.
absl::StatusOr<PolicySet> Controller::PolicyAfter(const PolicySet& stored,
                                                  const std::vector<DocumentChange>& changes,
                                                  Diagnostics* diagnostics,
                                                  const std::vector<DocumentRef>& parsed) {
  std::set<const Document*> replaced;
  for (const DocumentChange& change : changes) {
    replaced.insert(Find(stored, change.kind, change.name));
  }
  std::vector<DocumentRef> documents;
  documents.reserve(stored.documents().size() + changes.size());
  for (const DocumentRef& document : stored.documents()) {
    if (!replaced.contains(document.get())) documents.push_back(document);
  }
  std::vector<Document> fresh;
  absl::flat_hash_map<std::string, DocumentRef> known;
  for (const DocumentRef& document : parsed) {
    known[Key(std::string(DocumentKindName(document->kind)), document->name)] = document;
  }
  for (const DocumentChange& change : changes) {
    if (change.op == ChangeOp::kDelete) continue;
    const auto it = known.find(Key(change.kind, change.name));
    if (it != known.end() && SameDocument(*it->second, change)) {
      documents.push_back(it->second);
      continue;
    }
    auto again = ParseDocuments(change.file, change.text, diagnostics, change.line);
    if (!again.ok()) return again.status();
    for (Document& document : *again) fresh.push_back(std::move(document));
  }
  for (DocumentRef& document : ShareDocuments(std::move(fresh))) {
    documents.push_back(std::move(document));
  }
  return BuildPolicySet(std::move(documents), diagnostics, &stored);
}

absl::StatusOr<api::ApplyReport> Controller::ApplyPolicy(const api::ApplyRequest& request,
                                                         Diagnostics* diagnostics) {
  const std::lock_guard lock(mutex_);
  const auto start = std::chrono::steady_clock::now();
  std::vector<Document> fresh;
  absl::Status failed;
  for (const api::PolicyFile& file : request.files) {
    auto parsed = ParseDocuments(file.name, file.text, diagnostics);
    if (!parsed.ok()) {
      failed = parsed.status();
      continue;
    }
    for (Document& document : *parsed) fresh.push_back(std::move(document));
  }
  if (!failed.ok()) return failed;
  MSEG_RETURN_IF_ERROR(CheckMode(fresh));
  MSEG_RETURN_IF_ERROR(FixPins(&fresh, diagnostics));
  std::vector<DocumentRef> documents = ShareDocuments(std::move(fresh));
  DropRepeatedSentences(&documents);  // a revision changes a document once
  auto stored = StoredPolicy(diagnostics);
  if (!stored.ok()) return stored.status();
  Change change;
  change.author = request.author;
  change.peer = PeerOf(request.caller);
  change.message = request.message;
  change.dry_run = request.dry_run;
  if (!request.dry_run) {
    auto confirmation = ConfirmationFor(request.confirm_within_us);
    if (!confirmation.ok()) return confirmation.status();
    change.confirmation = *confirmation;
  }
  const std::optional<Confirmation> confirmation = change.confirmation;
  for (const DocumentRef& document : documents) {
    DocumentChange upsert = Upsert(*document);
    const Document* old = stored->Find(document->kind, document->name);
    const char* action = old == nullptr ? "created" : "configured";
    if (old != nullptr && SameDocument(*old, upsert)) action = "unchanged";
    change.report.push_back({action, upsert.kind, upsert.name});
    change.documents.push_back(std::move(upsert));
  }
  if (request.prune) Prune(request.files, *stored, &change.documents, &change.report);
  auto policy = PolicyAfter(*stored, change.documents, diagnostics, documents);
  if (!policy.ok()) return policy.status();
  api::ApplyReport report;
  report.timings_ms.check = MillisSince(start);
  auto applied = Apply(std::move(change), *policy, std::move(report), diagnostics);
  if (!applied.ok()) return applied.status();
  // Where no document changed there is no revision, but the deadline moves all the same.
  if (confirmation.has_value() && store_.confirmation().has_value() &&
      store_.confirmation()->deadline_us != confirmation->deadline_us) {
    MSEG_RETURN_IF_ERROR(store_.SetConfirmation(confirmation->deadline_us));
  }
  applied->pending = Pending();
  return applied;
}

absl::StatusOr<api::ApplyReport> Controller::DeletePolicies(const api::DeleteRequest& request,
                                                            Diagnostics* diagnostics) {
  const std::lock_guard lock(mutex_);
  const auto start = std::chrono::steady_clock::now();
  // Nothing waits afterwards; where something does, this is the refusal.
  if (auto waits = ConfirmationFor(0); !waits.ok()) return waits.status();
  auto stored = StoredPolicy(diagnostics);
  if (!stored.ok()) return stored.status();
  Change change;
  change.author = request.author;
  change.peer = PeerOf(request.caller);
  change.message = request.message;
  std::string missing;
  for (const api::DocumentId& id : request.documents) {
    const Document* found = Find(*stored, id.kind, id.name);
    if (found == nullptr) {
      absl::StrAppend(&missing, missing.empty() ? "" : ", ", id.kind, "/", id.name);
      continue;
    }
    DocumentChange removal;
    removal.op = ChangeOp::kDelete;
    removal.kind = std::string(DocumentKindName(found->kind));
    removal.name = found->name;
    change.report.push_back({"deleted", removal.kind, removal.name});
    change.documents.push_back(std::move(removal));
  }
  if (!missing.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no such document: ", missing, "; nothing was changed"));
  }
  auto policy = PolicyAfter(*stored, change.documents, diagnostics, {});
  if (!policy.ok()) return policy.status();
  api::ApplyReport report;
  report.timings_ms.check = MillisSince(start);
  return Apply(std::move(change), *policy, std::move(report), diagnostics);
}

// Compile → store → stage → verify → flip → mark active. Up to the store nothing has happened.
absl::StatusOr<api::ApplyReport> Controller::Apply(Change change, const PolicySet& policy,
                                                   api::ApplyReport report,
                                                   Diagnostics* diagnostics) {
  auto start = std::chrono::steady_clock::now();
  const Mentions mentions = mentions_.Of(policy);
  MSEG_RETURN_IF_ERROR(exes_.CheckDigestIds(mentions.digests));
  LearnMentioned(mentions);
  auto image = CompileNow(policy, mentions, diagnostics);
  if (!image.ok()) return image.status();
  report.timings_ms.compile = MillisSince(start);
  report.budget = image->budget;
  report.revision = store_.head().revision;
  report.generation = generation_;
  report.changes = change.report;
  absl::flat_hash_set<std::string> unchanged;
  for (const api::Change& line : change.report) {
    if (line.action == "unchanged") unchanged.insert(Key(line.kind, line.name));
  }
  std::erase_if(change.documents, [&unchanged](const DocumentChange& document) {
    return unchanged.contains(Key(document.kind, document.name));
  });
  if (change.dry_run) {
    if (!change.documents.empty()) report.will_close = CountDenied(*image);
    return report;
  }
  if (change.documents.empty()) {
    // The policy stays; a file that it names may have become trusted.
    for (const ExeRegistry::Known& known : exes_.All()) MSEG_RETURN_IF_ERROR(Enrol(known));
    return report;
  }

  start = std::chrono::steady_clock::now();
  auto before = StoredPolicy(diagnostics);
  if (!before.ok()) return before.status();
  RevisionInput input;
  input.time_us = NowUs();
  input.author = change.author;
  input.peer = change.peer;
  input.message = change.message;
  input.changes = change.documents;
  input.confirmation = change.confirmation;
  change.confirmation = store_.confirmation();  // what to go back to, should the kernel refuse
  auto revision = store_.Append(input);
  if (!revision.ok()) return revision.status();
  report.timings_ms.store = MillisSince(start);
  if (const absl::Status status = PutInForce(*std::move(image), &report.timings_ms); !status.ok()) {
    return RevertRevision(change, *before, status);
  }
  policy_ = policy;
  stored_ = policy;
  stored_at_ = revision->number;
  // A large policy leaves much behind that malloc would keep for the next one.
  if (change.documents.size() > kManyDocuments) malloc_trim(0);
  report.revision = revision->number;
  report.generation = generation_;
  MSEG_RETURN_IF_ERROR(ClassifyNewCgroups());
  start = std::chrono::steady_clock::now();
  const Closing closing = CloseDenied();
  report.will_close = closing.denied;
  report.closed = closing.closed;
  report.timings_ms.close = MillisSince(start);
  CloseDeniedLater(1, kSecondWalk);
  return report;
}

// The kernel refused what the store already holds: the log gets a revision that takes it back, so
// that store and kernel say the same again.
absl::Status Controller::RevertRevision(const Change& change, const PolicySet& before,
                                        const absl::Status& cause) {
  RevisionInput input;
  input.time_us = NowUs();
  input.author = "msegd";
  input.message = absl::StrCat("taken back: ", std::string(cause.message()));
  input.confirmation = change.confirmation;
  for (const DocumentChange& document : change.documents) {
    DocumentChange undo;
    undo.kind = document.kind;
    undo.name = document.name;
    if (const Document* old = Find(before, document.kind, document.name)) {
      undo.text = old->text;
      undo.file = old->file;
      undo.line = old->first_line;
    } else {
      undo.op = ChangeOp::kDelete;
    }
    input.changes.push_back(std::move(undo));
  }
  auto revision = store_.Append(input);
  if (!revision.ok()) {
    return absl::InternalError(absl::StrCat(
        std::string(cause.message()),
        "; and taking the revision back failed: ", std::string(revision.status().message()),
        "; the old policy is in force until msegd "
        "restarts"));
  }
  return absl::Status(
      cause.code(), absl::StrCat(std::string(cause.message()), "; the old policy stays in force"));
}

absl::StatusOr<std::vector<api::Document>> Controller::GetPolicies(
    const std::string& kind, const std::string& name, std::optional<uint64_t> revision) {
  const std::lock_guard lock(mutex_);
  auto stored = revision.has_value() ? store_.DocumentsAt(*revision) : store_.Documents();
  if (!stored.ok()) return stored.status();
  std::vector<api::Document> out;
  for (const StoredDocument& document : *stored) {
    if (!kind.empty() && !SameWord(document.kind, kind)) continue;
    if (!name.empty() && document.name != name) continue;
    out.push_back(ToApi(document));
  }
  if (out.empty() && !kind.empty() && !name.empty()) {
    return absl::NotFoundError(
        absl::StrCat("there is no ", kind, " named ", name,
                     revision.has_value() ? absl::StrCat(" in revision ", *revision) : ""));
  }
  return out;
}

}  // namespace mseg
