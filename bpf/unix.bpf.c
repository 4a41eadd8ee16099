// SPDX-License-Identifier: Apache-2.0
/*
 * May these two processes talk over an AF_UNIX socket? (full mode)
 *
 * Asked where one of both belongs to a Workload that says `unix: judge`, of that end; nobody else is
 * asked anything. Who answers is on record since it called bind() or listen(), as the program that
 * it was then; of a socket without a record (older than mseg) its cgroup says the labels, the
 * executable is unknown. There are no ports: rules that name services say nothing here.
 *
 * The two ends that socketpair() makes are their maker's, until another program uses one of them:
 * it is judged then as if it had connected to whoever uses the other, and that end is its own. It
 * does not matter how it came by it (fork and exec, a message). Asked of what it sends.
 *
 * Hooks: lsm/socket_bind, socket_listen, unix_stream_connect, unix_may_send, socket_socketpair,
 * socket_sendmsg.
 */
#include "judge.bpf.h"
#include <bpf/bpf_tracing.h>

/* Of bound sockets and of the ends of pairs, gone with them. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mseg_listener);
} mseg_unix_owners SEC(".maps");

static __always_inline int mseg_record_unix(struct socket *sock)
{
	struct mseg_listener *there;
	struct sock *sk = sock->sk;

	if (!sk || sk->__sk_common.skc_family != AF_UNIX)
		return 0;
	there = bpf_sk_storage_get(&mseg_unix_owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (there)
		mseg_task_facts(bpf_get_current_task(), &there->owner);
	return 0;
}

SEC("lsm/socket_bind")
int BPF_PROG(mseg_lsm_unix_bind, struct socket *sock, struct sockaddr *address, int addrlen, int ret)
{
	return ret ? ret : mseg_record_unix(sock);
}

SEC("lsm/socket_listen")
int BPF_PROG(mseg_lsm_unix_listen, struct socket *sock, int backlog, int ret)
{
	return ret ? ret : mseg_record_unix(sock);
}

/* One end of it; only refusals are reported, and what would be one. */
static __always_inline bool mseg_judge_unix_end(const struct mseg_identity *end,
						const struct mseg_identity *other, __u8 direction,
						__u32 generation)
{
	struct mseg_conn conn = { .hook = MSEG_HOOK_LSM_UNIX, .family = AF_UNIX };
	struct mseg_decision d = mseg_judge_end(end->cls, other->cls, direction, 0, 0,
						generation);

	if (d.verdict == MSEG_ALLOW && d.would_be == MSEG_ALLOW)
		return true;
	mseg_report(&conn, end, other, &d, direction, 0, generation);
	return d.verdict == MSEG_ALLOW;
}

static __always_inline bool mseg_unix_is_judged(__u64 cgroup_id, __u32 generation)
{
	return mseg_doors_of(cgroup_id, generation) & MSEG_DOOR_UNIX_JUDGE;
}

/* `there`: who is on record with `other`, if anybody is. */
static __always_inline bool mseg_may_meet(struct sock *other, struct mseg_listener *there)
{
	__u32 generation = mseg_active_generation();
	struct mseg_identity self, peer = {};
	bool asks_self, asks_peer;

	if (!generation || !mseg_current_is_managed())
		return true;
	peer.cgroup_id = there ? there->owner.id.cgroup_id :
				 BPF_CORE_READ(other, sk_cgrp_data.cgroup, kn, id);
	asks_self = mseg_unix_is_judged(bpf_get_current_cgroup_id(), generation);
	asks_peer = mseg_unix_is_judged(peer.cgroup_id, generation);
	if (!asks_self && !asks_peer)
		return true;
	peer.flags = MSEG_ID_NO_RECORD;
	peer.uid = MSEG_USER_UNKNOWN;
	if (!mseg_current(&self, generation) ||
	    !(there ? mseg_owner(there, &peer, generation) : mseg_resolve(&peer, generation)))
		return false;
	/* Whoever talks to himself through a pair is nobody's peer. */
	if (there && there->pair && self.cls == peer.cls)
		return true;
	return (!asks_self || mseg_judge_unix_end(&self, &peer, MSEG_EGRESS, generation)) &&
	       (!asks_peer || mseg_judge_unix_end(&peer, &self, MSEG_INGRESS, generation));
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(mseg_lsm_unix_connect, struct sock *sock, struct sock *other, struct sock *newsk,
	     int ret)
{
	if (ret)
		return ret;
	return mseg_may_meet(other, bpf_sk_storage_get(&mseg_unix_owners, other, NULL, 0)) ?
		       0 : -EPERM;
}

SEC("lsm/unix_may_send")
int BPF_PROG(mseg_lsm_unix_send, struct socket *sock, struct socket *other, int ret)
{
	struct sock *sk = ret ? NULL : other->sk;
	struct mseg_listener *there;

	if (!sk)
		return ret;
	there = bpf_sk_storage_get(&mseg_unix_owners, sk, NULL, 0);
	if (there && there->pair) /* asked below */
		return 0;
	return mseg_may_meet(sk, there) ? 0 : -EPERM;
}

/* ---- pairs ---- */

static __always_inline void mseg_record_end(struct sock *sk)
{
	struct mseg_listener *there;

	there = bpf_sk_storage_get(&mseg_unix_owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!there)
		return;
	mseg_task_facts(bpf_get_current_task(), &there->owner);
	mseg_hold(&there->holder, 0);
	there->pair = 1;
}

SEC("lsm/socket_socketpair")
int BPF_PROG(mseg_lsm_unix_pair, struct socket *a, struct socket *b, int ret)
{
	struct sock *first = ret ? NULL : a->sk;
	struct sock *second = ret ? NULL : b->sk;

	if (!first || !second || first->__sk_common.skc_family != AF_UNIX)
		return ret;
	mseg_record_end(first);
	mseg_record_end(second);
	return 0;
}

static __always_inline bool mseg_may_use_end(struct sock *sk)
{
	struct mseg_listener *mine, *there;
	struct unix_sock *end;
	struct sock *other;

	if (!sk || sk->__sk_common.skc_family != AF_UNIX)
		return true;
	mine = bpf_sk_storage_get(&mseg_unix_owners, sk, NULL, 0);
	if (!mine || !mine->pair || mseg_is_holder(&mine->holder))
		return true;
	end = bpf_skc_to_unix_sock(sk);
	other = end ? end->peer : NULL;
	if (!other) /* closed */
		return true;
	there = bpf_sk_storage_get(&mseg_unix_owners, other, NULL, 0);
	if (!there || !there->pair)
		return true;
	if (!mseg_may_meet(other, there))
		return false;
	mseg_task_facts(bpf_get_current_task(), &mine->owner);
	mseg_hold(&mine->holder, mseg_active_generation());
	return true;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(mseg_lsm_pair_send, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	return ret || mseg_may_use_end(sock->sk) ? ret : -EPERM;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
