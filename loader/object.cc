// SPDX-License-Identifier: Apache-2.0
#include "loader/object.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <malloc.h>
#include <sodium/crypto_hash_sha256.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <memory>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"
#include "loader/pins.h"
#include "mseg.skel.h"

namespace mseg {
namespace {

struct CloseSkeleton {
  void operator()(mseg_bpf* object) const { mseg_bpf__destroy(object); }
};
using Skeleton = std::unique_ptr<mseg_bpf, CloseSkeleton>;

// libbpf speaks through one callback without a context; the end of what it said is kept per thread
// for the message of the error that follows.
thread_local std::string libbpf_words;

int KeepLibbpfWords(libbpf_print_level level, const char* format, va_list args) {
  if (level != LIBBPF_WARN) return 0;
  va_list again;
  va_copy(again, args);
  const int size = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (size <= 0) return 0;
  // A verifier log comes as one message; what matters is its end.
  std::string words(static_cast<size_t>(size) + 1, '\0');
  vsnprintf(words.data(), words.size(), format, args);
  words.pop_back();
  libbpf_words += words;
  constexpr size_t kKeep = 3000;
  if (libbpf_words.size() > kKeep) libbpf_words.erase(0, libbpf_words.size() - kKeep);
  return 0;
}

absl::Status LoadError(int error, absl::string_view what) {
  const absl::Status status = ErrnoStatus(error, what);
  return absl::Status(status.code(), absl::StrCat(status.message(), "\n", libbpf_words));
}

bool IsInternal(const bpf_map* map) { return absl::StrContains(bpf_map__name(map), "."); }

// What programs remember of what the tables say. Those of another build may have understood the
// tables otherwise, and run until they are replaced, also in the new generation: each build has its
// own.
bool IsMemory(absl::string_view name) {
  constexpr absl::string_view kMemories[] = {
      "mseg_verdicts", "mseg_remotes", "mseg_anyone", "mseg_prints", "mseg_address_classes",
      "mseg_listening_seen"};
  return absl::c_linear_search(kMemories, name);
}

absl::Status PrepareMaps(const ObjectOptions& options, mseg_bpf* skeleton) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    if (IsInternal(map)) continue;
    const std::string name = bpf_map__name(map);
    if (const auto limit = options.limits.find(name); limit != options.limits.end()) {
      bpf_map__set_max_entries(map, limit->second);
    }
    if (!options.reuse_maps || IsMemory(name)) continue;
    const std::string pin = absl::StrCat(options.pin_dir, "/", kMapPins, "/", name);
    const ScopedFd fd(bpf_obj_get(pin.c_str()));
    if (!fd.ok()) return ErrnoStatus(errno, "reuse map " + pin);
    if (const int error = bpf_map__reuse_fd(map, fd.get()); error != 0) {
      return LoadError(error, "reuse map " + pin);
    }
  }
  return absl::OkStatus();
}

void ChoosePrograms(const ObjectOptions& options, mseg_bpf* skeleton) {
  skeleton->rodata->mseg_cgroup_root_id = options.cgroup_root_id;
  skeleton->rodata->mseg_cgroup_root_level = options.cgroup_root_level;
  skeleton->rodata->mseg_full_mode = options.mode == MSEG_MODE_FULL ? 1 : 0;
  for (const ProgramSpec& spec : kPrograms) {
    bpf_program* program =
        bpf_object__find_program_by_name(skeleton->obj, std::string(spec.name).c_str());
    const bool left_out = absl::c_linear_search(options.without, spec.name);
    if (program != nullptr && (left_out || spec.attach == Attach::kLsm)) {
      bpf_program__set_autoload(program, !left_out && options.mode == MSEG_MODE_FULL);
    }
  }
}

absl::StatusOr<ScopedFd> Keep(int fd) {
  ScopedFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.ok()) return ErrnoStatus(errno, "keep a descriptor");
  return copy;
}

absl::Status TakeMaps(const ObjectOptions& options, mseg_bpf* skeleton, LoadedObject* out) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    if (IsInternal(map)) continue;
    const std::string name = bpf_map__name(map);
    auto fd = Keep(bpf_map__fd(map));
    if (!fd.ok()) return fd.status();
    // The manifest is pinned last of all maps: without it the others count as left over.
    if (IsMemory(name) || (!options.reuse_maps && name != kManifestMap)) {
      MSEG_RETURN_IF_ERROR(
          ReplacePin(fd->get(), absl::StrCat(options.pin_dir, "/", kMapPins, "/", name)));
    }
    out->maps.emplace(name, *std::move(fd));
  }
  if (options.reuse_maps) return absl::OkStatus();
  return ReplacePin(out->maps.find(kManifestMap)->second.get(),
                    absl::StrCat(options.pin_dir, "/", kMapPins, "/", kManifestMap));
}

absl::Status TakePrograms(const ObjectOptions& options, mseg_bpf* skeleton, LoadedObject* out) {
  for (size_t i = 0; i < kPrograms.size(); i++) {
    const std::string name(kPrograms[i].name);
    const bpf_program* program = bpf_object__find_program_by_name(skeleton->obj, name.c_str());
    if (program == nullptr) return absl::InternalError("the BPF object has no program " + name);
    if (bpf_program__fd(program) < 0) continue;
    auto fd = Keep(bpf_program__fd(program));
    if (!fd.ok()) return fd.status();
    MSEG_RETURN_IF_ERROR(
        ReplacePin(fd->get(), absl::StrCat(options.pin_dir, "/", kProgramPins, "/", name)));
    out->programs[i] = *std::move(fd);
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedObject> Load(const ObjectOptions& options) {
  libbpf_words.clear();
  libbpf_set_print(KeepLibbpfWords);
  Skeleton skeleton(mseg_bpf__open());
  if (!skeleton) return LoadError(errno, "open the BPF object");
  ChoosePrograms(options, skeleton.get());
  MSEG_RETURN_IF_ERROR(PrepareMaps(options, skeleton.get()));
  skeleton->rodata->mseg_slots_mask = bpf_map__max_entries(skeleton->maps.mseg_slots) - 1;
  if (const int error = mseg_bpf__load(skeleton.get()); error != 0) {
    return LoadError(error, "load the BPF programs");
  }
  LoadedObject out;
  MSEG_RETURN_IF_ERROR(TakePrograms(options, skeleton.get(), &out));
  MSEG_RETURN_IF_ERROR(TakeMaps(options, skeleton.get(), &out));
  return out;
}

}  // namespace

absl::StatusOr<LoadedObject> LoadObject(const ObjectOptions& options) {
  absl::StatusOr<LoadedObject> loaded = Load(options);
  // libbpf reads the types of the whole kernel for it, in pieces that malloc would keep.
  malloc_trim(0);
  return loaded;
}

std::vector<std::string> MapNames() {
  std::vector<std::string> names;
  Skeleton skeleton(mseg_bpf__open());
  if (!skeleton) return names;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    if (!IsInternal(map)) names.emplace_back(bpf_map__name(map));
  }
  return names;
}

absl::StatusOr<std::array<uint8_t, 32>> ObjectDigest() {
  size_t size = 0;
  const void* bytes = mseg_bpf__elf_bytes(&size);
  std::array<uint8_t, 32> digest{};
  if (crypto_hash_sha256(digest.data(), static_cast<const uint8_t*>(bytes), size) != 0) {
    return absl::InternalError("hash the BPF object");
  }
  return digest;
}

}  // namespace mseg
