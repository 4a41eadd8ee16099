// SPDX-License-Identifier: Apache-2.0
/*
 * Who answers at an address of this host?
 *
 * The process that called listen() (handshake.bpf.c), or bind() for UDP: these hooks run in it. An
 * entry goes when its last socket is released, which is reported for every socket of the managed
 * cgroups; so does what is known of the other end of a connection.
 *
 * Hooks: cgroup/post_bind4, post_bind6, sock_release.
 */
#include "listener.bpf.h"

SEC("cgroup/post_bind4")
int mseg_post_bind4(struct bpf_sock *ctx)
{
	if (ctx->protocol == IPPROTO_UDP)
		mseg_listen(bpf_get_netns_cookie(ctx), bpf_get_socket_cookie(ctx),
			    mseg_addr4(ctx->src_ip4), ctx->src_port, IPPROTO_UDP);
	return 1;
}

SEC("cgroup/post_bind6")
int mseg_post_bind6(struct bpf_sock *ctx)
{
	struct mseg_addr addr = {};

	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	addr.words[0] = ctx->src_ip6[0];
	addr.words[1] = ctx->src_ip6[1];
	addr.words[2] = ctx->src_ip6[2];
	addr.words[3] = ctx->src_ip6[3];
	mseg_listen(bpf_get_netns_cookie(ctx), bpf_get_socket_cookie(ctx), addr, ctx->src_port,
		    IPPROTO_UDP);
	return 1;
}

SEC("cgroup/sock_release")
int mseg_sock_release(struct bpf_sock *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	if (mseg_may_have(MSEG_MARKED_LISTENING, cookie))
		mseg_drop_listener(cookie);
	mseg_forget_peer(cookie);
	return 1;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
