// SPDX-License-Identifier: Apache-2.0
/*
 * May this process change mseg itself? (full mode, `self_protection` of the configuration)
 *
 * Only mseg's own executables may, root included: who executed one is on record since exec, by the
 * content of the file. Everybody's way to a map is a descriptor of it, so opening one is refused,
 * for reading too: a BPF program may write what its loader could only read. A link can be detached
 * or given another program through a descriptor, or dies with its pin. A process that cannot be
 * stopped by a signal can be by a debugger. The state directory is what policy comes from.
 *
 * What root can do beyond this is in docs/security.md. Every refusal is counted and reported.
 *
 * Hooks: lsm/bpf, bpf_map, inode_unlink, inode_rmdir, inode_rename, inode_create, inode_link,
 * file_open, path_truncate, sb_umount, task_kill, ptrace_access_check.
 */
#include "task.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline __u8 mseg_roles(struct task_struct *task)
{
	struct mseg_task_key key = mseg_key_of_task(task);
	const struct mseg_task *record = bpf_map_lookup_elem(&mseg_tasks, &key);
	__u8 roles = record ? record->id.roles : 0;

	return mseg_is_daemon(task) ? roles | MSEG_ROLE_OWN : roles;
}

static __always_inline bool mseg_is_own(struct task_struct *task)
{
	return mseg_roles(task) & MSEG_ROLE_OWN;
}

/* Refuses what the current process attempts, unless it is mseg. */
static __noinline int mseg_tampers(__u32 act, __u64 subject)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mseg_task_key key = mseg_key_of_task(task);
	const struct mseg_task *record;
	struct mseg_tamper_event *event;

	if (mseg_is_own(task))
		return 0;
	mseg_count(MSEG_CNT_TAMPERING);
	event = bpf_ringbuf_reserve(&mseg_flows, sizeof(*event), 0);
	if (!event) {
		mseg_count(MSEG_CNT_FLOW_EVENTS_LOST);
		return -EPERM;
	}
	event->type = MSEG_EVENT_TAMPER;
	event->act = act;
	event->time_ns = bpf_ktime_get_ns();
	event->subject = subject;
	__builtin_memset(&event->by, 0, sizeof(event->by));
	record = bpf_map_lookup_elem(&mseg_tasks, &key);
	if (record)
		event->by = *record;
	event->by.id.tgid = key.tgid;
	event->by.id.uid = BPF_CORE_READ(task, cred, uid.val);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return -EPERM;
}

/* ---- maps, links, programs ---- */

SEC("lsm/bpf_map")
int BPF_PROG(mseg_guard_map, struct bpf_map *map)
{
	struct mseg_guarded_key key = { .number = BPF_CORE_READ(map, id), .is_map = 1 };

	return bpf_map_lookup_elem(&mseg_guarded, &key) ? mseg_tampers(MSEG_TAMPER_MAP, key.number)
							: 0;
}

/* What is behind a descriptor of the current process: a link, a program, or anything else. */
static __always_inline void *mseg_behind(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd), *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds) ||
	    bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return NULL;
	return BPF_CORE_READ(file, private_data);
}

/* Whatever it is: nothing is written, and only a program has such a name. */
static __always_inline bool mseg_is_own_program(struct bpf_prog *prog)
{
	struct bpf_prog_aux *aux = BPF_CORE_READ(prog, aux);
	char name[16] = {};

	bpf_core_read(name, sizeof(name), &aux->name);
	return name[0] == 'm' && name[1] == 's' && name[2] == 'e' && name[3] == 'g' &&
	       name[4] == '_';
}

/* May the current process, as far as the configuration limits it, load and attach programs? */
static __always_inline bool mseg_may_load(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return !(mseg_guard_flags() & MSEG_GUARD_LOADERS) ||
	       mseg_roles(task) & MSEG_ROLE_LOADER || BPF_CORE_READ(task, tgid) == 1;
}

static __always_inline int mseg_load(const union mseg_bpf_attr *attr)
{
	struct bpf_prog *target;

	if (!mseg_may_load())
		return mseg_tampers(MSEG_TAMPER_LOAD, attr->load.prog_type);
	if (!attr->load.attach_prog_fd)
		return 0;
	target = mseg_behind(attr->load.attach_prog_fd);
	return mseg_is_own_program(target) ?
		       mseg_tampers(MSEG_TAMPER_PROGRAM, BPF_CORE_READ(target, aux, id)) : 0;
}

/* Somebody who shares its descriptors could put another one in place after this. */
static __always_inline int mseg_change_link(const union mseg_bpf_attr *attr)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct bpf_link *link = mseg_behind(attr->link_fd);

	if (mseg_is_own_program(BPF_CORE_READ(link, prog)) ||
	    (BPF_CORE_READ(task, files, count.counter) > 1 && !mseg_may_load()))
		return mseg_tampers(MSEG_TAMPER_LINK, BPF_CORE_READ(link, id));
	return 0;
}

