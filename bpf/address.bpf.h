/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_ADDRESS_BPF_H_
#define MSEG_ADDRESS_BPF_H_

/*
 * Addresses: one form for both families, who listens at one, and whether it is this host's.
 */

#include "maps.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

struct mseg_addr {
	union {
		__u8 bytes[16];
		__u32 words[4]; /* network byte order */
	};
};

static __always_inline struct mseg_addr mseg_addr4(__be32 addr)
{
	struct mseg_addr out = {};

	out.words[2] = bpf_htonl(0xffff);
	out.words[3] = addr;
	return out;
}

static __always_inline bool mseg_addr_is_v4(const struct mseg_addr *addr)
{
	return !addr->words[0] && !addr->words[1] && addr->words[2] == bpf_htonl(0xffff);
}

static __always_inline bool mseg_addr_is_any(const struct mseg_addr *addr)
{
	return !addr->words[0] && !addr->words[1] && !addr->words[3] &&
	       (!addr->words[2] || addr->words[2] == bpf_htonl(0xffff));
}

/* A destination of all zeroes means this host to the kernel: connect() goes to the loopback. */
static __always_inline struct mseg_addr mseg_destination(struct mseg_addr addr)
{
	if (!mseg_addr_is_any(&addr))
		return addr;
	if (addr.words[2])
		return mseg_addr4(bpf_htonl(0x7f000001));
	addr.words[3] = bpf_htonl(1);
	return addr;
}

