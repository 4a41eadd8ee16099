// SPDX-License-Identifier: Apache-2.0
// Keys, host records, identity records, and whom they are believed of.
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#include <ctime>

#include "daemon/own_identities.h"
#include "daemon/pairwise_keys.h"
#include "daemon/remote_directory.h"
#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

constexpr int64_t kStartUs = 1767323045000000;  // 2026-01-02T03:04:05Z

Salt FleetSalt() {
  Salt salt;
  salt.fill(0x5a);
  return salt;
}

LabelSet Labels(const std::string& text) {
  const auto labels = ParseClaim(text);
  REQUIRE(labels.ok());
  return *labels;
}

Claims ClaimList(const std::vector<std::string>& texts) {
  const auto claims = ParseClaims(texts);
  REQUIRE(claims.ok());
  return *claims;
}

Recorded By(int64_t seconds) {
  return {.time_us = kStartUs + seconds * 1000000,
          .author = "alice",
          .peer = Peer{.uid = 0, .user = "root"}};
}

HostIdentity NewIdentity() {
  auto identity = HostIdentity::Generate();
  REQUIRE(identity.ok());
  return *std::move(identity);
}

HostRecord RecordOf(const HostIdentity& identity, uint32_t id,
                    const std::vector<std::string>& claims = {}, int64_t seconds = 0) {
  HostRecord record{.id = id,
                    .name = "host-" + std::to_string(id),
                    .addresses = {*ParseIpAddress("10.0.0.7"), *ParseIpAddress("2001:db8::7")},
                    .claims = ClaimList(claims),
                    .issued_us = kStartUs + seconds * 1000000};
  identity.Sign(&record);
  return record;
}

OwnIdentities Some(const Salt& salt) {
  OwnIdentities own;
  for (const char* text : {"app=order,env=prod,role=web", "app=order,env=prod,role=db"}) {
    own.labels.emplace(LabelId(salt, Labels(text)), Labels(text));
  }
  own.labels.emplace(LabelId(salt, LabelSet()), LabelSet());
  for (const char* path : {"/usr/bin/curl", "/usr/sbin/mysqld", "/opt/\xff", ""}) {
    ExecutableInfo info;
    info.digest.fill(static_cast<uint8_t>(own.executables.size() + 1));
    info.path = path;
    info.trusted_path = !info.path.empty();
    info.aliases = {"/bin/b", "/bin/a"};
    info.exe_id = ExecutableId(salt, info.digest, Digest{});
    own.executables.push_back(info);
  }
  own.pairs = PairsOf(own, {});
  return own;
}

IdentityBundle BundleFor(const HostIdentity& identity, uint32_t id, uint64_t sequence,
                         const OwnIdentities& own) {
  IdentityBundle bundle = BundleOf(own);
  bundle.host_id = id;
  bundle.sequence = sequence;
  bundle.issued_us = kStartUs;
  identity.Sign(&bundle);
  return bundle;
}

// A store of the fleet, and a directory on it.
struct Fixture {
  TempDir dir;
  std::unique_ptr<Store> store;
  std::unique_ptr<RemoteDirectory> directory;

  Fixture() { Open(); }
  void Open() {
    directory.reset();
    store.reset();
    StoreOptions options = BootOptions();
    options.salt = FleetSalt();
    auto opened = Store::Open(dir.path(), options);
    INFO(opened.status().ToString());
    REQUIRE(opened.ok());
    store = *std::move(opened);
    directory = std::make_unique<RemoteDirectory>(*store, dir / "host.key");
    REQUIRE(directory->Load().ok());
  }
  absl::Status Import(const IdentityBundle& bundle) {
    return directory->Import({{"b.json", BundleText(bundle)}}, By(5)).status();
  }
};

std::string Text(const absl::Status& status) { return status.ToString(); }

// ---- this host's keys -----------------------------------------------------------------------

