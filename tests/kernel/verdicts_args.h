/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TESTS_KERNEL_VERDICTS_ARGS_H_
#define MSEG_TESTS_KERNEL_VERDICTS_ARGS_H_

/* The context of test_verdicts (verdicts.bpf.c), in and out. */
struct verdicts_args {
  __u32 end;
  __u32 peer;
  __u32 port;
  __u32 protocol;
  __u32 direction;
  __u32 remembered; /* out: it was known before */
  __u32 rule;
  __u32 would_rule;
  __u32 verdict;
  __u32 would_be;
  __u32 reason;
  __u32 probe;
};

#endif /* MSEG_TESTS_KERNEL_VERDICTS_ARGS_H_ */
