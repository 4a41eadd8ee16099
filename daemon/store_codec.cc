// SPDX-License-Identifier: Apache-2.0
#include "daemon/store_codec.h"

#include <sodium.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "daemon/api/store.capnp.h"
#include "daemon/store_message.h"
#include "labels/text.h"

namespace mseg {
namespace {

// Incremental BLAKE2b-256 whose variable parts carry their length, so that no two inputs collide by
// moving a border.
class Hasher {
 public:
  Hasher() { crypto_generichash_init(&state_, nullptr, 0, sizeof(ChainHash)); }
  Hasher& Raw(std::string_view bytes) {
    crypto_generichash_update(&state_, reinterpret_cast<const unsigned char*>(bytes.data()),
                              bytes.size());
    return *this;
  }
  Hasher& Number(uint64_t value) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(value >> (8 * i));
    return Raw({reinterpret_cast<const char*>(bytes), sizeof(bytes)});
  }
  Hasher& Text(std::string_view text) { return Number(text.size()).Raw(text); }
  ChainHash Finish() {
    ChainHash hash;
    crypto_generichash_final(&state_, hash.data(), hash.size());
    return hash;
  }

 private:
  crypto_generichash_state state_;
};

template <size_t N>
std::string_view BytesOf(const std::array<uint8_t, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

DocumentChange ReadChange(stored::Change::Reader change) {
  KJ_REQUIRE(change.getOp() == stored::Op::UPSERT || change.getOp() == stored::Op::DELETE,
             "unknown operation");
  return {.op = change.getOp() == stored::Op::DELETE ? ChangeOp::kDelete : ChangeOp::kUpsert,
          .kind = FromText(change.getKind()),
          .name = FromText(change.getName()),
          .text = FromText(change.getText()),
          .file = FromText(change.getFile()),
          .line = change.getLine()};
}

RevisionEvent ReadEvent(stored::Event event) {
  KJ_REQUIRE(event <= stored::Event::HOSTS, "unknown event");
  return static_cast<RevisionEvent>(event);
}

}  // namespace

std::string RevisionKey(uint64_t number) {
  std::string key(kRevisionPrefix);
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
  return key;
}

std::string DocumentKey(std::string_view kind, std::string_view name) {
  return Cat(kDocumentPrefix, kind, std::string_view("\0", 1), name);
}

std::string ExecutableKey(const mseg_exe_key& key) {
  return Cat(kExecutablePrefix, std::string_view(reinterpret_cast<const char*>(&key), sizeof(key)));
}

std::string RefKey(const ExecutableInfo& info) {
  Hasher hasher;
  hasher.Raw(BytesOf(info.digest))
      .Number(info.trusted_path)
      .Text(info.path)
      .Number(info.grade)
      .Number(info.any_path);
  if (info.script) hasher.Raw(BytesOf(info.script->digest)).Text(info.script->path);
  return Cat(kRefPrefix, BytesOf(hasher.Finish()));
}

std::string EncodeRevision(const Revision& revision) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Revision>();
  root.setNumber(revision.number);
  root.setTimeUs(revision.time_us);
  root.setAuthor(ToText(revision.author));
  root.setMessage(ToText(revision.message));
  root.setPreviousHash(ToData(revision.previous_hash));
  root.setStateHash(ToData(revision.state_hash));
  root.setEvent(static_cast<stored::Event>(revision.event));
  if (revision.peer.has_value()) {
    auto peer = root.initPeer();
    peer.setUid(revision.peer->uid);
    peer.setUser(ToText(revision.peer->user));
  }
  auto changes = root.initChanges(revision.changes.size());
  for (size_t i = 0; i < revision.changes.size(); ++i) {
    const DocumentChange& from = revision.changes[i];
    auto to = changes[i];
    to.setOp(from.op == ChangeOp::kDelete ? stored::Op::DELETE : stored::Op::UPSERT);
    to.setKind(ToText(from.kind));
    to.setName(ToText(from.name));
    to.setText(ToText(from.text));
    to.setFile(ToText(from.file));
    to.setLine(from.line);
  }
  return Flatten(message);
}

