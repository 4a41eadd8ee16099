// SPDX-License-Identifier: Apache-2.0
/*
 * Does somebody else use this socket than whom it was judged for? (full mode)
 *
 * A socket goes from process to process: as a descriptor in a message, over fork, over exec. Who it
 * was judged for is on record with it, as the program in the process that opened it; whoever else
 * uses it is judged again, unless policy does not tell the two apart, or as `passing` of its
 * Workload says. Asked when a descriptor arrives and, because nothing is asked at fork and exec, of
 * each message that is sent: one look-up in an array and three numbers to compare where nothing
 * changed hands.
 *
 * A connection that this host's process opened is judged as if its new user had opened it; one that
 * was accepted, as if its new user had been the one to accept. A listening socket belongs to whoever
 * accepts; connections that wait already were judged for its former user, so a confined process that
 * takes it over has to wait until there are none.
 *
 * Hooks: lsm/file_receive, socket_sendmsg, socket_accept.
 */
#include "accepted.bpf.h"
#include "doors.bpf.h"
#include "listener.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline bool mseg_asks_current(void)
{
	return mseg_current_is_managed() && !mseg_current_is_daemon();
}

static __always_inline bool mseg_is_inet(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6;
}

/* What is on record of a connected socket; NULL: the other end opened it, or nobody was asked. */
static __always_inline struct mseg_slot *mseg_opened(struct sock *sk)
{
	if (!sk || !mseg_is_inet(sk) || !sk->__sk_common.skc_dport)
		return NULL;
	return mseg_slot_of(sk->__sk_common.skc_cookie.counter);
}

/* Does policy take the two for one? A function of its own, for the sake of the stack. */
static __noinline bool mseg_opener_is_like(__u64 cookie, __u32 cls, __u32 generation)
{
	struct mseg_identity opener;

	return mseg_socket_owner(cookie, &opener) && mseg_resolve(&opener, generation) &&
	       opener.cls == cls;
}

static __always_inline void mseg_read_connection(struct sock *sk, struct mseg_conn *conn)
{
	conn->cookie = sk->__sk_common.skc_cookie.counter;
	conn->netns_cookie = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	conn->peer_port = bpf_ntohs(sk->__sk_common.skc_dport);
	conn->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (sk->__sk_common.skc_family == AF_INET)
		conn->peer = mseg_addr4(BPF_CORE_READ(sk, __sk_common.skc_daddr));
	else
		bpf_core_read(&conn->peer, sizeof(conn->peer), &sk->__sk_common.skc_v6_daddr);
	conn->peer = mseg_destination(conn->peer);
}

/* Who answered, if that was proven, else who is there now. 0, or a reason to refuse. */
static __always_inline int mseg_peer_of(const struct mseg_conn *conn, struct mseg_peer *peer,
					__u32 generation)
{
	int reason;

	if (!mseg_recall_peer(conn->cookie, &peer->id))
		return mseg_peer_at(conn, peer, generation) ? 0 : MSEG_REASON_NO_ROW;
	reason = mseg_resolve_remote(&peer->id, generation);
	peer->cls = peer->id.cls;
	return reason;
}

/*
 * The owner stays, unless the entry is another socket's. A function of its own, for the sake of the
 * stack.
 */
static __noinline int mseg_set_accepted_user(__u64 cookie, __u32 generation)
{
	struct mseg_accepted *place = mseg_accepted_place(cookie);
	__u64 was;

	if (!mseg_take_accepted(place, &was))
		return 0;
	if (was != cookie) {
		__builtin_memset(&place->owner, 0, sizeof(place->owner));
		place->owner.flags = MSEG_ID_NO_RECORD;
	}
	mseg_hold(&place->holder, generation);
	mseg_give_place(&place->cookie, cookie);
	return 0;
}

/*
 * It may be used. Where datagrams carry an identity, each carries that of who sends it: the socket is
 * its user's from now on. What has lost its slot gets none: it would take the place of a newer one, or
 * stand for what the handshake was to carry. A function of its own, for the sake of the stack.
 */
static __noinline int mseg_let_use(const struct mseg_conn *conn, struct mseg_slot *slot,
				   const struct mseg_identity *self, __u32 generation)
{
	const struct mseg_wire *wire = mseg_wire_config();

	if (!slot) {
		mseg_set_accepted_user(conn->cookie, generation);
		return true;
	}
	if (conn->protocol == IPPROTO_UDP && wire && wire->udp &&
	    (!mseg_own_socket(conn->cookie, self, 0, 0) ||
	     !mseg_udp_flow_open(conn, generation, self, NULL, MSEG_EGRESS)))
		return false;
	mseg_hold(&slot->holder, generation);
	return true;
}

