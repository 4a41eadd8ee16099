// SPDX-License-Identifier: Apache-2.0
/*
 * What does the kernel take for the options of a proven handshake, whoever writes them?
 *
 * A handshake whose SYN, SYN-ACK, ACK and first data carry options of the product's sizes, in the
 * product's order of calls, and nothing else: no table is asked, nothing is computed or verified.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "mseg/tcp_option.h"

/* Options written: on segments with SYN, and on others. */
__u64 bench_opening, bench_proving;

static __always_inline void bench_length(struct bpf_sock_ops *ctx)
{
	if (!ctx->is_fullsock || ctx->state == BPF_TCP_SYN_SENT)
		bpf_reserve_hdr_opt(ctx, MSEG_CLAIM_LEN, 0);
	else if (ctx->bytes_received || ctx->bytes_acked > 1)
		bpf_sock_ops_cb_flags_set(ctx, 0);
	else
		bpf_reserve_hdr_opt(ctx, MSEG_PROOF_LEN, 0);
}

static __always_inline void bench_write(struct bpf_sock_ops *ctx)
{
	__u8 option[MSEG_PROOF_LEN] = {MSEG_OPTION_KIND, MSEG_PROOF_LEN, MSEG_OPTION_EXID >> 8,
				       MSEG_OPTION_EXID & 0xff};

	if (ctx->is_fullsock && ctx->state != BPF_TCP_SYN_SENT) {
		if (!bpf_store_hdr_opt(ctx, option, MSEG_PROOF_LEN, 0))
			bench_proving++;
		return;
	}
	option[1] = MSEG_CLAIM_LEN;
	if (!bpf_store_hdr_opt(ctx, option, MSEG_CLAIM_LEN, 0))
		bench_opening++;
}

SEC("sockops")
int bench_option(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		bpf_sock_ops_cb_flags_set(ctx, 0);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		bench_length(ctx);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		bench_write(ctx);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
