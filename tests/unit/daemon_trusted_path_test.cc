// SPDX-License-Identifier: Apache-2.0
#include "daemon/trusted_path.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "loader/scoped_fd.h"
#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

// /tmp is writable by everybody, so the tree lies below a directory of root's.
class Tree {
 public:
  Tree() : dir_("/var/lib") {
    REQUIRE(chmod(dir_.path().c_str(), 0755) == 0);
    REQUIRE(mkdir((dir_ / "opt").c_str(), 0755) == 0);
    REQUIRE(mkdir((dir_ / "opt/app").c_str(), 0755) == 0);
    WriteText(file(), "#!/bin/sh\n");
    REQUIRE(chmod(file().c_str(), 0755) == 0);
  }
  std::string file() const { return dir_ / "opt/app/webapp"; }
  std::string middle() const { return dir_ / "opt"; }
  std::string operator/(const std::string& name) const { return dir_ / name; }

  PathTrust Check() const { return Check(file()); }
  static PathTrust Check(const std::string& path) {
    const ScopedFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    const ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return CheckTrustedPath(root.get(), path, fd.get());
  }

 private:
  TempDir dir_;
};

// Each case: trusted before, not with the change, trusted again without it.
template <typename Break, typename Mend>
void CheckTwins(const Tree& tree, const std::string& reason, Break spoil, Mend mend) {
  const PathTrust before = tree.Check();
  INFO(before.reason);
  REQUIRE(before.trusted);
  REQUIRE(before.reason.empty());
  INFO("expected: " << reason);
  REQUIRE(spoil());
  const PathTrust spoilt = tree.Check();
  CHECK_FALSE(spoilt.trusted);
  CHECK_THAT(spoilt.reason, Catch::Contains(reason));
  REQUIRE(mend());
  CHECK(tree.Check().trusted);
}

TEST_CASE("owner and mode of the file and of each directory count") {
  if (SkippedWithoutRoot()) return;
  const Tree tree;
  for (const std::string& node : {tree.file(), tree.middle()}) {
    const auto mode = [&](mode_t bits) {
      return [node, bits] { return chmod(node.c_str(), bits) == 0; };
    };
    const auto owner = [&](uid_t uid, gid_t gid) {
      return [node, uid, gid] { return chown(node.c_str(), uid, gid) == 0; };
    };
    CheckTwins(tree, node + " belongs to uid 1000, not to root", owner(1000, 0), owner(0, 0));
    CheckTwins(tree, node + " is writable by its group", mode(0775), mode(0755));
    CheckTwins(tree, node + " is writable by everybody", mode(0757), mode(0755));
    CheckTwins(tree, node + " is writable by everybody", mode(01757), mode(01755));  // sticky
    // A group may own it as long as it cannot write.
    REQUIRE(owner(0, 1000)());
    CHECK(tree.Check().trusted);
    REQUIRE(owner(0, 0)());
  }
}

struct AclEntry {
  uint16_t tag;
  uint16_t perm;
  uint32_t id;
};

