// SPDX-License-Identifier: Apache-2.0
// What the store holds after kill -9, I/O errors, a loss of power and a full disk.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <filesystem>

#include "daemon/store.h"
#include "tests/unit/daemon_fault_fs.h"
#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

// Revision n is a function of n and of those before it, so that writer and checker agree on the
// whole history without talking about it.
RevisionInput InputFor(const StoreModel& model) {
  std::mt19937_64 random(model.log.size() + 1);
  return RandomInput(model, random);
}
StoreModel ModelAt(uint64_t revision) {
  StoreModel model;
  while (model.log.size() < revision) model.Apply(InputFor(model));
  return model;
}

// ---- kill -9 --------------------------------------------------------------------------------

struct Ack {
  uint64_t revision = 0;
  uint64_t executables = 0;
};

// Run by the test below in a process of its own; tells on stdout what was acknowledged.
TEST_CASE("store writer", "[.][writer]") {
  const std::string dir = getenv("MSEG_TEST_STORE");
  const std::unique_ptr<Store> store = OpenStore(dir);
  StoreModel model = ModelAt(store->head().revision);
  Ack ack{.revision = store->head().revision, .executables = store->Executables()->size()};
  while (true) {
    const RevisionInput input = InputFor(model);
    REQUIRE(store->Append(input).ok());
    model.Apply(input);
    ack.revision = store->head().revision;
    StoredExecutable executable;
    executable.key.ino = ack.executables + 1;
    executable.info.path = "/bin/" + std::to_string(executable.key.ino);
    REQUIRE(store->PutExecutable(executable)->info.ref == executable.key.ino);
    ++ack.executables;
    REQUIRE(write(STDOUT_FILENO, &ack, sizeof(ack)) == sizeof(ack));
    REQUIRE(store
                ->SetActive(
                    {.revision = ack.revision, .generation = static_cast<uint32_t>(ack.revision)})
                .ok());
  }
}

// Starts the writer, kills it `delay` after its start or after its first acknowledgement, returns
// the last thing that it acknowledged.
Ack KillWriter(const std::string& dir, std::chrono::microseconds delay, bool after_ack) {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    setenv("MSEG_TEST_STORE", dir.c_str(), 1);
    execl("/proc/self/exe", "writer", "[writer]", nullptr);
    _exit(127);
  }
  REQUIRE(child > 0);
  close(ends[1]);
  Ack last;
  Ack ack;
  if (after_ack) REQUIRE(read(ends[0], &last, sizeof(last)) == sizeof(last));
  usleep(static_cast<useconds_t>(delay.count()));
  kill(child, SIGKILL);
  while (read(ends[0], &ack, sizeof(ack)) == sizeof(ack)) last = ack;
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));  // anything else: the writer itself found a fault
  return last;
}

TEST_CASE("nothing acknowledged is lost and nothing is half done over 120 kill -9") {
  const uint64_t seed = GENERATE(take(1, random<uint64_t>(1, 1u << 30)));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  OpenStore(dir.path()).reset();
  uint64_t revision = 0;
  uint64_t executables = 0;
  int hits = 0;
  for (int round = 0; round < 120; ++round) {
    const bool after_ack = round % 3 > 0;
    const Ack ack = KillWriter(dir.path(), std::chrono::microseconds(random() % 40000), after_ack);
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    INFO("round " << round << ", acknowledged " << ack.revision << ", head "
                  << store->head().revision);
    if (ack.revision > 0) {
      ++hits;
      REQUIRE(store->head().revision <= ack.revision + 1);
    }
    revision = std::max(revision, ack.revision);
    executables = std::max(executables, ack.executables);
    REQUIRE(store->head().revision >= revision);
    REQUIRE(store->Executables()->size() >= executables);
    REQUIRE(store->active().revision <= store->head().revision);
    REQUIRE(store->active().revision + 2 >= store->head().revision);
    REQUIRE(store->VerifyChain(VerifyExtent::kFull).ok());
    revision = store->head().revision;
    if (round % 20 == 19) ModelAt(revision).CheckAgainst(*store);
  }
  WARN(revision << " revisions over 120 kills, " << hits << " of them while it was writing");
  CHECK(hits >= 60);
}

// ---- I/O errors -----------------------------------------------------------------------------

