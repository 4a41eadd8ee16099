/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_DECIDE_H_
#define MSEG_DECIDE_H_

/*
 * The one decision function. Compiled into the kernel programs, the simulator behind
 * `msegctl explain` and the tests: nothing else in mseg turns identities into a verdict.
 *
 * What a verdict means is docs/policy.md. Each end judges from its own side. Of the list there,
 *
 *   1. mseg's own channel                        -> allow
 *   2. quarantine of either end                  -> deny
 *   3. fail-safe entry                           -> allow
 *   4. a matching deny rule                      -> deny
 *   5. a matching allow rule                     -> allow
 *   6. this end is selected by any policy        -> deny
 *   7. otherwise                                 -> allow
 *
 * 3 to 7 are resolved by the compiler; what it found is rows. Rules that name few classes as peers
 * give rows of those peers; rules that name many give rows of cells of peers, so that the two do
 * not multiply. The look-ups, at most four of them:
 *
 *   a. (end,  peer, port)   this very peer and service: answers
 *   c. (tail, all,  port)   this service, whoever asks: answers, unless it says `more` and
 *   d. (tail, cell, port)   there is one for the peer's cell
 *   e. (tail, cell, any)    the peer's cell, every service without a row c: answers
 *   f. (tail, all,  any)    what is left: 6 or 7. The compiler emits it for every local class
 *
 * Where a rule names few peers and every service (`by_peer` of the local class), before those
 *
 *   b. (end,  peer, any)    this very peer, every service: answers, unless it says `more` and
 *   a. (end,  peer, port)   there is one for this service
 *
 * Rows a and b are not asked for where the end has none of such a peer, c and d where the tail has
 * none of such a port, as far as the hints in its class say.
 *
 * Each row holds all that is to be said for what it names: a row a knows the rules behind c to f.
 * No row at all is a fault of the tables, never a meaning: it denies.
 *
 * No globals, no events, no time. The includer supplies the look-up; it must be a function known at
 * compile time (BPF has no indirect calls).
 */

#include "abi.h"

struct mseg_query {
	__u32 end; /* of the local class, in this direction */
	__u32 tail;
	__u32 peer; /* class of the other end */
	__u32 cell; /* of the peer, for this tail */
	__u16 port; /* port class of the service */
	__u8 direction; /* enum mseg_direction, from the side of the end that judges */
	__u8 side;
	__u8 by_peer; /* of the local class, in this direction */
	__u8 peer_hint; /* 1: the end may have a row of this peer */
	__u8 port_hint; /* 1: the tail may have a row of this port */
	__u8 pad;
};

struct mseg_decision {
	__u32 rule;
	__u32 would_rule;
	__u8 verdict;
	__u8 would_be;
	__u8 reason;
	__u8 would_reason;
	__u8 probe; /* which look-up answered: 'a' to 'f', 0 for none */
	__u8 may; /* mseg_row.may */
	__u8 pad[2];
};

typedef const struct mseg_row *(*mseg_row_lookup)(const void *rows, const struct mseg_row_key *key);

MSEG_INLINE struct mseg_decision mseg_decision_of(const struct mseg_row *row, __u8 probe)
{
	struct mseg_decision d = MSEG_ZERO;

	d.rule = row->rule;
	d.would_rule = row->would_rule;
	d.verdict = row->verdict;
	d.would_be = row->would_be;
	d.reason = row->reason;
	d.would_reason = row->would_reason;
	d.may = row->may;
	d.probe = probe;
	return d;
}

/* The bit of a class of peers or ports in mseg_class.peers and ports. */
MSEG_INLINE __u32 mseg_hint(__u32 number)
{
	return 1u << (number * 0x9E3779B1u >> 27);
}

/* What the class of the end that judges says; peer, port and direction must be there. */
MSEG_INLINE void mseg_query_local(struct mseg_query *q, const struct mseg_class *cls)
{
	__u32 direction = q->direction & 1;

	q->end = cls->end[direction];
	q->tail = cls->tail[direction];
	q->by_peer = cls->by_peer[direction];
	q->peer_hint = (cls->peers[direction] & mseg_hint(q->peer)) != 0;
	q->port_hint = q->port && (cls->ports[direction] & mseg_hint(q->port));
}

MSEG_INLINE struct mseg_decision mseg_decide(const struct mseg_query *q, mseg_row_lookup lookup,
					     const void *rows)
{
	struct mseg_row_key key = MSEG_ZERO;
	struct mseg_decision d = MSEG_ZERO;
	const struct mseg_row *row, *narrower;

	key.direction = q->direction;
	key.side = q->side;

	key.local = q->end;
	key.peer = q->peer;
	if (!q->peer_hint) {
		/* neither a nor b */
	} else if (q->by_peer) {
		row = lookup(rows, &key);
		if (row && row->more && q->port) {
			key.port = q->port;
			narrower = lookup(rows, &key);
			if (narrower)
				return mseg_decision_of(narrower, 'a');
		}
		if (row)
			return mseg_decision_of(row, 'b');
	} else if (q->port) {
		key.port = q->port;
		row = lookup(rows, &key);
		if (row)
			return mseg_decision_of(row, 'a');
	}

	key.local = q->tail;
	if (q->port && q->port_hint) {
		key.port = q->port;
		key.peer = MSEG_PEER_ALL;
		row = lookup(rows, &key);
		if (row && row->more && q->cell) {
			key.peer = MSEG_PEER_CELL | q->cell;
			narrower = lookup(rows, &key);
			if (narrower)
				return mseg_decision_of(narrower, 'd');
		}
		if (row)
			return mseg_decision_of(row, 'c');
	}

	key.port = 0;
	if (q->cell) {
		key.peer = MSEG_PEER_CELL | q->cell;
		row = lookup(rows, &key);
		if (row)
			return mseg_decision_of(row, 'e');
	}
	key.peer = MSEG_PEER_ALL;
	row = lookup(rows, &key);
	if (row)
		return mseg_decision_of(row, 'f');

	d.verdict = MSEG_DENY;
	d.would_be = MSEG_DENY;
	d.reason = MSEG_REASON_NO_ROW;
	d.would_reason = MSEG_REASON_NO_ROW;
	return d;
}

