/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_PEERS_BPF_H_
#define MSEG_PEERS_BPF_H_

/*
 * Who is at the other end of a proven connection, for as long as it lives (abi.h).
 */

#include "maps.bpf.h"

static __always_inline struct mseg_peer_slot *mseg_peer_slot_of(__u64 cookie)
{
	__u32 index = cookie & (MSEG_PEER_SLOTS - 1);

	return bpf_map_lookup_elem(&mseg_peer_slots, &index);
}

/* Takes the place if it is free, or already this socket's. */
static __always_inline bool mseg_take_peer_slot(struct mseg_peer_slot *slot, __u64 cookie)
{
	return mseg_take_place(&slot->cookie, MSEG_PEER_SLOT_FREE) ||
	       mseg_take_place(&slot->cookie, cookie);
}

/* False: it could not be kept, so the connection must not live. */
static __always_inline bool mseg_remember_peer(__u64 cookie, const struct mseg_identity *peer)
{
	struct mseg_peer_slot *slot = mseg_peer_slot_of(cookie);

	if (!cookie || !mseg_mark(MSEG_MARKED_PEERS, cookie))
		return false;
	if (slot && mseg_take_peer_slot(slot, cookie)) {
		slot->peer = *peer;
		mseg_give_place(&slot->cookie, cookie);
		return true;
	}
	return !bpf_map_update_elem(&mseg_peers, &cookie, peer, BPF_ANY);
}

static __always_inline bool mseg_recall_peer(__u64 cookie, struct mseg_identity *out)
{
	const struct mseg_peer_slot *slot = mseg_peer_slot_of(cookie);
	const struct mseg_identity *elsewhere;

	if (!mseg_may_have(MSEG_MARKED_PEERS, cookie))
		return false;
	if (slot && *(volatile const __u64 *)&slot->cookie == cookie) {
		*out = slot->peer;
		return *(volatile const __u64 *)&slot->cookie == cookie;
	}
	elsewhere = bpf_map_lookup_elem(&mseg_peers, &cookie);
	if (elsewhere)
		*out = *elsewhere;
	return elsewhere;
}

static __always_inline void mseg_forget_peer(__u64 cookie)
{
	struct mseg_peer_slot *slot;

	/* Marks are close together; its place, like every other, is not at hand. */
	if (!mseg_may_have(MSEG_MARKED_PEERS, cookie))
		return;
	slot = mseg_peer_slot_of(cookie);
	if (slot && *(volatile __u64 *)&slot->cookie == cookie)
		*(volatile __u64 *)&slot->cookie = MSEG_PEER_SLOT_FREE;
	else
		bpf_map_delete_elem(&mseg_peers, &cookie);
}

#endif /* MSEG_PEERS_BPF_H_ */
