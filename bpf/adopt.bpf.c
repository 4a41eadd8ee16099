// SPDX-License-Identifier: Apache-2.0
/*
 * What was there before mseg?
 *
 * Walks over tasks and open files, run by the daemon when it starts, after the hooks are attached:
 * a process without a record gets one from mm->exe_file (which it may have changed, hence the grade
 * `path`), a listening socket without an entry gets the process that holds it. A third walk tells
 * the daemon the mseg_exe_key of its own open files and directories, so that userspace never builds
 * one.
 *
 * Hooks: iter/task, iter/task_file.
 */
#include "listener.bpf.h"
#include <bpf/bpf_tracing.h>

SEC("iter/task")
int mseg_adopt_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	struct mseg_task_key key;
	struct mseg_task *record;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	mseg_walk_task(task);
	/* One of an earlier walk, before its executable was hashed. */
	key = mseg_key_of_task(task);
	record = bpf_map_lookup_elem(&mseg_tasks, &key);
	if (record && record->id.flags & MSEG_ID_WALKED) {
		struct mseg_exe_key exe = record->exe;
		const struct mseg_exe *found = mseg_find_exe(&exe);

		record->id.roles = found ? mseg_roles_of(task, MSEG_ID_WALKED, found->roles) : 0;
	}
	return 0;
}

static __always_inline bool mseg_sock_listens(struct sock *sk, struct mseg_listener_key *key)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u16 protocol = BPF_CORE_READ(sk, sk_protocol);
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct mseg_addr addr = {};

	if (family != AF_INET && family != AF_INET6)
		return false;
	key->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (!key->port)
		return false;
	if (protocol == IPPROTO_TCP ? state != BPF_TCP_LISTEN : protocol != IPPROTO_UDP)
		return false;
	if (family == AF_INET)
		addr = mseg_addr4(BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	else
		bpf_core_read(&addr, sizeof(addr), &sk->__sk_common.skc_v6_rcv_saddr);
	__builtin_memcpy(key->addr, addr.bytes, sizeof(key->addr));
	key->protocol = protocol;
	key->netns_cookie = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	return true;
}

/* Process 1 holds the sockets that it hands to services; the service is the owner then. */
static __always_inline void mseg_replace_activator(__u64 cookie, const struct mseg_listener_key *key,
						   const struct mseg_task *owner,
						   const struct mseg_holder *holder)
{
	struct mseg_listener *there = bpf_map_lookup_elem(&mseg_listeners, key);

	if (there && there->owner.id.tgid == 1 && there->owner.id.flags & MSEG_ID_WALKED &&
	    owner->id.tgid != 1) {
		mseg_drop_listener(cookie);
		mseg_add_listener(cookie, key, owner, holder);
	}
}

SEC("iter/task_file")
int mseg_adopt_listeners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct mseg_listener_key key = {};
	struct mseg_holder holder = {};
	struct mseg_task owner;
	struct socket *socket;
	struct sock *sk;
	__u64 cookie;

	if (!task || !file || !mseg_task_is_managed(task))
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !mseg_sock_listens(sk, &key))
		return 0;
	cookie = bpf_get_socket_cookie(sk);
	mseg_task_facts(mseg_address_of(task), &owner);
	holder.start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	holder.tgid = BPF_CORE_READ(task, tgid);
	holder.exec_id = BPF_CORE_READ(task, self_exec_id);
	if (bpf_map_lookup_elem(&mseg_listening, &cookie))
		mseg_replace_activator(cookie, &key, &owner, &holder);
	else
		mseg_add_listener(cookie, &key, &owner, &holder);
	return 0;
}

SEC("iter/task_file")
int mseg_file_keys(struct bpf_iter__task_file *ctx)
{
	struct mseg_file_record record = {};
	struct file *file = ctx->file;
	__u16 mode;

	if (!ctx->task || !file)
		return 0;
	mode = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	if (mode != S_IFREG && mode != S_IFDIR)
		return 0;
	record.fd = ctx->fd;
	mseg_read_exe_key(file, &record.key);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
