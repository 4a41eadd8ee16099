// SPDX-License-Identifier: Apache-2.0
#include "loader/dataplane.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/file.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"
#include "loader/object.h"
#include "loader/pins.h"

namespace mseg {
namespace {

// Level of a cgroup below the root of the hierarchy, as the kernel counts it.
absl::StatusOr<uint32_t> CgroupLevel(const std::string& dir) {
  uint32_t level = 0;
  std::string at = dir;
  for (; level < 128; level++, at += "/..") {
    struct stat here {
    }, up{};
    if (stat(at.c_str(), &here) != 0 || stat((at + "/..").c_str(), &up) != 0) {
      return ErrnoStatus(errno, "look at cgroup " + dir);
    }
    // The root of a kernfs has inode 1; a cgroup namespace shows another one as its root.
    if (here.st_ino == 1) return level;
    if (here.st_dev != up.st_dev) break;
  }
  return absl::FailedPreconditionError(
      absl::StrCat(dir, " is seen from inside a cgroup namespace; msegd must run in the host's"));
}

absl::StatusOr<bpf_prog_info> ProgramInfo(int fd) {
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) return ErrnoStatus(errno, "program info");
  return info;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataplane>> Dataplane::Open(const DataplaneOptions& options,
                                                           const Features& features) {
  std::unique_ptr<Dataplane> plane(new Dataplane());
  plane->options_ = options;
  plane->mode_ = features.mode;
  auto pin_dir = PreparePinDir(options.pin_dir);
  if (!pin_dir.ok()) return pin_dir.status();
  plane->options_.pin_dir = *pin_dir;
  MSEG_RETURN_IF_ERROR(plane->LockPins());
  if (absl::Status status = plane->LockAndLoad(features); !status.ok()) {
    // Nothing was there and nothing came of it: leave no empty directories.
    if (!HasPins(*pin_dir)) RemovePins(*pin_dir).IgnoreError();
    return status;
  }
  return plane;
}

Dataplane::~Dataplane() = default;

// The locks live as long as the descriptors: a killed daemon leaves none behind.
absl::Status Dataplane::LockPins() {
  pin_lock_ = ScopedFd(open(options_.pin_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!pin_lock_.ok()) return ErrnoStatus(errno, "open pin directory " + options_.pin_dir);
  if (flock(pin_lock_.get(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("another msegd uses the pin directory ",
                                                    options_.pin_dir,
                                                    "; give this one its own --bpffs"));
}

absl::Status Dataplane::LockAndLoad(const Features& features) {
  const std::string& root = options_.cgroup_root;
  struct statfs fs {};
  if (statfs(root.c_str(), &fs) == 0 && fs.f_type != CGROUP2_SUPER_MAGIC) {
    return absl::FailedPreconditionError(
        absl::StrCat("--cgroup-root ", root,
                     " is no cgroup v2 directory; name one below /sys/fs/cgroup (hybrid hosts: "
                     "/sys/fs/cgroup/unified)"));
  }
  cgroup_fd_ = ScopedFd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_fd_.ok()) return ErrnoStatus(errno, "open cgroup root " + root);
  if (flock(cgroup_fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "another msegd manages the cgroup root ", root, "; give this one its own --cgroup-root"));
  }
  struct stat info {};
  if (fstat(cgroup_fd_.get(), &info) != 0) return ErrnoStatus(errno, root);
  cgroup_root_id_ = info.st_ino;
  auto level = CgroupLevel(root);
  if (!level.ok()) return level.status();
  cgroup_root_level_ = *level;
  return AdoptOrLoad(features);
}

std::string Dataplane::LinkPin(size_t program) const {
  return absl::StrCat(options_.pin_dir, "/", kLinkPins, "/", kPrograms[program].name);
}

absl::StatusOr<uint32_t> Dataplane::PinnedLinkProgram(size_t program) const {
  const ScopedFd link(bpf_obj_get(LinkPin(program).c_str()));
  if (!link.ok()) return ErrnoStatus(errno, "open link " + LinkPin(program));
  bpf_link_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) return ErrnoStatus(errno, "link info");
  return info.prog_id;
}

// Programs of mseg on this cgroup that are none of ours would judge everything a second time.
absl::Status Dataplane::CheckForeignPrograms() const {
  const size_t connect = ProgramIndex("mseg_connect4");
  const auto own = PinnedLinkProgram(connect);
  uint32_t ids[64], count = 64;
  if (bpf_prog_query(cgroup_fd_.get(), kPrograms[connect].type, 0, nullptr, ids, &count) != 0) {
    return ErrnoStatus(errno, "query programs of " + options_.cgroup_root);
  }
  for (uint32_t i = 0; i < count; i++) {
    const ScopedFd fd(bpf_prog_get_fd_by_id(ids[i]));
    if (!fd.ok()) continue;
    const auto info = ProgramInfo(fd.get());
    if (!info.ok() || absl::string_view(info->name) != "mseg_connect4") continue;
    if (own.ok() && *own == ids[i]) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("programs of another msegd (program id ", ids[i], ") are attached to ",
                     options_.cgroup_root,
                     " and pinned elsewhere; start with its --bpffs, or remove them with "
                     "msegd --detach-all"));
  }
  return absl::OkStatus();
}

// A link that an upgrade replaced is listed until the kernel has released it.
absl::Status Dataplane::WaitForOwnCgroup() const {
  absl::Status status = CheckForeignPrograms();
  for (int i = 0; i < 80 && absl::IsFailedPrecondition(status); i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
    status = CheckForeignPrograms();
  }
  return status;
}

absl::Status Dataplane::AdoptOrLoad(const Features& features) {
  FinishPins(options_.pin_dir);
  MSEG_RETURN_IF_ERROR(WaitForOwnCgroup());
  const std::string pin = absl::StrCat(options_.pin_dir, "/", kMapPins, "/", kManifestMap);
  const ScopedFd fd(bpf_obj_get(pin.c_str()));
  if (!fd.ok()) {
    if (errno != ENOENT) return ErrnoStatus(errno, "open map " + pin);
    if (HasLinks(options_.pin_dir)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the state pinned in ", options_.pin_dir, " has no ", kManifestMap,
          ": somebody removed a part of it. What is left stays in force; remove it with msegd "
          "--detach-all --bpffs ",
          options_.pin_dir, " and start again"));
    }
    // What a load left that was killed before anything was attached. The directory stays: the lock
    // is on it.
    if (HasPins(options_.pin_dir)) {
      MSEG_RETURN_IF_ERROR(RemovePins(options_.pin_dir, /*keep_directories=*/true).status());
    }
    return Load(features, /*reuse_maps=*/false);
  }
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) return ErrnoStatus(errno, pin);
  std::vector<uint8_t> bytes(std::max<size_t>(info.value_size, sizeof(mseg_manifest)));
  const uint32_t zero = 0;
  if (bpf_map_lookup_elem(fd.get(), &zero, bytes.data()) != 0) return ErrnoStatus(errno, pin);
  mseg_manifest manifest;
  std::memcpy(&manifest, bytes.data(), sizeof(manifest));
  if (manifest.abi_version != MSEG_ABI_VERSION || info.value_size != sizeof(manifest)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the state pinned in ", options_.pin_dir, " has ABI version ",
                     manifest.abi_version, ", this msegd speaks ", MSEG_ABI_VERSION,
                     "; it stays in force. Run the msegd that made it, "
                     "or remove it with msegd --detach-all --bpffs ",
                     options_.pin_dir));
  }
  if (manifest.cgroup_root_id != cgroup_root_id_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the state pinned in ", options_.pin_dir, " belongs to another cgroup root (id ",
        manifest.cgroup_root_id, ", not ", cgroup_root_id_,
        "); it stays in force. Start with that "
        "--cgroup-root, or remove it with msegd --detach-all --bpffs ",
        options_.pin_dir));
  }
  if (manifest.store_id != options_.store_id) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the state pinned in ", options_.pin_dir,
        " was made with another state directory; it stays "
        "in force. Start with that --state-dir, or remove it with msegd --detach-all --bpffs ",
        options_.pin_dir));
  }
  auto digest = ObjectDigest();
  if (!digest.ok()) return digest.status();
  const bool same = std::equal(digest->begin(), digest->end(), manifest.object_digest);
  if (same && manifest.mode == static_cast<uint32_t>(mode_) && manifest.loaded_at != 0 &&
      GuardIsPinned()) {
    return Adopt(manifest);
  }
  return Load(features, /*reuse_maps=*/true);
}

