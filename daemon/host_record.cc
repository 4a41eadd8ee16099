// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_record.h"

#include <sodium.h>

#include <algorithm>

#include "daemon/canonical.h"
#include "daemon/record_json.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr std::string_view kRecordDomain = "mseg host record v1";
constexpr std::string_view kRecordKind = "mseg.io/HostRecord";
constexpr size_t kMaxRecordBytes = 256 << 10;
constexpr size_t kMaxName = 253;
constexpr size_t kMaxList = 256;

absl::Status BadRecord(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::Status CheckName(const std::string& name) {
  if (name.empty() || name.size() > kMaxName) {
    return BadRecord(Cat("a host's name has 1 to ", kMaxName, " bytes"));
  }
  std::string_view rest = name;
  while (!rest.empty()) {
    const std::optional<char32_t> character = TakeCharacter(&rest);
    if (!character || IsControl(*character) || IsSpace(*character)) {
      return BadRecord("a host's name is UTF-8 without spaces and control characters");
    }
  }
  return absl::OkStatus();
}

// A point of small order would make every shared secret the same.
bool IsExchangeKey(const PublicKey& key) {
  PublicKey scalar, shared;
  scalar.fill(0x40);
  return crypto_scalarmult(shared.data(), scalar.data(), key.data()) == 0;
}

absl::Status CheckFields(const HostRecord& record) {
  if (record.id == 0 || record.id > kMaxHostId) {
    return BadRecord(Cat("a host id is a number from 1 to ", kMaxHostId));
  }
  if (absl::Status status = CheckName(record.name); !status.ok()) return status;
  if (record.addresses.size() > kMaxList || record.claims.size() > kMaxList) {
    return BadRecord(Cat("a host record has at most ", kMaxList, " addresses and claims"));
  }
  for (const LabelSet& claim : record.claims) {
    if (claim.empty()) return BadRecord("an empty claim permits everything: leave the claims out");
  }
  if (!IsExchangeKey(record.exchange_key)) return BadRecord("its exchange key is no X25519 key");
  return absl::OkStatus();
}

}  // namespace

bool ClaimsPermit(const Claims& claims, const LabelSet& labels) {
  if (claims.empty()) return true;
  return std::any_of(claims.begin(), claims.end(), [&](const LabelSet& claim) {
    return std::all_of(claim.values().begin(), claim.values().end(), [&](const auto& wanted) {
      const auto found = labels.values().find(wanted.first);
      return found != labels.values().end() && found->second == wanted.second;
    });
  });
}

absl::StatusOr<LabelSet> ParseClaim(std::string_view text) {
  LabelSet claim;
  std::string_view rest = text;
  while (true) {
    const size_t comma = rest.find(',');
    const std::string_view pair = rest.substr(0, comma);
    const size_t equals = pair.find('=');
    if (equals == pair.npos)
      return BadRecord(Cat("`", pair, "` is no label; write key=value,key=value"));
    const std::string_view key = pair.substr(0, equals);
    const std::string_view value = pair.substr(equals + 1);
    if (absl::Status status = CheckLabelKey(key); !status.ok()) return status;
    if (absl::Status status = CheckLabelValue(value); !status.ok()) return status;
    if (claim.values().contains(key)) return BadRecord(Cat("`", text, "` gives `", key, "` twice"));
    claim.SetReserved(key, value);
    if (comma == rest.npos) return claim;
    rest.remove_prefix(comma + 1);
  }
}

absl::StatusOr<Claims> ParseClaims(const std::vector<std::string>& texts) {
  Claims claims;
  for (const std::string& text : texts) {
    absl::StatusOr<LabelSet> claim = ParseClaim(text);
    if (!claim.ok()) return claim.status();
    claims.push_back(*std::move(claim));
  }
  return claims;
}

std::vector<std::string> ClaimTexts(const Claims& claims) {
  std::vector<std::string> texts;
  for (const LabelSet& claim : claims) texts.push_back(claim.Text());
  return texts;
}

std::string HostRecordPayload(const HostRecord& record) {
  CanonicalWriter out(kRecordDomain);
  out.Number(record.id, 4);
  out.Text(record.name);
  out.Bytes(record.signing_key);
  out.Bytes(record.exchange_key);
  out.Count(record.addresses.size());
  for (const IpAddress& address : record.addresses) out.Bytes(address);
  out.Count(record.claims.size());
  for (const LabelSet& claim : record.claims) out.Text(claim.Text());
  out.Number(static_cast<uint64_t>(record.issued_us));
  return out.Take();
}

