// SPDX-License-Identifier: Apache-2.0
/*
 * Which script does an interpreter run? (full mode)
 *
 * The kernel opens the file whose `#!` line it follows, and asks here before it turns to the
 * interpreter; what that opens later is only a name. So the script counts only if the name must lead
 * the interpreter to the very file that was seen here: it is the file's own path, without a link or a
 * working directory on the way; the daemon vouches for the path, which only root can have made and
 * can change (a script can be written while it runs, an executable cannot); nobody shares the
 * process' root directory or traces it. Otherwise the process is an interpreter of who knows what.
 * docs/decisions/0012 has the rest.
 *
 * The key waits under the address of the exec's linux_binprm for the tracepoint that writes the
 * task's record. A script whose interpreter is a script says nothing: the inner one is what runs.
 *
 * Hook: lsm.s/bprm_check_security, once for each file that exec turns to.
 */
#include "task.bpf.h"
#include <bpf/bpf_tracing.h>

/* /bin and /sbin are links to what is below /usr, and nobody but root makes links in /. */
static __always_inline __u32 mseg_usr_prefix(const struct mseg_script_event *event)
{
	const char *path = event->path, *name = event->name;
	__u32 at = 1;

	if (path[1] != 'u' || path[2] != 's' || path[3] != 'r' || path[4] != '/')
		return 0;
	if (name[at] == 's')
		at++;
	return name[at] == 'b' && name[at + 1] == 'i' && name[at + 2] == 'n' &&
			       name[at + 3] == '/' ?
		       4 : 0;
}

struct mseg_name_walk {
	const struct mseg_script_event *event;
	__u32 skip; /* in the path */
	__u32 same;
};

/* One character of both; ends with the name, or where they differ. */
static long mseg_name_step(__u32 index, void *ctx)
{
	struct mseg_name_walk *walk = ctx;
	char c = walk->event->path[(index + walk->skip) & (MSEG_SCRIPT_PATH - 1)];

	if (walk->event->name[index & (MSEG_SCRIPT_PATH - 1)] != c)
		return 1;
	walk->same = !c;
	return !c;
}

static __always_inline bool mseg_name_is_path(const struct mseg_script_event *event)
{
	struct mseg_name_walk walk = { .event = event, .skip = mseg_usr_prefix(event) };

	bpf_loop(MSEG_SCRIPT_PATH - 4, mseg_name_step, &walk, 0);
	return walk.same;
}

static __always_inline bool mseg_read_name(struct linux_binprm *bprm,
					   struct mseg_script_event *event)
{
	return bpf_d_path(&bprm->file->f_path, event->path, sizeof(event->path)) > 0 &&
	       bpf_probe_read_kernel_str(event->name, sizeof(event->name), bprm->filename) > 0 &&
	       event->name[0] == '/' && mseg_name_is_path(event);
}

static __always_inline void mseg_begin_script(struct linux_binprm *bprm, __u64 key)
{
	struct mseg_script_event *event;
	struct mseg_exe_key script = {};

	if (bprm->unsafe & (LSM_UNSAFE_SHARE | LSM_UNSAFE_PTRACE))
		return;
	mseg_read_exe_key(bprm->file, &script);
	if (script.flags & (MSEG_FILE_UNHASHABLE | MSEG_FILE_NO_PATH))
		return;
	event = bpf_ringbuf_reserve(&mseg_control, sizeof(*event), 0);
	if (!event) {
		mseg_count(MSEG_CNT_CONTROL_EVENTS_LOST);
		return;
	}
	event->type = MSEG_EVENT_SCRIPT;
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	event->script = script;
	if (!mseg_read_name(bprm, event)) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return;
	}
	bpf_map_update_elem(&mseg_begun, &key, &script, BPF_ANY);
	if (mseg_find_exe(&script))
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

SEC("lsm.s/bprm_check_security")
int BPF_PROG(mseg_see_script, struct linux_binprm *bprm, int ret)
{
	__u64 key = mseg_address_of(bprm);
	bool first = bprm->interp == bprm->filename;
	bool script = bprm->buf[0] == '#' && bprm->buf[1] == '!';

	if (first || script)
		bpf_map_delete_elem(&mseg_begun, &key);
	if (!ret && first && script)
		mseg_begin_script(bprm, key);
	return ret;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
