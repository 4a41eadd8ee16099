// SPDX-License-Identifier: Apache-2.0
/*
 * May this peer reach the process behind this socket?
 *
 * The listener's own verdict, where its socket is known for certain: on a SYN at a TCP listener, on
 * the segment that completes its handshake, and on a datagram at an unconnected UDP socket that no
 * allowed flow covers. A connection of this
 * host was judged at connect already; it is judged again with the identity that its socket carries,
 * so that nothing depends on the listener table alone. Everything else passes at the price of
 * reading the socket's state.
 *
 * Who sent it: for what arrives over the loopback device the sending socket is looked up and its
 * owner is on record. Otherwise the packet may say so itself (tcp_option.h): a SYN's claim is good
 * for an early refusal and no more; the proof on the last segment of the handshake is believed, since
 * its MAC has the key of the two hosts and both initial sequence numbers. The kernel shows that
 * segment to the listener before a child exists, with SYN cookies too. Without either the source
 * address decides, if the path allows that. Listeners of the fast form leave that segment to
 * handshake.bpf.c.
 *
 * On a path where datagrams carry identities each of them proves its own: it was verified where it
 * came in (udp.bpf.c), which left a note; here is the socket that it is for. One without a note has
 * proven nothing, whatever came before it.
 *
 * Hook: cgroup_skb/ingress; a second program, for connected UDP sockets, only where datagrams carry
 * identities.
 */
#include "datagram.bpf.h"
#include "listener.bpf.h"

struct mseg_packet {
	struct mseg_addr source;
	struct mseg_addr destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 transport; /* offset of its header */
	__u16 udp_len; /* UDP */
	__u32 seq; /* TCP, host byte order */
	__u32 ack;
	__u8 header_len; /* TCP, with options */
	__u8 tcp_flags;
	__u8 v4;
};

#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10
#define MSEG_IPV6_HEADERS 8

/*
 * Functions of their own, for the sake of the stack: 512 bytes over all frames. Global ones, which
 * the verifier looks at once and not once for every way to them.
 */

/* Offset of the transport header behind IPv6 extension headers; 0: cannot tell. */
__weak __noinline __u32 mseg_ipv6_transport(struct __sk_buff *skb, __u8 next, __u8 want)
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

__weak __noinline int mseg_parse(struct __sk_buff *skb, __u8 protocol, struct mseg_packet *out)
{
	struct ipv6hdr ip6;
	struct iphdr ip;
	struct tcphdr tcp;
	__be16 ports[3]; /* and UDP's length */
	__u32 off;

	if (!out)
		return false;
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
	out->udp_len = bpf_ntohs(ports[2]);
	if (protocol != IPPROTO_TCP)
		return true;
	if (bpf_skb_load_bytes(skb, off, &tcp, sizeof(tcp)))
		return false;
	out->transport = off;
	out->seq = bpf_ntohl(tcp.seq);
	out->ack = bpf_ntohl(tcp.ack_seq);
	out->header_len = tcp.doff * 4;
	out->tcp_flags = tcp.flags;
	return out->header_len >= sizeof(tcp);
}

/* ---- the packet's own word ---- */

static long mseg_option_walk_step(__u32 index, void *walk)
{
	return mseg_option_step(walk) ? 0 : 1;
}

/*
 * Our option of this length somewhere among the others: its distance from the packet's start, or 0.
 * A global function: newer verifiers go through the walk for every way to it.
 */
__weak __noinline __u32 mseg_search_option(struct __sk_buff *skb, const struct mseg_packet *packet,
					   __u8 len)
{
	const struct mseg_wire *wire = mseg_wire_config();
	struct mseg_option_walk walk = {};
	__u32 last, options;

	if (!packet || !wire)
		return 0;
	walk.want = len;
	walk.kind = wire->kind;
	walk.exid = wire->exid;
	options = packet->transport + sizeof(struct tcphdr);
	last = packet->header_len - sizeof(struct tcphdr) - 1;
	/* 6.1 must see both bounds of the size: it takes no size that may be zero. */
	barrier_var(last);
	if (last >= MSEG_OPTIONS_MAX || bpf_skb_load_bytes(skb, options, walk.bytes, last + 1))
		return 0;
	walk.size = last + 1;
	bpf_loop(MSEG_OPTIONS_MAX, mseg_option_walk_step, &walk, 0);
	return walk.found && walk.at < MSEG_OPTIONS_MAX ? options + walk.at : 0;
}

