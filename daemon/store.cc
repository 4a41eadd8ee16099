// SPDX-License-Identifier: Apache-2.0
#include "daemon/store.h"

#include <sodium.h>

#include <map>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "daemon/store_codec.h"
#include "daemon/store_db.h"
#include "labels/text.h"

namespace mseg {
namespace {

// Every so many revisions the append notes {number, hash}; the check at open starts there.
constexpr uint64_t kCheckpointEvery = 1024;

absl::Status CheckName(std::string_view what, const std::string& value) {
  if (!value.empty() && value.find('\0') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Cat("store: a change's ", what, " must not be empty or hold a NUL"));
}

absl::Status CheckInput(const RevisionInput& input) {
  if (input.panic.has_value() != (input.event == RevisionEvent::kPanic)) {
    return absl::InvalidArgumentError(
        "store: a panic is recorded by its own event, and only by it");
  }
  if ((!input.host_rows.empty() || input.host_id.has_value()) &&
      input.event != RevisionEvent::kHosts) {
    return absl::InvalidArgumentError(
        "store: hosts are recorded by their own event, and only by it");
  }
  size_t bytes = input.author.size() + input.message.size();
  for (const HostRow& row : input.host_rows) {
    bytes += row.key.size() + row.value.value_or("").size();
  }
  if (input.peer.has_value()) bytes += input.peer->user.size();
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const DocumentChange& change : input.changes) {
    if (absl::Status status = CheckName("kind", change.kind); !status.ok()) return status;
    if (absl::Status status = CheckName("name", change.name); !status.ok()) return status;
    if (!seen.emplace(change.kind, change.name).second) {
      return absl::InvalidArgumentError(
          Cat("store: one revision changes ", change.kind, " ", change.name, " twice"));
    }
    if (change.op == ChangeOp::kDelete && !(change.text.empty() && change.file.empty())) {
      return absl::InvalidArgumentError(
          Cat("store: a deletion of ", change.kind, " ", change.name, " carries a text"));
    }
    bytes += change.kind.size() + change.name.size() + change.text.size() + change.file.size() + 64;
  }
  if (bytes <= Store::kMaxRevisionBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      Cat("store: a revision of ", bytes, " bytes is larger than the ", Store::kMaxRevisionBytes,
          " bytes that one may have. Apply the documents in several steps."));
}

void AddHostWrites(const RevisionInput& input, StoredHost* host,
                   std::vector<StoreDb::Write>* writes) {
  for (const HostRow& row : input.host_rows) {
    writes->push_back({Cat(kHostRowPrefix, row.key), row.value});
  }
  if (!input.host_id.has_value()) return;
  host->id = *input.host_id;
  writes->push_back({std::string(kHostKey), EncodeHost(*host)});
}

StoredDocument DocumentOf(const DocumentChange& change, uint64_t revision) {
  return {.kind = change.kind,
          .name = change.name,
          .text = change.text,
          .file = change.file,
          .line = change.line,
          .revision = revision};
}

}  // namespace

Store::Store(std::unique_ptr<StoreDb> db) : db_(std::move(db)) {}
Store::~Store() = default;

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& dir,
                                                   const StoreOptions& options) {
  if (sodium_init() < 0) return absl::InternalError("store: libsodium cannot be initialised");
  absl::StatusOr<std::unique_ptr<StoreDb>> db = StoreDb::Open(dir, options.env);
  if (!db.ok()) return db.status();
  std::unique_ptr<Store> store(new Store(*std::move(db)));
  if (absl::Status status = store->Load(options); !status.ok()) {
    return WithAdvice(status, store->db_->data_dir());
  }
  return store;
}

absl::Status Store::Load(const StoreOptions& options) {
  if (absl::Status status = LoadOrInitialise(options); !status.ok()) return status;
  if (absl::Status status = Verify(VerifyExtent::kSinceCheckpoint); !status.ok()) return status;
  if (head_.revision > 0) {
    absl::StatusOr<Revision> last = GetRevision(head_.revision);
    if (!last.ok()) return last.status();
    state_hash_ = last->state_hash;
  }
  return LoadBoot(options.boot_id);
}

