// SPDX-License-Identifier: Apache-2.0
// From documents to a revision and a generation.
#include <malloc.h>

#include <chrono>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/controller.h"
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

// By kind and name.
using DocumentIndex = absl::flat_hash_map<std::string, const StoredDocument*>;
DocumentIndex IndexOf(const std::vector<StoredDocument>& documents) {
  DocumentIndex index;
  for (const StoredDocument& document : documents) {
    index.emplace(Key(document.kind, document.name), &document);
  }
  return index;
}
const StoredDocument* Find(const DocumentIndex& index, const std::string& kind,
                           const std::string& name) {
  const auto it = index.find(Key(kind, name));
  return it == index.end() ? nullptr : it->second;
}

}  // namespace

// The documents as they would be after `changes`, checked against each other. What has been parsed
// already, in `parsed` or for the policy in force, is not parsed again.
absl::StatusOr<PolicySet> Controller::StoredPolicy(const std::vector<DocumentChange>& changes,
                                                   Diagnostics* diagnostics,
                                                   std::vector<Document> parsed) {
  auto stored = store_.Documents();
  if (!stored.ok()) return stored.status();
  absl::flat_hash_map<std::string, const Document*> known;
  const std::vector<Document>* const sources[] = {&policy_.documents(), &parsed};
  for (const std::vector<Document>* from : sources) {
    for (const Document& document : *from) {
      known[Key(std::string(DocumentKindName(document.kind)), document.name)] = &document;
    }
  }
  std::vector<Document> documents;
  auto add = [&](const std::string& key, const std::string& file, const std::string& text,
                 int line) -> absl::Status {
    const auto it = known.find(key);
    if (it != known.end() && it->second->text == text && it->second->file == file &&
        it->second->first_line == line) {
      documents.push_back(*it->second);
      return absl::OkStatus();
    }
    auto fresh = ParseDocuments(file, text, diagnostics, line);
    if (!fresh.ok()) return fresh.status();
    for (Document& document : *fresh) documents.push_back(std::move(document));
    return absl::OkStatus();
  };
  absl::flat_hash_set<std::string> replaced;
  for (const DocumentChange& change : changes) replaced.insert(Key(change.kind, change.name));
  for (const StoredDocument& document : *stored) {
    const std::string key = Key(document.kind, document.name);
    if (replaced.contains(key)) continue;
    MSEG_RETURN_IF_ERROR(add(key, document.file, document.text, document.line));
  }
  for (const DocumentChange& change : changes) {
    if (change.op == ChangeOp::kDelete) continue;
    MSEG_RETURN_IF_ERROR(add(Key(change.kind, change.name), change.file, change.text, change.line));
  }
  return BuildPolicySet(std::move(documents), diagnostics);
}

absl::StatusOr<api::ApplyReport> Controller::ApplyPolicy(const api::ApplyRequest& request,
                                                         Diagnostics* diagnostics) {
  const std::lock_guard lock(mutex_);
  const auto start = std::chrono::steady_clock::now();
  std::vector<Document> documents;
  absl::Status failed;
  for (const api::PolicyFile& file : request.files) {
    auto parsed = ParseDocuments(file.name, file.text, diagnostics);
    if (!parsed.ok()) {
      failed = parsed.status();
      continue;
    }
    for (Document& document : *parsed) documents.push_back(std::move(document));
  }
  if (!failed.ok()) return failed;
  DropRepeatedSentences(&documents);  // a revision changes a document once
  auto stored = store_.Documents();
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
  const DocumentIndex index = IndexOf(*stored);
  for (const Document& document : documents) {
    DocumentChange upsert = Upsert(document);
    const StoredDocument* old = Find(index, upsert.kind, upsert.name);
    const char* action = old == nullptr ? "created" : "configured";
    if (old != nullptr && old->text == upsert.text && old->file == upsert.file &&
        old->line == upsert.line) {
      action = "unchanged";
    }
    change.report.push_back({action, upsert.kind, upsert.name});
    change.documents.push_back(std::move(upsert));
  }
  auto policy = StoredPolicy(change.documents, diagnostics, std::move(documents));
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
  auto stored = store_.Documents();
  if (!stored.ok()) return stored.status();
  Change change;
  change.author = request.author;
  change.peer = PeerOf(request.caller);
  change.message = request.message;
  std::string missing;
  for (const api::DocumentId& id : request.documents) {
    const StoredDocument* found = nullptr;
    for (const StoredDocument& document : *stored) {
      if (SameWord(document.kind, id.kind) && document.name == id.name) found = &document;
    }
    if (found == nullptr) {
      absl::StrAppend(&missing, missing.empty() ? "" : ", ", id.kind, "/", id.name);
      continue;
    }
    DocumentChange removal;
    removal.op = ChangeOp::kDelete;
    removal.kind = found->kind;
    removal.name = found->name;
    change.report.push_back({"deleted", found->kind, found->name});
    change.documents.push_back(std::move(removal));
  }
  if (!missing.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no such document: ", missing, "; nothing was changed"));
  }
  auto policy = StoredPolicy(change.documents, diagnostics);
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
  LearnMentioned(policy);
  auto image = CompileNow(policy, diagnostics);
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
  if (!change.documents.empty()) report.will_close = CountDenied(*image);
  if (change.dry_run) return report;
  if (change.documents.empty()) {
    // The policy stays; a file that it names may have become trusted.
    for (const ExeRegistry::Known& known : exes_.All()) MSEG_RETURN_IF_ERROR(Enrol(known));
    return report;
  }

  start = std::chrono::steady_clock::now();
  auto before = store_.Documents();
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
  // A large policy leaves much behind that malloc would keep for the next one.
  if (change.documents.size() > kManyDocuments) malloc_trim(0);
  report.revision = revision->number;
  report.generation = generation_;
  MSEG_RETURN_IF_ERROR(ClassifyNewCgroups());
  start = std::chrono::steady_clock::now();
  report.closed = CloseDenied();
  report.timings_ms.close = MillisSince(start);
  CloseDeniedLater(1, kSecondWalk);
  return report;
}

// The kernel refused what the store already holds: the log gets a revision that takes it back, so
// that store and kernel say the same again.
absl::Status Controller::RevertRevision(const Change& change,
                                        const std::vector<StoredDocument>& before,
                                        const absl::Status& cause) {
  RevisionInput input;
  input.time_us = NowUs();
  input.author = "msegd";
  input.message = absl::StrCat("taken back: ", std::string(cause.message()));
  input.confirmation = change.confirmation;
  const DocumentIndex index = IndexOf(before);
  for (const DocumentChange& document : change.documents) {
    DocumentChange undo;
    undo.kind = document.kind;
    undo.name = document.name;
    if (const StoredDocument* old = Find(index, document.kind, document.name)) {
      undo.text = old->text;
      undo.file = old->file;
      undo.line = old->line;
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
