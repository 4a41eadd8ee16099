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
 * 4 to 7 are resolved by the compiler, per local class, peer class, direction and port class; what
 * it found is one row. The look-ups are, first hit wins:
 *
 *   a. (local, peer, port)    this very peer and service
 *   b. (local, peer, any)     this very peer, every other service
 *   c. (local, all,  port)    every peer without rows of its own, this service
 *   d. (local, all,  any)     what is left: 6 or 7. The compiler emits it for every local class
 *
 * No row at all is a fault of the tables, never a meaning: it denies.
 *
 * No globals, no events, no time. The includer supplies the look-up; it must be a function known at
 * compile time (BPF has no indirect calls).
 */

#include "abi.h"

#ifdef __bpf__
#define MSEG_INLINE static __attribute__((always_inline)) inline
#else
#define MSEG_INLINE static inline
#endif

struct mseg_query {
	__u32 local; /* class of the end that judges */
	__u32 peer; /* class of the other end */
	__u16 port; /* port class of the service */
	__u8 direction; /* enum mseg_direction, from the side of the end that judges */
	__u8 side;
};

struct mseg_decision {
	__u32 rule;
	__u32 would_rule;
	__u8 verdict;
	__u8 would_be;
	__u8 reason;
	__u8 would_reason;
	__u8 probe; /* which look-up answered: 'a' to 'd', 0 for none */
	__u8 pad[3];
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
	d.probe = probe;
	return d;
}

MSEG_INLINE struct mseg_decision mseg_decide(const struct mseg_query *q, mseg_row_lookup lookup,
					     const void *rows)
{
	struct mseg_row_key key = MSEG_ZERO;
	struct mseg_decision d = MSEG_ZERO;
	const struct mseg_row *row;

	key.local = q->local;
	key.peer = q->peer;
	key.port = q->port;
	key.direction = q->direction;
	key.side = q->side;

	if (key.peer && key.port) {
		row = lookup(rows, &key);
		if (row)
			return mseg_decision_of(row, 'a');
	}
	if (key.peer) {
		key.port = 0;
		row = lookup(rows, &key);
		if (row)
			return mseg_decision_of(row, 'b');
		key.peer = 0;
		key.port = q->port;
	}
	if (key.port) {
		row = lookup(rows, &key);
		if (row)
			return mseg_decision_of(row, 'c');
		key.port = 0;
	}
	row = lookup(rows, &key);
	if (row)
		return mseg_decision_of(row, 'd');

	d.verdict = MSEG_DENY;
	d.would_be = MSEG_DENY;
	d.reason = MSEG_REASON_NO_ROW;
	d.would_reason = MSEG_REASON_NO_ROW;
	return d;
}

/* Where the class of a port is: block number and place in the block. */
struct mseg_port_place {
	__u32 block;
	__u32 index;
};

MSEG_INLINE struct mseg_port_place mseg_port_place(__u8 side, __u8 protocol, __u16 port)
{
	struct mseg_port_place at = MSEG_ZERO;
	__u32 space = MSEG_PORTS_OTHER;
	__u32 number = protocol;

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
