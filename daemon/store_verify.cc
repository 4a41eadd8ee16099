// SPDX-License-Identifier: Apache-2.0
// Does the log hang together, and do the documents follow from it?

#include <map>
#include <string>
#include <utility>

#include "daemon/store.h"
#include "daemon/store_codec.h"
#include "daemon/store_db.h"
#include "labels/text.h"

namespace mseg {
namespace {

// What the log says about the documents: key of the document -> hash of it.
using Replay = std::map<std::string, ChainHash, std::less<>>;

absl::Status Broken(std::string_view what) { return absl::DataLossError(Cat("store: ", what)); }

absl::Status ReplayRevision(const Revision& revision, Replay* replay, ChainHash* state) {
  for (const DocumentChange& change : revision.changes) {
    const std::string key = DocumentKey(change.kind, change.name);
    const auto old = replay->find(key);
    if (old != replay->end()) TakeFromState(old->second, state);
    if (change.op == ChangeOp::kDelete) {
      if (old == replay->end()) {
        return Broken(Cat("revision ", revision.number, " deletes ", change.kind, " ", change.name,
                          ", which is not there"));
      }
      replay->erase(old);
      continue;
    }
    const ChainHash hash = HashDocument({.kind = change.kind,
                                         .name = change.name,
                                         .text = change.text,
                                         .file = change.file,
                                         .line = change.line,
                                         .revision = revision.number});
    AddToState(hash, state);
    (*replay)[key] = hash;
  }
  if (*state == revision.state_hash) return absl::OkStatus();
  return Broken(
      Cat("the documents after revision ", revision.number, " are not what the log gives"));
}

// Walks the log upwards and keeps what the next entry must continue.
class ChainWalk {
 public:
  // `start`: a revision whose hash is known, or zero for the beginning of the log.
  ChainWalk(const Head& start, Replay* replay) : last_(start), replay_(replay) {
    at_start_ = start.revision > 0;
  }

  absl::StatusOr<bool> Visit(std::string_view key, std::string_view bytes) {
    absl::StatusOr<Revision> revision = DecodeRevision(bytes);
    if (!revision.ok()) {
      return Broken(Cat("the entry after revision ", last_.revision,
                        " is damaged: ", revision.status().message()));
    }
    const uint64_t expected = at_start_ ? last_.revision : last_.revision + 1;
    if (revision->number != expected || key != RevisionKey(expected)) {
      return Broken(
          Cat("the log has revision ", revision->number, " where revision ", expected, " belongs"));
    }
    if (at_start_ ? revision->hash != last_.hash : revision->previous_hash != last_.hash) {
      return Broken(Cat("the hash chain breaks between revisions ", expected - 1, " and ", expected,
                        ": one of them was changed after it was written"));
    }
    at_start_ = false;
    last_ = {.revision = revision->number, .hash = revision->hash};
    state_ = revision->state_hash;
    if (replay_ != nullptr) {
      if (absl::Status status = ReplayRevision(*revision, replay_, &replayed_); !status.ok()) {
        return status;
      }
    }
    return true;
  }

  const Head& last() const { return last_; }
  const ChainHash& state() const { return state_; }
  // The revision to start from was not there.
  bool missed_start() const { return at_start_; }

 private:
  Head last_;
  bool at_start_;
  ChainHash state_{};     // as the last entry states it
  ChainHash replayed_{};  // as the log gives it
  Replay* replay_;
};

// Sums up the documents and, after a replay, compares each with it.
class StateWalk {
 public:
  StateWalk(uint64_t head, Replay* replay) : head_(head), replay_(replay) {}

  absl::StatusOr<bool> Visit(std::string_view key, std::string_view bytes) {
    absl::StatusOr<StoredDocument> document = DecodeDocument(bytes);
    if (!document.ok()) return document.status();
    const std::string name = Cat(document->kind, " ", document->name);
    if (key != DocumentKey(document->kind, document->name) || document->revision > head_) {
      return Broken(Cat("the document ", name, " (revision ", document->revision,
                        ") is not one of the log's"));
    }
    const ChainHash hash = HashDocument(*document);
    AddToState(hash, &sum_);
    if (replay_ == nullptr) return true;
    const auto it = replay_->find(key);
    if (it == replay_->end() || it->second != hash) {
      return Broken(Cat("the document ", name, " is not what the log gives"));
    }
    replay_->erase(it);
    return true;
  }

  const ChainHash& sum() const { return sum_; }

 private:
  uint64_t head_;
  Replay* replay_;
  ChainHash sum_{};
};

}  // namespace

absl::Status Store::VerifyChain(VerifyExtent extent) const {
  return WithAdvice(Verify(extent), db_->data_dir());
}

absl::Status Store::Verify(VerifyExtent extent) const {
  Replay replay;
  Replay* const replayed = extent == VerifyExtent::kFull ? &replay : nullptr;
  Head start;
  if (extent == VerifyExtent::kSinceCheckpoint) {
    absl::StatusOr<std::optional<std::string>> bytes = db_->Get(kCheckpointKey);
    if (!bytes.ok()) return bytes.status();
    if (bytes->has_value()) {
      absl::StatusOr<Head> checkpoint = DecodeHead(**bytes);
      if (!checkpoint.ok()) return checkpoint.status();
      start = *checkpoint;
    }
  }
  ChainWalk chain(start, replayed);
  absl::Status status = db_->Scan(
      kRevisionPrefix, start.revision == 0 ? std::string() : RevisionKey(start.revision),
      [&](std::string_view key, std::string_view bytes) { return chain.Visit(key, bytes); });
  if (!status.ok()) return status;
  if (chain.missed_start() || chain.last().revision != head_.revision) {
    return Broken(Cat("the head is revision ", head_.revision, ", the log ends with ",
                      chain.missed_start() ? 0 : chain.last().revision));
  }
  if (chain.last().hash != head_.hash) {
    return Broken(Cat("the hash chain breaks at its end: revision ", head_.revision,
                      " was changed after it was written"));
  }
  if (active_.revision > head_.revision) {
    return Broken(
        Cat("revision ", active_.revision, " is in force, the log ends with ", head_.revision));
  }
  return VerifyState(chain.state(), replayed);
}

absl::Status Store::VerifyState(const ChainHash& expected,
                                std::map<std::string, ChainHash, std::less<>>* replay) const {
  StateWalk state(head_.revision, replay);
  absl::Status status = db_->Scan(
      kDocumentPrefix, "",
      [&](std::string_view key, std::string_view bytes) { return state.Visit(key, bytes); });
  if (!status.ok()) return status;
  if (replay != nullptr && !replay->empty()) {
    std::string name = replay->begin()->first.substr(kDocumentPrefix.size());
    name[name.find('\0')] = ' ';
    return Broken(Cat("the document ", name, " of the log is missing"));
  }
  if (state.sum() == expected) return absl::OkStatus();
  // Something differs: a replay can say what.
  if (replay == nullptr) {
    if (absl::Status full = Verify(VerifyExtent::kFull); !full.ok()) return full;
  }
  return Broken("the documents are not what the log gives");
}

}  // namespace mseg
