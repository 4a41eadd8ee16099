// SPDX-License-Identifier: Apache-2.0
/*
 * What the hooks do when a connection is proven and when a socket is released, on the live maps of an
 * instance, for cookies of the test's choice.
 */
#include "peers.bpf.h"
#include "peers_args.h"

SEC("syscall")
int test_peers(struct peers_args *args)
{
	struct mseg_identity peer = {};

	if (args->forget) {
		mseg_forget_peer(args->cookie);
		return 0;
	}
	peer.label_id = args->label_id;
	args->kept = mseg_remember_peer(args->cookie, &peer);
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
