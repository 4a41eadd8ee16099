/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_TESTS_KERNEL_REPORT_ARGS_H_
#define MSEG_TESTS_KERNEL_REPORT_ARGS_H_

/* The context of test_report (report.bpf.c). */
struct report_args {
  __u32 tgid;
  __u16 port;
  __u16 peer_port;
};

#endif /* MSEG_TESTS_KERNEL_REPORT_ARGS_H_ */
