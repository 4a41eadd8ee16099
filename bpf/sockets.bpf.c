// SPDX-License-Identifier: Apache-2.0
/*
 * Which connections are open, and who holds them?
 *
 * Asked by the daemon when a generation comes into force, because what was allowed before may not
 * be any more. It writes facts only: who opened a socket (slots), who answers at its address
 * (listeners) and the verdict are the daemon's to find. A socket counts if its own cgroup is
 * managed, which the cgroup hooks go by, or the process that holds it. Listening sockets are written
 * too: behind one, connections may wait that nobody holds yet.
 *
 * Hook: iter/task_file.
 */
#include "address.bpf.h"
#include "identity.bpf.h"
#include <bpf/bpf_tracing.h>

#define BPF_TCP_TIME_WAIT 6

static __always_inline bool mseg_sock_is_open(struct sock *sk, __u8 *protocol, __u8 *state)
{
	__u16 number = BPF_CORE_READ(sk, sk_protocol); /* MPTCP's does not fit in 8 bits */

	*protocol = number;
	*state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (number == IPPROTO_UDP)
		return *state == BPF_TCP_ESTABLISHED;
	return number == IPPROTO_TCP && *state != BPF_TCP_CLOSE && *state != BPF_TCP_TIME_WAIT;
}

/* IPv4 in an IPv6 socket is v4-mapped there already. */
static __always_inline bool mseg_read_ends(struct sock *sk, struct mseg_socket_record *out)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct mseg_addr local = {}, remote = {};

	if (family == AF_INET) {
		local = mseg_addr4(BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		remote = mseg_addr4(BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else if (family == AF_INET6) {
		bpf_core_read(&local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(&remote, sizeof(remote), &sk->__sk_common.skc_v6_daddr);
	} else {
		return false;
	}
	__builtin_memcpy(out->local, local.bytes, sizeof(out->local));
	__builtin_memcpy(out->remote, remote.bytes, sizeof(out->remote));
	out->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	out->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	out->ifindex = BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
	return true;
}

static __always_inline bool mseg_is_managed(struct task_struct *task, struct sock *sk)
{
	return mseg_cgroup_is_managed(BPF_CORE_READ(sk, sk_cgrp_data.cgroup)) ||
	       mseg_task_is_managed(task);
}

static __always_inline bool mseg_read_socket(struct task_struct *task, struct sock *sk,
					     struct mseg_socket_record *out)
{
	if (!mseg_sock_is_open(sk, &out->protocol, &out->state) || !mseg_is_managed(task, sk) ||
	    !mseg_read_ends(sk, out))
		return false;
	out->cookie = bpf_get_socket_cookie(sk);
	out->netns_cookie = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	out->holder_start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	mseg_task_facts(mseg_address_of(task), &out->holder);
	return true;
}

SEC("iter/task_file")
int mseg_walk_sockets(struct bpf_iter__task_file *ctx)
{
	struct mseg_socket_record record = {};
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	if (!sk || !mseg_read_socket(task, sk, &record))
		return 0;
	record.fd = ctx->fd;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
