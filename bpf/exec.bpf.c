// SPDX-License-Identifier: Apache-2.0
/*
 * Which program does a task run?
 *
 * Answered when it is executed and never again: later an unprivileged process can change what
 * mm->exe_file says (a user namespace and PR_SET_MM_MAP), but the tracepoints below see the very
 * file that the kernel just mapped, before the first instruction of it runs. A fork inherits.
 * Threads share the record of their leader; exec by a thread makes it the leader with the leader's
 * start time. Tracepoint programs of this kind run with preemption off and cannot be entered twice
 * on one CPU by exec or fork, so none is skipped.
 *
 * What the kernel read of the file inside exec is beside it in full mode (hash.bpf.c), and which
 * script it is the interpreter of (script.bpf.c).
 *
 * Hooks: sched_process_exec, sched_process_fork, sched_process_exit.
 */
#include "task.bpf.h"
#include <bpf/bpf_tracing.h>

SEC("tp_btf/sched_process_exec")
int BPF_PROG(mseg_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	__u64 key = mseg_address_of(bprm);
	const struct mseg_exe_key *script = NULL;

	if (BPF_CORE_READ(bprm, interp) != BPF_CORE_READ(bprm, filename))
		script = bpf_map_lookup_elem(&mseg_begun, &key);
	mseg_record_task(task, BPF_CORE_READ(bprm, file), 0,
			 bpf_map_lookup_elem(&mseg_hashed, &key), script);
	bpf_map_delete_elem(&mseg_hashed, &key);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(mseg_fork, struct task_struct *parent, struct task_struct *child)
{
	struct mseg_task_key parent_key = mseg_key_of_task(parent);
	struct mseg_task_key key = mseg_key_of_task(child);
	struct mseg_task record;
	struct mseg_task *from;

	if ((__u32)BPF_CORE_READ(child, pid) != key.tgid)
		return 0; /* a thread */
	from = bpf_map_lookup_elem(&mseg_tasks, &parent_key);
	if (!from) {
		mseg_walk_task(parent);
		mseg_walk_task(child);
		return 0;
	}
	record = *from;
	record.id.tgid = key.tgid;
	if (bpf_map_update_elem(&mseg_tasks, &key, &record, BPF_ANY))
		mseg_count(MSEG_CNT_TASKS_FULL);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(mseg_exit, struct task_struct *task)
{
	struct mseg_task_key key;

	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0; /* other threads of the group still run */
	key = mseg_key_of_task(task);
	bpf_map_delete_elem(&mseg_tasks, &key);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
