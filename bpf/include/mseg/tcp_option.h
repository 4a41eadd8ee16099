/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TCP_OPTION_H_
#define MSEG_TCP_OPTION_H_

/*
 * The identity option: a TCP experimental option in the form of RFC 6994. Valid C11 and C++20; the
 * only parser and the only builder, for the kernel programs, the tests and the fuzzer.
 *
 * All numbers are big endian on the wire. Byte offsets:
 *
 *           0     1    2..3  4         5..7     8..13          14..19          20..27
 *   claim   kind  20   ExID  v g epoch host id  label id       executable id            on SYN
 *   answer  kind  20   ExID  v g epoch host id  fingerprint    MAC (48 bits)            on SYN-ACK
 *   proof   kind  28   ExID  v g epoch host id  label id       executable id   MAC      on ACK, data
 *
 * Byte 4: version (2 bits, 0 now), grade (2 bits: path, hash, ima, verity; an unknown executable is
 * executable id 0), epoch (4 bits: time slot modulo 16, names the key of the MAC).
 *
 * The fingerprint is 48 bits of BLAKE2b over (label id, executable id), see mseg_fingerprint().
 * An answer whose MAC is zero is unproven: the responder could not know for whom to make one.
 *
 * A MAC is SipHash-2-4 under the pairwise key of the two hosts, over both initial sequence numbers
 * (zero where the path does not bind them), bytes 4 to 19 of a proof or 4 to 13 of an answer, and
 * what it is, so that one is never taken for the other. Neither addresses nor ports are under it:
 * NAT may change them.
 */

#include "siphash.h"

enum {
	MSEG_OPTION_HEAD = 4, /* kind, length, ExID */
	MSEG_CLAIM_LEN = 20,
	MSEG_ANSWER_LEN = 20,
	MSEG_PROOF_LEN = 28,
	MSEG_OPTION_VERSION = 0,
	MSEG_TCP_HEADER = 20, /* without options */
	MSEG_OPTIONS_MAX = 40, /* of a TCP header */
};
#define MSEG_OPTION_KIND 253 /* defaults: RFC 4727's experimental kind, an ExID of our own */
#define MSEG_OPTION_EXID 0x6d73
#define MSEG_ID48 0xffffffffffffull
#define MSEG_ID24 0xffffffu

/* Who a claim or a proof speaks of. */
struct mseg_claim {
	__u64 label_id; /* 48 bits; 0: labels unknown */
	__u64 exe_id; /* 48 bits; 0: executable unknown */
	__u32 host_id; /* 24 bits */
	__u8 grade; /* enum mseg_grade */
	__u8 epoch; /* 0 to 15 */
	__u8 pad[2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_claim) == 24, "mseg_claim");

struct mseg_answer {
	__u64 fingerprint; /* 48 bits */
	__u64 mac; /* 48 bits; 0: unproven */
	__u32 host_id;
	__u8 grade;
	__u8 epoch;
	__u8 pad[2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_answer) == 24, "mseg_answer");

MSEG_INLINE void mseg_put48(__u8 *to, __u64 value)
{
	to[0] = (__u8)(value >> 40);
	to[1] = (__u8)(value >> 32);
	to[2] = (__u8)(value >> 24);
	to[3] = (__u8)(value >> 16);
	to[4] = (__u8)(value >> 8);
	to[5] = (__u8)value;
}

MSEG_INLINE __u64 mseg_get48(const __u8 *from)
{
	return (__u64)from[0] << 40 | (__u64)from[1] << 32 | (__u64)from[2] << 24 |
	       (__u64)from[3] << 16 | (__u64)from[4] << 8 | from[5];
}

MSEG_INLINE __u64 mseg_get64(const __u8 *from)
{
	return mseg_get48(from) << 16 | (__u64)from[6] << 8 | from[7];
}

/* Bytes 0 to 7. An unknown executable has no grade to tell. */
MSEG_INLINE void mseg_option_head(__u8 *to, __u8 kind, __u16 exid, __u8 len, __u8 grade,
				  __u8 epoch, __u32 host_id)
{
	__u8 told = grade > MSEG_GRADE_PATH ? (__u8)(grade - MSEG_GRADE_PATH) : 0;

	to[0] = kind;
	to[1] = len;
	to[2] = (__u8)(exid >> 8);
	to[3] = (__u8)exid;
	to[4] = (__u8)(MSEG_OPTION_VERSION << 6 | (told & 3) << 4 | (epoch & 15));
	to[5] = (__u8)(host_id >> 16);
	to[6] = (__u8)(host_id >> 8);
	to[7] = (__u8)host_id;
}

