// SPDX-License-Identifier: Apache-2.0
/*
 * Who is at the other end of this connection, and can it prove that?
 *
 * The client's SYN claims an identity, the server's SYN-ACK answers with its own under a MAC over both
 * initial sequence numbers, the client's ACK (and first data, until the server has shown that it saw
 * one) proves the claim under a MAC of its own; tcp_option.h has the bytes. Trust: the MAC's key is
 * that of the pair of hosts, which only they have, and the sequence numbers are of this handshake.
 * The owner of a connecting socket is the one that connect() wrote into its slot: later, `current` is
 * whoever happens to run.
 *
 * Here: options are written; the client judges the server; the server records who was proven, in the
 * strict form after server.bpf.c let the proof pass; in the fast form it judges the client here. A
 * loser is quarantined (quarantine.bpf.c).
 *
 * Hook: sockops. Also who listens: TCP_LISTEN_CB runs in the process that called listen().
 */
#include "accepted.bpf.h"
#include "listener.bpf.h"

/*
 * What happens at one callback is a function of its own, for the sake of the stack: 512 bytes over
 * all frames.
 */

/* Volatile, or clang reads them through a moved context pointer, which is not allowed. */
#define MSEG_CTX(field) (*(volatile __u32 *)&ctx->field)

static __always_inline struct mseg_addr mseg_local_of(struct bpf_sock_ops *ctx)
{
	struct mseg_addr addr = {};
	__u32 ip4 = MSEG_CTX(local_ip4);

	addr.words[0] = MSEG_CTX(local_ip6[0]);
	addr.words[1] = MSEG_CTX(local_ip6[1]);
	addr.words[2] = MSEG_CTX(local_ip6[2]);
	addr.words[3] = MSEG_CTX(local_ip6[3]);
	return ctx->family == AF_INET ? mseg_addr4(ip4) : addr;
}

static __always_inline struct mseg_addr mseg_remote_of(struct bpf_sock_ops *ctx)
{
	struct mseg_addr addr = {};
	__u32 ip4 = MSEG_CTX(remote_ip4);

	addr.words[0] = MSEG_CTX(remote_ip6[0]);
	addr.words[1] = MSEG_CTX(remote_ip6[1]);
	addr.words[2] = MSEG_CTX(remote_ip6[2]);
	addr.words[3] = MSEG_CTX(remote_ip6[3]);
	return ctx->family == AF_INET ? mseg_addr4(ip4) : addr;
}

static __always_inline void mseg_write_options(struct bpf_sock_ops *ctx, bool on)
{
	__u32 flags = ctx->bpf_sock_ops_cb_flags;

	if (on)
		flags |= BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
	else
		flags &= ~(__u32)BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
	bpf_sock_ops_cb_flags_set(ctx, flags);
}

static __always_inline bool mseg_carries_identity(struct bpf_sock_ops *ctx)
{
	return ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
}

/* Both initial sequence numbers from the header of the packet at hand, whose sender is `from`. */
struct mseg_isns {
	__u32 client;
	__u32 server;
};

static __always_inline bool mseg_read_isns(struct bpf_sock_ops *ctx, bool from_server, __u8 path,
					   struct mseg_isns *out)
{
	const struct tcphdr *tcp = ctx->skb_data;
	__u32 seq, ack;

	if ((void *)(tcp + 1) > ctx->skb_data_end)
		return false;
	seq = bpf_ntohl(tcp->seq);
	ack = bpf_ntohl(tcp->ack_seq);
	/* A SYN-ACK's own number is the initial one; an ACK's is one beyond it. */
	out->server = from_server ? seq : ack - 1;
	out->client = from_server ? ack - 1 : seq - 1;
	if (path & MSEG_PATH_UNBOUND)
		out->server = out->client = 0;
	return true;
}

/* ---- losers ---- */

static __always_inline void mseg_report_quarantine(struct bpf_sock_ops *ctx, __u64 cookie)
{
	struct mseg_quarantine_event *event;

	event = bpf_ringbuf_reserve(&mseg_control, sizeof(*event), 0);
	if (!event) {
		mseg_count(MSEG_CNT_CONTROL_EVENTS_LOST);
		return;
	}
	event->type = MSEG_EVENT_QUARANTINE;
	event->pad = 0;
	event->cookie = cookie;
	event->netns_cookie = bpf_get_netns_cookie(ctx);
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
}

