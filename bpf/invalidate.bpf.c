// SPDX-License-Identifier: Apache-2.0
/*
 * Has this executable been written to since it was hashed? (full mode)
 *
 * Asked of the inode, not of a path, because one file has many. Content changes only through a file
 * that is open for writing, or by truncate(2), which opens nothing; both pass here before the first
 * byte changes. Then the file is unknown until its content has been read again. Time stamps say the
 * same, but before Linux 6.13 only once a tick, and not for pages that are mapped already. Only files
 * whose content is known are looked for.
 *
 * Hooks: lsm/file_open, lsm/path_truncate.
 */
#include "task.bpf.h"
#include <bpf/bpf_tracing.h>

static __always_inline void mseg_mark_written(struct inode *inode)
{
	struct mseg_inode_key key = {};
	__u64 *written;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return;
	key.ino = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	key.generation = BPF_CORE_READ(inode, i_generation);
	written = bpf_map_lookup_elem(&mseg_written, &key);
	if (!written)
		return;
	*(volatile __u64 *)written = bpf_ktime_get_ns();
	mseg_count(MSEG_CNT_EXE_WRITTEN);
}

SEC("lsm/file_open")
int BPF_PROG(mseg_file_open, struct file *file, int ret)
{
	if (!ret && BPF_CORE_READ(file, f_mode) & FMODE_WRITE)
		mseg_mark_written(BPF_CORE_READ(file, f_inode));
	return ret;
}

SEC("lsm/path_truncate")
int BPF_PROG(mseg_path_truncate, const struct path *path, int ret)
{
	if (!ret)
		mseg_mark_written(BPF_CORE_READ(path, dentry, d_inode));
	return ret;
}

char LICENSE[] SEC("license") __weak = "Dual BSD/GPL";
