// SPDX-License-Identifier: Apache-2.0
#include "daemon/remote_directory.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/numbers.h"
#include "daemon/record_json.h"
#include "labels/text.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

absl::Status Refused(const std::string& what) { return absl::FailedPreconditionError(what); }

std::string NameOf(const HostRecord& record) { return Cat(record.id, " (", record.name, ")"); }

}  // namespace

ExecutableInfo InfoOf(const ExecutableRecord& record) {
  ExecutableInfo info;
  info.digest = record.digest;
  info.path = record.path;
  info.trusted_path = record.trusted_path;
  info.aliases = record.aliases;
  info.exe_id = record.id;
  if (record.script != Digest{}) info.script = ScriptInfo{.digest = record.script, .path = ""};
  return info;
}

RemoteDirectory::RemoteDirectory(Store& store, std::string key_path)
    : store_(store), key_path_(std::move(key_path)) {}

absl::Status RemoteDirectory::LoadRow(const HostRow& row) {
  if (row.key == kOwnRow) {
    auto own = DecodeHostRecord(*row.value);
    if (!own.ok()) return own.status();
    own_ = *std::move(own);
  } else if (row.key == kSequenceRow) {
    if (!absl::SimpleAtoi(*row.value, &sequence_)) {
      return absl::DataLossError("store: the sequence of this host's records cannot be read");
    }
  } else if (row.key.starts_with(kTrustRows)) {
    auto host = DecodeTrustedHost(*row.value);
    if (!host.ok()) return host.status();
    hosts_.insert_or_assign(host->record.id, *std::move(host));
  } else if (row.key.starts_with(kBundleRows)) {
    auto bundle = DecodeStoredBundle(*row.value);
    if (!bundle.ok()) return bundle.status();
    bundles_.insert_or_assign(bundle->bundle.host_id, *std::move(bundle));
  }
  return absl::OkStatus();
}

absl::Status RemoteDirectory::Load() {
  auto rows = store_.HostRows();
  if (!rows.ok()) return rows.status();
  for (const HostRow& row : *rows) MSEG_RETURN_IF_ERROR(LoadRow(row));
  auto identity = HostIdentity::Load(key_path_);
  if (identity.ok()) {
    identity_ = *std::move(identity);
  } else {
    problem_ = std::string(identity.status().message());
  }
  CheckIdentity();
  return absl::OkStatus();
}

// Keys without a record are what an `init` left that was killed; the next one takes them.
void RemoteDirectory::CheckIdentity() {
  if (!own_.has_value()) {
    identity_.reset();
    return;
  }
  if (identity_.has_value() && identity_->Matches(*own_)) return;
  if (problem_.empty()) {
    problem_ = identity_.has_value()
                   ? Cat("host key: ", key_path_, " is not the key of host ", NameOf(*own_))
                   : Cat("host key: ", key_path_, " is missing");
  }
  identity_.reset();
}

absl::StatusOr<uint32_t> RemoteDirectory::Find(const std::string& target) const {
  uint32_t id = 0;
  if (absl::SimpleAtoi(target, &id) && hosts_.contains(id)) return id;
  std::vector<uint32_t> named;
  for (const auto& [host_id, host] : hosts_) {
    if (host.record.name == target) named.push_back(host_id);
  }
  if (named.size() == 1) return named.front();
  if (named.empty()) return absl::NotFoundError(Cat("no trusted host is called ", target));
  return absl::InvalidArgumentError(
      Cat(named.size(), " trusted hosts are called ", target, "; give the id"));
}

bool RemoteDirectory::Permitted(uint32_t host_id, const LabelSet& labels) const {
  if (own_.has_value() && own_->id == host_id) return ClaimsPermit(own_->claims, labels);
  const auto host = hosts_.find(host_id);
  return host != hosts_.end() && ClaimsPermit(host->second.record.claims, labels) &&
         ClaimsPermit(host->second.limits, labels);
}

absl::Status RemoteDirectory::Append(std::string message, std::vector<HostRow> rows,
                                     const Recorded& by, std::optional<uint32_t> host_id) {
  RevisionInput input;
  input.time_us = by.time_us;
  input.author = by.author;
  input.peer = by.peer;
  input.message = std::move(message);
  input.event = RevisionEvent::kHosts;
  input.host_rows = std::move(rows);
  input.host_id = host_id;
  return store_.Append(input).status();
}

// ---- this host ----------------------------------------------------------------------------------

