/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_LISTENER_BPF_H_
#define MSEG_LISTENER_BPF_H_

/*
 * The listener table: one entry an address, kept as long as a socket stands behind it.
 */

#include "judge.bpf.h"

static __always_inline bool mseg_same_owner(const struct mseg_task *a, const struct mseg_task *b)
{
	return a->id.cgroup_id == b->id.cgroup_id && a->id.uid == b->id.uid &&
	       a->id.exe_ref == b->id.exe_ref && a->exe.ino == b->exe.ino &&
	       a->exe.dev == b->exe.dev && a->exe.path_hash == b->exe.path_hash;
}

/*
 * Two owners behind one address (SO_REUSEPORT) cannot be told apart by who connects: from then on
 * its identity is unknown, which only certain rules allow.
 */
static __always_inline bool mseg_share_listener(const struct mseg_listener_key *key,
						const struct mseg_task *owner)
{
	struct mseg_listener *there = bpf_map_lookup_elem(&mseg_listeners, key);

	if (!there)
		return false;
	__sync_fetch_and_add(&there->sockets, 1);
	if (!mseg_same_owner(&there->owner, owner)) {
		there->owner.id.flags |= MSEG_ID_AMBIGUOUS;
		mseg_listeners_changed();
	}
	return true;
}

static __always_inline void mseg_add_listener(__u64 cookie, const struct mseg_listener_key *key,
					      const struct mseg_task *owner,
					      const struct mseg_holder *holder)
{
	struct mseg_listener fresh = {};

	if (!mseg_note_listened(key->protocol, key->port) ||
	    !mseg_mark(MSEG_MARKED_LISTENING, cookie)) {
		mseg_count(MSEG_CNT_LISTENERS_FULL);
		return;
	}
	if (bpf_map_update_elem(&mseg_listening, &cookie, key, BPF_NOEXIST)) {
		if (!bpf_map_lookup_elem(&mseg_listening, &cookie))
			mseg_count(MSEG_CNT_LISTENERS_FULL);
		return; /* known already */
	}
	fresh.owner = *owner;
	fresh.holder = *holder;
	fresh.sockets = 1;
	if (!bpf_map_update_elem(&mseg_listeners, key, &fresh, BPF_NOEXIST)) {
		mseg_listeners_changed();
		return;
	}
	if (!mseg_share_listener(key, owner))
		mseg_count(MSEG_CNT_LISTENERS_FULL);
}

static __always_inline void mseg_drop_listener(__u64 cookie)
{
	struct mseg_listener_key *found = bpf_map_lookup_elem(&mseg_listening, &cookie);
	struct mseg_listener_key key;
	struct mseg_listener *listener;

	if (!found)
		return;
	key = *found;
	bpf_map_delete_elem(&mseg_listening, &cookie);
	listener = bpf_map_lookup_elem(&mseg_listeners, &key);
	if (listener && __sync_fetch_and_sub(&listener->sockets, 1) == 1)
		bpf_map_delete_elem(&mseg_listeners, &key);
	mseg_listeners_changed();
}

static __always_inline void mseg_listen(__u64 netns_cookie, __u64 cookie, struct mseg_addr addr,
					__u16 port, __u8 protocol)
{
	struct mseg_listener_key key = {};
	struct mseg_holder holder = {};
	struct mseg_task owner;

	key.netns_cookie = netns_cookie;
	key.port = port;
	key.protocol = protocol;
	__builtin_memcpy(key.addr, addr.bytes, sizeof(key.addr));
	mseg_task_facts(bpf_get_current_task(), &owner);
	mseg_hold(&holder, 0);
	mseg_add_listener(cookie, &key, &owner, &holder);
}

/* The identity behind a socket that receives: its listener entry, else whoever last sent on it. */
static __always_inline bool mseg_receiver(__u64 cookie, struct mseg_identity *out,
					  __u32 generation, bool *resolved)
{
	int found = mseg_who_receives(cookie, generation, out);

	if (found) {
		*resolved = found == 1;
		return true;
	}
	if (!mseg_socket_owner(cookie, out))
		return false;
	*resolved = mseg_resolve(out, generation);
	return true;
}

#endif /* MSEG_LISTENER_BPF_H_ */
