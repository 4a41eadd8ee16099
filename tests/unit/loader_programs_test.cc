// SPDX-License-Identifier: Apache-2.0
// The loader's table of programs against the object, and how errors are named. Loads nothing.
#include <bpf/libbpf.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "loader/errno_status.h"
#include "loader/object.h"
#include "loader/pins.h"
#include "loader/programs.h"
#include "mseg.skel.h"
#include "mseg/abi.h"

namespace mseg {
namespace {

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};

std::unique_ptr<bpf_object, CloseObject> OpenObject() {
  size_t size = 0;
  const void* bytes = mseg_bpf__elf_bytes(&size);
  std::unique_ptr<bpf_object, CloseObject> object(bpf_object__open_mem(bytes, size, nullptr));
  REQUIRE(object);
  return object;
}

}  // namespace

TEST_CASE("the holder of a lock is found by device and inode") {
  const std::string text =
      "1: FLOCK  ADVISORY  WRITE 11 00:2a:1234 0 EOF\n"
      "2: POSIX  ADVISORY  WRITE 12 fe:01:1234 0 EOF\n"
      "3: FLOCK  ADVISORY  WRITE 13 fe:01:1234 0 EOF\n"
      "3: -> FLOCK  ADVISORY  WRITE 14 fe:01:1234 0 EOF\n";
  const auto holder = [&](unsigned int major, unsigned int minor, ino_t inode) {
    std::istringstream locks(text);
    return LockHolder(locks, makedev(major, minor), inode);
  };
  CHECK(holder(0xfe, 1, 1234) == 13);
  CHECK(holder(0, 0x2a, 1234) == 11);
  CHECK(holder(0xfe, 1, 123) == 0);
  CHECK(holder(0xfe, 2, 1234) == 0);
}

TEST_CASE("every program of the object is in the table") {
  const auto object = OpenObject();
  bpf_program* program = nullptr;
  size_t count = 0;
  bpf_object__for_each_program(program, object.get()) {
    const std::string name = bpf_program__name(program);
    INFO(name);
    CHECK(std::count_if(kPrograms.begin(), kPrograms.end(),
                        [&](const ProgramSpec& spec) { return spec.name == name; }) == 1);
    count++;
  }
  CHECK(count == kPrograms.size());
}

TEST_CASE("every line of the table is a program of the object, with its section and type") {
  const auto object = OpenObject();
  for (const ProgramSpec& spec : kPrograms) {
    INFO(std::string(spec.name));
    const bpf_program* program =
        bpf_object__find_program_by_name(object.get(), std::string(spec.name).c_str());
    REQUIRE(program != nullptr);
    // `msegctl status` shows the section's name, so that a hook can be found in the source.
    CHECK(std::string(bpf_program__section_name(program)) == std::string(spec.hook));
    if (spec.attach != Attach::kNone || absl::StartsWith(spec.hook, "iter/")) {
      CHECK(bpf_program__expected_attach_type(program) == spec.type);
    }
    switch (spec.attach) {
      case Attach::kLsm:
        CHECK(bpf_program__type(program) == BPF_PROG_TYPE_LSM);
        break;
      case Attach::kTracing:
        CHECK(bpf_program__type(program) == BPF_PROG_TYPE_TRACING);
        break;
      case Attach::kCgroup:
        CHECK(spec.stage != Stage::kTool);
        break;
      case Attach::kNone:
        CHECK(spec.stage == Stage::kTool);
        break;
    }
  }
  CHECK(kPrograms.size() <= MSEG_MAX_PROGRAMS);
}

TEST_CASE("names fit into the kernel's fields, or two could be mistaken for one") {
  std::set<std::string> cut;
  for (const ProgramSpec& spec : kPrograms) {
    cut.insert(std::string(spec.name.substr(0, BPF_OBJ_NAME_LEN - 1)));
  }
  CHECK(cut.size() == kPrograms.size());
  for (const std::string& name : MapNames()) {
    INFO(name);
    CHECK(name.size() < 64);
  }
}

TEST_CASE("the digest of the object is stable and not empty") {
  const auto digest = ObjectDigest();
  REQUIRE(digest.ok());
  CHECK(*digest == *ObjectDigest());
  CHECK(*digest != std::array<uint8_t, 32>{});
}

TEST_CASE("an errno becomes the status of its meaning, of either sign") {
  struct Case {
    int error;
    absl::StatusCode code;
  };
  const Case cases[] = {
      {EPERM, absl::StatusCode::kPermissionDenied},
      {EACCES, absl::StatusCode::kPermissionDenied},
      {ENOENT, absl::StatusCode::kNotFound},
      {EEXIST, absl::StatusCode::kAlreadyExists},
      {E2BIG, absl::StatusCode::kResourceExhausted},
      {ENOSPC, absl::StatusCode::kResourceExhausted},
      {ENOMEM, absl::StatusCode::kResourceExhausted},
      {EBUSY, absl::StatusCode::kUnavailable},
      {EAGAIN, absl::StatusCode::kUnavailable},
      {EINVAL, absl::StatusCode::kInvalidArgument},
      {EIO, absl::StatusCode::kInternal},
  };
  for (const Case& c : cases) {
    INFO(std::strerror(c.error));
    for (const int error : {c.error, -c.error}) {
      const absl::Status status = ErrnoStatus(error, "do a thing");
      CHECK(status.code() == c.code);
      CHECK(status.message() == std::string("do a thing: ") + std::strerror(c.error));
    }
  }
}

}  // namespace mseg