bool SetAcl(const std::string& path, const std::vector<AclEntry>& entries) {
  std::string value;
  const posix_acl_xattr_header header{.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
  value.append(reinterpret_cast<const char*>(&header), sizeof(header));
  for (const AclEntry& entry : entries) {
    const posix_acl_xattr_entry raw{
        .e_tag = htole16(entry.tag), .e_perm = htole16(entry.perm), .e_id = htole32(entry.id)};
    value.append(reinterpret_cast<const char*>(&raw), sizeof(raw));
  }
  return setxattr(path.c_str(), "system.posix_acl_access", value.data(), value.size(), 0) == 0;
}

TEST_CASE("an access control list that lets others write is not trusted, one that does not is") {
  if (SkippedWithoutRoot()) return;
  const Tree tree;
  constexpr uint32_t kNobody = ACL_UNDEFINED_ID;
  const auto acl = [](uint16_t tag, uint16_t perm, uint32_t id, uint16_t mask) {
    return std::vector<AclEntry>{{ACL_USER_OBJ, 7, kNobody}, {tag, perm, id},
                                 {ACL_GROUP_OBJ, 5, kNobody}, {ACL_MASK, mask, kNobody},
                                 {ACL_OTHER, 5, kNobody}};
  };
  const auto group = [](uint16_t perm, uint32_t id, uint16_t mask) {
    return std::vector<AclEntry>{{ACL_USER_OBJ, 7, kNobody}, {ACL_GROUP_OBJ, 5, kNobody},
                                 {ACL_GROUP, perm, id},      {ACL_MASK, mask, kNobody},
                                 {ACL_OTHER, 5, kNobody}};
  };
  for (const std::string& node : {tree.file(), tree.middle()}) {
    if (!SetAcl(node, acl(ACL_USER, 5, 1000, 5))) {
      REQUIRE(errno == EOPNOTSUPP);
      (void)SkippedFor("a file system with access control lists on /var/lib");
      return;
    }
    CHECK(tree.Check().trusted);  // may read and execute
    const auto set = [&](std::vector<AclEntry> entries) {
      return [node, entries] { return SetAcl(node, entries); };
    };
    const auto clear = [node] {
      return removexattr(node.c_str(), "system.posix_acl_access") == 0 &&
             chmod(node.c_str(), 0755) == 0;
    };
    REQUIRE(clear());
    CheckTwins(tree, "is writable by its group", set(acl(ACL_USER, 7, 1000, 7)), clear);
    // The mask holds it back today; the mode does not show it.
    CheckTwins(tree, "has an access control list", set(acl(ACL_USER, 7, 1000, 5)), clear);
    CheckTwins(tree, "has an access control list", set(group(7, 1000, 5)), clear);
    REQUIRE(SetAcl(node, acl(ACL_USER, 7, 0, 5)));
    CHECK(tree.Check().trusted);  // root may write anyway
    REQUIRE(clear());
  }
}

TEST_CASE("the path must be the resolved one and lead to the open file") {
  if (SkippedWithoutRoot()) return;
  const Tree tree;
  REQUIRE(tree.Check().trusted);
  REQUIRE(symlink("app", (tree / "opt/link").c_str()) == 0);
  REQUIRE(symlink("webapp", (tree / "opt/app/alias").c_str()) == 0);
  CHECK_THAT(Tree::Check(tree / "opt/link/webapp").reason, Catch::Contains("symbolic link"));
  CHECK_THAT(Tree::Check(tree / "opt/app/alias").reason, Catch::Contains("symbolic link"));
  for (const std::string& path : {tree / "opt/../opt/app/webapp", tree / "opt//app/webapp",
                                  tree / "opt/./app/webapp", std::string("webapp"),
                                  std::string("/"), std::string(), tree.file() + "/"}) {
    INFO(path);
    CHECK_FALSE(Tree::Check(path).trusted);
  }
  CHECK_THAT(Tree::Check(tree.file() + " (deleted)").reason, Catch::Contains("cannot be opened"));
  CHECK_THAT(Tree::Check(tree / "opt/app").reason, Catch::Contains("is not a regular file"));

  const ScopedFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  WriteText(tree / "opt/app/other", "other");
  const ScopedFd other(open((tree / "opt/app/other").c_str(), O_RDONLY | O_CLOEXEC));
  CHECK_THAT(CheckTrustedPath(root.get(), tree.file(), other.get()).reason,
             Catch::Contains("is another file now"));
  CHECK_FALSE(CheckTrustedPath(-1, tree.file(), other.get()).trusted);
  CHECK_FALSE(CheckTrustedPath(root.get(), tree.file(), -1).trusted);
}

TEST_CASE("a path is taken below the root of its process") {
  if (SkippedWithoutRoot()) return;
  const Tree tree;
  const ScopedFd root(open(tree.middle().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const ScopedFd fd(open(tree.file().c_str(), O_RDONLY | O_CLOEXEC));
  CHECK(CheckTrustedPath(root.get(), "/app/webapp", fd.get()).trusted);
  CHECK_FALSE(CheckTrustedPath(root.get(), tree.file(), fd.get()).trusted);
  REQUIRE(chmod(tree.middle().c_str(), 0777) == 0);
  CHECK_THAT(CheckTrustedPath(root.get(), "/app/webapp", fd.get()).reason,
             Catch::Contains("/ is writable"));
  REQUIRE(chmod(tree.middle().c_str(), 0755) == 0);
}

TEST_CASE("a file below /tmp is not trusted") {
  if (SkippedWithoutRoot()) return;
  const TempDir dir;
  REQUIRE(chmod(dir.path().c_str(), 0755) == 0);
  WriteText(dir / "webapp", "x");
  CHECK_THAT(Tree::Check(dir / "webapp").reason, Catch::Contains("/tmp is writable by"));
}

TEST_CASE("a link names a program only where nobody but root could have made it") {
  if (SkippedWithoutRoot()) return;
  const Tree tree;
  const std::string link = tree / "opt/run";
  const auto links = [&] { return ResolveTrustedLinks({link, tree.file()}, {}, {}); };
  CHECK(links().empty());  // not there; and the file itself is no link
  REQUIRE(symlink("./app/../app/webapp", link.c_str()) == 0);
  const std::map<std::string, std::string> expected = {{link, tree.file()}};
  CHECK(links() == expected);
  REQUIRE(lchown(link.c_str(), 1000, 0) == 0);
  CHECK(links().empty());
  REQUIRE(lchown(link.c_str(), 0, 0) == 0);
  REQUIRE(chmod(tree.middle().c_str(), 0777) == 0);
  CHECK(links().empty());
  REQUIRE(chmod(tree.middle().c_str(), 0755) == 0);
  CHECK(links() == expected);

  // A link to a link, one of them in a directory that anybody may write to.
  const TempDir anyone;
  REQUIRE(chmod(anyone.path().c_str(), 0777) == 0);
  REQUIRE(symlink(tree.file().c_str(), (anyone / "hop").c_str()) == 0);
  REQUIRE(unlink(link.c_str()) == 0);
  REQUIRE(symlink((anyone / "hop").c_str(), link.c_str()) == 0);
  CHECK(links().empty());
  REQUIRE(unlink(link.c_str()) == 0);
  REQUIRE(symlink("run", link.c_str()) == 0);  // to itself
  CHECK(links().empty());
}

TEST_CASE("named files are resolved, globs expanded, and each is listed once") {
  const TempDir dir;
  for (const char* sub : {"bin", "sbin", "opt", "opt/a", "opt/b", "opt/b/c"}) {
    REQUIRE(mkdir((dir / sub).c_str(), 0755) == 0);
  }
  for (const char* file : {"bin/tool", "opt/a/run", "opt/b/run", "opt/b/c/run", "opt/b/.run"}) {
    WriteText(dir / file, file);
  }
  REQUIRE(symlink("../bin/tool", (dir / "sbin/tool").c_str()) == 0);
  REQUIRE(symlink("a", (dir / "opt/z").c_str()) == 0);
  REQUIRE(symlink("/does/not/exist", (dir / "opt/dangling").c_str()) == 0);
  const std::string bin = dir / "bin";
  const std::string sbin = dir / "sbin";
  const std::string_view search[] = {sbin, bin};
  using Files = std::vector<std::string>;
  const auto resolve = [&](const std::set<std::string>& patterns,
                           const std::set<std::string>& names) {
    return ResolveNamed(patterns, names, search);
  };
  CHECK(resolve({}, {"tool", "absent", "..", "", "a/b"}) == Files{dir / "bin/tool"});
  CHECK(resolve({dir / "sbin/tool", dir / "bin/tool"}, {"tool"}) == Files{dir / "bin/tool"});
  CHECK(resolve({dir / "opt/*/run"}, {}) == Files{dir / "opt/a/run", dir / "opt/b/run"});
  CHECK(resolve({dir / "opt/**"}, {}) == Files{dir / "opt/a/run", dir / "opt/b/.run",
                                              dir / "opt/b/c/run", dir / "opt/b/run"});
  CHECK(resolve({dir / "opt/[ab]/ru?"}, {}) == Files{dir / "opt/a/run", dir / "opt/b/run"});
  CHECK(resolve({dir / "sb*/tool"}, {}) == Files{dir / "bin/tool"});
  CHECK(resolve({dir / "opt/dangling", dir / "opt", dir / "nothing/*", "relative"}, {}).empty());
  CHECK_FALSE(ResolveNamed({}, {"sh"}).empty());
}

}  // namespace
}  // namespace mseg::testing