absl::StatusOr<Revision> DecodeRevision(std::string_view bytes) {
  return Decode<stored::Revision>(bytes, "a revision", [bytes](stored::Revision::Reader root) {
    Revision revision{.number = root.getNumber(),
                      .time_us = root.getTimeUs(),
                      .author = FromText(root.getAuthor()),
                      .message = FromText(root.getMessage()),
                      .changes = {},
                      .event = ReadEvent(root.getEvent()),
                      .peer = {},
                      .previous_hash = FromData<32>(root.getPreviousHash()),
                      .state_hash = FromData<32>(root.getStateHash()),
                      .hash = {}};
    if (root.hasPeer()) {
      revision.peer = {.uid = root.getPeer().getUid(), .user = FromText(root.getPeer().getUser())};
    }
    for (stored::Change::Reader change : root.getChanges()) {
      revision.changes.push_back(ReadChange(change));
    }
    revision.hash = HashRevision(revision.previous_hash, bytes);
    return revision;
  });
}

std::string EncodeDocument(const StoredDocument& document) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Document>();
  root.setKind(ToText(document.kind));
  root.setName(ToText(document.name));
  root.setText(ToText(document.text));
  root.setFile(ToText(document.file));
  root.setLine(document.line);
  root.setRevision(document.revision);
  return Flatten(message);
}

absl::StatusOr<StoredDocument> DecodeDocument(std::string_view bytes) {
  return Decode<stored::Document>(bytes, "a document", [](stored::Document::Reader root) {
    return StoredDocument{.kind = FromText(root.getKind()),
                          .name = FromText(root.getName()),
                          .text = FromText(root.getText()),
                          .file = FromText(root.getFile()),
                          .line = root.getLine(),
                          .revision = root.getRevision()};
  });
}

std::string EncodeHead(const Head& head) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Head>();
  root.setRevision(head.revision);
  root.setHash(ToData(head.hash));
  return Flatten(message);
}

absl::StatusOr<Head> DecodeHead(std::string_view bytes) {
  return Decode<stored::Head>(bytes, "the head", [](stored::Head::Reader root) {
    return Head{.revision = root.getRevision(), .hash = FromData<32>(root.getHash())};
  });
}

std::string EncodeActive(const ActiveMark& mark) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Active>();
  root.setRevision(mark.revision);
  root.setGeneration(mark.generation);
  return Flatten(message);
}

absl::StatusOr<ActiveMark> DecodeActive(std::string_view bytes) {
  return Decode<stored::Active>(bytes, "the active mark", [](stored::Active::Reader root) {
    return ActiveMark{.revision = root.getRevision(), .generation = root.getGeneration()};
  });
}

std::string EncodeConfirmation(const Confirmation& confirmation) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Confirmation>();
  root.setRevision(confirmation.revision);
  root.setBackTo(confirmation.back_to);
  root.setDeadlineUs(confirmation.deadline_us);
  return Flatten(message);
}

absl::StatusOr<Confirmation> DecodeConfirmation(std::string_view bytes) {
  return Decode<stored::Confirmation>(bytes, "the pending confirmation",
                                      [](stored::Confirmation::Reader root) {
                                        return Confirmation{.revision = root.getRevision(),
                                                            .back_to = root.getBackTo(),
                                                            .deadline_us = root.getDeadlineUs()};
                                      });
}

std::string EncodePanic(const Panic& panic) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Panic>();
  root.setSinceUs(panic.since_us);
  root.setUntilUs(panic.until_us);
  root.setAuthor(ToText(panic.author));
  root.setReason(ToText(panic.reason));
  return Flatten(message);
}

