// SPDX-License-Identifier: Apache-2.0
/*
 * May this process talk to that address? (full mode)
 *
 * The same question as client.bpf.c asks, at the LSM hooks: they are not bound to a cgroup, so no
 * other cgroup program and no detached link changes their answer. Fast Open does not pass
 * socket_connect, so socket_sendmsg looks at every message that names a destination. What passes
 * here is reported here: the cgroup's hook, next in the same call, finds a note and judges anew only
 * what differs from it (another cgroup program may have changed the destination).
 *
 * Hooks: lsm/socket_connect, lsm/socket_sendmsg.
 */
#include "judge.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline bool mseg_read_destination(const void *address, struct mseg_conn *conn)
{
	struct sockaddr_in in = {};
	struct sockaddr_in6 in6 = {};

	bpf_probe_read_kernel(&in, sizeof(in), address);
	if (in.sin_family == AF_INET) {
		conn->peer = mseg_destination(mseg_addr4(in.sin_addr));
		conn->peer_port = bpf_ntohs(in.sin_port);
		return true;
	}
	if (in.sin_family != AF_INET6)
		return false;
	bpf_probe_read_kernel(&in6, sizeof(in6), address);
	__builtin_memcpy(conn->peer.bytes, in6.sin6_addr, sizeof(conn->peer.bytes));
	conn->peer = mseg_destination(conn->peer);
	conn->peer_port = bpf_ntohs(in6.sin6_port);
	return true;
}

static __always_inline int mseg_lsm_client(struct socket *sock, const void *address, __u8 hook)
{
	struct mseg_conn conn = {};
	struct sock *sk = sock->sk;
	__u16 family;

	if (!sk || !mseg_current_is_managed())
		return 0;
	family = sk->__sk_common.skc_family;
	if ((family != AF_INET && family != AF_INET6) || !mseg_read_destination(address, &conn))
		return 0;
	/* The kernel will not: it is connected already, or listens. Whose it is stays as it is. */
	if (sock->type == SOCK_STREAM && sk->__sk_common.skc_state != BPF_TCP_CLOSE)
		return 0;
	conn.netns_cookie = sk->__sk_common.skc_net.net->net_cookie;
	conn.cookie = bpf_get_socket_cookie(sk);
	conn.protocol = sk->sk_protocol;
	conn.peer_port = mseg_service(conn.protocol, conn.peer_port);
	conn.hook = hook;
	return mseg_judge_client(&conn) ? 0 : -EPERM;
}

SEC("lsm/socket_connect")
int BPF_PROG(mseg_lsm_connect, struct socket *sock, struct sockaddr *address, int addrlen, int ret)
{
	return ret ? ret : mseg_lsm_client(sock, address, MSEG_HOOK_LSM_CONNECT);
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(mseg_lsm_sendmsg, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	/* A stream ignores the name, except to open a connection with it. */
	if (ret || !msg->msg_name ||
	    (sock->type != SOCK_DGRAM && !(msg->msg_flags & MSG_FASTOPEN)))
		return ret;
	return mseg_lsm_client(sock, msg->msg_name, MSEG_HOOK_LSM_SENDMSG);
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
