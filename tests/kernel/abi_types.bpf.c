// SPDX-License-Identifier: Apache-2.0
/*
 * One variable of every struct and enum of abi.h, so that the BTF of this object has them all: the
 * product's own object has only those that a map or a signature names. Never loaded.
 */
#include "vmlinux.h"
#include "mseg/abi.h"

#define HAVE(kind, name) kind name have_##name

HAVE(struct, mseg_exe_key);
HAVE(struct, mseg_exe);
HAVE(struct, mseg_identity);
HAVE(struct, mseg_task_key);
HAVE(struct, mseg_task);
HAVE(struct, mseg_listener_key);
HAVE(struct, mseg_listener);
HAVE(struct, mseg_slot);
HAVE(struct, mseg_holder);
HAVE(struct, mseg_accepted);
HAVE(struct, mseg_let_pass);
HAVE(struct, mseg_peer_slot);
HAVE(struct, mseg_remote_key);
HAVE(struct, mseg_flow_key);
HAVE(struct, mseg_flow_state);
HAVE(struct, mseg_cgroup_key);
HAVE(struct, mseg_cgroup);
HAVE(struct, mseg_exe_class_key);
HAVE(struct, mseg_user_key);
HAVE(struct, mseg_identity_key);
HAVE(struct, mseg_identity_value);
HAVE(struct, mseg_address_key);
HAVE(struct, mseg_port_block);
HAVE(struct, mseg_class);
HAVE(struct, mseg_coarse);
HAVE(struct, mseg_peer_label_key);
HAVE(struct, mseg_peer_label);
HAVE(struct, mseg_peer_exe_key);
HAVE(struct, mseg_row_key);
HAVE(struct, mseg_row);
HAVE(struct, mseg_active);
HAVE(struct, mseg_digest);
HAVE(struct, mseg_inode_key);
HAVE(struct, mseg_script_key);
HAVE(struct, mseg_script_event);
HAVE(struct, mseg_wire);
HAVE(struct, mseg_forms);
HAVE(struct, mseg_host_address);
HAVE(struct, mseg_udp_note);
HAVE(struct, mseg_host_keys);
HAVE(struct, mseg_fingerprint_key);
HAVE(struct, mseg_fingerprint_value);
HAVE(struct, mseg_refused_key);
HAVE(struct, mseg_quarantine_event);
HAVE(struct, mseg_exe_event);
HAVE(struct, mseg_cgroup_event);
HAVE(struct, mseg_flow_event);
HAVE(struct, mseg_flow_count);
HAVE(struct, mseg_flows_wait_event);
HAVE(struct, mseg_collect);
HAVE(struct, mseg_config);
HAVE(struct, mseg_guarded_key);
HAVE(struct, mseg_tamper_event);
HAVE(struct, mseg_manifest);
HAVE(struct, mseg_explain);
HAVE(struct, mseg_file_record);
HAVE(struct, mseg_socket_record);
HAVE(enum, mseg_direction);
HAVE(enum, mseg_verdict);
HAVE(enum, mseg_reason);
HAVE(enum, mseg_grade);
HAVE(enum, mseg_file_flags);
HAVE(enum, mseg_identity_flags);
HAVE(enum, mseg_slot_wire);
HAVE(enum, mseg_path_flags);
HAVE(enum, mseg_proof_form);
HAVE(enum, mseg_proof_kind);
HAVE(enum, mseg_quarantine_use);
HAVE(enum, mseg_port_space);
HAVE(enum, mseg_event_type);
HAVE(enum, mseg_hook);
HAVE(enum, mseg_counter);
HAVE(enum, mseg_mode);