/*
 * Nothing passes from here on. Where the map takes the socket not (full, or a subflow of MPTCP), it
 * is bound to a device that does not exist: the kernel answers what still comes with a reset.
 */
static __always_inline void mseg_cut_off(struct bpf_sock_ops *ctx, __u64 cookie)
{
	__u64 *put = mseg_quarantine_count(MSEG_QUARANTINE_PUT);
	int nowhere = 0x7ffffffe;

	mseg_write_options(ctx, false);
	mseg_count(MSEG_CNT_QUARANTINED);
	if (bpf_sock_hash_update(ctx, &mseg_quarantine, &cookie, BPF_ANY)) {
		mseg_count(MSEG_CNT_QUARANTINE_FAILED);
		bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTOIFINDEX, &nowhere, sizeof(nowhere));
	} else if (put) {
		__sync_fetch_and_add(put, 1);
	}
	mseg_report_quarantine(ctx, cookie);
}

/* A function of its own, for the sake of the stack. */
static __noinline bool mseg_keep_peer(__u64 cookie, const struct mseg_identity *peer)
{
	return mseg_remember_peer(cookie, peer);
}

/* ---- what is written ---- */

static __always_inline void mseg_reserve(struct bpf_sock_ops *ctx, __u32 len)
{
	if (bpf_reserve_hdr_opt(ctx, len, 0))
		mseg_count(MSEG_CNT_NO_ROOM);
}

static __always_inline void mseg_option_length(struct bpf_sock_ops *ctx)
{
	struct mseg_slot *slot;

	if (!ctx->is_fullsock) {
		mseg_reserve(ctx, MSEG_ANSWER_LEN);
		return;
	}
	slot = mseg_wire_slot(bpf_get_socket_cookie(ctx));
	if (ctx->state == BPF_TCP_SYN_SENT && slot) {
		mseg_reserve(ctx, MSEG_CLAIM_LEN);
		return;
	}
	/* Marked until it is judged, with a slot or without. */
	if (ctx->state == BPF_TCP_SYN_SENT || ctx->state == BPF_TCP_SYN_RECV)
		return;
	if (!slot) {
		mseg_write_options(ctx, false);
		return;
	}
	/* Until the server has sent or acknowledged data: then it has seen one. */
	if (!(slot->wire & MSEG_SLOT_PROVE) || ctx->bytes_received || ctx->bytes_acked > 1)
		mseg_write_options(ctx, false);
	else
		mseg_reserve(ctx, MSEG_PROOF_LEN);
}

static __always_inline void mseg_claim_of_slot(const struct mseg_wire *wire,
					       const struct mseg_slot *slot, __u8 epoch,
					       struct mseg_claim *claim)
{
	__builtin_memset(claim, 0, sizeof(*claim));
	claim->label_id = slot->owner.label_id;
	claim->exe_id = slot->owner.exe_id;
	claim->grade = slot->owner.grade;
	claim->host_id = wire->host_id;
	claim->epoch = epoch;
}

static __always_inline void mseg_write_claim(struct bpf_sock_ops *ctx,
					     const struct mseg_wire *wire)
{
	struct mseg_slot *slot = mseg_wire_slot(bpf_get_socket_cookie(ctx));
	__u8 option[MSEG_PROOF_LEN] = {};
	struct mseg_claim claim;

	if (!slot)
		return;
	if (ctx->state == BPF_TCP_SYN_SENT) {
		mseg_claim_of_slot(wire, slot, mseg_epoch(wire), &claim);
		mseg_build_claim(option, wire->kind, wire->exid, MSEG_CLAIM_LEN, &claim);
		bpf_store_hdr_opt(ctx, option, MSEG_CLAIM_LEN, 0);
		return;
	}
	mseg_claim_of_slot(wire, slot, slot->epoch, &claim);
	mseg_build_claim(option, wire->kind, wire->exid, MSEG_PROOF_LEN, &claim);
	mseg_build_proof_mac(option, slot->mac);
	bpf_store_hdr_opt(ctx, option, MSEG_PROOF_LEN, 0);
}

static __noinline __u64 mseg_print_of(__u64 label_id, __u64 exe_id)
{
	struct mseg_fingerprint_value ids = { .label_id = label_id, .exe_id = exe_id };
	__u64 *known = bpf_map_lookup_elem(&mseg_prints, &ids);
	__u64 print;

	if (known)
		return *known;
	print = mseg_fingerprint(label_id, exe_id);
	bpf_map_update_elem(&mseg_prints, &ids, &print, BPF_ANY);
	return print;
}

