/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_ABI_H_
#define MSEG_ABI_H_

/*
 * The ABI between mseg's kernel programs and its userspace. Valid C11 and C++20.
 *
 * Everything here is in host byte order unless a field says otherwise. Addresses are always 16
 * bytes in network byte order, IPv4 as v4-mapped IPv6 (::ffff:a.b.c.d). Ports are host byte order.
 * All padding is explicit and zero, because most of these structs are map keys.
 *
 * How an identity becomes a verdict (all names below are defined in this file):
 *
 *   task ──exec──▶ mseg_exe_key ──exe cache──▶ mseg_exe {ref, grade}
 *   (cgroup class, exe class, user class) ──identities──▶ {label id, class}      once per task and
 *                                                                                generation
 *   (protocol, port) ──port table──▶ port class
 *   class ──classes──▶ end, tail, group
 *   (end or tail, peer class or cell, direction, port class) ──rows──▶ verdict   decide.h
 *
 * Every policy table holds two sides in one map, told apart by a side number in the key. The active
 * generation number is one word; its lowest bit is the side in force.
 */

#ifdef __bpf__
/* __u8 ... __u64 come from vmlinux.h, which the includer has read already. */
#else
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define MSEG_STATIC_ASSERT static_assert
#define MSEG_ZERO {}
#else
#define MSEG_STATIC_ASSERT _Static_assert
#define MSEG_ZERO {0}
#endif

#ifdef __bpf__
#define MSEG_INLINE static __attribute__((always_inline)) inline
#else
#define MSEG_INLINE static inline
#endif

/* Raised by every change of a struct, a map or a meaning in this file. */
#define MSEG_ABI_VERSION 14

enum mseg_direction {
	MSEG_EGRESS = 0,
	MSEG_INGRESS = 1,
};

/* Zero denies: memory that nobody filled in must never allow. */
enum mseg_verdict {
	MSEG_DENY = 0,
	MSEG_ALLOW = 1,
};

/* Why a verdict is what it is: the closed list of docs/reasons.md. */
enum mseg_reason {
	MSEG_REASON_NONE = 0,
	MSEG_REASON_RULE = 1, /* a rule matched; its number is beside it */
	MSEG_REASON_DEFAULT = 2, /* no rule matched: denied if the end is selected, else allowed */
	MSEG_REASON_UNKNOWN_IDENTITY = 3, /* a rule would allow it if the identity were certain */
	MSEG_REASON_NO_ROW = 4, /* the tables have no answer: a fault, denied and counted */
	MSEG_REASON_REPLY = 5, /* UDP: the reverse of a flow that was allowed */
	MSEG_REASON_NO_STATE = 6, /* a map was full or failed: denied and counted */
	MSEG_REASON_NO_POLICY = 7, /* no generation has ever been active on this host */
	MSEG_REASON_LOOPBACK = 8, /* `loopback: allow` of the workload that both ends belong to */
	MSEG_REASON_FAILSAFE = 9, /* what the configuration lets no policy cut */
	MSEG_REASON_NO_PROOF = 10, /* the path demands a proof of identity and there is none */
	MSEG_REASON_BAD_PROOF = 11, /* forged, replayed, or made with a key that is not valid now */
	MSEG_REASON_LABEL_NOT_PERMITTED = 12, /* beyond what the host's record lets it claim */
	MSEG_REASON_NO_RECORD = 13, /* no record of the host, or of what its ids mean */
	MSEG_REASON_PASSING = 14, /* `passing` of the process that got a socket from another one */
	MSEG_REASON_LIBRARY = 15, /* `libraries` of the process that wants to run code of a file */
	MSEG_REASON_MAX,
};

/* How sure an executable's digest is, best last so that grades compare as numbers. */
enum mseg_grade {
	MSEG_GRADE_UNKNOWN = 0,
	MSEG_GRADE_PATH = 1, /* found by a walk over processes older than mseg */
	MSEG_GRADE_HASH = 2,
	MSEG_GRADE_IMA = 3,
	MSEG_GRADE_VERITY = 4,
	MSEG_GRADE_MAX,
};

/* ---- identity of an executable -------------------------------------------------------------- */

/*
 * A file as it was when it was executed. Written only by BPF (file.bpf.h), so that userspace never
 * has to know how a kernel encodes a device number or a path. Two equal keys mean the same content
 * and the same path: ctime moves with every write, and a file cannot be written while it runs.
 */
struct mseg_exe_key {
	__u64 ino;
	__u64 size; /* bytes */
	__s64 ctime_sec;
	__u32 ctime_nsec; /* without the kernel's "queried" flag */
	__u32 dev; /* super_block.s_dev, kernel encoding */
	__u32 generation; /* inode.i_generation */
	__u32 flags; /* enum mseg_file_flags */
	__u64 path_hash; /* 0: no path that could be trusted (see MSEG_FILE_NO_PATH) */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_exe_key) == 48, "mseg_exe_key");

enum mseg_file_flags {
	MSEG_FILE_UNLINKED = 1 << 0, /* no link left: memfd, deleted file */
	MSEG_FILE_REMOTE = 1 << 1, /* network or FUSE file system: content may change unseen */
	MSEG_FILE_NO_PATH = 1 << 2, /* detached mount, or a mount namespace of an unprivileged user */
	MSEG_FILE_FINE_CTIME = 1 << 3, /* ctime moves with every change that follows a stat() */
	/* On overlayfs, and not root's alone: whoever has it mapped may write it while it runs. */
	MSEG_FILE_LAYERED = 1 << 4,
};
/* A file with one of these is never hashed: its identity stays unknown. */
#define MSEG_FILE_UNHASHABLE (MSEG_FILE_UNLINKED | MSEG_FILE_REMOTE | MSEG_FILE_LAYERED)

/*
 * Exe cache: mseg_exe_key -> this. Inserted by the daemon after it hashed the content. In full mode
 * also mseg_digest -> this, for digests that a policy names (grade IMA, path not known).
 */