TEST_CASE("the key file is closed to others, survives, and is refused where it is open") {
  const TempDir dir;
  const std::string path = dir / "host.key";
  CHECK_FALSE(HostIdentity::Load(path)->has_value());
  const HostIdentity identity = NewIdentity();
  REQUIRE(identity.Save(path).ok());
  REQUIRE(identity.Save(path).ok());
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  const auto again = HostIdentity::Load(path);
  REQUIRE(again.ok());
  CHECK((*again)->signing_key() == identity.signing_key());
  CHECK((*again)->exchange_key() == identity.exchange_key());
  REQUIRE(chmod(path.c_str(), 0640) == 0);
  CHECK(absl::IsFailedPrecondition(HostIdentity::Load(path).status()));
  WriteText(path, "mseg host key 1\nshort\n");
  REQUIRE(chmod(path.c_str(), 0600) == 0);
  CHECK(absl::IsDataLoss(HostIdentity::Load(path).status()));
}

TEST_CASE("the fleet's salt: 64 digits in a closed file") {
  const TempDir dir;
  const std::string path = dir / "salt";
  const std::string hex(64, 'a');
  const std::pair<std::string, bool> cases[] = {{hex + "\n", true},
                                                {hex, true},
                                                {hex + "0", false},
                                                {hex.substr(1), false},
                                                {std::string(64, 'g'), false},
                                                {"", false}};
  for (const auto& [text, good] : cases) {
    WriteText(path, text);
    REQUIRE(chmod(path.c_str(), 0600) == 0);
    INFO("`" << text << "`");
    CHECK(ReadFleetSalt(path).ok() == good);
  }
  WriteText(path, hex);
  REQUIRE(chmod(path.c_str(), 0604) == 0);
  CHECK(absl::IsFailedPrecondition(ReadFleetSalt(path).status()));
}

TEST_CASE("a new store takes the fleet's salt, and one with another is refused") {
  Fixture fixture;
  CHECK(fixture.store->salt() == FleetSalt());
  const uint64_t store_id = fixture.store->host().store_id;
  CHECK(store_id != 0);
  fixture.Open();
  CHECK(fixture.store->host().store_id == store_id);
  fixture.directory.reset();
  fixture.store.reset();
  StoreOptions other = BootOptions();
  other.salt = Salt{};
  const auto refused = Store::Open(fixture.dir.path(), other);
  REQUIRE(absl::IsFailedPrecondition(refused.status()));
  CHECK(Text(refused.status()).find("fleet.salt_file") != std::string::npos);
  const Fixture second;
  CHECK(second.store->salt() == FleetSalt());
  CHECK(second.store->host().store_id != store_id);
}

// ---- records --------------------------------------------------------------------------------

TEST_CASE("a host record: text and bytes there and back; a flipped bit anywhere is refused") {
  const HostIdentity identity = NewIdentity();
  const HostRecord record = RecordOf(identity, 7, {"env=prod,app=order", "env=test"});
  REQUIRE(VerifyHostRecord(record).ok());
  const std::string text = HostRecordText(record);
  const auto read = ReadHostRecord(text, "h.json");
  INFO(read.status().ToString());
  REQUIRE(read.ok());
  CHECK(*read == record);
  const std::string bytes = EncodeHostRecord(record);
  CHECK(*DecodeHostRecord(bytes) == record);
  const auto sound = [&](const absl::StatusOr<HostRecord>& changed) {
    return changed.ok() && *changed != record && VerifyHostRecord(*changed).ok();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    std::string flipped = text;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    INFO("byte " << i << " of the text");
    REQUIRE_FALSE(sound(ReadHostRecord(flipped, "h.json")));
  }
  for (size_t i = 0; i < bytes.size() * 8; ++i) {
    std::string flipped = bytes;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << (i % 8)));
    INFO("bit " << i << " of the bytes");
    REQUIRE_FALSE(sound(DecodeHostRecord(flipped)));
  }
}

