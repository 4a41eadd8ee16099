// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_inventory.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>

#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

constexpr char kUnified[] =
    "24 1 0:22 / /proc rw - proc proc rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr char kHybrid[] =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "99 31 0:38 / /mnt/other rw - cgroup2 cgroup2 rw\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
constexpr char kBound[] =
    "50 1 0:38 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    "51 1 0:38 / /mnt/c\\040g rw master:2 propagate_from:1 - cgroup2 none rw\n";

TEST_CASE("the cgroup v2 root is found on unified and hybrid hosts") {
  CHECK(*CgroupRootOf(kUnified) == "/sys/fs/cgroup");
  CHECK(*CgroupRootOf(kHybrid) == "/sys/fs/cgroup/unified");
  CHECK(*CgroupRootOf(kBound) == "/mnt/c g");
  for (const char* none : {"", "\n", "31 23 0:28 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu\n",
                           "cgroup2", "1 2 3 - cgroup2 x y", " - cgroup2 "}) {
    const auto root = CgroupRootOf(none);
    CHECK(absl::IsFailedPrecondition(root.status()));
    CHECK_THAT(std::string(root.status().message()), Catch::Contains("--cgroup-root"));
  }
}

// A cgroup below the host's root, removed at the end.
class TestCgroup {
 public:
  explicit TestCgroup(const std::string& root)
      : path_("/mseg-test-" + std::to_string(getpid())), dir_(root + path_) {
    made_ = mkdir(dir_.c_str(), 0755) == 0 && mkdir((dir_ + "/child").c_str(), 0755) == 0;
  }
  ~TestCgroup() {
    rmdir((dir_ + "/child").c_str());
    rmdir(dir_.c_str());
  }
  bool made() const { return made_; }
  const std::string& path() const { return path_; }
  const std::string& dir() const { return dir_; }

 private:
  std::string path_;
  std::string dir_;
  bool made_ = false;
};

TEST_CASE("the walk lists every cgroup with the kernel's id, and ids lead back to paths") {
  if (SkippedWithoutRoot()) return;
  const auto root = FindCgroupRoot();
  if (!root.ok()) {
    (void)SkippedFor("a cgroup v2 hierarchy");
    return;
  }
  const TestCgroup cgroup(*root);
  if (!cgroup.made()) {
    (void)SkippedFor("a cgroup v2 hierarchy that can be written");
    return;
  }
  const auto all = WalkCgroups(*root);
  REQUIRE(all.ok());
  CHECK(all->front().path == "/");
  const auto find = [&](const std::string& path) {
    const auto it = std::find_if(all->begin(), all->end(),
                                 [&](const CgroupInfo& info) { return info.path == path; });
    REQUIRE(it != all->end());
    return it->id;
  };
  const uint64_t id = find(cgroup.path() + "/child");
  struct stat st;
  REQUIRE(stat((cgroup.dir() + "/child").c_str(), &st) == 0);
  CHECK(id == st.st_ino);
  CHECK(*CgroupId(cgroup.dir() + "/child") == id);
  CHECK(*CgroupPathOf(*root, id) == cgroup.path() + "/child");
  CHECK(*CgroupPathOf(*root, all->front().id) == "/");

  // Below a root of its own.
  const auto below = WalkCgroups(cgroup.dir());
  REQUIRE(below.ok());
  REQUIRE(below->size() == 2);
  CHECK((*below)[0].path == "/");
  CHECK((*below)[1].path == "/child");
  CHECK(*CgroupPathOf(cgroup.dir(), id) == "/child");
  CHECK(absl::IsNotFound(CgroupPathOf(cgroup.dir(), all->front().id).status()));

  REQUIRE(rmdir((cgroup.dir() + "/child").c_str()) == 0);
  CHECK(absl::IsNotFound(CgroupPathOf(*root, id).status()));
  CHECK_FALSE(CgroupId(cgroup.dir() + "/child").ok());
}

TEST_CASE("cgroups may come and go during the walk") {
  if (SkippedWithoutRoot()) return;
  const auto root = FindCgroupRoot();
  if (!root.ok() || !TestCgroup(*root).made()) {
    (void)SkippedFor("a cgroup v2 hierarchy that can be written");
    return;
  }
  const TestCgroup cgroup(*root);
  const pid_t child = fork();
  if (child == 0) {
    const std::string dir = cgroup.dir() + "/child/fleeting";
    while (true) {
      mkdir(dir.c_str(), 0755);
      rmdir(dir.c_str());
    }
  }
  for (int i = 0; i < 2000; ++i) {
    const auto all = WalkCgroups(cgroup.dir());
    REQUIRE(all.ok());
    REQUIRE(all->size() >= 2);
    REQUIRE(all->size() <= 3);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  rmdir((cgroup.dir() + "/child/fleeting").c_str());
}

TEST_CASE("a cgroup root that is not there is an error, not an empty host") {
  CHECK_FALSE(WalkCgroups("/does/not/exist").ok());
  CHECK_FALSE(CgroupPathOf("/does/not/exist", 1).ok());
  CHECK_FALSE(FindCgroupRoot("/does/not/exist").ok());
}

TEST_CASE("users that exist get their uid, others are left out") {
  const auto uids = ResolveUsers({"root", "no-such-user-here"});
  REQUIRE(uids.ok());
  CHECK(*uids == std::map<std::string, uint32_t>{{"root", 0}});
}

TEST_CASE("boot id, host name and kernel can be read") {
  CHECK(ReadBootId()->size() == 36);
  CHECK_FALSE(ReadHostName()->empty());
  CHECK_FALSE(ReadKernelInfo()->release.empty());
}

}  // namespace
}  // namespace mseg::testing
