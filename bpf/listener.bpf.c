// SPDX-License-Identifier: Apache-2.0
/*
 * Who answers at an address of this host?
 *
 * The process that called listen(), or bind() for UDP: these hooks run in it. An entry goes when
 * its last socket is released, which is reported for every socket of the managed cgroups.
 *
 * Hooks: sockops (TCP_LISTEN_CB), cgroup/post_bind4, post_bind6, sock_release.
 */
#include "listener.bpf.h"

static __always_inline void mseg_listen(__u64 netns_cookie, __u64 cookie, struct mseg_addr addr,
					__u16 port, __u8 protocol)
{
	struct mseg_listener_key key = {};
	struct mseg_task owner;

	key.netns_cookie = netns_cookie;
	key.port = port;
	key.protocol = protocol;
	__builtin_memcpy(key.addr, addr.bytes, sizeof(key.addr));
	mseg_task_facts((void *)bpf_get_current_task(), &owner);
	mseg_add_listener(cookie, &key, &owner);
}

SEC("sockops")
int mseg_sockops(struct bpf_sock_ops *ctx)
{
	struct mseg_addr addr = {};
	__u32 ip4;

	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	/* Volatile, or clang reads them through a moved context pointer, which is not allowed. */
	ip4 = *(volatile __u32 *)&ctx->local_ip4;
	addr.words[0] = *(volatile __u32 *)&ctx->local_ip6[0];
	addr.words[1] = *(volatile __u32 *)&ctx->local_ip6[1];
	addr.words[2] = *(volatile __u32 *)&ctx->local_ip6[2];
	addr.words[3] = *(volatile __u32 *)&ctx->local_ip6[3];
	if (ctx->family == AF_INET)
		addr = mseg_addr4(ip4);
	mseg_listen(bpf_get_netns_cookie(ctx), bpf_get_socket_cookie(ctx), addr, ctx->local_port,
		    IPPROTO_TCP);
	return 1;
}

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
	mseg_drop_listener(bpf_get_socket_cookie(ctx));
	return 1;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
