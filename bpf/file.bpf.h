/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_FILE_BPF_H_
#define MSEG_FILE_BPF_H_

/*
 * struct file -> mseg_exe_key. The only place that reads inodes, dentries and mounts.
 */

#include "maps.bpf.h"
#include <bpf/bpf_core_read.h>

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define FS_MGTIME 64 /* include/linux/fs.h since 6.13; the bit was free before */
#define MSEG_PATH_STEPS 96 /* components and mount points of a path */
#define MSEG_NAME_CHUNK 64
#define MSEG_NAME_MAX 256

static __always_inline bool mseg_fs_is_remote(unsigned long magic)
{
	switch (magic) {
	case 0x65735546: /* FUSE */
	case 0x6969: /* NFS */
	case 0xff534d42: /* CIFS */
	case 0xfe534d42: /* SMB2 */
	case 0x01021997: /* 9P */
	case 0x00c36400: /* Ceph */
	case 0x6b414653: /* AFS (kAFS) */
	case 0x5346414f: /* AFS */
	case 0x7461636f: /* OCFS2 */
	case 0x01161970: /* GFS2 */
	case 0x0bd00bd0: /* Lustre */
		return true;
	}
	return false;
}

static __always_inline bool mseg_only_root_writes(struct inode *inode)
{
	return !BPF_CORE_READ(inode, i_uid.val) &&
	       !(BPF_CORE_READ(inode, i_mode) & (S_IWGRP | S_IWOTH));
}

/*
 * Can nobody but root have written what is in this file? An owner says something only where the
 * kernel would believe a set-user-ID bit: not below a `nosuid` mount (a medium that a user brought)
 * nor on what was mounted in a user namespace. Who opened the file for writing while it was his may
 * hold it still.
 */
static __always_inline bool mseg_only_root_wrote(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);

	return (BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFREG && mseg_only_root_writes(inode) &&
	       BPF_CORE_READ(inode, i_nlink) &&
	       BPF_CORE_READ(inode, i_writecount.counter) <= 0 &&
	       !(BPF_CORE_READ(file, f_path.mnt, mnt_flags) & MNT_NOSUID) &&
	       BPF_CORE_READ(sb, s_user_ns, level) == 0 &&
	       !mseg_fs_is_remote(BPF_CORE_READ(sb, s_magic));
}

static __always_inline void mseg_read_ctime(struct inode *inode, struct mseg_exe_key *key)
{
	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		key->ctime_sec = BPF_CORE_READ(inode, i_ctime_sec);
		/* Bit 31 says that somebody asked for it; it is no part of the time. */
		key->ctime_nsec = BPF_CORE_READ(inode, i_ctime_nsec) & 0x7fffffff;
	} else if (bpf_core_field_exists(((struct inode___6_6 *)0)->__i_ctime)) {
		struct inode___6_6 *old = (void *)inode;

		key->ctime_sec = BPF_CORE_READ(old, __i_ctime.tv_sec);
		key->ctime_nsec = BPF_CORE_READ(old, __i_ctime.tv_nsec);
	} else {
		struct inode___6_1 *old = (void *)inode;

		key->ctime_sec = BPF_CORE_READ(old, i_ctime.tv_sec);
		key->ctime_nsec = BPF_CORE_READ(old, i_ctime.tv_nsec);
	}
}

static __always_inline __u64 mseg_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 29);
}

/*
 * A path, walked from the file up to the root of its mount namespace, is hashed name by name. The
 * hash is not cryptographic: a collision would have to be another path to the same inode.
 */
struct mseg_path_walk {
	struct dentry *dentry;
	struct mount *mount;
	__u64 hash;
	__u32 at_root;
	__u32 failed;
};

/*
 * Global functions, as are the other walks: the verifier looks at them once, not once on every path
 * that leads there. Kernel pointers go in as plain addresses; they are only read through.
 */
