/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_HANDSHAKE_CLIENT_BPF_H_
#define MSEG_HANDSHAKE_CLIENT_BPF_H_

/* The client's side of a handshake: its claim and its proof, and its verdict on who answered. */

#include "handshake.bpf.h"

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

#endif /* MSEG_HANDSHAKE_CLIENT_BPF_H_ */
