// SPDX-License-Identifier: Apache-2.0
/*
 * What does one decision cost?
 *
 * A test-run program of type syscall cannot be repeated by the kernel, and one call costs more than
 * what is asked. So this one repeats by itself: the helpers that the hooks call, over a table of
 * queries, on the live maps of an instance. Asked for nothing it does all but decide; the difference
 * is the decision.
 */
#include "judge.bpf.h"
#include "decide_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_QUERIES);
	__type(key, __u32);
	__type(value, struct bench_query);
} bench_queries SEC(".maps");

struct bench_state {
	__u64 sum;
	__u32 mask;
	__u32 judge;
	__u32 generation;
	__u32 pad;
};

static __always_inline struct mseg_decision bench_look_up(const struct bench_query *query,
							  __u32 generation)
{
	struct mseg_question question = {
		.end = query->local, .peer = query->peer, .generation = generation,
		.port = query->port, .protocol = query->protocol, .direction = query->direction,
	};
	struct mseg_decision d = {};

	mseg_look_up_verdict(&question, &d);
	return d;
}

static long bench_one(__u32 i, struct bench_state *state)
{
	__u32 index = i & state->mask;
	const struct bench_query *query = bpf_map_lookup_elem(&bench_queries, &index);
	struct mseg_decision d;

	if (!query)
		return 1;
	if (state->judge == BENCH_NOTHING) {
		state->sum += query->local + query->peer + query->port + query->direction;
		return 0;
	}
	if (state->judge == BENCH_LOOK_UP)
		d = bench_look_up(query, state->generation);
	else
		d = mseg_judge_end(query->local, query->peer, query->direction, query->protocol,
				   query->port, state->generation);
	state->sum += d.verdict;
	return 0;
}

SEC("syscall")
int bench_decide(struct bench_args *ctx)
{
	struct bench_state state = { .mask = ctx->mask, .judge = ctx->judge };
	__u64 start;

	state.generation = mseg_active_generation();
	start = bpf_ktime_get_ns();
	bpf_loop(ctx->count, bench_one, &state, 0);
	ctx->ns = bpf_ktime_get_ns() - start;
	ctx->sum = state.sum;
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