/*
 * The cell of a group for a tail: 31 bits over what the mask leaves, 0 if that is nothing. The
 * compiler makes sure that no tail has two cells of one number.
 */
/*
 * The upper bits of a sum of half words times random factors: two cells have one number once in
 * 2^31, and no product waits for another. Factors: SHA-256 of "mseg cell N", its first 8 bytes.
 */
#define MSEG_CELL_WORD(word, low, high) (((word) & 0xffffffff) * low##ull + ((word) >> 32) * high##ull)
#define MSEG_CELL_WORD_0(word) MSEG_CELL_WORD(word, 0xEE9CDF25957DEE93, 0x758CEC891C05A093)
#define MSEG_CELL_WORD_1(word) MSEG_CELL_WORD(word, 0xE5C08400CA63066B, 0x6CAA760936B1DAA5)
#define MSEG_CELL_WORD_2(word) MSEG_CELL_WORD(word, 0x970D63A024227D99, 0x94DD9AC056D11093)
#define MSEG_CELL_WORD_3(word) MSEG_CELL_WORD(word, 0x8EC297CF8FCD2565, 0xE12C3187FEE1DBAD)
#define MSEG_CELL_WORD_4(word) MSEG_CELL_WORD(word, 0x3D8E28915AF1B8D7, 0x6F96315262A38E73)
#define MSEG_CELL_WORD_5(word) MSEG_CELL_WORD(word, 0xB137E2D4FA7DE1CB, 0x12C648033ECC5023)
#define MSEG_CELL_WORD_6(word) MSEG_CELL_WORD(word, 0x265BB0F25BE43779, 0x21C56BFD235DE32D)
#define MSEG_CELL_WORD_7(word) MSEG_CELL_WORD(word, 0xB671463846C1746F, 0x3EE7AFCAEA2D72F1)

MSEG_INLINE __u32 mseg_cell_number(__u64 sum)
{
	sum >>= 33;
	return sum ? (__u32)sum : 1;
}

MSEG_INLINE __u32 mseg_cell(const struct mseg_coarse *group, const struct mseg_coarse *mask)
{
	__u64 any = 0, sum = 0, word;

#define MSEG_ADD_WORD(i) \
	word = group->bits[i] & mask->bits[i]; \
	any |= word; \
	sum += MSEG_CELL_WORD_##i(word)
	MSEG_ADD_WORD(0);
	MSEG_ADD_WORD(1);
	MSEG_ADD_WORD(2);
	MSEG_ADD_WORD(3);
	MSEG_ADD_WORD(4);
	MSEG_ADD_WORD(5);
	MSEG_ADD_WORD(6);
	MSEG_ADD_WORD(7);
#undef MSEG_ADD_WORD
	MSEG_STATIC_ASSERT(MSEG_COARSE_WORDS == 8, "a factor for each half word");
	return any ? mseg_cell_number(sum) : 0;
}

/* Whether the cell of a peer takes more than the words in the classes of both ends. */
MSEG_INLINE int mseg_cell_is_far(const struct mseg_class *local, const struct mseg_class *peer,
				 __u32 direction)
{
	return (local->far >> (direction & 1) & 1) && (peer->far & MSEG_FAR_GROUP);
}

/* The cell if it does not: the same number, since words of zero add nothing to it. */
MSEG_INLINE __u32 mseg_near_cell(const struct mseg_class *local, const struct mseg_class *peer,
				 __u32 direction)
{
	__u64 word = peer->bits & local->mask[direction & 1];

	return word ? mseg_cell_number(MSEG_CELL_WORD_0(word)) : 0;
}

/*
 * Where the class of a port is: block number and place in the block. The port of ICMP is the type of
 * the message that opens the flow.
 */
struct mseg_port_place {
	__u32 block;
	__u32 index;
};

MSEG_INLINE struct mseg_port_place mseg_port_place(__u8 side, __u8 protocol, __u16 port)
{
	struct mseg_port_place at = MSEG_ZERO;
	__u32 space = MSEG_PORTS_OTHER;
	__u32 number = (__u32)protocol << 8 | (port & MSEG_ICMP_TYPE_MAX);

	if (protocol == 6 /* IPPROTO_TCP */)
		space = MSEG_PORTS_TCP;
	else if (protocol == 17 /* IPPROTO_UDP */)
		space = MSEG_PORTS_UDP;
	else if (protocol == 132 /* IPPROTO_SCTP */)
		space = MSEG_PORTS_SCTP;
	if (space != MSEG_PORTS_OTHER)
		number = port;
	at.block = (((side & 1u) * MSEG_PORT_SPACES + space) * 65536u + number) / MSEG_PORT_BLOCK;
	at.index = number % MSEG_PORT_BLOCK;
	return at;
}

#endif /* MSEG_DECIDE_H_ */
