// SPDX-License-Identifier: Apache-2.0
/* A refusal as a hook reports it, on the live maps of an instance. */
#include "report.bpf.h"
#include "report_args.h"

SEC("syscall")
int test_report(struct report_args *args)
{
	struct mseg_conn conn = { .protocol = IPPROTO_TCP, .hook = MSEG_HOOK_INGRESS };
	struct mseg_identity local = {};
	struct mseg_decision d = { .verdict = MSEG_DENY, .reason = MSEG_REASON_DEFAULT };

	conn.peer_port = args->peer_port;
	local.tgid = args->tgid;
	local.exe_ref = 1;
	mseg_report(&conn, &local, NULL, &d, MSEG_INGRESS, args->port, 1);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
