/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSEG_MAPS_BPF_H_
#define MSEG_MAPS_BPF_H_

/*
 * Every map of mseg, declared once. The objects that use one are linked, and the linker makes the
 * weak definitions one. Sizes are upper bounds; the loader may lower or raise them before loading.
 * Hash maps are not preallocated: an entry costs memory only while it is there.
 */

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "mseg/abi.h"
#include "mseg/socket_marks.h"
#include "mseg/udp_trailer.h"
#include "mseg/place_cache.h"
#include "mseg/verdict_cache.h"

#define MSEG_MAP __weak SEC(".maps")

/* Tables by socket cookie whose entries go when the socket is released. */
enum mseg_marked {
	MSEG_MARKED_LISTENING,
	MSEG_MARKED_PEERS,
	MSEG_MARKED_TABLES,
};
#define MSEG_MARK_TRIES 8 /* other processors that change the word in the same moment */

#define MSEG_LISTENED_WORDS 1024

/* Set by the loader before the programs are loaded. */
const volatile __u64 mseg_cgroup_root_id __weak = 0;
const volatile __u32 mseg_cgroup_root_level __weak = 0;
const volatile __u32 mseg_full_mode __weak = 0; /* the LSM programs are loaded, too */
const volatile __u32 mseg_slots_mask __weak = MSEG_SLOTS_MIN - 1; /* the table's size less 1 */

/* ---- policy tables: two sides each, written by the loader only (cgroups: by mkdir too) ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_active);
} mseg_active MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct mseg_cgroup_key);
	__type(value, struct mseg_cgroup);
} mseg_cgroups MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_exe_class_key);
	__type(value, __u64);
} mseg_exe_classes MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct mseg_user_key);
	__type(value, __u32);
} mseg_users MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_identity_key);
	__type(value, struct mseg_identity_value);
} mseg_identities MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_address_key);
	__type(value, __u32);
} mseg_addresses MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_PORT_BLOCKS);
	__type(key, __u32);
	__type(value, struct mseg_port_block);
} mseg_ports MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MSEG_CLASSES);
	__type(key, __u32);
	__type(value, struct mseg_class);
} mseg_classes MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MSEG_GROUPS);
	__type(key, __u32);
	__type(value, struct mseg_coarse);
} mseg_groups MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MSEG_TAILS);
	__type(key, __u32);
	__type(value, struct mseg_coarse);
} mseg_tails MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct mseg_peer_label_key);
	__type(value, struct mseg_peer_label);
} mseg_peer_labels MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_peer_exe_key);
	__type(value, __u64);
} mseg_peer_exes MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct mseg_row_key);
	__type(value, struct mseg_row);
} mseg_rows MSEG_MAP;

/* What is at addresses, by processor (place_cache.h), and how often listeners have changed. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_class_cache);
} mseg_address_classes MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_listening_cache);
} mseg_listening_seen MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mseg_listener_changes MSEG_MAP;

/* What these came out as, by processor (verdict_cache.h). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_verdict_cache);
} mseg_verdicts MSEG_MAP;

/* ---- who is who ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_exe_key);
	__type(value, struct mseg_exe);
} mseg_exes MSEG_MAP;

/* Digests that a policy names, whatever the file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct mseg_digest);
	__type(value, struct mseg_exe);
} mseg_digests MSEG_MAP;

/* Never an LRU: a mark that gave way would be a file that was not written to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_inode_key);
	__type(value, __u64);
} mseg_written MSEG_MAP;

/* An exec under way (the address of its linux_binprm) -> what the kernel read of the file. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct mseg_digest);
} mseg_hashed MSEG_MAP;

/* An exec under way, as above -> the script that it began with, if that can be vouched for. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct mseg_exe_key);
} mseg_begun MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_script_key);
	__type(value, struct mseg_exe);
} mseg_scripts MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct mseg_task_key);
	__type(value, struct mseg_task);
} mseg_tasks MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct mseg_listener_key);
	__type(value, struct mseg_listener);
} mseg_listeners MSEG_MAP;

/* Socket cookie of a listener -> its key above, so that a closed socket takes its entry along. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, struct mseg_listener_key);
} mseg_listening MSEG_MAP;

/* Port / 64, TCP before UDP -> ports that some process of this host has listened at, a bit each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MSEG_LISTENED_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} mseg_listened MSEG_MAP;

/* socket_marks.h: one table after the other, as enum mseg_marked has them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_MARKED_TABLES * MSEG_MARK_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} mseg_marks MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_SLOTS_MIN);
	__type(key, __u32);
	__type(value, struct mseg_slot);
} mseg_slots MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_let_pass);
} mseg_let_pass MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_ACCEPTED);
	__type(key, __u32);
	__type(value, struct mseg_accepted);
} mseg_accepted MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct mseg_flow_key);
	__type(value, struct mseg_flow_state);
} mseg_udp_flows MSEG_MAP;

/* ---- between hosts ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_wire);
} mseg_wire MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct mseg_host_keys);
} mseg_hosts MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct mseg_fingerprint_key);
	__type(value, struct mseg_fingerprint_value);
} mseg_fingerprints MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct mseg_address_key);
	__type(value, __u32);
} mseg_paths MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_FORM_WORDS);
	__type(key, __u32);
	__type(value, struct mseg_forms);
} mseg_forms MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct mseg_host_address);
	__type(value, __u32);
} mseg_host_addresses MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mseg_udp_sequence MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_UDP_NOTES);
	__type(key, __u32);
	__type(value, struct mseg_udp_note);
} mseg_udp_notes MSEG_MAP;

/* How many notes were ever written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mseg_udp_noted MSEG_MAP;

/*
 * Host id -> numbers of its datagrams that were seen. Never an LRU: what is forgotten could be sent
 * again. BPF's alone: nobody else writes it.
 */
