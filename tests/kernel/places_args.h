/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TESTS_KERNEL_PLACES_ARGS_H_
#define MSEG_TESTS_KERNEL_PLACES_ARGS_H_

/* The context of test_places (places.bpf.c), in and out. */
struct places_args {
  __u64 netns_cookie;
  __u64 cookie; /* of the socket that listens */
  __u32 addr[4];
  __u32 port;
  __u32 generation;
  /* Out, at the address, then of the socket: known before; 1, 0 or -1; whose it is; its flags. */
  __s32 remembered[2];
  __s32 found[2];
  __u32 tgid[2];
  __u32 flags[2];
};

#endif /* MSEG_TESTS_KERNEL_PLACES_ARGS_H_ */
