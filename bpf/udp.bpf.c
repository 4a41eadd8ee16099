// SPDX-License-Identifier: Apache-2.0
/*
 * Who sent this datagram, and does the host that says so say it?
 *
 * A datagram has no handshake, so each one carries its sender's identity itself, behind its payload
 * and under a MAC of the two hosts (udp_trailer.h). It is written on the way out, from what is on
 * record of the socket: whom connect() or sendmsg() was asked for, or who was allowed to receive what
 * is answered now. It is verified on the way in, before NAT of this host has touched it, and noted
 * under skb->tc_index; the verdict is made where the socket is known (server.bpf.c). Trust: the key is
 * that of the pair of hosts, and no number of a host is taken twice. Nothing is dropped here: what
 * was not verified has no note.
 *
 * What passes two devices of this host (a bridge and its port, a host and its container) comes here
 * twice: what has a note that nobody took is verified again, and is no replay.
 *
 * Hooks: tc ingress and egress, of each device where managed processes are. Filters of others on the
 * same device go on after this one.
 */
#include "judge.bpf.h"
#include <bpf/bpf_tracing.h>

#define MSEG_MAC_CHUNK 64
#define MSEG_IP_FRAGMENT 0x3fff /* more to come, or not the first */

/* What a datagram says in the clear. */
struct mseg_datagram {
	struct mseg_addr source;
	struct mseg_addr destination;
	__u32 network; /* offset of IP's header */
	__u32 transport; /* and UDP's */
	__u32 ip_payload; /* bytes from UDP's header to the end of the packet, as IP says */
	__u16 source_port;
	__u16 destination_port;
	__u16 udp_len;
	__u8 v4;
	__u8 pad;
};

/* What a MAC is made of, and what it came to. */
struct mseg_mac_job {
	struct mseg_wire_key key;
	__u8 trailer[40];
	__u64 mac;
	__u32 payload; /* where it begins */
	__u16 port;
	__u16 udp_len;
};

/*
 * Functions of their own from here on, for the sake of the stack: 512 bytes over all frames. Global
 * ones, which the verifier looks at once.
 */

/* Where IP's header is: a device need not have one of its own in front of it. */
static __always_inline __u32 mseg_network_offset(struct __sk_buff *skb)
{
	struct sk_buff *kernel = (void *)mseg_address_of(skb);
	unsigned char *data = BPF_CORE_READ(kernel, data);

	return BPF_CORE_READ(kernel, head) + BPF_CORE_READ(kernel, network_header) - data;
}

static __always_inline bool mseg_parse_ip(struct __sk_buff *skb, struct mseg_datagram *out)
{
	struct ipv6hdr ip6;
	struct iphdr ip;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, out->network, &ip, sizeof(ip)) ||
		    ip.protocol != IPPROTO_UDP || ip.frag_off & bpf_htons(MSEG_IP_FRAGMENT))
			return false;
		out->v4 = 1;
		out->source = mseg_addr4(ip.saddr);
		out->destination = mseg_addr4(ip.daddr);
		out->transport = out->network + ip.ihl * 4;
		out->ip_payload = bpf_ntohs(ip.tot_len) - ip.ihl * 4;
		return true;
	}
	if (bpf_skb_load_bytes(skb, out->network, &ip6, sizeof(ip6)) ||
	    ip6.nexthdr != IPPROTO_UDP)
		return false;
	__builtin_memcpy(out->source.bytes, ip6.saddr, 16);
	__builtin_memcpy(out->destination.bytes, ip6.daddr, 16);
	out->transport = out->network + sizeof(ip6);
	out->ip_payload = bpf_ntohs(ip6.payload_len);
	return true;
}

/* 1: a whole datagram, without headers of IPv6 in between. */
__weak __noinline int mseg_parse_datagram(struct __sk_buff *skb, struct mseg_datagram *out)
{
	struct udphdr udp;

	if (!out)
		return 0;
	out->network = mseg_network_offset(skb);
	if (!mseg_parse_ip(skb, out) ||
	    bpf_skb_load_bytes(skb, out->transport, &udp, sizeof(udp)))
		return 0;
	out->source_port = bpf_ntohs(udp.source);
	out->destination_port = bpf_ntohs(udp.dest);
	out->udp_len = bpf_ntohs(udp.len);
	return 1;
}

