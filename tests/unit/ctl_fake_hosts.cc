// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "ctl_fake_service.h"

namespace mseg {
namespace {

api::Host Own() {
  api::Host host;
  host.own = true;
  host.id = 7;
  host.name = "web-1";
  host.addresses = {"10.0.0.7", "2001:db8::7"};
  host.claims = {"env=prod,app=order", "env=test"};
  host.signing_key = std::string(64, 'a');
  host.exchange_key = std::string(64, 'b');
  host.issued_us = kStartUs;
  host.labels = 3;
  host.executables = 12;
  host.pairs = 39;
  host.record = "{\n  \"kind\": \"mseg.io/HostRecord\",\n  \"id\": 7\n}\n";
  return host;
}

api::Host Other() {
  api::Host host = Own();
  host.own = false;
  host.id = 8;
  host.name = "数据库-1";
  host.addresses = {"10.0.0.8"};
  host.claims = {"env=prod"};
  host.limits = {"app=order"};
  host.signing_key = std::string(64, 'c');
  host.trusted_at_us = kStartUs + 60000000;
  host.author = "alice";
  host.uid = 0;
  host.user = "root";
  host.sequence = 1767323045000001;
  host.records_issued_us = kStartUs + 1;
  host.record = "{}";
  return host;
}

}  // namespace

absl::StatusOr<std::vector<api::Host>> FakeService::ListHosts() {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  if (!has_identity) return std::vector<api::Host>();
  return std::vector<api::Host>{Own(), Other()};
}

absl::StatusOr<api::Host> FakeService::InitHost(const api::HostInit& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_init = request;
  api::Host host = Own();
  host.id = request.id;
  if (!request.name.empty()) host.name = request.name;
  host.addresses = request.addresses;
  host.claims = request.claims;
  return host;
}

absl::StatusOr<api::Host> FakeService::TrustHost(const api::HostTrust& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_trust = request;
  api::Host host = Other();
  host.limits = request.limits;
  host.sequence = 0;
  return host;
}

absl::StatusOr<api::Host> FakeService::DistrustHost(const api::HostDistrust& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  if (request.target == Other().name || request.target == "8") return Other();
  return absl::NotFoundError(absl::StrCat("no trusted host is called ", request.target));
}

absl::StatusOr<std::string> FakeService::ExportRecords() {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  return std::string("{\"kind\": \"mseg.io/IdentityRecords\"}\n");
}

absl::StatusOr<std::vector<api::RecordImported>> FakeService::ImportRecords(
    const api::RecordImport& request) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  last_import = request;
  std::vector<api::RecordImported> imported;
  for (const api::PolicyFile& file : request.files) {
    imported.push_back({.file = file.name,
                        .action = imported.empty() ? "imported" : "unchanged",
                        .host = Other()});
  }
  return imported;
}

absl::StatusOr<std::vector<api::IdentityRecord>> FakeService::ListRecords(const std::string& host) {
  absl::Status entered = Enter();
  if (!entered.ok()) return entered;
  if (host == "9") return absl::NotFoundError("no trusted host is called 9");
  if (host == "8") return std::vector<api::IdentityRecord>();
  api::IdentityRecord label;
  label.host_id = 7;
  label.host_name = "web-1";
  api::IdentityRecord executable = label;
  label.kind = "label";
  label.id = 0xba0987654321;
  label.labels = {{"env", "prod"}, {"role", "web"}};
  label.permitted = true;
  api::IdentityRecord none = label;
  none.id = 1;
  none.labels.clear();
  none.permitted = false;
  executable.kind = "executable";
  executable.id = 0x1234567890ab;
  executable.digest = absl::StrCat("sha256:", std::string(64, '9'));
  executable.path = "/usr/bin/curl";
  executable.trusted_path = true;
  executable.aliases = {"/bin/curl"};
  return std::vector<api::IdentityRecord>{label, none, executable};
}

}  // namespace mseg