/* What the header at hand, or the SYN that it answers, carries. 0, or a negative error. */
static __always_inline int mseg_load_option(struct bpf_sock_ops *ctx, const struct mseg_wire *wire,
					    __u8 *option, __u32 len, __u64 flags)
{
	int size;

	/* What to look for: the kind, and the ExID as a magic number. */
	option[0] = wire->kind;
	option[1] = MSEG_OPTION_HEAD;
	option[2] = wire->exid >> 8;
	option[3] = (__u8)wire->exid;
	size = bpf_load_hdr_opt(ctx, option, len, flags);
	if (size < 0)
		return size;
	return (__u32)size == len && mseg_option_is(option, wire->kind, wire->exid, len) ? 0 : -1;
}

/*
 * For whom to make the MAC of an answer: whose claim the SYN carried. 0: nobody's. A global function:
 * the verifier looks at it once.
 */
__weak __noinline int mseg_claimant(struct bpf_sock_ops *ctx, __u32 client_isn)
{
	const struct mseg_wire *wire = mseg_wire_config();
	__u32 place = mseg_syn_place(client_isn);
	__u8 claim[MSEG_CLAIM_LEN] = {};
	const __u64 *note;

	if (!wire)
		return 0;
	if (!mseg_load_option(ctx, wire, claim, sizeof(claim), BPF_LOAD_HDR_OPT_TCP_SYN))
		return mseg_parse_claim(claim).host_id;
	note = bpf_map_lookup_elem(&mseg_syns, &place);
	return note ? mseg_syn_host(*(volatile const __u64 *)note, client_isn) : 0;
}

/*
 * Who answers: the listener at this address. There is no socket here, and a SYN-ACK that is sent
 * again no longer sees the SYN. Where nobody knows any more for whom to make a MAC, it stays zero.
 */
static __noinline int mseg_write_answer(struct bpf_sock_ops *ctx, const struct mseg_wire *wire)
{
	__u8 option[MSEG_ANSWER_LEN] = {};
	__u32 generation = mseg_active_generation();
	struct mseg_addr local = mseg_local_of(ctx), remote;
	struct mseg_answer answer = {};
	struct mseg_identity id = {};
	struct mseg_wire_key key;
	struct mseg_isns isns;
	__u32 host;

	if (!generation ||
	    mseg_who_listens(bpf_get_netns_cookie(ctx), &local, IPPROTO_TCP,
			     ctx->local_port, generation, &id) != 1)
		return 0;
	answer.fingerprint = mseg_print_of(id.label_id, id.exe_id);
	answer.host_id = wire->host_id;
	answer.grade = id.grade;
	answer.epoch = mseg_epoch(wire);
	mseg_build_answer(option, wire->kind, wire->exid, &answer);
	remote = mseg_remote_of(ctx);
	if (!mseg_read_isns(ctx, true, 0, &isns))
		return 0;
	host = mseg_claimant(ctx, isns.client);
	if (mseg_path_of(wire, &remote) & MSEG_PATH_UNBOUND)
		isns.client = isns.server = 0;
	if (host && !mseg_key_of_host(wire, host, answer.epoch, &key))
		mseg_put48(option + 14, mseg_answer_mac(&key, isns.client, isns.server, option));
	bpf_store_hdr_opt(ctx, option, sizeof(option), 0);
	return 0;
}

/* Nothing on record for this end: what the socket's cgroup says. */
static __noinline int mseg_nameless_self(struct bpf_sock_ops *ctx, struct mseg_identity *out,
					 __u32 generation)
{
	struct sock *address;

	if (!ctx->sk)
		return 0;
	address = (void *)mseg_address_of(ctx->sk);
	__builtin_memset(out, 0, sizeof(*out));
	out->cgroup_id = BPF_CORE_READ(address, sk_cgrp_data.cgroup, kn, id);
	out->uid = MSEG_USER_UNKNOWN;
	out->flags = MSEG_ID_NO_RECORD;
	mseg_count(MSEG_CNT_NO_TASK);
	return mseg_resolve(out, generation);
}

/* ---- the client judges the server ---- */

static __always_inline struct mseg_conn mseg_conn_of(struct bpf_sock_ops *ctx, __u64 cookie)
{
	struct mseg_conn conn = {};

	conn.cookie = cookie;
	conn.peer = mseg_remote_of(ctx);
	conn.peer_port = bpf_ntohl(MSEG_CTX(remote_port));
	conn.protocol = IPPROTO_TCP;
	conn.hook = MSEG_HOOK_ESTABLISHED;
	return conn;
}

