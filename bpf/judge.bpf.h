/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_JUDGE_BPF_H_
#define MSEG_JUDGE_BPF_H_

/*
 * From two ends to a verdict: gathers what decide.h needs, counts, reports. "Cannot tell" denies
 * and is counted.
 */

#include "peers.bpf.h"
#include "places.bpf.h"
#include "report.bpf.h"
#include "wire.bpf.h"

/* The other end. */
struct mseg_peer {
	struct mseg_identity id;
	__u32 cls;
	__u8 known; /* a process of this host */
	__u8 proof; /* enum mseg_proof_kind */
	__u8 answer; /* a datagram that says it answers one */
	__u8 required; /* the path demands a proof */
};

static const struct mseg_row *mseg_row_from_map(const void *rows, const struct mseg_row_key *key)
{
	return bpf_map_lookup_elem(&mseg_rows, key);
}

static __always_inline __u16 mseg_port_class(__u32 side, __u8 protocol, __u16 port)
{
	struct mseg_port_place at = mseg_port_place(side, protocol, port);
	const struct mseg_port_block *block = bpf_map_lookup_elem(&mseg_ports, &at.block);

	return block ? block->cls[at.index & (MSEG_PORT_BLOCK - 1)] : 0;
}

/* What stands for the port: a ping socket sends requests only, whatever its address says. */
static __always_inline __u16 mseg_service(__u32 protocol, __u16 port)
{
	if (protocol == IPPROTO_ICMP)
		return MSEG_ICMP_ECHO;
	return protocol == IPPROTO_ICMPV6 ? MSEG_ICMPV6_ECHO : port;
}

static __always_inline struct mseg_decision mseg_refusal(enum mseg_reason reason)
{
	struct mseg_decision d = {};

	d.reason = reason;
	d.would_reason = reason;
	return d;
}

static __always_inline __u32 mseg_far_cell(__u32 group, __u32 tail, __u32 side)
{
	__u32 group_place = side * MSEG_GROUPS + group;
	__u32 tail_place = side * MSEG_TAILS + tail;
	const struct mseg_coarse *bits, *mask;

	bits = bpf_map_lookup_elem(&mseg_groups, &group_place);
	if (!bits)
		return 0;
	mask = bpf_map_lookup_elem(&mseg_tails, &tail_place);
	if (!mask)
		return 0;
	return mseg_cell(bits, mask);
}

/*
 * What the tables say. A global function: several hooks judge two ends, and the verifier looks at it
 * once in each.
 */
__weak __noinline int mseg_look_up_verdict(const struct mseg_question *q, struct mseg_decision *out)
{
	const struct mseg_class *local, *peer;
	__u32 side, local_place, peer_place;
	struct mseg_query query = {};

	if (!q || !out)
		return 0;
	side = MSEG_SIDE(q->generation);
	local_place = side * MSEG_CLASSES + q->end;
	peer_place = side * MSEG_CLASSES + q->peer;
	*out = mseg_refusal(MSEG_REASON_NO_ROW);
	if (!mseg_question_has_key(q))
		return 0;
	local = bpf_map_lookup_elem(&mseg_classes, &local_place);
	peer = bpf_map_lookup_elem(&mseg_classes, &peer_place);
	if (!local || !peer)
		return 0;
	query.peer = q->peer;
	query.port = q->protocol ? mseg_port_class(side, q->protocol, q->port) : 0;
	query.direction = q->direction;
	query.side = side;
	mseg_query_local(&query, local);
	query.cell = mseg_cell_is_far(local, peer, query.direction) ?
			     mseg_far_cell(peer->group, query.tail, side) :
			     mseg_near_cell(local, peer, query.direction);
	*out = mseg_decide(&query, mseg_row_from_map, NULL);
	return 0;
}

static __always_inline struct mseg_verdict_entry *mseg_verdict_entry(const struct mseg_question *q)
{
	__u32 zero = 0;
	struct mseg_verdict_cache *cache = bpf_map_lookup_elem(&mseg_verdicts, &zero);

	return cache ? &cache->entries[mseg_verdict_place(q)] : NULL;
}