bool Dataplane::Wants(const ProgramSpec& spec) const {
  return (mode_ == MSEG_MODE_FULL || spec.attach != Attach::kLsm) &&
         !absl::c_linear_search(options_.without, spec.name);
}

std::string Dataplane::ProgramPin(absl::string_view name) const {
  return absl::StrCat(options_.pin_dir, "/", kProgramPins, "/", name);
}

// What guards mseg is not loaded before it is wanted.
bool Dataplane::GuardIsPinned() const {
  return absl::c_all_of(kPrograms, [this](const ProgramSpec& spec) {
    if (spec.stage != Stage::kGuard || !Wants(spec)) return true;
    return access(ProgramPin(spec.name).c_str(), F_OK) == 0;
  });
}

absl::Status Dataplane::Adopt(const mseg_manifest& manifest) {
  for (size_t i = 0; i < kPrograms.size(); i++) {
    if (!Wants(kPrograms[i])) continue;
    const std::string pin = ProgramPin(kPrograms[i].name);
    programs_[i] = ScopedFd(bpf_obj_get(pin.c_str()));
    if (!programs_[i].ok()) return ErrnoStatus(errno, "adopt program " + pin);
    auto info = ProgramInfo(programs_[i].get());
    if (!info.ok()) return info.status();
    if (std::memcmp(info->tag, manifest.tags[i], sizeof(info->tag)) != 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the program pinned at ", pin, " is not the one that was loaded (tag ",
          absl::BytesToHexString({reinterpret_cast<const char*>(info->tag), 8}),
          "); somebody replaced it. Remove it all with msegd --detach-all and start again"));
    }
    const auto linked = PinnedLinkProgram(i);
    if (linked.ok() && *linked != info->id) {
      return absl::FailedPreconditionError(
          absl::StrCat("the link pinned at ", LinkPin(i), " runs another program (id ", *linked,
                       "). Remove it all with msegd --detach-all and start again"));
    }
  }
  for (absl::string_view name : MapNames()) {
    const std::string pin = absl::StrCat(options_.pin_dir, "/", kMapPins, "/", name);
    ScopedFd fd(bpf_obj_get(pin.c_str()));
    if (!fd.ok()) return ErrnoStatus(errno, "adopt map " + pin);
    maps_.emplace(name, std::move(fd));
  }
  adopted_ = IsAttached(Stage::kObserve) && IsAttached(Stage::kEnforce);
  return absl::OkStatus();
}