TEST_CASE("host records that are refused say where and why") {
  const HostRecord record = RecordOf(NewIdentity(), 7);
  const std::string text = HostRecordText(record);
  const auto with = [&](const std::string& old, const std::string& fresh) {
    std::string changed = text;
    changed.replace(changed.find(old), old.size(), fresh);
    const auto read = ReadHostRecord(changed, "h.json");
    return read.ok() ? Text(VerifyHostRecord(*read)) : Text(read.status());
  };
  CHECK(with("{", "{ x").find("h.json:1:3: error: not JSON") != std::string::npos);
  CHECK(with("\"id\": 7", "\"id\": 0").find("from 1 to 16777215") != std::string::npos);
  CHECK(with("\"id\": 7", "\"id\": 16777216").find("h.json: error: id must be") !=
        std::string::npos);
  CHECK(with("\"id\": 7", "\"id\": 7, \"id\": 8").find("given twice") != std::string::npos);
  CHECK(with("\"id\": 7", "\"id\": 7, \"x\": 8").find("does not know") != std::string::npos);
  CHECK(with("\"claims\": []", "\"claims\": [\"prod\"]").find("claims") != std::string::npos);
  CHECK(with("host-7", "host-8").find("not signed") != std::string::npos);
  HostRecord weak = record;
  weak.exchange_key = PublicKey{};
  CHECK(Text(VerifyHostRecord(weak)).find("X25519") != std::string::npos);
}

TEST_CASE("identity records: text and bytes there and back; a flipped bit anywhere is refused") {
  const HostIdentity identity = NewIdentity();
  const IdentityBundle bundle = BundleFor(identity, 7, 42, Some(FleetSalt()));
  const PublicKey& key = identity.signing_key();
  const absl::Status verified = VerifyBundle(bundle, key, FleetSalt());
  INFO(verified.ToString());
  REQUIRE(verified.ok());
  CHECK(bundle.pairs.size() == 3 * 5);
  const std::string text = BundleText(bundle);
  const auto read = ReadBundle(text, "b.json");
  INFO(read.status().ToString());
  REQUIRE(read.ok());
  CHECK(*read == bundle);
  const std::string bytes = EncodeBundle(bundle);
  CHECK(*DecodeBundle(bytes) == bundle);
  const auto sound = [&](const absl::StatusOr<IdentityBundle>& changed) {
    return changed.ok() && *changed != bundle && VerifyBundle(*changed, key, FleetSalt()).ok();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    std::string flipped = text;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    INFO("byte " << i << " of the text");
    REQUIRE_FALSE(sound(ReadBundle(flipped, "b.json")));
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    INFO("byte " << i << " of the bytes");
    REQUIRE_FALSE(sound(DecodeBundle(flipped)));
  }
}

TEST_CASE("identity records that lie under a good signature are refused with the entry") {
  const HostIdentity identity = NewIdentity();
  const IdentityBundle good = BundleFor(identity, 7, 42, Some(FleetSalt()));
  const auto refusal = [&](auto change) {
    IdentityBundle bundle = good;
    change(bundle);
    identity.Sign(&bundle);
    return Text(VerifyBundle(bundle, identity.signing_key(), FleetSalt()));
  };
  CHECK(refusal([](IdentityBundle&) {}) == "OK");
  CHECK(refusal([](IdentityBundle& b) { b.labels[1].labels = Labels("x=y"); }).find("label id") !=
        std::string::npos);
  CHECK(refusal([](IdentityBundle& b) { b.executables[0].digest[0] ^= 1; }).find("executable id") !=
        std::string::npos);
  CHECK(refusal([](IdentityBundle& b) {
          std::swap(b.labels[0], b.labels[1]);
        }).find("out of order") != std::string::npos);
  CHECK(refusal([](IdentityBundle& b) {
          b.pairs.back().second = 0xffffffffffffull;
        }).find("without a record") != std::string::npos);
  CHECK(refusal([](IdentityBundle& b) {
          b.executables[0].path = "bin/sh";
          b.executables[0].trusted_path = true;
        }).find("absolute") != std::string::npos);
  CHECK(Text(VerifyBundle(good, identity.signing_key(), Salt{})).find("salt") != std::string::npos);
}

// ---- claims ---------------------------------------------------------------------------------

