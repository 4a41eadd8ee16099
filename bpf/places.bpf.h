/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_PLACES_BPF_H_
#define MSEG_PLACES_BPF_H_

/*
 * What is at an address, remembered or looked up: its class, and who listens there.
 */

#include "address.bpf.h"
#include "identity.bpf.h"
#include "mseg/place_cache.h"

static __always_inline struct mseg_class_entry *mseg_class_entry_of(const __u32 *addr)
{
	__u32 zero = 0;
	struct mseg_class_cache *cache = bpf_map_lookup_elem(&mseg_address_classes, &zero);

	return cache ? &cache->entries[mseg_class_place(addr)] : NULL;
}

/* The class of an address in this generation. A global function: the verifier looks at it once. */
__weak __noinline __u32 mseg_address_class(const struct mseg_addr *addr, __u32 generation)
{
	struct mseg_class_entry *entry;
	__u32 cls;

	if (!addr)
		return 0;
	entry = mseg_class_entry_of(addr->words);
	if (entry && mseg_class_recall(entry, addr->words, generation, &cls))
		return cls;
	cls = mseg_look_up_address(addr, MSEG_SIDE(generation));
	if (entry)
		mseg_class_keep(entry, addr->words, generation, cls);
	return cls;
}

/* ---- who listens ---- */

static __always_inline struct mseg_listening_entry *
mseg_listening_entry_of(const struct mseg_listening_question *q)
{
	__u32 zero = 0;
	struct mseg_listening_cache *cache = bpf_map_lookup_elem(&mseg_listening_seen, &zero);

	return cache ? &cache->entries[mseg_listening_place(q)] : NULL;
}

static __always_inline __u64 *mseg_listener_changes_word(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mseg_listener_changes, &zero);
}

/* After the table of listeners was changed. The sum is used so that it is ordered behind the change. */
static __always_inline void mseg_listeners_changed(void)
{
	__u64 *changes = mseg_listener_changes_word(), was;

	if (!changes)
		return;
	was = __sync_fetch_and_add(changes, 1);
	barrier_var(was);
}

static __always_inline __u64 mseg_count_listener_changes(void)
{
	const __u64 *changes = mseg_listener_changes_word();

	return changes ? *(volatile const __u64 *)changes : 0;
}

/* The same, before a look-up that it is to stand for: ordered before it. */
static __always_inline __u64 mseg_listener_changes_now(void)
{
	__u64 now = mseg_count_listener_changes(), word = 0;
	__u64 was = __sync_fetch_and_add(&word, 1);

	barrier_var(was);
	return now;
}

/* `q` but for its generation and changes. 1 and `out` filled in, or 0. */
static __always_inline int mseg_recall_listening(struct mseg_listening_question *q,
						 __u32 generation, struct mseg_identity *out)
{
	const struct mseg_listening_entry *entry = mseg_listening_entry_of(q);

	q->generation = generation;
	q->pad = 0;
	q->changes = mseg_count_listener_changes();
	return entry && mseg_listening_recall(entry, q, out);
}

static __always_inline void mseg_keep_listening(struct mseg_listening_question *q, __u64 changes,
						const struct mseg_identity *id)
{
	struct mseg_listening_entry *entry = mseg_listening_entry_of(q);

	q->generation = id->generation;
	q->pad = 0;
	q->changes = changes;
	if (entry)
		mseg_listening_keep(entry, q, id);
}

/*
 * Functions of their own, for the sake of the stack: 512 bytes over all frames. Global ones, as above.
 * `service` is protocol << 16 | port.
 */
__weak __noinline int mseg_recall_at(__u64 netns_cookie, const struct mseg_addr *addr,
				     __u32 service, __u32 generation, struct mseg_identity *out)
{
	struct mseg_listening_question q;

	if (!addr || !out)
		return 0;
	mseg_ask_at_address(&q, netns_cookie, addr->words, service);
	return mseg_recall_listening(&q, generation, out);
}

__weak __noinline int mseg_keep_at(__u64 netns_cookie, const struct mseg_addr *addr,
				   __u32 service, __u64 changes, const struct mseg_identity *id)
{
	struct mseg_listening_question q;

	if (!addr || !id)
		return 0;
	mseg_ask_at_address(&q, netns_cookie, addr->words, service);
	mseg_keep_listening(&q, changes, id);
	return 0;
}

__weak __noinline int mseg_recall_of(__u64 cookie, __u32 generation, struct mseg_identity *out)
{
	struct mseg_listening_question q;

	if (!out)
		return 0;
	mseg_ask_of_socket(&q, cookie);
	return mseg_recall_listening(&q, generation, out);
}

__weak __noinline int mseg_keep_of(__u64 cookie, __u64 changes, const struct mseg_identity *id)
{
	struct mseg_listening_question q;

	if (!id)
		return 0;
	mseg_ask_of_socket(&q, cookie);
	mseg_keep_listening(&q, changes, id);
	return 0;
}

/* May it still come out as something else, in this generation? */
static __always_inline bool mseg_listener_may_change(const struct mseg_listener *listener)
{
	return mseg_exe_may_change(&listener->owner.id) ||
	       listener->owner.id.flags & MSEG_ID_AMBIGUOUS;
}

/*
 * Who listens at an address of this namespace. 1 and `out` filled in; 0: nobody; -1: a fault of the
 * tables.
 */
static __always_inline int mseg_who_listens(__u64 netns_cookie, const struct mseg_addr *addr,
					    __u8 protocol, __u16 port, __u32 generation,
					    struct mseg_identity *out)
{
	__u32 service = (__u32)protocol << 16 | port;
	struct mseg_listener *listener;
	__u64 changes;

	if (mseg_recall_at(netns_cookie, addr, service, generation, out))
		return 1;
	changes = mseg_listener_changes_now();
	listener = mseg_find_listener(netns_cookie, addr, protocol, port);
	if (!listener)
		return 0;
	if (!mseg_owner(listener, out, generation))
		return -1;
	if (!mseg_listener_may_change(listener))
		mseg_keep_at(netns_cookie, addr, service, changes, out);
	return 1;
}

/* The same of a socket that receives. */
static __always_inline int mseg_who_receives(__u64 cookie, __u32 generation,
					     struct mseg_identity *out)
{
	struct mseg_listener_key *key;
	struct mseg_listener *listener;
	__u64 changes;

	if (mseg_recall_of(cookie, generation, out))
		return 1;
	changes = mseg_listener_changes_now();
	key = bpf_map_lookup_elem(&mseg_listening, &cookie);
	listener = key ? bpf_map_lookup_elem(&mseg_listeners, key) : NULL;
	if (!listener)
		return 0;
	if (!mseg_owner(listener, out, generation))
		return -1;
	if (!mseg_listener_may_change(listener))
		mseg_keep_of(cookie, changes, out);
	return 1;
}

#endif /* MSEG_PLACES_BPF_H_ */
