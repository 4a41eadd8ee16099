// SPDX-License-Identifier: Apache-2.0
/*
 * Is there another way out than a connection that can be judged? (full mode)
 *
 * Sockets of a kind that no other hook sees an address of (packet, raw, vsock, SCTP, MPTCP, XDP and
 * whatever family comes next: what is not known to be judged counts as not judged), TUN devices,
 * io_uring's kernel threads, and another process' memory. All of it is asked in the process that
 * asks for it, before it has it, and answered by what policy says of peers that nobody knows
 * (doors.bpf.h). Sockets that the kernel makes for itself are not asked.
 *
 * A BPF program is such a door, too: it could send, change or redirect what mseg has judged. That one
 * is attached only while mseg protects itself: else who may load programs may detach mseg's.
 *
 * Hooks: lsm/socket_create, tun_dev_create, tun_dev_open, uring_sqpoll, bpf, ptrace_access_check,
 * ptrace_traceme.
 */
#include "doors.bpf.h"
#include <bpf/bpf_tracing.h>

SEC("lsm/socket_create")
int BPF_PROG(mseg_lsm_socket_create, int family, int type, int protocol, int kern, int ret)
{
	if (ret || kern)
		return ret;
	return mseg_kind_is_open(MSEG_HOOK_LSM_SOCKET_CREATE, family, type, protocol) ? 0 : -EPERM;
}

SEC("lsm/tun_dev_create")
int BPF_PROG(mseg_lsm_tun_create, int ret)
{
	return ret || mseg_door_is_open(MSEG_HOOK_LSM_TUN, 0, 0, 0, 0) ? ret : -EPERM;
}

SEC("lsm/tun_dev_open")
int BPF_PROG(mseg_lsm_tun_open, void *security, int ret)
{
	return ret || mseg_door_is_open(MSEG_HOOK_LSM_TUN, 0, 0, 0, 0) ? ret : -EPERM;
}

SEC("lsm/uring_sqpoll")
int BPF_PROG(mseg_lsm_sqpoll, int ret)
{
	return ret || mseg_door_is_open(MSEG_HOOK_LSM_SQPOLL, 0, 0, 0, 0) ? ret : -EPERM;
}

/* What container runtimes and init systems load for their cgroups touches no traffic. */
static __always_inline bool mseg_bpf_is_harmless(__u32 type)
{
	return type == BPF_PROG_TYPE_CGROUP_DEVICE || type == BPF_PROG_TYPE_CGROUP_SYSCTL;
}

SEC("lsm/bpf")
int BPF_PROG(mseg_lsm_bpf, int cmd, const void *argument)
{
	const union mseg_bpf_attr *attr = argument;
	__u32 type = 0;

	if (cmd != BPF_PROG_LOAD)
		return 0;
	bpf_probe_read_kernel(&type, sizeof(type), &attr->load.prog_type);
	return mseg_bpf_is_harmless(type) ||
			       mseg_door_is_open(MSEG_HOOK_LSM_BPF, 0, 0, 0, MSEG_DOOR_BPF) ?
		       0 : -EPERM;
}

/* Who reaches into a confined process could act as it; only its own kind may. */
static __noinline int mseg_may_trace(__u64 tracer_address, __u64 traced_address)
{
	struct task_struct *tracer = (void *)tracer_address, *traced = (void *)traced_address;
	__u32 generation = mseg_active_generation();
	struct mseg_conn conn = { .hook = MSEG_HOOK_LSM_PTRACE };
	struct mseg_task by = {}, task = {};
	struct mseg_decision d;

	if (!generation || !mseg_task_is_managed(traced) || mseg_is_daemon(tracer))
		return 1;
	mseg_task_facts(traced_address, &task);
	mseg_task_facts(tracer_address, &by);
	if (!mseg_resolve(&task.id, generation) || !mseg_resolve(&by.id, generation))
		d = mseg_refusal(MSEG_REASON_NO_ROW);
	else if (task.id.cls == by.id.cls)
		return 1;
	else
		d = mseg_judge_class(task.id.cls, MSEG_SIDE(generation));
	if (d.verdict == MSEG_ALLOW && d.would_be == MSEG_ALLOW)
		return 1;
	mseg_report(&conn, &task.id, &by.id, &d, MSEG_INGRESS, 0, generation);
	if (d.verdict == MSEG_DENY)
		mseg_count(MSEG_CNT_DOOR_REFUSED);
	return d.verdict == MSEG_ALLOW;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(mseg_lsm_ptrace, struct task_struct *child, unsigned int mode, int ret)
{
	if (ret || !(mode & PTRACE_MODE_ATTACH))
		return ret;
	return mseg_may_trace(bpf_get_current_task(), mseg_address_of(child)) ? 0 : -EPERM;
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(mseg_lsm_traceme, struct task_struct *parent, int ret)
{
	if (ret)
		return ret;
	return mseg_may_trace(mseg_address_of(parent), bpf_get_current_task()) ? 0 : -EPERM;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
