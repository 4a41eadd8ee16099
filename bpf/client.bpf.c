// SPDX-License-Identifier: Apache-2.0
/*
 * May this process talk to that address?
 *
 * Asked where the kernel still runs in the process that asks, before a packet exists, so the answer
 * is EPERM at once. connect4/6 also see MSG_FASTOPEN; sendmsg4/6 every datagram with an address of
 * its own. Who is at the address is answered from the table of this host's listeners, so that both
 * ends are judged here when both are here.
 *
 * Hooks: cgroup/connect4, connect6, sendmsg4, sendmsg6.
 */
#include "judge.bpf.h"

/* Fast Open, by sendmsg() or by a socket that was told to. */
static __always_inline bool mseg_sends_with_syn(struct bpf_sock_addr *ctx)
{
	struct tcp_sock *tcp = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;

	return tcp && (tcp->fastopen_req || BPF_CORE_READ_BITFIELD(tcp, fastopen_connect));
}

/* Does the address do for the server of this socket, or nothing else? Not where the slot is lost. */
static __always_inline bool mseg_address_does(__u64 cookie)
{
	const struct mseg_slot *slot = mseg_slot_of(cookie);
	__u8 wire, path;

	if (!slot)
		return false;
	wire = slot->wire;
	path = slot->path;
	return *(volatile const __u64 *)&slot->cookie == cookie &&
	       (!wire || (wire & MSEG_SLOT_BY_ADDRESS &&
			  (path & MSEG_PATH_MODE) != MSEG_PATH_REQUIRE));
}

/* Nothing is sent to a server that must prove itself, before it has. */
static __always_inline bool mseg_waits_for_proof(struct bpf_sock_addr *ctx, struct mseg_conn *conn)
{
	struct mseg_identity self = {};
	struct mseg_peer nobody = {};
	__u32 generation;

	if (conn->protocol != IPPROTO_TCP || !mseg_wire_config() ||
	    mseg_address_does(conn->cookie) || !mseg_sends_with_syn(ctx))
		return true;
	generation = mseg_active_generation();
	if (!generation)
		return true;
	mseg_current(&self, generation);
	conn->proof = MSEG_PROOF_NONE;
	mseg_count(MSEG_CNT_NO_PROOF);
	return mseg_refuse(conn, &self, &nobody, MSEG_REASON_NO_PROOF, generation);
}

static __always_inline int mseg_client(struct bpf_sock_addr *ctx, struct mseg_addr addr, __u8 hook)
{
	struct mseg_conn conn = {};

	conn.cookie = bpf_get_socket_cookie(ctx);
	conn.peer = mseg_destination(addr);
	conn.peer_port = mseg_service(ctx->protocol, bpf_ntohs((__u16)ctx->user_port));
	conn.protocol = ctx->protocol;
	if (mseg_was_listened(conn.protocol, conn.peer_port)) /* else no listener is looked for */
		conn.netns_cookie = bpf_get_netns_cookie(ctx);
	conn.hook = hook;
	return mseg_judge_client(&conn) && mseg_waits_for_proof(ctx, &conn);
}

static __always_inline struct mseg_addr mseg_user_addr6(struct bpf_sock_addr *ctx)
{
	struct mseg_addr addr = {};

	addr.words[0] = ctx->user_ip6[0];
	addr.words[1] = ctx->user_ip6[1];
	addr.words[2] = ctx->user_ip6[2];
	addr.words[3] = ctx->user_ip6[3];
	return addr;
}

SEC("cgroup/connect4")
int mseg_connect4(struct bpf_sock_addr *ctx)
{
	return mseg_client(ctx, mseg_addr4(ctx->user_ip4), MSEG_HOOK_CONNECT);
}

SEC("cgroup/connect6")
int mseg_connect6(struct bpf_sock_addr *ctx)
{
	return mseg_client(ctx, mseg_user_addr6(ctx), MSEG_HOOK_CONNECT);
}

SEC("cgroup/sendmsg4")
int mseg_sendmsg4(struct bpf_sock_addr *ctx)
{
	return mseg_client(ctx, mseg_addr4(ctx->user_ip4), MSEG_HOOK_SENDMSG);
}

SEC("cgroup/sendmsg6")
int mseg_sendmsg6(struct bpf_sock_addr *ctx)
{
	return mseg_client(ctx, mseg_user_addr6(ctx), MSEG_HOOK_SENDMSG);
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