TEST_CASE("claims: what a set must hold, against the sentence that says so") {
  CHECK(ClaimsPermit({}, LabelSet()));
  CHECK(ClaimsPermit({}, Labels("env=prod")));
  CHECK_FALSE(ClaimsPermit(ClaimList({"env=prod"}), LabelSet()));
  CHECK(ClaimsPermit(ClaimList({"env=prod"}), Labels("env=prod,app=x")));
  CHECK_FALSE(ClaimsPermit(ClaimList({"env=prod,app=y"}), Labels("env=prod,app=x")));
  CHECK(ClaimsPermit(ClaimList({"env=prod,app=y", "app=x"}), Labels("env=prod,app=x")));
  for (const char* bad : {"", "prod", "=x", "a=1,a=2", "a=1,", "a=b=c", "a=1 ,b=2"}) {
    INFO(bad);
    CHECK_FALSE(ParseClaim(bad).ok());
  }
}

TEST_CASE("claims: adding an entry never takes away, adding a key never gives") {
  const uint64_t seed = GENERATE(take(1, random<uint64_t>(1, 1u << 30)));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const char* const keys[] = {"app", "env", "loc", "x"};
  const auto any = [&](size_t least) {
    LabelSet set;
    while (set.values().size() < least || random() % 3 > 0) {
      set.SetReserved(keys[random() % 4], std::to_string(random() % 2));
      if (set.values().size() == 4) break;
    }
    return set;
  };
  for (int round = 0; round < 20000; ++round) {
    Claims claims;
    for (size_t n = 1 + random() % 3; n > 0; --n) claims.push_back(any(1));
    const LabelSet labels = any(0);
    bool naive = false;
    for (const LabelSet& claim : claims) {
      size_t hits = 0;
      for (const auto& [key, value] : claim.values()) {
        for (const auto& [k, v] : labels.values()) hits += k == key && v == value ? 1 : 0;
      }
      naive |= hits == claim.values().size();
    }
    REQUIRE(ClaimsPermit(claims, labels) == naive);
    Claims wider = claims;
    wider.push_back(any(1));
    if (naive) REQUIRE(ClaimsPermit(wider, labels));
    Claims narrower = claims;
    for (LabelSet& claim : narrower) claim.SetReserved("extra", "1");
    REQUIRE_FALSE(ClaimsPermit(narrower, labels));
  }
}

// ---- trust ----------------------------------------------------------------------------------

TEST_CASE("this host: made once, renewed under its id, another one only with --replace") {
  Fixture fixture;
  CHECK(fixture.directory->identity() == nullptr);
  REQUIRE(fixture.directory->Init({.id = 3, .name = "a"}, By(0)).ok());
  const PublicKey key = fixture.directory->own()->signing_key;
  fixture.Open();
  REQUIRE(fixture.directory->identity() != nullptr);
  CHECK(fixture.store->host().id == 3);
  REQUIRE(
      fixture.directory->Init({.id = 3, .name = "b", .claims = ClaimList({"env=x"})}, By(0)).ok());
  CHECK(fixture.directory->own()->signing_key == key);
  CHECK(fixture.directory->own()->issued_us > kStartUs);  // newer, though the clock stood still
  CHECK(absl::IsFailedPrecondition(fixture.directory->Init({.id = 4, .name = "b"}, By(1))));
  REQUIRE(fixture.directory->Init({.id = 4, .name = "b", .replace = true}, By(1)).ok());
  CHECK(fixture.directory->own()->signing_key != key);
  CHECK_FALSE(fixture.directory->Init({.id = 4, .name = ""}, By(1)).ok());
  const auto log = fixture.store->History(10);
  REQUIRE(log->size() == 3);
  CHECK(log->front().event == RevisionEvent::kHosts);
  CHECK(log->front().message == "this host is host 4 (b)");
  CHECK(log->front().peer == Peer{.uid = 0, .user = "root"});
}