/* Linux leaves it at the end, so that is looked at first. */
static __always_inline bool mseg_find_option(struct __sk_buff *skb,
					     const struct mseg_packet *packet,
					     const struct mseg_wire *wire, __u8 *option,
					     const __u32 len)
{
	__u32 at;

	if (packet->header_len < sizeof(struct tcphdr) + len)
		return false;
	if (!bpf_skb_load_bytes(skb, packet->transport + packet->header_len - len, option, len) &&
	    mseg_option_is(option, wire->kind, wire->exid, len))
		return true;
	at = mseg_search_option(skb, packet, len);
	return at && !bpf_skb_load_bytes(skb, at, option, len);
}

/*
 * Who does the packet say that it is from? 0 and `peer` filled in; 0 and its identity all zero: it
 * does not say, and may do without; else a reason to refuse. A global function: the verifier looks at
 * it once.
 */
__weak __noinline int mseg_word_of(struct __sk_buff *skb, const struct mseg_packet *packet,
				   struct mseg_peer *peer)
{
	const struct mseg_wire *wire = mseg_wire_config();
	__u8 option[MSEG_PROOF_LEN] = {};
	struct mseg_claim claim;
	int reason = 0;
	bool found, syn;
	__u8 path;

	if (!wire || !packet || !peer)
		return 0;
	syn = packet->tcp_flags & TCP_FLAG_SYN;
	path = mseg_path_of(wire, &packet->source);
	peer->proof = path & MSEG_PATH_MODE ? MSEG_PROOF_NONE : MSEG_PROOF_LEGACY;
	if (!(path & MSEG_PATH_MODE))
		return 0;
	if (syn)
		found = mseg_find_option(skb, packet, wire, option, MSEG_CLAIM_LEN);
	else
		found = mseg_find_option(skb, packet, wire, option, MSEG_PROOF_LEN);
	if (!found && (path & MSEG_PATH_MODE) != MSEG_PATH_REQUIRE)
		return 0;
	if (!found) {
		mseg_count(MSEG_CNT_NO_PROOF);
		return MSEG_REASON_NO_PROOF;
	}
	claim = mseg_parse_claim(option);
	if (!syn)
		reason = mseg_check_proof(wire, path, packet->seq - 1, packet->ack - 1, option,
					  &claim);
	peer->id = mseg_identity_of_claim(&claim);
	peer->proof = syn ? MSEG_PROOF_NOT_ASKED : mseg_proof_kind_of(path);
	if (syn)
		peer->id.flags |= MSEG_ID_CLAIMED;
	return reason;
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

/* What arrived, and who sent it as far as that is known. */
struct mseg_arrival {
	struct mseg_packet packet;
	struct mseg_conn conn;
	struct mseg_peer peer;
	__u32 generation;
	int reason; /* to refuse it, whatever the rules say; 0 */
	__u32 direction; /* enum mseg_direction: whose rules decide */
};

/* Who sent this packet? 0, or a reason to refuse. */
static __always_inline int mseg_sender(struct __sk_buff *skb, const struct mseg_packet *packet,
				       __u8 protocol, struct mseg_peer *peer, __u32 generation)
{
	__u64 cookie = 0;
	int reason;

	if (peer->id.flags & MSEG_ID_REMOTE) { /* a datagram that proved it */
		reason = mseg_resolve_remote(&peer->id, generation);
		peer->cls = peer->id.cls;
		return reason;
	}
	if (skb->ifindex == LOOPBACK_IFINDEX)
		cookie = mseg_sender_cookie(skb, protocol, packet);
	if (cookie && mseg_socket_owner(cookie, &peer->id)) {
		peer->known = 1;
		if (!mseg_resolve(&peer->id, generation))
			return MSEG_REASON_NO_ROW;
		peer->cls = peer->id.cls;
		return 0;
	}
	if (peer->required && !peer->proof) { /* a datagram over loopback, of nobody that is known */
		mseg_count(MSEG_CNT_NO_PROOF);
		return MSEG_REASON_NO_PROOF;
	}
	__builtin_memset(&peer->id, 0, sizeof(peer->id));
	if (protocol == IPPROTO_TCP && mseg_wire_config()) {
		reason = mseg_word_of(skb, packet, peer);
		if (!reason && peer->id.flags)
			reason = mseg_resolve_remote(&peer->id, generation);
		if (reason)
			return reason;
		if (peer->id.flags) {
			peer->cls = peer->id.cls;
			return 0;
		}
	}
	peer->cls = mseg_address_class(&packet->source, generation);
	return 0;
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

/*
 * So that the client's next SYN is answered (refuse.bpf.c); unless that one may say who it is, which
 * this one had no room for.
 */
static __noinline int mseg_remember_refusal(const struct mseg_packet *packet, __u8 proof)
{
	bool may_claim = proof == MSEG_PROOF_NONE && mseg_lacks_room(packet->header_len);
	struct mseg_refused_key key = {};
	const __u64 *before;
	__u64 note, *last;
	__u32 zero = 0;

	last = bpf_map_lookup_elem(&mseg_last_refused, &zero);
	if (last)
		*(volatile __u64 *)last = bpf_ktime_get_coarse_ns();
	__builtin_memcpy(key.remote, packet->source.bytes, sizeof(key.remote));
	__builtin_memcpy(key.local, packet->destination.bytes, sizeof(key.local));
	key.remote_port = packet->source_port;
	key.local_port = packet->destination_port;
	before = bpf_map_lookup_elem(&mseg_refused, &key);
	note = mseg_refusal_note(bpf_ktime_get_ns(), before ? *before : 0, may_claim);
	return bpf_map_update_elem(&mseg_refused, &key, &note, BPF_ANY);
}

static __always_inline void mseg_note_claim(const struct mseg_packet *packet, __u32 host_id)
{
	__u32 place = mseg_syn_place(packet->seq);
	__u64 *note = bpf_map_lookup_elem(&mseg_syns, &place);

	if (note)
		*(volatile __u64 *)note = mseg_syn_note(packet->seq, host_id);
}

/*
 * What is worth a line. A process of this host was reported when it connected or sent; a claim that
 * is let pass will be proven or not, and where it might have been proven the end of the handshake
 * tells; the rest was reported with its SYN.
 */
static __always_inline bool mseg_is_news(__u8 protocol, const struct mseg_peer *peer,
					 const struct mseg_decision *d, bool last)
{
	if (d->verdict != MSEG_ALLOW)
		return true;
	if (peer->known || peer->id.flags & MSEG_ID_CLAIMED)
		return false;
	if (protocol == IPPROTO_UDP)
		return true;
	return peer->proof && peer->proof != MSEG_PROOF_LEGACY ? last : !last;
}

/* The service is the responder's: of an answer its source. */
static __always_inline __u16 mseg_service_of(const struct mseg_arrival *arrival)
{
	return arrival->direction == MSEG_EGRESS ? arrival->packet.source_port :
						   arrival->packet.destination_port;
}

static __always_inline struct mseg_decision
mseg_judge_sender(const struct mseg_arrival *arrival, const struct mseg_identity *self)
{
	const struct mseg_packet *packet = &arrival->packet;
	const struct mseg_peer *peer = &arrival->peer;
	__u32 generation = arrival->generation;
	struct mseg_decision d;

	if (mseg_addr_is_loopback(&packet->destination) &&
	    mseg_loopback_pair(&packet->source, self, peer, MSEG_SIDE(generation)))
		return mseg_loopback_allowance();
	d = mseg_judge_end(self->cls, peer->cls, arrival->direction, arrival->conn.protocol,
			   mseg_service_of(arrival), generation);
	if (d.reason == MSEG_REASON_UNKNOWN_IDENTITY && peer->id.flags & MSEG_ID_UNRECORDED)
		d.reason = MSEG_REASON_NO_RECORD;
	return d;
}

/* Whom an answer is for: who sent what it answers. */
static __noinline int mseg_asker(const struct mseg_conn *conn, struct mseg_identity *out,
				 __u32 generation)
{
	const struct mseg_flow_state *flow = mseg_udp_flow_of(conn);

	if (flow && flow->direction == MSEG_EGRESS) {
		*out = flow->owner;
		if (mseg_udp_flow_of(conn) != flow)
			return false; /* it gave way meanwhile: whose it was nobody knows */
	} else if (!mseg_socket_owner(conn->cookie, out)) {
		return false;
	}
	return mseg_resolve(out, generation);
}

static __always_inline bool mseg_find_self(struct __sk_buff *skb,
					   const struct mseg_arrival *arrival,
					   struct mseg_identity *self)
{
	bool resolved = false;

	if (arrival->direction == MSEG_EGRESS &&
	    mseg_asker(&arrival->conn, self, arrival->generation))
		return true;
	if (mseg_receiver(arrival->conn.cookie, self, arrival->generation, &resolved))
		return resolved;
	return mseg_anonymous_receiver(skb, self, arrival->generation);
}

__weak __noinline int mseg_admit(struct __sk_buff *skb, struct mseg_arrival *arrival)
{
	const struct mseg_packet *packet = &arrival->packet;
	const struct mseg_conn *conn = &arrival->conn;
	const struct mseg_peer *peer = &arrival->peer;
	const struct mseg_identity *remote;
	struct mseg_identity self = {};
	struct mseg_decision d;
	__u32 generation;
	bool last;

	if (!arrival)
		return false;
	last = conn->protocol == IPPROTO_TCP && !(packet->tcp_flags & TCP_FLAG_SYN);
	generation = arrival->generation;
	if (!mseg_find_self(skb, arrival, &self))
		arrival->reason = MSEG_REASON_NO_ROW;
	if (arrival->reason)
		d = mseg_refusal(arrival->reason);
	else
		d = mseg_judge_sender(arrival, &self);
	remote = peer->known || peer->id.flags ? &peer->id : NULL;
	if (mseg_is_news(conn->protocol, peer, &d, last))
		mseg_report(conn, &self, remote, &d, arrival->direction, mseg_service_of(arrival),
			    generation);
	if (d.verdict != MSEG_ALLOW) {
		if (conn->protocol == IPPROTO_TCP)
			mseg_remember_refusal(packet, peer->proof);
		return false;
	}
	if (peer->id.flags & MSEG_ID_CLAIMED)
		mseg_note_claim(packet, peer->id.tgid);
	if (last || conn->protocol == IPPROTO_UDP)
		mseg_count_proof(peer->proof);
	if (conn->protocol != IPPROTO_UDP)
		return true;
	return mseg_udp_flow_open(conn, generation, &self,
				  peer->id.flags & MSEG_ID_REMOTE ? &peer->id : NULL,
				  arrival->direction);
}

/* A SYN; or, where identities are carried, the segment that ends the handshake. */
static __always_inline bool mseg_opens(const struct mseg_packet *packet)
{
	__u8 flags = packet->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST);

	return flags == TCP_FLAG_SYN || (flags == TCP_FLAG_ACK && mseg_wire_config());
}

/*
 * The end of a handshake that handshake.bpf.c verifies (the fast form): not what this host sent to
 * itself, and not while there is no place to put losers in.
 */
static __always_inline bool mseg_left_to_established(const struct __sk_buff *skb,
						     const struct mseg_packet *packet)
{
	const __u64 *put, *gone;

	if (packet->tcp_flags & TCP_FLAG_SYN || skb->ifindex == LOOPBACK_IFINDEX ||
	    mseg_proven_at_ingress(mseg_forms_of(packet->destination_port),
				   packet->destination_port))
		return false;
	put = mseg_quarantine_count(MSEG_QUARANTINE_PUT);
	gone = mseg_quarantine_count(MSEG_QUARANTINE_GONE);
	if (put && gone && !mseg_quarantine_is_full(*put, *gone))
		return true;
	mseg_count(MSEG_CNT_QUARANTINE_FULL);
	return false;
}

/* False: it passes, and nothing is to be judged. */
static __always_inline bool mseg_datagram_is_judged(struct __sk_buff *skb,
						    struct mseg_arrival *arrival, bool connected)
{
	struct mseg_peer *peer = &arrival->peer;
	int course;