/* 1 and filled in, or 0. A global function, as above. */
__weak __noinline int mseg_recall_verdict(const struct mseg_question *q, struct mseg_decision *out)
{
	const struct mseg_verdict_entry *entry;

	if (!q || !out)
		return 0;
	entry = mseg_verdict_entry(q);
	return entry && mseg_verdict_recall(entry, q, out);
}

/* What no row answered is a fault of the tables, and not kept. A global function, as above. */
__weak __noinline int mseg_keep_verdict(const struct mseg_question *q, const struct mseg_decision *d)
{
	struct mseg_verdict_entry *entry;

	if (!q || !d || !d->probe)
		return 0;
	entry = mseg_verdict_entry(q);
	if (entry)
		mseg_verdict_keep(entry, q, d);
	return 0;
}

/*
 * Do both ends belong to one workload that lets its own processes talk on loopback addresses? Asked
 * of their cgroups, which such a workload is known by; one number stands for one workload.
 */
static __always_inline bool mseg_loopback_pair(const struct mseg_addr *addr,
					       const struct mseg_identity *self,
					       const struct mseg_peer *peer, __u32 side)
{
	struct mseg_cgroup_key key = { .id = self->cgroup_id, .side = side };
	const struct mseg_cgroup *mine, *theirs;

	if (!peer->known || !mseg_addr_is_loopback(addr) ||
	    ((self->flags | peer->id.flags) & MSEG_ID_AMBIGUOUS))
		return false;
	mine = bpf_map_lookup_elem(&mseg_cgroups, &key);
	if (!mine || !mine->loopback)
		return false;
	key.id = peer->id.cgroup_id;
	theirs = bpf_map_lookup_elem(&mseg_cgroups, &key);
	return theirs && theirs->loopback == mine->loopback;
}

static __always_inline struct mseg_decision mseg_loopback_allowance(void)
{
	struct mseg_decision d = {};

	d.verdict = MSEG_ALLOW;
	d.would_be = MSEG_ALLOW;
	d.reason = MSEG_REASON_LOOPBACK;
	d.would_reason = MSEG_REASON_LOOPBACK;
	return d;
}

/* `end` and `peer` are classes; `protocol` 0: no services. */
static __always_inline struct mseg_decision mseg_judge_end(__u32 end, __u32 peer, __u8 direction,
							   __u8 protocol, __u16 port,
							   __u32 generation)
{
	struct mseg_question question = {
		.end = end, .peer = peer, .generation = generation,
		.port = port, .protocol = protocol, .direction = direction,
	};
	struct mseg_decision d = {};

	if (mseg_recall_verdict(&question, &d))
		return d;
	mseg_look_up_verdict(&question, &d);
	mseg_keep_verdict(&question, &d);
	return d;
}

/* ---- sockets and their owners ---- */

static __always_inline struct mseg_slot *mseg_slot_place(__u64 cookie)
{
	__u32 index = cookie & mseg_slots_mask;

	return bpf_map_lookup_elem(&mseg_slots, &index);
}

static __always_inline struct mseg_slot *mseg_slot_of(__u64 cookie)
{
	struct mseg_slot *slot = mseg_slot_place(cookie);

	return slot && cookie && *(volatile __u64 *)&slot->cookie == cookie ? slot : NULL;
}

static __always_inline void mseg_hold(struct mseg_holder *holder, __u32 generation)
{
	struct task_struct *task = bpf_get_current_task_btf();

	holder->start_ns = task->group_leader->start_boottime;
	holder->tgid = task->tgid;
	holder->exec_id = task->self_exec_id;
	holder->generation = generation;
}

static __always_inline bool mseg_is_holder(const struct mseg_holder *holder)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return holder->tgid == (__u32)task->tgid && holder->exec_id == (__u32)task->self_exec_id &&
	       holder->start_ns == task->group_leader->start_boottime &&
	       (!holder->generation || holder->generation == mseg_active_generation());
}