TEST_CASE("without its key file a host has no identity, and says so") {
  Fixture fixture;
  REQUIRE(fixture.directory->Init({.id = 3, .name = "a"}, By(0)).ok());
  REQUIRE(std::filesystem::remove(fixture.dir / "host.key"));
  fixture.Open();
  CHECK(fixture.directory->identity() == nullptr);
  CHECK(fixture.directory->problem().find("is missing") != std::string::npos);
  CHECK_FALSE(fixture.directory->Issue({}, kStartUs).ok());
  CHECK_FALSE(fixture.directory->Init({.id = 3, .name = "a"}, By(1)).ok());
  REQUIRE(NewIdentity().Save(fixture.dir / "host.key").ok());  // somebody else's
  fixture.Open();
  CHECK(fixture.directory->identity() == nullptr);
  REQUIRE(fixture.directory->Init({.id = 3, .name = "a", .replace = true}, By(1)).ok());
  fixture.Open();
  CHECK(fixture.directory->identity() != nullptr);
}

TEST_CASE("trust: a key is pinned under its id, and limits are the intersection") {
  Fixture fixture;
  REQUIRE(fixture.directory->Init({.id = 1, .name = "own"}, By(0)).ok());
  const HostIdentity identity = NewIdentity(), other = NewIdentity();
  const HostRecord record = RecordOf(identity, 7, {"env=prod"});
  REQUIRE(fixture.directory->Trust(record, ClaimList({"app=order"}), false, By(1)).ok());
  const auto permitted = [&](const char* text) {
    return fixture.directory->Permitted(7, Labels(text));
  };
  CHECK(permitted("env=prod,app=order"));
  CHECK_FALSE(permitted("env=prod"));
  CHECK_FALSE(permitted("app=order"));
  CHECK_FALSE(fixture.directory->Permitted(8, Labels("env=prod,app=order")));
  // Others' keys and older records need an operator's word.
  const absl::Status foreign = fixture.directory->Trust(RecordOf(other, 7), {}, false, By(2));
  CHECK(absl::IsFailedPrecondition(foreign));
  CHECK(Text(foreign).find("--replace") != std::string::npos);
  REQUIRE(fixture.directory->Trust(RecordOf(identity, 7, {}, 9), {}, false, By(2)).ok());
  CHECK(permitted("app=order"));
  CHECK_FALSE(fixture.directory->Trust(record, {}, false, By(3)).ok());
  REQUIRE(fixture.directory->Trust(record, {}, true, By(3)).ok());
  REQUIRE(fixture.directory->Trust(RecordOf(other, 7), {}, true, By(3)).ok());
  // One key, one host; and nobody else is this host.
  CHECK_FALSE(fixture.directory->Trust(RecordOf(other, 8), {}, true, By(4)).ok());
  CHECK_FALSE(fixture.directory->Trust(RecordOf(identity, 1), {}, true, By(4)).ok());
  CHECK_FALSE(fixture.directory->Trust(*fixture.directory->own(), {}, true, By(4)).ok());
  HostRecord forged = RecordOf(identity, 9);
  forged.claims = ClaimList({"env=test"});
  CHECK(absl::IsInvalidArgument(fixture.directory->Trust(forged, {}, true, By(4))));
  CHECK(*fixture.directory->Find("7") == 7);
  CHECK(*fixture.directory->Find("host-7") == 7);
  CHECK(absl::IsNotFound(fixture.directory->Find("host-8").status()));
  fixture.Open();
  REQUIRE(fixture.directory->hosts().size() == 1);
  CHECK(fixture.directory->hosts().at(7).by == By(3));
  REQUIRE(fixture.directory->Distrust(7, By(5)).ok());
  CHECK(absl::IsNotFound(fixture.directory->Distrust(7, By(5))));
  CHECK_FALSE(permitted("app=order"));
  fixture.Open();
  CHECK(fixture.directory->hosts().empty());
}

