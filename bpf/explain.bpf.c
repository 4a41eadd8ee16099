// SPDX-License-Identifier: Apache-2.0
/*
 * What would the kernel decide now?
 *
 * The same helpers on the same maps as the hooks, for `msegctl explain --kernel` and the tests:
 * sock_addr, sock_ops and LSM programs cannot be test-run themselves. Nothing is changed, counted
 * or reported. Addresses are looked up by the caller: programs of this type may not read an LPM trie.
 */
#include "judge.bpf.h"

/* Word by word at fixed offsets: a context may not be accessed through a moved pointer. */
#define MSEG_EXPLAIN_WORDS (sizeof(struct mseg_explain) / 8)

static __always_inline void mseg_copy_words(volatile __u64 *to, const volatile __u64 *from)
{
#pragma unroll
	for (__u32 i = 0; i < MSEG_EXPLAIN_WORDS; i++)
		to[i] = from[i];
}

SEC("syscall")
int mseg_explain(struct mseg_explain *ctx)
{
	struct mseg_question question = {};
	struct mseg_decision d = {};
	struct mseg_explain args;

	mseg_copy_words((volatile __u64 *)&args, (const volatile __u64 *)ctx);
	if (!args.generation)
		args.generation = mseg_active_generation();
	args.failed = 0;
	if (args.resolve_local) {
		args.local.generation = 0;
		args.failed |= !mseg_resolve(&args.local, args.generation);
		args.local_class = args.local.cls;
	}
	if (args.resolve_peer) {
		args.peer.generation = 0;
		args.failed |= !mseg_resolve(&args.peer, args.generation);
		args.peer_class = args.peer.cls;
	}
	question.end = args.local_class;
	question.peer = args.peer_class;
	question.generation = args.generation;
	question.port = args.port;
	question.protocol = args.protocol;
	question.direction = args.direction;
	/* The tables, not what hooks remember: they may be those of a generation to come. */
	mseg_look_up_verdict(&question, &d);
	if (args.failed)
		d = mseg_refusal(MSEG_REASON_NO_ROW);
	args.rule = d.rule;
	args.would_rule = d.would_rule;
	args.verdict = d.verdict;
	args.would_be = d.would_be;
	args.reason = d.reason;
	args.would_reason = d.would_reason;
	args.probe = d.probe;
	args.may = d.may;
	mseg_copy_words((volatile __u64 *)ctx, (const volatile __u64 *)&args);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
