// SPDX-License-Identifier: Apache-2.0
/*
 * Who listens at an address and behind a socket, remembered or looked up, on the live maps of an
 * instance. (Programs of this kind may not look into the trie of addresses' classes.)
 */
#include "listener.bpf.h"
#include "places_args.h"

SEC("syscall")
int test_places(struct places_args *args)
{
	struct mseg_addr addr = {};
	struct mseg_identity id = {};

	for (int i = 0; i < 4; i++)
		addr.words[i] = args->addr[i];
	args->remembered[0] = mseg_recall_at(args->netns_cookie, &addr,
					     IPPROTO_TCP << 16 | args->port, args->generation, &id);
	args->found[0] = mseg_who_listens(args->netns_cookie, &addr, IPPROTO_TCP, args->port,
					  args->generation, &id);
	args->tgid[0] = id.tgid;
	args->flags[0] = id.flags;
	__builtin_memset(&id, 0, sizeof(id));
	args->remembered[1] = mseg_recall_of(args->cookie, args->generation, &id);
	args->found[1] = mseg_who_receives(args->cookie, args->generation, &id);
	args->tgid[1] = id.tgid;
	args->flags[1] = id.flags;
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