TEST_CASE("import: newer ones of trusted hosts, and none else; all files or none") {
  Fixture fixture;
  REQUIRE(fixture.directory->Init({.id = 1, .name = "own"}, By(0)).ok());
  const HostIdentity identity = NewIdentity(), other = NewIdentity();
  const OwnIdentities some = Some(FleetSalt());
  const IdentityBundle bundle = BundleFor(identity, 7, 42, some);
  const absl::Status stranger = fixture.Import(bundle);
  CHECK(Text(stranger).find("not trusted") != std::string::npos);
  REQUIRE(fixture.directory->Trust(RecordOf(identity, 7, {"role=web"}), {}, false, By(1)).ok());
  CHECK(Text(fixture.Import(BundleFor(other, 7, 43, some))).find("not signed") !=
        std::string::npos);
  const auto both = fixture.directory->Import(
      {{"a", BundleText(bundle)}, {"b", BundleText(BundleFor(other, 8, 1, some))}}, By(1));
  CHECK_FALSE(both.ok());
  CHECK(fixture.directory->bundles().empty());
  REQUIRE(fixture.Import(bundle).ok());
  REQUIRE(fixture.Import(bundle).ok());  // the same again
  CHECK(fixture.store->History(1)->front().message == "records of host 7");
  const uint64_t head = fixture.store->head().revision;
  for (const uint64_t old : {0, 41, 42}) {
    IdentityBundle replayed = BundleFor(identity, 7, old, OwnIdentities());
    INFO(old);
    CHECK(Text(fixture.Import(replayed)).find("older") != std::string::npos);
  }
  CHECK(fixture.store->head().revision == head);
  fixture.Open();
  CHECK(fixture.directory->bundles().at(7).bundle == bundle);
  CHECK(fixture.directory->bundles().at(7).by == By(5));
  Inventory inventory;
  fixture.directory->FillInventory(some, &inventory);
  CHECK(inventory.remote_labels.size() == 6);
  size_t permitted = 0;
  for (const RemoteLabels& remote : inventory.remote_labels) {
    CHECK(LabelId(FleetSalt(), remote.labels) == remote.label_id);
    permitted += remote.host_id == 7 && remote.permitted ? 1 : 0;
  }
  CHECK(permitted == 1);
  REQUIRE(fixture.Import(BundleFor(identity, 7, 43, OwnIdentities())).ok());
  // Another key vouches for nothing that the old one signed.
  REQUIRE(fixture.directory->Trust(RecordOf(other, 7), {}, true, By(6)).ok());
  CHECK(fixture.directory->bundles().empty());
}

TEST_CASE("what this host issues is accepted elsewhere, and grows even if the clock goes back") {
  Fixture one, two;
  REQUIRE(one.directory->Init({.id = 1, .name = "one"}, By(0)).ok());
  REQUIRE(two.directory->Init({.id = 2, .name = "two"}, By(0)).ok());
  REQUIRE(two.directory->Trust(*one.directory->own(), {}, false, By(1)).ok());
  const OwnIdentities some = Some(FleetSalt());
  for (const int64_t now : {kStartUs, kStartUs - 5000000, kStartUs - 9000000}) {
    const auto bundle = one.directory->Issue(some, now);
    INFO(bundle.status().ToString());
    REQUIRE(bundle.ok());
    REQUIRE(two.Import(*bundle).ok());
    one.Open();
  }
  CHECK(two.directory->bundles().at(1).bundle.sequence == kStartUs + 2);
}

TEST_CASE("a change of hosts leaves a waiting confirmation waiting") {
  Fixture fixture;
  RevisionInput input{.message = "m", .changes = {Upsert("a", "x")}};
  input.confirmation = Confirmation{.back_to = 0, .deadline_us = 99};
  REQUIRE(fixture.store->Append(input).ok());
  REQUIRE(fixture.directory->Init({.id = 1, .name = "own"}, By(0)).ok());
  fixture.Open();
  REQUIRE(fixture.store->confirmation().has_value());
  CHECK(*fixture.store->confirmation() ==
        Confirmation{.revision = 2, .back_to = 0, .deadline_us = 99});
  RevisionInput stray{.message = "m", .host_rows = {{"own", "x"}}};
  CHECK(absl::IsInvalidArgument(fixture.store->Append(stray).status()));
}

