// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_REMOTE_DIRECTORY_H_
#define MSEG_DAEMON_REMOTE_DIRECTORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/host_identity.h"
#include "daemon/own_identities.h"
#include "daemon/store.h"
#include "daemon/store_hosts.h"
#include "labels/inventory.h"

namespace mseg {

// What a record says, as the compiler takes it.
ExecutableInfo InfoOf(const ExecutableRecord& record);

// Who this host is, which others an operator trusts, and what their ids mean: a view of the store's
// rows, through which all changes of them go. Not thread-safe.
class RemoteDirectory {
 public:
  struct InitRequest {
    uint32_t id = 0;
    std::string name{};
    std::vector<IpAddress> addresses{};
    Claims claims{};
    bool replace = false;  // another id than before, and new keys
  };
  struct File {
    std::string name{};
    std::string text{};
  };
  struct Imported {
    uint32_t host_id = 0;
    bool changed = true;  // false: it was on record
  };

  RemoteDirectory(Store& store, std::string key_path);
  RemoteDirectory(const RemoteDirectory&) = delete;
  RemoteDirectory& operator=(const RemoteDirectory&) = delete;

  // DataLoss: rows that cannot be read. A key file that is missing or of no use leaves this host
  // without an identity, and `problem` says so: what is enforced must not end with it.
  absl::Status Load();
  const std::string& problem() const { return problem_; }

  // Null: this host has none, and speaks to no other.
  const HostIdentity* identity() const { return identity_.has_value() ? &*identity_ : nullptr; }
  const std::optional<HostRecord>& own() const { return own_; }
  const std::map<uint32_t, TrustedHost>& hosts() const { return hosts_; }
  const std::map<uint32_t, StoredBundle>& bundles() const { return bundles_; }
  // By id in decimal, or by name.
  absl::StatusOr<uint32_t> Find(const std::string& target) const;
  // Both its own record and the operator let it claim these. `host_id` may be this host's.
  bool Permitted(uint32_t host_id, const LabelSet& labels) const;

  // Makes or renews this host's record. FailedPrecondition: it is another host already.
  absl::Status Init(const InitRequest& request, const Recorded& by);
  // FailedPrecondition: another key, or a newer record, is trusted under this id already.
  absl::Status Trust(const HostRecord& record, const Claims& limits, bool replace,
                     const Recorded& by);
  absl::Status Distrust(uint32_t host_id, const Recorded& by);
  // Bundles of trusted hosts: all of them, or none and the first that is refused. `check` may
  // refuse one that is its host's.
  using Check = std::function<absl::Status(const IdentityBundle&)>;
  absl::StatusOr<std::vector<Imported>> Import(const std::vector<File>& files, const Recorded& by,
                                               const Check& check = nullptr);
  // What this host tells others of itself, signed, newer than whatever it told before.
  absl::StatusOr<IdentityBundle> Issue(const OwnIdentities& own, int64_t now_us);

  // What the records of other hosts say, and `own` under this host's id.
  void FillInventory(const OwnIdentities& own, Inventory* inventory) const;

 private:
  absl::Status LoadRow(const HostRow& row);
  void CheckIdentity();
  absl::Status CheckTrust(const HostRecord& record, bool replace) const;
  absl::StatusOr<IdentityBundle> Accept(const File& file) const;
  absl::Status Append(std::string message, std::vector<HostRow> rows, const Recorded& by,
                      std::optional<uint32_t> host_id = std::nullopt);

  Store& store_;
  const std::string key_path_;
  std::string problem_;
  std::optional<HostIdentity> identity_;
  std::optional<HostRecord> own_;
  uint64_t sequence_ = 0;
  std::map<uint32_t, TrustedHost> hosts_;
  std::map<uint32_t, StoredBundle> bundles_;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_REMOTE_DIRECTORY_H_
