// SPDX-License-Identifier: Apache-2.0
/*
 * May this process have an IP socket of a kind whose peers no hook sees?
 *
 * Asked in the process that makes it, before it has it, in both modes: raw, ping, SCTP and MPTCP
 * sockets. Other families pass only the LSM hooks (doors.bpf.c). The answer is what policy says of
 * peers that nobody knows (doors.bpf.h). A ping socket is asked for here in cgroup mode only, where
 * no hook sees whom it pings.
 *
 * Hook: cgroup/sock_create.
 */
#include "doors.bpf.h"

SEC("cgroup/sock_create")
int mseg_sock_create(struct bpf_sock *ctx)
{
	return mseg_kind_is_open(MSEG_HOOK_SOCK_CREATE, ctx->family, ctx->type, ctx->protocol);
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
