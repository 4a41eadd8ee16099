/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_HANDSHAKE_SERVER_BPF_H_
#define MSEG_HANDSHAKE_SERVER_BPF_H_

/*
 * The server's side of a handshake: its answer, and what it makes of the child that the last segment
 * made. Its verdict in the strict form is in server.bpf.c.
 */

#include "handshake.bpf.h"

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

#endif /* MSEG_HANDSHAKE_SERVER_BPF_H_ */
