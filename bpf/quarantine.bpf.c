// SPDX-License-Identifier: Apache-2.0
/*
 * May a socket whose handshake lost pass anything at all?
 *
 * No. A connection whose proof or answer fails exists already when that is known, on one end or on
 * both; its socket enters the map below in the same softirq, before its application can read or
 * write a byte, and these programs drop all that comes or goes until the daemon has closed it. They
 * hang on the map, which is pinned: a dead daemon changes nothing.
 *
 * Hooks: sk_msg and sk_skb/stream_verdict of the map `quarantine`.
 */
#include "maps.bpf.h"

SEC("sk_msg")
int mseg_cut_send(struct sk_msg_md *msg)
{
	return SK_DROP;
}

SEC("sk_skb/stream_verdict")
int mseg_cut_receive(struct __sk_buff *skb)
{
	return SK_DROP;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
