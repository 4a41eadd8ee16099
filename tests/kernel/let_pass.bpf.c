// SPDX-License-Identifier: Apache-2.0
/*
 * What a hook of LSM and the cgroup's hook after it do in one call, on the live maps of an instance,
 * for a connection of the test's choice.
 */
#include "judge.bpf.h"
#include "let_pass_args.h"

SEC("syscall")
int test_let_pass(struct let_pass_args *args)
{
	struct mseg_conn conn = {};
	struct mseg_task current = {};
	const struct mseg_slot *slot;

	conn.cookie = args->cookie;
	conn.peer.words[2] = args->peer_low;
	conn.peer.words[3] = args->peer_high;
	conn.peer_port = args->peer_port;
	conn.protocol = args->protocol;
	conn.proof = args->proof;
	if (args->note) {
		mseg_task_facts(bpf_get_current_task(), &current);
		current.id.uid += args->other_user;
		current.id.cgroup_id += args->other_cgroup;
		mseg_note_let_pass(&conn, &current.id, args->generation, args->wire, args->path);
		return 0;
	}
	args->passed = mseg_was_let_pass(&conn);
	args->proof = conn.proof;
	slot = mseg_slot_of(args->cookie);
	args->owned = slot && slot->owner.tgid;
	args->wire = slot ? slot->wire : 0;
	args->path = slot ? slot->path : 0;
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
