/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_WIRE_BPF_H_
#define MSEG_WIRE_BPF_H_

/*
 * Identities between hosts: keys, paths, and what a claim of another host means here.
 */

#include "address.bpf.h"
#include "identity.bpf.h"
#include "mseg/tcp_option.h"

/* NULL: stand-alone, nothing is carried. */
static __always_inline const struct mseg_wire *mseg_wire_config(void)
{
	__u32 zero = 0;
	const struct mseg_wire *wire = bpf_map_lookup_elem(&mseg_wire, &zero);

	return wire && wire->host_id ? wire : NULL;
}

/* The epoch of now: a coarse clock will do, slots are a second at least. */
static __always_inline __u8 mseg_epoch(const struct mseg_wire *wire)
{
	__u64 now = bpf_ktime_get_coarse_ns() + (__u64)wire->wall_offset_ns;

	return now / wire->slot_ns & (MSEG_EPOCHS - 1);
}

/* A function of its own, for the sake of the stack. */
static __noinline __u8 mseg_path_of(const struct mseg_wire *wire, const struct mseg_addr *addr)
{
	struct mseg_address_key key = {};
	const __u32 *path;

	if (!wire->has_paths)
		return wire->default_path;
	key.prefixlen = MSEG_ADDRESS_MAX_PREFIX;
	__builtin_memcpy(key.addr, addr->bytes, sizeof(key.addr));
	path = bpf_map_lookup_elem(&mseg_paths, &key);
	return path ? *path : wire->default_path;
}

/* The host whose record names this address; 0: none, or several. */
static __always_inline __u32 mseg_host_at(const struct mseg_addr *addr)
{
	struct mseg_host_address key;
	const __u32 *host;

	__builtin_memcpy(key.addr, addr->bytes, sizeof(key.addr));
	host = bpf_map_lookup_elem(&mseg_host_addresses, &key);
	return host ? *host : 0;
}

/*
 * The key that a host's MAC of this epoch is made with. 0, or what to count: an unknown host, or an
 * epoch that is neither now's nor a neighbour's.
 */
static __always_inline __u32 mseg_find_key(const struct mseg_wire *wire, __u32 host_id, __u8 epoch,
					   struct mseg_wire_key *key)
{
	const struct mseg_host_keys *keys;
	__u8 ahead = (epoch - mseg_epoch(wire) + 1) & (MSEG_EPOCHS - 1);

	if (ahead > 2)
		return MSEG_CNT_STALE_EPOCH;
	keys = bpf_map_lookup_elem(&mseg_hosts, &host_id);
	if (!keys)
		return MSEG_CNT_UNKNOWN_HOST;
	epoch &= MSEG_EPOCHS - 1;
	key->k[0] = keys->key[epoch][0];
	key->k[1] = keys->key[epoch][1];
	return 0;
}

/* The same, counted. 0, or a reason. */
static __always_inline int mseg_key_of_host(const struct mseg_wire *wire, __u32 host_id,
					    __u8 epoch, struct mseg_wire_key *key)
{
	__u32 failed = mseg_find_key(wire, host_id, epoch, key);

	if (!failed)
		return 0;
	mseg_count(failed);
	return failed == MSEG_CNT_UNKNOWN_HOST ? MSEG_REASON_NO_RECORD : MSEG_REASON_BAD_PROOF;
}

/* A proof that is not one is refused, whatever else might be allowed. 0, or a reason. */
static __always_inline int mseg_check_proof(const struct mseg_wire *wire, __u8 path, __u32 client,
					    __u32 server, const __u8 *option,
					    const struct mseg_claim *claim)
{
	struct mseg_wire_key key;
	int reason;

	if (path & MSEG_PATH_UNBOUND)
		client = server = 0;
	reason = mseg_key_of_host(wire, claim->host_id, claim->epoch, &key);
	if (reason)
		return reason;
	if (mseg_proof_mac(&key, client, server, option) != mseg_get64(option + 20)) {
		mseg_count(MSEG_CNT_BAD_PROOF);
		return MSEG_REASON_BAD_PROOF;
	}
	return 0;
}

static __always_inline __u8 mseg_proof_kind_of(__u8 path)
{
	return path & MSEG_PATH_UNBOUND ? MSEG_PROOF_UNBOUND : MSEG_PROOF_BOUND;
}

/* A connection between hosts that was let through: by what its other end is known. */
static __always_inline void mseg_count_proof(__u8 kind)
{
	if (kind == MSEG_PROOF_BOUND || kind == MSEG_PROOF_UNBOUND)
		mseg_count(MSEG_CNT_PROVEN);
	if (kind == MSEG_PROOF_UNBOUND)
		mseg_count(MSEG_CNT_UNBOUND);
	if (kind == MSEG_PROOF_NONE)
		mseg_count(MSEG_CNT_UNPROVEN);
	if (kind == MSEG_PROOF_LEGACY)
		mseg_count(MSEG_CNT_LEGACY);
}

static __always_inline const struct mseg_forms *mseg_forms_of(__u16 port)
{
	__u32 at = port / 64;

	return bpf_map_lookup_elem(&mseg_forms, &at);
}

static __always_inline __u64 *mseg_quarantine_count(enum mseg_quarantine_use which)
{
	__u32 key = which;

	return bpf_map_lookup_elem(&mseg_quarantine_use, &key);
}