struct mseg_mac_walk {
	struct __sk_buff *skb;
	struct mseg_siphash hash;
	__u32 payload;
	__u32 len;
};

/* One chunk of the payload; the end of the last one is filled up with zero. */
static long mseg_mac_step(__u32 index, void *ctx)
{
	struct mseg_mac_walk *walk = ctx;
	__u64 chunk[MSEG_MAC_CHUNK / 8] = {};
	__u32 at = index * MSEG_MAC_CHUNK, last;

	if (at >= walk->len)
		return 1;
	last = walk->len - at - 1;
	if (last >= MSEG_MAC_CHUNK)
		last = MSEG_MAC_CHUNK - 1;
	/* 6.1 must see both bounds of the size: it takes no size that may be zero. */
	barrier_var(last);
	if (last >= MSEG_MAC_CHUNK ||
	    bpf_skb_load_bytes(walk->skb, walk->payload + at, chunk, last + 1))
		return 1;
	for (__u32 i = 0; i < MSEG_MAC_CHUNK / 8; i++) {
		if (i * 8 > last)
			break;
		mseg_siphash_word(&walk->hash, mseg_payload_word(chunk[i]));
	}
	return 0;
}

__weak __noinline int mseg_make_mac(struct __sk_buff *skb, struct mseg_mac_job *job)
{
	struct mseg_mac_walk walk = { .skb = skb };

	if (!job)
		return 0;
	walk.payload = job->payload;
	walk.len = job->udp_len - MSEG_UDP_HEADER;
	walk.hash = mseg_datagram_mac_begin(&job->key, job->trailer, job->port, job->udp_len);
	bpf_loop(MSEG_UDP_PAYLOAD_MAX / MSEG_MAC_CHUNK + 1, mseg_mac_step, &walk, 0);
	job->mac = mseg_datagram_mac_end(&walk.hash, job->udp_len);
	return 0;
}

static __always_inline void mseg_fill_job(struct mseg_mac_job *job, const struct mseg_datagram *d,
					  __u8 path, bool answer)
{
	job->payload = d->transport + MSEG_UDP_HEADER;
	job->udp_len = d->udp_len;
	job->port = answer ? d->source_port : d->destination_port;
	if (path & MSEG_PATH_UNBOUND)
		job->port = 0;
}

/* ---- out ---- */

struct mseg_sending {
	struct mseg_claim claim;
	__u32 to; /* host id */
	__u32 answer;
};

/* For whom a socket sends there. 1, or 0: nobody is on record. */
static __noinline int mseg_sender_of(__u64 cookie, const struct mseg_datagram *d,
				     struct mseg_sending *out)
{
	struct mseg_conn conn = { .cookie = cookie };
	__u32 generation = mseg_active_generation();
	const struct mseg_flow_state *flow;
	struct mseg_identity id;

	conn.peer = d->destination;
	conn.peer_port = d->destination_port;
	flow = mseg_udp_flow_of(&conn);
	if (flow) {
		id = flow->owner;
		out->to = flow->peer.host_id;
		out->answer = flow->direction == MSEG_INGRESS;
		if (mseg_udp_flow_of(&conn) != flow)
			return 0; /* it gave way meanwhile: whose it was nobody knows */
	} else if (!mseg_socket_owner(cookie, &id)) {
		return 0;
	}
	if (!generation || !mseg_resolve(&id, generation))
		return 0;
	out->claim.label_id = id.label_id;
	out->claim.exe_id = id.exe_id;
	out->claim.grade = id.grade;
	return 1;
}

/*
 * Who is there: the host whose address it is; of a flow that came in, whoever proved it, whose
 * address may be masqueraded.
 */
static __always_inline void mseg_find_host(const struct mseg_datagram *d, struct mseg_sending *out)
{
	__u32 host;

	if (out->to && out->answer)
		return;
	host = mseg_host_at(&d->destination);
	if (host)
		out->to = host;
}