absl::Status Store::LoadOrInitialise(const StoreOptions& options) {
  absl::StatusOr<std::optional<std::string>> schema = db_->Get(kSchemaKey);
  if (!schema.ok()) return schema.status();
  if (!schema->has_value()) {
    bool empty = true;
    absl::Status status = db_->Scan("", "", [&](std::string_view, std::string_view) {
      empty = false;
      return absl::StatusOr<bool>(false);
    });
    if (!status.ok()) return status;
    if (!empty) {
      return absl::FailedPreconditionError(Cat(
          "store: ", db_->data_dir(), " is a database, but not mseg's. Use another --state-dir."));
    }
    return Initialise(options);
  }
  if (**schema != kStoreSchema) {
    return absl::FailedPreconditionError(
        Cat("store: ", db_->data_dir(), " has schema version ", **schema, ", this msegd knows ",
            kStoreSchema, " only. Run the msegd that wrote it, or use another --state-dir."));
  }
  const auto load = [&](std::string_view key, auto decode, auto* to) {
    absl::StatusOr<std::optional<std::string>> bytes = db_->Get(key);
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) {
      return absl::DataLossError(Cat("store: ", db_->data_dir(), " lacks its record ", key));
    }
    auto record = decode(**bytes);
    if (!record.ok()) return record.status();
    *to = *std::move(record);
    return absl::OkStatus();
  };
  if (absl::Status status = load(kHostKey, DecodeHost, &host_); !status.ok()) return status;
  if (absl::Status status = load(kHeadKey, DecodeHead, &head_); !status.ok()) return status;
  if (absl::Status status = load(kActiveKey, DecodeActive, &active_); !status.ok()) return status;
  if (absl::Status status = CheckSalt(options); !status.ok()) return status;
  return LoadTemporary();
}

absl::Status Store::Initialise(const StoreOptions& options) {
  if (options.salt.has_value()) {
    host_.salt = *options.salt;
  } else {
    randombytes_buf(host_.salt.data(), host_.salt.size());
  }
  while (host_.store_id == 0) randombytes_buf(&host_.store_id, sizeof(host_.store_id));
  return db_->Apply({{std::string(kSchemaKey), std::string(kStoreSchema)},
                     {std::string(kHostKey), EncodeHost(host_)},
                     {std::string(kHeadKey), EncodeHead(head_)},
                     {std::string(kActiveKey), EncodeActive(active_)}},
                    /*sync=*/true);
}

// Short ids are keyed with the salt: under another one nothing on record would mean what it says.
absl::Status Store::CheckSalt(const StoreOptions& options) {
  // A store of an older msegd was named by its salt, and what is pinned in the kernel still is.
  if (host_.store_id == 0) host_.store_id = LabelId(host_.salt, LabelSet());
  if (!options.salt.has_value() || *options.salt == host_.salt) return absl::OkStatus();
  return absl::FailedPreconditionError(
      Cat("store: ", db_->data_dir(),
          " was made with another salt than fleet.salt_file holds, so "
          "its short ids are not the fleet's. Put the salt back that it was made with, or stop "
          "msegd, run msegd --detach-all, move that directory away, start, and apply the policy "
          "again."));
}

// What waits for its deadline. A store of an older msegd has neither record.
absl::Status Store::LoadTemporary() {
  absl::StatusOr<std::optional<std::string>> bytes = db_->Get(kConfirmationKey);
  if (!bytes.ok()) return bytes.status();
  if (bytes->has_value()) {
    absl::StatusOr<Confirmation> confirmation = DecodeConfirmation(**bytes);
    if (!confirmation.ok()) return confirmation.status();
    // An older msegd, which knows of no confirmation, has gone on since: that settled it.
    if (confirmation->revision == head_.revision) confirmation_ = *confirmation;
  }
  bytes = db_->Get(kPanicKey);
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) return absl::OkStatus();
  absl::StatusOr<Panic> panic = DecodePanic(**bytes);
  if (!panic.ok()) return panic.status();
  panic_ = *std::move(panic);
  return absl::OkStatus();
}

