// SPDX-License-Identifier: Apache-2.0
/*
 * What hooks decide between two ends, remembered or looked up, on the live maps of an instance.
 */
#include "judge.bpf.h"
#include "verdicts_args.h"

SEC("syscall")
int test_verdicts(struct verdicts_args *args)
{
	struct mseg_question question = {
		.end = args->end, .peer = args->peer, .generation = mseg_active_generation(),
		.port = args->port, .protocol = args->protocol, .direction = args->direction,
	};
	struct mseg_decision d = {};

	args->remembered = mseg_recall_verdict(&question, &d);
	d = mseg_judge_end(args->end, args->peer, args->direction, args->protocol, args->port,
			   question.generation);
	args->rule = d.rule;
	args->would_rule = d.would_rule;
	args->verdict = d.verdict;
	args->would_be = d.would_be;
	args->reason = d.reason;
	args->probe = d.probe;
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