/* Two that come to one place at once write one after the other, or an owner would be another one's. */
#define MSEG_SLOT_TRIES 64

/* The cookie that was there, or MSEG_COOKIE_BUSY: somebody has been writing all the time. */
static __noinline __u64 mseg_take_slot(struct mseg_slot *slot)
{
	__u64 was;

	for (int i = 0; i < MSEG_SLOT_TRIES; i++) {
		was = *(volatile __u64 *)&slot->cookie;
		if (mseg_take_place(&slot->cookie, was))
			return was;
	}
	return MSEG_COOKIE_BUSY;
}

/* Nothing connects without an owner on record: who reads it later must not find another one. */
static __always_inline bool mseg_own_socket(__u64 cookie, const struct mseg_identity *owner,
					    __u8 wire, __u8 path)
{
	struct mseg_slot *slot = mseg_slot_place(cookie);
	__u64 was = slot && cookie ? mseg_take_slot(slot) : MSEG_COOKIE_BUSY;

	if (!slot || was == MSEG_COOKIE_BUSY) {
		mseg_count(MSEG_CNT_SLOT_FAILED);
		return false;
	}
	/* A socket that connects again: what it proved before says nothing of now. */
	if (was == cookie)
		mseg_forget_peer(cookie);
	/* Invalid while it is being written: a reader checks the cookie before and after. */
	slot->owner = *owner;
	slot->mac = 0;
	slot->peer_host = 0;
	slot->wire = wire;
	slot->path = path;
	slot->epoch = 0;
	mseg_hold(&slot->holder, 0);
	mseg_give_place(&slot->cookie, cookie);
	return true;
}

static __always_inline bool mseg_socket_owner(__u64 cookie, struct mseg_identity *out)
{
	struct mseg_slot *slot = mseg_slot_of(cookie);

	if (!slot)
		return false;
	*out = slot->owner;
	return *(volatile __u64 *)&slot->cookie == cookie;
}

/* The slot of a socket whose handshake carries options; NULL for others. */
static __always_inline struct mseg_slot *mseg_wire_slot(__u64 cookie)
{
	struct mseg_slot *slot = mseg_slot_of(cookie);

	return slot && slot->wire ? slot : NULL;
}

/* ---- one call, two hooks (full mode) ---- */

static __always_inline struct mseg_let_pass *mseg_let_pass_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mseg_let_pass, &zero);
}

static __always_inline bool mseg_is_asked_by_lsm(const struct mseg_conn *conn)
{
	return conn->hook == MSEG_HOOK_LSM_CONNECT || conn->hook == MSEG_HOOK_LSM_SENDMSG;
}

/*
 * `owner`, `wire` and `path` are for the slot. Whoever is writing there already, and was interrupted,
 * goes first.
 */
static __always_inline void mseg_note_let_pass(const struct mseg_conn *conn,
					       const struct mseg_identity *owner, __u32 generation,
					       __u8 wire, __u8 path)
{
	struct mseg_let_pass *note = mseg_let_pass_here();

	if (!note || !mseg_take_place(&note->cookie, *(volatile __u64 *)&note->cookie))
		return;
	__builtin_memcpy(note->peer, conn->peer.bytes, sizeof(note->peer));
	note->peer_port = conn->peer_port;
	note->proof = conn->proof;
	note->wire = wire;
	note->path = path;
	note->owner = *owner;
	mseg_hold(&note->holder, generation);
	mseg_give_place(&note->cookie, conn->cookie);
}

static __always_inline bool mseg_is_same_peer(const struct mseg_let_pass *note,
					      const struct mseg_conn *conn)
{
	const __u64 *left = (const __u64 *)note->peer, *right = (const __u64 *)conn->peer.bytes;

	return left[0] == right[0] && left[1] == right[1] && note->peer_port == conn->peer_port;
}

static __always_inline bool mseg_is_current(const struct mseg_identity *owner)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return owner->cgroup_id == task->cgroups->dfl_cgrp->kn->id &&
	       owner->uid == task->cred->uid.val;
}

