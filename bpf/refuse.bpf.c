// SPDX-License-Identifier: Apache-2.0
/*
 * Was the first packet of this connection refused a moment ago?
 *
 * A SYN that the listener's policy refuses is dropped without a word (server.bpf.c); its client would
 * try again for two minutes. The next one is answered with a reset by the kernel itself, once, so
 * that the client has its ECONNREFUSED in about a second. A stale or missing entry only means that
 * server.bpf.c decides again.
 *
 * Hook: sk_lookup, of each network namespace with a listener.
 */
#include "maps.bpf.h"
#include "mseg/tcp_option.h"
#include <bpf/bpf_endian.h>

static __always_inline void mseg_refused_ends(struct bpf_sk_lookup *ctx,
					      struct mseg_refused_key *key)
{
	__u32 *remote = (__u32 *)key->remote, *local = (__u32 *)key->local;

	/* Volatile, or clang reads them through a moved context pointer, which is not allowed. */
	__u32 remote4 = *(volatile __u32 *)&ctx->remote_ip4;
	__u32 local4 = *(volatile __u32 *)&ctx->local_ip4;

	remote[0] = *(volatile __u32 *)&ctx->remote_ip6[0];
	remote[1] = *(volatile __u32 *)&ctx->remote_ip6[1];
	remote[2] = *(volatile __u32 *)&ctx->remote_ip6[2];
	remote[3] = *(volatile __u32 *)&ctx->remote_ip6[3];
	local[0] = *(volatile __u32 *)&ctx->local_ip6[0];
	local[1] = *(volatile __u32 *)&ctx->local_ip6[1];
	local[2] = *(volatile __u32 *)&ctx->local_ip6[2];
	local[3] = *(volatile __u32 *)&ctx->local_ip6[3];
	if (ctx->family != AF_INET)
		return;
	remote[0] = remote[1] = local[0] = local[1] = 0;
	remote[2] = local[2] = bpf_htonl(0xffff);
	remote[3] = remote4;
	local[3] = local4;
}

static __always_inline bool mseg_refused_lately(void)
{
	__u32 zero = 0;
	const __u64 *last = bpf_map_lookup_elem(&mseg_last_refused, &zero);

	return !last || mseg_refused_since(*(volatile const __u64 *)last, bpf_ktime_get_coarse_ns());
}

SEC("sk_lookup")
int mseg_refuse_lookup(struct bpf_sk_lookup *ctx)
{
	struct mseg_refused_key key = {};
	const __u64 *found;
	__u64 note;

	if (ctx->protocol != IPPROTO_TCP || !mseg_refused_lately())
		return SK_PASS;
	mseg_refused_ends(ctx, &key);
	key.remote_port = bpf_ntohs(ctx->remote_port);
	key.local_port = ctx->local_port;
	found = bpf_map_lookup_elem(&mseg_refused, &key);
	if (!found)
		return SK_PASS;
	note = *found;
	if (note & MSEG_REFUSED_NO_ROOM)
		return SK_PASS;
	bpf_map_delete_elem(&mseg_refused, &key);
	return mseg_refusal_holds(note, bpf_ktime_get_ns()) ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
