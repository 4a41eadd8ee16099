// SPDX-License-Identifier: Apache-2.0
/*
 * What is in a file that is being executed and that nobody has read yet? (full mode)
 *
 * The kernel reads it inside exec, after its last change of mind about which file that is (for a
 * script: its interpreter) and before the point of no return. A file that is being executed cannot
 * be written, so what was read is what runs. The digest waits under the address of the exec's
 * linux_binprm, which no other exec has meanwhile, for the tracepoint that writes the task's record;
 * each exec of a managed process overwrites or removes what an earlier one left under that address.
 * docs/decisions/0006 says what a digest alone is good for.
 *
 * mseg's own programs, while mseg protects itself, are executed as if they were setuid: what the
 * dynamic linker would otherwise take from their environment (LD_PRELOAD) would act as mseg.
 *
 * Hook: lsm.s/bprm_creds_from_file.
 */
#include "task.bpf.h"
#include <bpf/bpf_tracing.h>

/* What is known of its content, if anything is. */
static __always_inline const struct mseg_exe *mseg_hash_file(__u64 bprm, struct file *file)
{
	struct mseg_digest digest = {};

	if (bpf_ima_file_hash(file, digest.sha256, sizeof(digest.sha256)) != HASH_ALGO_SHA256) {
		mseg_count(MSEG_CNT_EXEC_HASH_FAILED);
		return NULL;
	}
	if (!bpf_map_update_elem(&mseg_hashed, &bprm, &digest, BPF_ANY))
		mseg_count(MSEG_CNT_EXEC_HASHED);
	return bpf_map_lookup_elem(&mseg_digests, &digest);
}

SEC("lsm.s/bprm_creds_from_file")
int BPF_PROG(mseg_hash_exec, struct linux_binprm *bprm, struct file *file, int ret)
{
	struct mseg_exe_key exe = {};
	__u64 key = mseg_address_of(bprm);
	__u32 guard = mseg_guard_flags();
	const struct mseg_exe *known;

	bpf_map_delete_elem(&mseg_hashed, &key);
	if (ret || !(guard || mseg_current_is_managed()))
		return ret;
	mseg_read_exe_key(bprm->file, &exe);
	if (exe.flags & MSEG_FILE_UNHASHABLE)
		return 0;
	known = mseg_find_exe(&exe);
	if (!known)
		known = mseg_hash_file(key, bprm->file);
	if (known && known->roles & MSEG_ROLE_OWN && guard)
		bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