struct mseg_exe {
	__u64 exe_id; /* executable id, 48 bits */
	__u32 ref; /* the daemon's number of this (digest, path); never 0, never reused in a boot */
	__u8 grade; /* enum mseg_grade */
	__u8 roles; /* enum mseg_role: what the content may do to mseg */
	__u8 pad[2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_exe) == 16, "mseg_exe");

struct mseg_digest {
	__u8 sha256[32];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_digest) == 32, "mseg_digest");

/*
 * Files whose content is known (full mode) -> when they were last opened for writing or truncated
 * since they were hashed, 0: never; by inode, because the same file has many paths. The daemon puts
 * the 0 there before it hashes. Without an entry nobody would have noticed: such a file is unknown.
 */
struct mseg_inode_key {
	__u64 ino;
	__u32 dev; /* as in mseg_exe_key */
	__u32 generation;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_inode_key) == 16, "mseg_inode_key");

/*
 * Scripts (full mode): {the interpreter's ref, the script file's ref} -> this pair as an executable
 * of its own; its ref stands in mseg_identity.exe_ref. Inserted by the daemon. Where the script says
 * nothing (others may change it) the interpreter stands for the pair.
 */
struct mseg_script_key {
	__u32 interpreter;
	__u32 script;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_script_key) == 8, "mseg_script_key");

/* What an executable may do while mseg protects itself (guard.bpf.c). */
enum mseg_role {
	MSEG_ROLE_OWN = 1 << 0, /* mseg's own: its maps, pins, state and processes */
	MSEG_ROLE_LOADER = 1 << 1, /* load BPF programs of its own */
};

/* ---- identity of a process or socket -------------------------------------------------------- */

enum mseg_identity_flags {
	MSEG_ID_WALKED = 1 << 0, /* older than mseg: the executable was read from mm->exe_file */
	MSEG_ID_AMBIGUOUS = 1 << 1, /* several owners share one listening address */
	MSEG_ID_KERNEL = 1 << 2, /* a kernel thread */
	MSEG_ID_NO_RECORD = 1 << 3, /* no record of this task: treated as unknown */
	MSEG_ID_REMOTE = 1 << 4, /* proven in a handshake: a process of the host `tgid` */
	MSEG_ID_UNRECORDED = 1 << 5, /* remote, and no record says what one of its ids means */
	MSEG_ID_CLAIMED = 1 << 6, /* remote, said in a SYN and not proven yet */
	/* The kernel hashed the file at exec; exe_ref is its digest's, until the daemon knows it. */
	MSEG_ID_DIGEST_ONLY = 1 << 7,
};

enum mseg_script_state {
	MSEG_SCRIPT_NONE = 0, /* not executed through the `#!` of a file that can be vouched for */
	MSEG_SCRIPT_PENDING = 1, /* it was; the pair is not known yet, exe_ref is the interpreter's */
	MSEG_SCRIPT_KNOWN = 2, /* exe_id and exe_ref are the pair's */
};

/*
 * Who a process is, and what that meant in `generation`. The first fields are facts; cls and
 * label_id are looked up from them and count only while `generation` is the active one, which is
 * why generation and cls share one aligned word that is written in one store.
 */
struct mseg_identity {
	__u64 cgroup_id;
	__u64 exe_id; /* 48 bits, 0 while unknown */
	__u32 exe_ref; /* 0 while unknown */
	__u32 uid; /* real uid, in the initial user namespace */
	__u32 tgid; /* in the initial pid namespace; for events only, never a key */
	__u8 grade; /* enum mseg_grade */
	__u8 flags; /* enum mseg_identity_flags */
	__u8 roles; /* enum mseg_role, given at exec and never later */
	__u8 script; /* enum mseg_script_state */
	__u64 label_id; /* 48 bits */
	__u32 generation;
	__u32 cls; /* class number of that generation */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_identity) == 48, "mseg_identity");

/* Tasks: the thread-group leader, so that a reused pid can never inherit. */
struct mseg_task_key {
	__u64 start_ns; /* task_struct.start_boottime of the leader */
	__u32 tgid;
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_task_key) == 16, "mseg_task_key");

struct mseg_task {
	struct mseg_identity id;
	struct mseg_exe_key exe; /* the script's, if id.script says so: then exe_ref is certain */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_task) == 96, "mseg_task");

/*
 * Who uses a socket: one program in one process, told from the next that the process executes. Not
 * the one that opened it: judged again for this one, in `generation`, and that holds as long as it
 * is the active one. 0: the one that it was judged for when it was opened.
 */
struct mseg_holder {
	__u64 start_ns; /* as in mseg_task_key */
	__u32 tgid;
	__u32 exec_id; /* task_struct.self_exec_id */
	__u32 generation;
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_holder) == 24, "mseg_holder");

/* Listeners: who answers at an address. A wildcard is ::ffff:0.0.0.0 (IPv4) or :: (both families). */
struct mseg_listener_key {
	__u64 netns_cookie;
	__u8 addr[16];
	__u16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 pad[5];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_listener_key) == 32, "mseg_listener_key");

struct mseg_listener {
	struct mseg_task owner;
	struct mseg_holder holder; /* who accepts */
	__u32 sockets; /* how many sockets share the address (SO_REUSEPORT) */
	__u32 pair; /* AF_UNIX: 1 for an end that socketpair() made */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_listener) == 128, "mseg_listener");

/* In place of a cookie, in whatever lies by cookies: being written. No socket has this one. */
#define MSEG_COOKIE_BUSY (~0ull)

/*
 * The owner of a socket that connected or sent, in an array indexed by cookie & (size - 1). Never
 * deleted: an entry counts only while its cookie is the socket's. Its size is a power of two, twice
 * what all processors have in hand at least: each gives out the cookies of a batch of its own
 * (include/linux/cookie.h), so those that connect side by side are far apart.
 */