__weak __noinline __u64 mseg_hash_name(__u64 hash, __u64 dentry_address)
{
	struct dentry *dentry = (void *)dentry_address;
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	__u32 len = BPF_CORE_READ(dentry, d_name.len);
	__u64 words[MSEG_NAME_CHUNK / 8];

	hash = mseg_mix(hash, len);
	for (__u32 off = 0; off < MSEG_NAME_MAX && off < len; off += MSEG_NAME_CHUNK) {
		__u32 n = len - off;

		barrier_var(n); /* or clang bounds another register, and 6.1 sees none here */
		if (n > MSEG_NAME_CHUNK)
			n = MSEG_NAME_CHUNK;
		__builtin_memset(words, 0, sizeof(words));
		if (bpf_probe_read_kernel(words, n, name + off))
			return 0;
#pragma unroll
		for (int i = 0; i < MSEG_NAME_CHUNK / 8; i++)
			hash = mseg_mix(hash, words[i]);
	}
	return hash;
}

static long mseg_path_step(__u32 index, void *ctx)
{
	struct mseg_path_walk *walk = ctx;
	struct dentry *dentry = walk->dentry;
	struct mount *mount = walk->mount;
	struct dentry *parent;

	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *up = BPF_CORE_READ(mount, mnt_parent);

		if (up == mount) {
			walk->at_root = 1;
			return 1;
		}
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = up;
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry) {
		walk->failed = 1;
		return 1;
	}
	walk->hash = mseg_hash_name(walk->hash, (__u64)dentry);
	walk->dentry = parent;
	return 0;
}

/*
 * 0 where the path means nothing: a mount that is in no namespace, or a namespace that an
 * unprivileged user made (there anybody may mount a trusted file over another one's name).
 */
__weak __noinline __u64 mseg_path_hash(__u64 file_address)
{
	struct file *file = (void *)file_address;
	struct vfsmount *vfsmnt = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount;
	struct mnt_namespace *ns;
	struct mseg_path_walk walk = {};

	mount = (void *)vfsmnt - bpf_core_field_offset(struct mount, mnt);
	ns = BPF_CORE_READ(mount, mnt_ns);
	/* Error pointers mark internal mounts. */
	if (!ns || (unsigned long)ns >= (unsigned long)-4095)
		return 0;
	if (BPF_CORE_READ(ns, user_ns, level) != 0)
		return 0;
	walk.dentry = BPF_CORE_READ(file, f_path.dentry);
	walk.mount = mount;
	walk.hash = 0x6d736567; /* "mseg" */
	bpf_loop(MSEG_PATH_STEPS, mseg_path_step, &walk, 0);
	if (walk.failed || !walk.at_root)
		return 0;
	return walk.hash;
}

static __always_inline void mseg_read_exe_key(struct file *file, struct mseg_exe_key *key)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	unsigned long magic = BPF_CORE_READ(sb, s_magic);

	key->ino = BPF_CORE_READ(inode, i_ino);
	key->size = BPF_CORE_READ(inode, i_size);
	key->dev = BPF_CORE_READ(sb, s_dev);
	key->generation = BPF_CORE_READ(inode, i_generation);
	mseg_read_ctime(inode, key);
	key->flags = 0;
	if (!BPF_CORE_READ(inode, i_nlink))
		key->flags |= MSEG_FILE_UNLINKED;
	if (mseg_fs_is_remote(magic))
		key->flags |= MSEG_FILE_REMOTE;
	/* A mapping there is one of the layer's file: executing does not know of it, nor does ctime. */
	if (magic == OVERLAYFS_SUPER_MAGIC && !mseg_only_root_writes(inode))
		key->flags |= MSEG_FILE_LAYERED;
	if (BPF_CORE_READ(sb, s_type, fs_flags) & FS_MGTIME)
		key->flags |= MSEG_FILE_FINE_CTIME;
	key->path_hash = mseg_path_hash(mseg_address_of(file));
	if (!key->path_hash)
		key->flags |= MSEG_FILE_NO_PATH;
}

#endif /* MSEG_FILE_BPF_H_ */
