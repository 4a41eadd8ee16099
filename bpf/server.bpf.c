// SPDX-License-Identifier: Apache-2.0
/*
 * May this peer reach the process behind this socket?
 *
 * The listener's own verdict, where its socket is known for certain: on a SYN at a TCP listener,
 * and on a datagram at an unconnected UDP socket that no allowed flow covers. A connection of this
 * host was judged at connect already; it is judged again with the identity that its socket carries,
 * so that nothing depends on the listener table alone. Everything else passes at the price of
 * reading the socket's state.
 *
 * Who sent it: for what arrives over the loopback device the sending socket is looked up and its
 * owner is on record; for everything else the source address decides. Identity carried by the
 * packet itself will be read in mseg_sender().
 *
 * Hook: cgroup_skb/ingress.
 */
#include "listener.bpf.h"

struct mseg_packet {
	struct mseg_addr source;
	struct mseg_addr destination;
	__u16 source_port;
	__u16 destination_port;
	__u8 tcp_flags;
	__u8 v4;
};

#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_ACK 0x10
#define MSEG_IPV6_HEADERS 8

/* Offset of the transport header behind IPv6 extension headers; 0: cannot tell. */
static __always_inline __u32 mseg_ipv6_transport(struct __sk_buff *skb, __u8 next, __u8 want)
{
	__u32 off = sizeof(struct ipv6hdr);
	__u8 head[2];

	for (int i = 0; i < MSEG_IPV6_HEADERS; i++) {
		if (next == want)
			return off;
		if (bpf_skb_load_bytes(skb, off, head, sizeof(head)))
			return 0;
		if (next == 0 || next == 43 || next == 60) /* hop-by-hop, routing, destination */
			off += 8 + head[1] * 8;
		else if (next == 44) /* fragment */
			off += 8;
		else if (next == 51) /* authentication */
			off += (head[1] + 2) * 4;
		else
			return 0;
		next = head[0];
	}
	return 0;
}

/* Functions of their own, for the sake of the stack: 512 bytes over all frames. */
static __noinline bool mseg_parse(struct __sk_buff *skb, __u8 protocol, struct mseg_packet *out)
{
	struct ipv6hdr ip6;
	struct iphdr ip;
	__be16 ports[2];
	__u32 off;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return false;
		off = ip.ihl * 4;
		out->v4 = 1;
		out->source = mseg_addr4(ip.saddr);
		out->destination = mseg_addr4(ip.daddr);
	} else {
		if (bpf_skb_load_bytes(skb, 0, &ip6, sizeof(ip6)))
			return false;
		off = mseg_ipv6_transport(skb, ip6.nexthdr, protocol);
		if (!off)
			return false;
		__builtin_memcpy(out->source.bytes, ip6.saddr, 16);
		__builtin_memcpy(out->destination.bytes, ip6.daddr, 16);
	}
	if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports)))
		return false;
	out->source_port = bpf_ntohs(ports[0]);
	out->destination_port = bpf_ntohs(ports[1]);
	if (protocol == IPPROTO_TCP && bpf_skb_load_bytes(skb, off + 13, &out->tcp_flags, 1))
		return false;
	return true;
}

static __always_inline __u32 mseg_reverse_tuple(const struct mseg_packet *packet,
						struct bpf_sock_tuple *tuple)
{
	/* The sender's socket, seen as the receiver of a packet from the destination. */
	if (packet->v4) {
		tuple->ipv4.saddr = packet->destination.words[3];
		tuple->ipv4.daddr = packet->source.words[3];
		tuple->ipv4.sport = bpf_htons(packet->destination_port);
		tuple->ipv4.dport = bpf_htons(packet->source_port);
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, packet->destination.bytes, 16);
	__builtin_memcpy(tuple->ipv6.daddr, packet->source.bytes, 16);
	tuple->ipv6.sport = bpf_htons(packet->destination_port);
	tuple->ipv6.dport = bpf_htons(packet->source_port);
	return sizeof(tuple->ipv6);
}

/* No helper gives the cookie of a looked-up socket here; it is read through a plain address. */
static __always_inline __u64 mseg_cookie_of(void *sk)
{
	struct sock *address = (void *)mseg_address_of(sk);

	return BPF_CORE_READ(address, __sk_common.skc_cookie.counter);
}

