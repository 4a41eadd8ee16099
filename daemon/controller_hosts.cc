// SPDX-License-Identifier: Apache-2.0
// Hosts: who this one is, which others it trusts, what their ids mean, and the tables of that.
#include <fstream>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/controller.h"
#include "daemon/host_inventory.h"
#include "daemon/record_json.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

std::string Words(const absl::Status& status) { return std::string(status.message()); }

void FillFromRecord(const HostRecord& record, api::Host* host) {
  host->id = record.id;
  host->name = record.name;
  for (const IpAddress& address : record.addresses) {
    host->addresses.push_back(IpAddressText(address));
  }
  host->claims = ClaimTexts(record.claims);
  host->signing_key = HexText(record.signing_key);
  host->exchange_key = HexText(record.exchange_key);
  host->issued_us = record.issued_us;
  host->record = HostRecordText(record);
}

}  // namespace

absl::Status Controller::StartHosts() {
  MSEG_RETURN_IF_ERROR(directory_.Load());
  if (!directory_.problem().empty()) {
    log_(absl::StrCat(directory_.problem(), ". Until then no identity is carried between hosts"));
  }
  if (directory_.identity() != nullptr) own_.executables = exes_.Infos();
  ReserveRemoteIds();
  return wire_.Publish(own_);
}

// Before anything that runs here is given one of them.
void Controller::ReserveRemoteIds() {
  Inventory remote;
  directory_.FillInventory(own_, &remote);
  exes_.SetRemote(remote.remote_executables);
}

bool Controller::AddOwnLabels(const GenerationImage& image, Inventory* inventory) const {
  if (directory_.identity() == nullptr) return false;
  const uint32_t id = directory_.own()->id;
  bool added = false;
  for (const auto& [label_id, labels] : OwnLabels(image, store_.salt())) {
    if (own_.labels.contains(label_id)) continue;
    inventory->remote_labels.push_back({.host_id = id,
                                        .label_id = label_id,
                                        .labels = labels,
                                        .permitted = directory_.Permitted(id, labels)});
    added = true;
  }
  return added;
}

// Pairs that processes show now, where not every possible one is told.
std::set<IdentityPair> Controller::SeenPairs() const {
  std::set<IdentityPair> seen;
  const auto tasks = dataplane_.tasks().Dump();
  if (!tasks.ok()) return seen;  // only fewer answers can be read
  for (const auto& [key, task] : *tasks) {
    if (task.id.generation == generation_) seen.emplace(task.id.label_id, task.id.exe_id);
  }
  return seen;
}

absl::StatusOr<bool> Controller::RefreshOwn(const GenerationImage& image) {
  if (directory_.identity() == nullptr) return false;
  OwnIdentities now;
  now.labels = OwnLabels(image, store_.salt());
  now.executables = exes_.Infos();
  now.pairs = PairsOf(now, {});
  if (now.pairs.size() == now.labels.size()) now.pairs = PairsOf(now, SeenPairs());
  const bool same_ids =
      now.labels == own_.labels && now.executables.size() == own_.executables.size();
  const bool same_pairs = now.pairs == own_.pairs;
  own_ = std::move(now);
  if (!same_pairs) MSEG_RETURN_IF_ERROR(wire_.PublishFingerprints(own_));
  return !same_ids;
}

// The directory is another one: the tables of the wire first, so that the keys of a host that is no
// longer trusted go at once; then the classes of what it may claim.
absl::Status Controller::HostsChanged(const char* why) {
  MSEG_RETURN_IF_ERROR(RefreshOwn(*image_).status());
  MSEG_RETURN_IF_ERROR(wire_.Publish(own_));
  ReserveRemoteIds();
  return Recompile(why);
}

void Controller::RotateKeys() {
  if (const absl::Status status = wire_.Tick(); !status.ok()) {
    log_(absl::StrCat("hosts: ", Words(status)));
  }
}

void Controller::LookAtOwnIdentities() {
  const auto changed = RefreshOwn(*image_);
  if (!changed.ok()) log_(absl::StrCat("hosts: ", Words(changed.status())));
  if (changed.ok() && *changed) recompile_wanted_ = true;
}

// ---- devices ----------------------------------------------------------------------------------