static __always_inline bool mseg_addr_is_loopback(const struct mseg_addr *addr)
{
	if (mseg_addr_is_v4(addr))
		return (addr->words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !addr->words[0] && !addr->words[1] && !addr->words[2] &&
	       addr->words[3] == bpf_htonl(1);
}

/*
 * Is an address one of the network namespace's own? Read from the kernel's own lists, so that it
 * cannot be stale, and only asked where a local process listens on the port in question: binding
 * (IP_FREEBIND) must not be a way to be taken for a remote host. 1 or 0.
 */
#define MSEG_ADDRESS_STEPS 16384 /* devices and addresses looked at before giving up */

struct mseg_device_walk {
	struct list_head *devices; /* head of the list */
	struct list_head *device;
	struct in_ifaddr *ifa; /* IPv4: the next address of the device, NULL: next device */
	struct list_head *ifa6_head; /* IPv6: the same */
	struct list_head *ifa6;
	struct mseg_addr addr;
	__u32 v4;
	__u32 found;
};

/* Goes to the next device. False when there is none. */
static __always_inline bool mseg_next_device(struct mseg_device_walk *walk)
{
	struct list_head *at = walk->device;
	struct net_device *dev;
	struct inet6_dev *in6;

	if (!at || at == walk->devices)
		return false;
	dev = (void *)at - bpf_core_field_offset(struct net_device, dev_list);
	walk->device = BPF_CORE_READ(at, next);
	if (walk->v4) {
		walk->ifa = BPF_CORE_READ(dev, ip_ptr, ifa_list);
		return true;
	}
	in6 = BPF_CORE_READ(dev, ip6_ptr);
	if (in6) {
		struct list_head *head =
			(void *)in6 + bpf_core_field_offset(struct inet6_dev, addr_list);

		walk->ifa6_head = head;
		walk->ifa6 = BPF_CORE_READ(head, next);
	}
	return true;
}

static long mseg_address_step(__u32 index, void *ctx)
{
	struct mseg_device_walk *walk = ctx;
	struct in_ifaddr *ifa = walk->ifa;
	struct list_head *at = walk->ifa6;

	if (ifa) {
		walk->found = BPF_CORE_READ(ifa, ifa_local) == walk->addr.words[3];
		walk->ifa = BPF_CORE_READ(ifa, ifa_next);
		return walk->found ? 1 : 0;
	}
	if (at && at != walk->ifa6_head) {
		struct inet6_ifaddr *ifa6 =
			(void *)at - bpf_core_field_offset(struct inet6_ifaddr, if_list);
		struct mseg_addr have = {};

		bpf_core_read(&have, sizeof(have), &ifa6->addr);
		walk->found = have.words[0] == walk->addr.words[0] &&
			      have.words[1] == walk->addr.words[1] &&
			      have.words[2] == walk->addr.words[2] &&
			      have.words[3] == walk->addr.words[3];
		walk->ifa6 = BPF_CORE_READ(at, next);
		return walk->found ? 1 : 0;
	}
	walk->ifa6 = NULL;
	return mseg_next_device(walk) ? 0 : 1;
}

__weak __noinline int mseg_addr_is_local(const struct mseg_addr *addr, __u64 netns_cookie)
{
	struct mseg_device_walk walk = {};
	struct task_struct *task;
	struct list_head *head;
	struct net *net;

	if (!addr)
		return 0;
	if (mseg_addr_is_loopback(addr))
		return 1;
	task = (void *)bpf_get_current_task();
	net = BPF_CORE_READ(task, nsproxy, net_ns);
	/* A socket of another namespace than the task's: not answered here, the listener's own
	 * hook judges it. */
	if (!net || BPF_CORE_READ(net, net_cookie) != netns_cookie)
		return 0;
	head = (void *)net + bpf_core_field_offset(struct net, dev_base_head);
	walk.devices = head;
	walk.device = BPF_CORE_READ(head, next);
	walk.addr = *addr;
	walk.v4 = mseg_addr_is_v4(addr);
	/*
	 * The first device before the loop: verifiers before 6.7 look at a callback once, with the
	 * values it starts from, and remove what constant ones make look dead.
	 */
	if (!mseg_next_device(&walk))
		return 0;
	bpf_loop(MSEG_ADDRESS_STEPS, mseg_address_step, &walk, 0);
	return walk.found;
}

static __always_inline __u64 *mseg_listened_word(__u8 protocol, __u16 port)
{
	__u32 place = (protocol == IPPROTO_UDP ? MSEG_LISTENED_WORDS : 0) + port / 64;

	return bpf_map_lookup_elem(&mseg_listened, &place);
}

/* Before an entry is made in the listener table. Nobody takes the note back. */
static __always_inline bool mseg_note_listened(__u8 protocol, __u16 port)
{
	__u64 *ports = mseg_listened_word(protocol, port), bit = 1ull << port % 64;

	if (ports && !(*(volatile __u64 *)ports & bit))
		__sync_fetch_and_or(ports, bit);
	return ports;
}

/* Most connections go to ports that nobody here ever listened at: nobody is to be looked for. */
static __always_inline bool mseg_was_listened(__u8 protocol, __u16 port)
{
	const __u64 *ports = mseg_listened_word(protocol, port);

	return !ports || *(volatile const __u64 *)ports >> port % 64 & 1;
}

/*
 * Who listens at an address of this namespace: the address itself, then the wildcard of its family,
 * then (IPv4) the wildcard of both.
 */
static __always_inline struct mseg_listener *
mseg_find_listener(__u64 netns_cookie, const struct mseg_addr *addr, __u8 protocol, __u16 port)
{
	struct mseg_listener_key key = {};
	struct mseg_listener *listener;

	key.netns_cookie = netns_cookie;
	key.port = port;
	key.protocol = protocol;
	__builtin_memcpy(key.addr, addr->bytes, sizeof(key.addr));
	listener = bpf_map_lookup_elem(&mseg_listeners, &key);
	if (listener)
		return listener;
	__builtin_memset(&key.addr[12], 0, 4);
	if (mseg_addr_is_v4(addr)) {
		listener = bpf_map_lookup_elem(&mseg_listeners, &key);
		if (listener)
			return listener;
	}
	__builtin_memset(key.addr, 0, sizeof(key.addr));
	return bpf_map_lookup_elem(&mseg_listeners, &key);
}

static __always_inline __u32 mseg_look_up_address(const struct mseg_addr *addr, __u32 side)
{
	struct mseg_address_key key = {};
	const __u32 *cls;

	key.prefixlen = MSEG_ADDRESS_MAX_PREFIX;
	key.side = side;
	__builtin_memcpy(key.addr, addr->bytes, sizeof(key.addr));
	cls = bpf_map_lookup_elem(&mseg_addresses, &key);
	return cls ? *cls : 0;
}

#endif /* MSEG_ADDRESS_BPF_H_ */