// Inode numbers, device numbers and refs of another boot mean nothing now.
absl::Status Store::LoadBoot(const std::string& boot_id) {
  boot_id_ = boot_id;
  absl::StatusOr<std::optional<std::string>> bytes = db_->Get(kBootKey);
  if (!bytes.ok()) return bytes.status();
  if (bytes->has_value()) {
    absl::StatusOr<BootRecord> boot = DecodeBoot(**bytes);
    if (!boot.ok()) return boot.status();
    if (boot->boot_id == boot_id) {
      next_ref_ = boot->next_ref;
      return absl::OkStatus();
    }
  }
  std::vector<StoreDb::Write> writes;
  for (const std::string_view prefix : {kExecutablePrefix, kRefPrefix}) {
    absl::Status status =
        db_->Scan(prefix, "", [&](std::string_view key, std::string_view) -> absl::StatusOr<bool> {
          writes.push_back({std::string(key), std::nullopt});
          return true;
        });
    if (!status.ok()) return status;
  }
  writes.push_back({std::string(kBootKey), EncodeBoot({boot_id, 1})});
  return db_->Apply(writes, /*sync=*/true);
}

absl::StatusOr<std::vector<StoredDocument>> Store::Documents() const {
  std::vector<StoredDocument> documents;
  absl::Status status = db_->Scan(
      kDocumentPrefix, "", [&](std::string_view, std::string_view bytes) -> absl::StatusOr<bool> {
        absl::StatusOr<StoredDocument> document = DecodeDocument(bytes);
        if (!document.ok()) return document.status();
        documents.push_back(*std::move(document));
        return true;
      });
  if (!status.ok()) return status;
  return documents;
}

absl::StatusOr<StoredDocument> Store::GetDocument(std::string_view kind,
                                                  std::string_view name) const {
  absl::StatusOr<std::optional<std::string>> bytes = db_->Get(DocumentKey(kind, name));
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) {
    return absl::NotFoundError(Cat("store: there is no ", kind, " ", name));
  }
  return DecodeDocument(**bytes);
}

absl::StatusOr<std::vector<StoredDocument>> Store::DocumentsAt(uint64_t revision) const {
  if (revision > head_.revision) {
    return absl::NotFoundError(
        Cat("store: there is no revision ", revision, "; the last one is ", head_.revision));
  }
  std::map<std::pair<std::string, std::string>, StoredDocument> state;
  absl::Status status = db_->Scan(
      kRevisionPrefix, "", [&](std::string_view, std::string_view bytes) -> absl::StatusOr<bool> {
        absl::StatusOr<Revision> entry = DecodeRevision(bytes);
        if (!entry.ok()) return entry.status();
        if (entry->number > revision) return false;
        for (const DocumentChange& change : entry->changes) {
          if (change.op == ChangeOp::kDelete) {
            state.erase({change.kind, change.name});
          } else {
            state[{change.kind, change.name}] = DocumentOf(change, entry->number);
          }
        }
        return true;
      });
  if (!status.ok()) return status;
  std::vector<StoredDocument> documents;
  documents.reserve(state.size());
  for (auto& [name, document] : state) documents.push_back(std::move(document));
  return documents;
}