#define MSEG_SLOTS_MIN 65536
#define MSEG_COOKIE_BATCH 4096
struct mseg_slot {
	__u64 cookie;
	struct mseg_identity owner;
	__u64 mac; /* of the proof, once `wire` says so */
	__u32 peer_host; /* that answered */
	__u8 wire; /* enum mseg_slot_wire */
	__u8 path; /* enum mseg_path_flags */
	__u8 epoch; /* of the proof */
	__u8 pad;
	struct mseg_holder holder;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_slot) == 96, "mseg_slot");

/*
 * What a hook of LSM has just let pass (TCP), one a processor: the cgroup's hook is asked about the same
 * next, in the same call, and writes the socket's slot. Counts only for the same socket, destination,
 * process and generation, and once.
 */
struct mseg_let_pass {
	__u64 cookie; /* 0: nothing */
	__u8 peer[16];
	__u16 peer_port;
	__u8 proof; /* enum mseg_proof_kind */
	__u8 wire; /* of the slot */
	__u8 path;
	__u8 pad[3];
	struct mseg_holder holder;
	struct mseg_identity owner;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_let_pass) == 104, "mseg_let_pass");

/*
 * A connection that was accepted (full mode): who listened when it was established, and who uses it;
 * in an array indexed by cookie & (MSEG_ACCEPTED - 1). An entry may give way to another socket's;
 * what is made in its place then has an owner with MSEG_ID_NO_RECORD.
 */
#define MSEG_ACCEPTED 32768
struct mseg_accepted {
	__u64 cookie;
	struct mseg_holder holder;
	struct mseg_identity owner;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_accepted) == 80, "mseg_accepted");

/* What the handshake of a connecting socket is to carry. */
enum mseg_slot_wire {
	MSEG_SLOT_CLAIM = 1 << 0, /* options are written */
	MSEG_SLOT_BY_ADDRESS = 1 << 1, /* the peer's address alone would do */
	MSEG_SLOT_PROVE = 1 << 2, /* the answer was good: proofs are written */
};

/*
 * Who is at the other end of a connection that was proven in its handshake, from then until its
 * socket is released. `generation` is the one it was judged in, `tgid` is the host.
 *
 * In the place of its cookie, cookie & (MSEG_PEER_SLOTS - 1), if that is free; else in the map
 * `peers`, {socket cookie} -> identity. Cookies count up, so short connections find their place free
 * and warm; none is ever forgotten for another.
 */
#define MSEG_PEER_SLOTS 65536
#define MSEG_PEER_SLOT_FREE 0
struct mseg_peer_slot {
	__u64 cookie;
	struct mseg_identity peer;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_peer_slot) == 56, "mseg_peer_slot");

/*
 * What a remote identity came out as: a cache of what the tables say. The value is one word, written
 * in one store: generation << 32 | MSEG_REMOTE_UNRECORDED, if so | class.
 */
struct mseg_remote_key {
	__u64 label_id;
	__u64 exe_id;
	__u32 host_id;
	__u8 grade;
	__u8 pad[3];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_remote_key) == 24, "mseg_remote_key");
#define MSEG_REMOTE_UNRECORDED (1u << 31)

/* UDP flows that were allowed, from the side of one socket; an entry permits the reverse too. */
struct mseg_flow_key {
	__u64 cookie;
	__u8 peer[16];
	__u16 peer_port;
	__u8 pad[6];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_flow_key) == 32, "mseg_flow_key");

struct mseg_flow_state {
	__u64 last_ns; /* CLOCK_MONOTONIC of the last datagram */
	struct mseg_identity owner; /* of this end: the process that the verdict was for */
	struct mseg_remote_key peer; /* who proved to be at the other end; all zero: nobody */
	__u32 generation;
	__u8 direction; /* enum mseg_direction of the datagram that opened the flow */
	__u8 pad[3];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_flow_state) == 88, "mseg_flow_state");

/* ---- policy tables -------------------------------------------------------------------------- */

/*
 * Identity classes are derived (64 bits of BLAKE2b over what they mean), never allocated, so that a
 * value left over from an older generation is not found instead of being mistaken.
 */
#define MSEG_CGROUP_PENDING 1ull /* a new cgroup that some selector may match: labels unknown */
#define MSEG_EXE_OTHER 0ull /* known, and no selector names it */
#define MSEG_EXE_UNKNOWN 1ull
#define MSEG_USER_OTHER 0u

/* What runs no file: stands in exe_ref of the kernel's own threads. */
#define MSEG_EXE_REF_KERNEL 0xffffffffu

/* Cgroups: {cgroup id, side} -> cgroup class, whether a cgroup made below must wait, doors. */
struct mseg_cgroup_key {
	__u64 id;
	__u32 side;
	__u32 pad;
};
struct mseg_cgroup {
	__u64 cls;
	__u16 watch; /* 1: some selector may match a cgroup below this one */
	__u16 doors; /* enum mseg_doors */
	/* Not 0: processes of cgroups with one number talk freely on loopback addresses. */
	__u32 loopback;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_cgroup_key) == 16, "mseg_cgroup_key");
MSEG_STATIC_ASSERT(sizeof(struct mseg_cgroup) == 16, "mseg_cgroup");