/* A connection within this host, and nobody listens there any more: of its peer nothing is known. */
static __always_inline bool mseg_peer_has_gone(const struct mseg_conn *conn,
					       const struct mseg_peer *peer)
{
	return !peer->known && !peer->id.flags &&
	       mseg_addr_is_local(&conn->peer, conn->netns_cookie);
}

/*
 * The handshake's identity stays the opener's: the other host was told that one. Without a slot it was
 * opened by nobody that is on record, before mseg was there or 65,536 sockets ago: judged as if its
 * user had opened it now. A function of its own, for the sake of the stack.
 */
static __noinline int mseg_judge_user(struct sock *sk, struct mseg_slot *slot, __u8 hook)
{
	__u32 generation = mseg_active_generation();
	struct mseg_conn conn = { .hook = hook };
	struct mseg_peer peer = {};
	struct mseg_identity self;
	__u16 doors;
	int reason;

	if (!generation || !mseg_asks_current())
		return true;
	mseg_read_connection(sk, &conn);
	if (!mseg_current(&self, generation))
		return mseg_refuse(&conn, &self, &peer, MSEG_REASON_NO_ROW, generation);
	doors = mseg_doors_of(self.cgroup_id, generation);
	if (!(doors & MSEG_DOOR_PASSING_ALLOW) &&
	    !(slot && mseg_opener_is_like(conn.cookie, self.cls, generation))) {
		reason = doors & MSEG_DOOR_PASSING_DENY &&
					 (slot || hook == MSEG_HOOK_LSM_FILE_RECEIVE) ?
				 MSEG_REASON_PASSING : mseg_peer_of(&conn, &peer, generation);
		if (reason)
			return mseg_refuse(&conn, &self, &peer, reason, generation);
		if (!(!slot && mseg_peer_has_gone(&conn, &peer)) &&
		    !mseg_judge_pair(&conn, &self, &peer, generation))
			return false;
	}
	return mseg_let_use(&conn, slot, &self, generation);
}

/* As mseg_refuse(), of who serves at `port`. */
static __always_inline bool mseg_refuse_server(const struct mseg_conn *conn,
					       const struct mseg_identity *self, int reason,
					       __u16 port, __u32 generation)
{
	struct mseg_decision d = mseg_refusal(reason);

	mseg_report(conn, self, NULL, &d, MSEG_INGRESS, port, generation);
	return false;
}

/* ---- accepted connections ---- */

enum mseg_acceptor {
	MSEG_ACCEPTOR_UNKNOWN,
	MSEG_ACCEPTOR_LIKE, /* policy does not tell them apart, or cannot */
	MSEG_ACCEPTOR_OTHER,
};