MSEG_INLINE void mseg_build_claim(__u8 *to, __u8 kind, __u16 exid, __u8 len,
				  const struct mseg_claim *claim)
{
	mseg_option_head(to, kind, exid, len, claim->grade, claim->epoch, claim->host_id);
	mseg_put48(to + 8, claim->label_id);
	mseg_put48(to + 14, claim->exe_id);
}

/* `mac` is mseg_proof_mac() over the bytes that mseg_build_claim() wrote. */
MSEG_INLINE void mseg_build_proof_mac(__u8 *to, __u64 mac)
{
	to[20] = (__u8)(mac >> 56);
	to[21] = (__u8)(mac >> 48);
	mseg_put48(to + 22, mac);
}

MSEG_INLINE void mseg_build_answer(__u8 *to, __u8 kind, __u16 exid,
				   const struct mseg_answer *answer)
{
	mseg_option_head(to, kind, exid, MSEG_ANSWER_LEN, answer->grade, answer->epoch,
			 answer->host_id);
	mseg_put48(to + 8, answer->fingerprint);
	mseg_put48(to + 14, answer->mac);
}

/* Is this ours, of this length, in a version that is understood? */
MSEG_INLINE int mseg_option_is(const __u8 *from, __u8 kind, __u16 exid, __u8 len)
{
	return from[0] == kind && from[1] == len && from[2] == (__u8)(exid >> 8) &&
	       from[3] == (__u8)exid && from[4] >> 6 == MSEG_OPTION_VERSION;
}

/* `from` has passed mseg_option_is() with the length of a claim or a proof. */
MSEG_INLINE struct mseg_claim mseg_parse_claim(const __u8 *from)
{
	struct mseg_claim claim = MSEG_ZERO;

	claim.host_id = (__u32)from[5] << 16 | (__u32)from[6] << 8 | from[7];
	claim.label_id = mseg_get48(from + 8);
	claim.exe_id = mseg_get48(from + 14);
	claim.grade = claim.exe_id ? (__u8)((from[4] >> 4 & 3) + MSEG_GRADE_PATH) :
				     (__u8)MSEG_GRADE_UNKNOWN;
	claim.epoch = from[4] & 15;
	return claim;
}

MSEG_INLINE struct mseg_answer mseg_parse_answer(const __u8 *from)
{
	struct mseg_answer answer = MSEG_ZERO;

	answer.host_id = (__u32)from[5] << 16 | (__u32)from[6] << 8 | from[7];
	answer.fingerprint = mseg_get48(from + 8);
	answer.mac = mseg_get48(from + 14);
	answer.grade = (__u8)((from[4] >> 4 & 3) + MSEG_GRADE_PATH);
	answer.epoch = from[4] & 15;
	return answer;
}

/* The key of one pair of hosts in one time slot. */
struct mseg_wire_key {
	__u64 k[2];
};

/* What a MAC speaks of: the top byte of its last word, beside the length. */
#define MSEG_MAC_PROOF ((__u64)24 << 56 | 1)
#define MSEG_MAC_ANSWER ((__u64)24 << 56 | 2)

/* Over the two initial sequence numbers (client's and server's) and bytes 4 to 19. */
MSEG_INLINE __u64 mseg_proof_mac(const struct mseg_wire_key *key, __u32 client_isn,
				 __u32 server_isn, const __u8 *option)
{
	struct mseg_siphash s = mseg_siphash_begin(key->k[0], key->k[1]);

	mseg_siphash_word(&s, (__u64)client_isn << 32 | server_isn);
	mseg_siphash_word(&s, mseg_get64(option + 4));
	mseg_siphash_word(&s, mseg_get64(option + 12));
	return mseg_siphash_end(&s, MSEG_MAC_PROOF);
}

/* The same for an answer: bytes 4 to 13; 48 bits, never 0. */
MSEG_INLINE __u64 mseg_answer_mac(const struct mseg_wire_key *key, __u32 client_isn,
				  __u32 server_isn, const __u8 *option)
{
	struct mseg_siphash s = mseg_siphash_begin(key->k[0], key->k[1]);
	__u64 mac;

	mseg_siphash_word(&s, (__u64)client_isn << 32 | server_isn);
	mseg_siphash_word(&s, mseg_get64(option + 4));
	mseg_siphash_word(&s, (__u64)option[12] << 8 | option[13]);
	mac = mseg_siphash_end(&s, MSEG_MAC_ANSWER) & MSEG_ID48;
	return mac ? mac : 1;
}