/* What a Workload says of ways that have no address; none: as bpf/doors.bpf.c has it. */
enum mseg_doors {
	MSEG_DOOR_PASSING_ALLOW = 1 << 0, /* sockets of other processes may be used as they are */
	MSEG_DOOR_PASSING_DENY = 1 << 1, /* ... may not, if policy tells the two apart */
	MSEG_DOOR_UNIX_JUDGE = 1 << 2, /* AF_UNIX is judged by both ends */
	MSEG_DOOR_RAW = 1 << 3, /* raw and ping sockets are open */
	MSEG_DOOR_PACKET = 1 << 4, /* and sockets of these families */
	MSEG_DOOR_VSOCK = 1 << 5,
	MSEG_DOOR_XDP = 1 << 6,
	MSEG_DOOR_ALG = 1 << 7,
	MSEG_DOOR_CAN = 1 << 8,
	MSEG_DOOR_TIPC = 1 << 9,
	MSEG_DOOR_BLUETOOTH = 1 << 10,
	MSEG_DOOR_BPF = 1 << 11, /* BPF programs may be loaded */
	MSEG_DOOR_LIBRARIES = 1 << 12, /* code comes from files that nobody but root wrote */
	MSEG_DOOR_LIBRARIES_TEST = 1 << 13, /* ... or it is reported */
};

/* Exe classes: {ref, grade, side} -> class. Absent: MSEG_EXE_OTHER. */
struct mseg_exe_class_key {
	__u32 ref;
	__u8 grade;
	__u8 side;
	__u8 pad[2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_exe_class_key) == 8, "mseg_exe_class_key");

/* User classes: {uid, side} -> class. Absent: MSEG_USER_OTHER. */
struct mseg_user_key {
	__u32 uid;
	__u32 side;
};

/*
 * Identities. Looked up as (cgroup, exe, user), (cgroup, exe, other), (cgroup, other, user),
 * (cgroup, other, other), first hit wins; the compiler leaves out what the rest of the chain says.
 */
struct mseg_identity_key {
	__u64 cgroup;
	__u64 exe;
	__u32 user;
	__u32 side;
};
struct mseg_identity_value {
	__u64 label_id; /* 0: not known */
	__u32 cls;
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_identity_key) == 24, "mseg_identity_key");
MSEG_STATIC_ASSERT(sizeof(struct mseg_identity_value) == 16, "mseg_identity_value");

/* Addresses: an LPM trie. prefixlen counts the side byte: 8 + prefix bits (IPv4: 8 + 96 + n). */
struct mseg_address_key {
	__u32 prefixlen;
	__u8 side;
	__u8 addr[16];
	__u8 pad[3]; /* beyond every prefix */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_address_key) == 24, "mseg_address_key");
#define MSEG_ADDRESS_MAX_PREFIX (8 + 128)

/*
 * Port table: an array of blocks of 256 port classes; see mseg_port_place() in decide.h. Class 0 is
 * every port that no rule names.
 */
#define MSEG_PORT_BLOCK 256
struct mseg_port_block {
	__u16 cls[MSEG_PORT_BLOCK];
};
enum mseg_port_space {
	MSEG_PORTS_TCP = 0,
	MSEG_PORTS_UDP = 1,
	MSEG_PORTS_SCTP = 2,
	MSEG_PORTS_OTHER = 3, /* {protocol << 8 | type of ICMP}; protocols without ports have all 256 */
	MSEG_PORT_SPACES = 4,
};
#define MSEG_ICMP_TYPE_MAX 255
#define MSEG_ICMP_ECHO 8 /* the type of a request, RFC 792; RFC 4443 for version 6 */
#define MSEG_ICMPV6_ECHO 128
#define MSEG_PORT_BLOCKS (2 * MSEG_PORT_SPACES * 65536 / MSEG_PORT_BLOCK)

/*
 * What the look-ups need to know of a class: array of both sides, {side * MSEG_CLASSES + class}.
 *
 * As a local end, per direction: classes that no rule of that direction tells apart share an `end`,
 * those that no coarse rule tells apart a `tail`. As a peer: its group, which is what the selectors
 * that name many classes say of it, one bit each. A tail's mask holds the bits that matter to it;
 * what they leave of a group is a cell (decide.h). Group 0 has no bit. The selectors that name most
 * classes have the first word of these bits, which is here, so that few decisions read the others.
 *
 * `peers` and `ports` say where a look-up may find something, so that one that must miss is not
 * made: a bit for each peer class of which the end has a row, and for each port class of which the
 * tail has one (mseg_hint in decide.h; several numbers share a bit).
 */
#define MSEG_CLASSES 65536
struct mseg_class {
	__u32 group;
	__u32 end[2]; /* by enum mseg_direction */
	__u32 tail[2];
	__u32 peers[2];
	__u32 ports[2];
	__u8 by_peer[2]; /* 1: rows b come first (decide.h) */
	__u8 far; /* enum mseg_far */
	__u8 pad;
	__u64 bits; /* of the group, its first word */
	__u64 mask[2]; /* of the tail, its first word */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_class) == 64, "mseg_class: a cache line");

/* What has bits beyond the first word. */
enum mseg_far {
	MSEG_FAR_EGRESS = 1 << MSEG_EGRESS, /* the tail's mask of this direction */
	MSEG_FAR_INGRESS = 1 << MSEG_INGRESS,
	MSEG_FAR_GROUP = 4,
};

/* Arrays {side * MSEG_GROUPS + group} and {side * MSEG_TAILS + tail}. */
#define MSEG_GROUPS 8192
#define MSEG_TAILS 8192
#define MSEG_COARSE_WORDS 8
struct mseg_coarse {
	__u64 bits[MSEG_COARSE_WORDS];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_coarse) == 64, "mseg_coarse");

/*
 * Identities of other hosts, as the option of tcp_option.h carries them. What label id L means, and
 * whether host H may claim it: {L, H, side} -> a class that stands where a cgroup class stands in
 * mseg_identity_key. Absent: no record, labels unknown (MSEG_CGROUP_PENDING).
 */
struct mseg_peer_label_key {
	__u64 label_id;
	__u32 host_id;
	__u32 side;
};
struct mseg_peer_label {
	__u64 cls;
	__u32 permitted; /* 0: beyond what the host's record lets it claim */
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_peer_label_key) == 16, "mseg_peer_label_key");
MSEG_STATIC_ASSERT(sizeof(struct mseg_peer_label) == 16, "mseg_peer_label");