/* Who listens where it came in, beside this class? Functions of their own, for the sake of the stack. */
static __noinline int mseg_acceptor_at(struct sock *sk, __u64 netns_cookie, __u32 cls,
				       __u32 generation)
{
	struct mseg_listener *listener;
	struct mseg_identity owner;
	struct mseg_addr local = {};

	if (sk->__sk_common.skc_family == AF_INET)
		local = mseg_addr4(sk->__sk_common.skc_rcv_saddr);
	else
		bpf_core_read(&local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
	listener = mseg_find_listener(netns_cookie, &local, IPPROTO_TCP, sk->__sk_common.skc_num);
	if (!listener)
		return MSEG_ACCEPTOR_UNKNOWN;
	if (listener->owner.id.flags & MSEG_ID_AMBIGUOUS)
		return MSEG_ACCEPTOR_LIKE;
	return mseg_owner(listener, &owner, generation) && owner.cls == cls ? MSEG_ACCEPTOR_LIKE :
									     MSEG_ACCEPTOR_OTHER;
}

/* The same of who listened when it was established. */
static __noinline int mseg_acceptor_on_record(__u64 cookie, const struct mseg_identity *self,
					      __u32 generation)
{
	const struct mseg_accepted *place = mseg_accepted_place(cookie);
	struct mseg_identity owner;

	if (!self || !mseg_is_on_record(place, cookie))
		return MSEG_ACCEPTOR_UNKNOWN;
	owner = place->owner;
	if (!mseg_is_on_record(place, cookie) || owner.flags & MSEG_ID_NO_RECORD)
		return MSEG_ACCEPTOR_UNKNOWN;
	if (owner.flags & MSEG_ID_AMBIGUOUS)
		return MSEG_ACCEPTOR_LIKE;
	/* More may be known by now of what it ran then. */
	if (mseg_exe_may_change(&owner))
		return owner.tgid == self->tgid ? MSEG_ACCEPTOR_LIKE : MSEG_ACCEPTOR_UNKNOWN;
	return mseg_resolve(&owner, generation) && owner.cls == self->cls ? MSEG_ACCEPTOR_LIKE :
									     MSEG_ACCEPTOR_OTHER;
}

/*
 * The other end: proven, or what its address says; of a process of this host nobody can tell here
 * which one it is. A function of its own, for the sake of the stack.
 */
static __noinline int mseg_judge_accepted(const struct mseg_conn *conn,
					  const struct mseg_identity *self, __u16 port,
					  __u32 generation)
{
	__u32 side = MSEG_SIDE(generation);
	struct mseg_identity peer = {};
	struct mseg_decision d;
	int reason = 0;

	if (mseg_recall_peer(conn->cookie, &peer))
		reason = mseg_resolve_remote(&peer, generation);
	else
		peer.cls = mseg_address_class(&conn->peer, generation);
	if (reason)
		d = mseg_refusal(reason);
	else if (!peer.flags && mseg_addr_is_local(&conn->peer, conn->netns_cookie))
		d = mseg_judge_nameless(self->cls, MSEG_INGRESS,
					mseg_port_class(side, IPPROTO_TCP, port), side);
	else
		d = mseg_judge_end(self->cls, peer.cls, MSEG_INGRESS, IPPROTO_TCP, port,
				   generation);
	mseg_report(conn, self, peer.flags ? &peer : NULL, &d, MSEG_INGRESS, port, generation);
	return d.verdict == MSEG_ALLOW;
}

#define MSEG_NOT_ACCEPTED 2

/* 1 or 0, or MSEG_NOT_ACCEPTED. */
static __always_inline int mseg_judge_heir(struct sock *sk, __u64 cookie, __u8 hook)
{
	__u32 generation = mseg_active_generation();
	struct mseg_conn conn = { .hook = hook };
	__u16 port = sk->__sk_common.skc_num;
	struct mseg_identity self;
	int acceptor;
	__u16 doors;

	if (!generation || !mseg_asks_current())
		return true;
	mseg_read_connection(sk, &conn);
	conn.cookie = cookie;
	if (!mseg_current(&self, generation))
		return mseg_refuse_server(&conn, &self, MSEG_REASON_NO_ROW, port, generation);
	doors = mseg_doors_of(self.cgroup_id, generation);
	acceptor = mseg_acceptor_on_record(cookie, &self, generation);
	if (acceptor == MSEG_ACCEPTOR_UNKNOWN) {
		acceptor = mseg_acceptor_at(sk, conn.netns_cookie, self.cls, generation);
		if (acceptor == MSEG_ACCEPTOR_UNKNOWN && !sk->sk_max_ack_backlog)
			return MSEG_NOT_ACCEPTED; /* it had a listener's port */
		/* Nobody listens any more, and of its client nothing is known here. */
		if (acceptor == MSEG_ACCEPTOR_UNKNOWN &&
		    mseg_addr_is_local(&conn.peer, conn.netns_cookie))
			acceptor = MSEG_ACCEPTOR_LIKE;
	}
	if (!(doors & MSEG_DOOR_PASSING_ALLOW) && acceptor != MSEG_ACCEPTOR_LIKE) {
		if (doors & MSEG_DOOR_PASSING_DENY && acceptor == MSEG_ACCEPTOR_OTHER)
			return mseg_refuse_server(&conn, &self, MSEG_REASON_PASSING, port,
						  generation);
		if (!mseg_judge_accepted(&conn, &self, port, generation))
			return false;
	}
	mseg_set_accepted_user(cookie, generation);
	return true;
}

/* The socket itself, before it was disconnected and opened a connection. */
static __always_inline bool mseg_has_listened(__u64 cookie)
{
	return mseg_may_have(MSEG_MARKED_LISTENING, cookie) &&
	       bpf_map_lookup_elem(&mseg_listening, &cookie);
}

/*
 * A connection without a slot: accepted, if it was cloned from a listening socket; else one that was
 * opened here. 1 or 0, or MSEG_NOT_ACCEPTED. A function of its own: two hooks ask.
 */
static __noinline int mseg_may_use_accepted(struct sock *sk, __u8 hook)
{
	__u64 cookie = bpf_get_socket_cookie(sk);
	struct mseg_accepted *place = mseg_accepted_place(cookie);
	bool on_record = mseg_is_on_record(place, cookie);

	if (on_record && mseg_is_holder(&place->holder) && mseg_is_on_record(place, cookie))
		return 1;
	if ((!on_record || place->owner.flags & MSEG_ID_NO_RECORD) &&
	    (!sk->sk_max_ack_backlog || mseg_has_listened(cookie)))
		return MSEG_NOT_ACCEPTED;
	return mseg_judge_heir(sk, cookie, hook);
}

/* ---- descriptors in use, and on their way ---- */

static __always_inline bool mseg_may_use(struct sock *sk, __u8 hook)
{
	struct mseg_slot *slot = mseg_opened(sk);
	int may = MSEG_NOT_ACCEPTED;

	if (slot && mseg_is_holder(&slot->holder))
		return true;
	/* UDP is answered where somebody else began, whom nobody can tell without a slot; the kernel's
	 * own sockets are nobody's. */
	if (!slot && (!sk || !mseg_is_inet(sk) || !sk->__sk_common.skc_dport ||
		      sk->sk_protocol != IPPROTO_TCP || !sk->sk_socket || !sk->sk_socket->file))
		return true;
	if (!slot)
		may = mseg_may_use_accepted(sk, hook);
	return may == MSEG_NOT_ACCEPTED ? mseg_judge_user(sk, slot, hook) : may;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(mseg_lsm_send_held, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	if (ret)
		return ret;
	return mseg_may_use(sock->sk, MSEG_HOOK_LSM_SENDMSG) ? 0 : -EPERM;
}

static __always_inline struct sock *mseg_received_sock(struct file *file)
{
	struct socket *socket = mseg_asks_current() ? bpf_sock_from_file(file) : NULL;

	return socket ? socket->sk : NULL;
}

SEC("lsm/file_receive")
int BPF_PROG(mseg_lsm_file_receive, struct file *file, int ret)
{
	struct sock *sk = ret ? NULL : mseg_received_sock(file);

	if (!sk)
		return ret;
	return mseg_may_use(sk, MSEG_HOOK_LSM_FILE_RECEIVE) ? 0 : -EPERM;
}

/* One of a kind that is closed to the receiver is closed here too. */
SEC("lsm/file_receive")
int BPF_PROG(mseg_lsm_receive_kind, struct file *file, int ret)
{
	struct sock *sk = ret ? NULL : mseg_received_sock(file);
	__u32 family, protocol;

	if (!sk)
		return ret;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	protocol = BPF_CORE_READ(sk, sk_protocol);
	return mseg_kind_is_open(MSEG_HOOK_LSM_FILE_RECEIVE, family, BPF_CORE_READ(sk, sk_type),
				 protocol) ? 0 : -EPERM;
}

/* ---- listening sockets ---- */

/* From now on this is the current process' address. A function of its own: so large a record. */
static __noinline int mseg_take_listener(struct mseg_listener_key *key, __u32 generation)
{
	struct mseg_listener *there = bpf_map_lookup_elem(&mseg_listeners, key);
	struct mseg_listener taken;

	if (!there)
		return 0;
	taken = *there;
	mseg_task_facts(bpf_get_current_task(), &taken.owner);
	mseg_hold(&taken.holder, 0);
	bpf_map_update_elem(&mseg_listeners, key, &taken, BPF_EXIST);
	mseg_listeners_changed();
	return 0;
}

static __always_inline bool mseg_judge_acceptor(struct mseg_listener_key *key,
						struct mseg_listener *listener, __u32 waiting)
{
	struct mseg_conn conn = { .hook = MSEG_HOOK_LSM_ACCEPT, .protocol = IPPROTO_TCP };
	__u32 generation = mseg_active_generation();
	struct mseg_identity self, owner;
	__u16 doors;

	if (!generation || !mseg_asks_current() || listener->owner.id.flags & MSEG_ID_AMBIGUOUS)
		return true;
	if (!mseg_current(&self, generation))
		return mseg_refuse_server(&conn, &self, MSEG_REASON_NO_ROW, key->port,
					  generation);
	doors = mseg_doors_of(self.cgroup_id, generation);
	if (doors & MSEG_DOOR_PASSING_ALLOW ||
	    (mseg_owner(listener, &owner, generation) && owner.cls == self.cls)) {
		mseg_hold(&listener->holder, generation);
		return true;
	}
	if (doors & MSEG_DOOR_PASSING_DENY)
		return mseg_refuse_server(&conn, &self, MSEG_REASON_PASSING, key->port,
					  generation);
	if (waiting &&
	    mseg_judge_nameless(self.cls, MSEG_INGRESS, 0, MSEG_SIDE(generation)).verdict == MSEG_DENY)
		return mseg_refuse_server(&conn, &self, MSEG_REASON_PASSING, key->port,
					  generation);
	mseg_take_listener(key, generation);
	return true;
}

SEC("lsm/socket_accept")
int BPF_PROG(mseg_lsm_accept, struct socket *sock, struct socket *newsock, int ret)
{
	struct sock *sk = sock->sk;
	struct mseg_listener *listener;
	struct mseg_listener_key *key;
	__u64 cookie;

	if (ret || !sk || !mseg_is_inet(sk))
		return ret;
	cookie = sk->__sk_common.skc_cookie.counter;
	key = bpf_map_lookup_elem(&mseg_listening, &cookie);
	listener = key ? bpf_map_lookup_elem(&mseg_listeners, key) : NULL;
	if (!listener || mseg_is_holder(&listener->holder))
		return 0;
	return mseg_judge_acceptor(key, listener, sk->sk_ack_backlog) ? 0 : -EPERM;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