/*
 * Who looks at the last segment of a handshake: the listener's ingress hook, before a child exists,
 * or the hook of the established connection, or both. `forms` is of this port, or NULL.
 */
MSEG_INLINE int mseg_proven_at_ingress(const struct mseg_forms *forms, __u16 port)
{
	const __u64 bit = 1ull << (port & 63);

	return !forms || forms->strict & bit || !(forms->fast & bit);
}

MSEG_INLINE int mseg_proven_when_established(const struct mseg_forms *forms, __u16 port)
{
	return !forms || !(forms->strict & 1ull << (port & 63)) ||
	       (forms->fast & 1ull << (port & 63));
}

/*
 * Had a SYN with a TCP header of this length no room for a claim? One that is full had: a claim fills
 * a default SYN, and who takes an option away leaves padding in its place.
 */
MSEG_INLINE int mseg_lacks_room(__u8 header_len)
{
	return header_len + MSEG_CLAIM_LEN > MSEG_TCP_HEADER + MSEG_OPTIONS_MAX &&
	       header_len < MSEG_TCP_HEADER + MSEG_OPTIONS_MAX;
}

/* What to remember of a SYN that is refused now; `before`: what is of an earlier one, 0 for nothing. */
MSEG_INLINE __u64 mseg_refusal_note(__u64 now, __u64 before, int may_claim_next)
{
	int again = before && now - (before & ~MSEG_REFUSED_NO_ROOM) < MSEG_REFUSED_NS;

	return now | (may_claim_next && !again ? MSEG_REFUSED_NO_ROOM : 0);
}

/* Is a SYN to be answered with a reset, for what is remembered of the one before? */
MSEG_INLINE int mseg_refusal_holds(__u64 remembered, __u64 now)
{
	return !(remembered & MSEG_REFUSED_NO_ROOM) && now - remembered < MSEG_REFUSED_NS;
}

/*
 * May a refusal of the last MSEG_REFUSED_NS be on record, if the last one of all was then? Both times
 * are of the coarse clock, which may be a tick behind that of the record. 0: there was none.
 */
MSEG_INLINE int mseg_refused_since(__u64 last, __u64 now)
{
	return last && now - last < MSEG_REFUSED_NS + MSEG_COARSE_NS;
}

/* Where the map `syns` has what is known of a SYN, and what. */
MSEG_INLINE __u32 mseg_syn_place(__u32 client_isn)
{
	return (client_isn ^ client_isn >> 16) & (MSEG_SYNS - 1);
}

MSEG_INLINE __u64 mseg_syn_note(__u32 client_isn, __u32 host_id)
{
	return (__u64)client_isn << 32 | host_id;
}

/* 0: nothing is known of that SYN. */
MSEG_INLINE __u32 mseg_syn_host(__u64 note, __u32 client_isn)
{
	return note >> 32 == client_isn ? (__u32)note & MSEG_ID24 : 0;
}

/* Is the quarantine so full that nothing may be let near it? */
MSEG_INLINE int mseg_quarantine_is_full(__u64 put, __u64 gone)
{
	/* More gone than put: seen between two steps of who counts. */
	return (__s64)(put - gone) >= MSEG_QUARANTINE_LIMIT;
}

/*
 * Where our option of this length lies in the options of a TCP header. Linux leaves it at the end;
 * middleboxes may not. A step looks at one option; the includer loops, at most MSEG_OPTIONS_MAX
 * times (the verifier wants bpf_loop), until it returns 0.
 */
struct mseg_option_walk {
	__u8 bytes[MSEG_OPTIONS_MAX + MSEG_PROOF_LEN]; /* zero behind `size` */
	__u32 size;
	__u32 at;
	__u32 found; /* 1: at `at` */
	__u16 exid;
	__u8 kind;
	__u8 want; /* length */
};

MSEG_INLINE int mseg_option_step(struct mseg_option_walk *walk)
{
	__u32 at = walk->at;
	__u8 len;

	if (at >= MSEG_OPTIONS_MAX || at >= walk->size)
		return 0;
	if (walk->bytes[at] == 0) /* end of options */
		return 0;
	if (walk->bytes[at] == 1) { /* no operation */
		walk->at = at + 1;
		return 1;
	}
	len = walk->bytes[at + 1];
	if (len < 2 || at + len > walk->size)
		return 0;
	if (len == walk->want &&
	    mseg_option_is(&walk->bytes[at], walk->kind, walk->exid, walk->want)) {
		walk->found = 1;
		return 0;
	}
	walk->at = at + len;
	return 1;
}

/* ---- fingerprint ---------------------------------------------------------------------------- */