static __noinline __u64 mseg_sender_cookie(struct __sk_buff *skb, __u8 protocol,
					    const struct mseg_packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = mseg_reverse_tuple(packet, &tuple);
	struct bpf_sock *sk;
	__u64 cookie;

	if (protocol == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	cookie = mseg_cookie_of(sk);
	bpf_sk_release(sk);
	return cookie;
}

/* Who sent this packet? False: a fault, deny. */
static __always_inline bool mseg_sender(struct __sk_buff *skb, const struct mseg_packet *packet,
					__u8 protocol, struct mseg_peer *peer, __u32 generation)
{
	__u64 cookie = 0;

	if (skb->ifindex == LOOPBACK_IFINDEX)
		cookie = mseg_sender_cookie(skb, protocol, packet);
	if (cookie && mseg_socket_owner(cookie, &peer->id)) {
		peer->known = 1;
		if (!mseg_resolve(&peer->id, generation))
			return false;
		peer->cls = peer->id.cls;
		return true;
	}
	peer->cls = mseg_address_class(&packet->source, MSEG_SIDE(generation));
	return true;
}

/* Nothing on record for the receiving socket: what its cgroup and user say, executable unknown. */
static __always_inline bool mseg_anonymous_receiver(struct __sk_buff *skb,
						    struct mseg_identity *out, __u32 generation)
{
	__builtin_memset(out, 0, sizeof(*out));
	out->cgroup_id = bpf_skb_cgroup_id(skb);
	out->uid = bpf_get_socket_uid(skb);
	out->flags = MSEG_ID_NO_RECORD;
	mseg_count(MSEG_CNT_NO_TASK);
	return mseg_resolve(out, generation);
}

static __always_inline bool mseg_admit(struct __sk_buff *skb, struct mseg_conn *conn,
				       const struct mseg_packet *packet, __u32 generation)
{
	__u32 side = MSEG_SIDE(generation);
	struct mseg_identity self = {};
	struct mseg_peer peer = {};
	struct mseg_decision d;
	bool resolved = false;

	if (!mseg_receiver(conn->cookie, &self, generation, &resolved))
		resolved = mseg_anonymous_receiver(skb, &self, generation);
	if (!resolved || !mseg_sender(skb, packet, conn->protocol, &peer, generation))
		d = mseg_refusal(MSEG_REASON_NO_ROW);
	else if (mseg_addr_is_loopback(&packet->destination) &&
		 mseg_loopback_pair(&packet->source, &self, &peer, side))
		d = mseg_loopback_allowance();
	else
		d = mseg_judge_end(self.cls, peer.cls, MSEG_INGRESS,
				   mseg_port_class(side, conn->protocol, packet->destination_port),
				   side);
	/* What came from a process of this host was reported when it connected or sent. */
	if (!peer.known || d.verdict != MSEG_ALLOW)
		mseg_report(conn, &self, peer.known ? &peer.id : NULL, &d, MSEG_INGRESS,
			    packet->destination_port, generation);
	if (d.verdict != MSEG_ALLOW)
		return false;
	return conn->protocol != IPPROTO_UDP ||
	       mseg_udp_flow_open(conn, generation, &self, MSEG_INGRESS);
}

static __always_inline bool mseg_receive(struct __sk_buff *skb, __u8 protocol)
{
	__u32 generation = mseg_active_generation();
	struct mseg_packet packet = {};
	struct mseg_conn conn = {};

	if (!generation)
		return true;
	if (!mseg_parse(skb, protocol, &packet)) {
		mseg_count(MSEG_CNT_UNREADABLE_PACKETS);
		return false;
	}
	if (protocol == IPPROTO_TCP &&
	    (packet.tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) != TCP_FLAG_SYN)
		return true;
	conn.cookie = bpf_get_socket_cookie(skb);
	conn.peer = packet.source;
	conn.peer_port = packet.source_port;
	conn.protocol = protocol;
	conn.hook = MSEG_HOOK_INGRESS;
	if (protocol == IPPROTO_UDP && mseg_udp_flow_holds(&conn, generation, NULL))
		return true;
	return mseg_admit(skb, &conn, &packet, generation);
}

SEC("cgroup_skb/ingress")
int mseg_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u32 state;

	if (!sk)
		return 1;
	state = sk->state;
	if (state != BPF_TCP_LISTEN && state != BPF_TCP_CLOSE)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (state == BPF_TCP_LISTEN)
		return mseg_receive(skb, IPPROTO_TCP);
	return sk->protocol != IPPROTO_UDP || mseg_receive(skb, IPPROTO_UDP);
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
