// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_COUNTER_NAMES_H_
#define MSEG_DAEMON_COUNTER_NAMES_H_

#include <array>
#include <string_view>

#include "mseg/abi.h"

namespace mseg {

// The words of enum mseg_counter, as in status, docs and metrics.
inline constexpr std::array<std::string_view, MSEG_CNT_MAX> kCounterNames = {
    "allowed",
    "denied",
    "would_deny",
    "no_row",
    "unknown_executable",
    "no_task_record",
    "tasks_full",
    "listeners_full",
    "cgroups_full",
    "udp_flows_failed",
    "slot_failed",
    "slot_lost",
    "flow_events_lost",
    "control_events_lost",
    "ambiguous_listener",
    "unreadable_packets",
    "proven",
    "unproven",
    "legacy",
    "unbound",
    "no_proof",
    "bad_proof",
    "stale_epoch",
    "unknown_host",
    "label_not_permitted",
    "no_option_room",
    "peers_full",
    "quarantined",
    "quarantine_failed",
    "quarantine_full",
    "exec_hashed",
    "exec_hash_failed",
    "executables_written",
    "doors_refused",
    "tampering",
    "udp_signed",
    "udp_no_room",
    "udp_replayed",
    "udp_stray",
    "udp_injected",
    "udp_windows_full",
};

}  // namespace mseg

#endif  // MSEG_DAEMON_COUNTER_NAMES_H_
