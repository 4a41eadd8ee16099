/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_ACCEPTED_BPF_H_
#define MSEG_ACCEPTED_BPF_H_

/* Whose is a connection that was accepted, and who uses it (abi.h). */

#include "judge.bpf.h"

static __always_inline struct mseg_accepted *mseg_accepted_place(__u64 cookie)
{
	__u32 index = cookie & (MSEG_ACCEPTED - 1);

	return bpf_map_lookup_elem(&mseg_accepted, &index);
}

static __always_inline bool mseg_is_on_record(const struct mseg_accepted *place, __u64 cookie)
{
	return place && *(volatile const __u64 *)&place->cookie == cookie;
}

/* Whoever is writing there already goes first. */
static __always_inline bool mseg_take_accepted(struct mseg_accepted *place, __u64 *was)
{
	*was = place ? *(volatile __u64 *)&place->cookie : MSEG_COOKIE_BUSY;
	return place && mseg_take_place(&place->cookie, *was);
}

/* It is established, and the listener's: whoever listens there later has nothing to do with it. */
static __always_inline void mseg_accepted_by(__u64 cookie, const struct mseg_listener *listener)
{
	struct mseg_accepted *place = mseg_accepted_place(cookie);
	__u64 was;

	if (!mseg_take_accepted(place, &was))
		return;
	place->owner = listener->owner.id;
	place->holder = listener->holder;
	mseg_give_place(&place->cookie, cookie);
}

#endif /* MSEG_ACCEPTED_BPF_H_ */
