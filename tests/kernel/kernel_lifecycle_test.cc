// SPDX-License-Identifier: Apache-2.0
// From load to removal: what is adopted, what is replaced without a gap, what is refused, and that
// nothing stays behind.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "loader/feature_probe.h"
#include "tests/kernel/kernel_fixture.h"

namespace mseg::testing {
namespace {

namespace fs = std::filesystem;

constexpr Stage kStages[] = {Stage::kObserve, Stage::kEnforce, Stage::kIngress};

void AttachAll(Dataplane* plane) {
  for (const Stage stage : kStages) {
    const absl::Status status = plane->Attach(stage);
    INFO(status.ToString());
    REQUIRE(status.ok());
    CHECK(plane->IsAttached(stage));
  }
  REQUIRE(plane->MarkComplete().ok());
}

template <typename Info>
Info InfoOf(int fd) {
  Info info{};
  uint32_t size = sizeof(info);
  REQUIRE(bpf_obj_get_info_by_fd(fd, &info, &size) == 0);
  return info;
}

// Program ids behind the links that are pinned, by name.
std::map<std::string, uint32_t> LinkedPrograms(const std::string& pin_dir) {
  std::map<std::string, uint32_t> ids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(pin_dir + "/links", error)) {
    const ScopedFd fd(bpf_obj_get(entry.path().c_str()));
    REQUIRE(fd.ok());
    ids[entry.path().filename()] = InfoOf<bpf_link_info>(fd.get()).prog_id;
  }
  return ids;
}

// Every id that the kernel gave to what is pinned, maps that only programs hold included.
struct Ids {
  std::set<uint32_t> programs, maps, links;
};

Ids AllIds(const std::string& pin_dir) {
  Ids ids;
  for (const char* folder : {"links", "programs", "maps"}) {
    for (const auto& entry : fs::directory_iterator(pin_dir + "/" + folder)) {
      const ScopedFd fd(bpf_obj_get(entry.path().c_str()));
      REQUIRE(fd.ok());
      if (std::strcmp(folder, "links") == 0) {
        ids.links.insert(InfoOf<bpf_link_info>(fd.get()).id);
      } else if (std::strcmp(folder, "maps") == 0) {
        ids.maps.insert(InfoOf<bpf_map_info>(fd.get()).id);
      } else {
        uint32_t map_ids[64] = {};
        bpf_prog_info info{};
        uint32_t size = sizeof(info);
        info.map_ids = reinterpret_cast<uintptr_t>(map_ids);
        info.nr_map_ids = 64;
        REQUIRE(bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0);
        ids.programs.insert(info.id);
        ids.maps.insert(map_ids, map_ids + info.nr_map_ids);
      }
    }
  }
  return ids;
}

bool AllGone(const std::set<uint32_t>& ids, int (*open_by_id)(uint32_t)) {
  return Eventually([&] {
    for (const uint32_t id : ids) {
      if (ScopedFd(open_by_id(id)).ok()) return false;
    }
    return true;
  });
}

void ChangeManifest(const std::string& pin_dir, const std::function<void(mseg_manifest*)>& change) {
  const ScopedFd fd(bpf_obj_get((pin_dir + "/maps/mseg_manifest").c_str()));
  REQUIRE(fd.ok());
  const MapView<uint32_t, mseg_manifest> view(fd.get(), "mseg_manifest");
  auto manifest = view.Lookup(0);
  REQUIRE(manifest.ok());
  change(&**manifest);
  REQUIRE(view.Update(0, **manifest).ok());
}

// How many programs named mseg_connect4 a cgroup has itself.
size_t ConnectPrograms(int cgroup) {
  uint32_t ids[64], count = 64;
  if (bpf_prog_query(cgroup, BPF_CGROUP_INET4_CONNECT, 0, nullptr, ids, &count) != 0) return 0;
  size_t found = 0;
  for (uint32_t i = 0; i < count; i++) {
    const ScopedFd fd(bpf_prog_get_fd_by_id(ids[i]));
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (fd.ok() && bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0 &&
        std::strcmp(info.name, "mseg_connect4") == 0) {
      found++;
    }
  }
  return found;
}

// Asks all the time whether a connect4 program is attached.
class Watch {
 public:
  explicit Watch(const std::string& cgroup)
      : fd_(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), thread_([this] {
          while (!stop_) {
            uint32_t ids[64], count = 64;
            const int error =
                bpf_prog_query(fd_.get(), BPF_CGROUP_INET4_CONNECT, 0, nullptr, ids, &count);
            if (error != 0 || count == 0) gaps_++;
            asked_++;
          }
        }) {}
  ~Watch() {
    if (thread_.joinable()) Stop();
  }
  void Stop() {
    stop_ = true;
    thread_.join();
  }
  uint64_t asked() const { return asked_; }
  uint64_t gaps() const { return gaps_; }

