/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_UDP_TRAILER_H_
#define MSEG_UDP_TRAILER_H_

/*
 * The identity of a datagram's sender, behind its payload: in the surplus area of RFC 9868, which is
 * what an IP packet has beyond the length that UDP says. A receiver that knows nothing of it trims it
 * off. Valid C11 and C++20; the only parser and the only builder, for the kernel programs, the tests
 * and the fuzzer.
 *
 * All numbers are big endian on the wire. The trailer begins at an even distance from the UDP header,
 * with one byte of zero before it where UDP's length is odd. Byte offsets:
 *
 *   0..1    2         3   4..5  6          7..9     10..15    16..21         22..29    30..37
 *   check   kind 127  36  ExID  v g epoch  host id  label id  executable id  sequence  MAC
 *
 * Check: RFC 9868's option checksum. The surplus area and its length add up to nothing in ones'
 * complement, so that UDP's own checksum is right too for who takes the length from IP's header
 * (Linux's connection tracking does). Kind 127 is RFC 9868's experimental one; ExID and byte 6 are as
 * in a claim (tcp_option.h).
 *
 * Sequence: of the sending host, never the same twice; the highest bit says that the datagram answers
 * one that its sender was allowed to get.
 *
 * The MAC is SipHash-2-4 under the pairwise key of the two hosts, over the service's port (that of the
 * answer's source, else of the destination; zero where the path does not bind it), UDP's length,
 * bytes 6 to 29, the payload as little-endian words, and what it is. Of the other end's port and of
 * addresses there is nothing in it: NAT may change them.
 */

#include "tcp_option.h"

enum {
	MSEG_TRAILER_LEN = 38,
	MSEG_TRAILER_OPTION = 36, /* all but the check */
	MSEG_TRAILER_KIND = 127,
	MSEG_UDP_HEADER = 8,
	MSEG_UDP_PAYLOAD_MAX = 8972, /* of a datagram with a trailer: an MTU of 9000 */
};
#define MSEG_TRAILER_ANSWER (1ull << 63) /* of the sequence number */
#define MSEG_MAC_DATAGRAM 3 /* see MSEG_MAC_PROOF */

struct mseg_trailer {
	struct mseg_claim claim;
	__u64 sequence; /* with MSEG_TRAILER_ANSWER */
	__u64 mac;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_trailer) == 40, "mseg_trailer");

/* How much longer a datagram is with it. */
MSEG_INLINE __u32 mseg_surplus_of(__u32 udp_len)
{
	return MSEG_TRAILER_LEN + (udp_len & 1);
}

MSEG_INLINE int mseg_may_have_trailer(__u32 udp_len)
{
	return udp_len >= MSEG_UDP_HEADER && udp_len <= MSEG_UDP_HEADER + MSEG_UDP_PAYLOAD_MAX;
}

/* Is there a surplus area of its size? `ip_payload`: what IP says follows its header. */
MSEG_INLINE int mseg_has_surplus(__u32 ip_payload, __u32 udp_len)
{
	return mseg_may_have_trailer(udp_len) && ip_payload == udp_len + mseg_surplus_of(udp_len);
}

/* The ones' complement sum of the trailer and the length of its area. */
MSEG_INLINE __u16 mseg_surplus_sum(const __u8 *trailer, __u32 surplus)
{
	__u32 sum = surplus;

	for (int i = 0; i < MSEG_TRAILER_LEN; i += 2)
		sum += (__u32)trailer[i] << 8 | trailer[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)(sum + (sum >> 16));
}

/* All but the check and the MAC. */
MSEG_INLINE void mseg_build_trailer(__u8 *to, __u16 exid, const struct mseg_claim *claim,
				    __u64 sequence)
{
	to[0] = to[1] = 0;
	mseg_build_claim(to + 2, MSEG_TRAILER_KIND, exid, MSEG_TRAILER_OPTION, claim);
	mseg_put48(to + 22, sequence >> 16);
	to[28] = (__u8)(sequence >> 8);
	to[29] = (__u8)sequence;
}