/*
 * Was this very connection let pass by LSM a moment ago? Then its slot is written: not by LSM, which
 * asks before the socket is locked, so that another thread might have the slot of this one's handshake
 * say what another destination asks for. Else, also after a move to another processor, no.
 */
static __always_inline bool mseg_was_let_pass(struct mseg_conn *conn)
{
	struct mseg_let_pass *note = mseg_let_pass_here();
	struct mseg_identity owner;
	__u8 proof, wire, path;
	bool mine;

	if (!note || conn->protocol != IPPROTO_TCP || !conn->cookie ||
	    *(volatile __u64 *)&note->cookie != conn->cookie ||
	    !mseg_take_place(&note->cookie, conn->cookie))
		return false;
	mine = mseg_is_same_peer(note, conn) && mseg_is_holder(&note->holder) &&
	       mseg_is_current(&note->owner);
	owner = note->owner;
	proof = note->proof;
	wire = note->wire;
	path = note->path;
	mseg_give_place(&note->cookie, mine ? 0 : conn->cookie);
	if (!mine)
		return false;
	conn->proof = proof;
	return mseg_own_socket(conn->cookie, &owner, wire, path);
}

/* ---- UDP flows: functions of their own, for the sake of the stack ---- */

static __always_inline struct mseg_flow_key mseg_flow_key_of(const struct mseg_conn *conn)
{
	struct mseg_flow_key key = {};

	key.cookie = conn->cookie;
	__builtin_memcpy(key.peer, conn->peer.bytes, sizeof(key.peer));
	key.peer_port = conn->peer_port;
	return key;
}

static __noinline struct mseg_flow_state *mseg_udp_flow_of(const struct mseg_conn *conn)
{
	struct mseg_flow_key key = mseg_flow_key_of(conn);

	return bpf_map_lookup_elem(&mseg_udp_flows, &key);
}

/* Was there a datagram lately? */
static __always_inline bool mseg_flow_is_warm(const struct mseg_flow_state *flow, __u64 now_ns)
{
	__u32 zero = 0;
	const struct mseg_config *config = bpf_map_lookup_elem(&mseg_config, &zero);
	__s64 age_ns = now_ns - flow->last_ns; /* negative: another processor was here meanwhile */

	return config && (age_ns < 0 || (__u64)age_ns <= config->udp_flow_ns);
}

/* Is this datagram part of a flow that was allowed and is still warm? Keeps it warm if so. */
static __always_inline bool mseg_udp_flow_holds(const struct mseg_conn *conn, __u32 generation,
						const struct mseg_identity *sender)
{
	struct mseg_flow_state *flow = mseg_udp_flow_of(conn);
	__u64 now_ns;

	if (!flow || flow->generation != generation)
		return false;
	/* A socket may change hands; the verdict was for a process and its executable. A reply may
	 * come from any process of the same executable (workers share a server's socket). */
	if (flow->owner.exe_ref != sender->exe_ref)
		return false;
	if (flow->direction == MSEG_EGRESS && flow->owner.tgid != sender->tgid)
		return false;
	now_ns = bpf_ktime_get_ns();
	if (!mseg_flow_is_warm(flow, now_ns))
		return false;
	flow->last_ns = now_ns;
	return true;
}

/*
 * `peer`: who proved to be at the other end, or NULL. What is sent to whoever proved who it is when
 * it asked stays an answer, judged anew after a change of the generation or not.
 */
