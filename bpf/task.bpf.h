/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TASK_BPF_H_
#define MSEG_TASK_BPF_H_

/*
 * Tasks and their records. A record belongs to a thread group and is keyed by the leader's pid and
 * start time, so it works in every program type of every supported kernel and a reused pid finds
 * nothing (docs/decisions/0002-task-records.md).
 */

#include "file.bpf.h"

static __always_inline struct mseg_task_key mseg_key_of_task(struct task_struct *task)
{
	struct mseg_task_key key = {};

	key.tgid = BPF_CORE_READ(task, tgid);
	key.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	return key;
}

/*
 * The same of the current task, whose fields need no helper to be read (its pointer is typed): what
 * every connect pays.
 */
static __always_inline struct mseg_task_key mseg_key_of_current(struct task_struct *current)
{
	struct mseg_task_key key = {};

	key.tgid = current->tgid;
	key.start_ns = current->group_leader->start_boottime;
	return key;
}

static __always_inline __u64 mseg_cgroup_of_task(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

/* Is this cgroup-v2 group the managed root or below it? */
static __always_inline bool mseg_cgroup_is_managed(struct cgroup *cgrp)
{
	struct cgroup *ancestor = NULL;
	__u32 level = mseg_cgroup_root_level;

	if (BPF_CORE_READ(cgrp, root, hierarchy_id) != 0)
		return false;
	if ((__u32)BPF_CORE_READ(cgrp, level) < level)
		return false;
	bpf_core_read(&ancestor, sizeof(ancestor), &cgrp->ancestors[level]);
	return ancestor && BPF_CORE_READ(ancestor, kn, id) == mseg_cgroup_root_id;
}

static __always_inline bool mseg_task_is_managed(struct task_struct *task)
{
	return mseg_cgroup_is_managed(BPF_CORE_READ(task, cgroups, dfl_cgrp));
}

/* The same of the current task, at a tenth of the instructions. */
static __always_inline bool mseg_current_is_managed(void)
{
	return bpf_get_current_ancestor_cgroup_id(mseg_cgroup_root_level) == mseg_cgroup_root_id;
}

/* The cache's entry, unless the file was written to since it was hashed. */
static __always_inline const struct mseg_exe *mseg_find_exe(const struct mseg_exe_key *key)
{
	struct mseg_inode_key inode = {
		.ino = key->ino, .dev = key->dev, .generation = key->generation,
	};
	const __u64 *written;

	if (mseg_full_mode) {
		written = bpf_map_lookup_elem(&mseg_written, &inode);
		if (!written || *(volatile const __u64 *)written)
			return NULL;
	}
	return bpf_map_lookup_elem(&mseg_exes, key);
}

/* A known interpreter becomes the pair of it and its script, once that is known, too. */
static __always_inline void mseg_apply_script(struct mseg_identity *id,
					      const struct mseg_exe *script)
{
	struct mseg_script_key key = { .interpreter = id->exe_ref };
	const struct mseg_exe *found;

	if (!script || id->script != MSEG_SCRIPT_PENDING)
		return;
	key.script = script->ref;
	found = bpf_map_lookup_elem(&mseg_scripts, &key);
	if (!found)
		return;
	id->script = MSEG_SCRIPT_KNOWN;
	id->exe_id = found->exe_id;
	id->exe_ref = found->ref;
	if (id->grade > found->grade)
		id->grade = found->grade;
}

/*
 * What the cache says of an executable; a file that cannot be vouched for stays unknown. What the
 * digest said at exec holds until the cache knows better. Returns the executable's roles.
 */
static __always_inline __u8 mseg_apply_exe(struct mseg_identity *id,
					   const struct mseg_exe_key *key)
{
	const struct mseg_exe *exe = NULL;

	if (!(key->flags & MSEG_FILE_UNHASHABLE))
		exe = mseg_find_exe(key);
	if (id->script) {
		mseg_apply_script(id, exe);
		return 0;
	}
	if (!exe && id->flags & MSEG_ID_DIGEST_ONLY)
		return 0;
	id->exe_id = 0;
	id->exe_ref = 0;
	id->grade = MSEG_GRADE_UNKNOWN;
	if (!exe)
		return 0;
	id->flags &= ~MSEG_ID_DIGEST_ONLY;
	id->exe_id = exe->exe_id;
	id->exe_ref = exe->ref;
	id->grade = exe->grade;
	if (id->flags & MSEG_ID_WALKED && id->grade > MSEG_GRADE_PATH)
		id->grade = MSEG_GRADE_PATH;
	return exe->roles;
}

/* May what is known of the executable still become more? */
static __always_inline bool mseg_exe_may_change(const struct mseg_identity *id)
{
	return !id->exe_ref || id->flags & MSEG_ID_DIGEST_ONLY ||
	       id->script == MSEG_SCRIPT_PENDING;
}

/* The kernel read this while the file could not be written: who it is, if policy knows the digest. */
static __always_inline __u8 mseg_apply_digest(struct mseg_task *task,
					      const struct mseg_digest *digest)
{
	const struct mseg_exe *exe = bpf_map_lookup_elem(&mseg_digests, digest);

	if (!exe || task->exe.flags & MSEG_FILE_UNHASHABLE)
		return 0;
	task->id.exe_id = exe->exe_id;
	task->id.exe_ref = exe->ref;
	task->id.grade = MSEG_GRADE_IMA;
	task->id.flags |= MSEG_ID_DIGEST_ONLY;
	return exe->roles;
}

/* Does it see the files that the daemon sees? Elsewhere, libraries are what somebody put there. */
static __always_inline bool mseg_sees_host(struct task_struct *task)
{
	struct vfsmount *root = BPF_CORE_READ(task, fs, root.mnt);
	struct mount *mount = (void *)root - bpf_core_field_offset(struct mount, mnt);
	__u32 zero = 0;
	const struct mseg_config *config = bpf_map_lookup_elem(&mseg_config, &zero);

	return config && BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) == config->mount_ns &&
	       (__u32)BPF_CORE_READ(mount, mnt_id) == config->root_mount &&
	       BPF_CORE_READ(task, fs, root.dentry) == BPF_CORE_READ(root, mnt_root);
}