/* {executable id, grade, side} -> exe class. Absent: no record, MSEG_EXE_UNKNOWN. */
struct mseg_peer_exe_key {
	__u64 exe_id;
	__u8 grade;
	__u8 side;
	__u8 pad[6];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_peer_exe_key) == 16, "mseg_peer_exe_key");

/* The user of a process elsewhere is never known. */
#define MSEG_USER_UNKNOWN 0xffffffffu

/* Rows: the verdicts. */
struct mseg_row_key {
	__u32 local; /* end; or tail, where `peer` is a cell or all */
	__u32 peer; /* class; or MSEG_PEER_CELL | cell; or MSEG_PEER_ALL */
	__u16 port; /* port class, 0: every other port */
	__u8 direction;
	__u8 side;
};
#define MSEG_PEER_CELL 0x80000000u
#define MSEG_PEER_ALL MSEG_PEER_CELL
struct mseg_row {
	__u32 rule; /* number in the generation's rule table, 0: none */
	__u32 would_rule;
	__u8 verdict; /* policies in enforce */
	__u8 would_be; /* policies in enforce and test */
	__u8 reason;
	__u8 would_reason;
	__u8 more; /* 1: a narrower row may say otherwise (decide.h) */
	__u8 may; /* 1: allow is possible once everything about the peer is certain */
	__u8 pad[2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_row_key) == 12, "mseg_row_key");
MSEG_STATIC_ASSERT(sizeof(struct mseg_row) == 16, "mseg_row");

/* The word that is flipped. Map `active`, one element. 0: no generation yet. */
struct mseg_active {
	__u32 generation;
	__u32 pad;
};
#define MSEG_SIDE(generation) ((generation) & 1u)

/* ---- between hosts -------------------------------------------------------------------------- */

#define MSEG_EPOCHS 16

/* Map `wire`, one element, written by the daemon. All zero: stand-alone, nothing is carried. */
struct mseg_wire {
	__u32 host_id; /* of this host, 24 bits; 0: stand-alone */
	__u16 exid;
	__u8 kind;
	__u8 default_path; /* enum mseg_path_flags */
	__s64 wall_offset_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC */
	__u64 slot_ns; /* length of an epoch; not 0 */
	__u32 has_paths; /* 0: map `paths` is empty */
	__u32 udp; /* 0: no path has MSEG_PATH_UDP */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_wire) == 32, "mseg_wire");

/* What is expected on the path to and from an address. */
enum mseg_path_flags {
	MSEG_PATH_LEGACY = 0, /* no option is written, and none is believed */
	MSEG_PATH_PREFER = 1, /* without a proof the address decides, counted */
	MSEG_PATH_REQUIRE = 2, /* without a proof: refused */
	MSEG_PATH_MODE = 3, /* mask of the above */
	/* MACs without the sequence numbers, of UDP without the port, which somebody rewrites */
	MSEG_PATH_UNBOUND = 4,
	MSEG_PATH_UDP = 8, /* datagrams carry identities, too */
};

enum mseg_proof_form {
	MSEG_PROOF_STRICT = 0, /* verified at the listener's ingress, before a child exists */
	MSEG_PROOF_FAST = 1, /* verified when the child is there; a loser is quarantined */
};

/*
 * Map `forms`: port / 64 -> which of those ports of this host have which form, a bit each. Both bits:
 * while the form changes, so that no handshake falls between the two. None: both, too.
 */
#define MSEG_FORM_WORDS 1024
struct mseg_forms {
	__u64 strict;
	__u64 fast;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_forms) == 16, "mseg_forms");

/*
 * Map `quarantine_use`: sockets ever put into the map `quarantine` (the kernel counts), and those of
 * them that are gone (the daemon does). Beyond the limit of those in it, fast listeners are strict:
 * what is full must not become a way in, and with a dead daemon nobody empties it.
 */
enum mseg_quarantine_use {
	MSEG_QUARANTINE_PUT = 0,
	MSEG_QUARANTINE_GONE = 1,
	MSEG_QUARANTINE_USES,
};
#define MSEG_QUARANTINE_PLACES 16384
#define MSEG_QUARANTINE_LIMIT 12288

/* Map `hosts`: host id -> the pairwise SipHash keys of this host and that one, by epoch: the key of
 * time slot n (wall clock / slot_ns) at n % 16. Filled ahead, so that a dead daemon costs nothing. */
struct mseg_host_keys {
	__u64 key[MSEG_EPOCHS][2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_host_keys) == 256, "mseg_host_keys");

/* Map `fingerprints`: who is behind the fingerprint that a host's answer carries. */
struct mseg_fingerprint_key {
	__u64 fingerprint; /* 48 bits */
	__u32 host_id;
	__u32 pad;
};
struct mseg_fingerprint_value {
	__u64 label_id;
	__u64 exe_id;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_fingerprint_key) == 16, "mseg_fingerprint_key");
MSEG_STATIC_ASSERT(sizeof(struct mseg_fingerprint_value) == 16, "mseg_fingerprint_value");

/*
 * Map `syns`, an array: whose claim a SYN carried, for SYN-ACKs that are sent again and no longer see
 * it. The client's initial sequence number says where (mseg_syn_place()) and, in the upper half of the
 * value, whether it is that SYN's; the lower half is the host id.
 */
#define MSEG_SYNS 65536

/* Map `refused`: SYNs that were dropped, so that the next one is answered with a reset. */
struct mseg_refused_key {
	__u8 remote[16];
	__u8 local[16];
	__u16 remote_port;
	__u16 local_port;
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_refused_key) == 40, "mseg_refused_key");
#define MSEG_REFUSED_NS 4000000000ull /* how long a refusal is remembered: two SYN retries */
#define MSEG_COARSE_NS 20000000ull /* more than a tick of the slowest clock (HZ=100) */
/*
 * Beside the time: the SYN had no room for a claim (Fast Open, MPTCP), and its client's next one may
 * have. That one is looked at again instead of answered with a reset.
 */