absl::Status RemoteDirectory::Init(const InitRequest& request, const Recorded& by) {
  if (own_.has_value() && own_->id != request.id && !request.replace) {
    return Refused(Cat("this host is host ", NameOf(*own_), " already; others know it by that id. ",
                       "To make it host ", request.id, " with new keys, say --replace"));
  }
  if (hosts_.contains(request.id)) {
    return Refused(Cat("host ", request.id, " is another one that is trusted here"));
  }
  if (own_.has_value() && identity_ == std::nullopt && !request.replace) {
    return Refused(Cat(problem_, ". Restore it, or say --replace to make new keys, after which ",
                       "every other host has to trust this one anew"));
  }
  auto found = request.replace ? absl::StatusOr<std::optional<HostIdentity>>(std::nullopt)
                               : HostIdentity::Load(key_path_);
  if (!found.ok()) return found.status();
  if (!found->has_value()) {
    auto fresh = HostIdentity::Generate();
    if (!fresh.ok()) return fresh.status();
    *found = *std::move(fresh);
  }
  HostRecord record{.id = request.id,
                    .name = request.name,
                    .addresses = request.addresses,
                    .claims = request.claims,
                    .issued_us = by.time_us};
  if (own_.has_value()) record.issued_us = std::max(record.issued_us, own_->issued_us + 1);
  (*found)->Sign(&record);
  if (absl::Status status = VerifyHostRecord(record); !status.ok()) return status;
  MSEG_RETURN_IF_ERROR((*found)->Save(key_path_));
  const absl::Status stored =
      Append(Cat("this host is host ", NameOf(record)),
             {{std::string(kOwnRow), EncodeHostRecord(record)}}, by, record.id);
  if (!stored.ok()) {
    // The record on file is still the old one, so the old keys must be, too.
    if (identity_.has_value()) identity_->Save(key_path_).IgnoreError();
    return stored;
  }
  identity_ = *std::move(found);
  own_ = std::move(record);
  problem_.clear();
  return absl::OkStatus();
}

absl::StatusOr<IdentityBundle> RemoteDirectory::Issue(const OwnIdentities& own, int64_t now_us) {
  if (identity() == nullptr) {
    return Refused(problem_.empty() ? "this host has no identity; msegctl host init gives it one"
                                    : problem_);
  }
  IdentityBundle bundle = BundleOf(own);
  bundle.host_id = own_->id;
  // A clock that was set back must not make this bundle older than the last one.
  bundle.sequence = std::max(static_cast<uint64_t>(now_us), sequence_ + 1);
  bundle.issued_us = now_us;
  identity_->Sign(&bundle);
  if (absl::Status status = VerifyBundle(bundle, own_->signing_key, store_.salt()); !status.ok()) {
    return absl::InternalError(Cat("records: ", ToStd(status.message())));
  }
  MSEG_RETURN_IF_ERROR(store_.PutHostRow({std::string(kSequenceRow), Cat(bundle.sequence)}));
  sequence_ = bundle.sequence;
  return bundle;
}

// ---- others -------------------------------------------------------------------------------------

absl::Status RemoteDirectory::CheckTrust(const HostRecord& record, bool replace) const {
  MSEG_RETURN_IF_ERROR(VerifyHostRecord(record));
  if (own_.has_value() && own_->id == record.id) {
    return Refused(own_->signing_key == record.signing_key
                       ? Cat("host ", NameOf(record), " is this host; it trusts itself")
                       : Cat("host ", record.id, " is this host, and the record is another's"));
  }
  for (const auto& [id, host] : hosts_) {
    const bool same_key = host.record.signing_key == record.signing_key ||
                          host.record.exchange_key == record.exchange_key;
    if (id != record.id && same_key) {
      return Refused(Cat("the record has the key of host ", NameOf(host.record),
                         ", which is trusted; two hosts never share one"));
    }
  }
  const auto before = hosts_.find(record.id);
  if (before == hosts_.end() || replace) return absl::OkStatus();
  const HostRecord& known = before->second.record;
  if (known.signing_key != record.signing_key || known.exchange_key != record.exchange_key) {
    return Refused(Cat("host ", NameOf(known), " is trusted with another key. If it got new keys, ",
                       "say --replace; if nobody knows why, it is not that host"));
  }
  if (record.issued_us < known.issued_us) {
    return Refused(Cat("host ", NameOf(known), " is trusted with a newer record, of ",
                       RecordTimeText(known.issued_us), "; say --replace to go back"));
  }
  return absl::OkStatus();
}

absl::Status RemoteDirectory::Trust(const HostRecord& record, const Claims& limits, bool replace,
                                    const Recorded& by) {
  MSEG_RETURN_IF_ERROR(CheckTrust(record, replace));
  const TrustedHost host{.record = record, .limits = limits, .by = by};
  std::vector<HostRow> rows = {{TrustRow(record.id), EncodeTrustedHost(host)}};
  const auto before = hosts_.find(record.id);
  const bool other_key =
      before != hosts_.end() && before->second.record.signing_key != record.signing_key;
  // What the old key signed, the new one does not vouch for.
  if (other_key) rows.push_back({BundleRow(record.id), std::nullopt});
  MSEG_RETURN_IF_ERROR(Append(Cat("trust host ", NameOf(record)), std::move(rows), by));
  hosts_.insert_or_assign(record.id, host);
  if (other_key) bundles_.erase(record.id);
  return absl::OkStatus();
}