struct mseg_udp_window {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct mseg_window seen;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct mseg_udp_window);
} mseg_udp_windows MSEG_MAP;

/* Not preallocated, and never an LRU: a connection's peer must be known as long as it lives. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1048576);
	__type(key, __u64);
	__type(value, struct mseg_identity);
} mseg_peers MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_PEER_SLOTS);
	__type(key, __u32);
	__type(value, struct mseg_peer_slot);
} mseg_peer_slots MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct mseg_remote_key);
	__type(value, __u64);
} mseg_remotes MSEG_MAP;

/* What somebody of whom nothing is known came out as: generation << 32 | class, in one store. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mseg_anyone MSEG_MAP;

/* (label id, executable id) -> fingerprint: made once, needed at every answer. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct mseg_fingerprint_value);
	__type(value, __u64);
} mseg_prints MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_SYNS);
	__type(key, __u32);
	__type(value, __u64);
} mseg_syns MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct mseg_refused_key);
	__type(value, __u64); /* CLOCK_MONOTONIC */
} mseg_refused MSEG_MAP;

/* When anybody was refused last (CLOCK_MONOTONIC, coarse): most of the time, too long ago to look. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mseg_last_refused MSEG_MAP;

/* Sockets that carry nothing until they are closed: programs hang on the map (quarantine.bpf.c). */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, MSEG_QUARANTINE_PLACES);
	__type(key, __u64);
	__type(value, __u64);
} mseg_quarantine MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MSEG_QUARANTINE_USES);
	__type(key, __u32);
	__type(value, __u64);
} mseg_quarantine_use MSEG_MAP;

/* ---- mseg itself ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct mseg_guarded_key);
	__type(value, __u32);
} mseg_guarded MSEG_MAP;

/* ---- out to the daemon ---- */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} mseg_control MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MSEG_FLOWS_BYTES);
} mseg_flows MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MSEG_FLOW_COUNTS);
	__type(key, __u32);
	__type(value, struct mseg_flow_count);
} mseg_flow_counts MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MSEG_CNT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} mseg_counters MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_config);
} mseg_config MSEG_MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mseg_manifest);
} mseg_manifest MSEG_MAP;

static __always_inline void mseg_count_many(enum mseg_counter which, __u32 many)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&mseg_counters, &key);

	if (n)
		*n += many;
}

static __always_inline void mseg_count(enum mseg_counter which)
{
	mseg_count_many(which, 1);
}

/* ---- places by cookie: whose they are is taken away while they are written ---- */

/* The writer's, if the cookie is still what it `was`, and nobody else is writing. */
static __always_inline bool mseg_take_place(__u64 *cookie, __u64 was)
{
	return was != MSEG_COOKIE_BUSY &&
	       __sync_val_compare_and_swap(cookie, was, MSEG_COOKIE_BUSY) == was;
}

/* Whoever sees the cookie sees the rest. */
static __always_inline void mseg_give_place(__u64 *cookie, __u64 now)
{
	__sync_val_compare_and_swap(cookie, MSEG_COOKIE_BUSY, now);
}

/* ---- which sockets have entries in the tables keyed by their cookie ---- */

static __always_inline __u64 *mseg_mark_word(enum mseg_marked table, __u64 cookie)
{
	__u32 place = table * MSEG_MARK_WORDS + mseg_mark_place(cookie);

	return bpf_map_lookup_elem(&mseg_marks, &place);
}

/* Before an entry is made. False: it must not be, nobody would take it away again. */
static __always_inline bool mseg_mark(enum mseg_marked table, __u64 cookie)
{
	__u64 *word = mseg_mark_word(table, cookie);

	if (!word)
		return false;
	for (int i = 0; i < MSEG_MARK_TRIES; i++) {
		__u64 before = *(volatile __u64 *)word;
		__u64 after = mseg_mark_set(before, cookie);

		if (after == before || __sync_val_compare_and_swap(word, before, after) == before)
			return true;
	}
	return false;
}

static __always_inline bool mseg_may_have(enum mseg_marked table, __u64 cookie)
{
	const __u64 *word = mseg_mark_word(table, cookie);

	return !word || mseg_mark_may(*(volatile const __u64 *)word, cookie);
}

/* A typed pointer as a plain number, where the verifier takes no pointer. */
static __always_inline __u64 mseg_address_of(void *pointer)
{
	__u64 address = 0;
	void *held = pointer;

	bpf_probe_read_kernel(&address, sizeof(address), &held);
	return address;
}

#endif /* MSEG_MAPS_BPF_H_ */