/*
 * The roles of a task whose executable has these. None where somebody else steers it from its first
 * instruction on. One that is older than mseg is never mseg's own: what it runs is what it says.
 */
static __always_inline __u8 mseg_roles_of(struct task_struct *task, __u8 flags, __u8 roles)
{
	if (!roles || BPF_CORE_READ(task, ptrace))
		return 0;
	return flags & MSEG_ID_WALKED || !mseg_sees_host(task) ? roles & MSEG_ROLE_LOADER : roles;
}

static __always_inline void mseg_report_exe(const struct mseg_task *task,
					    const struct mseg_digest *digest,
					    const struct mseg_exe_key *script)
{
	struct mseg_exe_event *event;

	if (task->exe.flags & MSEG_FILE_UNHASHABLE)
		return;
	event = bpf_ringbuf_reserve(&mseg_control, sizeof(*event), 0);
	if (!event) {
		mseg_count(MSEG_CNT_CONTROL_EVENTS_LOST);
		return;
	}
	event->type = MSEG_EVENT_EXE;
	event->tgid = task->id.tgid;
	event->exe = task->exe;
	if (script)
		event->script = *script;
	else
		__builtin_memset(&event->script, 0, sizeof(event->script));
	if (digest)
		event->ima = *digest;
	else
		__builtin_memset(&event->ima, 0, sizeof(event->ima));
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

/*
 * `file` is what the task runs from now on, `digest` what the kernel read of it, `script` what it is
 * the interpreter of, either may be NULL. A record that cannot be written must not stay old.
 */
static __always_inline void mseg_record_task(struct task_struct *task, struct file *file,
					     __u8 flags, const struct mseg_digest *digest,
					     const struct mseg_exe_key *script)
{
	struct mseg_task_key key = mseg_key_of_task(task);
	struct mseg_task record = {};
	__u8 roles;

	record.id.tgid = key.tgid;
	record.id.flags = flags;
	mseg_read_exe_key(file, &record.exe);
	roles = mseg_apply_exe(&record.id, &record.exe);
	if (digest && !record.id.exe_ref)
		roles = mseg_apply_digest(&record, digest);
	record.id.roles = mseg_roles_of(task, flags, roles);
	/* Of an interpreter that nobody has read yet nothing can be a script. */
	if (script && !mseg_exe_may_change(&record.id)) {
		record.id.script = MSEG_SCRIPT_PENDING;
		mseg_apply_script(&record.id, mseg_find_exe(script));
	}
	if (mseg_exe_may_change(&record.id))
		mseg_report_exe(&record, digest, script);
	if (script && record.id.script)
		record.exe = *script;
	if (bpf_map_update_elem(&mseg_tasks, &key, &record, BPF_ANY)) {
		bpf_map_delete_elem(&mseg_tasks, &key);
		mseg_count(MSEG_CNT_TASKS_FULL);
	}
}

/*
 * For a task that is older than mseg: all that is left is what it says it runs. A thread of the
 * kernel's may be using somebody's memory, and runs nothing.
 */
static __always_inline void mseg_walk_task(struct task_struct *task)
{
	struct mseg_task_key key = mseg_key_of_task(task);
	struct file *file = BPF_CORE_READ(task, mm, exe_file);

	if (file && !(BPF_CORE_READ(task, flags) & PF_KTHREAD) && !bpf_map_lookup_elem(&mseg_tasks, &key))
		mseg_record_task(task, file, MSEG_ID_WALKED, NULL, NULL);
}

static __always_inline bool mseg_is_daemon_key(struct mseg_task_key key)
{
	__u32 zero = 0;
	const struct mseg_config *config = bpf_map_lookup_elem(&mseg_config, &zero);

	return config && key.tgid == config->daemon.tgid &&
	       key.start_ns == config->daemon.start_ns;
}

static __always_inline bool mseg_is_daemon(struct task_struct *task)
{
	return mseg_is_daemon_key(mseg_key_of_task(task));
}

static __always_inline bool mseg_current_is_daemon(void)
{
	return mseg_is_daemon_key(mseg_key_of_current(bpf_get_current_task_btf()));
}

static __always_inline __u32 mseg_guard_flags(void)
{
	__u32 zero = 0;
	const struct mseg_config *config = bpf_map_lookup_elem(&mseg_config, &zero);

	return config ? config->guard : 0;
}

#endif /* MSEG_TASK_BPF_H_ */