rocksdb::IOStatus Error(bool no_space) {
  return no_space ? rocksdb::IOStatus::NoSpace("injected") : rocksdb::IOStatus::IOError("injected");
}

// What a loss of power does is FaultFs's business here, so the files may as well lie in memory.
std::string MemoryParent() { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

// Enough for a few flushes of the 1 MiB write buffer.
constexpr size_t kAppends = 24;

RevisionInput Big(const StoreModel& model) {
  RevisionInput input{.message = std::to_string(model.log.size())};
  const size_t n = model.log.size();
  const std::string text(32000, static_cast<char>('a' + n % 26));
  input.changes = {Upsert("even" + std::to_string(n % 4), text), Upsert("odd", text)};
  if (n % 4 == 3) input.changes.push_back(Delete("even0"));
  AddTemporary(model, n, &input);
  return input;
}

struct Outcome {
  int failures = 0;
  bool fired = false;
};

// Appends until kAppends have worked. A failed one must leave no trace that anyone can read.
Outcome AppendThroughFaults(Store& store, FaultFs& fs, FaultKind kind, StoreModel* model) {
  Outcome outcome;
  for (int tries = 0; model->log.size() < kAppends; ++tries) {
    REQUIRE(tries < 60);
    const RevisionInput input = Big(*model);
    const auto revision = store.Append(input);
    if (revision.ok()) {
      model->Apply(input);
    } else {
      ++outcome.failures;
      INFO(revision.status().ToString());
      REQUIRE(
          (absl::IsUnavailable(revision.status()) || absl::IsResourceExhausted(revision.status())));
      if (kind == FaultKind::kFromThenOn && outcome.failures == 3) outcome.fired = fs.Disarm();
    }
    REQUIRE(store.head().revision == model->log.size());
    if (!revision.ok()) {
      // Reads go on, from before the failure, unless reopening itself broke off.
      const auto documents = store.Documents();
      if (documents.ok()) {
        REQUIRE(documents->size() == model->documents.size());
      } else {
        REQUIRE(absl::IsUnavailable(documents.status()));
      }
    }
  }
  outcome.fired = fs.Disarm() || outcome.fired;
  return outcome;
}

TEST_CASE("any failed write, sync or rename leaves the state before it, and appends go on") {
  const FaultKind kind = GENERATE(FaultKind::kOnce, FaultKind::kFromThenOn);
  const bool no_space = GENERATE(false, true);
  int failures = 0;
  int nth = 1;
  for (bool fired = true; fired; nth += nth < 40 ? 1 : 7) {
    INFO("fault " << nth << ", once " << (kind == FaultKind::kOnce) << ", no space " << no_space);
    const TempDir dir(MemoryParent());
    const auto fs = std::make_shared<FaultFs>();
    FaultEnv env(fs);
    StoreModel model;
    {
      const std::unique_ptr<Store> store = OpenStore(dir.path(), &env);
      fs->Arm(nth, kind, Error(no_space));
      const Outcome outcome = AppendThroughFaults(*store, *fs, kind, &model);
      fired = outcome.fired;
      failures += outcome.failures;
      model.CheckAgainst(*store);
    }
    fs->DropUnsynced();
    model.CheckAgainst(*OpenStore(dir.path()));
  }
  WARN(nth << " places to fail, " << failures << " failed appends");
  CHECK(failures > 40);
}

TEST_CASE("a failure while it recovers from a failure leaves no trace either") {
  const bool no_space = GENERATE(false, true);
  const int nth = GENERATE(2, 31, 70);
  int failures = 0;
  for (int again = 1; again <= 80; again += 1 + again / 20) {
    INFO("faults " << nth << " and " << again << " later, no space " << no_space);
    const TempDir dir(MemoryParent());
    const auto fs = std::make_shared<FaultFs>();
    FaultEnv env(fs);
    StoreModel model;
    {
      const std::unique_ptr<Store> store = OpenStore(dir.path(), &env);
      fs->Arm(nth, FaultKind::kOnce, Error(no_space), again);
      failures += AppendThroughFaults(*store, *fs, FaultKind::kOnce, &model).failures;
      model.CheckAgainst(*store);
    }
    fs->DropUnsynced();
    model.CheckAgainst(*OpenStore(dir.path()));
  }
  CHECK(failures > 40);  // the second one too
}

TEST_CASE("a confirmation that could not be written still waits, a written one does not") {
  const bool settle = GENERATE(true, false);
  int failures = 0;
  int nth = 1;
  for (bool fired = true; fired; ++nth) {
    INFO("fault " << nth << ", settle " << settle);
    const TempDir dir(MemoryParent());
    const auto fs = std::make_shared<FaultFs>();
    FaultEnv env(fs);
    StoreModel model;
    RevisionInput input{.message = "waits", .changes = {Upsert("a", "text")}};
    input.confirmation = {.revision = 0, .back_to = 0, .deadline_us = 5};
    {
      const std::unique_ptr<Store> store = OpenStore(dir.path(), &env);
      REQUIRE(store->Append(input).ok());
      model.Apply(input);
      fs->Arm(nth, FaultKind::kOnce, Error(nth % 2 == 0));
      std::optional<int64_t> deadline;
      if (!settle) deadline = 77;
      if (store->SetConfirmation(deadline).ok()) {
        if (settle) model.confirmation.reset();
        if (!settle) model.confirmation->deadline_us = 77;
      } else {
        ++failures;
      }
      fired = fs->Disarm();
      model.CheckAgainst(*store);
      // The next write undoes whatever the failed one left.
      const RevisionInput next = RevisionInput{.message = "panic",
                                               .event = RevisionEvent::kPanic,
                                               .confirmation = model.confirmation,
                                               .panic = Panic{.until_us = 9, .reason = "why"}};
      REQUIRE(store->Append(next).ok());
      model.Apply(next);
      model.CheckAgainst(*store);
    }
    fs->DropUnsynced();
    model.CheckAgainst(*OpenStore(dir.path()));
  }
  CHECK(failures > 0);
}

TEST_CASE("a large append, which is flushed at once, is done or not done as well") {
  int nth = 1;
  for (bool fired = true; fired; ++nth) {
    INFO("fault " << nth);
    const TempDir dir(MemoryParent());
    const auto fs = std::make_shared<FaultFs>();
    FaultEnv env(fs);
    StoreModel model;
    {
      const std::unique_ptr<Store> store = OpenStore(dir.path(), &env);
      RevisionInput large{.message = "large"};
      for (int i = 0; i < 6; ++i) {
        large.changes.push_back(Upsert(std::to_string(i), std::string(512 << 10, 'x')));
      }
      fs->Arm(nth, FaultKind::kOnce, Error(nth % 2 == 0));
      if (store->Append(large).ok()) model.Apply(large);
      fired = fs->Disarm();
      REQUIRE(store->head().revision == model.log.size());
      const RevisionInput next = Big(model);
      REQUIRE(store->Append(next).ok());
      model.Apply(next);
      model.CheckAgainst(*store);
    }
    fs->DropUnsynced();
    model.CheckAgainst(*OpenStore(dir.path()));
  }
  CHECK(nth > 60);
}

TEST_CASE("after a failure and a loss of power the store is old or new, never a mix") {
  const bool no_space = GENERATE(false, true);
  int nth = 1;
  for (bool fired = true; fired; nth += nth < 40 ? 1 : 5) {
    INFO("fault " << nth << ", no space " << no_space);
    const TempDir dir(MemoryParent());
    const auto fs = std::make_shared<FaultFs>();
    FaultEnv env(fs);
    StoreModel model;
    RevisionInput input;
    {
      const std::unique_ptr<Store> store = OpenStore(dir.path(), &env);
      fs->Arm(nth, FaultKind::kFromThenOn, Error(no_space));
      do {
        input = Big(model);
        if (!store->Append(input).ok()) break;
        model.Apply(input);
      } while (model.log.size() < kAppends);
    }
    fired = fs->Disarm();
    fs->DropUnsynced();
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    if (store->head().revision != model.log.size()) model.Apply(input);
    model.CheckAgainst(*store);
  }
  CHECK(nth > 100);
}

TEST_CASE("an open that fails anywhere leaves a store that opens") {
  const TempDir dir;
  const auto fs = std::make_shared<FaultFs>();
  FaultEnv env(fs);
  StoreModel model;
  int nth = 1;
  for (bool fired = true; fired; ++nth) {
    INFO("fault " << nth);
    fs->Arm(nth, FaultKind::kFromThenOn, Error(nth % 2 == 0));
    const auto failed = Store::Open(dir.path(), BootOptions(&env));
    fired = fs->Disarm();
    if (fired && !failed.ok()) CHECK(!absl::IsDataLoss(failed.status()));
    fs->DropUnsynced();
    if (failed.ok()) break;
    const std::unique_ptr<Store> store = OpenStore(dir.path());
    const RevisionInput input = Big(model);
    REQUIRE(store->Append(input).ok());
    model.Apply(input);
    model.CheckAgainst(*store);
  }
  CHECK(nth > 5);
}

// ---- a full disk ----------------------------------------------------------------------------

// A small file system of its own.
class SmallDisk {
 public:
  explicit SmallDisk(const char* size) {
    const std::string options = std::string("size=") + size;
    const int result = mount("mseg-test", dir_.path().c_str(), "tmpfs", 0, options.c_str());
    INFO("mount: " << strerror(errno));
    REQUIRE(result == 0);
  }
  ~SmallDisk() { umount2(dir_.path().c_str(), MNT_DETACH); }
  const std::string& path() const { return dir_.path(); }

 private:
  TempDir dir_;
};

// Writes until nothing more fits.
void FillUp(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0);
  const std::string block(4096, 'x');
  while (write(fd, block.data(), block.size()) > 0) {
  }
  REQUIRE(errno == ENOSPC);
  close(fd);
}

