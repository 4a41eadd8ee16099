/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_REPORT_BPF_H_
#define MSEG_REPORT_BPF_H_

/*
 * What was judged, counted and told to the daemon. Hooks decide first and report after: a full ring
 * costs a line in the log, never a verdict. Equal events are counted where they happen (abi.h): the
 * ring, and the daemon that reads it, see a busy service as one line and a number.
 */

#include "address.bpf.h"

/* One connection or datagram, from the side of the socket that the hook runs for. */
struct mseg_conn {
	__u64 netns_cookie;
	__u64 cookie;
	struct mseg_addr peer;
	__u16 peer_port;
	__u8 protocol;
	__u8 hook; /* enum mseg_hook */
	__u8 family; /* of a socket that is judged by its kind */
	__u8 proof; /* enum mseg_proof_kind, of the other end */
	__u16 door; /* enum mseg_doors: what would open it, of a kind */
};

static __always_inline bool mseg_reports_allowed(void)
{
	__u32 zero = 0;
	const struct mseg_config *config = bpf_map_lookup_elem(&mseg_config, &zero);

	return config && config->report_allowed;
}

static __always_inline void mseg_count_decision(const struct mseg_decision *d,
						const struct mseg_identity *local)
{
	mseg_count(d->verdict == MSEG_ALLOW ? MSEG_CNT_ALLOWED : MSEG_CNT_DENIED);
	if (d->verdict == MSEG_ALLOW && d->would_be == MSEG_DENY)
		mseg_count(MSEG_CNT_WOULD_DENY);
	if (d->reason == MSEG_REASON_NO_ROW)
		mseg_count(MSEG_CNT_NO_ROW);
	if (!local->exe_ref)
		mseg_count(MSEG_CNT_UNKNOWN_EXE);
}

/* All but the time. */
static __always_inline void mseg_fill_event(struct mseg_flow_event *event,
					    const struct mseg_conn *conn,
					    const struct mseg_identity *local,
					    const struct mseg_identity *peer,
					    const struct mseg_decision *d, __u64 place)
{
	__u8 direction = place >> 48;

	event->type = MSEG_EVENT_FLOW;
	event->generation = place;
	event->local = *local;
	if (peer)
		event->peer = *peer;
	else
		__builtin_memset(&event->peer, 0, sizeof(event->peer));
	__builtin_memcpy(event->peer_addr, conn->peer.bytes, sizeof(event->peer_addr));
	event->rule = d->rule;
	event->would_rule = d->would_rule;
	event->port = place >> 32;
	event->protocol = conn->protocol;
	event->direction = direction;
	event->verdict = d->verdict;
	event->would_be = d->would_be;
	event->reason = d->reason;
	event->would_reason = d->would_reason;
	event->peer_known = peer ? 1 : 0;
	event->hook = conn->hook;
	event->family = conn->family;
	event->proof = conn->proof;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	event->count = 1;
	/* At connect the client has no port yet, and conn's is the service's. */
	event->peer_port = direction == MSEG_INGRESS && conn->hook != MSEG_HOOK_INGRESS &&
					   conn->hook != MSEG_HOOK_ESTABLISHED ?
				   0 : conn->peer_port;
	__builtin_memset(event->pad2, 0, sizeof(event->pad2));
}

/* Some events wide: other processors write at the same time. */
#define MSEG_FLOWS_WAKE_BYTES 16384

/* The reader polls: waking it would cost more than a flow. Only before the ring is full it is woken. */
static __always_inline void mseg_submit_event(struct mseg_flow_event *event)
{
	__u64 waiting = bpf_ringbuf_query(&mseg_flows, BPF_RB_AVAIL_DATA);
	struct mseg_flows_wait_event *wait;

	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	if (waiting < MSEG_FLOWS_BYTES / 2 ||
	    waiting >= MSEG_FLOWS_BYTES / 2 + MSEG_FLOWS_WAKE_BYTES)
		return;
	wait = bpf_ringbuf_reserve(&mseg_control, sizeof(*wait), 0);
	if (!wait)
		return; /* so there is enough to wake it */
	wait->type = MSEG_EVENT_FLOWS_WAIT;
	wait->pad = 0;
	bpf_ringbuf_submit(wait, BPF_RB_FORCE_WAKEUP);
}

/* False: the ring is full. */
static __always_inline bool mseg_send_event(const struct mseg_flow_event *event)
{
	struct mseg_flow_event *out = bpf_ringbuf_reserve(&mseg_flows, sizeof(*out), 0);

	if (!out)
		return false;
	__builtin_memcpy(out, event, sizeof(*out));
	mseg_submit_event(out);
	return true;
}