#define MSEG_REFUSED_NO_ROOM (1ull << 63)

/* Map `paths`: an LPM trie with mseg_address_key (side 0) -> mseg_path_flags, as __u32. */

/* Map `host_addresses`: an address that one host's record names, and no other's -> its host id. */
struct mseg_host_address {
	__u8 addr[16];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_host_address) == 16, "mseg_host_address");

/*
 * Map `udp_sequence`, one element: the number of the next datagram that this host signs. 0: none is
 * signed. Raised by the daemon to the wall clock in sixteenths of a microsecond whenever it is a
 * minute behind. That is beyond every number used before, restarts and reboots included, as long as
 * less than 16 million are sent in a second.
 */
#define MSEG_SEQUENCES_PER_US 16

/*
 * Map `udp_notes`, an array: what a datagram proved where it came in (udp.bpf.c), for its socket
 * (server.bpf.c). skb->tc_index says where: 0: nothing was proven; 1 to MSEG_UDP_NOTES: in this
 * place, counted from 1; MSEG_UDP_REFUSED and the number of a counter: it is not to be let in.
 */
#define MSEG_UDP_NOTES 16384
#define MSEG_UDP_REFUSED 0xff00
struct mseg_udp_note {
	__u64 sequence; /* 0: taken, or being written */
	__u64 label_id;
	__u64 exe_id;
	__u32 host_id;
	__u16 source_port;
	__u16 udp_len;
	__u8 grade;
	__u8 pad[7];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_udp_note) == 40, "mseg_udp_note");

/* ---- events --------------------------------------------------------------------------------- */

enum mseg_event_type {
	MSEG_EVENT_EXE = 1, /* an executable that is not in the cache */
	MSEG_EVENT_CGROUP = 2, /* a cgroup that waits for its class, or went away */
	MSEG_EVENT_FLOW = 3,
	MSEG_EVENT_QUARANTINE = 4, /* a socket that must be closed */
	MSEG_EVENT_TAMPER = 5,
	MSEG_EVENT_SCRIPT = 6, /* a script that is not in the cache */
	MSEG_EVENT_FLOWS_WAIT = 7, /* ring `flows` is half full */
};

/* Ring `control`: what the daemon must act on. */
struct mseg_exe_event {
	__u32 type; /* MSEG_EVENT_EXE */
	__u32 tgid;
	struct mseg_exe_key exe;
	struct mseg_digest ima; /* what the kernel read at exec; all zero if it did not */
	struct mseg_exe_key script; /* whose interpreter `exe` is; all zero if it is none's */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_exe_event) == 136, "mseg_exe_event");

/* Comes before the MSEG_EVENT_EXE of the same exec. */
#define MSEG_SCRIPT_PATH 256
struct mseg_script_event {
	__u32 type; /* MSEG_EVENT_SCRIPT */
	__u32 tgid;
	struct mseg_exe_key script;
	char path[MSEG_SCRIPT_PATH]; /* below the root of the process */
	char name[MSEG_SCRIPT_PATH]; /* as it was executed */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_script_event) == 568, "mseg_script_event");

struct mseg_cgroup_event {
	__u32 type; /* MSEG_EVENT_CGROUP */
	__u32 removed;
	__u64 id;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_cgroup_event) == 16, "mseg_cgroup_event");

struct mseg_quarantine_event {
	__u32 type; /* MSEG_EVENT_QUARANTINE */
	__u32 pad;
	__u64 cookie;
	__u64 netns_cookie;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_quarantine_event) == 24, "mseg_quarantine_event");

/* Wakes the reader before ring `flows` is full: its own events wake nobody. */
struct mseg_flows_wait_event {
	__u32 type; /* MSEG_EVENT_FLOWS_WAIT */
	__u32 pad;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_flows_wait_event) == 8, "mseg_flows_wait_event");
#define MSEG_FLOWS_BYTES (4 * 1024 * 1024) /* of ring `flows` */

/*
 * Ring `flows`: one judged end of one connection or datagram; or of several that are equal in all but
 * time and peer_port, which are then the last one's; its time to a tick of the kernel (mostly 1 to 10 ms).
 */
struct mseg_flow_event {
	__u32 type; /* MSEG_EVENT_FLOW */
	__u32 generation;
	struct mseg_identity local;
	struct mseg_identity peer; /* all zero unless peer_known */
	__u8 peer_addr[16];
	__u32 rule;
	__u32 would_rule;
	__u16 port; /* the service: the responder's port */
	__u8 protocol;
	__u8 direction;
	__u8 verdict;
	__u8 would_be;
	__u8 reason;
	__u8 would_reason;
	__u8 peer_known; /* 1: the peer is a process of this host */
	__u8 hook; /* enum mseg_hook: who decided */
	__u8 family; /* of a socket that was refused for its kind, else 0 */
	__u8 proof; /* enum mseg_proof_kind */
	__u8 pad[4];
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 count; /* how many */
	__u16 peer_port; /* 0 where it is not known */
	__u8 pad2[2];
};
#define MSEG_FLOW_EQUAL_BYTES 144 /* up to time_ns */
MSEG_STATIC_ASSERT(sizeof(struct mseg_flow_event) == MSEG_FLOW_EQUAL_BYTES + 16, "mseg_flow_event");

/*
 * Map `flow_counts`, an array for each processor: a flow's first event goes to the ring at once, equal
 * ones are counted here until the daemon collects them (collect.bpf.c) or another flow takes the
 * place. event.count is what has not been in the ring yet.
 */
#define MSEG_FLOW_COUNTS 512
struct mseg_flow_count {
	__u64 busy; /* 1: somebody is at it */
	__u64 tick; /* when event.time_ns was read, in the kernel's jiffies */
	struct mseg_flow_event event;
	struct mseg_flow_event next; /* where an event is put together */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_flow_count) == 336, "mseg_flow_count");

