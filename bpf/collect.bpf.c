// SPDX-License-Identifier: Apache-2.0
/*
 * What was counted of flows and is not in the ring yet (report.bpf.h)?
 *
 * Run by the daemon before it reads the ring. What finds no room stays counted.
 */
#include "report.bpf.h"

static long mseg_collect_step(__u32 index, void *context)
{
	__u32 place = index & (MSEG_FLOW_COUNTS - 1), processor = index / MSEG_FLOW_COUNTS;
	struct mseg_flow_count *count;
	bool room;

	count = bpf_map_lookup_percpu_elem(&mseg_flow_counts, &place, processor);
	if (!count || !*(volatile __u32 *)&count->event.count || !mseg_take_flow(count))
		return 0;
	room = !count->event.count || mseg_send_event(&count->event);
	if (room)
		count->event.count = 0;
	mseg_give_flow(count);
	return room ? 0 : 1;
}

SEC("syscall")
int mseg_collect_flows(struct mseg_collect *ctx)
{
	bpf_loop(ctx->processors * MSEG_FLOW_COUNTS, mseg_collect_step, NULL, 0);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
