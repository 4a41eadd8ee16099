/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_PLACE_CACHE_H_
#define MSEG_PLACE_CACHE_H_

/*
 * What was found at an address a moment ago, by processor: the class that it has (a look-up in a
 * trie), and who listens there (two to four in hash tables). The generation is part of either
 * question, as in verdict_cache.h. Who listens changes within a generation, too; so each change is
 * counted, and the count is part of that question. Nothing is ever to be taken out.
 *
 * Includers: kernel programs and unit tests.
 */

#include "sequence.h"

#define MSEG_PLACE_HASH 0x9E3779B97F4A7C15ull

/* ---- the class of an address ---- */

#define MSEG_CLASS_PLACE_BITS 8
#define MSEG_CLASS_PLACES (1 << MSEG_CLASS_PLACE_BITS)

struct mseg_class_entry {
	__u32 sequence;
	__u32 generation; /* 0: nothing */
	__u32 addr[4]; /* 16 bytes as they stand in a packet; IPv4 as ::ffff:a.b.c.d */
	__u32 cls;
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_class_entry) == 32, "mseg_class_entry");

struct mseg_class_cache { /* of one processor */
	struct mseg_class_entry entries[MSEG_CLASS_PLACES];
};

MSEG_INLINE __u64 mseg_address_hash(const __u32 *addr)
{
	return (((__u64)addr[0] << 32 | addr[1]) * 31 ^ ((__u64)addr[2] << 32 | addr[3])) *
	       MSEG_PLACE_HASH;
}

MSEG_INLINE __u32 mseg_class_place(const __u32 *addr)
{
	return (__u32)(mseg_address_hash(addr) >> (64 - MSEG_CLASS_PLACE_BITS));
}

/* 1: `cls` is what was found. 0: unknown. */
MSEG_INLINE int mseg_class_recall(const struct mseg_class_entry *entry, const __u32 *addr,
				  __u32 generation, __u32 *cls)
{
	__u32 was;

	if (!mseg_sequence_reads(&entry->sequence, &was) || entry->generation != generation ||
	    entry->addr[3] != addr[3] || entry->addr[2] != addr[2] || entry->addr[1] != addr[1] ||
	    entry->addr[0] != addr[0])
		return 0;
	*cls = entry->cls;
	return mseg_sequence_stood(&entry->sequence, was);
}

MSEG_INLINE void mseg_class_keep(struct mseg_class_entry *entry, const __u32 *addr,
				 __u32 generation, __u32 cls)
{
	__u32 was;

	if (!mseg_sequence_writes(&entry->sequence, &was))
		return;
	entry->generation = generation;
	entry->addr[0] = addr[0];
	entry->addr[1] = addr[1];
	entry->addr[2] = addr[2];
	entry->addr[3] = addr[3];
	entry->cls = cls;
	mseg_sequence_written(&entry->sequence, was);
}

/* ---- who listens ---- */

/* At an address, or behind a socket: the two never have the same words. */
struct mseg_listening_question {
	__u64 word[4];
	__u64 changes; /* of listeners until now */
	__u32 generation; /* never 0 */
	__u32 pad;
};

/* `addr` as above; `service` is protocol << 16 | port. */
MSEG_INLINE void mseg_ask_at_address(struct mseg_listening_question *q, __u64 netns_cookie,
				     const __u32 *addr, __u32 service)
{
	q->word[0] = netns_cookie;
	q->word[1] = (__u64)addr[0] << 32 | addr[1];
	q->word[2] = (__u64)addr[2] << 32 | addr[3];
	q->word[3] = 1ull << 32 | service;
}

MSEG_INLINE void mseg_ask_of_socket(struct mseg_listening_question *q, __u64 cookie)
{
	q->word[0] = cookie;
	q->word[1] = 0;
	q->word[2] = 0;
	q->word[3] = 0;
}

#define MSEG_LISTENING_PLACE_BITS 6
#define MSEG_LISTENING_PLACES (1 << MSEG_LISTENING_PLACE_BITS)

struct mseg_listening_entry {
	__u32 sequence;
	__u32 generation; /* 0: nothing */
	__u64 changes;
	__u64 word[4];
	struct mseg_identity id; /* resolved in that generation */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_listening_entry) == 96, "mseg_listening_entry");

struct mseg_listening_cache { /* of one processor */
	struct mseg_listening_entry entries[MSEG_LISTENING_PLACES];
};

MSEG_INLINE __u32 mseg_listening_place(const struct mseg_listening_question *q)
{
	return (__u32)((q->word[0] ^ q->word[1] * 31 ^ q->word[2] * 961 ^ q->word[3] << 7) *
			       MSEG_PLACE_HASH >>
		       (64 - MSEG_LISTENING_PLACE_BITS));
}

/* 1: `out` is who was found. 0: unknown. */
MSEG_INLINE int mseg_listening_recall(const struct mseg_listening_entry *entry,
				      const struct mseg_listening_question *q,
				      struct mseg_identity *out)
{
	__u32 was;

	if (!mseg_sequence_reads(&entry->sequence, &was) || entry->generation != q->generation ||
	    entry->changes != q->changes || entry->word[0] != q->word[0] ||
	    entry->word[1] != q->word[1] || entry->word[2] != q->word[2] ||
	    entry->word[3] != q->word[3])
		return 0;
	*out = entry->id;
	return mseg_sequence_stood(&entry->sequence, was);
}

MSEG_INLINE void mseg_listening_keep(struct mseg_listening_entry *entry,
				     const struct mseg_listening_question *q,
				     const struct mseg_identity *id)
{
	__u32 was;

	if (!mseg_sequence_writes(&entry->sequence, &was))
		return;
	entry->generation = q->generation;
	entry->changes = q->changes;
	entry->word[0] = q->word[0];
	entry->word[1] = q->word[1];
	entry->word[2] = q->word[2];
	entry->word[3] = q->word[3];
	entry->id = *id;
	mseg_sequence_written(&entry->sequence, was);
}

#endif /* MSEG_PLACE_CACHE_H_ */
