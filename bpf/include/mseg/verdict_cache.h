/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_VERDICT_CACHE_H_
#define MSEG_VERDICT_CACHE_H_

/*
 * What was decided a moment ago, so that a busy pair of identities is not looked up again.
 *
 * A verdict depends on nothing but the question below: what the tables of a generation say of it
 * does not change until the generation does, which is part of the question. So nothing is ever to be
 * taken out of the cache. A processor has its own (sequence.h).
 *
 * Includers: kernel programs and unit tests.
 */

#include "decide.h"
#include "sequence.h"

/* May `peer` talk to `end` (both are classes), as `direction` of `end` has it? */
struct mseg_question {
	__u32 end; /* whose rules decide */
	__u32 peer;
	__u32 generation; /* never 0 */
	__u16 port; /* the service, host byte order; MSEG_ICMP_* types */
	__u8 protocol; /* IPPROTO_*; 0: no services, as AF_UNIX */
	__u8 direction; /* enum mseg_direction */
};

#define MSEG_VERDICT_PLACE_BITS 9
#define MSEG_VERDICT_PLACES (1 << MSEG_VERDICT_PLACE_BITS)

struct mseg_verdict_entry {
	__u32 sequence;
	__u32 generation; /* 0: nothing */
	__u64 key;
	struct mseg_decision decision;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_verdict_entry) == 32, "mseg_verdict_entry");

struct mseg_verdict_cache { /* of one processor */
	struct mseg_verdict_entry entries[MSEG_VERDICT_PLACES];
};

/* All but the generation. */
MSEG_INLINE __u64 mseg_question_key(const struct mseg_question *q)
{
	MSEG_STATIC_ASSERT(MSEG_CLASSES == 1 << 16, "16 bits a class");
	return (__u64)q->end << 48 | (__u64)q->peer << 32 | (__u64)q->port << 16 |
	       (__u64)q->protocol << 8 | q->direction;
}

/* Numbers beyond all classes are a fault of the tables, and no key tells them apart. */
MSEG_INLINE int mseg_question_has_key(const struct mseg_question *q)
{
	return q->end < MSEG_CLASSES && q->peer < MSEG_CLASSES;
}

MSEG_INLINE __u32 mseg_verdict_place(const struct mseg_question *q)
{
	__u64 key = mseg_question_key(q);

	/* The uppermost bits of the product, where all of the key counts. */
	return (__u32)((key ^ key >> 32) * 0x9E3779B97F4A7C15ull >>
		       (64 - MSEG_VERDICT_PLACE_BITS));
}

/* 1: `out` is what was decided. 0: unknown. */
MSEG_INLINE int mseg_verdict_recall(const struct mseg_verdict_entry *entry,
				    const struct mseg_question *q, struct mseg_decision *out)
{
	__u32 was;

	if (!mseg_question_has_key(q) || !mseg_sequence_reads(&entry->sequence, &was) ||
	    entry->generation != q->generation || entry->key != mseg_question_key(q))
		return 0;
	*out = entry->decision;
	return mseg_sequence_stood(&entry->sequence, was);
}

MSEG_INLINE void mseg_verdict_keep(struct mseg_verdict_entry *entry, const struct mseg_question *q,
				   const struct mseg_decision *d)
{
	__u32 was;

	if (!mseg_question_has_key(q) || !mseg_sequence_writes(&entry->sequence, &was))
		return;
	entry->generation = q->generation;
	entry->key = mseg_question_key(q);
	entry->decision = *d;
	mseg_sequence_written(&entry->sequence, was);
}

#endif /* MSEG_VERDICT_CACHE_H_ */