namespace {

constexpr uint64_t kTicksBetweenThoroughLooks = 100;
constexpr size_t kMostTold = 1000;  // names of devices are anybody's

std::vector<uint32_t> ProcessesBelow(const std::string& cgroup_root) {
  std::vector<uint32_t> out;
  const auto cgroups = WalkCgroups(cgroup_root);
  if (!cgroups.ok()) return out;  // the next look will tell
  for (const CgroupInfo& cgroup : *cgroups) {
    std::ifstream processes(absl::StrCat(cgroup_root, cgroup.path, "/cgroup.procs"));
    for (uint32_t pid = 0; processes >> pid;) out.push_back(pid);
  }
  return out;
}

}  // namespace

bool Controller::CarriesDatagrams() const {
  return directory_.identity() != nullptr && mseg::CarriesDatagrams(options_.wire);
}

// Datagrams are signed and verified at devices of the network namespaces that managed processes are
// in. Nothing tells of new ones of either everywhere, so they are looked for.
void Controller::LookAtDevices() {
  if (!CarriesDatagrams()) {
    if (!std::exchange(filtering_, false)) return;
    if (const absl::Status status = filters_.Remove(); !status.ok()) {
      log_(absl::StrCat("devices: cannot remove filters: ", Words(status)));
    }
    return;
  }
  const bool first = !std::exchange(filtering_, true);
  filters_.Look(ProcessesBelow(options_.cgroup_root),
                first || ticks_ % kTicksBetweenThoroughLooks == 0);
  for (const auto& [inode, ns] : filters_.namespaces()) {
    for (const std::string& problem : ns.problems) {
      if (told_.size() < kMostTold && told_.insert(absl::StrCat(inode, problem)).second) {
        log_(absl::StrCat("devices: network namespace ", inode, ": ", problem,
                          "; datagrams there carry no identities"));
      }
    }
  }
}

// ---- calls --------------------------------------------------------------------------------------

api::Host Controller::DescribeHost(uint32_t id) const {
  api::Host host;
  if (directory_.own().has_value() && directory_.own()->id == id) {
    host.own = true;
    FillFromRecord(*directory_.own(), &host);
    host.labels = own_.labels.size();
    host.executables = own_.executables.size();
    host.pairs = own_.pairs.size();
    return host;
  }
  const TrustedHost& trusted = directory_.hosts().at(id);
  FillFromRecord(trusted.record, &host);
  host.limits = ClaimTexts(trusted.limits);
  host.trusted_at_us = trusted.by.time_us;
  host.author = trusted.by.author;
  if (trusted.by.peer.has_value()) {
    host.uid = trusted.by.peer->uid;
    host.user = trusted.by.peer->user;
  }
  const auto stored = directory_.bundles().find(id);
  if (stored == directory_.bundles().end()) return host;
  const IdentityBundle& bundle = stored->second.bundle;
  host.sequence = bundle.sequence;
  host.records_issued_us = bundle.issued_us;
  host.labels = bundle.labels.size();
  host.executables = bundle.executables.size();
  host.pairs = bundle.pairs.size();
  return host;
}

absl::StatusOr<std::vector<api::Host>> Controller::ListHosts() {
  const std::lock_guard lock(mutex_);
  std::vector<api::Host> hosts;
  if (directory_.own().has_value()) hosts.push_back(DescribeHost(directory_.own()->id));
  for (const auto& [id, host] : directory_.hosts()) hosts.push_back(DescribeHost(id));
  return hosts;
}

absl::StatusOr<api::Host> Controller::InitHost(const api::HostInit& request) {
  const std::lock_guard lock(mutex_);
  RemoteDirectory::InitRequest init{.id = request.id, .replace = request.replace};
  init.name = request.name.empty() ? store_.host().name : request.name;
  for (const std::string& text : request.addresses) {
    auto address = ParseIpAddress(text);
    if (!address.ok()) return address.status();
    init.addresses.push_back(*address);
  }
  auto claims = ParseClaims(request.claims);
  if (!claims.ok()) return claims.status();
  init.claims = *std::move(claims);
  MSEG_RETURN_IF_ERROR(directory_.Init(
      init, {.time_us = NowUs(), .author = request.author, .peer = PeerOf(request.caller)}));
  MSEG_RETURN_IF_ERROR(HostsChanged("this host's identity"));
  return DescribeHost(request.id);
}

absl::StatusOr<api::Host> Controller::TrustHost(const api::HostTrust& request) {
  const std::lock_guard lock(mutex_);
  auto record = ReadHostRecord(request.file.text, request.file.name);
  if (!record.ok()) return record.status();
  auto limits = ParseClaims(request.limits);
  if (!limits.ok()) return limits.status();
  MSEG_RETURN_IF_ERROR(directory_.Trust(
      *record, *limits, request.replace,
      {.time_us = NowUs(), .author = request.author, .peer = PeerOf(request.caller)}));
  MSEG_RETURN_IF_ERROR(HostsChanged("a host that is trusted"));
  return DescribeHost(record->id);
}

