// SPDX-License-Identifier: Apache-2.0
#include "daemon/store_hosts.h"

#include "absl/strings/str_format.h"
#include "daemon/api/store.capnp.h"
#include "daemon/store_message.h"

namespace mseg {
namespace {

capnp::Data::Reader BytesAsData(const std::string& bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

std::string_view DataAsBytes(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

template <typename Builder>
void WritePeer(const std::optional<Peer>& from, Builder to) {
  if (!from.has_value()) return;
  auto peer = to.initPeer();
  peer.setUid(from->uid);
  peer.setUser(ToText(from->user));
}

template <typename Reader>
Recorded ReadRecorded(Reader from, int64_t time_us) {
  Recorded by{.time_us = time_us, .author = FromText(from.getAuthor())};
  if (from.hasPeer()) {
    by.peer = Peer{.uid = from.getPeer().getUid(), .user = FromText(from.getPeer().getUser())};
  }
  return by;
}

}  // namespace

std::string TrustRow(uint32_t host_id) { return Cat(kTrustRows, absl::StrFormat("%06x", host_id)); }
std::string BundleRow(uint32_t host_id) {
  return Cat(kBundleRows, absl::StrFormat("%06x", host_id));
}

std::string EncodeTrustedHost(const TrustedHost& host) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::TrustedHost>();
  const std::string record = EncodeHostRecord(host.record);
  root.setRecord(BytesAsData(record));
  auto limits = root.initLimits(static_cast<unsigned>(host.limits.size()));
  for (size_t i = 0; i < host.limits.size(); ++i) {
    limits.set(static_cast<unsigned>(i), ToText(host.limits[i].Text()));
  }
  root.setTrustedAtUs(host.by.time_us);
  root.setAuthor(ToText(host.by.author));
  WritePeer(host.by.peer, root);
  return Flatten(message);
}

absl::StatusOr<TrustedHost> DecodeTrustedHost(std::string_view bytes) {
  std::string record;
  std::vector<std::string> limits;
  auto host =
      Decode<stored::TrustedHost>(bytes, "a trusted host", [&](stored::TrustedHost::Reader root) {
        record = DataAsBytes(root.getRecord());
        for (capnp::Text::Reader text : root.getLimits()) limits.push_back(FromText(text));
        return TrustedHost{.by = ReadRecorded(root, root.getTrustedAtUs())};
      });
  if (!host.ok()) return host.status();
  auto decoded = DecodeHostRecord(record);
  if (!decoded.ok()) return decoded.status();
  auto claims = ParseClaims(limits);
  if (!claims.ok()) return absl::DataLossError("store: the limits of a host cannot be decoded");
  host->record = *std::move(decoded);
  host->limits = *std::move(claims);
  return host;
}

std::string EncodeStoredBundle(const StoredBundle& bundle) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<stored::Bundle>();
  const std::string records = EncodeBundle(bundle.bundle);
  root.setRecords(BytesAsData(records));
  root.setImportedAtUs(bundle.by.time_us);
  root.setAuthor(ToText(bundle.by.author));
  WritePeer(bundle.by.peer, root);
  return Flatten(message);
}

absl::StatusOr<StoredBundle> DecodeStoredBundle(std::string_view bytes) {
  std::string records;
  auto bundle = Decode<stored::Bundle>(bytes, "identity records", [&](stored::Bundle::Reader root) {
    records = DataAsBytes(root.getRecords());
    return StoredBundle{.by = ReadRecorded(root, root.getImportedAtUs())};
  });
  if (!bundle.ok()) return bundle.status();
  auto decoded = DecodeBundle(records);
  if (!decoded.ok()) return decoded.status();
  bundle->bundle = *std::move(decoded);
  return bundle;
}

}  // namespace mseg
