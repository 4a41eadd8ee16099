/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_BENCH_DECIDE_ABI_H_
#define MSEG_BENCH_DECIDE_ABI_H_

/* Between decide.bpf.c and suite_decide.cc. */

#ifndef __bpf__
#include <linux/types.h>
#endif

#define BENCH_QUERIES 65536

struct bench_query {
  __u32 local;
  __u32 peer;
  __u16 port;
  __u8 protocol;
  __u8 direction;
  __u32 pad;
};

enum bench_judge {
  BENCH_NOTHING,
  BENCH_LOOK_UP, /* in the tables, always */
  BENCH_HOOK,    /* as hooks do: what was decided is remembered */
};

struct bench_args {
  __u32 count; /* decisions */
  __u32 mask;  /* of the query's number: 63 asks 64 queries again and again */
  __u32 judge; /* enum bench_judge */
  __u32 pad;
  __u64 ns;  /* out: what all took */
  __u64 sum; /* out: of the verdicts, so that nothing can be left out */
};

#endif /* MSEG_BENCH_DECIDE_ABI_H_ */