// ---- pairwise keys --------------------------------------------------------------------------

mseg_host_keys KeysWith(const PairwiseKeys& keys, uint32_t host, uint64_t now) {
  mseg_host_keys out{};
  keys.ForEach(now, [&](uint32_t id, const mseg_host_keys& of_host) {
    if (id == host) out = of_host;
  });
  return out;
}

bool SameKeys(const mseg_host_keys& a, const mseg_host_keys& b) {
  return memcmp(&a, &b, sizeof(a)) == 0;
}

TEST_CASE("both ends come to the same keys, each slot has its own, and no other pair has them") {
  const HostIdentity a = NewIdentity(), b = NewIdentity(), c = NewIdentity();
  PairwiseKeys of_a(a, 1), of_b(b, 2), of_c(c, 3);
  REQUIRE(of_a.Add(2, b.exchange_key()).ok());
  REQUIRE(of_a.Add(3, c.exchange_key()).ok());
  REQUIRE(of_a.Add(1, a.exchange_key()).ok());
  REQUIRE(of_b.Add(1, a.exchange_key()).ok());
  REQUIRE(of_c.Add(1, a.exchange_key()).ok());
  const uint64_t now = 490923;
  const mseg_host_keys ab = KeysWith(of_a, 2, now);
  CHECK(SameKeys(ab, KeysWith(of_b, 1, now)));
  CHECK(SameKeys(KeysWith(of_a, 3, now), KeysWith(of_c, 1, now)));
  CHECK_FALSE(SameKeys(ab, KeysWith(of_a, 3, now)));
  CHECK_FALSE(SameKeys(ab, KeysWith(of_a, 1, now)));
  std::set<std::pair<uint64_t, uint64_t>> distinct;
  for (const auto& key : ab.key) distinct.emplace(key[0], key[1]);
  CHECK(distinct.size() == MSEG_EPOCHS);
  // One slot later all keys but one are where they were.
  const mseg_host_keys later = KeysWith(of_a, 2, now + 1);
  for (uint64_t slot = now; slot < now + 15; ++slot) {
    CHECK(memcmp(ab.key[slot % 16], later.key[slot % 16], 16) == 0);
  }
  CHECK(memcmp(ab.key[(now - 1) % 16], later.key[(now + 15) % 16], 16) != 0);
  // The id counts, not only the key.
  PairwiseKeys renamed(b, 4);
  REQUIRE(renamed.Add(1, a.exchange_key()).ok());
  CHECK_FALSE(SameKeys(ab, KeysWith(renamed, 1, now)));
  CHECK(absl::IsInvalidArgument(of_a.Add(9, PublicKey{})));
  of_a.KeepOnly({2});
  CHECK(of_a.size() == 1);
}

TEST_CASE("keys of 20,000 hosts") {
  const HostIdentity identity = NewIdentity();
  std::vector<PublicKey> publics(20000);
  for (PublicKey& key : publics) {
    PublicKey secret;
    randombytes_buf(secret.data(), secret.size());
    REQUIRE(crypto_scalarmult_base(key.data(), secret.data()) == 0);
  }
  // Time of this process alone, whatever else the machine does.
  const auto seconds = [](clock_t since) {
    return static_cast<double>(clock() - since) / CLOCKS_PER_SEC;
  };
  PairwiseKeys keys(identity, 1);
  clock_t start = clock();
  for (size_t i = 0; i < publics.size(); ++i) {
    REQUIRE(keys.Add(static_cast<uint32_t>(i + 2), publics[i]).ok());
  }
  const double agree = seconds(start);
  start = clock();
  uint64_t sum = 0;
  keys.ForEach(490923, [&](uint32_t, const mseg_host_keys& of) { sum ^= of.key[3][1]; });
  CHECK(sum != 0);
  WARN("20,000 hosts: agreed in " << agree << " s, 16 keys each in " << seconds(start) << " s");
}

}  // namespace
}  // namespace mseg::testing