TEST_CASE("a full disk refuses appends, serves reads, and recovers when space is back") {
  if (SkippedWithoutRoot()) return;
  const SmallDisk disk("24m");
  const std::string dir = disk.path() + "/state";
  StoreModel model;
  {
    const std::unique_ptr<Store> store = OpenStore(dir);
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 5; ++i) {
        const RevisionInput input = Big(model);
        REQUIRE(store->Append(input).ok());
        model.Apply(input);
      }
      FillUp(disk.path() + "/filler");
      absl::Status status;
      // What was set aside for the log of the database may still take some.
      for (int i = 0; i < 100 && status.ok(); ++i) {
        const RevisionInput input = Big(model);
        status = store->Append(input).status();
        if (status.ok()) model.Apply(input);
        FillUp(disk.path() + "/filler");
      }
      INFO(status.ToString());
      REQUIRE(absl::IsResourceExhausted(status));
      REQUIRE_THAT(std::string(status.message()), Catch::Contains("Free disk space"));
      model.CheckAgainst(*store);
      REQUIRE(absl::IsResourceExhausted(store->Append(Big(model)).status()));
      REQUIRE(absl::IsResourceExhausted(store->SetActive({.revision = 1, .generation = 1})));
      model.CheckAgainst(*store);
      REQUIRE(unlink((disk.path() + "/filler").c_str()) == 0);
    }
    const RevisionInput input = Big(model);
    REQUIRE(store->Append(input).ok());
    model.Apply(input);
    model.CheckAgainst(*store);
  }
  model.CheckAgainst(*OpenStore(dir));
}

