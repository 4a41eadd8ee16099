// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_PROGRAMS_H_
#define MSEG_LOADER_PROGRAMS_H_

#include <linux/bpf.h>

#include <array>
#include "absl/strings/string_view.h"

namespace mseg {

// When a program is attached.
enum class Stage {
  kObserve,    // first: from here on nothing escapes the tables
  kEnforce,    // once a generation is in force
  kIngress,    // cgroup_skb: only while a policy needs it
  kDatagrams,  // cgroup_skb: only while datagrams carry identities
  kUnix,       // only while a Workload says `unix: judge`
  kLibraries,  // only while a Workload says `libraries: trusted`
  kGuard,      // last of all: only while mseg protects itself
  kTool,       // never attached: iterators and test-run programs, called by the daemon
};

enum class Attach { kCgroup, kTracing, kLsm, kNone };

struct ProgramSpec {
  absl::string_view name;  // in the object, and of the pins
  Attach attach;
  bpf_attach_type type;
  Stage stage;
  absl::string_view hook;  // as `msegctl status` names it
};

// Every program of the object. The order is that of mseg_manifest.tags: append only.
inline constexpr std::array kPrograms = {
    ProgramSpec{"mseg_exec", Attach::kTracing, BPF_TRACE_RAW_TP, Stage::kObserve,
                "tp_btf/sched_process_exec"},
    ProgramSpec{"mseg_fork", Attach::kTracing, BPF_TRACE_RAW_TP, Stage::kObserve,
                "tp_btf/sched_process_fork"},
    ProgramSpec{"mseg_exit", Attach::kTracing, BPF_TRACE_RAW_TP, Stage::kObserve,
                "tp_btf/sched_process_exit"},
    ProgramSpec{"mseg_cgroup_mkdir", Attach::kTracing, BPF_TRACE_RAW_TP, Stage::kObserve,
                "tp_btf/cgroup_mkdir"},
    ProgramSpec{"mseg_cgroup_rmdir", Attach::kTracing, BPF_TRACE_RAW_TP, Stage::kObserve,
                "tp_btf/cgroup_rmdir"},
    ProgramSpec{"mseg_sock_release", Attach::kCgroup, BPF_CGROUP_INET_SOCK_RELEASE, Stage::kObserve,
                "cgroup/sock_release"},
    ProgramSpec{"mseg_sockops", Attach::kCgroup, BPF_CGROUP_SOCK_OPS, Stage::kObserve, "sockops"},
    ProgramSpec{"mseg_post_bind4", Attach::kCgroup, BPF_CGROUP_INET4_POST_BIND, Stage::kObserve,
                "cgroup/post_bind4"},
    ProgramSpec{"mseg_post_bind6", Attach::kCgroup, BPF_CGROUP_INET6_POST_BIND, Stage::kObserve,
                "cgroup/post_bind6"},
    ProgramSpec{"mseg_connect4", Attach::kCgroup, BPF_CGROUP_INET4_CONNECT, Stage::kEnforce,
                "cgroup/connect4"},
    ProgramSpec{"mseg_connect6", Attach::kCgroup, BPF_CGROUP_INET6_CONNECT, Stage::kEnforce,
                "cgroup/connect6"},
    ProgramSpec{"mseg_sendmsg4", Attach::kCgroup, BPF_CGROUP_UDP4_SENDMSG, Stage::kEnforce,
                "cgroup/sendmsg4"},
    ProgramSpec{"mseg_sendmsg6", Attach::kCgroup, BPF_CGROUP_UDP6_SENDMSG, Stage::kEnforce,
                "cgroup/sendmsg6"},
    ProgramSpec{"mseg_lsm_connect", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/socket_connect"},
    ProgramSpec{"mseg_lsm_sendmsg", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/socket_sendmsg"},
    ProgramSpec{"mseg_ingress", Attach::kCgroup, BPF_CGROUP_INET_INGRESS, Stage::kIngress,
                "cgroup_skb/ingress"},
    ProgramSpec{"mseg_adopt_tasks", Attach::kNone, BPF_TRACE_ITER, Stage::kTool, "iter/task"},
    ProgramSpec{"mseg_adopt_listeners", Attach::kNone, BPF_TRACE_ITER, Stage::kTool,
                "iter/task_file"},
    ProgramSpec{"mseg_file_keys", Attach::kNone, BPF_TRACE_ITER, Stage::kTool, "iter/task_file"},
    ProgramSpec{"mseg_explain", Attach::kNone, BPF_CGROUP_INET_INGRESS, Stage::kTool, "syscall"},
    ProgramSpec{"mseg_walk_sockets", Attach::kNone, BPF_TRACE_ITER, Stage::kTool, "iter/task_file"},
    // On a map, and on the network namespaces of listeners: the loader's own business.
    ProgramSpec{"mseg_cut_send", Attach::kNone, BPF_SK_MSG_VERDICT, Stage::kTool, "sk_msg"},
    ProgramSpec{"mseg_cut_receive", Attach::kNone, BPF_SK_SKB_STREAM_VERDICT, Stage::kTool,
                "sk_skb/stream_verdict"},
    ProgramSpec{"mseg_refuse_lookup", Attach::kNone, BPF_SK_LOOKUP, Stage::kTool, "sk_lookup"},
    ProgramSpec{"mseg_hash_exec", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve,
                "lsm.s/bprm_creds_from_file"},
    ProgramSpec{"mseg_file_open", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve, "lsm/file_open"},
    ProgramSpec{"mseg_path_truncate", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve,
                "lsm/path_truncate"},
    ProgramSpec{"mseg_sock_create", Attach::kCgroup, BPF_CGROUP_INET_SOCK_CREATE, Stage::kEnforce,
                "cgroup/sock_create"},
    ProgramSpec{"mseg_lsm_socket_create", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/socket_create"},
    ProgramSpec{"mseg_lsm_tun_create", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/tun_dev_create"},
    ProgramSpec{"mseg_lsm_tun_open", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/tun_dev_open"},
    ProgramSpec{"mseg_lsm_sqpoll", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce, "lsm/uring_sqpoll"},
    ProgramSpec{"mseg_lsm_file_receive", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/file_receive"},
    ProgramSpec{"mseg_lsm_receive_kind", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/file_receive"},
    ProgramSpec{"mseg_lsm_ptrace", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/ptrace_access_check"},
    ProgramSpec{"mseg_lsm_traceme", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/ptrace_traceme"},
    ProgramSpec{"mseg_guard_map", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/bpf_map"},
    ProgramSpec{"mseg_guard_bpf", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/bpf"},
    ProgramSpec{"mseg_guard_unlink", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/inode_unlink"},
    ProgramSpec{"mseg_guard_rmdir", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/inode_rmdir"},
    ProgramSpec{"mseg_guard_rename", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/inode_rename"},
    ProgramSpec{"mseg_guard_create", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/inode_create"},
    ProgramSpec{"mseg_guard_link", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/inode_link"},
    ProgramSpec{"mseg_guard_open", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/file_open"},
    ProgramSpec{"mseg_guard_truncate", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard,
                "lsm/path_truncate"},
    ProgramSpec{"mseg_guard_umount", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/sb_umount"},
    ProgramSpec{"mseg_guard_kill", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/task_kill"},
    ProgramSpec{"mseg_guard_ptrace", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard,
                "lsm/ptrace_access_check"},
    ProgramSpec{"mseg_see_script", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve,
                "lsm.s/bprm_check_security"},
    ProgramSpec{"mseg_lsm_send_held", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/socket_sendmsg"},
    ProgramSpec{"mseg_lsm_accept", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/socket_accept"},
    ProgramSpec{"mseg_lsm_unix_bind", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve,
                "lsm/socket_bind"},
    ProgramSpec{"mseg_lsm_unix_listen", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve,
                "lsm/socket_listen"},
    ProgramSpec{"mseg_lsm_unix_connect", Attach::kLsm, BPF_LSM_MAC, Stage::kUnix,
                "lsm/unix_stream_connect"},
    ProgramSpec{"mseg_lsm_unix_send", Attach::kLsm, BPF_LSM_MAC, Stage::kUnix,
                "lsm/unix_may_send"},
    ProgramSpec{"mseg_lsm_bpf", Attach::kLsm, BPF_LSM_MAC, Stage::kGuard, "lsm/bpf"},
    ProgramSpec{"mseg_lsm_secure_exec", Attach::kLsm, BPF_LSM_MAC, Stage::kLibraries,
                "lsm/bprm_creds_for_exec"},
    ProgramSpec{"mseg_lsm_mmap", Attach::kLsm, BPF_LSM_MAC, Stage::kLibraries, "lsm/mmap_file"},
    ProgramSpec{"mseg_lsm_unix_pair", Attach::kLsm, BPF_LSM_MAC, Stage::kObserve,
                "lsm/socket_socketpair"},
    ProgramSpec{"mseg_lsm_pair_send", Attach::kLsm, BPF_LSM_MAC, Stage::kEnforce,
                "lsm/socket_sendmsg"},
    ProgramSpec{"mseg_lsm_mprotect", Attach::kLsm, BPF_LSM_MAC, Stage::kLibraries,
                "lsm/file_mprotect"},
    ProgramSpec{"mseg_collect_flows", Attach::kNone, BPF_CGROUP_INET_INGRESS, Stage::kTool,
                "syscall"},
    ProgramSpec{"mseg_ingress_connected", Attach::kCgroup, BPF_CGROUP_INET_INGRESS,
                Stage::kDatagrams, "cgroup_skb/ingress"},
    // On devices: loader/device_filters.
    ProgramSpec{"mseg_tc_ingress", Attach::kNone, BPF_CGROUP_INET_INGRESS, Stage::kTool, "tc"},
    ProgramSpec{"mseg_tc_egress", Attach::kNone, BPF_CGROUP_INET_INGRESS, Stage::kTool, "tc"},
};

// Index into kPrograms; the name must be one of its.
constexpr size_t ProgramIndex(absl::string_view name) {
  size_t i = 0;
  while (kPrograms[i].name != name) i++;
  return i;
}

}  // namespace mseg

#endif  // MSEG_LOADER_PROGRAMS_H_
