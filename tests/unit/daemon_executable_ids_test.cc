// SPDX-License-Identifier: Apache-2.0
#include "daemon/executable_ids.h"

#include <sodium.h>

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"
#include "catch2/catch.hpp"
#include "ctl/selftest_collision.h"

namespace mseg::testing {
namespace {

Salt CollisionSalt() {
  const std::string bytes = absl::HexStringToBytes(ctl::kCollisionSalt);
  Salt salt{};
  std::copy(bytes.begin(), bytes.end(), salt.begin());
  return salt;
}

ExecutableInfo Of(const std::string& content, const std::string& path) {
  ExecutableInfo info;
  info.path = path;
  crypto_hash_sha256(info.digest.data(), reinterpret_cast<const uint8_t*>(content.data()),
                     content.size());
  return info;
}

TEST_CASE("of two contents with one short id the second gets none") {
  ExecutableInfo allowed = Of(ctl::ColliderFile(ctl::Collider::kAllowed), "/bin/allowed");
  ExecutableInfo ground = Of(ctl::ColliderFile(ctl::Collider::kGround), "/tmp/ground");
  REQUIRE(allowed.digest != ground.digest);
  const uint64_t id = ExecutableId(CollisionSalt(), allowed.digest, {});
  REQUIRE(id == ExecutableId(CollisionSalt(), ground.digest, {}));

  ExecutableIds ids(CollisionSalt());
  CHECK(ids.Give(&allowed) == nullptr);
  CHECK(allowed.exe_id == id);
  ids.Keep(allowed);

  const ExecutableInfo* other = ids.Give(&ground);
  REQUIRE(other != nullptr);
  CHECK(other->path == "/bin/allowed");
  CHECK(ground.exe_id == 0);
  ids.Keep(ground);  // has none to keep

  // The first content keeps its id wherever it lies, and with a script it is another one.
  ExecutableInfo copy = Of(ctl::ColliderFile(ctl::Collider::kAllowed), "/opt/copy");
  CHECK(ids.Give(&copy) == nullptr);
  CHECK(copy.exe_id == id);
  copy.script = ScriptInfo{.digest = Of("script", "").digest, .path = "/opt/script"};
  CHECK(ids.Give(&copy) == nullptr);
  CHECK(copy.exe_id != id);
}

TEST_CASE("what other hosts' records name keeps its short id too") {
  ExecutableInfo allowed = Of(ctl::ColliderFile(ctl::Collider::kAllowed), "/bin/allowed");
  ExecutableInfo ground = Of(ctl::ColliderFile(ctl::Collider::kGround), "/tmp/ground");
  ExecutableIds ids(CollisionSalt());
  CHECK(ids.Give(&allowed) == nullptr);
  ids.KeepRemote({allowed});
  CHECK(ids.Give(&ground) != nullptr);
  CHECK(ground.exe_id == 0);
  CHECK(ids.Give(&allowed) == nullptr);
  CHECK(allowed.exe_id != 0);
  ids.KeepRemote({});
  CHECK(ids.Give(&ground) == nullptr);
  CHECK(ground.exe_id != 0);
}

}  // namespace
}  // namespace mseg::testing
