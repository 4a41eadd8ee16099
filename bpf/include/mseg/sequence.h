/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_SEQUENCE_H_
#define MSEG_SEQUENCE_H_

/*
 * What a processor keeps for itself, and what interrupts it there may come to as well: written under a
 * sequence number as in the kernel's seqlocks, odd while it is being written, and different after it
 * was. Whoever finds it odd, or changed, does without.
 *
 * Includers: kernel programs and unit tests.
 */

#include "abi.h"

/* For the compiler; a processor sees what it wrote itself in order. */
#define MSEG_BARRIER() __asm__ volatile("" ::: "memory")

/* May it be read? Then what was read counts if mseg_sequence_stood() says so. */
MSEG_INLINE int mseg_sequence_reads(const __u32 *sequence, __u32 *was)
{
	*was = *(volatile const __u32 *)sequence;
	MSEG_BARRIER();
	return !(*was & 1);
}

MSEG_INLINE int mseg_sequence_stood(const __u32 *sequence, __u32 was)
{
	MSEG_BARRIER();
	return *(volatile const __u32 *)sequence == was;
}

/* May it be written? Then until mseg_sequence_written(). */
MSEG_INLINE int mseg_sequence_writes(__u32 *sequence, __u32 *was)
{
	*was = *(volatile __u32 *)sequence;
	return !(*was & 1) && __sync_val_compare_and_swap(sequence, *was, *was + 1) == *was;
}

MSEG_INLINE void mseg_sequence_written(__u32 *sequence, __u32 was)
{
	MSEG_BARRIER();
	*(volatile __u32 *)sequence = was + 2;
}

#endif /* MSEG_SEQUENCE_H_ */