/*
 * Who answered? 0: proven, `server` is filled in and the slot holds the proof to send. Else a reason;
 * MSEG_REASON_NO_PROOF if there is no answer, or one without a MAC.
 */
static __noinline int mseg_read_answer(struct bpf_sock_ops *ctx, const struct mseg_wire *wire,
				       struct mseg_slot *slot, struct mseg_identity *server)
{
	__u8 option[MSEG_PROOF_LEN] = {};
	struct mseg_fingerprint_key print = {};
	struct mseg_fingerprint_value *ids;
	struct mseg_answer answer;
	struct mseg_wire_key key;
	struct mseg_claim claim;
	struct mseg_isns isns;
	int reason;

	if (mseg_load_option(ctx, wire, option, MSEG_ANSWER_LEN, 0) ||
	    !mseg_read_isns(ctx, true, slot->path, &isns))
		return MSEG_REASON_NO_PROOF;
	answer = mseg_parse_answer(option);
	reason = mseg_key_of_host(wire, answer.host_id, answer.epoch, &key);
	if (reason)
		return reason;
	if (answer.mac && answer.mac != mseg_answer_mac(&key, isns.client, isns.server, option)) {
		mseg_count(MSEG_CNT_BAD_PROOF);
		return MSEG_REASON_BAD_PROOF;
	}
	print.fingerprint = answer.fingerprint;
	print.host_id = answer.host_id;
	mseg_claim_of_slot(wire, slot, answer.epoch, &claim);
	mseg_build_claim(option, wire->kind, wire->exid, MSEG_PROOF_LEN, &claim);
	slot->mac = mseg_proof_mac(&key, isns.client, isns.server, option);
	slot->epoch = answer.epoch;
	slot->peer_host = answer.host_id;
	slot->wire |= MSEG_SLOT_PROVE;
	if (!answer.mac)
		return MSEG_REASON_NO_PROOF;
	ids = bpf_map_lookup_elem(&mseg_fingerprints, &print);
	server->uid = MSEG_USER_UNKNOWN;
	server->tgid = answer.host_id;
	server->grade = answer.grade;
	server->flags = MSEG_ID_REMOTE;
	if (ids) {
		server->label_id = ids->label_id;
		server->exe_id = ids->exe_id;
	}
	if (!server->exe_id)
		server->grade = MSEG_GRADE_UNKNOWN;
	return 0;
}

/* What a denial is called where nobody knows what the ids of the other end mean. */
static __always_inline void mseg_name_unrecorded(struct mseg_decision *d,
						 const struct mseg_identity *peer)
{
	if (d->verdict == MSEG_DENY && d->reason == MSEG_REASON_UNKNOWN_IDENTITY &&
	    peer->flags & MSEG_ID_UNRECORDED)
		d->reason = MSEG_REASON_NO_RECORD;
}

/* A function of its own, for the sake of the stack. Fills in the decision. */
static __noinline int mseg_judge_server(struct mseg_identity *self, struct mseg_identity *server,
					__u16 port, struct mseg_decision *d)
{
	__u32 generation = mseg_active_generation();
	int reason;

	if (!mseg_resolve(self, generation)) {
		*d = mseg_refusal(MSEG_REASON_NO_ROW);
		return 0;
	}
	reason = mseg_resolve_remote(server, generation);
	if (reason) {
		*d = mseg_refusal(reason);
		return 0;
	}
	*d = mseg_judge_end(self->cls, server->cls, MSEG_EGRESS, IPPROTO_TCP, port, generation);
	mseg_name_unrecorded(d, server);
	return 0;
}

/* The verdict by address, for a server that has proven nothing. */
static __noinline int mseg_judge_address(struct mseg_identity *self, const struct mseg_addr *addr,
					 __u16 port, struct mseg_decision *d)
{
	__u32 generation = mseg_active_generation();

	if (!mseg_resolve(self, generation)) {
		*d = mseg_refusal(MSEG_REASON_NO_ROW);
		return 0;
	}
	*d = mseg_judge_end(self->cls, mseg_address_class(addr, generation), MSEG_EGRESS,
			    IPPROTO_TCP, port, generation);
	return 0;
}

