/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_DATAGRAM_BPF_H_
#define MSEG_DATAGRAM_BPF_H_

/*
 * What a datagram proved where it came in (udp.bpf.c), and what follows for it at its socket.
 */

#include "judge.bpf.h"

/* Each note is good for one datagram. */
static __always_inline bool mseg_take_note(__u32 place, __u32 port_and_len, struct mseg_peer *peer)
{
	struct mseg_udp_note *note = bpf_map_lookup_elem(&mseg_udp_notes, &place);
	__u64 sequence = note ? *(volatile __u64 *)&note->sequence : 0;
	struct mseg_claim claim = {};

	if (!sequence || ((__u32)note->source_port << 16 | note->udp_len) != port_and_len)
		return false;
	claim.label_id = note->label_id;
	claim.exe_id = note->exe_id;
	claim.host_id = note->host_id;
	claim.grade = note->grade;
	if (__sync_val_compare_and_swap(&note->sequence, sequence, 0) != sequence)
		return false;
	peer->id = mseg_identity_of_claim(&claim);
	peer->answer = sequence >> 63;
	return true;
}

static __always_inline int mseg_datagram_refused(__u32 mark)
{
	__u32 counter = mark & ~(__u32)MSEG_UDP_REFUSED;

	/* A filter of somebody else may have written it. */
	if (counter != MSEG_CNT_UNKNOWN_HOST && counter != MSEG_CNT_STALE_EPOCH &&
	    counter != MSEG_CNT_UDP_REPLAYED && counter != MSEG_CNT_UDP_WINDOWS_FULL)
		counter = MSEG_CNT_BAD_PROOF;
	mseg_count(counter);
	if (counter == MSEG_CNT_UNKNOWN_HOST)
		return MSEG_REASON_NO_RECORD;
	return counter == MSEG_CNT_UDP_WINDOWS_FULL ? MSEG_REASON_NO_STATE : MSEG_REASON_BAD_PROOF;
}

/*
 * Who does a datagram prove that it is from? 0 and `peer` filled in; 0 and its identity all zero: it
 * proves nothing, and peer->proof says whether it might have; else a reason to refuse. What this host
 * sent to itself over loopback is known by its socket, or refused where a proof is required
 * (mseg_sender() in server.bpf.c). `port_and_len`: the source's port, and UDP's
 * length below it. A global function: the verifier looks at it once.
 */
__weak __noinline int mseg_word_of_datagram(struct __sk_buff *skb, const struct mseg_addr *source,
					    struct mseg_peer *peer, __u32 port_and_len)
{
	const struct mseg_wire *wire = mseg_wire_config();
	__u32 mark = skb->tc_index;
	__u8 path;

	if (!wire || !source || !peer || !wire->udp)
		return 0;
	path = mseg_path_of(wire, source);
	if (!(path & MSEG_PATH_UDP))
		return 0;
	peer->required = (path & MSEG_PATH_MODE) == MSEG_PATH_REQUIRE;
	if (skb->ifindex == LOOPBACK_IFINDEX)
		return 0;
	peer->proof = MSEG_PROOF_NONE;
	if (mark >= MSEG_UDP_REFUSED)
		return mseg_datagram_refused(mark);
	if (mark && mseg_take_note(mark - 1, port_and_len, peer))
		peer->proof = mseg_proof_kind_of(path);
	return 0;
}

/* What is to be done with a datagram, for what there is between the two already. */
enum mseg_course {
	MSEG_COURSE_JUDGE, /* as one that opens a flow */
	MSEG_COURSE_ANSWER, /* as one that answers what this end sent */
	MSEG_COURSE_PASS,
	MSEG_COURSE_REFUSE, /* no proof where there must be one */
	MSEG_COURSE_STRAY,
	MSEG_COURSE_INJECTED,
};

static __always_inline bool mseg_flow_is_with(const struct mseg_flow_state *flow,
					      const struct mseg_identity *peer)
{
	return flow->peer.host_id && flow->peer.host_id == peer->tgid &&
	       flow->peer.label_id == peer->label_id && flow->peer.exe_id == peer->exe_id &&
	       flow->peer.grade == peer->grade;
}

/* The address is not another host's, as far as records say. */
static __always_inline bool mseg_is_at(const struct mseg_conn *conn, __u32 host_id)
{
	__u32 host = mseg_host_at(&conn->peer);

	return !host || host == host_id;
}

/*
 * What is proven is an answer if its sender says so, and if something was asked; the service is at
 * its source then, which only an answer's MAC binds. Anything else that is proven opens a flow, also
 * at a connected socket. A function of its own, for the sake of the stack.
 */
static __noinline int mseg_course_of(const struct mseg_conn *conn, const struct mseg_peer *peer,
				     __u32 generation, bool connected)
{
	struct mseg_flow_state *flow = mseg_udp_flow_of(conn);
	bool proven = peer->id.flags & MSEG_ID_REMOTE;
	__u64 now_ns = bpf_ktime_get_ns();
	bool warm = flow && mseg_flow_is_warm(flow, now_ns);
	bool asked = connected || (warm && flow->direction == MSEG_EGRESS);
	bool holds = warm && flow->generation == generation;
	bool with = flow && mseg_flow_is_with(flow, &peer->id);
	bool was_proven = flow && flow->peer.host_id;

	/* An entry that gave way meanwhile says nothing. */
	if (flow && mseg_udp_flow_of(conn) != flow) {
		asked = connected;
		holds = false;
	}
	if (!proven && peer->proof && peer->required)
		return MSEG_COURSE_REFUSE;
	if (!proven && peer->proof && holds && was_proven)
		return MSEG_COURSE_INJECTED;
	if (holds && (!proven || with)) {
		flow->last_ns = now_ns;
		return MSEG_COURSE_PASS;
	}
	if (!proven)
		return connected ? MSEG_COURSE_PASS : MSEG_COURSE_JUDGE;
	if (!peer->answer)
		return MSEG_COURSE_JUDGE;
	return asked && mseg_is_at(conn, peer->id.tgid) ? MSEG_COURSE_ANSWER : MSEG_COURSE_STRAY;
}

static __always_inline int mseg_course_refused(int course)
{
	if (course == MSEG_COURSE_STRAY) {
		mseg_count(MSEG_CNT_UDP_STRAY);
		return MSEG_REASON_BAD_PROOF;
	}
	mseg_count(course == MSEG_COURSE_INJECTED ? MSEG_CNT_UDP_INJECTED : MSEG_CNT_NO_PROOF);
	return MSEG_REASON_NO_PROOF;
}

#endif /* MSEG_DATAGRAM_BPF_H_ */