static __always_inline __u64 mseg_peer_exe_class(const struct mseg_identity *id, __u32 side)
{
	struct mseg_peer_exe_key key = { .exe_id = id->exe_id, .grade = id->grade, .side = side };
	const __u64 *cls;

	if (!id->exe_id)
		return MSEG_EXE_UNKNOWN;
	cls = bpf_map_lookup_elem(&mseg_peer_exes, &key);
	return cls ? *cls : MSEG_EXE_UNKNOWN;
}

static __always_inline struct mseg_remote_key mseg_remote_key_of(const struct mseg_identity *id)
{
	struct mseg_remote_key key = {};

	key.label_id = id->label_id;
	key.exe_id = id->exe_id;
	key.host_id = id->tgid;
	key.grade = id->grade;
	return key;
}

/* What it came out as in this generation already, if it did: a word as abi.h has it, else 0. */
static __noinline __u64 mseg_recall_remote(const struct mseg_identity *id, __u32 generation)
{
	struct mseg_remote_key key = mseg_remote_key_of(id);
	const __u64 *known;
	__u64 word;

	known = bpf_map_lookup_elem(&mseg_remotes, &key);
	word = known ? *(volatile const __u64 *)known : 0;
	return word >> 32 == generation ? word : 0;
}

static __noinline int mseg_note_remote(const struct mseg_identity *id)
{
	__u64 word = (__u64)id->generation << 32 | id->cls;
	struct mseg_remote_key key = mseg_remote_key_of(id);

	if (id->flags & MSEG_ID_UNRECORDED)
		word |= MSEG_REMOTE_UNRECORDED;
	return bpf_map_update_elem(&mseg_remotes, &key, &word, BPF_ANY);
}

/* What the tables say of it. A function of its own, for the sake of the stack. */
static __noinline int mseg_look_up_remote(struct mseg_identity *id, __u32 generation)
{
	__u32 side = MSEG_SIDE(generation);
	struct mseg_peer_label_key key = {};
	const struct mseg_identity_value *value;
	const struct mseg_peer_label *label;
	__u64 cls = MSEG_CGROUP_PENDING, exe;

	key.label_id = id->label_id;
	key.host_id = id->tgid;
	key.side = side;
	label = bpf_map_lookup_elem(&mseg_peer_labels, &key);
	if (label && !label->permitted) {
		mseg_count(MSEG_CNT_LABEL_NOT_PERMITTED);
		return MSEG_REASON_LABEL_NOT_PERMITTED;
	}
	if (label)
		cls = label->cls;
	exe = mseg_peer_exe_class(id, side);
	if (!label || (exe == MSEG_EXE_UNKNOWN && id->exe_id))
		id->flags |= MSEG_ID_UNRECORDED;
	value = mseg_identity_chain(cls, exe, MSEG_USER_UNKNOWN, side);
	if (!value)
		return MSEG_REASON_NO_ROW;
	id->cls = value->cls;
	id->generation = generation;
	return 0;
}

/*
 * Label id, executable id, grade and host (`tgid`) -> class. What no record explains is unknown, which
 * only rules allow that do not ask for it. 0, or a reason to refuse. A global function: the verifier
 * looks at it once.
 */
__weak __noinline int mseg_resolve_remote(struct mseg_identity *id, __u32 generation)
{
	__u64 known;
	int reason;

	if (!id)
		return MSEG_REASON_NO_ROW;
	known = mseg_recall_remote(id, generation);
	if (!known) {
		reason = mseg_look_up_remote(id, generation);
		if (!reason)
			mseg_note_remote(id);
		return reason;
	}
	if (known & MSEG_REMOTE_UNRECORDED)
		id->flags |= MSEG_ID_UNRECORDED;
	id->cls = (__u32)known & ~MSEG_REMOTE_UNRECORDED;
	id->generation = generation;
	return 0;
}

static __always_inline struct mseg_identity mseg_identity_of_claim(const struct mseg_claim *claim)
{
	struct mseg_identity id = {};

	id.label_id = claim->label_id;
	id.exe_id = claim->exe_id;
	id.grade = claim->grade;
	id.uid = MSEG_USER_UNKNOWN;
	id.tgid = claim->host_id;
	id.flags = MSEG_ID_REMOTE;
	return id;
}

/*
 * Somebody who may be anyone: for the verdict before the other end has answered. One word says what
 * that is in this generation, once it was looked up. False: the tables have no answer.
 */
static __always_inline bool mseg_anyone_class(__u32 generation, __u32 *cls)
{
	const struct mseg_identity_value *value;
	__u32 zero = 0;
	__u64 *known = bpf_map_lookup_elem(&mseg_anyone, &zero), word;

	word = known ? *(volatile __u64 *)known : 0;
	if (word >> 32 == generation) {
		*cls = word;
		return true;
	}
	value = mseg_identity_chain(MSEG_CGROUP_PENDING, MSEG_EXE_UNKNOWN, MSEG_USER_UNKNOWN,
				    MSEG_SIDE(generation));
	if (!value)
		return false;
	*cls = value->cls;
	if (known)
		*(volatile __u64 *)known = (__u64)generation << 32 | value->cls;
	return true;
}

#endif /* MSEG_WIRE_BPF_H_ */