 private:
  ScopedFd fd_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> asked_{0}, gaps_{0};
  std::thread thread_;
};

const Features& ThisKernel() {
  static const Features features = ProbeFeatures();
  return features;
}

// Without what the verifier looks at longest: for what is about pins, links and locks, whatever the
// programs are.
DataplaneOptions Light(const Scratch& scratch) {
  DataplaneOptions options = scratch.Options();
  options.without = {"mseg_ingress",     "mseg_sockops",         "mseg_connect6",
                     "mseg_sendmsg4",    "mseg_sendmsg6",        "mseg_lsm_connect",
                     "mseg_lsm_sendmsg", "mseg_lsm_file_receive",
                     "mseg_lsm_send_held"};
  return options;
}

std::unique_ptr<Dataplane> OpenLight(const Scratch& scratch) {
  auto plane = Dataplane::Open(Light(scratch), ThisKernel());
  INFO(plane.status().ToString());
  REQUIRE(plane.ok());
  return *std::move(plane);
}

absl::Status Refusal(const DataplaneOptions& options) {
  const auto plane = Dataplane::Open(options, ThisKernel());
  INFO(plane.status().ToString());
  CHECK(plane.status().code() == absl::StatusCode::kFailedPrecondition);
  return plane.status();
}

}  // namespace

TEST_CASE("what is attached is adopted by the next one, programs and maps unchanged") {
  const Scratch scratch;
  const auto start = std::chrono::steady_clock::now();
  auto plane = scratch.Open();
  const auto loaded = std::chrono::steady_clock::now();
  CHECK_FALSE(plane->adopted());
  AttachAll(plane.get());
  const auto attached = std::chrono::steady_clock::now();
  using Ms = std::chrono::duration<double, std::milli>;
  std::printf("load %.0f ms, attach %.0f ms\n", Ms(loaded - start).count(),
              Ms(attached - loaded).count());
  const auto memory = plane->MapMemory();
  if (memory.ok()) std::printf("maps %.1f MiB\n", static_cast<double>(*memory) / 1048576);
  const auto programs = LinkedPrograms(scratch.pin_dir());
  const Ids ids = AllIds(scratch.pin_dir());
  REQUIRE(plane->active().Update(0, mseg_active{.generation = 7, .pad = 0}).ok());
  plane.reset();
  // Nothing went with the object that attached it.
  CHECK(LinkedPrograms(scratch.pin_dir()) == programs);
  plane = scratch.Open();
  CHECK(plane->adopted());
  AttachAll(plane.get());
  CHECK(LinkedPrograms(scratch.pin_dir()) == programs);
  CHECK(AllIds(scratch.pin_dir()).maps == ids.maps);
  CHECK(AllIds(scratch.pin_dir()).links == ids.links);
  const auto active = plane->active().Lookup(0);
  REQUIRE(active.ok());
  CHECK((*active)->generation == 7);
}

TEST_CASE("every program that this mode has is attached and shown") {
  const Scratch scratch;
  const auto plane = scratch.Open();
  AttachAll(plane.get());
  // Only here, where nobody calls bpf() meanwhile: an emulated processor may still run the
  // breakpoint that the kernel puts into a hook while it attaches (6.12 in QEMU: an oops).
  REQUIRE(plane->Attach(Stage::kGuard).ok());
  REQUIRE(plane->Attach(Stage::kUnix).ok());
  REQUIRE(plane->Attach(Stage::kLibraries).ok());
  REQUIRE(plane->Attach(Stage::kDatagrams).ok());
  const auto shown = plane->Attached();
  REQUIRE(shown.ok());
  std::set<std::string> names;
  for (const AttachedProgram& program : *shown) names.insert(program.name);
  const Features& features = ThisKernel();
  for (const ProgramSpec& spec : kPrograms) {
    INFO(std::string(spec.name));
    const bool wanted = spec.stage != Stage::kTool &&
                        (spec.attach != Attach::kLsm || features.mode == MSEG_MODE_FULL);
    CHECK(names.count(std::string(spec.name)) == (wanted ? 1 : 0));
  }
  std::printf("mode %s\n", features.mode == MSEG_MODE_FULL ? "full" : "cgroup");
}

