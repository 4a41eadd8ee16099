// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_POLICY_TABLES_H_
#define MSEG_LOADER_POLICY_TABLES_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/dataplane.h"
#include "mseg/abi.h"

namespace mseg {

// The content of one side of the policy tables. Spans are sorted by key bytes; sides in keys are
// ignored. The memory behind them must live until Stage() returns.
struct TableSet {
  template <typename Key, typename Value>
  using Table = absl::Span<const std::pair<Key, Value>>;

  Table<mseg_cgroup_key, mseg_cgroup> cgroups;
  Table<mseg_exe_class_key, uint64_t> exe_classes;
  Table<mseg_user_key, uint32_t> users;
  Table<mseg_identity_key, mseg_identity_value> identities;
  Table<mseg_peer_label_key, mseg_peer_label> peer_labels;
  Table<mseg_peer_exe_key, uint64_t> peer_exes;
  Table<mseg_address_key, uint32_t> addresses;
  absl::Span<const std::pair<uint32_t, uint16_t>> ports;  // {space << 16 | port} -> class
  // By number, those that are all zero left out.
  Table<uint32_t, mseg_class> classes;
  Table<uint32_t, mseg_coarse> groups;
  Table<uint32_t, mseg_coarse> tails;
  Table<mseg_row_key, mseg_row> rows;
};

// Generations in the kernel: two sides, one word that says which is in force.
//
//   Stage(tables)  brings the standby side to `tables`, by what differs
//   Verify(tables) reads back and compares: everything, or what was written and a sample
//   Flip()         puts it in force and waits until no program reads the old side any more
//
// A failure before Flip leaves the side in force untouched; so does a crash. `standby` is what the
// standby side is known to hold, so that one changed rule of 100,000 costs one entry; null where it
// is not known, and then it is read from the kernel. After a failure it is not known.
class PolicyTables {
 public:
  explicit PolicyTables(const Dataplane& dataplane) : dataplane_(dataplane) {}

  absl::StatusOr<uint32_t> Generation() const;  // 0: none in force
  absl::Status Stage(const TableSet& tables, const TableSet* standby = nullptr) const;
  absl::Status Verify(const TableSet& tables, const TableSet* standby = nullptr) const;
  // Returns the new generation number.
  absl::StatusOr<uint32_t> Flip() const;

  // Single entries of both sides, for what appears between generations.
  absl::Status SetCgroup(uint64_t id, const mseg_cgroup& value) const;
  absl::Status SetExeClass(uint32_t ref, mseg_grade grade, uint64_t cls) const;
  absl::Status ForgetCgroup(uint64_t id) const;
  // The class of an address on the side in force, as the kernel's trie answers.
  absl::StatusOr<uint32_t> AddressClass(const uint8_t (&address)[16]) const;

 private:
  const Dataplane& dataplane_;
};

}  // namespace mseg

#endif  // MSEG_LOADER_POLICY_TABLES_H_
