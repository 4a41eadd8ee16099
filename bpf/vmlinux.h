/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_VMLINUX_H_
#define MSEG_VMLINUX_H_

/*
 * The kernel types that mseg's programs read, and nothing else. Fields are found by name when the
 * object is loaded (CO-RE), so order and size here say nothing; what a kernel renamed stands in a
 * flavour (name___suffix). Written by hand rather than dumped from a running kernel, so that the
 * object is the same wherever it is built.
 */

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef _Bool bool;
typedef int pid_t;
typedef long long time64_t;

#define true 1
#define false 0
#define NULL ((void *)0)

/* ---- what the kernel and userspace agree on (include/uapi) ---- */

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_SOCKHASH = 18,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
	BPF_F_NO_PREALLOC = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_SOCK_OPS_TCP_CONNECT_CB = 3,
	BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB = 4,
	BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
	BPF_SOCK_OPS_TCP_LISTEN_CB = 11,
	BPF_SOCK_OPS_HDR_OPT_LEN_CB = 14,
	BPF_SOCK_OPS_WRITE_HDR_OPT_CB = 15,
	BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG = 1 << 6,
	BPF_LOAD_HDR_OPT_TCP_SYN = 1,
	BPF_WRITE_HDR_TCP_SYNACK_COOKIE = 2,
	BPF_TCP_ESTABLISHED = 1,
	BPF_TCP_SYN_SENT = 2,
	BPF_TCP_SYN_RECV = 3,
	BPF_TCP_CLOSE = 7,
	BPF_TCP_LISTEN = 10,
};
#define BPF_F_CURRENT_NETNS (-1L)

enum {
	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,
	AF_NETLINK = 16,
	AF_PACKET = 17,
	AF_CAN = 29,
	AF_TIPC = 30,
	AF_BLUETOOTH = 31,
	AF_ALG = 38,
	AF_VSOCK = 40,
	AF_XDP = 44,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	SOCK_RAW = 3,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_UDPLITE = 136,
	IPPROTO_IPV6 = 41,
	IPPROTO_ICMPV6 = 58,
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	MSG_FASTOPEN = 0x20000000,
	SOL_SOCKET = 1,
	SO_BINDTOIFINDEX = 62,
	SK_DROP = 0,
	SK_PASS = 1,
	PF_KTHREAD = 0x00200000,
	LOOPBACK_IFINDEX = 1,
	FMODE_WRITE = 2,
	PROT_EXEC = 4,
	MNT_NOSUID = 1, /* include/linux/mount.h */
	PTRACE_MODE_ATTACH = 2,
	BPF_PROG_LOAD = 5,
	BPF_PROG_TYPE_CGROUP_DEVICE = 15,
	BPF_PROG_TYPE_CGROUP_SYSCTL = 23,
	BPF_LINK_UPDATE = 29,
	BPF_LINK_DETACH = 34,
	BPF_F_BPRM_SECUREEXEC = 1,
	S_IXUGO = 0111,
	S_IWGRP = 0020,
	S_IWOTH = 0002,
	S_IFMT = 0170000,
	S_IFREG = 0100000,
	S_IFDIR = 0040000,
	HASH_ALGO_SHA256 = 4, /* include/uapi/linux/hash_info.h */
	LSM_UNSAFE_SHARE = 1, /* include/linux/security.h */
	LSM_UNSAFE_PTRACE = 2,
	EPERM = 1,
	ENOMSG = 42,
	ENOENT = 2,
	EEXIST = 17,
};

/* The argument of bpf(2), as far as its commands are looked at. */
union mseg_bpf_attr {
	struct {
		__u32 prog_type;
		__u32 unused[27];
		__u32 attach_prog_fd;
	} load; /* BPF_PROG_LOAD */
	__u32 link_fd; /* BPF_LINK_UPDATE, BPF_LINK_DETACH */
};
_Static_assert(__builtin_offsetof(union mseg_bpf_attr, load.attach_prog_fd) == 112, "bpf_attr");

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

/* Eight bytes, whatever a pointer is. */
#define MSEG_POINTER(type, name) type name __attribute__((aligned(8)))

struct bpf_sock_ops {
	__u32 op;
	union {
		__u32 args[4];
		__u32 reply;
		__u32 replylong[4];
	};
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port; /* network byte order */
	__u32 local_port;
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 bpf_sock_ops_cb_flags;
	__u32 state;
	__u32 rtt_min;
	__u32 snd_ssthresh;
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 mss_cache;
	__u32 ecn_flags;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 total_retrans;
	__u32 segs_in;
	__u32 data_segs_in;
	__u32 segs_out;
	__u32 data_segs_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u32 sk_txhash;
	__u64 bytes_received;
	__u64 bytes_acked;
	MSEG_POINTER(struct bpf_sock *, sk);
	MSEG_POINTER(void *, skb_data);
	MSEG_POINTER(void *, skb_data_end);
	__u32 skb_len;
	__u32 skb_tcp_flags;
	__u64 skb_hwtstamp;
};

struct sk_msg_md {
	MSEG_POINTER(void *, data);
	MSEG_POINTER(void *, data_end);
};

struct bpf_sk_lookup {
	MSEG_POINTER(struct bpf_sock *, sk);
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4; /* network byte order, and so are all addresses */
	__u32 remote_ip6[4];
	__be16 remote_port;
	__u16 : 16;
	__u32 local_ip4;
	__u32 local_ip6[4];
	__u32 local_port; /* host byte order */
	__u32 ingress_ifindex;
};