SEC("lsm/bpf")
int BPF_PROG(mseg_guard_bpf, int cmd, const void *argument)
{
	union mseg_bpf_attr attr = {};

	if (cmd != BPF_PROG_LOAD && cmd != BPF_LINK_UPDATE && cmd != BPF_LINK_DETACH)
		return 0;
	bpf_probe_read_kernel(&attr, sizeof(attr), argument);
	return cmd == BPF_PROG_LOAD ? mseg_load(&attr) : mseg_change_link(&attr);
}

/* ---- pins and state ---- */

static __always_inline bool mseg_is_guarded(struct inode *inode)
{
	struct mseg_guarded_key key = {
		.number = BPF_CORE_READ(inode, i_ino), .dev = BPF_CORE_READ(inode, i_sb, s_dev),
	};

	return inode && bpf_map_lookup_elem(&mseg_guarded, &key);
}

/* `dir`: whose entry changes; `entry`: what goes or comes there, which may be a directory, too. */
static __always_inline int mseg_change(struct inode *dir, struct dentry *entry)
{
	struct inode *inode = BPF_CORE_READ(entry, d_inode);

	if (!mseg_is_guarded(dir) && !mseg_is_guarded(inode))
		return 0;
	return mseg_tampers(MSEG_TAMPER_FILE, BPF_CORE_READ(dir, i_ino));
}

SEC("lsm/inode_unlink")
int BPF_PROG(mseg_guard_unlink, struct inode *dir, struct dentry *entry)
{
	return mseg_change(dir, entry);
}

SEC("lsm/inode_rmdir")
int BPF_PROG(mseg_guard_rmdir, struct inode *dir, struct dentry *entry)
{
	return mseg_change(dir, entry);
}

SEC("lsm/inode_rename")
int BPF_PROG(mseg_guard_rename, struct inode *from, struct dentry *entry, struct inode *to,
	     struct dentry *over)
{
	int result = mseg_change(from, entry);

	return result ? result : mseg_change(to, over);
}

SEC("lsm/inode_create")
int BPF_PROG(mseg_guard_create, struct inode *dir, struct dentry *entry)
{
	return mseg_change(dir, entry);
}

SEC("lsm/inode_link")
int BPF_PROG(mseg_guard_link, struct dentry *old, struct inode *dir, struct dentry *entry)
{
	return mseg_change(dir, entry);
}

static __always_inline int mseg_write(struct dentry *dentry)
{
	struct inode *dir = BPF_CORE_READ(dentry, d_parent, d_inode);

	return mseg_is_guarded(dir) ? mseg_tampers(MSEG_TAMPER_FILE, BPF_CORE_READ(dir, i_ino)) : 0;
}

SEC("lsm/file_open")
int BPF_PROG(mseg_guard_open, struct file *file)
{
	if (!(BPF_CORE_READ(file, f_mode) & FMODE_WRITE))
		return 0;
	return mseg_write(BPF_CORE_READ(file, f_path.dentry));
}

SEC("lsm/path_truncate")
int BPF_PROG(mseg_guard_truncate, const struct path *path)
{
	return mseg_write(BPF_CORE_READ(path, dentry));
}

/* Other namespaces may drop their copies of the mount; the pins hang on the last one. */
SEC("lsm/sb_umount")
int BPF_PROG(mseg_guard_umount, struct vfsmount *vfsmnt)
{
	struct mount *mount = (void *)vfsmnt - bpf_core_field_offset(struct mount, mnt);
	__u32 zero = 0;
	const struct mseg_config *config = bpf_map_lookup_elem(&mseg_config, &zero);

	if (!config || BPF_CORE_READ(vfsmnt, mnt_sb, s_dev) != config->pins_dev ||
	    BPF_CORE_READ(mount, mnt_ns, ns.inum) != config->mount_ns)
		return 0;
	return mseg_tampers(MSEG_TAMPER_UNMOUNT, 0);
}

/* ---- the daemon ---- */

/* Only signals of processes come here. Process 1 stops services; signal 0 does nothing. */
SEC("lsm/task_kill")
int BPF_PROG(mseg_guard_kill, struct task_struct *task, void *info, int signal)
{
	struct task_struct *sender = (void *)bpf_get_current_task();
	__u32 tgid = BPF_CORE_READ(sender, tgid);

	if (!signal || tgid == 1 || tgid == (__u32)BPF_CORE_READ(task, tgid) || !mseg_is_own(task))
		return 0;
	return mseg_tampers(MSEG_TAMPER_SIGNAL, signal);
}

/* A process that is traced already when it executes mseg is not mseg: mseg_roles_of(). */
SEC("lsm/ptrace_access_check")
int BPF_PROG(mseg_guard_ptrace, struct task_struct *child, unsigned int mode)
{
	if (!(mode & PTRACE_MODE_ATTACH) || !mseg_is_own(child))
		return 0;
	return mseg_tampers(MSEG_TAMPER_TRACE, BPF_CORE_READ(child, tgid));
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