static __always_inline __u32 mseg_flow_place(const struct mseg_conn *conn,
					     const struct mseg_identity *local,
					     const struct mseg_identity *peer, __u64 place)
{
	__u32 sum = local->tgid * 0x9E3779B1u + conn->peer.words[3] * 0x85EBCA77u +
		    (__u32)(place >> 32) * 0xC2B2AE3Du;

	if (peer)
		sum += peer->tgid * 0x27D4EB2Fu;
	return sum >> 16 & (MSEG_FLOW_COUNTS - 1);
}

/* Interrupted while it was at it, a program comes here once more: the second one does without. */
static __always_inline bool mseg_take_flow(struct mseg_flow_count *place)
{
	return place && !__sync_val_compare_and_swap(&place->busy, 0, 1);
}

static __always_inline void mseg_give_flow(struct mseg_flow_count *place)
{
	__sync_val_compare_and_swap(&place->busy, 1, 0);
}

static __always_inline bool mseg_is_same_flow(const struct mseg_flow_event *a,
					      const struct mseg_flow_event *b)
{
	const __u64 *left = (const __u64 *)a, *right = (const __u64 *)b;
	__u64 differ = 0;

#pragma unroll
	for (int i = 0; i < MSEG_FLOW_EQUAL_BYTES / 8; i++)
		differ |= left[i] ^ right[i];
	return !differ;
}

/*
 * `place` is taken, and its `next` is what happened, but for the time. To read the clock is a third of
 * what a report takes, so for equal events it is done once a tick.
 */
static __always_inline void mseg_count_flow(struct mseg_flow_count *place)
{
	struct mseg_flow_event *event = &place->event, *next = &place->next;
	__u64 tick = bpf_jiffies64();

	if (mseg_is_same_flow(event, next)) {
		if (place->tick != tick)
			event->time_ns = bpf_ktime_get_ns();
		place->tick = tick;
		event->count++;
		event->peer_port = next->peer_port;
		return;
	}
	next->time_ns = bpf_ktime_get_ns();
	place->tick = tick;
	if (event->count && !mseg_send_event(event))
		mseg_count_many(MSEG_CNT_FLOW_EVENTS_LOST, event->count);
	if (!mseg_send_event(next))
		mseg_count(MSEG_CNT_FLOW_EVENTS_LOST);
	__builtin_memcpy(event, next, sizeof(*event));
	event->count = 0;
}

/*
 * `peer` is NULL unless it is a process that is known. A global function: every hook reports, some in
 * several places, and the verifier looks at it once in each hook.
 */
__weak __noinline int mseg_report_decision(const struct mseg_conn *conn,
					   const struct mseg_identity *local,
					   const struct mseg_identity *peer,
					   const struct mseg_decision *d, __u64 place)
{
	struct mseg_flow_count *count;
	struct mseg_flow_event *event;
	__u32 index;

	if (!conn || !local || !d)
		return 0;
	mseg_count_decision(d, local);
	if (d->verdict == MSEG_ALLOW && d->would_be == MSEG_ALLOW && !mseg_reports_allowed())
		return 0;
	index = mseg_flow_place(conn, local, peer, place);
	count = bpf_map_lookup_elem(&mseg_flow_counts, &index);
	if (count && mseg_take_flow(count)) {
		mseg_fill_event(&count->next, conn, local, peer, d, place);
		mseg_count_flow(count);
		mseg_give_flow(count);
		return 0;
	}
	event = bpf_ringbuf_reserve(&mseg_flows, sizeof(*event), 0);
	if (!event) {
		mseg_count(MSEG_CNT_FLOW_EVENTS_LOST);
		return 0;
	}
	mseg_fill_event(event, conn, local, peer, d, place);
	event->time_ns = bpf_ktime_get_ns();
	mseg_submit_event(event);
	return 0;
}

/* The service port is the responder's. */
static __always_inline void mseg_report(const struct mseg_conn *conn,
					const struct mseg_identity *local,
					const struct mseg_identity *peer,
					const struct mseg_decision *d, __u8 direction, __u16 port,
					__u32 generation)
{
	mseg_report_decision(conn, local, peer, d,
			     generation | (__u64)port << 32 | (__u64)direction << 48);
}

#endif /* MSEG_REPORT_BPF_H_ */