struct tcphdr {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack_seq;
	__u8 res1 : 4;
	__u8 doff : 4;
	__u8 flags;
	__be16 window;
	__sum16 check;
	__be16 urg_ptr;
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	union {
		void *flow_keys;
		__u64 : 64;
	} __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
	__u32 gso_size;
};

struct bpf_spin_lock {
	__u32 val;
};

enum {
	TC_ACT_UNSPEC = -1, /* the next filter decides */
	BPF_HDR_START_NET = 1,
	BPF_F_PSEUDO_HDR = 1 << 4,
	CHECKSUM_PARTIAL = 3,
	RTAX_MTU = 2,
};

struct bpf_sock_tuple {
	union {
		struct {
			__be32 saddr;
			__be32 daddr;
			__be16 sport;
			__be16 dport;
		} ipv4;
		struct {
			__be32 saddr[4];
			__be32 daddr[4];
			__be16 sport;
			__be16 dport;
		} ipv6;
	};
};

struct udphdr {
	__be16 source;
	__be16 dest;
	__be16 len;
	__sum16 check;
};

struct iphdr {
	__u8 ihl : 4;
	__u8 version : 4;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};

struct ipv6hdr {
	__u8 head[4];
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	__u8 saddr[16];
	__u8 daddr[16];
};

struct sockaddr {
	__u16 sa_family;
};

struct sockaddr_in {
	__u16 sin_family;
	__be16 sin_port;
	__be32 sin_addr;
};

struct sockaddr_in6 {
	__u16 sin6_family;
	__be16 sin6_port;
	__be32 sin6_flowinfo;
	__u8 sin6_addr[16];
};

/* ---- kernel-internal, relocated by name ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

struct timespec64 {
	time64_t tv_sec;
	long tv_nsec;
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	int counter;
} atomic_t;

struct user_namespace {
	int level;
};

struct file_system_type {
	int fs_flags;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
	struct file_system_type *s_type;
	struct user_namespace *s_user_ns;
};

struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	atomic_t i_writecount;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__u32 i_generation;
	long long i_size;
	__s64 i_ctime_sec; /* since 6.11 */
	__u32 i_ctime_nsec;
};
struct inode___6_6 {
	struct timespec64 __i_ctime;
};
struct inode___6_1 {
	struct timespec64 i_ctime;
};

struct qstr {
	__u32 hash;
	__u32 len;
	const unsigned char *name;
};

struct dentry {
	struct inode *d_inode;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
	int mnt_flags;
};

struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
	struct user_namespace *user_ns;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
	int mnt_id;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_mode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct vm_area_struct {
	struct file *vm_file;
};

struct linux_binprm {
	struct file *file;
	int unsafe;
	const char *filename;
	const char *interp;
	char buf[256];
};

struct mm_struct {
	struct file *exe_file;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
	int level;
	struct cgroup *ancestors[];
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct cred {
	kuid_t uid;
};

struct signal_struct {
	atomic_t live;
};

struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};

struct bpf_map {
	__u32 id;
};

struct bpf_prog_aux {
	__u32 id;
	char name[16];
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

struct bpf_link {
	__u32 id;
	struct bpf_prog *prog;
};

struct net;
struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

struct fs_struct {
	struct path root;
};

struct task_struct {
	unsigned int flags;
	pid_t pid;
	pid_t tgid;
	__u64 self_exec_id;
	struct task_struct *group_leader;
	__u64 start_boottime;
	unsigned int ptrace;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct css_set *cgroups;
	const struct cred *cred;
	struct signal_struct *signal;
	struct nsproxy *nsproxy;
};

struct net {
	struct list_head dev_base_head;
	__u64 net_cookie;
};

struct in_ifaddr {
	struct in_ifaddr *ifa_next;
	__be32 ifa_local;
};

struct in_device {
	struct in_ifaddr *ifa_list;
};

struct in6_addr {
	__u8 bytes[16];
};

struct inet6_ifaddr {
	struct in6_addr addr;
	struct list_head if_list;
};

struct inet6_dev {
	struct list_head addr_list;
};

/* The kernel's own, behind struct __sk_buff. */
struct sk_buff {
	unsigned long _skb_refdst;
	__u8 ip_summed : 2;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
};

struct dst_entry {
	unsigned long _metrics;
};

struct rtable {
	struct dst_entry dst;
	__u32 rt_mtu_locked : 1;
	__u32 rt_pmtu : 31;
};

struct net_device {
	struct list_head dev_list;
	struct in_device *ip_ptr;
	struct inet6_dev *ip6_ptr;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	long long counter;
} atomic64_t;

struct sock_common {
	unsigned short skc_family;
	unsigned char skc_state;
	unsigned short skc_num;
	__be16 skc_dport;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	int skc_bound_dev_if;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	possible_net_t skc_net;
	atomic64_t skc_cookie;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	unsigned short sk_type;
	unsigned short sk_protocol;
	struct sock_cgroup_data sk_cgrp_data;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	int sk_rx_dst_ifindex;
};

struct tcp_fastopen_request;

struct tcp_sock {
	struct tcp_fastopen_request *fastopen_req;
	__u8 fastopen_connect : 1;
	bool is_mptcp;
};

struct unix_sock {
	struct sock *peer;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
	unsigned int msg_flags;
};

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct task_struct *task;
	};
};

struct bpf_iter__task_file {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct task_struct *task;
	};
	__u32 fd;
	union {
		struct file *file;
	};
};

#pragma clang attribute pop

#endif /* MSEG_VMLINUX_H_ */