absl::Status RemoteDirectory::Distrust(uint32_t host_id, const Recorded& by) {
  const auto host = hosts_.find(host_id);
  if (host == hosts_.end()) return absl::NotFoundError(Cat("host ", host_id, " is not trusted"));
  MSEG_RETURN_IF_ERROR(
      Append(Cat("distrust host ", NameOf(host->second.record)),
             {{TrustRow(host_id), std::nullopt}, {BundleRow(host_id), std::nullopt}}, by));
  hosts_.erase(host);
  bundles_.erase(host_id);
  return absl::OkStatus();
}

// One file, read and verified against what is trusted.
absl::StatusOr<IdentityBundle> RemoteDirectory::Accept(const File& file) const {
  auto bundle = ReadBundle(file.text, file.name);
  if (!bundle.ok()) return bundle.status();
  if (own_.has_value() && own_->id == bundle->host_id) {
    return Refused(Cat(file.name, ": error: host ", bundle->host_id, " is this host"));
  }
  const auto host = hosts_.find(bundle->host_id);
  if (host == hosts_.end()) {
    return Refused(Cat(file.name, ": error: host ", bundle->host_id,
                       " is not trusted; msegctl host trust comes first"));
  }
  const absl::Status verified =
      VerifyBundle(*bundle, host->second.record.signing_key, store_.salt());
  if (!verified.ok()) {
    return absl::Status(verified.code(), Cat(file.name, ": error: ", ToStd(verified.message())));
  }
  return bundle;
}

absl::StatusOr<std::vector<RemoteDirectory::Imported>> RemoteDirectory::Import(
    const std::vector<File>& files, const Recorded& by, const Check& check) {
  std::vector<Imported> imported;
  std::map<uint32_t, StoredBundle> fresh;
  for (const File& file : files) {
    auto bundle = Accept(file);
    if (!bundle.ok()) return bundle.status();
    if (check != nullptr) MSEG_RETURN_IF_ERROR(check(*bundle));
    const uint32_t id = bundle->host_id;
    const StoredBundle* known = fresh.contains(id) ? &fresh.at(id) : nullptr;
    if (known == nullptr && bundles_.contains(id)) known = &bundles_.at(id);
    if (known != nullptr && *bundle == known->bundle) {
      imported.push_back({.host_id = id, .changed = false});
      continue;
    }
    if (known != nullptr && bundle->sequence <= known->bundle.sequence) {
      return Refused(Cat(file.name, ": error: the records of host ", id, " are older (sequence ",
                         bundle->sequence, ") than those on record (", known->bundle.sequence,
                         ")"));
    }
    fresh.insert_or_assign(id, StoredBundle{.bundle = *std::move(bundle), .by = by});
    imported.push_back({.host_id = id, .changed = true});
  }
  if (fresh.empty()) return imported;
  std::vector<HostRow> rows;
  std::string message = "records of host";
  for (const auto& [id, bundle] : fresh) {
    rows.push_back({BundleRow(id), EncodeStoredBundle(bundle)});
    if (rows.size() <= 20) mseg::Append(&message, rows.size() > 1 ? ", " : " ", id);
  }
  MSEG_RETURN_IF_ERROR(Append(std::move(message), std::move(rows), by));
  for (auto& [id, bundle] : fresh) bundles_.insert_or_assign(id, std::move(bundle));
  return imported;
}

// ---- the compiler's view ------------------------------------------------------------------------

void RemoteDirectory::FillInventory(const OwnIdentities& own, Inventory* inventory) const {
  if (!own_.has_value()) return;
  using Key = std::tuple<uint64_t, Digest, std::string, bool, std::string>;
  std::map<Key, ExecutableInfo> executables;  // many hosts run the same ones
  const auto add = [&](ExecutableInfo info) {
    if (info.exe_id == 0) return;  // nobody can say it
    Key key{info.exe_id, info.digest, info.path, info.trusted_path,
            info.script ? info.script->path : ""};
    const auto [it, inserted] = executables.try_emplace(std::move(key), info);
    if (inserted) return;
    for (const std::string& alias : info.aliases) {
      auto& known = it->second.aliases;
      if (std::find(known.begin(), known.end(), alias) == known.end()) known.push_back(alias);
    }
  };
  for (const auto& [id, labels] : own.labels) {
    inventory->remote_labels.push_back({.host_id = own_->id,
                                        .label_id = id,
                                        .labels = labels,
                                        .permitted = ClaimsPermit(own_->claims, labels)});
  }
  for (const ExecutableInfo& info : own.executables) add(info);
  for (const auto& [host_id, stored] : bundles_) {
    for (const LabelRecord& record : stored.bundle.labels) {
      inventory->remote_labels.push_back({.host_id = host_id,
                                          .label_id = record.id,
                                          .labels = record.labels,
                                          .permitted = Permitted(host_id, record.labels)});
    }
    for (const ExecutableRecord& record : stored.bundle.executables) add(InfoOf(record));
  }
  for (auto& [key, info] : executables) inventory->remote_executables.push_back(std::move(info));
}

}  // namespace mseg
