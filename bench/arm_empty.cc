// SPDX-License-Identifier: Apache-2.0
// What the kernel takes for the hooks by themselves: programs that return at once.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "bench/arm.h"
#include "bench/option.skel.h"
#include "loader/errno_status.h"
#include "loader/feature_probe.h"
#include "loader/programs.h"

namespace mseg::bench {
namespace {

constexpr char kName[] = "bench_empty";

// `hook` as in ProgramSpec. LSM goes on at 0, everything else at 1.
absl::StatusOr<ScopedFd> LoadEmpty(const std::string& hook) {
  bpf_prog_type type;
  bpf_attach_type attach;
  if (libbpf_prog_type_by_name(hook.c_str(), &type, &attach) != 0) {
    return absl::InternalError(absl::StrCat("libbpf does not know of ", hook));
  }
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = attach);
  if (type == BPF_PROG_TYPE_LSM) {
    const std::string function = hook.substr(hook.find('/') + 1);
    const int id = libbpf_find_vmlinux_btf_id(function.c_str(), attach);
    if (id < 0) return ErrnoStatus(-id, "find " + hook);
    options.attach_btf_id = static_cast<uint32_t>(id);
    if (absl::StartsWith(hook, "lsm.s/")) options.prog_flags = BPF_F_SLEEPABLE;
  }
  bpf_insn code[2] = {};
  code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  code[0].imm = type == BPF_PROG_TYPE_LSM ? 0 : 1;
  code[1].code = BPF_JMP | BPF_EXIT;
  ScopedFd program(bpf_prog_load(type, kName, "GPL", code, 2, &options));
  if (!program.ok()) return ErrnoStatus(errno, "load a program that does nothing for " + hook);
  return program;
}

// What mseg has attached while a policy restricts connections, but what follows processes.
bool SeesConnections(const ProgramSpec& spec, bool lsm) {
  if (spec.attach == Attach::kLsm && !lsm) return false;
  if (spec.attach != Attach::kCgroup && spec.attach != Attach::kLsm) return false;
  return spec.stage == Stage::kObserve || spec.stage == Stage::kEnforce ||
         spec.stage == Stage::kIngress;
}

}  // namespace

EmptyArm::~EmptyArm() { bench_option_bpf__destroy(option_); }

absl::Status EmptyArm::LoadOption() {
  option_ = bench_option_bpf__open_and_load();
  return option_ != nullptr ? absl::OkStatus() : ErrnoStatus(errno, "load bench_option");
}

absl::Status EmptyArm::Keep(int link, const std::string& hook) {
  if (link < 0) return ErrnoStatus(errno, "attach a program that does nothing to " + hook);
  links_.emplace_back(link);
  return absl::OkStatus();
}

absl::Status EmptyArm::Enforce() {
  if (form_ == Form::kOption) MSEG_RETURN_IF_ERROR(LoadOption());
  const std::string& client = client_place().cgroup;
  const std::string at = form_ == Form::kClient ? client : client.substr(0, client.rfind('/'));
  const ScopedFd cgroup(open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.ok()) return ErrnoStatus(errno, at);
  // Beside other arms they would cost these as much.
  const bool lsm = context().alone && ProbeFeatures().mode == MSEG_MODE_FULL;
  for (const ProgramSpec& spec : kPrograms) {
    if (!SeesConnections(spec, lsm)) continue;
    const std::string hook(spec.hook);
    if (form_ == Form::kOption && spec.type == BPF_CGROUP_SOCK_OPS) {
      const int program = bpf_program__fd(option_->progs.bench_option);
      MSEG_RETURN_IF_ERROR(Keep(bpf_link_create(program, cgroup.get(), spec.type, nullptr), hook));
      continue;
    }
    auto program = LoadEmpty(hook);
    if (!program.ok()) return program.status();
    const int link = spec.attach == Attach::kLsm
                         ? bpf_raw_tracepoint_open(nullptr, program->get())
                         : bpf_link_create(program->get(), cgroup.get(), spec.type, nullptr);
    MSEG_RETURN_IF_ERROR(Keep(link, hook));
  }
  return form_ == Form::kClient ? absl::OkStatus() : AttachLookup();
}

// Where the server listens mseg has a program that refuses who was refused before.
absl::Status EmptyArm::AttachLookup() {
  const ScopedFd netns(open(server_place().netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.ok()) return ErrnoStatus(errno, server_place().netns);
  auto program = LoadEmpty("sk_lookup");
  if (!program.ok()) return program.status();
  return Keep(bpf_link_create(program->get(), netns.get(), BPF_SK_LOOKUP, nullptr), "sk_lookup");
}

absl::Status EmptyArm::Verify() const {
  MSEG_RETURN_IF_ERROR(Arm::Verify());
  if (form_ != Form::kOption) return absl::OkStatus();
  // A SYN and its answer; the ACK, and the first data.
  const uint64_t opening = option_->bss->bench_opening, proving = option_->bss->bench_proving;
  if (opening >= 2 && proving >= 1) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(spec().Name(), ": a handshake carries options, but ",
                                          opening, " and ", proving, " were written"));
}

}  // namespace mseg::bench
