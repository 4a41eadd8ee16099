// SPDX-License-Identifier: Apache-2.0
/*
 * Which labels does a new cgroup carry?
 *
 * Its parent's, unless some selector might match it: then it waits as MSEG_CGROUP_PENDING, labels
 * unknown, until the daemon has looked at its name. Both sides are written, because the side that
 * is being prepared may be in force the next moment; classes are derived from their meaning, so a
 * value of an older generation is at worst not found.
 *
 * Hooks: cgroup_mkdir, cgroup_rmdir.
 */
#include "task.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline void mseg_report_cgroup(__u64 id, __u32 removed)
{
	struct mseg_cgroup_event *event;

	event = bpf_ringbuf_reserve(&mseg_control, sizeof(*event), 0);
	if (!event) {
		mseg_count(MSEG_CNT_CONTROL_EVENTS_LOST);
		return;
	}
	event->type = MSEG_EVENT_CGROUP;
	event->removed = removed;
	event->id = id;
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

static __always_inline void mseg_inherit_cgroup(__u64 id, __u64 parent_id, __u32 side)
{
	struct mseg_cgroup_key parent_key = { .id = parent_id, .side = side };
	struct mseg_cgroup_key key = { .id = id, .side = side };
	struct mseg_cgroup value = { .cls = MSEG_CGROUP_PENDING, .watch = 1 };
	struct mseg_cgroup *parent = bpf_map_lookup_elem(&mseg_cgroups, &parent_key);

	if (parent && !parent->watch)
		value = *parent;
	else if (parent)
		value.doors = parent->doors;
	/* Absent reads as pending, so a full map is counted and stays safe. */
	if (bpf_map_update_elem(&mseg_cgroups, &key, &value, BPF_ANY))
		mseg_count(MSEG_CNT_CGROUPS_FULL);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(mseg_cgroup_mkdir, struct cgroup *cgrp, const char *path)
{
	int level = BPF_CORE_READ(cgrp, level);
	struct cgroup *parent = NULL;
	__u64 id, parent_id;

	if (!mseg_cgroup_is_managed(cgrp) || level < 1)
		return 0;
	bpf_core_read(&parent, sizeof(parent), &cgrp->ancestors[level - 1]);
	id = BPF_CORE_READ(cgrp, kn, id);
	parent_id = BPF_CORE_READ(parent, kn, id);
	mseg_inherit_cgroup(id, parent_id, 0);
	mseg_inherit_cgroup(id, parent_id, 1);
	mseg_report_cgroup(id, 0);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(mseg_cgroup_rmdir, struct cgroup *cgrp, const char *path)
{
	struct mseg_cgroup_key key = {};

	if (!mseg_cgroup_is_managed(cgrp))
		return 0;
	key.id = BPF_CORE_READ(cgrp, kn, id);
	bpf_map_delete_elem(&mseg_cgroups, &key);
	key.side = 1;
	bpf_map_delete_elem(&mseg_cgroups, &key);
	mseg_report_cgroup(key.id, 1);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