TEST_CASE("a daemon that starts on a full disk says so and loses nothing") {
  if (SkippedWithoutRoot()) return;
  const SmallDisk disk("8m");
  const std::string dir = disk.path() + "/state";
  StoreModel model;
  {
    const std::unique_ptr<Store> store = OpenStore(dir);
    const RevisionInput input = Big(model);
    REQUIRE(store->Append(input).ok());
    model.Apply(input);
  }
  FillUp(disk.path() + "/filler");
  const auto full = Store::Open(dir, BootOptions());
  REQUIRE_FALSE(full.ok());
  CHECK(absl::IsResourceExhausted(full.status()));
  REQUIRE(unlink((disk.path() + "/filler").c_str()) == 0);
  model.CheckAgainst(*OpenStore(dir));
}

TEST_CASE("a read-only file system is refused with a sentence") {
  if (SkippedWithoutRoot()) return;
  const SmallDisk disk("8m");
  const std::string dir = disk.path() + "/state";
  OpenStore(dir).reset();
  REQUIRE(mount(nullptr, disk.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
  const absl::Status status = Store::Open(dir, BootOptions()).status();
  REQUIRE_FALSE(status.ok());
  CHECK_THAT(std::string(status.message()),
             Catch::Contains("store.lock for writing") && Catch::Contains("Read-only file system"));
  REQUIRE(mount(nullptr, disk.path().c_str(), nullptr, MS_REMOUNT, nullptr) == 0);
  OpenStore(dir).reset();
}

}  // namespace
}  // namespace mseg::testing
