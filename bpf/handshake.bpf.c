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
 * The client judges the server (handshake_client.bpf.h); the server records who was proven, in the
 * strict form after server.bpf.c let the proof pass; in the fast form it judges the client
 * (handshake_server.bpf.h). A loser is quarantined (quarantine.bpf.c).
 *
 * Hook: sockops. Also who listens: TCP_LISTEN_CB runs in the process that called listen().
 */
#include "handshake_client.bpf.h"
#include "handshake_server.bpf.h"

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