/* What the way there is known to take, 0: whatever the device does. */
static __noinline __u32 mseg_route_mtu(struct __sk_buff *skb, bool v4)
{
	struct sk_buff *kernel = (void *)mseg_address_of(skb);
	unsigned long dst = BPF_CORE_READ(kernel, _skb_refdst) & ~1ul;
	unsigned long metrics;
	__u32 mtu = 0;

	if (!dst)
		return 0;
	if (v4)
		mtu = BPF_CORE_READ_BITFIELD_PROBED((struct rtable *)dst, rt_pmtu);
	metrics = BPF_CORE_READ((struct dst_entry *)dst, _metrics) & ~3ul;
	if (!mtu && metrics)
		bpf_probe_read_kernel(&mtu, sizeof(mtu), (__u32 *)metrics + RTAX_MTU - 1);
	return mtu;
}

static __always_inline bool mseg_has_room(struct __sk_buff *skb, const struct mseg_datagram *d,
					  __u32 surplus)
{
	__u32 whole = d->transport - d->network + d->ip_payload + surplus, device = 0, route;

	if (!mseg_may_have_trailer(d->udp_len) || d->ip_payload != d->udp_len ||
	    skb->len != d->transport + d->ip_payload || whole > 0xffff)
		return false;
	route = mseg_route_mtu(skb, d->v4);
	return (!route || whole <= route) && !bpf_check_mtu(skb, 0, &device, surplus, 0);
}

/*
 * IP's length is the longer one's; UDP and its checksum stay. Where the device has yet to make the
 * checksum it goes on to the end of the packet, and the stack has put the shorter length into what it
 * begins with: the surplus area makes up for the longer one.
 */
static __noinline int mseg_lengthen(struct __sk_buff *skb, const struct mseg_datagram *d,
				    __u32 surplus)
{
	struct sk_buff *kernel = (void *)mseg_address_of(skb);
	__u32 at = d->network + (d->v4 ? 2 : 4), before = d->ip_payload;
	__be16 old, new;

	if (d->v4)
		before += d->transport - d->network;
	old = bpf_htons(before);
	new = bpf_htons(before + surplus);
	bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
	if (d->v4)
		bpf_l3_csum_replace(skb, d->network + 10, old, new, sizeof(new));
	if (BPF_CORE_READ_BITFIELD_PROBED(kernel, ip_summed) == CHECKSUM_PARTIAL)
		bpf_l4_csum_replace(skb, d->transport + 6, 0, bpf_htons(surplus),
				    BPF_F_PSEUDO_HDR | sizeof(__be16));
	return 0;
}

static __always_inline bool mseg_append(struct __sk_buff *skb, const struct mseg_datagram *d,
					struct mseg_mac_job *job, __u32 surplus)
{
	__u32 end = d->transport + d->udp_len;
	__u8 pad = 0;

	if (bpf_skb_change_tail(skb, skb->len + surplus, 0))
		return false;
	if (d->udp_len & 1)
		bpf_skb_store_bytes(skb, end, &pad, sizeof(pad), 0);
	bpf_skb_store_bytes(skb, end + (d->udp_len & 1), job->trailer, MSEG_TRAILER_LEN, 0);
	mseg_lengthen(skb, d, surplus);
	return true;
}

static __always_inline __u64 mseg_next_sequence(void)
{
	__u32 zero = 0;
	__u64 *next = bpf_map_lookup_elem(&mseg_udp_sequence, &zero);

	if (!next || !*(volatile __u64 *)next)
		return 0;
	return __sync_fetch_and_add(next, 1) & ~MSEG_TRAILER_ANSWER;
}

static __noinline int mseg_sign(struct __sk_buff *skb, const struct mseg_datagram *d,
				struct mseg_sending *sending, __u8 path)
{
	const struct mseg_wire *wire = mseg_wire_config();
	__u32 surplus = mseg_surplus_of(d->udp_len);
	struct mseg_mac_job job = {};
	__u64 sequence;

