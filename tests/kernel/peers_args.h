/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TESTS_KERNEL_PEERS_ARGS_H_
#define MSEG_TESTS_KERNEL_PEERS_ARGS_H_

/* The context of test_peers (peers.bpf.c), in and out. */
struct peers_args {
  __u64 cookie;
  __u64 label_id;
  __u32 forget;
  __u32 kept;
};

#endif /* MSEG_TESTS_KERNEL_PEERS_ARGS_H_ */