/*
 * Nobody knows who answered. The path may allow to go by the address; only then is there no proof to
 * send, unless a host has at least said who it is.
 */
static __always_inline bool mseg_server_unproven(struct bpf_sock_ops *ctx, struct mseg_slot *slot,
						 const struct mseg_conn *conn,
						 struct mseg_identity *self,
						 struct mseg_decision *d)
{
	if ((slot->path & MSEG_PATH_MODE) == MSEG_PATH_REQUIRE) {
		mseg_count(MSEG_CNT_NO_PROOF);
		*d = mseg_refusal(MSEG_REASON_NO_PROOF);
		return false;
	}
	mseg_judge_address(self, &conn->peer, conn->peer_port, d);
	if (d->verdict != MSEG_ALLOW) {
		mseg_count(MSEG_CNT_NO_PROOF);
		*d = mseg_refusal(MSEG_REASON_NO_PROOF);
		return false;
	}
	mseg_count_proof(MSEG_PROOF_NONE);
	if (!(slot->wire & MSEG_SLOT_PROVE))
		mseg_write_options(ctx, false);
	return true;
}

/*
 * Not accepted: what a listener's handshake has made is nobody's descriptor yet, but for MPTCP, whose
 * later subflows belong to a connection already. A function of its own, for the sake of the stack.
 */
static __noinline int mseg_has_connected(struct bpf_sock_ops *ctx)
{
	struct sock *address;

	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || !ctx->sk)
		return ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	address = (void *)mseg_address_of(ctx->sk);
	if (!BPF_CORE_READ(address, sk_socket))
		return false;
	return !bpf_core_field_exists(struct tcp_sock, is_mptcp) ||
	       !BPF_CORE_READ((struct tcp_sock *)address, is_mptcp) ||
	       !BPF_CORE_READ(address, sk_max_ack_backlog);
}

/*
 * A handshake that was to carry an identity is complete, and another socket's record lies in the place
 * of its own: nobody knows any more who connected, nor whom it may meet.
 */
static __noinline int mseg_client_lost(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct mseg_decision d = mseg_refusal(MSEG_REASON_NO_STATE);
	struct mseg_conn conn = mseg_conn_of(ctx, cookie);
	__u32 generation = mseg_active_generation();
	struct mseg_identity self = {};

	if (!generation) {
		mseg_write_options(ctx, false);
		return 0;
	}
	mseg_count(MSEG_CNT_SLOT_LOST);
	mseg_nameless_self(ctx, &self, generation);
	mseg_report(&conn, &self, NULL, &d, MSEG_EGRESS, conn.peer_port, generation);
	mseg_cut_off(ctx, cookie);
	return 0;
}

/* False: its slot is lost. */
static __noinline int mseg_client_established(struct bpf_sock_ops *ctx, const struct mseg_wire *wire)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct mseg_slot *slot = mseg_wire_slot(cookie);
	struct mseg_identity self, server = {};
	struct mseg_decision d = {};
	struct mseg_conn conn;
	bool keep;
	int reason;

	if (!slot)
		return false;
	conn = mseg_conn_of(ctx, cookie);
	conn.proof = MSEG_PROOF_NONE;
	self = slot->owner;
	reason = mseg_read_answer(ctx, wire, slot, &server);
	if (reason == MSEG_REASON_NO_PROOF) {
		keep = mseg_server_unproven(ctx, slot, &conn, &self, &d);
	} else if (reason) {
		d = mseg_refusal(reason);
		keep = false;
	} else {
		conn.proof = mseg_proof_kind_of(slot->path);
		mseg_count_proof(conn.proof);
		mseg_judge_server(&self, &server, conn.peer_port, &d);
		keep = d.verdict == MSEG_ALLOW;
		/* Where the address would not do, later generations must know who it was. */
		if (keep && !(slot->wire & MSEG_SLOT_BY_ADDRESS) &&
		    !mseg_keep_peer(cookie, &server)) {
			mseg_count(MSEG_CNT_PEERS_FULL);
			d = mseg_refusal(MSEG_REASON_NO_STATE);
			keep = false;
		}
	}
	/* It gave way meanwhile: what was read of it may be another socket's. */
	if (*(volatile __u64 *)&slot->cookie != cookie)
		return false;
	mseg_report(&conn, &self, server.flags ? &server : NULL, &d, MSEG_EGRESS, conn.peer_port,
		    self.generation);
	if (!keep) {
		slot->wire = 0;
		mseg_cut_off(ctx, cookie);
	}
	return true;
}

