// SPDX-License-Identifier: Apache-2.0
/*
 * May this process run code of this file? (full mode)
 *
 * Asked where a Workload says `libraries: trusted`, of every file that is mapped executable there
 * but the executable itself, which has an identity: nobody but root can have written it
 * (mseg_only_root_wrote). That goes for the loader that an executable names, too. What the
 * environment tells that loader, LD_PRELOAD and LD_LIBRARY_PATH first of all, whoever executes has
 * chosen: it counts for nothing, as in a set-user-ID program. Everywhere else one look-up says that
 * nothing is asked.
 *
 * Which file is the executable says the kernel's mm->exe_file, not the task's record: exec maps its
 * files before there is one. Who changes it (PR_SET_MM) runs code of his own in the process
 * already, and gains nothing by one more file. Nor are anonymous memory and data that a process
 * makes executable asked about.
 *
 * Hooks: lsm/bprm_creds_for_exec, mmap_file, file_mprotect.
 */
#include "judge.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline __u16 mseg_asks_libraries(__u32 generation)
{
	return generation ? mseg_doors_of(bpf_get_current_cgroup_id(), generation) &
				    (MSEG_DOOR_LIBRARIES | MSEG_DOOR_LIBRARIES_TEST) : 0;
}

static __always_inline bool mseg_is_executable(struct file *file)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(file, f_inode) == BPF_CORE_READ(task, mm, exe_file, f_inode);
}

/* A function of its own: few get here. An address, for not every kernel says that it may be 0. */
static __noinline int mseg_judge_library(__u64 file_address, __u32 generation, __u16 doors)
{
	struct file *file = (void *)file_address;
	struct mseg_conn conn = { .hook = MSEG_HOOK_LSM_LIBRARY };
	struct mseg_decision d = mseg_refusal(MSEG_REASON_LIBRARY);
	struct mseg_identity self = {};

	if (!file || mseg_is_executable(file) || mseg_only_root_wrote(file))
		return 1;
	if (!(doors & MSEG_DOOR_LIBRARIES)) {
		d.verdict = MSEG_ALLOW;
		d.reason = MSEG_REASON_DEFAULT;
	}
	mseg_current(&self, generation);
	mseg_report(&conn, &self, NULL, &d, MSEG_EGRESS, 0, generation);
	if (d.verdict == MSEG_DENY)
		mseg_count(MSEG_CNT_DOOR_REFUSED);
	return d.verdict == MSEG_ALLOW;
}

static __always_inline bool mseg_may_run(struct file *file)
{
	__u32 generation = mseg_active_generation();
	__u16 doors = mseg_asks_libraries(generation);

	return !doors || mseg_judge_library(mseg_address_of(file), generation, doors);
}

SEC("lsm/mmap_file")
int BPF_PROG(mseg_lsm_mmap, struct file *file, unsigned long reqprot, unsigned long prot,
	     unsigned long flags, int ret)
{
	return ret || !(prot & PROT_EXEC) || mseg_may_run(file) ? ret : -EPERM;
}

SEC("lsm/file_mprotect")
int BPF_PROG(mseg_lsm_mprotect, struct vm_area_struct *vma, unsigned long reqprot,
	     unsigned long prot, int ret)
{
	return ret || !(prot & PROT_EXEC) || mseg_may_run(vma->vm_file) ? ret : -EPERM;
}

SEC("lsm/bprm_creds_for_exec")
int BPF_PROG(mseg_lsm_secure_exec, struct linux_binprm *bprm, int ret)
{
	if (!ret && mseg_asks_libraries(mseg_active_generation()) & MSEG_DOOR_LIBRARIES)
		bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	return ret;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
