// SPDX-License-Identifier: Apache-2.0
// Hosts, and what their ids mean.
#include "daemon/api/convert.h"
#include "daemon/api/convert_text.h"

namespace mseg::wire {
namespace {

unsigned SizeOf(const std::vector<std::string>& texts) {
  return static_cast<unsigned>(texts.size());
}

}  // namespace

void Write(const api::Host& from, Host::Builder to) {
  to.setOwn(from.own);
  to.setId(from.id);
  to.setName(ToText(from.name));
  WriteTexts(from.addresses, to.initAddresses(SizeOf(from.addresses)));
  WriteTexts(from.claims, to.initClaims(SizeOf(from.claims)));
  WriteTexts(from.limits, to.initLimits(SizeOf(from.limits)));
  to.setSigningKey(ToText(from.signing_key));
  to.setExchangeKey(ToText(from.exchange_key));
  to.setIssuedUs(from.issued_us);
  to.setTrustedAtUs(from.trusted_at_us);
  to.setAuthor(ToText(from.author));
  to.setHasUid(from.uid.has_value());
  to.setUid(from.uid.value_or(0));
  to.setUser(ToText(from.user));
  to.setSequence(from.sequence);
  to.setRecordsIssuedUs(from.records_issued_us);
  to.setLabels(from.labels);
  to.setExecutables(from.executables);
  to.setPairs(from.pairs);
  to.setRecord(ToText(from.record));
}

api::Host Read(Host::Reader from) {
  api::Host to;
  to.own = from.getOwn();
  to.id = from.getId();
  to.name = FromText(from.getName());
  to.addresses = ReadTexts(from.getAddresses());
  to.claims = ReadTexts(from.getClaims());
  to.limits = ReadTexts(from.getLimits());
  to.signing_key = FromText(from.getSigningKey());
  to.exchange_key = FromText(from.getExchangeKey());
  to.issued_us = from.getIssuedUs();
  to.trusted_at_us = from.getTrustedAtUs();
  to.author = FromText(from.getAuthor());
  if (from.getHasUid()) to.uid = from.getUid();
  to.user = FromText(from.getUser());
  to.sequence = from.getSequence();
  to.records_issued_us = from.getRecordsIssuedUs();
  to.labels = from.getLabels();
  to.executables = from.getExecutables();
  to.pairs = from.getPairs();
  to.record = FromText(from.getRecord());
  return to;
}

void Write(const api::HostInit& from, HostInit::Builder to) {
  to.setId(from.id);
  to.setName(ToText(from.name));
  WriteTexts(from.addresses, to.initAddresses(SizeOf(from.addresses)));
  WriteTexts(from.claims, to.initClaims(SizeOf(from.claims)));
  to.setReplace(from.replace);
  to.setAuthor(ToText(from.author));
}

api::HostInit Read(HostInit::Reader from) {
  return {.id = from.getId(),
          .name = FromText(from.getName()),
          .addresses = ReadTexts(from.getAddresses()),
          .claims = ReadTexts(from.getClaims()),
          .replace = from.getReplace(),
          .author = FromText(from.getAuthor()),
          .caller = {}};
}

void Write(const api::HostTrust& from, HostTrust::Builder to) {
  Write(from.file, to.initFile());
  WriteTexts(from.limits, to.initLimits(SizeOf(from.limits)));
  to.setReplace(from.replace);
  to.setAuthor(ToText(from.author));
}

api::HostTrust Read(HostTrust::Reader from) {
  return {.file = Read(from.getFile()),
          .limits = ReadTexts(from.getLimits()),
          .replace = from.getReplace(),
          .author = FromText(from.getAuthor()),
          .caller = {}};
}

void Write(const api::HostDistrust& from, HostDistrust::Builder to) {
  to.setTarget(ToText(from.target));
  to.setAuthor(ToText(from.author));
}

api::HostDistrust Read(HostDistrust::Reader from) {
  return {.target = FromText(from.getTarget()), .author = FromText(from.getAuthor()), .caller = {}};
}

void Write(const api::RecordImport& from, RecordImport::Builder to) {
  WriteList(from.files, [&](unsigned n) { return to.initFiles(n); });
  to.setAuthor(ToText(from.author));
}

api::RecordImport Read(RecordImport::Reader from) {
  return {.files = ReadList<api::PolicyFile>(from.getFiles()),
          .author = FromText(from.getAuthor()),
          .caller = {}};
}

void Write(const api::RecordImported& from, RecordImported::Builder to) {
  to.setFile(ToText(from.file));
  to.setAction(ToText(from.action));
  Write(from.host, to.initHost());
}

api::RecordImported Read(RecordImported::Reader from) {
  return {.file = FromText(from.getFile()),
          .action = FromText(from.getAction()),
          .host = Read(from.getHost())};
}

void Write(const api::IdentityRecord& from, IdentityRecord::Builder to) {
  to.setHostId(from.host_id);
  to.setHostName(ToText(from.host_name));
  to.setKind(ToText(from.kind));
  to.setId(from.id);
  WriteLabels(from.labels, to.initLabels(static_cast<unsigned>(from.labels.size())));
  to.setPermitted(from.permitted);
  to.setDigest(ToText(from.digest));
  to.setScript(ToText(from.script));
  to.setPath(ToData(from.path));
  to.setPackage(ToText(from.package));
  to.setTrustedPath(from.trusted_path);
  WriteTexts(from.aliases, to.initAliases(SizeOf(from.aliases)));
}

api::IdentityRecord Read(IdentityRecord::Reader from) {
  return {.host_id = from.getHostId(),
          .host_name = FromText(from.getHostName()),
          .kind = FromText(from.getKind()),
          .id = from.getId(),
          .labels = ReadLabels(from.getLabels()),
          .permitted = from.getPermitted(),
          .digest = FromText(from.getDigest()),
          .script = FromText(from.getScript()),
          .path = FromData(from.getPath()),
          .package = FromText(from.getPackage()),
          .trusted_path = from.getTrustedPath(),
          .aliases = ReadTexts(from.getAliases())};
}

}  // namespace mseg::wire
