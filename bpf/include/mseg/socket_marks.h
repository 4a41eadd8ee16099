/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_SOCKET_MARKS_H_
#define MSEG_SOCKET_MARKS_H_

/*
 * Which sockets may have an entry in a table by socket cookie?
 *
 * Every socket is released and few have such an entry; a look-up in a large hash goes through cold
 * memory, while a bit beside those of the sockets that were made just before is at hand.
 *
 * An array of words, each for MSEG_MARK_SOCKETS cookies; cookies count up, so the array is gone
 * through lap by lap. A word holds its lap (upper half) and who of that lap has an entry (lower
 * half). What it says is exact for its own lap; of later ones nobody has an entry yet, and a socket
 * of an earlier lap may have one: "may" is never wrong in the other direction.
 */

#include "decide.h"

#define MSEG_MARK_WORDS 8192
#define MSEG_MARK_SOCKETS 32

MSEG_INLINE __u32 mseg_mark_place(__u64 cookie)
{
	return cookie / MSEG_MARK_SOCKETS & (MSEG_MARK_WORDS - 1);
}

/* How many laps the socket is ahead of the word; laps wrap. */
MSEG_INLINE __s32 mseg_mark_ahead(__u64 word, __u64 cookie)
{
	__u32 lap = (__u32)(cookie / MSEG_MARK_SOCKETS / MSEG_MARK_WORDS);

	return (__s32)(lap - (__u32)(word >> 32));
}

/* The word from when the socket gets an entry on. */
MSEG_INLINE __u64 mseg_mark_set(__u64 word, __u64 cookie)
{
	__s32 ahead = mseg_mark_ahead(word, cookie);

	if (ahead < 0)
		return word;
	if (ahead > 0)
		word = cookie / MSEG_MARK_SOCKETS / MSEG_MARK_WORDS << 32;
	return word | 1ull << cookie % MSEG_MARK_SOCKETS;
}

/* May the socket have an entry? */
MSEG_INLINE int mseg_mark_may(__u64 word, __u64 cookie)
{
	__s32 ahead = mseg_mark_ahead(word, cookie);

	if (ahead)
		return ahead < 0;
	return word >> cookie % MSEG_MARK_SOCKETS & 1;
}

#endif /* MSEG_SOCKET_MARKS_H_ */