static __noinline bool mseg_udp_flow_open(const struct mseg_conn *conn, __u32 generation,
					  const struct mseg_identity *owner,
					  const struct mseg_identity *peer, __u8 direction)
{
	struct mseg_flow_key key = mseg_flow_key_of(conn);
	const struct mseg_flow_state *before = bpf_map_lookup_elem(&mseg_udp_flows, &key);
	struct mseg_flow_state flow = {};
	__u64 now_ns = bpf_ktime_get_ns();

	if (!peer && before && before->peer.host_id && before->direction == MSEG_INGRESS &&
	    mseg_flow_is_warm(before, now_ns)) {
		flow.peer = before->peer;
		/* An entry that gave way meanwhile says nothing. */
		if (bpf_map_lookup_elem(&mseg_udp_flows, &key) == before)
			direction = MSEG_INGRESS;
		else
			__builtin_memset(&flow.peer, 0, sizeof(flow.peer));
	}
	flow.last_ns = now_ns;
	flow.generation = generation;
	flow.owner = *owner;
	if (peer)
		flow.peer = mseg_remote_key_of(peer);
	flow.direction = direction;
	if (!bpf_map_update_elem(&mseg_udp_flows, &key, &flow, BPF_ANY))
		return true;
	mseg_count(MSEG_CNT_UDP_FLOWS_FAILED);
	return false;
}

/* ---- the client's side ---- */

/* Who is at conn->peer? A process of this host if one listens there, else what the address says. */
static __always_inline bool mseg_peer_at(const struct mseg_conn *conn, struct mseg_peer *peer,
					 __u32 generation)
{
	int found = 0;

	__builtin_memset(peer, 0, sizeof(*peer));
	if ((conn->protocol == IPPROTO_TCP || conn->protocol == IPPROTO_UDP) &&
	    mseg_was_listened(conn->protocol, conn->peer_port))
		found = mseg_who_listens(conn->netns_cookie, &conn->peer,
					 conn->protocol, conn->peer_port, generation, &peer->id);
	if (found && mseg_addr_is_local(&conn->peer, conn->netns_cookie)) {
		peer->known = 1;
		if (found < 0)
			return false;
		if (peer->id.flags & MSEG_ID_AMBIGUOUS)
			mseg_count(MSEG_CNT_AMBIGUOUS_LISTENER);
		peer->cls = peer->id.cls;
		return true;
	}
	if (found) /* somebody who is bound to an address that is another host's */
		__builtin_memset(&peer->id, 0, sizeof(peer->id));
	peer->cls = mseg_address_class(&conn->peer, generation);
	return true;
}

/*
 * Both ends of a connection that `self` opens, as far as they are on this host. One line for it:
 * the client's, unless the listener is the one that refuses. A global function, as above.
 */
__weak __noinline int mseg_judge_pair(const struct mseg_conn *conn, const struct mseg_identity *self,
				      const struct mseg_peer *peer, __u32 generation)
{
	struct mseg_decision egress, ingress;

	if (!conn || !self || !peer)
		return 0;
	if (mseg_loopback_pair(&conn->peer, self, peer, MSEG_SIDE(generation))) {
		egress = mseg_loopback_allowance();
		mseg_report(conn, self, &peer->id, &egress, MSEG_EGRESS, conn->peer_port,
			    generation);
		return 1;
	}
	egress = mseg_judge_end(self->cls, peer->cls, MSEG_EGRESS, conn->protocol, conn->peer_port,
				generation);
	if (egress.verdict == MSEG_ALLOW && peer->known) {
		ingress = mseg_judge_end(peer->cls, self->cls, MSEG_INGRESS, conn->protocol,
					 conn->peer_port, generation);
		if (ingress.verdict != MSEG_ALLOW || ingress.would_be != MSEG_ALLOW)
			mseg_report(conn, &peer->id, self, &ingress, MSEG_INGRESS, conn->peer_port,
				    generation);
		if (ingress.verdict != MSEG_ALLOW)
			return 0;
	}
	mseg_report(conn, self, peer->known ? &peer->id : NULL, &egress, MSEG_EGRESS,
		    conn->peer_port, generation);
	return egress.verdict == MSEG_ALLOW;
}

static __always_inline bool mseg_refuse(const struct mseg_conn *conn,
					const struct mseg_identity *self, struct mseg_peer *peer,
					enum mseg_reason reason, __u32 generation)
{
	struct mseg_decision d = mseg_refusal(reason);