	if (!wire)
		return 0;
	sending->claim.host_id = wire->host_id;
	sending->claim.epoch = mseg_epoch(wire);
	if (mseg_find_key(wire, sending->to, sending->claim.epoch, &job.key))
		return 0;
	sequence = mseg_next_sequence();
	if (!sequence)
		return 0;
	if (sending->answer)
		sequence |= MSEG_TRAILER_ANSWER;
	mseg_build_trailer(job.trailer, wire->exid, &sending->claim, sequence);
	mseg_fill_job(&job, d, path, sending->answer);
	mseg_make_mac(skb, &job);
	mseg_finish_trailer(job.trailer, job.mac, surplus);
	mseg_count(mseg_append(skb, d, &job, surplus) ? MSEG_CNT_UDP_SIGNED : MSEG_CNT_UDP_NO_ROOM);
	return 0;
}

static __always_inline void mseg_send_datagram(struct __sk_buff *skb, __u64 cookie)
{
	const struct mseg_wire *wire = mseg_wire_config();
	struct mseg_sending sending = {};
	struct mseg_datagram d = {};
	__u8 path;

	if (!wire || !mseg_parse_datagram(skb, &d))
		return;
	path = mseg_path_of(wire, &d.destination);
	if (!(path & MSEG_PATH_UDP) || !mseg_sender_of(cookie, &d, &sending))
		return;
	mseg_find_host(&d, &sending);
	if (!sending.to || mseg_has_surplus(d.ip_payload, d.udp_len))
		return;
	if (skb->gso_size || !mseg_has_room(skb, &d, mseg_surplus_of(d.udp_len)))
		mseg_count(MSEG_CNT_UDP_NO_ROOM);
	else
		mseg_sign(skb, &d, &sending, path);
}

/* May it be a datagram? `*whole`: not behind headers of IPv6, which may hold a fragment's. */
static __always_inline bool mseg_may_be_udp(struct __sk_buff *skb, bool *whole)
{
	bool v4 = skb->protocol == bpf_htons(ETH_P_IP);
	__u8 protocol;

	if ((!v4 && skb->protocol != bpf_htons(ETH_P_IPV6)) ||
	    bpf_skb_load_bytes_relative(skb, v4 ? 9 : 6, &protocol, 1, BPF_HDR_START_NET))
		return false;
	*whole = protocol == IPPROTO_UDP;
	return *whole || (!v4 && (protocol == 0 || protocol == 43 || protocol == 44 ||
				  protocol == 51 || protocol == 60));
}

SEC("tc")
int mseg_tc_egress(struct __sk_buff *skb)
{
	const struct mseg_wire *wire = mseg_wire_config();
	__u64 cookie;
	bool whole;

	if (!wire || !wire->udp || !mseg_may_be_udp(skb, &whole) || !whole)
		return TC_ACT_UNSPEC;
	cookie = bpf_get_socket_cookie(skb);
	if (cookie)
		mseg_send_datagram(skb, cookie);
	return TC_ACT_UNSPEC;
}

/* ---- in ---- */

/* What a window is before anything was seen: too large for the stack. */
const __u8 mseg_blank_window[sizeof(struct mseg_udp_window)] = {};

/* Was this number never seen of that host? 0, or what to count. */
static __noinline __u32 mseg_take_number(__u32 host_id, __u64 number)
{
	struct mseg_udp_window *window = bpf_map_lookup_elem(&mseg_udp_windows, &host_id);
	int is_new;

	if (!window) {
		bpf_map_update_elem(&mseg_udp_windows, &host_id, mseg_blank_window, BPF_NOEXIST);
		window = bpf_map_lookup_elem(&mseg_udp_windows, &host_id);
		if (!window)
			return MSEG_CNT_UDP_WINDOWS_FULL;
	}
	bpf_spin_lock(&window->lock);
	is_new = mseg_window_take(&window->seen, number);
	bpf_spin_unlock(&window->lock);
	return is_new ? 0 : MSEG_CNT_UDP_REPLAYED;
}

/* The place of its note, counted from 1. */
static __noinline __u32 mseg_note(const struct mseg_datagram *d, const struct mseg_trailer *trailer)
{
	struct mseg_udp_note *note;
	__u32 zero = 0, place;
	__u64 *noted;

	noted = bpf_map_lookup_elem(&mseg_udp_noted, &zero);
	place = noted ? __sync_fetch_and_add(noted, 1) & (MSEG_UDP_NOTES - 1) : 0;
	note = bpf_map_lookup_elem(&mseg_udp_notes, &place);
	if (!note)
		return 0;
	*(volatile __u64 *)&note->sequence = 0;
	note->label_id = trailer->claim.label_id;
	note->exe_id = trailer->claim.exe_id;
	note->host_id = trailer->claim.host_id;
	note->grade = trailer->claim.grade;
	note->source_port = d->source_port;
	note->udp_len = d->udp_len;
	__sync_val_compare_and_swap(&note->sequence, 0, trailer->sequence);
	return place + 1;
}

