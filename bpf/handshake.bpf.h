/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_HANDSHAKE_BPF_H_
#define MSEG_HANDSHAKE_BPF_H_

/* What both ends of a handshake need at its callbacks (handshake.bpf.c). */

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

/* ---- what was carried, and by whom ---- */

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

/* What a denial is called where nobody knows what the ids of the other end mean. */
static __always_inline void mseg_name_unrecorded(struct mseg_decision *d,
						 const struct mseg_identity *peer)
{
	if (d->verdict == MSEG_DENY && d->reason == MSEG_REASON_UNKNOWN_IDENTITY &&
	    peer->flags & MSEG_ID_UNRECORDED)
		d->reason = MSEG_REASON_NO_RECORD;
}

#endif /* MSEG_HANDSHAKE_BPF_H_ */