	mseg_report(conn, self, peer->known ? &peer->id : NULL, &d, MSEG_EGRESS, conn->peer_port,
		    generation);
	return false;
}

/*
 * A TCP connection to another host: its answer will say who is there. Until then what the address
 * says counts, or else that somebody might be there whom a rule allows. Tells what the handshake is
 * to carry; the verdict is reported when it is complete (handshake.bpf.c).
 */
static __always_inline bool mseg_judge_remote(const struct mseg_conn *conn,
					      const struct mseg_identity *self,
					      const struct mseg_peer *peer, __u32 generation,
					      __u8 *wire)
{
	struct mseg_decision by_address, anyone = {};
	__u32 anyone_class;

	*wire = MSEG_SLOT_CLAIM;
	by_address = mseg_judge_end(self->cls, peer->cls, MSEG_EGRESS, conn->protocol,
				    conn->peer_port, generation);
	if (by_address.verdict == MSEG_ALLOW) {
		*wire |= MSEG_SLOT_BY_ADDRESS;
		return true;
	}
	if (mseg_anyone_class(generation, &anyone_class))
		anyone = mseg_judge_end(self->cls, anyone_class, MSEG_EGRESS, conn->protocol,
					conn->peer_port, generation);
	if (anyone.may)
		return true;
	mseg_report(conn, self, NULL, &by_address, MSEG_EGRESS, conn->peer_port, generation);
	return false;
}

/* May the current process open this connection, or send this datagram, in this generation? */
static __always_inline bool mseg_judge_anew(struct mseg_conn *conn, __u32 generation)
{
	struct mseg_identity self;
	struct mseg_peer peer = {};
	bool is_udp = conn->protocol == IPPROTO_UDP;
	const struct mseg_wire *config;
	__u8 path = MSEG_PATH_LEGACY, wire = 0;

	if (!mseg_current(&self, generation))
		return mseg_refuse(conn, &self, &peer, MSEG_REASON_NO_ROW, generation);
	if (is_udp && mseg_udp_flow_holds(conn, generation, &self))
		return true;
	if (!mseg_peer_at(conn, &peer, generation))
		return mseg_refuse(conn, &self, &peer, MSEG_REASON_NO_ROW, generation);
	config = conn->protocol == IPPROTO_TCP && !peer.known ? mseg_wire_config() : NULL;
	if (config) {
		path = mseg_path_of(config, &conn->peer);
		if (!(path & MSEG_PATH_MODE))
			conn->proof = MSEG_PROOF_LEGACY;
	}
	if (path & MSEG_PATH_MODE) {
		if (!mseg_judge_remote(conn, &self, &peer, generation, &wire))
			return false;
	} else if (!mseg_judge_pair(conn, &self, &peer, generation)) {
		return false;
	}
	if (!is_udp && mseg_is_asked_by_lsm(conn)) {
		mseg_note_let_pass(conn, &self, generation, wire, path);
		return true;
	}
	if (!mseg_own_socket(conn->cookie, &self, wire, path))
		return mseg_refuse(conn, &self, &peer, MSEG_REASON_NO_STATE, generation);
	if (is_udp && !mseg_udp_flow_open(conn, generation, &self, NULL, MSEG_EGRESS))
		return mseg_refuse(conn, &self, &peer, MSEG_REASON_NO_STATE, generation);
	return true;
}

/* The same, asked by one hook or two. */
static __always_inline bool mseg_judge_client(struct mseg_conn *conn)
{
	__u32 generation = mseg_active_generation();
	bool first = mseg_is_asked_by_lsm(conn) || !mseg_full_mode;

	if (!generation)
		return true;
	if ((first || !mseg_was_let_pass(conn)) && !mseg_judge_anew(conn, generation))
		return false;
	if (conn->proof == MSEG_PROOF_LEGACY && conn->hook == MSEG_HOOK_CONNECT)
		mseg_count(MSEG_CNT_LEGACY);
	return true;
}

#endif /* MSEG_JUDGE_BPF_H_ */
