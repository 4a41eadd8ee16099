// SPDX-License-Identifier: Apache-2.0
// The key of an executable: what it is made of, and that exec, fork and exit keep the records of
// tasks by it.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>

#include "loader/feature_probe.h"
#include "tests/kernel/kernel_fixture.h"

namespace mseg::testing {
namespace {

mseg_exe_key KeyOf(const Dataplane& plane, int fd) {
  const auto keys = plane.FileKeys();
  INFO(keys.status().ToString());
  REQUIRE(keys.ok());
  REQUIRE(keys->count(fd) == 1);
  return keys->at(fd);
}

mseg_exe_key KeyOf(const Dataplane& plane, const std::string& path) {
  const ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  INFO(path);
  REQUIRE(fd.ok());
  return KeyOf(plane, fd.get());
}

bool Same(const mseg_exe_key& a, const mseg_exe_key& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

void CheckStat(const mseg_exe_key& key, const std::string& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK(key.ino == info.st_ino);
  CHECK(key.size == static_cast<uint64_t>(info.st_size));
  CHECK(key.ctime_sec == info.st_ctim.tv_sec);
  CHECK(key.ctime_nsec == static_cast<uint32_t>(info.st_ctim.tv_nsec));
}

// Runs `program` in place of a fresh child, which sleeps.
class Sleeper {
 public:
  explicit Sleeper(const std::string& program)
      : child_([&program] {
          execl(program.c_str(), "sleep", "60", nullptr);
          return 127;
        }) {}
  pid_t pid() const { return child_.pid(); }
  void Kill() { child_.Kill(); }

 private:
  Child child_;
};

// The record of a process once it runs something else than this test.
mseg_task RecordOf(const Dataplane& plane, pid_t pid, const mseg_exe_key& not_this) {
  std::optional<mseg_task> task;
  REQUIRE(Eventually([&] {
    task = TaskOf(plane, pid);
    return task && !Same(task->exe, not_this);
  }));
  return *task;
}

class ExeKeys {
 public:
  ExeKeys() : plane(SharedInstance().plane.get()) {
    static int cases = 0;
    dir = SharedInstance().scratch.dir() + "/" + std::to_string(cases++);
    std::filesystem::create_directories(dir);
    program = dir + "/sleep";
    REQUIRE(plane->Attach(Stage::kObserve).ok());
    REQUIRE(plane->AdoptTasks().ok());
    CopyProgram(ProgramPath("sleep"), program);
    self = KeyOf(*plane, "/proc/self/exe");
  }

  Dataplane* plane;
  std::string dir;  // of this test case
  std::string program;
  mseg_exe_key self;
};

}  // namespace

TEST_CASE_METHOD(ExeKeys, "a key is what stat says of the file") {
  const mseg_exe_key key = KeyOf(*plane, program);
  CheckStat(key, program);
  CHECK(key.dev != 0);
  CHECK(key.path_hash != 0);
  CHECK((key.flags & (MSEG_FILE_UNLINKED | MSEG_FILE_REMOTE | MSEG_FILE_NO_PATH)) == 0);
  CHECK(Same(key, KeyOf(*plane, program)));
}

TEST_CASE_METHOD(ExeKeys, "a process that runs a file is recorded under the file's key") {
  const mseg_exe_key key = KeyOf(*plane, program);
  const Sleeper sleeper(program);
  const mseg_task task = RecordOf(*plane, sleeper.pid(), self);
  CHECK(Same(task.exe, key));
  CHECK(task.id.tgid == static_cast<uint32_t>(sleeper.pid()));
  CHECK(task.id.exe_ref == 0);
  CHECK((task.id.flags & MSEG_ID_WALKED) == 0);
}

TEST_CASE_METHOD(ExeKeys, "an executable in the cache gives its identity at exec") {
  const mseg_exe_key key = KeyOf(*plane, program);
  const mseg_exe exe{.exe_id = 0xabc, .ref = 17, .grade = MSEG_GRADE_HASH, .roles = 0, .pad = {}};
  REQUIRE(plane->exes().Update(key, exe).ok());
  const mseg_inode_key inode{.ino = key.ino, .dev = key.dev, .generation = key.generation};
  REQUIRE(plane->written().Update(inode, 0).ok());
  {
    const Sleeper sleeper(program);
    const mseg_task task = RecordOf(*plane, sleeper.pid(), self);
    CHECK(task.id.exe_ref == 17);
    CHECK(task.id.exe_id == 0xabc);
    CHECK(task.id.grade == MSEG_GRADE_HASH);
  }
  // Full mode goes by who opens the file; else the key alone counts.
  const bool full = ProbeFeatures().mode == MSEG_MODE_FULL;
  const auto ref = [this] {
    const Sleeper sleeper(program);
    return RecordOf(*plane, sleeper.pid(), self).id.exe_ref;
  };
  close(open(program.c_str(), O_RDONLY | O_CLOEXEC));
  CHECK(ref() == 17);
  close(open(program.c_str(), O_WRONLY | O_CLOEXEC));
  CHECK(ref() == (full ? 0 : 17));
  REQUIRE(plane->written().Delete(inode).ok());
  CHECK(ref() == (full ? 0 : 17));
}

TEST_CASE_METHOD(ExeKeys, "another name of a file is another path and the same inode") {
  const mseg_exe_key before = KeyOf(*plane, program);
  const std::string other = dir + "/other";
  REQUIRE(link(program.c_str(), other.c_str()) == 0);
  const mseg_exe_key key = KeyOf(*plane, program);
  const mseg_exe_key linked = KeyOf(*plane, other);
  CHECK(linked.ino == key.ino);
  CHECK(linked.ctime_nsec == key.ctime_nsec);
  CHECK(linked.path_hash != key.path_hash);
  CHECK(key.path_hash == before.path_hash);
  const Sleeper sleeper(other);
  CHECK(Same(RecordOf(*plane, sleeper.pid(), self).exe, linked));
}

TEST_CASE_METHOD(ExeKeys, "a symbolic link is no name of its own") {
  const std::string other = dir + "/symlink";
  REQUIRE(symlink(program.c_str(), other.c_str()) == 0);
  CHECK(Same(KeyOf(*plane, other), KeyOf(*plane, program)));
}

TEST_CASE_METHOD(ExeKeys, "a rename changes the path") {
  const mseg_exe_key before = KeyOf(*plane, program);
  const std::string other = dir + "/renamed";
  REQUIRE(rename(program.c_str(), other.c_str()) == 0);
  const mseg_exe_key after = KeyOf(*plane, other);
  CHECK(after.ino == before.ino);
  CHECK(after.path_hash != before.path_hash);
  const std::string folder = dir + "/folder";
  REQUIRE(mkdir(folder.c_str(), 0755) == 0);
  REQUIRE(rename(other.c_str(), (folder + "/renamed").c_str()) == 0);
  CHECK(KeyOf(*plane, folder + "/renamed").path_hash != after.path_hash);
}

TEST_CASE_METHOD(ExeKeys, "names of every length make different paths") {
  // Around the ends of the chunks in which names are read.
  std::set<uint64_t> hashes;
  size_t names = 0;
  for (const size_t length : {1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200, 255}) {
    for (const char last : {'a', 'b'}) {
      std::string name(length, 'x');
      name.back() = last;
      const std::string path = dir + "/" + name;
      WriteFile(path, "x");
      hashes.insert(KeyOf(*plane, path).path_hash);
      names++;
    }
  }
  CHECK(hashes.size() == names);
  CHECK(hashes.count(0) == 0);
}

TEST_CASE_METHOD(ExeKeys, "the parts of a path do not run into each other") {
  std::filesystem::create_directories(dir + "/ab/c");
  std::filesystem::create_directories(dir + "/a/bc");
  WriteFile(dir + "/ab/c/f", "x");
  WriteFile(dir + "/a/bc/f", "x");
  CHECK(KeyOf(*plane, dir + "/ab/c/f").path_hash != KeyOf(*plane, dir + "/a/bc/f").path_hash);
}

TEST_CASE_METHOD(ExeKeys, "a path too deep to walk is no path") {
  std::string deep = dir;
  for (int i = 0; i < 120; i++) {
    deep += "/d";
    REQUIRE(mkdir(deep.c_str(), 0755) == 0);
  }
  WriteFile(deep + "/f", "x");
  const mseg_exe_key key = KeyOf(*plane, deep + "/f");
  CHECK(key.path_hash == 0);
  CHECK((key.flags & MSEG_FILE_NO_PATH) != 0);
}

TEST_CASE_METHOD(ExeKeys, "ctime in the key changes with every write") {
  const mseg_exe_key before = KeyOf(*plane, program);
  CheckStat(before, program);
  // Where ctime is coarse it moves with the tick.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const ScopedFd fd(open(program.c_str(), O_WRONLY | O_CLOEXEC));
  REQUIRE(pwrite(fd.get(), "\x7f", 1, 0) == 1);
  const mseg_exe_key after = KeyOf(*plane, program);
  CheckStat(after, program);
  CHECK(after.size == before.size);
  CHECK((after.ctime_sec != before.ctime_sec || after.ctime_nsec != before.ctime_nsec));
  // Times that a process may set do not put it back.
  timespec old[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
  REQUIRE(futimens(fd.get(), old) == 0);
  CHECK_FALSE(Same(KeyOf(*plane, program), before));
}

TEST_CASE_METHOD(ExeKeys, "a file without a name is marked") {
  const ScopedFd memory(memfd_create("program", MFD_CLOEXEC));
  REQUIRE(memory.ok());
  CHECK((KeyOf(*plane, memory.get()).flags & MSEG_FILE_UNLINKED) != 0);
  const ScopedFd fd(open(program.c_str(), O_RDONLY | O_CLOEXEC));
  CHECK((KeyOf(*plane, fd.get()).flags & MSEG_FILE_UNLINKED) == 0);
  REQUIRE(unlink(program.c_str()) == 0);
  CHECK((KeyOf(*plane, fd.get()).flags & MSEG_FILE_UNLINKED) != 0);
}

TEST_CASE_METHOD(ExeKeys, "a program run from memory is recorded as unlinked and never cached") {
  const ScopedFd memory(memfd_create("program", MFD_CLOEXEC));
  const std::string bytes = ReadFile(program);
  REQUIRE(write(memory.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  const mseg_exe_key key = KeyOf(*plane, memory.get());
  const mseg_exe exe{.exe_id = 1, .ref = 5, .grade = MSEG_GRADE_HASH, .roles = 0, .pad = {}};
  REQUIRE(plane->exes().Update(key, exe).ok());
  const Child child([&memory] {
    const char* const argv[] = {"sleep", "60", nullptr};
    const char* const envp[] = {nullptr};
    syscall(SYS_execveat, memory.get(), "", argv, envp, AT_EMPTY_PATH);
    return 127;
  });
  const mseg_task task = RecordOf(*plane, child.pid(), self);
  CHECK((task.exe.flags & MSEG_FILE_UNLINKED) != 0);
  CHECK(task.id.exe_ref == 0);
}

TEST_CASE_METHOD(ExeKeys, "a mount namespace of an unprivileged user has no path") {
  chmod(dir.c_str(), 0777);
  Handshake talk;
  const Child child([&] {
    talk.InChild();
    if (setgid(65534) != 0 || setuid(65534) != 0) return 2;
    const bool made = unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    if (!made) return 3;
    execl(program.c_str(), "sleep", "60", nullptr);
    return 127;
  });
  std::optional<mseg_task> task;
  const bool ran = Eventually(
      [&] {
        task = TaskOf(*plane, child.pid());
        return task && !Same(task->exe, self);
      },
      std::chrono::seconds(5));
  if (!ran) {
    WARN("this kernel lets no unprivileged user make a user namespace: not tested");
    return;
  }
  CHECK((task->exe.flags & MSEG_FILE_NO_PATH) != 0);
  CHECK(task->exe.path_hash == 0);
  CHECK(task->exe.ino == KeyOf(*plane, program).ino);
}

TEST_CASE_METHOD(ExeKeys,
                 "a mount namespace of root keeps the path, and a mount over it changes it") {
  const mseg_exe_key key = KeyOf(*plane, program);
  const Child child([&] {
    if (unshare(CLONE_NEWNS) != 0) return 2;
    execl(program.c_str(), "sleep", "60", nullptr);
    return 127;
  });
  CHECK(Same(RecordOf(*plane, child.pid(), self).exe, key));
  // The same file by a bind mount elsewhere is another path.
  const std::string place = dir + "/place";
  WriteFile(place, "");
  const Child bound([&] {
    if (unshare(CLONE_NEWNS) != 0) return 2;
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 3;
    if (mount(program.c_str(), place.c_str(), nullptr, MS_BIND, nullptr) != 0) return 4;
    execl(place.c_str(), "sleep", "60", nullptr);
    return 127;
  });
  const mseg_task task = RecordOf(*plane, bound.pid(), self);
  CHECK(task.exe.ino == key.ino);
  CHECK(task.exe.path_hash != 0);
  CHECK(task.exe.path_hash != key.path_hash);
}

TEST_CASE_METHOD(ExeKeys, "fork inherits, exec replaces, exit deletes") {
  Handshake talk;
  Child child([&] {
    talk.InChild();
    if (!talk.Await()) return 1;
    execl(program.c_str(), "sleep", "60", nullptr);
    return 127;
  });
  std::optional<mseg_task> task;
  REQUIRE(Eventually([&] { return (task = TaskOf(*plane, child.pid())).has_value(); }));
  // This process is older than mseg: its record came from the walk, and its child has the same.
  CHECK(Same(task->exe, self));
  CHECK((task->id.flags & MSEG_ID_WALKED) != 0);
  CHECK(task->id.tgid == static_cast<uint32_t>(child.pid()));
  talk.Signal();
  task = RecordOf(*plane, child.pid(), self);
  CHECK(Same(task->exe, KeyOf(*plane, program)));
  CHECK((task->id.flags & MSEG_ID_WALKED) == 0);
  child.Kill();
  CHECK(Eventually([&] { return !TaskOf(*plane, child.pid()); }));
}

TEST_CASE_METHOD(ExeKeys, "exec by a thread replaces the record of the process") {
  Child child([&] {
    std::thread([&] { execl(program.c_str(), "sleep", "60", nullptr); }).join();
    return 127;
  });
  const mseg_task task = RecordOf(*plane, child.pid(), self);
  CHECK(Same(task.exe, KeyOf(*plane, program)));
  CHECK(task.id.tgid == static_cast<uint32_t>(child.pid()));
  // One record, not a second one under the thread's start time.
  const auto tasks = plane->tasks().Dump();
  REQUIRE(tasks.ok());
  CHECK(std::count_if(tasks->begin(), tasks->end(), [&](const auto& entry) {
          return entry.first.tgid == static_cast<uint32_t>(child.pid());
        }) == 1);
  child.Kill();
  CHECK(Eventually([&] { return !TaskOf(*plane, child.pid()); }));
}

TEST_CASE_METHOD(ExeKeys, "a thread that ends leaves the record of its process") {
  Handshake talk;
  const Child child([&] {
    talk.InChild();
    std::thread([] {}).join();
    talk.Signal();
    pause();
    return 0;
  });
  REQUIRE(talk.Await());
  CHECK(TaskOf(*plane, child.pid()).has_value());
}

TEST_CASE_METHOD(ExeKeys, "a leader that ends before its threads keeps the record until the last") {
  Handshake talk;
  Child child([&] {
    talk.InChild();
    std::thread([&] {
      talk.Await();
      _exit(0);
    }).detach();
    talk.Signal();
    syscall(SYS_exit, 0);  // this thread alone
    return 0;
  });
  REQUIRE(talk.Await());
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(TaskOf(*plane, child.pid()).has_value());
  talk.Signal();
  child.Wait();
  CHECK(Eventually([&] { return !TaskOf(*plane, child.pid()); }));
}

}  // namespace mseg::testing