/* ---- the server's side of it ---- */

/* Who answers here: the listener; where none is on record, what the child's cgroup says. */
static __noinline int mseg_server_self(struct bpf_sock_ops *ctx, struct mseg_identity *out,
				       __u32 generation)
{
	struct mseg_addr local = mseg_local_of(ctx);
	int found = mseg_who_listens(bpf_get_netns_cookie(ctx), &local, IPPROTO_TCP,
				     ctx->local_port, generation, out);

	return found ? found == 1 : mseg_nameless_self(ctx, out, generation);
}

/* What this host sent to itself was judged by its sockets, in server.bpf.c. */
static __always_inline bool mseg_came_by_loopback(struct bpf_sock_ops *ctx)
{
	struct sock *address;

	if (!ctx->sk)
		return false;
	address = (void *)mseg_address_of(ctx->sk);
	return BPF_CORE_READ(address, sk_rx_dst_ifindex) == LOOPBACK_IFINDEX;
}

/*
 * This and the next one are global functions, which the verifier looks at once.
 *
 * Who does the segment that completed the handshake say that it is from? As mseg_word_of() in
 * server.bpf.c, but that the sequence numbers are the child's own: the segment need not be the first
 * one after the SYN. Whatever else stands in the option's place is no proof: what one parser passes
 * over another might not. Fast Open completes with the SYN, which can only claim.
 */
__weak __noinline int mseg_word_of_child(struct bpf_sock_ops *ctx, __u8 path, __u32 verify,
					 struct mseg_peer *peer)
{
	const struct mseg_wire *wire = mseg_wire_config();
	bool syn = ctx->skb_tcp_flags & 0x02;
	__u8 option[MSEG_PROOF_LEN] = {};
	struct mseg_claim claim;
	int found;

	if (!wire || !peer)
		return MSEG_REASON_NO_ROW;
	peer->proof = path & MSEG_PATH_MODE ? MSEG_PROOF_NONE : MSEG_PROOF_LEGACY;
	if (!(path & MSEG_PATH_MODE))
		return 0;
	found = mseg_load_option(ctx, wire, option, syn ? MSEG_CLAIM_LEN : MSEG_PROOF_LEN, 0);
	if (found == -ENOMSG && (!verify || (path & MSEG_PATH_MODE) != MSEG_PATH_REQUIRE))
		return 0;
	if (found || syn) {
		mseg_count(MSEG_CNT_NO_PROOF);
		return MSEG_REASON_NO_PROOF;
	}
	claim = mseg_parse_claim(option);
	peer->id = mseg_identity_of_claim(&claim);
	peer->proof = mseg_proof_kind_of(path);
	if (!verify)
		return 0;
	return mseg_check_proof(wire, path, MSEG_CTX(rcv_nxt) - 1, MSEG_CTX(snd_nxt) - 1, option,
				&claim);
}

/* The server's verdict, in the fast form. 1: allowed. */
__weak __noinline int mseg_admit_child(struct bpf_sock_ops *ctx, const struct mseg_peer *peer,
				       int reason, __u32 generation)
{
	struct mseg_conn conn = mseg_conn_of(ctx, bpf_get_socket_cookie(ctx));
	__u32 peer_class;
	struct mseg_identity self = {};
	struct mseg_decision d;
	__u16 port = ctx->local_port;

	if (!peer)
		return 0;
	peer_class = peer->id.cls;
	conn.proof = peer->proof;
	if (!mseg_server_self(ctx, &self, generation))
		reason = MSEG_REASON_NO_ROW;
	if (!peer->id.flags)
		peer_class = mseg_address_class(&conn.peer, generation);
	if (reason)
		d = mseg_refusal(reason);
	else
		d = mseg_judge_end(self.cls, peer_class, MSEG_INGRESS, IPPROTO_TCP, port,
				   generation);
	mseg_name_unrecorded(&d, &peer->id);
	/* On a path that carries nothing the SYN was reported. */
	if (d.verdict != MSEG_ALLOW || peer->proof != MSEG_PROOF_LEGACY)
		mseg_report(&conn, &self, peer->id.flags ? &peer->id : NULL, &d, MSEG_INGRESS, port,
			    generation);
	if (d.verdict != MSEG_ALLOW)
		return 0;
	mseg_count_proof(peer->proof);
	return 1;
}