	arrival->reason = mseg_word_of_datagram(skb, &arrival->packet.source, peer,
						(__u32)arrival->packet.source_port << 16 |
							arrival->packet.udp_len);
	if (arrival->reason)
		return true;
	course = mseg_course_of(&arrival->conn, peer, arrival->generation, connected);
	if (course == MSEG_COURSE_PASS)
		return false;
	if (course == MSEG_COURSE_ANSWER)
		arrival->direction = MSEG_EGRESS;
	else if (course != MSEG_COURSE_JUDGE)
		arrival->reason = mseg_course_refused(course);
	return true;
}

static __always_inline bool mseg_receive(struct __sk_buff *skb, __u8 protocol, bool connected)
{
	struct mseg_arrival arrival = { .direction = MSEG_INGRESS };
	struct mseg_packet *packet = &arrival.packet;
	struct mseg_conn *conn = &arrival.conn;

	arrival.generation = mseg_active_generation();
	if (!arrival.generation)
		return true;
	if (!mseg_parse(skb, protocol, packet)) {
		mseg_count(MSEG_CNT_UNREADABLE_PACKETS);
		return false;
	}
	if (protocol == IPPROTO_TCP &&
	    (!mseg_opens(packet) || mseg_left_to_established(skb, packet)))
		return true;
	conn->cookie = bpf_get_socket_cookie(skb);
	conn->peer = packet->source;
	conn->peer_port = packet->source_port;
	conn->protocol = protocol;
	conn->hook = MSEG_HOOK_INGRESS;
	if (protocol == IPPROTO_UDP && !mseg_datagram_is_judged(skb, &arrival, connected))
		return true;
	if (!arrival.reason)
		arrival.reason = mseg_sender(skb, packet, protocol, &arrival.peer,
					     arrival.generation);
	conn->proof = arrival.peer.proof;
	return mseg_admit(skb, &arrival);
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
		return mseg_receive(skb, IPPROTO_TCP, false);
	return sk->protocol != IPPROTO_UDP || mseg_receive(skb, IPPROTO_UDP, false);
}

SEC("cgroup_skb/ingress")
int mseg_ingress_connected(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk || sk->state != BPF_TCP_ESTABLISHED)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_UDP)
		return 1;
	return mseg_receive(skb, IPPROTO_UDP, true);
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
