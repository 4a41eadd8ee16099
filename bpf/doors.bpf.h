/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_DOORS_BPF_H_
#define MSEG_DOORS_BPF_H_

/*
 * What is done without an address that could be judged is judged as traffic of any kind with a peer
 * of whom nothing is known: where a policy denies that by default, in either direction, the process
 * is confined.
 */

#include "judge.bpf.h"

/*
 * Row f of decide.h: every port, every peer that no row names. Where the service is known, row c
 * comes first; if it allows some peers only, nobody can tell. A global function, for the sake of its
 * callers' stack.
 */
__weak __noinline int mseg_look_up_nameless(__u32 cls, __u8 direction, __u16 port_class, __u32 side,
					    struct mseg_decision *out)
{
	__u32 place = side * MSEG_CLASSES + cls;
	struct mseg_row_key key = { .peer = MSEG_PEER_ALL, .direction = direction, .side = side };
	const struct mseg_class *found = NULL;
	const struct mseg_row *row = NULL;

	if (!out)
		return 0;
	*out = mseg_refusal(MSEG_REASON_NO_ROW);
	if (cls < MSEG_CLASSES)
		found = bpf_map_lookup_elem(&mseg_classes, &place);
	if (found) {
		key.local = found->tail[direction & 1];
		key.port = port_class;
		row = bpf_map_lookup_elem(&mseg_rows, &key);
	}
	if (row && port_class && row->more && row->verdict == MSEG_ALLOW) {
		*out = mseg_refusal(MSEG_REASON_UNKNOWN_IDENTITY);
		return 0;
	}
	if (found && !row && port_class) {
		key.port = 0;
		row = bpf_map_lookup_elem(&mseg_rows, &key);
	}
	if (row)
		*out = mseg_decision_of(row, 'f');
	return 0;
}

static __always_inline struct mseg_decision
mseg_judge_nameless(__u32 cls, __u8 direction, __u16 port_class, __u32 side)
{
	struct mseg_decision d = {};

	mseg_look_up_nameless(cls, direction, port_class, side, &d);
	return d;
}

/* The harder one of both directions. */
static __always_inline struct mseg_decision mseg_judge_class(__u32 cls, __u32 side)
{
	struct mseg_decision out = mseg_judge_nameless(cls, MSEG_EGRESS, 0, side);
	struct mseg_decision in = mseg_judge_nameless(cls, MSEG_INGRESS, 0, side);

	if (out.verdict == MSEG_DENY)
		return out;
	if (in.verdict == MSEG_DENY || out.would_be == MSEG_ALLOW)
		return in;
	return out;
}

/*
 * May the current process do what `conn` says, although nobody can tell with whom it will talk? What
 * it will say is known where `conn` has a service: it opens flows of that, and takes none.
 */
static __noinline int mseg_door(const struct mseg_conn *conn)
{
	__u32 generation = mseg_active_generation(), side = MSEG_SIDE(generation);
	struct mseg_identity self = {};
	struct mseg_decision d;

	if (!generation)
		return 1;
	if (!mseg_current(&self, generation))
		d = mseg_refusal(MSEG_REASON_NO_ROW);
	else if (conn->door & mseg_doors_of(self.cgroup_id, generation))
		return 1;
	else if (conn->peer_port)
		d = mseg_judge_nameless(self.cls, MSEG_EGRESS,
					mseg_port_class(side, conn->protocol, conn->peer_port), side);
	else
		d = mseg_judge_class(self.cls, side);
	if (d.verdict == MSEG_ALLOW && d.would_be == MSEG_ALLOW)
		return 1;
	mseg_report(conn, &self, NULL, &d, MSEG_EGRESS, conn->peer_port, generation);
	if (d.verdict == MSEG_DENY)
		mseg_count(MSEG_CNT_DOOR_REFUSED);
	return d.verdict == MSEG_ALLOW;
}

/*
 * `service`: what it will be used for, 0 if that is not known. `door`: the word of a Workload that
 * opens it, enum mseg_doors.
 */
static __always_inline bool mseg_door_is_open(__u8 hook, __u8 family, __u32 protocol, __u16 service,
					      __u16 door)
{
	struct mseg_conn conn = { .door = door };

	if (!mseg_current_is_managed())
		return true;
	conn.hook = hook;
	conn.family = family;
	conn.protocol = protocol; /* MPTCP's does not fit: the kind tells */
	conn.peer_port = service;
	return mseg_door(&conn);
}

static __always_inline bool mseg_is_ping_socket(__u32 family, __u32 type, __u32 protocol)
{
	return type == SOCK_DGRAM && ((family == AF_INET && protocol == IPPROTO_ICMP) ||
				      (family == AF_INET6 && protocol == IPPROTO_ICMPV6));
}

/*
 * Kinds of sockets whose every peer passes another hook, and those that lead to this host only. The
 * hooks of a cgroup do not see where a ping socket sends, those of LSM do.
 */
static __always_inline bool mseg_kind_is_judged(__u32 family, __u32 type, __u32 protocol)
{
	if (mseg_is_ping_socket(family, type, protocol))
		return mseg_full_mode;
	if (family == AF_UNIX || family == AF_NETLINK)
		return true;
	if (family != AF_INET && family != AF_INET6)
		return false;
	if (type == SOCK_STREAM)
		return protocol == 0 || protocol == IPPROTO_TCP;
	return type == SOCK_DGRAM &&
	       (protocol == 0 || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE);
}

static __always_inline __u16 mseg_door_of_kind(__u32 family, __u32 type, __u32 protocol)
{
	switch (family) {
	case AF_INET:
	case AF_INET6:
		return type == SOCK_RAW || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 ?
			       MSEG_DOOR_RAW : 0;
	case AF_PACKET:
		return MSEG_DOOR_PACKET;
	case AF_VSOCK:
		return MSEG_DOOR_VSOCK;
	case AF_XDP:
		return MSEG_DOOR_XDP;
	case AF_ALG:
		return MSEG_DOOR_ALG;
	case AF_CAN:
		return MSEG_DOOR_CAN;
	case AF_TIPC:
		return MSEG_DOOR_TIPC;
	case AF_BLUETOOTH:
		return MSEG_DOOR_BLUETOOTH;
	default:
		return 0;
	}
}

/* May the current process have a socket of this kind? */
static __always_inline bool mseg_kind_is_open(__u8 hook, __u32 family, __u32 type, __u32 protocol)
{
	__u16 service = mseg_is_ping_socket(family, type, protocol) ? mseg_service(protocol, 0) : 0;

	return mseg_kind_is_judged(family, type, protocol) ||
	       mseg_door_is_open(hook, family, protocol, service,
				 mseg_door_of_kind(family, type, protocol));
}

#endif /* MSEG_DOORS_BPF_H_ */