/*
 * In the strict form the segment that completed the handshake has passed server.bpf.c, so a proof on
 * it is good; what Fast Open completes with a SYN has not. In the fast form it is judged here.
 * Records who was proven for as long as the connection lives.
 */
static __noinline int mseg_server_established(struct bpf_sock_ops *ctx, const struct mseg_wire *wire)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	__u32 generation = mseg_active_generation();
	struct mseg_addr remote = mseg_remote_of(ctx);
	__u16 port = ctx->local_port;
	struct mseg_peer peer = {};
	bool verify = false;
	int reason;

	if (mseg_carries_identity(ctx))
		mseg_write_options(ctx, false);
	if (!generation)
		return 0;
	if (!mseg_came_by_loopback(ctx))
		verify = ctx->skb_tcp_flags & 0x02 ||
			 mseg_proven_when_established(mseg_forms_of(port), port);
	reason = mseg_word_of_child(ctx, mseg_path_of(wire, &remote), verify, &peer);
	if (!reason && peer.id.flags)
		reason = mseg_resolve_remote(&peer.id, generation);
	if ((reason || verify) && !mseg_admit_child(ctx, &peer, reason, generation)) {
		mseg_cut_off(ctx, cookie);
		return 0;
	}
	if (!peer.id.flags || mseg_keep_peer(cookie, &peer.id))
		return 0;
	mseg_count(MSEG_CNT_PEERS_FULL);
	mseg_cut_off(ctx, cookie);
	return 0;
}

/* Then whoever has no slot has lost it already. A function of its own, for the sake of the stack. */
static __noinline int mseg_connects_are_judged(void)
{
	__u32 zero = 0;
	const struct mseg_manifest *manifest = bpf_map_lookup_elem(&mseg_manifest, &zero);

	return manifest && manifest->loaded_at && mseg_active_generation();
}

static __always_inline void mseg_mark_opening(struct bpf_sock_ops *ctx, bool marked)
{
	if (mseg_carries_identity(ctx) != marked)
		mseg_write_options(ctx, marked);
}

static __noinline int mseg_listening_starts(struct bpf_sock_ops *ctx)
{
	mseg_listen(bpf_get_netns_cookie(ctx), bpf_get_socket_cookie(ctx), mseg_local_of(ctx),
		    ctx->local_port, IPPROTO_TCP);
	if (mseg_wire_config())
		mseg_write_options(ctx, true);
	return 0;
}

/*
 * Full mode asks who uses a connection (passing.bpf.c). A function of its own, for the sake of the
 * stack.
 */
static __noinline int mseg_note_acceptor(struct bpf_sock_ops *ctx)
{
	struct mseg_addr local = mseg_local_of(ctx);
	struct mseg_listener *listener;

	listener = mseg_find_listener(bpf_get_netns_cookie(ctx), &local, IPPROTO_TCP,
				      ctx->local_port);
	if (listener)
		mseg_accepted_by(bpf_get_socket_cookie(ctx), listener);
	return 0;
}

/* Also where both ends connected (simultaneous open): who is there, if nobody listened? */
static __always_inline void mseg_established(struct bpf_sock_ops *ctx,
					     const struct mseg_wire *wire)
{
	const struct mseg_slot *slot = mseg_slot_of(bpf_get_socket_cookie(ctx));

	if (slot && slot->wire) {
		if (!mseg_client_established(ctx, wire))
			mseg_client_lost(ctx);
	} else if (!slot && mseg_carries_identity(ctx) && mseg_has_connected(ctx)) {
		mseg_client_lost(ctx);
	} else if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		mseg_server_established(ctx, wire);
	}
}

SEC("sockops")
int mseg_sockops(struct bpf_sock_ops *ctx)
{
	const struct mseg_wire *wire;
	const struct mseg_slot *slot;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		mseg_listening_starts(ctx);
		return 1;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (mseg_full_mode)
			mseg_note_acceptor(ctx);
		break;
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		break;
	default: /* what is asked then (timeouts, windows, ECN) is for others to say */
		return 1;
	}
	wire = mseg_wire_config();
	if (!wire)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		slot = mseg_slot_of(bpf_get_socket_cookie(ctx));
		mseg_mark_opening(ctx, slot ? slot->wire : mseg_connects_are_judged());
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		mseg_option_length(ctx);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		if (ctx->is_fullsock)
			mseg_write_claim(ctx, wire);
		else
			mseg_write_answer(ctx, wire);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		mseg_established(ctx, wire);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