absl::StatusOr<Panic> DecodePanic(std::string_view bytes) {
  return Decode<stored::Panic>(bytes, "the panic record", [](stored::Panic::Reader root) {
    return Panic{.since_us = root.getSinceUs(),
                 .until_us = root.getUntilUs(),
                 .author = FromText(root.getAuthor()),
                 .reason = FromText(root.getReason())};
  });
}

std::string EncodeExecutable(const ExecutableInfo& info) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Executable>();
  root.setRef(info.ref);
  root.setDigest(ToData(info.digest));
  root.setPath(ToText(info.path));
  root.setTrusted(info.trusted_path);
  root.setGrade(static_cast<uint8_t>(info.grade));
  root.setExeId(info.exe_id);
  return Flatten(message);
}

absl::StatusOr<StoredExecutable> DecodeExecutable(std::string_view key, std::string_view bytes) {
  StoredExecutable executable;
  if (key.size() != kExecutablePrefix.size() + sizeof(executable.key)) {
    return absl::DataLossError("store: an executable's key has an impossible length");
  }
  memcpy(&executable.key, key.data() + kExecutablePrefix.size(), sizeof(executable.key));
  auto info = Decode<stored::Executable>(bytes, "an executable", [](auto root) {
    KJ_REQUIRE(root.getGrade() < MSEG_GRADE_MAX, "unknown grade");
    ExecutableInfo info;  // its aliases are looked up anew after each start, never stored
    info.ref = root.getRef();
    info.digest = FromData<32>(root.getDigest());
    info.path = FromText(root.getPath());
    info.trusted_path = root.getTrusted();
    info.grade = static_cast<mseg_grade>(root.getGrade());
    info.exe_id = root.getExeId();
    return info;
  });
  if (!info.ok()) return info.status();
  executable.info = *std::move(info);
  return executable;
}

std::string EncodeBoot(const BootRecord& boot) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Boot>();
  root.setBootId(ToText(boot.boot_id));
  root.setNextRef(boot.next_ref);
  return Flatten(message);
}

absl::StatusOr<BootRecord> DecodeBoot(std::string_view bytes) {
  return Decode<stored::Boot>(bytes, "the boot record", [](stored::Boot::Reader root) {
    return BootRecord{.boot_id = FromText(root.getBootId()), .next_ref = root.getNextRef()};
  });
}

std::string EncodeHost(const StoredHost& host) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Host>();
  root.setId(host.id);
  root.setName(ToText(host.name));
  root.setSalt(ToData(host.salt));
  root.setStoreId(host.store_id);
  return Flatten(message);
}

absl::StatusOr<StoredHost> DecodeHost(std::string_view bytes) {
  return Decode<stored::Host>(bytes, "the host record", [](stored::Host::Reader root) {
    return StoredHost{.id = root.getId(),
                      .name = FromText(root.getName()),
                      .salt = FromData<32>(root.getSalt()),
                      .store_id = root.getStoreId()};
  });
}

ChainHash HashRevision(const ChainHash& previous, std::string_view encoded) {
  return Hasher().Raw(BytesOf(previous)).Raw(encoded).Finish();
}

ChainHash HashDocument(const StoredDocument& document) {
  return Hasher()
      .Text(document.kind)
      .Text(document.name)
      .Text(document.text)
      .Text(document.file)
      .Number(static_cast<uint64_t>(document.line))
      .Number(document.revision)
      .Finish();
}

void AddToState(const ChainHash& document, ChainHash* state) {
  unsigned carry = 0;
  for (size_t i = 0; i < state->size(); ++i) {
    carry += (*state)[i] + document[i];
    (*state)[i] = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
}

void TakeFromState(const ChainHash& document, ChainHash* state) {
  int borrow = 0;
  for (size_t i = 0; i < state->size(); ++i) {
    const int digit = (*state)[i] - document[i] - borrow;
    (*state)[i] = static_cast<uint8_t>(digit & 0xff);
    borrow = digit < 0 ? 1 : 0;
  }
}

}  // namespace mseg
