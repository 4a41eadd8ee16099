/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_IDENTITY_BPF_H_
#define MSEG_IDENTITY_BPF_H_

/*
 * Facts (cgroup, executable, user) -> label id and class of the active generation.
 */

#include "task.bpf.h"
#include "mseg/decide.h"

static __always_inline __u32 mseg_active_generation(void)
{
	__u32 zero = 0;
	const struct mseg_active *active = bpf_map_lookup_elem(&mseg_active, &zero);

	return active ? *(volatile const __u32 *)&active->generation : 0;
}

/*
 * The fall-back chain of abi.h. Look-ups that an earlier one already made are left out. One key for
 * all: 6.1 counts the stack of whoever calls deepest.
 */
static __always_inline const struct mseg_identity_value *
mseg_identity_chain(__u64 cgroup, __u64 exe, __u32 user, __u32 side)
{
	struct mseg_identity_key key = {
		.cgroup = cgroup, .exe = exe, .user = user, .side = side,
	};
	const struct mseg_identity_value *value;

	for (int i = 0; i < 2; i++) {
		value = bpf_map_lookup_elem(&mseg_identities, &key);
		if (value)
			return value;
		if (user != MSEG_USER_OTHER) {
			key.user = MSEG_USER_OTHER;
			value = bpf_map_lookup_elem(&mseg_identities, &key);
		}
		if (value || exe == MSEG_EXE_OTHER)
			return value;
		key.exe = MSEG_EXE_OTHER;
		key.user = user;
	}
	return NULL;
}

static __always_inline __u64 mseg_cgroup_class(__u64 cgroup_id, __u32 side)
{
	struct mseg_cgroup_key key = { .id = cgroup_id, .side = side };
	const struct mseg_cgroup *cgroup = bpf_map_lookup_elem(&mseg_cgroups, &key);

	return cgroup ? cgroup->cls : MSEG_CGROUP_PENDING;
}

static __always_inline __u64 mseg_exe_class(const struct mseg_identity *id, __u32 side)
{
	struct mseg_exe_class_key key = { .ref = id->exe_ref, .grade = id->grade, .side = side };
	const __u64 *cls;

	if (!id->exe_ref)
		return MSEG_EXE_UNKNOWN;
	cls = bpf_map_lookup_elem(&mseg_exe_classes, &key);
	return cls ? *cls : MSEG_EXE_OTHER;
}

static __always_inline __u32 mseg_user_class(__u32 uid, __u32 side)
{
	struct mseg_user_key key = { .uid = uid, .side = side };
	const __u32 *cls = bpf_map_lookup_elem(&mseg_users, &key);

	return cls ? *cls : MSEG_USER_OTHER;
}

/*
 * Global functions from here on: every hook asks who somebody is, some more than once, and the
 * verifier looks at them once in each hook.
 */
__weak __noinline int mseg_resolve_anew(struct mseg_identity *id, __u32 generation)
{
	const struct mseg_identity_value *value;
	__u64 cgroup, exe, word;
	__u32 user;

	if (!id)
		return 0;
	cgroup = mseg_cgroup_class(id->cgroup_id, MSEG_SIDE(generation));
	barrier_var(generation); /* the side is made anew, not kept: a frame of 32 bytes */
	exe = mseg_exe_class(id, MSEG_SIDE(generation));
	barrier_var(generation);
	if (id->flags & MSEG_ID_AMBIGUOUS) {
		cgroup = MSEG_CGROUP_PENDING;
		exe = MSEG_EXE_UNKNOWN;
	}
	user = mseg_user_class(id->uid, MSEG_SIDE(generation));
	barrier_var(generation);
	value = mseg_identity_chain(cgroup, exe, user, MSEG_SIDE(generation));
	if (!value)
		return 0;
	*(volatile __u64 *)&id->label_id = value->label_id;
	word = (__u64)value->cls << 32 | generation;
	*(volatile __u64 *)&id->generation = word;
	return 1;
}

/*
 * Fills in label id, class and generation. False: the tables have no answer, which is a fault of
 * theirs; the caller denies.
 */
static __always_inline bool mseg_resolve(struct mseg_identity *id, __u32 generation)
{
	return id->generation == generation || mseg_resolve_anew(id, generation);
}