absl::StatusOr<Revision> Store::Append(const RevisionInput& input) {
  if (absl::Status status = CheckInput(input); !status.ok()) return status;
  if (absl::Status status = db_->Ready(); !status.ok()) return status;
  Revision revision{.number = head_.revision + 1,
                    .time_us = input.time_us,
                    .author = input.author,
                    .message = input.message,
                    .changes = input.changes,
                    .event = input.event,
                    .peer = input.peer,
                    .previous_hash = head_.hash,
                    .state_hash = state_hash_,
                    .hash = {}};
  std::vector<StoreDb::Write> writes;
  for (const DocumentChange& change : input.changes) {
    absl::StatusOr<StoredDocument> old = GetDocument(change.kind, change.name);
    if (!old.ok() && !absl::IsNotFound(old.status())) return old.status();
    if (old.ok()) TakeFromState(HashDocument(*old), &revision.state_hash);
    if (change.op == ChangeOp::kDelete) {
      if (!old.ok()) return old.status();
      writes.push_back({DocumentKey(change.kind, change.name), std::nullopt});
      continue;
    }
    const StoredDocument document = DocumentOf(change, revision.number);
    AddToState(HashDocument(document), &revision.state_hash);
    writes.push_back({DocumentKey(change.kind, change.name), EncodeDocument(document)});
  }
  std::string encoded = EncodeRevision(revision);
  revision.hash = HashRevision(revision.previous_hash, encoded);
  const Head head{.revision = revision.number, .hash = revision.hash};
  writes.push_back({RevisionKey(revision.number), std::move(encoded)});
  writes.push_back({std::string(kHeadKey), EncodeHead(head)});
  std::optional<Confirmation> confirmation =
      input.event == RevisionEvent::kHosts ? confirmation_ : input.confirmation;
  if (confirmation.has_value()) {
    confirmation->revision = revision.number;
    writes.push_back({std::string(kConfirmationKey), EncodeConfirmation(*confirmation)});
  } else if (confirmation_.has_value()) {
    writes.push_back({std::string(kConfirmationKey), std::nullopt});
  }
  std::optional<Panic> panic = panic_;
  if (input.event == RevisionEvent::kPanic) {
    panic = input.panic;
    writes.push_back({std::string(kPanicKey), EncodePanic(*panic)});
  } else if (input.event == RevisionEvent::kPanicEnd) {
    panic.reset();
    writes.push_back({std::string(kPanicKey), std::nullopt});
  }
  StoredHost host = host_;
  AddHostWrites(input, &host, &writes);
  if (revision.number % kCheckpointEvery == 0) {
    writes.push_back({std::string(kCheckpointKey), EncodeHead(head)});
  }
  if (absl::Status status = db_->Apply(writes, /*sync=*/true); !status.ok()) return status;
  head_ = head;
  state_hash_ = revision.state_hash;
  confirmation_ = confirmation;
  panic_ = std::move(panic);
  host_ = std::move(host);
  return revision;
}

absl::Status Store::SetConfirmation(std::optional<int64_t> deadline_us) {
  if (!confirmation_.has_value()) {
    return absl::FailedPreconditionError("store: nothing waits for a confirmation");
  }
  std::optional<Confirmation> next;
  StoreDb::Write write{std::string(kConfirmationKey), std::nullopt};
  if (deadline_us.has_value()) {
    next = confirmation_;
    next->deadline_us = *deadline_us;
    write.value = EncodeConfirmation(*next);
  }
  absl::Status status = db_->Apply({write}, /*sync=*/true);
  if (status.ok()) confirmation_ = next;
  return status;
}

absl::StatusOr<std::vector<Revision>> Store::History(size_t limit, uint64_t before) const {
  std::vector<Revision> history;
  if (limit == 0 || before == 1) return history;
  absl::Status status =
      db_->ScanBackward(kRevisionPrefix, before == 0 ? std::string() : RevisionKey(before - 1),
                        [&](std::string_view, std::string_view bytes) -> absl::StatusOr<bool> {
                          absl::StatusOr<Revision> revision = DecodeRevision(bytes);
                          if (!revision.ok()) return revision.status();
                          history.push_back(*std::move(revision));
                          return history.size() < limit;
                        });
  if (!status.ok()) return status;
  return history;
}

absl::StatusOr<Revision> Store::GetRevision(uint64_t number) const {
  absl::StatusOr<std::optional<std::string>> bytes = db_->Get(RevisionKey(number));
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) {
    return absl::NotFoundError(
        Cat("store: there is no revision ", number, "; the last one is ", head_.revision));
  }
  return DecodeRevision(**bytes);
}

absl::Status Store::SetActive(const ActiveMark& mark) {
  if (mark.revision > head_.revision) {
    return absl::InvalidArgumentError(Cat("store: revision ", mark.revision,
                                          " cannot be in force; the last one is ", head_.revision));
  }
  absl::Status status = db_->Apply({{std::string(kActiveKey), EncodeActive(mark)}}, /*sync=*/true);
  if (status.ok()) active_ = mark;
  return status;
}