/* By what the other end of a connection between hosts is known. */
enum mseg_proof_kind {
	MSEG_PROOF_NOT_ASKED = 0, /* no other host, no TCP, or not known yet */
	MSEG_PROOF_BOUND = 1, /* a MAC over the sequence numbers of this handshake */
	MSEG_PROOF_UNBOUND = 2, /* a MAC without them, as the path has it */
	MSEG_PROOF_NONE = 3, /* nothing: its address, as the path allows */
	MSEG_PROOF_LEGACY = 4, /* its address: the path carries nothing */
	MSEG_PROOF_KIND_MAX,
};

/* Ring `flows`, too: somebody tried to change mseg, and was refused. */
enum mseg_tamper {
	MSEG_TAMPER_MAP = 1, /* open one of its maps; subject: the map's id */
	MSEG_TAMPER_LINK = 2, /* detach or update one of its links; the link's id */
	MSEG_TAMPER_PROGRAM = 3, /* hang a program on one of its programs; the latter's id */
	MSEG_TAMPER_LOAD = 4, /* load a BPF program without being a loader; its type */
	MSEG_TAMPER_FILE = 5, /* change pins or the state directory; the inode of the directory */
	MSEG_TAMPER_UNMOUNT = 6, /* unmount the pins; 0 */
	MSEG_TAMPER_SIGNAL = 7, /* send the daemon a signal; its number */
	MSEG_TAMPER_TRACE = 8, /* trace the daemon, or read its memory; its pid */
	MSEG_TAMPER_MAX,
};
struct mseg_tamper_event {
	__u32 type; /* MSEG_EVENT_TAMPER */
	__u32 act; /* enum mseg_tamper */
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 subject;
	struct mseg_task by;
	char comm[16];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_tamper_event) == 136, "mseg_tamper_event");

/* Which hook gave a verdict; shown in flows so that a refusal can be traced to its place. */
enum mseg_hook {
	MSEG_HOOK_CONNECT = 1, /* cgroup/connect4, connect6 */
	MSEG_HOOK_SENDMSG = 2, /* cgroup/sendmsg4, sendmsg6 */
	MSEG_HOOK_INGRESS = 3, /* cgroup_skb/ingress */
	MSEG_HOOK_LSM_CONNECT = 4,
	MSEG_HOOK_LSM_SENDMSG = 5,
	MSEG_HOOK_TEST = 6, /* a test-run */
	MSEG_HOOK_REVOKE = 7, /* the daemon: an open connection, judged by a newer generation */
	MSEG_HOOK_SOCK_CREATE = 8, /* cgroup/sock_create */
	MSEG_HOOK_LSM_SOCKET_CREATE = 9,
	MSEG_HOOK_LSM_TUN = 10,
	MSEG_HOOK_LSM_SQPOLL = 11,
	MSEG_HOOK_LSM_FILE_RECEIVE = 12,
	MSEG_HOOK_LSM_PTRACE = 13,
	MSEG_HOOK_ESTABLISHED = 14, /* sockops, when a handshake is complete */
	MSEG_HOOK_LSM_BPF = 15,
	MSEG_HOOK_LSM_ACCEPT = 16,
	MSEG_HOOK_LSM_UNIX = 17, /* unix_stream_connect, unix_may_send; of pairs, socket_sendmsg */
	MSEG_HOOK_LSM_LIBRARY = 18, /* mmap_file, file_mprotect */
	MSEG_HOOK_MAX,
};

/* Per-CPU counters, map `counters`; names in docs/counters.md and `msegctl status`. */
enum mseg_counter {
	MSEG_CNT_ALLOWED = 0,
	MSEG_CNT_DENIED,
	MSEG_CNT_WOULD_DENY, /* allowed now, denied if policies in test were enforced */
	MSEG_CNT_NO_ROW,
	MSEG_CNT_UNKNOWN_EXE, /* decisions with a local executable that was not known */
	MSEG_CNT_NO_TASK, /* a task without a record */
	MSEG_CNT_TASKS_FULL,
	MSEG_CNT_LISTENERS_FULL,
	MSEG_CNT_CGROUPS_FULL,
	MSEG_CNT_UDP_FLOWS_FAILED,
	MSEG_CNT_SLOT_FAILED,
	MSEG_CNT_SLOT_LOST, /* refused: another socket took the place before the handshake ended */
	MSEG_CNT_FLOW_EVENTS_LOST, /* ring `flows` was full */
	MSEG_CNT_CONTROL_EVENTS_LOST, /* ring `control` was full */
	MSEG_CNT_AMBIGUOUS_LISTENER,
	MSEG_CNT_UNREADABLE_PACKETS, /* at a listener, transport header not found: dropped */
	MSEG_CNT_PROVEN, /* connections whose other end proved its identity */
	MSEG_CNT_UNPROVEN, /* connections that fell back to the peer's address, as the path allows */
	MSEG_CNT_LEGACY, /* connections on a path that carries no identities */
	MSEG_CNT_UNBOUND, /* of those proven, without the sequence numbers, as the path has it */
	MSEG_CNT_NO_PROOF, /* refused: the path demands a proof */
	MSEG_CNT_BAD_PROOF, /* refused: the MAC of a proof or an answer is wrong */
	MSEG_CNT_STALE_EPOCH, /* refused: the key's time slot is not now's, nor a neighbour */
	MSEG_CNT_UNKNOWN_HOST, /* refused: no record of the host */
	MSEG_CNT_LABEL_NOT_PERMITTED, /* refused: labels beyond the host's record */
	MSEG_CNT_NO_ROOM, /* no room for the option in a header */
	MSEG_CNT_PEERS_FULL, /* refused: the peer of a connection could not be recorded */
	MSEG_CNT_QUARANTINED, /* sockets cut off until they are closed */
	MSEG_CNT_QUARANTINE_FAILED, /* ... that could not be: bound to no device instead */
	MSEG_CNT_QUARANTINE_FULL, /* handshakes verified as in the strict form, for want of places */
	MSEG_CNT_EXEC_HASHED, /* executables that the kernel hashed while they were executed */
	MSEG_CNT_EXEC_HASH_FAILED, /* those it could not: unknown until the daemon has read them */
	MSEG_CNT_EXE_WRITTEN, /* executable files opened for writing or truncated */
	MSEG_CNT_DOOR_REFUSED, /* sockets by kind, TUN, SQPOLL, passed sockets, ptrace, libraries */
	MSEG_CNT_TAMPERING, /* attempts to change mseg itself, refused */
	MSEG_CNT_UDP_SIGNED, /* datagrams sent with an identity */
	MSEG_CNT_UDP_NO_ROOM, /* sent without: too long with one, a fragment, a batch (GSO) */
	MSEG_CNT_UDP_REPLAYED, /* datagrams refused: this number was seen, or is too old to say */
	MSEG_CNT_UDP_STRAY, /* refused: an answer to nothing that its receiver sent */
	MSEG_CNT_UDP_INJECTED, /* refused: proves nothing, in a flow whose other end had */
	MSEG_CNT_UDP_WINDOWS_FULL, /* refused: no place to note the numbers of a host */
	MSEG_CNT_MAX,
};