/*
 * What is known of a process (the address of its struct task_struct), not resolved; a record is made
 * up for one that has none.
 */
__weak __noinline int mseg_task_facts(__u64 address, struct mseg_task *out)
{
	struct task_struct *task = (void *)address;
	struct mseg_task_key key = mseg_key_of_task(task);
	struct mseg_task *record = bpf_map_lookup_elem(&mseg_tasks, &key);

	if (!out)
		return 0;
	if (record) {
		*out = *record;
	} else {
		__builtin_memset(out, 0, sizeof(*out));
		out->id.tgid = key.tgid;
		out->id.flags = MSEG_ID_NO_RECORD;
		out->exe.flags = MSEG_FILE_UNLINKED; /* never to be found in the cache */
		if (BPF_CORE_READ(task, flags) & PF_KTHREAD) {
			out->id.flags |= MSEG_ID_KERNEL;
			out->id.exe_ref = MSEG_EXE_REF_KERNEL;
			out->id.grade = MSEG_GRADE_PATH;
		}
	}
	out->id.cgroup_id = mseg_cgroup_of_task(task);
	out->id.uid = BPF_CORE_READ(task, cred, uid.val);
	out->id.generation = 0;
	return 1;
}

/*
 * The identity of the current process, resolved, as a copy. Its record is brought up to date first:
 * an executable that has been hashed since, a move to another cgroup, another user. The record is
 * replaced as a whole then, because another thread may be reading it. 1, or 0 for a fault of the
 * tables.
 */
__weak __noinline int mseg_current(struct mseg_identity *out, __u32 generation)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mseg_task_key key = mseg_key_of_current(task);
	__u64 cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	__u32 uid = task->cred->uid.val;
	struct mseg_task *record = bpf_map_lookup_elem(&mseg_tasks, &key);

	if (!out)
		return 0;
	if (!record || record->id.cgroup_id != cgroup_id || record->id.uid != uid ||
	    mseg_exe_may_change(&record->id)) {
		struct mseg_task fresh;

		mseg_task_facts(mseg_address_of(task), &fresh);
		if (!record && !(fresh.id.flags & MSEG_ID_KERNEL))
			mseg_count(MSEG_CNT_NO_TASK);
		else if (mseg_exe_may_change(&fresh.id))
			mseg_apply_exe(&fresh.id, &fresh.exe);
		*out = fresh.id;
		if (!mseg_resolve(&fresh.id, generation))
			return 0;
		if (record)
			bpf_map_update_elem(&mseg_tasks, &key, &fresh, BPF_EXIST);
		*out = fresh.id;
		return 1;
	}
	if (!mseg_resolve(&record->id, generation))
		return false;
	*out = record->id;
	/* The record may have moved on to a newer generation between the two lines above. */
	return out->generation == generation || mseg_resolve(out, generation);
}

/* What the Workloads of its cgroup say. */
static __always_inline __u16 mseg_doors_of(__u64 cgroup_id, __u32 generation)
{
	struct mseg_cgroup_key key = { .id = cgroup_id, .side = MSEG_SIDE(generation) };
	const struct mseg_cgroup *cgroup = bpf_map_lookup_elem(&mseg_cgroups, &key);

	return cgroup ? cgroup->doors : 0;
}

/* The identity of a listening process in this generation, as a copy. 1, or 0 as above. */
__weak __noinline int mseg_owner(struct mseg_listener *listener, struct mseg_identity *out,
				 __u32 generation)
{
	struct mseg_task *owner;

	if (!listener || !out)
		return 0;
	owner = &listener->owner;

	/* A copy: the entry may be another one's by the time that it was written to. */
	*out = owner->id;
	out->generation = 0;
	if (mseg_exe_may_change(&owner->id) || owner->id.flags & MSEG_ID_AMBIGUOUS) {
		/* As well: 6.1 takes no key from memory that a global function was given. */
		struct mseg_exe_key exe = owner->exe;

		mseg_apply_exe(out, &exe);
	}
	return mseg_resolve(out, generation);
}

#endif /* MSEG_IDENTITY_BPF_H_ */