absl::Status Store::SetHost(uint32_t id, const std::string& name) {
  if (id >= (1u << 24)) {
    return absl::InvalidArgumentError(Cat("store: host id ", id, " has over 24 bits"));
  }
  const StoredHost host{.id = id, .name = name, .salt = host_.salt, .store_id = host_.store_id};
  absl::Status status = db_->Apply({{std::string(kHostKey), EncodeHost(host)}}, /*sync=*/true);
  if (status.ok()) host_ = host;
  return status;
}

absl::StatusOr<std::vector<HostRow>> Store::HostRows() const {
  std::vector<HostRow> rows;
  absl::Status status = db_->Scan(
      kHostRowPrefix, "",
      [&](std::string_view key, std::string_view bytes) -> absl::StatusOr<bool> {
        rows.push_back({std::string(key.substr(kHostRowPrefix.size())), std::string(bytes)});
        return true;
      });
  if (!status.ok()) return status;
  return rows;
}

absl::Status Store::PutHostRow(const HostRow& row) {
  return db_->Apply({{Cat(kHostRowPrefix, row.key), row.value}}, /*sync=*/true);
}

absl::StatusOr<StoredExecutable> Store::PutExecutable(const StoredExecutable& executable) {
  absl::StatusOr<std::vector<StoredExecutable>> stored = PutExecutables({executable});
  if (!stored.ok()) return stored.status();
  return std::move(stored->front());
}

absl::StatusOr<std::vector<StoredExecutable>> Store::PutExecutables(
    const std::vector<StoredExecutable>& executables) {
  if (absl::Status status = db_->Ready(); !status.ok()) return status;
  std::vector<StoredExecutable> stored = executables;
  std::vector<StoreDb::Write> writes;
  absl::flat_hash_map<std::string, uint32_t> fresh;  // refs that this batch gives
  uint32_t next_ref = next_ref_;
  for (StoredExecutable& executable : stored) {
    ExecutableInfo& info = executable.info;
    const std::string ref_key = RefKey(info);
    absl::StatusOr<std::optional<std::string>> known = db_->Get(ref_key);
    if (!known.ok()) return known.status();
    if (known->has_value()) {
      if (!absl::SimpleAtoi(**known, &info.ref)) {
        return absl::DataLossError("store: the ref of an executable cannot be read");
      }
    } else if (const auto it = fresh.find(ref_key); it != fresh.end()) {
      info.ref = it->second;
    } else {
      if (next_ref == UINT32_MAX) {
        return absl::ResourceExhaustedError("store: no executable ref is left in this boot");
      }
      info.ref = next_ref++;
      fresh.emplace(ref_key, info.ref);
    }
    // What stands for no file has a number and nothing else.
    if (!info.any_path && !info.script) {
      writes.push_back({ExecutableKey(executable.key), EncodeExecutable(info)});
    }
  }
  for (const auto& [key, ref] : fresh) writes.push_back({key, Cat(ref)});
  writes.push_back({std::string(kBootKey), EncodeBoot({boot_id_, next_ref})});
  if (absl::Status status = db_->Apply(writes, /*sync=*/false); !status.ok()) return status;
  next_ref_ = next_ref;
  return stored;
}

absl::StatusOr<std::vector<StoredExecutable>> Store::Executables() const {
  std::vector<StoredExecutable> executables;
  absl::Status status =
      db_->Scan(kExecutablePrefix, "",
                [&](std::string_view key, std::string_view bytes) -> absl::StatusOr<bool> {
                  absl::StatusOr<StoredExecutable> executable = DecodeExecutable(key, bytes);
                  if (!executable.ok()) return executable.status();
                  executables.push_back(*std::move(executable));
                  return true;
                });
  if (!status.ok()) return status;
  return executables;
}

absl::Status Store::ForgetExecutables(const std::vector<mseg_exe_key>& keys) {
  std::vector<StoreDb::Write> writes;
  for (const mseg_exe_key& key : keys) writes.push_back({ExecutableKey(key), std::nullopt});
  return db_->Apply(writes, /*sync=*/false);
}

}  // namespace mseg