/* Did this very packet come by already, through another device? */
static __noinline bool mseg_is_noted(__u32 mark, const struct mseg_datagram *d,
				     const struct mseg_trailer *trailer)
{
	__u32 place = mark - 1;
	const struct mseg_udp_note *note = bpf_map_lookup_elem(&mseg_udp_notes, &place);

	return note && *(volatile const __u64 *)&note->sequence == trailer->sequence &&
	       note->host_id == trailer->claim.host_id && note->source_port == d->source_port &&
	       note->udp_len == d->udp_len;
}

/* What to leave in skb->tc_index, as abi.h has it. */
static __noinline __u32 mseg_verify(struct __sk_buff *skb, const struct mseg_datagram *d, __u8 path,
				    __u32 mark)
{
	const struct mseg_wire *wire = mseg_wire_config();
	struct mseg_mac_job job = {};
	struct mseg_trailer trailer;
	__u32 end = d->transport + d->udp_len, failed;
	__u8 pad = 0;

	if (!wire || !mseg_has_surplus(d->ip_payload, d->udp_len) ||
	    bpf_skb_load_bytes(skb, end + (d->udp_len & 1), job.trailer, MSEG_TRAILER_LEN) ||
	    !mseg_trailer_is(job.trailer, wire->exid))
		return 0;
	if (d->udp_len & 1)
		bpf_skb_load_bytes(skb, end, &pad, sizeof(pad));
	if (pad || !mseg_surplus_is_whole(job.trailer, mseg_surplus_of(d->udp_len)))
		return MSEG_UDP_REFUSED | MSEG_CNT_BAD_PROOF;
	trailer = mseg_parse_trailer(job.trailer);
	failed = mseg_find_key(wire, trailer.claim.host_id, trailer.claim.epoch, &job.key);
	if (failed)
		return MSEG_UDP_REFUSED | failed;
	mseg_fill_job(&job, d, path, trailer.sequence & MSEG_TRAILER_ANSWER);
	mseg_make_mac(skb, &job);
	if (job.mac != trailer.mac)
		return MSEG_UDP_REFUSED | MSEG_CNT_BAD_PROOF;
	if (mark && mark <= MSEG_UDP_NOTES && mseg_is_noted(mark, d, &trailer))
		return mark;
	failed = mseg_take_number(trailer.claim.host_id, trailer.sequence & ~MSEG_TRAILER_ANSWER);
	return failed ? MSEG_UDP_REFUSED | failed : mseg_note(d, &trailer);
}

/* A function of its own: where it is read, too, clang reaches it through a moved context pointer. */
static __noinline int mseg_set_mark(struct __sk_buff *skb, __u32 mark)
{
	skb->tc_index = mark;
	return 0;
}

/* What tc_index is to be. What others left there is never taken over. */
static __always_inline __u32 mseg_mark_of(struct __sk_buff *skb, __u32 before)
{
	const struct mseg_wire *wire = mseg_wire_config();
	struct mseg_datagram d = {};
	bool whole;
	__u8 path;

	if (!wire || !mseg_may_be_udp(skb, &whole) || !whole || !mseg_parse_datagram(skb, &d))
		return 0;
	path = mseg_path_of(wire, &d.source);
	return path & MSEG_PATH_UDP ? mseg_verify(skb, &d, path, before) : 0;
}

SEC("tc")
int mseg_tc_ingress(struct __sk_buff *skb)
{
	const struct mseg_wire *wire = mseg_wire_config();
	__u32 before, mark;

	if (!wire || !wire->udp)
		return TC_ACT_UNSPEC;
	before = skb->tc_index;
	mark = mseg_mark_of(skb, before);
	if (mark != before)
		mseg_set_mark(skb, mark);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
