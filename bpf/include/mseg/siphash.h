/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_SIPHASH_H_
#define MSEG_SIPHASH_H_

/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012), 64-bit result, over whole words: what authenticates a
 * handshake. A message of n bytes is its bytes as little-endian words; the last word holds what is
 * left of them below n % 256 in its highest byte. Callers here hash whole words, so their last word
 * is that length alone. Works on numbers, so byte order is the caller's matter.
 */

#include "decide.h"

struct mseg_siphash {
	__u64 v0, v1, v2, v3;
};

MSEG_INLINE __u64 mseg_rotate(__u64 word, int bits)
{
	return word << bits | word >> (64 - bits);
}

MSEG_INLINE void mseg_siphash_round(struct mseg_siphash *s)
{
	s->v0 += s->v1;
	s->v1 = mseg_rotate(s->v1, 13) ^ s->v0;
	s->v0 = mseg_rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = mseg_rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = mseg_rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = mseg_rotate(s->v1, 17) ^ s->v2;
	s->v2 = mseg_rotate(s->v2, 32);
}

MSEG_INLINE void mseg_siphash_word(struct mseg_siphash *s, __u64 word)
{
	s->v3 ^= word;
	mseg_siphash_round(s);
	mseg_siphash_round(s);
	s->v0 ^= word;
}

MSEG_INLINE struct mseg_siphash mseg_siphash_begin(__u64 key0, __u64 key1)
{
	struct mseg_siphash s = MSEG_ZERO;

	s.v0 = key0 ^ 0x736f6d6570736575ull;
	s.v1 = key1 ^ 0x646f72616e646f6dull;
	s.v2 = key0 ^ 0x6c7967656e657261ull;
	s.v3 = key1 ^ 0x7465646279746573ull;
	return s;
}

/* `last`: the bytes that fill no word, and the length of the message in the highest byte. */
MSEG_INLINE __u64 mseg_siphash_end(struct mseg_siphash *s, __u64 last)
{
	mseg_siphash_word(s, last);
	s->v2 ^= 0xff;
	mseg_siphash_round(s);
	mseg_siphash_round(s);
	mseg_siphash_round(s);
	mseg_siphash_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

#endif /* MSEG_SIPHASH_H_ */