absl::Status Dataplane::Load(const Features& features, bool reuse_maps) {
  const auto slots = OwnedSockets();
  if (!slots.ok()) return slots.status();
  ObjectOptions options;
  options.mode = features.mode;
  options.cgroup_root_id = cgroup_root_id_;
  options.cgroup_root_level = cgroup_root_level_;
  options.limits = {{"mseg_rows", 2 * options_.max_rows},
                    {"mseg_identities", 2 * options_.max_identities},
                    {"mseg_tasks", options_.max_tasks},
                    {"mseg_slots", *slots},
                    {"mseg_listeners", options_.max_listeners},
                    {"mseg_listening", 2 * options_.max_listeners}};
  options.without = options_.without;
  options.pin_dir = options_.pin_dir;
  options.reuse_maps = reuse_maps;
  auto loaded = LoadObject(options);
  if (!loaded.ok()) return loaded.status();
  programs_ = std::move(loaded->programs);
  maps_ = std::move(loaded->maps);
  MSEG_RETURN_IF_ERROR(AttachQuarantine());
  MSEG_RETURN_IF_ERROR(TouchTables());
  return WriteManifest(features.mode);
}

// Connections go through these tables place by place, and the first look at a page of one can cost
// microseconds: where a hypervisor shadows the page tables, a fault. So they are looked at here.
absl::Status Dataplane::TouchTables() const {
  constexpr uint32_t kPage = 4096;
  std::vector<char> value;
  for (const absl::string_view name :
       {"mseg_slots", "mseg_peer_slots", "mseg_accepted", "mseg_marks", "mseg_syns"}) {
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(MapFd(name), &info, &size) != 0) {
      return ErrnoStatus(errno, absl::StrCat("read what map ", name, " is"));
    }
    value.resize(info.value_size);
    const uint32_t step = std::max(1u, kPage / info.value_size);
    for (uint32_t place = 0; place < info.max_entries; place += step) {
      if (bpf_map_lookup_elem(MapFd(name), &place, value.data()) != 0) {
        return ErrnoStatus(errno, absl::StrCat("look up in map ", name));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Dataplane::WriteManifest(mseg_mode mode) {
  mseg_manifest manifest{};
  manifest.abi_version = MSEG_ABI_VERSION;
  manifest.mode = mode;
  auto digest = ObjectDigest();
  if (!digest.ok()) return digest.status();
  std::copy(digest->begin(), digest->end(), manifest.object_digest);
  manifest.cgroup_root_id = cgroup_root_id_;
  manifest.store_id = options_.store_id;
  for (size_t i = 0; i < kPrograms.size(); i++) {
    if (!programs_[i].ok()) continue;
    auto info = ProgramInfo(programs_[i].get());
    if (!info.ok()) return info.status();
    std::memcpy(manifest.tags[i], info->tag, sizeof(info->tag));
  }
  return View<uint32_t, mseg_manifest>(kManifestMap).Update(0, manifest);
}

absl::Status Dataplane::MarkComplete() {
  const auto view = View<uint32_t, mseg_manifest>(kManifestMap);
  auto manifest = view.Lookup(0);
  if (!manifest.ok()) return manifest.status();
  if ((*manifest)->loaded_at != 0) return absl::OkStatus();
  (*manifest)->loaded_at = static_cast<uint64_t>(time(nullptr));
  return view.Update(0, **manifest);
}

int Dataplane::MapFd(absl::string_view name) const {
  const auto it = maps_.find(name);
  return it == maps_.end() ? -1 : it->second.get();
}

int Dataplane::ProgramFd(absl::string_view name) const {
  return programs_[ProgramIndex(name)].get();
}

// These hang on the map itself, not on a link: kernels before 6.10 have none for it. The map is
// pinned, and a newer program takes the place of an older one in one step.
absl::Status Dataplane::AttachQuarantine() const {
  for (const absl::string_view name : {"mseg_cut_send", "mseg_cut_receive"}) {
    const size_t program = ProgramIndex(name);
    if (bpf_prog_attach(programs_[program].get(), MapFd("mseg_quarantine"), kPrograms[program].type,
                        0) != 0) {
      return ErrnoStatus(errno, absl::StrCat("attach ", name, " to map mseg_quarantine"));
    }
  }
  return absl::OkStatus();
}

bool Dataplane::IsAttached(Stage stage) const {
  for (size_t i = 0; i < kPrograms.size(); i++) {
    if (kPrograms[i].stage != stage || !programs_[i].ok()) continue;
    const auto linked = PinnedLinkProgram(i);
    const auto info = ProgramInfo(programs_[i].get());
    if (!linked.ok() || !info.ok() || *linked != info->id) return false;
  }
  return true;
}

// The new link is there before an old one goes, so that an upgrade leaves no gap.
absl::Status Dataplane::AttachOne(size_t program) {
  const ProgramSpec& spec = kPrograms[program];
  const int fd = programs_[program].get();
  const auto linked = PinnedLinkProgram(program);
  if (linked.ok() && *linked == ProgramInfo(fd)->id) return absl::OkStatus();
  const ScopedFd link(spec.attach == Attach::kCgroup
                          ? bpf_link_create(fd, cgroup_fd_.get(), spec.type, nullptr)
                          : bpf_raw_tracepoint_open(nullptr, fd));
  if (!link.ok()) {
    return ErrnoStatus(errno, absl::StrCat("attach ", spec.name, " to ", spec.hook));
  }
  MSEG_RETURN_IF_ERROR(ReplacePin(link.get(), LinkPin(program)));
  return spec.attach == Attach::kCgroup ? VerifyCgroupProgram(program) : absl::OkStatus();
}

// A link made through the wrong cgroup namespace attaches and never runs; so look at what is in
// effect.
absl::Status Dataplane::VerifyCgroupProgram(size_t program) const {
  const ProgramSpec& spec = kPrograms[program];
  auto info = ProgramInfo(programs_[program].get());
  if (!info.ok()) return info.status();
  uint32_t ids[256], count = 256, flags = 0;
  if (bpf_prog_query(cgroup_fd_.get(), spec.type, BPF_F_QUERY_EFFECTIVE, &flags, ids, &count) !=
      0) {
    return ErrnoStatus(errno, absl::StrCat("query ", spec.hook));
  }
  if (std::find(ids, ids + count, info->id) != ids + count) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(spec.name, " is attached to ", options_.cgroup_root,
                                          " but not in effect there"));
}

absl::Status Dataplane::Attach(Stage stage) {
  for (size_t i = 0; i < kPrograms.size(); i++) {
    if (kPrograms[i].stage == stage && programs_[i].ok()) MSEG_RETURN_IF_ERROR(AttachOne(i));
  }
  return absl::OkStatus();
}

absl::Status Dataplane::Detach(Stage stage) {
  for (size_t i = 0; i < kPrograms.size(); i++) {
    if (kPrograms[i].stage != stage) continue;
    if (unlink(LinkPin(i).c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, "unpin " + LinkPin(i));
    }
    // One that an earlier start wanted.
    const std::string pin = ProgramPin(kPrograms[i].name);
    if (!Wants(kPrograms[i]) && unlink(pin.c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, "unpin " + pin);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AttachedProgram>> Dataplane::Attached() const {
  timespec real{}, boot{};
  clock_gettime(CLOCK_REALTIME, &real);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  std::vector<AttachedProgram> out;
  for (size_t i = 0; i < kPrograms.size(); i++) {
    const auto id = PinnedLinkProgram(i);
    if (!id.ok()) continue;
    const ScopedFd fd(bpf_prog_get_fd_by_id(*id));
    if (!fd.ok()) return ErrnoStatus(errno, absl::StrCat("program of ", LinkPin(i)));
    auto info = ProgramInfo(fd.get());
    if (!info.ok()) return info.status();
    AttachedProgram program;
    program.name = std::string(kPrograms[i].name);
    program.hook = std::string(kPrograms[i].hook);
    if (kPrograms[i].attach == Attach::kCgroup) program.cgroup = options_.cgroup_root;
    program.loaded_at =
        real.tv_sec - boot.tv_sec + static_cast<int64_t>(info->load_time / 1000000000u);
    out.push_back(std::move(program));
  }
  return out;
}

}  // namespace mseg
