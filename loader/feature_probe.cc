// SPDX-License-Identifier: Apache-2.0
#include "loader/feature_probe.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "loader/scoped_fd.h"
#include "loader/socket_diag.h"

namespace mseg {
namespace {

constexpr bpf_insn kReturnZero[] = {
    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
    {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
};

struct FreeBtf {
  void operator()(btf* types) const { btf__free(types); }
};
using KernelTypes = std::unique_ptr<btf, FreeBtf>;

// Loads a program that does nothing at a BTF-typed hook, whose type there has this name. The types
// are read once for all of them: that takes as long as all other probes together.
bool CanLoad(const KernelTypes& types, bpf_prog_type type, bpf_attach_type attach,
             const char* name, uint32_t kind) {
  const int id = types == nullptr ? -1 : btf__find_by_name_kind(types.get(), name, kind);
  if (id <= 0) return false;
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = attach;
  options.attach_btf_id = static_cast<uint32_t>(id);
  const ScopedFd fd(
      bpf_prog_load(type, "mseg_probe", "GPL", kReturnZero, std::size(kReturnZero), &options));
  return fd.ok();
}

// The active security modules. Where securityfs is not mounted, an instance of it is opened that
// nobody else sees.
std::string ActiveSecurityModules() {
  std::ifstream mounted("/sys/kernel/security/lsm");
  std::string text;
  if (std::getline(mounted, text)) return text;
  const ScopedFd fs(static_cast<int>(syscall(SYS_fsopen, "securityfs", 0)));
  if (!fs.ok() || syscall(SYS_fsconfig, fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return "";
  }
  const ScopedFd mount(static_cast<int>(syscall(SYS_fsmount, fs.get(), 0, 0)));
  if (!mount.ok()) return "";
  const ScopedFd file(openat(mount.get(), "lsm", O_RDONLY | O_CLOEXEC));
  char buffer[512];
  const ssize_t n = file.ok() ? read(file.get(), buffer, sizeof(buffer)) : -1;
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : "";
}

bool BpfLsmIsActive() {
  for (absl::string_view name : absl::StrSplit(ActiveSecurityModules(), absl::ByAnyChar(",\n"))) {
    if (name == "bpf") return true;
  }
  return false;
}

bool MayUseBpf() {
  const ScopedFd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "mseg_probe", 4, 4, 1, nullptr));
  return fd.ok();
}

// What this version leaves open in every mode. The first word is what `selftest --bypass` refers
// to.
std::vector<std::string> GapsOfBoth() {
  return {
      "kernel_sockets: connections that the kernel makes (NFS, CIFS, iSCSI) are judged as the "
      "process whose system call makes them, else as the kernel's own threads (`mseg/kernel`), "
      "whoever mounted",
      "packet_without_socket: packets that no socket of this host sends (tap devices, BPF "
      "programs) "
      "are not judged",
      "dns_tunnel: what a process asks an allowed DNS server is not looked at",
      "icmp_tunnel: what an allowed ICMP message carries is not looked at",
      "kernel_takeover: root can load kernel modules, boot another kernel and write to devices",
      "bpf_programs: another BPF program can change what a connection is before mseg sees it; in "
      "full mode `self_protection` keeps confined processes from it and says who else may",
      "policy_store: policies are not signed: what root tells msegctl, and msegctl the daemon, is "
      "policy",
  };
}

std::vector<std::string> GapsOfFull() {
  return {
      "libraries: what a process loads beside its executable (LD_PRELOAD, dlopen) has no identity; "
      "for workloads that say `libraries: trusted` it must be a file that nobody but root can have "
      "written, and memory that a process makes executable itself is not looked at",
      "fd_passing: a UDP socket that is not connected keeps the identity it was opened with when "
      "another process gets it; of more than 32768 accepted connections the oldest may be taken "
      "for whose who listens at their address now; who only receives on a socket that was kept "
      "over fork or exec is not asked, nor are sendfile() and splice() before 6.5",
      "af_unix: AF_UNIX is judged only for workloads that say `unix: judge`, when a connection is "
      "made or a datagram sent, not who uses a connection later; at the ends of a socketpair(), "
      "who sends on one that another program made, not who only receives",
      "first_exec: an executable that was never hashed is unknown until the daemon has read it; "
      "allow rules that name its path do not match it until then, those that name its digest do",
      "overlay_write: a file of an overlay's upper directory that is written to below the mount is "
      "noticed by its ctime when it is next executed, not when it is written",
  };
}

// BPF LSM would close these.
std::vector<std::string> GapsOfCgroup() {
  std::vector<std::string> gaps = {
      "libraries: what a process loads beside its executable (LD_PRELOAD, dlopen) has no identity",
      "af_packet: packet, vsock and XDP sockets and TUN devices are not refused; raw, SCTP and "
      "MPTCP "
      "sockets are",
      "af_unix: connections over AF_UNIX sockets are not judged",
      "io_uring_sqpoll: rings that a kernel thread serves are not refused to confined processes",
      "ptrace: whoever may trace a confined process may act as it",
      "script_identity: a script has the identity of its interpreter",
      "fd_passing: a socket handed to another process keeps the identity it was opened with",
      "write_invalidation: a changed executable is noticed by its ctime when it is next executed, "
      "not when it is written",
      "foreign_files: an executable that others than root can write has no identity, unless it has "
      "fs-verity: its content could change unseen",
      "self_protection: root can detach mseg's programs, change its maps and state, and kill or "
      "trace the daemon",
      "single_hook: connections are judged at the cgroup hooks only, without a second lock at the "
      "LSM hooks",
      "first_exec: an executable that was never hashed is unknown until the daemon has read it; "
      "allow rules that name a process do not match it until then",
  };
  for (std::string& gap : gaps) gap += " (needs BPF LSM)";
  return gaps;
}

std::vector<std::string> GapsOf(mseg_mode mode) {
  std::vector<std::string> gaps = GapsOfBoth();
  for (const std::string& gap : mode == MSEG_MODE_FULL ? GapsOfFull() : GapsOfCgroup()) {
    gaps.push_back(gap);
  }
  return gaps;
}

}  // namespace

Features ProbeFeatures() {
  Features features;
  auto add = [&features](std::string name, bool present, bool required, std::string costs) {
    features.list.push_back({std::move(name), present, required, std::move(costs)});
    return present;
  };
  libbpf_set_print(nullptr);
  add("bpf_syscall", MayUseBpf(), true,
      "mseg cannot run (needs root, or CAP_BPF with CAP_NET_ADMIN "
      "and CAP_PERFMON)");
  add("btf", access("/sys/kernel/btf/vmlinux", R_OK) == 0, true,
      "mseg cannot run: the kernel must be built with CONFIG_DEBUG_INFO_BTF");
  add("ringbuf", libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, nullptr) == 1, true,
      "mseg cannot run: no events");
  add("bpf_loop",
      libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_loop, nullptr) == 1, true,
      "mseg cannot run: needs kernel 5.17 or newer");
  const KernelTypes types(btf__load_vmlinux_btf());
  add("tp_btf",
      CanLoad(types, BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, "btf_trace_sched_process_exec",
              BTF_KIND_TYPEDEF),
      true, "mseg cannot run: no identity at exec");
  const bool loads =
      CanLoad(types, BPF_PROG_TYPE_LSM, BPF_LSM_MAC, "bpf_lsm_socket_connect", BTF_KIND_FUNC);
  add("lsm_programs", loads, false, "full mode: the kernel refuses LSM programs");
  const bool active = BpfLsmIsActive();
  add("lsm_active", active, false,
      "full mode: `bpf` is not among the active security modules (boot with lsm=...,bpf)");
  add("sock_destroy", CanDestroySockets(), false,
      "open connections that a new policy denies stay open: the kernel must be built with "
      "CONFIG_INET_DIAG_DESTROY and have tcp_diag and udp_diag");
  features.mode = loads && active ? MSEG_MODE_FULL : MSEG_MODE_CGROUP;
  features.gaps = GapsOf(features.mode);
  return features;
}

absl::Status Features::CheckRequired() const {
  std::vector<std::string> missing;
  for (const Feature& feature : list) {
    if (feature.required && !feature.present) {
      missing.push_back(absl::StrCat(feature.name, " (", feature.costs, ")"));
    }
  }
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this kernel or user lacks: ", absl::StrJoin(missing, "; ")));
}

}  // namespace mseg