MSEG_INLINE void mseg_finish_trailer(__u8 *to, __u64 mac, __u32 surplus)
{
	__u16 check;

	mseg_put48(to + 30, mac >> 16);
	to[36] = (__u8)(mac >> 8);
	to[37] = (__u8)mac;
	check = (__u16)~mseg_surplus_sum(to, surplus);
	if (!check)
		check = 0xffff;
	to[0] = (__u8)(check >> 8);
	to[1] = (__u8)check;
}

/* Is this ours, in a version that is understood? */
MSEG_INLINE int mseg_trailer_is(const __u8 *from, __u16 exid)
{
	return mseg_option_is(from + 2, MSEG_TRAILER_KIND, exid, MSEG_TRAILER_OPTION);
}

MSEG_INLINE int mseg_surplus_is_whole(const __u8 *trailer, __u32 surplus)
{
	return (trailer[0] | trailer[1]) && mseg_surplus_sum(trailer, surplus) == 0xffff;
}

/* `from` has passed mseg_trailer_is(). */
MSEG_INLINE struct mseg_trailer mseg_parse_trailer(const __u8 *from)
{
	struct mseg_trailer trailer = MSEG_ZERO;

	trailer.claim = mseg_parse_claim(from + 2);
	trailer.sequence = mseg_get64(from + 22);
	trailer.mac = mseg_get64(from + 30);
	return trailer;
}

/* Payload follows: mseg_siphash_word() for each word of it, the last one filled up with zero. */
MSEG_INLINE struct mseg_siphash mseg_datagram_mac_begin(const struct mseg_wire_key *key,
							const __u8 *trailer, __u16 port,
							__u16 udp_len)
{
	struct mseg_siphash s = mseg_siphash_begin(key->k[0], key->k[1]);

	mseg_siphash_word(&s, (__u64)port << 32 | udp_len);
	mseg_siphash_word(&s, mseg_get64(trailer + 6));
	mseg_siphash_word(&s, mseg_get64(trailer + 14));
	mseg_siphash_word(&s, mseg_get64(trailer + 22));
	return s;
}

MSEG_INLINE __u64 mseg_datagram_mac_end(struct mseg_siphash *s, __u16 udp_len)
{
	__u64 bytes = 32u + udp_len - MSEG_UDP_HEADER;

	return mseg_siphash_end(s, bytes << 56 | MSEG_MAC_DATAGRAM);
}

/* Eight bytes of payload as they lie in memory. */
MSEG_INLINE __u64 mseg_payload_word(__u64 word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap64(word);
#else
	return word;
#endif
}

/* ---- sequence numbers of one sending host ---------------------------------------------------- */

/*
 * Which of the last numbers were seen (after RFC 6479): at least MSEG_WINDOW_WORDS * 64 - 63 of them.
 * All zero: nothing yet; whatever is older than the first counts as seen.
 */
#define MSEG_WINDOW_WORDS 128
struct mseg_window {
	__u64 highest;
	__u64 unseen[MSEG_WINDOW_WORDS]; /* a bit a number */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_window) == 1032, "mseg_window");

/* 1: it is new, and from now on it is not. */
MSEG_INLINE int mseg_window_take(struct mseg_window *window, __u64 number)
{
	const __u64 at = number / 64, bit = 1ull << (number & 63), was = window->highest / 64;
	__u64 *word = &window->unseen[at & (MSEG_WINDOW_WORDS - 1)];

	if (!number)
		return 0;
	if (!window->highest) {
		window->highest = number;
		*word = ~(bit | (bit - 1));
		return 1;
	}
	if (number > window->highest) {
		for (__u32 i = 1; i <= MSEG_WINDOW_WORDS && was + i <= at; i++)
			window->unseen[(was + i) & (MSEG_WINDOW_WORDS - 1)] = ~0ull;
		window->highest = number;
	} else if (was - at >= MSEG_WINDOW_WORDS) {
		return 0;
	}
	if (!(*word & bit))
		return 0;
	*word &= ~bit;
	return 1;
}

#endif /* MSEG_UDP_TRAILER_H_ */
