/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TESTS_KERNEL_LET_PASS_ARGS_H_
#define MSEG_TESTS_KERNEL_LET_PASS_ARGS_H_

/* The context of test_let_pass (let_pass.bpf.c), in and out. */
struct let_pass_args {
  __u64 cookie;
  __u32 peer_low;
  __u32 peer_high;
  __u16 peer_port;
  __u8 protocol;
  __u8 proof;
  __u32 generation;
  __u8 wire; /* of the socket's slot; out too */
  __u8 path;
  __u8 note;         /* 1: it was let pass; 0: was it? */
  __u8 other_user;   /* 1: by another user than the current process's */
  __u8 other_cgroup; /* the same */
  __u8 owned;        /* out: the socket has a slot of its own */
  __u16 passed;
};

#endif /* MSEG_TESTS_KERNEL_LET_PASS_ARGS_H_ */
