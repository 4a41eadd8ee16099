// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_UNIT_DAEMON_TEST_UTIL_H_
#define MSEG_TESTS_UNIT_DAEMON_TEST_UTIL_H_

#include <stdlib.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>

#include "daemon/store.h"

namespace mseg::testing {

// A directory of this test's own, removed with all that is in it.
class TempDir {
 public:
  explicit TempDir(const std::string& parent = "/tmp") {
    std::string pattern = parent + "/mseg-test-XXXXXX";
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  REQUIRE(out);
}

// A test that cannot run here says what is missing; where CI promises everything, that is a
// failure.
inline bool SkippedFor(const std::string& missing) {
  const char* ci = getenv("CI");
  if (ci != nullptr && std::string(ci) == "true") FAIL("cannot run without " << missing);
  WARN("skipped: needs " << missing);
  return true;
}
inline bool SkippedWithoutRoot() { return geteuid() != 0 && SkippedFor("root"); }

inline StoreOptions BootOptions(rocksdb::Env* env = nullptr) {
  return {.boot_id = "boot-1", .env = env};
}

inline std::unique_ptr<Store> OpenStore(const std::string& dir, rocksdb::Env* env = nullptr) {
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(dir, BootOptions(env));
  INFO(store.status().ToString());
  REQUIRE(store.ok());
  return *std::move(store);
}

inline DocumentChange Upsert(const std::string& name, const std::string& text) {
  return {.op = ChangeOp::kUpsert,
          .kind = "Policy",
          .name = name,
          .text = text,
          .file = "p.yaml",
          .line = 7};
}
inline DocumentChange Delete(const std::string& name) {
  return {.op = ChangeOp::kDelete, .kind = "Policy", .name = name, .text = "", .file = ""};
}

// What a store must show, kept in the simplest way.
struct StoreModel {
  std::vector<RevisionInput> log;
  std::map<std::pair<std::string, std::string>, StoredDocument> documents;
  std::optional<Confirmation> confirmation;
  std::optional<Panic> panic;
  std::map<std::string, std::string> host_rows;
  uint32_t host_id = 0;

  void Apply(const RevisionInput& input) {
    log.push_back(input);
    if (input.event != RevisionEvent::kHosts) confirmation = input.confirmation;
    for (const HostRow& row : input.host_rows) {
      host_rows.erase(row.key);
      if (row.value.has_value()) host_rows[row.key] = *row.value;
    }
    host_id = input.host_id.value_or(host_id);
    if (confirmation.has_value()) confirmation->revision = log.size();
    if (input.event == RevisionEvent::kPanic) panic = input.panic;
    if (input.event == RevisionEvent::kPanicEnd) panic.reset();
    for (const DocumentChange& change : input.changes) {
      if (change.op == ChangeOp::kDelete) {
        documents.erase({change.kind, change.name});
        continue;
      }
      documents[{change.kind, change.name}] = {.kind = change.kind,
                                               .name = change.name,
                                               .text = change.text,
                                               .file = change.file,
                                               .line = change.line,
                                               .revision = log.size()};
    }
  }

  void CheckAgainst(const Store& store) const {
    REQUIRE(store.head().revision == log.size());
    REQUIRE(store.confirmation() == confirmation);
    REQUIRE(store.panic() == panic);
    const auto rows = store.HostRows();
    REQUIRE(rows.ok());
    std::map<std::string, std::string> found;
    for (const HostRow& row : *rows) found[row.key] = *row.value;
    REQUIRE(found == host_rows);
    REQUIRE(store.host().id == host_id);
    const absl::Status chain = store.VerifyChain(VerifyExtent::kFull);
    INFO(chain.ToString());
    REQUIRE(chain.ok());
    std::vector<StoredDocument> expected;
    for (const auto& [name, document] : documents) expected.push_back(document);
    const auto actual = store.Documents();
    REQUIRE(actual.ok());
    REQUIRE(*actual == expected);
    const auto history = store.History(log.size() + 1);
    REQUIRE(history.ok());
    REQUIRE(history->size() == log.size());
    for (size_t i = 0; i < log.size(); ++i) {
      const Revision& revision = (*history)[log.size() - 1 - i];
      REQUIRE(revision.number == i + 1);
      REQUIRE(revision.message == log[i].message);
      REQUIRE(revision.changes == log[i].changes);
      REQUIRE(revision.event == log[i].event);
      REQUIRE(revision.peer == log[i].peer);
    }
  }
};

// Makes an input one that waits to be confirmed, begins or ends a panic, or none of these.
inline void AddTemporary(const StoreModel& model, uint64_t choice, RevisionInput* input) {
  if (choice % 3 == 0) {
    input->confirmation = {.revision = 0,
                           .back_to = model.log.size(),
                           .deadline_us = static_cast<int64_t>(choice) * 1000};
  }
  if (choice % 5 == 1) {
    input->event = RevisionEvent::kPanic;
    input->panic = Panic{.since_us = 1,
                         .until_us = static_cast<int64_t>(choice) + 2,
                         .author = "alice",
                         .reason = "reason " + std::to_string(choice)};
  } else if (choice % 5 == 3) {
    input->event = RevisionEvent::kPanicEnd;
  } else if (choice % 5 == 4) {
    input->event = RevisionEvent::kHosts;
    input->confirmation.reset();
    input->host_id = static_cast<uint32_t>(choice);
    input->host_rows = {{"own", std::to_string(choice)},
                        {"trust/" + std::to_string(choice % 7), std::string(choice % 300, 'x')},
                        {"trust/" + std::to_string(choice % 3), std::nullopt}};
  }
  if (choice % 2 == 0) {
    input->peer = Peer{.uid = static_cast<uint32_t>(choice % 1000), .user = "root"};
  }
}

// A random change set that fits the model's state.
inline RevisionInput RandomInput(const StoreModel& model, std::mt19937_64& random) {
  RevisionInput input{.time_us = static_cast<int64_t>(random() >> 1),
                      .author = "author",
                      .message = "message " + std::to_string(random() % 1000),
                      .changes = {},
                      .peer = {},
                      .confirmation = {},
                      .panic = {}};
  AddTemporary(model, random() % 1000, &input);
  const char* const kinds[] = {"Policy", "Workload", "Service"};
  std::map<std::pair<std::string, std::string>, DocumentChange> changes;
  for (size_t i = random() % 6; i > 0; --i) {
    DocumentChange change{.op = ChangeOp::kUpsert,
                          .kind = kinds[random() % 3],
                          .name = "n" + std::to_string(random() % 12),
                          .text = "",
                          .file = "",
                          .line = 0};
    if (random() % 3 == 0 && model.documents.count({change.kind, change.name}) > 0) {
      change.op = ChangeOp::kDelete;
    } else {
      change.text = std::string(random() % 5000, static_cast<char>('a' + random() % 26));
      change.file = "dir/订单.yaml";
      change.line = static_cast<int>(random() % 1000);
    }
    changes[{change.kind, change.name}] = change;
  }
  for (const auto& [name, change] : changes) input.changes.push_back(change);
  return input;
}

}  // namespace mseg::testing

#endif  // MSEG_TESTS_UNIT_DAEMON_TEST_UTIL_H_