MSEG_INLINE void mseg_blake2b_mix(__u64 *v, int a, int b, int c, int d, __u64 x, __u64 y)
{
	v[a] += v[b] + x;
	v[d] = mseg_rotate(v[d] ^ v[a], 32);
	v[c] += v[d];
	v[b] = mseg_rotate(v[b] ^ v[c], 40);
	v[a] += v[b] + y;
	v[d] = mseg_rotate(v[d] ^ v[a], 48);
	v[c] += v[d];
	v[b] = mseg_rotate(v[b] ^ v[c], 1);
}

/* Two words of the message are not zero; RFC 7693's permutation puts them at `at0` and `at1`. */
#define MSEG_BLAKE2B_WORD(at) ((at) == at0 ? m0 : (at) == at1 ? m1 : 0)
MSEG_INLINE void mseg_blake2b_round(__u64 *v, __u64 m0, __u64 m1, int at0, int at1)
{
	mseg_blake2b_mix(v, 0, 4, 8, 12, MSEG_BLAKE2B_WORD(0), MSEG_BLAKE2B_WORD(1));
	mseg_blake2b_mix(v, 1, 5, 9, 13, MSEG_BLAKE2B_WORD(2), MSEG_BLAKE2B_WORD(3));
	mseg_blake2b_mix(v, 2, 6, 10, 14, MSEG_BLAKE2B_WORD(4), MSEG_BLAKE2B_WORD(5));
	mseg_blake2b_mix(v, 3, 7, 11, 15, MSEG_BLAKE2B_WORD(6), MSEG_BLAKE2B_WORD(7));
	mseg_blake2b_mix(v, 0, 5, 10, 15, MSEG_BLAKE2B_WORD(8), MSEG_BLAKE2B_WORD(9));
	mseg_blake2b_mix(v, 1, 6, 11, 12, MSEG_BLAKE2B_WORD(10), MSEG_BLAKE2B_WORD(11));
	mseg_blake2b_mix(v, 2, 7, 8, 13, MSEG_BLAKE2B_WORD(12), MSEG_BLAKE2B_WORD(13));
	mseg_blake2b_mix(v, 3, 4, 9, 14, MSEG_BLAKE2B_WORD(14), MSEG_BLAKE2B_WORD(15));
}
#undef MSEG_BLAKE2B_WORD

/*
 * The first 48 bits, read big endian, of BLAKE2b with 16 bytes of output and no key (RFC 7693) over
 * the two ids, 6 bytes each, big endian: one block.
 */
MSEG_INLINE __u64 mseg_fingerprint(__u64 label_id, __u64 exe_id)
{
	const __u64 h0 = 0x6a09e667f3bcc908ull ^ 0x01010010ull;
	const __u64 m0 = __builtin_bswap64(label_id << 16 | (exe_id & MSEG_ID48) >> 32);
	const __u64 m1 = __builtin_bswap32((__u32)exe_id);
	__u64 v[16] = {
		h0,			0xbb67ae8584caa73bull, 0x3c6ef372fe94f82bull,
		0xa54ff53a5f1d36f1ull,	0x510e527fade682d1ull, 0x9b05688c2b3e6c1full,
		0x1f83d9abfb41bd6bull,	0x5be0cd19137e2179ull, 0x6a09e667f3bcc908ull,
		0xbb67ae8584caa73bull,	0x3c6ef372fe94f82bull, 0xa54ff53a5f1d36f1ull,
		0x510e527fade682d1ull ^ 12 /* bytes */,	0x9b05688c2b3e6c1full,
		~0x1f83d9abfb41bd6bull /* last block */, 0x5be0cd19137e2179ull,
	};

	mseg_blake2b_round(v, m0, m1, 0, 1);
	mseg_blake2b_round(v, m0, m1, 10, 8);
	mseg_blake2b_round(v, m0, m1, 3, 13);
	mseg_blake2b_round(v, m0, m1, 13, 3);
	mseg_blake2b_round(v, m0, m1, 1, 9);
	mseg_blake2b_round(v, m0, m1, 4, 14);
	mseg_blake2b_round(v, m0, m1, 8, 2);
	mseg_blake2b_round(v, m0, m1, 9, 5);
	mseg_blake2b_round(v, m0, m1, 6, 12);
	mseg_blake2b_round(v, m0, m1, 15, 6);
	mseg_blake2b_round(v, m0, m1, 0, 1);
	mseg_blake2b_round(v, m0, m1, 10, 8);
	return __builtin_bswap64(h0 ^ v[0] ^ v[8]) >> 16;
}

#endif /* MSEG_TCP_OPTION_H_ */
