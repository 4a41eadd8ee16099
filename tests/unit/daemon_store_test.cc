// SPDX-License-Identifier: Apache-2.0
#include "daemon/store.h"

#include <rocksdb/db.h>
#include <string.h>
#include <sys/wait.h>

#include <map>

#include "daemon/store_codec.h"
#include "labels/text.h"
#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

// The database below a store that nobody has open.
class RawDb {
 public:
  explicit RawDb(const std::string& dir) {
    rocksdb::DB* db = nullptr;
    rocksdb::Options options;
    options.create_if_missing = true;
    const rocksdb::Status status = rocksdb::DB::Open(options, dir + "/store", &db);
    INFO(status.ToString());
    REQUIRE(status.ok());
    db_.reset(db);
  }
  std::map<std::string, std::string> All() const {
    std::map<std::string, std::string> all;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions()));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      all[it->key().ToString()] = it->value().ToString();
    }
    return all;
  }
  void Put(const std::string& key, const std::string& value) {
    REQUIRE(db_->Put(rocksdb::WriteOptions(), key, value).ok());
  }
  void Delete(const std::string& key) { REQUIRE(db_->Delete(rocksdb::WriteOptions(), key).ok()); }

 private:
  std::unique_ptr<rocksdb::DB> db_;
};

absl::Status StatusOfOpen(const std::string& dir) {
  return Store::Open(dir, BootOptions()).status();
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

StoredExecutable Executable(uint64_t ino, const std::string& path, bool trusted, uint8_t digest) {
  StoredExecutable executable;
  executable.key.ino = ino;
  executable.info.digest.fill(digest);
  executable.info.path = path;
  executable.info.trusted_path = trusted;
  executable.info.exe_id = digest + 1;
  return executable;
}

// A revision as msegd wrote it before there were events, peers and what waits.
constexpr char kOldRevision[] =
    "000000001c0000000000000002000500010000000000000040f34cf65e470600110000003200000011000000"
    "32000000110000002f00000035000000020100004100000002010000616c6963650000006669727374000000"
    "040000000100040000000000030000000d0000003a0000000d000000120000000d000000120000000d000000"
    "3a000000506f6c696379000070000000000000007400000000000000662e79616d6c00000000000000000000"
    "0000000000000000000000000000000000000000000000000101010101010101010101010101010101010101"
    "010101010101010101010101";

TEST_CASE("what an older msegd wrote is read") {
  std::string bytes;
  for (const char* at = kOldRevision; *at != '\0'; at += 2) {
    bytes += static_cast<char>(std::stoi(std::string(at, 2), nullptr, 16));
  }
  const auto revision = DecodeRevision(bytes);
  INFO(revision.status().ToString());
  REQUIRE(revision.ok());
  CHECK(revision->number == 1);
  CHECK(revision->author == "alice");
  CHECK(revision->changes.size() == 1);
  CHECK(revision->event == RevisionEvent::kChange);
  CHECK_FALSE(revision->peer.has_value());
  CHECK(revision->hash == HashRevision(ChainHash{}, bytes));
}

TEST_CASE("what an older msegd appended settles what waited") {
  const TempDir dir;
  {
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    REQUIRE(store->Append({.message = "one"}).ok());
    RevisionInput waits{.message = "two"};
    waits.confirmation = {.revision = 0, .back_to = 1, .deadline_us = 5};
    REQUIRE(store->Append(waits).ok());
    CHECK(store->confirmation()->revision == 2);
    REQUIRE(store->SetConfirmation(9).ok());
  }
  CHECK(OpenStore(dir.path())->confirmation()->deadline_us == 9);
  // It appends, and leaves the record that it does not know.
  const std::string record = RawDb(dir.path()).All().at(std::string(kConfirmationKey));
  REQUIRE(OpenStore(dir.path())->Append({.message = "three"}).ok());
  CHECK(RawDb(dir.path()).All().count(std::string(kConfirmationKey)) == 0);
  RawDb(dir.path()).Put(std::string(kConfirmationKey), record);
  CHECK_FALSE(OpenStore(dir.path())->confirmation().has_value());
  CHECK(absl::IsFailedPrecondition(OpenStore(dir.path())->SetConfirmation(7)));
}

TEST_CASE("a panic is recorded by its own event, and ends by one") {
  const TempDir dir;
  const Panic panic{.since_us = 1, .until_us = 2, .author = "alice", .reason = "all is red"};
  {
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    CHECK(absl::IsInvalidArgument(store->Append({.panic = panic}).status()));
    CHECK(absl::IsInvalidArgument(store->Append({.event = RevisionEvent::kPanic}).status()));
    REQUIRE(store->Append({.event = RevisionEvent::kPanic, .panic = panic}).ok());
    REQUIRE(store->Append({.message = "meanwhile", .changes = {Upsert("p", "text")}}).ok());
  }
  const std::unique_ptr<Store> store = OpenStore(dir.path());
  CHECK(store->panic() == panic);
  CHECK(store->GetRevision(1)->event == RevisionEvent::kPanic);
  REQUIRE(store->Append({.event = RevisionEvent::kPanicEnd}).ok());
  CHECK_FALSE(store->panic().has_value());
  CHECK(store->Documents()->size() == 1);
}

TEST_CASE("a store follows a naive model through random appends and reopenings") {
  const uint64_t seed = GENERATE(take(4, random<uint64_t>(1, 1u << 30)));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  StoreModel model;
  std::unique_ptr<Store> store = OpenStore(dir.path());
  const Salt salt = store->salt();
  for (int step = 0; step < 120; ++step) {
    const RevisionInput input = RandomInput(model, random);
    const auto revision = store->Append(input);
    INFO(revision.status().ToString());
    REQUIRE(revision.ok());
    model.Apply(input);
    REQUIRE(revision->hash == store->head().hash);
    if (random() % 16 == 0) {
      store.reset();
      store = OpenStore(dir.path());
      REQUIRE(store->salt() == salt);
      REQUIRE(store->head().hash == revision->hash);
    }
  }
  model.CheckAgainst(*store);
  // The past is what the model was then.
  StoreModel past;
  for (size_t i = 0; i < model.log.size(); ++i) {
    if (i % 17 == 0) {
      const auto documents = store->DocumentsAt(i);
      REQUIRE(documents.ok());
      REQUIRE(documents->size() == past.documents.size());
      for (const StoredDocument& document : *documents) {
        REQUIRE(past.documents.at({document.kind, document.name}) == document);
      }
    }
    past.Apply(model.log[i]);
  }
}

TEST_CASE("an append that makes no sense changes nothing") {
  const TempDir dir;
  const std::unique_ptr<Store> store = OpenStore(dir.path());
  REQUIRE(store->Append({.changes = {Upsert("a", "1")}}).ok());
  const Head before = store->head();
  CHECK(absl::IsNotFound(store->Append({.changes = {Delete("b")}}).status()));
  CHECK(absl::IsInvalidArgument(
      store->Append({.changes = {Upsert("a", "2"), Upsert("a", "3")}}).status()));
  CHECK(absl::IsInvalidArgument(store->Append({.changes = {Upsert("", "2")}}).status()));
  CHECK(absl::IsInvalidArgument(
      store->Append({.changes = {Upsert(std::string("a\0b", 3), "2")}}).status()));
  CHECK(absl::IsResourceExhausted(
      store->Append({.changes = {Upsert("c", std::string(Store::kMaxRevisionBytes, 'x'))}})
          .status()));
  CHECK(store->head() == before);
  CHECK(store->GetDocument("Policy", "a")->text == "1");
  CHECK(store->Append({.message = "a note"}).ok());
}

TEST_CASE("history pages backwards") {
  const TempDir dir;
  const std::unique_ptr<Store> store = OpenStore(dir.path());
  for (int i = 1; i <= 5; ++i) {
    REQUIRE(store->Append({.changes = {Upsert("a", std::to_string(i))}}).ok());
  }
  const auto numbers = [](const std::vector<Revision>& history) {
    std::vector<uint64_t> all;
    for (const Revision& revision : history) all.push_back(revision.number);
    return all;
  };
  CHECK(numbers(*store->History(2)) == std::vector<uint64_t>{5, 4});
  CHECK(numbers(*store->History(9, 4)) == std::vector<uint64_t>{3, 2, 1});
  CHECK(store->History(9, 1)->empty());
  CHECK(store->History(0)->empty());
  CHECK(store->GetRevision(3)->changes[0].text == "3");
  CHECK(absl::IsNotFound(store->GetRevision(6).status()));
  CHECK(absl::IsNotFound(store->DocumentsAt(6).status()));
}

TEST_CASE("what is in force and who this host is outlive a restart") {
  const TempDir dir;
  std::unique_ptr<Store> store = OpenStore(dir.path());
  const Salt salt = store->salt();
  CHECK(salt != Salt{});
  REQUIRE(store->Append({.changes = {Upsert("a", "1")}}).ok());
  REQUIRE(store->SetActive({.revision = 1, .generation = 42}).ok());
  CHECK(absl::IsInvalidArgument(store->SetActive({.revision = 2, .generation = 43})));
  REQUIRE(store->SetHost(7, "db-1").ok());
  CHECK(absl::IsInvalidArgument(store->SetHost(1u << 24, "db-1")));
  store.reset();
  store = OpenStore(dir.path());
  CHECK(store->active() == ActiveMark{.revision = 1, .generation = 42});
  CHECK(store->host().id == 7);
  CHECK(store->host().name == "db-1");
  CHECK(store->salt() == salt);
}

TEST_CASE("an executable's ref means one digest, path and trust for a whole boot") {
  const TempDir dir;
  std::unique_ptr<Store> store = OpenStore(dir.path());
  const auto put = [&](const StoredExecutable& executable) {
    const auto stored = store->PutExecutable(executable);
    REQUIRE(stored.ok());
    return stored->info.ref;
  };
  const uint32_t first = put(Executable(1, "/bin/a", true, 1));
  CHECK(first != 0);
  CHECK(put(Executable(2, "/bin/a", true, 1)) == first);  // touched: same content, same path
  const uint32_t untrusted = put(Executable(2, "/bin/a", false, 1));
  CHECK(untrusted != first);
  CHECK(put(Executable(3, "/bin/a", true, 2)) != first);
  const auto batch =
      store->PutExecutables({Executable(4, "/bin/b", true, 3), Executable(5, "/bin/b", true, 3)});
  REQUIRE(batch.ok());
  CHECK((*batch)[0].info.ref == (*batch)[1].info.ref);
  const uint32_t last = (*batch)[0].info.ref;

  REQUIRE(store->ForgetExecutables({Executable(4, "", false, 0).key}).ok());
  store.reset();
  store = OpenStore(dir.path());
  const auto all = store->Executables();
  REQUIRE(all.ok());
  CHECK(all->size() == 4);
  CHECK(put(Executable(6, "/bin/a", true, 1)) == first);
  CHECK(put(Executable(7, "/bin/c", true, 4)) > last);

  store.reset();
  auto rebooted = Store::Open(dir.path(), {.boot_id = "boot-2"});
  REQUIRE(rebooted.ok());
  CHECK((*rebooted)->Executables()->empty());
}

TEST_CASE("a second opener is told who holds the store") {
  const TempDir dir;
  std::unique_ptr<Store> store = OpenStore(dir.path());
  const absl::Status status = StatusOfOpen(dir.path());
  CHECK(absl::IsFailedPrecondition(status));
  CHECK(Message(status) == "store: " + dir.path() + " is in use by process " +
                               std::to_string(getpid()) +
                               ". Stop that msegd first, or give this one another --state-dir.");
  store.reset();
  CHECK(StatusOfOpen(dir.path()).ok());
}

TEST_CASE("another schema, or another program's database, is refused") {
  const TempDir dir;
  OpenStore(dir.path()).reset();
  RawDb(dir.path()).Put(std::string(kSchemaKey), "2");
  absl::Status status = StatusOfOpen(dir.path());
  CHECK(absl::IsFailedPrecondition(status));
  CHECK_THAT(Message(status), Catch::Contains("has schema version 2, this msegd knows 1 only"));

  const TempDir other;
  RawDb(other.path()).Put("key", "value");
  status = StatusOfOpen(other.path());
  CHECK(absl::IsFailedPrecondition(status));
  CHECK_THAT(Message(status), Catch::Contains("is a database, but not mseg's"));
}

TEST_CASE("a database that lost its CURRENT file is not made anew") {
  const TempDir dir;
  OpenStore(dir.path()).reset();
  OpenStore(dir.path()).reset();  // opening writes the log of the first into a table
  REQUIRE(unlink((dir / "store/CURRENT").c_str()) == 0);
  const absl::Status status = StatusOfOpen(dir.path());
  CHECK(absl::IsDataLoss(status));
  CHECK_THAT(Message(status), Catch::Contains("CURRENT is missing. Restore"));
}

// A store of five revisions, closed.
void Fill(const std::string& dir) {
  const std::unique_ptr<Store> store = OpenStore(dir);
  for (int i = 1; i <= 5; ++i) {
    const std::string text = Cat("text ", i);
    REQUIRE(store->Append({.author = "a", .changes = {Upsert(Cat("n", i % 3), text)}}).ok());
  }
  REQUIRE(store->SetActive({.revision = 5, .generation = 5}).ok());
}

TEST_CASE("any flipped byte in log, head, mark or documents is found") {
  const TempDir dir;
  Fill(dir.path());
  const std::map<std::string, std::string> rows = RawDb(dir.path()).All();
  size_t tampered = 0;
  for (const auto& [key, value] : rows) {
    if (key[0] != 'l' && key[0] != 'd' && key != kHeadKey) continue;
    for (size_t at = 0; at < value.size(); at += 1 + value.size() / 23) {
      std::string changed = value;
      changed[at] ^= 0x20;
      RawDb(dir.path()).Put(key, changed);
      // Cap'n Proto leaves bytes that no reader looks at; in a document those say nothing.
      const auto before = DecodeDocument(value);
      const auto after = DecodeDocument(changed);
      const absl::Status status = StatusOfOpen(dir.path());
      if (key[0] == 'd' && after.ok() && *after == *before) continue;
      if (key == kHeadKey && DecodeHead(changed).ok() &&
          *DecodeHead(changed) == *DecodeHead(value)) {
        continue;
      }
      INFO("key " << key << " byte " << at << ": " << status.ToString());
      REQUIRE(absl::IsDataLoss(status));
      REQUIRE_THAT(Message(status), Catch::Contains("Restore") && Catch::Contains("again"));
      ++tampered;
    }
    RawDb(dir.path()).Put(key, value);
    REQUIRE(StatusOfOpen(dir.path()).ok());  // the twin: put back, it is fine
  }
  CHECK(tampered > 100);
}

TEST_CASE("rows that were removed, added or moved are found and named") {
  const TempDir dir;
  Fill(dir.path());
  const std::map<std::string, std::string> rows = RawDb(dir.path()).All();
  const auto refused = [&](const char* expected) {
    const absl::Status status = StatusOfOpen(dir.path());
    CHECK(absl::IsDataLoss(status));
    CHECK_THAT(Message(status), Catch::Contains(expected));
    RawDb raw(dir.path());
    for (const auto& [key, value] : raw.All()) raw.Delete(key);
    for (const auto& [key, value] : rows) raw.Put(key, value);
  };
  RawDb(dir.path()).Delete(RevisionKey(3));
  refused("the log has revision 4 where revision 3 belongs");
  RawDb(dir.path()).Delete(RevisionKey(5));
  refused("the head is revision 5, the log ends with 4");
  RawDb(dir.path()).Put(RevisionKey(4), rows.at(RevisionKey(3)));
  refused("the log has revision 3 where revision 4 belongs");
  RawDb(dir.path()).Put(RevisionKey(6), rows.at(RevisionKey(5)));
  refused("the log has revision 5 where revision 6 belongs");
  RawDb(dir.path()).Delete(DocumentKey("Policy", "n1"));
  refused("the document Policy n1 of the log is missing");
  RawDb(dir.path()).Put(DocumentKey("Policy", "n9"), rows.at(DocumentKey("Policy", "n1")));
  refused("the document Policy n1 (revision 4) is not one of the log's");
  StoredDocument extra = *DecodeDocument(rows.at(DocumentKey("Policy", "n1")));
  extra.text = "allow everything";
  RawDb(dir.path()).Put(DocumentKey("Policy", "n1"), EncodeDocument(extra));
  refused("the document Policy n1 is not what the log gives");
  RawDb(dir.path()).Put(std::string(kActiveKey), EncodeActive({.revision = 6, .generation = 1}));
  refused("revision 6 is in force, the log ends with 5");
  RawDb(dir.path()).Delete(std::string(kHeadKey));
  refused("lacks its record m/head");
  CHECK(StatusOfOpen(dir.path()).ok());
}

TEST_CASE("the check at open starts at a checkpoint, the full one at the beginning") {
  const TempDir dir;
  {
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    for (int i = 1; i <= 1030; ++i) REQUIRE(store->Append({.message = std::to_string(i)}).ok());
  }
  const std::map<std::string, std::string> rows = RawDb(dir.path()).All();
  REQUIRE(rows.count(std::string(kCheckpointKey)) == 1);
  RawDb(dir.path()).Put(RevisionKey(17), rows.at(RevisionKey(18)));
  {
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    CHECK(store->VerifyChain(VerifyExtent::kSinceCheckpoint).ok());
    const absl::Status full = store->VerifyChain(VerifyExtent::kFull);
    CHECK(absl::IsDataLoss(full));
    CHECK_THAT(Message(full), Catch::Contains("the log has revision 18 where revision 17 belongs"));
  }
  RawDb(dir.path()).Put(RevisionKey(1024), rows.at(RevisionKey(1023)));
  CHECK(absl::IsDataLoss(StatusOfOpen(dir.path())));
  RawDb(dir.path()).Put(RevisionKey(1024), rows.at(RevisionKey(1024)));
  CHECK(StatusOfOpen(dir.path()).ok());
}

TEST_CASE("records that are cut short or random are refused, not trusted") {
  const uint64_t seed = GENERATE(take(2, random<uint64_t>(1, 1u << 30)));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::string good = EncodeRevision(
      {.number = 1, .author = "a", .changes = {Upsert("n", "text"), Upsert("m", "other")}});
  for (size_t size = 0; size < good.size(); ++size) {
    CHECK_FALSE(DecodeRevision(std::string_view(good).substr(0, size)).ok());
  }
  for (int i = 0; i < 3000; ++i) {
    std::string bad = good;
    for (int flips = 0; flips < 4; ++flips) bad[random() % bad.size()] ^= 1 << random() % 8;
    const auto revision = DecodeRevision(bad);  // whatever it says, it must not crash
    if (!revision.ok()) CHECK(absl::IsDataLoss(revision.status()));
  }
}

}  // namespace
}  // namespace mseg::testing