uint32_t PinnedMapId(const Scratch& scratch, const std::string& name) {
  const ScopedFd map(bpf_obj_get((scratch.pin_dir() + "/maps/" + name).c_str()));
  REQUIRE(map.ok());
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  REQUIRE(bpf_obj_get_info_by_fd(map.get(), &info, &size) == 0);
  return info.id;
}

TEST_CASE("another build replaces programs over the same maps and leaves no gap") {
  const Scratch scratch;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  const uint32_t rows = PinnedMapId(scratch, "mseg_rows");
  const uint32_t verdicts = PinnedMapId(scratch, "mseg_verdicts");
  const auto before = LinkedPrograms(scratch.pin_dir());
  const Ids old = AllIds(scratch.pin_dir());
  REQUIRE(plane->active().Update(0, mseg_active{.generation = 9, .pad = 0}).ok());
  plane.reset();
  ChangeManifest(scratch.pin_dir(), [](mseg_manifest* m) { m->object_digest[0] ^= 1; });

  Watch watch(scratch.cgroup());
  REQUIRE(Eventually([&] { return watch.asked() > 10; }));
  for (int round = 0; round < 2; round++) {
    plane = OpenLight(scratch);
    CHECK_FALSE(plane->adopted());
    AttachAll(plane.get());
    plane.reset();
    ChangeManifest(scratch.pin_dir(), [](mseg_manifest* m) { m->object_digest[0] ^= 1; });
  }
  watch.Stop();
  CHECK(watch.gaps() == 0);

  const auto after = LinkedPrograms(scratch.pin_dir());
  REQUIRE(after.size() == before.size());
  for (const auto& [name, id] : before) {
    INFO(name);
    CHECK(after.count(name) == 1);
    CHECK(after.at(name) != id);
  }
  CHECK(AllGone(old.programs, bpf_prog_get_fd_by_id));
  CHECK(AllGone(old.links, bpf_link_get_fd_by_id));
  const ScopedFd cgroup(open(scratch.cgroup().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A link has no number any more a moment before its program is detached.
  CHECK(Eventually([&] { return ConnectPrograms(cgroup.get()) == 1; }));
  const ScopedFd active(bpf_obj_get((scratch.pin_dir() + "/maps/mseg_active").c_str()));
  const auto word = MapView<uint32_t, mseg_active>(active.get(), "active").Lookup(0);
  REQUIRE(word.ok());
  CHECK((*word)->generation == 9);
  CHECK(PinnedMapId(scratch, "mseg_rows") == rows);
  // What the other build's programs remember is theirs.
  CHECK(PinnedMapId(scratch, "mseg_verdicts") != verdicts);
}

TEST_CASE("a watch over a cgroup without programs sees the gap") {
  const Scratch scratch;
  Watch watch(scratch.cgroup());
  CHECK(Eventually([&] { return watch.asked() > 10; }));
  watch.Stop();
  CHECK(watch.gaps() == watch.asked());
}

TEST_CASE("killed in the middle of an attach or an upgrade, the next one goes through") {
  const Scratch scratch;
  auto plane = OpenLight(scratch);
  SECTION("before anything was attached") { plane.reset(); }
  SECTION("before the enforcing programs were attached") {
    REQUIRE(plane->Attach(Stage::kObserve).ok());
    plane.reset();
  }
  SECTION("before it was marked complete") {
    for (const Stage stage : kStages) REQUIRE(plane->Attach(stage).ok());
    plane.reset();
  }
  SECTION("maps were pinned, the manifest was not") {
    plane.reset();
    REQUIRE(unlink((scratch.pin_dir() + "/maps/mseg_manifest").c_str()) == 0);
  }
  SECTION("the new link was pinned beside the old one") {
    // As AttachOne() leaves it when it is killed before the rename.
    AttachAll(plane.get());
    plane.reset();
    const ScopedFd cgroup(open(scratch.cgroup().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // The same program cannot be attached twice: this is the next load's.
    ChangeManifest(scratch.pin_dir(), [](mseg_manifest* m) { m->object_digest[0] ^= 1; });
    plane = OpenLight(scratch);
    const ScopedFd fresh(bpf_obj_get((scratch.pin_dir() + "/programs/mseg_connect4").c_str()));
    const ScopedFd link(
        bpf_link_create(fresh.get(), cgroup.get(), BPF_CGROUP_INET4_CONNECT, nullptr));
    REQUIRE(link.ok());
    REQUIRE(bpf_obj_pin(link.get(), (scratch.pin_dir() + "/links/mseg_connect4_new").c_str()) == 0);
    plane.reset();
  }
  SECTION("the old pin was removed, the new one not yet renamed") {
    AttachAll(plane.get());
    plane.reset();
    const std::string pin = scratch.pin_dir() + "/links/mseg_connect4";
    REQUIRE(rename(pin.c_str(), (pin + "_new").c_str()) == 0);
  }
  auto next = Dataplane::Open(Light(scratch), ThisKernel());
  INFO(next.status().ToString());
  REQUIRE(next.ok());
  AttachAll(next->get());
  // What was removed and made anew is still locked.
  const auto holder = PinDirHolder(scratch.pin_dir());
  REQUIRE(holder.ok());
  CHECK(*holder == getpid());
  const ScopedFd cgroup(open(scratch.cgroup().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // One program judges, not two, and no pin is left that nobody knows.
  CHECK(Eventually([&] { return ConnectPrograms(cgroup.get()) == 1; }));
  for (const auto& [name, id] : LinkedPrograms(scratch.pin_dir())) {
    INFO(name);
    CHECK_FALSE(absl::EndsWith(name, "_new"));
  }
}

TEST_CASE("pinned state of another ABI is refused and stays in force") {
  const Scratch scratch;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  plane.reset();
  const auto before = LinkedPrograms(scratch.pin_dir());
  ChangeManifest(scratch.pin_dir(), [](mseg_manifest* m) { m->abi_version++; });
  const absl::Status status = Refusal(Light(scratch));
  CHECK(absl::StrContains(status.message(), "ABI version"));
  CHECK(absl::StrContains(status.message(), "--detach-all"));
  CHECK(LinkedPrograms(scratch.pin_dir()) == before);
  // Nor is it replaced when nothing tells what it is.
  REQUIRE(unlink((scratch.pin_dir() + "/maps/mseg_manifest").c_str()) == 0);
  CHECK(absl::StrContains(Refusal(Light(scratch)).message(), "has no mseg_manifest"));
  CHECK(LinkedPrograms(scratch.pin_dir()) == before);
  const auto dirs = FindPinDirs();
  REQUIRE(dirs.ok());
  CHECK(std::find(dirs->begin(), dirs->end(), scratch.pin_dir()) != dirs->end());
}

TEST_CASE("pinned state of another cgroup root is refused and stays in force") {
  const Scratch scratch, other;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  plane.reset();
  const auto before = LinkedPrograms(scratch.pin_dir());
  DataplaneOptions options = Light(scratch);
  options.cgroup_root = other.cgroup();
  CHECK(absl::StrContains(Refusal(options).message(), "another cgroup root"));
  CHECK(LinkedPrograms(scratch.pin_dir()) == before);
}

TEST_CASE("pinned state with another store's numbers is refused and stays in force") {
  const Scratch scratch;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  plane.reset();
  const auto before = LinkedPrograms(scratch.pin_dir());
  DataplaneOptions options = Light(scratch);
  options.store_id = 12345;
  CHECK(absl::StrContains(Refusal(options).message(), "another state directory"));
  CHECK(LinkedPrograms(scratch.pin_dir()) == before);
}

TEST_CASE("programs of another instance on the same cgroup root are refused") {
  const Scratch scratch, other;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  plane.reset();
  DataplaneOptions options = Light(scratch);
  options.pin_dir = other.pin_dir();
  CHECK(absl::StrContains(Refusal(options).message(), "pinned elsewhere"));
}

TEST_CASE("one instance a pin directory and a cgroup root, as long as it lives") {
  const Scratch scratch, other;
  auto plane = OpenLight(scratch);
  CHECK(absl::StrContains(Refusal(Light(scratch)).message(), "another msegd"));
  DataplaneOptions same_cgroup = Light(scratch);
  same_cgroup.pin_dir = other.pin_dir();
  CHECK(absl::StrContains(Refusal(same_cgroup).message(), "cgroup root"));
  DataplaneOptions same_pins = Light(scratch);
  same_pins.cgroup_root = other.cgroup();
  CHECK(absl::StrContains(Refusal(same_pins).message(), "pin directory"));
  // Two instances on different ones are fine.
  const auto second = OpenLight(other);
  CHECK(second != nullptr);
  const auto holder = PinDirHolder(scratch.pin_dir());
  REQUIRE(holder.ok());
  CHECK(*holder == getpid());
  plane.reset();
  const auto nobody = PinDirHolder(scratch.pin_dir());
  REQUIRE(nobody.ok());
  CHECK(*nobody == 0);
  CHECK(OpenLight(scratch) != nullptr);
}

TEST_CASE("a program that somebody swapped at its pin is not adopted") {
  const Scratch scratch;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  plane.reset();
  const std::string programs = scratch.pin_dir() + "/programs/";
  const ScopedFd other(bpf_obj_get((programs + "mseg_post_bind4").c_str()));
  REQUIRE(other.ok());
  REQUIRE(unlink((programs + "mseg_connect4").c_str()) == 0);
  REQUIRE(bpf_obj_pin(other.get(), (programs + "mseg_connect4").c_str()) == 0);
  CHECK(absl::StrContains(Refusal(Light(scratch)).message(), "not the one that was loaded"));
}

TEST_CASE("a link that somebody removed is attached again") {
  const Scratch scratch;
  auto plane = OpenLight(scratch);
  AttachAll(plane.get());
  plane.reset();
  REQUIRE(unlink((scratch.pin_dir() + "/links/mseg_connect4").c_str()) == 0);
  plane = OpenLight(scratch);
  CHECK_FALSE(plane->adopted());
  CHECK_FALSE(plane->IsAttached(Stage::kEnforce));
  AttachAll(plane.get());
  const ScopedFd cgroup(open(scratch.cgroup().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CHECK(Eventually([&] { return ConnectPrograms(cgroup.get()) == 1; }));
}

TEST_CASE("Detach of a stage removes its links and no others") {
  const Scratch scratch;
  const auto plane = scratch.Open();
  AttachAll(plane.get());
  REQUIRE(plane->Detach(Stage::kIngress).ok());
  CHECK_FALSE(plane->IsAttached(Stage::kIngress));
  CHECK(plane->IsAttached(Stage::kEnforce));
  CHECK(plane->IsAttached(Stage::kObserve));
  REQUIRE(plane->Detach(Stage::kIngress).ok());
  REQUIRE(plane->Attach(Stage::kIngress).ok());
  CHECK(plane->IsAttached(Stage::kIngress));
}

TEST_CASE("DetachAll leaves no program, map, link or pin") {
  const Scratch scratch;
  auto plane = scratch.Open();
  AttachAll(plane.get());
  const Ids ids = AllIds(scratch.pin_dir());
  CHECK(ids.programs.size() >= 16);
  CHECK(ids.maps.size() >= 15);
  CHECK(ids.links.size() >= 13);
  plane.reset();
  // Somebody else's, and what a removal leaves that is killed on its way.
  const std::string foreign = scratch.pin_dir() + "/maps/another_product";
  const ScopedFd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "another", 4, 4, 1, nullptr));
  REQUIRE(map.ok());
  REQUIRE(bpf_obj_pin(map.get(), foreign.c_str()) == 0);
  for (const auto& [name, id] : LinkedPrograms(scratch.pin_dir())) {
    REQUIRE(unlink((scratch.pin_dir() + "/links/" + name).c_str()) == 0);
  }
  REQUIRE(unlink((scratch.pin_dir() + "/maps/mseg_manifest").c_str()) == 0);
  const auto removed = DetachAll(scratch.pin_dir());
  INFO(removed.status().ToString());
  REQUIRE(removed.ok());
  CHECK(removed->size() >= ids.programs.size());
  CHECK(AllGone(ids.links, bpf_link_get_fd_by_id));
  CHECK(AllGone(ids.programs, bpf_prog_get_fd_by_id));
  CHECK(AllGone(ids.maps, bpf_map_get_fd_by_id));
  CHECK(fs::exists(foreign));
  CHECK(unlink(foreign.c_str()) == 0);
  // Removing nothing is no error.
  const auto again = DetachAll(scratch.pin_dir());
  REQUIRE(again.ok());
  CHECK(again->empty());
  CHECK_FALSE(fs::exists(scratch.pin_dir()));
}

TEST_CASE("a pin directory that is on no bpffs is refused by name") {
  const Scratch scratch;
  DataplaneOptions options = scratch.Options();
  options.pin_dir = scratch.dir() + "/pins";
  CHECK(absl::StrContains(Refusal(options).message(), "bpf file system"));
}

TEST_CASE("counters start at zero and FindPinDirs names the instance") {
  const Scratch scratch;
  const auto plane = OpenLight(scratch);
  const auto counters = plane->Counters();
  REQUIRE(counters.ok());
  for (const uint64_t count : *counters) CHECK(count == 0);
  const auto dirs = FindPinDirs();
  REQUIRE(dirs.ok());
  CHECK(std::find(dirs->begin(), dirs->end(), scratch.pin_dir()) != dirs->end());
}

}  // namespace mseg::testing