/* Map `config`, one element: what may change without loading programs anew. */
struct mseg_config {
	__u64 udp_flow_ns; /* how long a datagram permits its reverse */
	__u32 report_allowed; /* 1: allowed connections are reported too */
	__u32 guard; /* enum mseg_guard_flags */
	struct mseg_task_key daemon; /* who may take descriptors of confined processes */
	__u32 pins_dev; /* of the bpffs that the pins are on, kernel encoding */
	__u32 mount_ns; /* inode number of the daemon's mount namespace, */
	__u32 root_mount; /* and the id of the mount that is its root: mseg runs there only */
	__u32 pad;
};

enum mseg_guard_flags {
	MSEG_GUARD_ON = 1 << 0,
	MSEG_GUARD_LOADERS = 1 << 1, /* only loaders may load BPF programs */
};

/* Map `guarded`: what nobody but mseg may touch while it protects itself. The value says nothing. */
struct mseg_guarded_key {
	__u64 number; /* id of a map, or inode number of a directory */
	__u32 dev; /* as in mseg_exe_key; 0 for a map */
	__u32 is_map;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_guarded_key) == 16, "mseg_guarded_key");

#define MSEG_MAX_PROGRAMS 128

/* Map `manifest`, one element: what is loaded, compared before anything is adopted. */
struct mseg_manifest {
	__u32 abi_version; /* first, for good: every version can read it */
	__u32 mode; /* enum mseg_mode */
	__u8 object_digest[32]; /* SHA-256 of the BPF object */
	__u64 cgroup_root_id;
	__u64 loaded_at; /* CLOCK_REALTIME, seconds; 0 until everything is attached and pinned */
	__u64 store_id; /* of the store whose numbers (refs) stand in the maps */
	__u8 tags[MSEG_MAX_PROGRAMS][8]; /* in the order of the loader's program table */
};
#define MSEG_MANIFEST_HEAD 64 /* bytes before the tags */
MSEG_STATIC_ASSERT(sizeof(struct mseg_manifest) == MSEG_MANIFEST_HEAD + 8 * MSEG_MAX_PROGRAMS,
		   "mseg_manifest");

/*
 * Argument of the program mseg_explain (run by BPF_PROG_TEST_RUN): what would the kernel decide now?
 * Ends are given as classes of one generation, or as facts that it resolves itself.
 */
struct mseg_explain {
	struct mseg_identity local; /* in: facts; out: resolved. Used if resolve_local */
	struct mseg_identity peer;
	__u32 local_class; /* in, or out where resolved */
	__u32 peer_class;
	__u16 port;
	__u8 protocol;
	__u8 direction;
	__u8 resolve_local;
	__u8 resolve_peer;
	__u8 failed; /* out: 1 if an end could not be resolved */
	__u8 pad0;
	__u32 generation; /* in: whose side to ask, 0 for the active one; out: the one asked */
	__u32 rule; /* out, and all below */
	__u32 would_rule;
	__u8 verdict;
	__u8 would_be;
	__u8 reason;
	__u8 would_reason;
	__u8 probe;
	__u8 may;
	__u8 pad[6];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_explain) == 136, "mseg_explain");

/* Argument of the program mseg_collect_flows. */
struct mseg_collect {
	__u32 processors; /* in: possible ones */
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_collect) == 4, "mseg_collect");

/* What the iterator mseg_file_keys writes for each open file of a process. */
struct mseg_file_record {
	__u32 fd;
	__u32 pad;
	struct mseg_exe_key key;
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_file_record) == 56, "mseg_file_record");

/*
 * What the iterator mseg_walk_sockets writes for each descriptor of an open TCP socket, listeners
 * included, or a connected UDP socket. A socket with several descriptors gives several records.
 */
struct mseg_socket_record {
	__u64 cookie;
	__u64 netns_cookie; /* of the socket, which need not be its holder's */
	__u64 holder_start_ns; /* as in mseg_task_key */
	struct mseg_task holder; /* whose descriptor it is; not resolved */
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 ifindex; /* of the device that it is bound to, 0 for none */
	__u32 fd; /* of the holder */
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 state; /* as the kernel numbers TCP's; a connected UDP socket is ESTABLISHED */
	__u8 pad[2];
};
MSEG_STATIC_ASSERT(sizeof(struct mseg_socket_record) == 168, "mseg_socket_record");

enum mseg_mode {
	MSEG_MODE_CGROUP = 1,
	MSEG_MODE_FULL = 2,
};

#endif /* MSEG_ABI_H_ */