absl::Status VerifyHostRecord(const HostRecord& record) {
  if (absl::Status status = CheckFields(record); !status.ok()) return status;
  const std::string payload = HostRecordPayload(record);
  if (crypto_sign_verify_detached(record.signature.data(),
                                  reinterpret_cast<const uint8_t*>(payload.data()), payload.size(),
                                  record.signing_key.data()) != 0) {
    return BadRecord(
        Cat("the record of host ", record.id, " is not signed with the key that it names"));
  }
  return absl::OkStatus();
}

std::string HostRecordText(const HostRecord& record) {
  RecordJson addresses = RecordJson::array();
  for (const IpAddress& address : record.addresses) addresses.push_back(IpAddressText(address));
  return RecordText({{"kind", kRecordKind},
                     {"version", 1},
                     {"id", record.id},
                     {"name", record.name},
                     {"signing_key", HexText(record.signing_key)},
                     {"exchange_key", HexText(record.exchange_key)},
                     {"addresses", std::move(addresses)},
                     {"claims", ClaimTexts(record.claims)},
                     {"issued", RecordTimeText(record.issued_us)},
                     {"signature", HexText(record.signature)}});
}

absl::StatusOr<HostRecord> ReadHostRecord(std::string_view text, std::string_view file) {
  const absl::StatusOr<RecordJson> tree = ParseRecordJson(text, file, kMaxRecordBytes);
  if (!tree.ok()) return tree.status();
  absl::Status status;
  RecordFields fields(*tree, Cat(file, ": error: "), &status);
  const std::string kind = fields.Text("kind");
  if (status.ok() && kind != kRecordKind) fields.Fail("kind", Cat("must be ", kRecordKind));
  if (fields.Number("version", 1) != 1) fields.Fail("version", "must be 1");
  HostRecord record;
  record.id = static_cast<uint32_t>(fields.Number("id", kMaxHostId));
  record.name = fields.Text("name");
  record.signing_key = fields.Hex<32>("signing_key");
  record.exchange_key = fields.Hex<32>("exchange_key");
  for (const std::string& item : fields.Texts("addresses", kMaxList)) {
    const absl::StatusOr<IpAddress> address = ParseIpAddress(item);
    if (!address.ok()) fields.Fail("addresses", Cat("holds `", Printable(item, 80), "`"));
    if (address.ok()) record.addresses.push_back(*address);
  }
  const absl::StatusOr<Claims> claims = ParseClaims(fields.Texts("claims", kMaxList));
  if (!claims.ok()) fields.Fail("claims", Cat(": ", ToStd(claims.status().message())));
  if (claims.ok()) record.claims = *claims;
  record.issued_us = fields.Time("issued");
  record.signature = fields.Hex<64>("signature");
  fields.Finish();
  if (!status.ok()) return status;
  return record;
}

std::string EncodeHostRecord(const HostRecord& record) {
  CanonicalWriter out("");
  out.Text(HostRecordPayload(record));
  out.Bytes(record.signature);
  return out.Take();
}

absl::StatusOr<HostRecord> DecodeHostRecord(std::string_view bytes) {
  CanonicalReader outer(bytes, "");
  const std::string payload = outer.Text();
  HostRecord record;
  record.signature = outer.Bytes<64>();
  CanonicalReader in(payload, kRecordDomain);
  record.id = static_cast<uint32_t>(in.Number(4));
  record.name = in.Text();
  record.signing_key = in.Bytes<32>();
  record.exchange_key = in.Bytes<32>();
  for (size_t n = in.Count(16); n > 0; --n) record.addresses.push_back(in.Bytes<16>());
  for (size_t n = in.Count(4); n > 0; --n) {
    const absl::StatusOr<LabelSet> claim = ParseClaim(in.Text());
    if (!claim.ok()) return absl::DataLossError("a host record cannot be decoded");
    record.claims.push_back(*claim);
  }
  record.issued_us = static_cast<int64_t>(in.Number());
  if (!outer.Done() || !in.Done()) {
    return absl::DataLossError("a host record cannot be decoded");
  }
  return record;
}

}  // namespace mseg