absl::StatusOr<api::Host> Controller::DistrustHost(const api::HostDistrust& request) {
  const std::lock_guard lock(mutex_);
  auto id = directory_.Find(request.target);
  if (!id.ok()) return id.status();
  const api::Host host = DescribeHost(*id);
  MSEG_RETURN_IF_ERROR(directory_.Distrust(
      *id, {.time_us = NowUs(), .author = request.author, .peer = PeerOf(request.caller)}));
  MSEG_RETURN_IF_ERROR(HostsChanged("a host that is trusted no longer"));
  return host;
}

absl::StatusOr<std::string> Controller::ExportRecords() {
  const std::lock_guard lock(mutex_);
  MSEG_RETURN_IF_ERROR(RefreshOwn(*image_).status());
  auto bundle = directory_.Issue(own_, NowUs());
  if (!bundle.ok()) return bundle.status();
  return BundleText(*bundle);
}

absl::StatusOr<std::vector<api::RecordImported>> Controller::ImportRecords(
    const api::RecordImport& request) {
  const std::lock_guard lock(mutex_);
  std::vector<RemoteDirectory::File> files;
  for (const api::PolicyFile& file : request.files) files.push_back({file.name, file.text});
  const auto check = [this](const IdentityBundle& bundle) {
    for (const ExecutableRecord& record : bundle.executables) {
      MSEG_RETURN_IF_ERROR(exes_.CheckId(InfoOf(record)));
    }
    return absl::OkStatus();
  };
  auto imported = directory_.Import(
      files, {.time_us = NowUs(), .author = request.author, .peer = PeerOf(request.caller)}, check);
  if (!imported.ok()) return imported.status();
  std::vector<api::RecordImported> out;
  bool changed = false;
  for (size_t i = 0; i < imported->size(); ++i) {
    const RemoteDirectory::Imported& one = (*imported)[i];
    changed |= one.changed;
    out.push_back({.file = files[i].name,
                   .action = one.changed ? "imported" : "unchanged",
                   .host = DescribeHost(one.host_id)});
  }
  if (changed) MSEG_RETURN_IF_ERROR(HostsChanged("identity records"));
  if (changed && wire_.left_out() > 0) {
    log_(absl::StrCat("hosts: ", wire_.left_out(),
                      " fingerprints found no room; answers with them say nothing"));
  }
  return out;
}

void Controller::DescribeRecords(const IdentityBundle& bundle, const std::string& name,
                                 std::vector<api::IdentityRecord>* out) const {
  for (const LabelRecord& record : bundle.labels) {
    api::IdentityRecord& line = out->emplace_back();
    line.host_id = bundle.host_id;
    line.host_name = name;
    line.kind = "label";
    line.id = record.id;
    line.labels = record.labels.values();
    line.permitted = directory_.Permitted(bundle.host_id, record.labels);
  }
  for (const ExecutableRecord& record : bundle.executables) {
    api::IdentityRecord& line = out->emplace_back();
    line.host_id = bundle.host_id;
    line.host_name = name;
    line.kind = "executable";
    line.id = record.id;
    line.digest = DigestText(record.digest);
    if (record.script != Digest{}) line.script = DigestText(record.script);
    line.path = record.path;
    line.package = record.package;
    line.trusted_path = record.trusted_path;
    line.aliases = record.aliases;
  }
}

absl::StatusOr<std::vector<api::IdentityRecord>> Controller::ListRecords(const std::string& host) {
  const std::lock_guard lock(mutex_);
  const std::optional<HostRecord>& own = directory_.own();
  const bool own_only = own.has_value() && (host == own->name || host == absl::StrCat(own->id));
  std::optional<uint32_t> only;
  if (!host.empty() && !own_only) {
    auto found = directory_.Find(host);
    if (!found.ok()) return found.status();
    only = *found;
  }
  std::vector<api::IdentityRecord> out;
  if (own.has_value() && !only.has_value()) {
    IdentityBundle bundle = BundleOf(own_);
    bundle.host_id = own->id;
    DescribeRecords(bundle, own->name, &out);
  }
  for (const auto& [id, stored] : directory_.bundles()) {
    if (own_only || (only.has_value() && *only != id)) continue;
    DescribeRecords(stored.bundle, directory_.hosts().at(id).record.name, &out);
  }
  return out;
}

}  // namespace mseg
