// SPDX-License-Identifier: Apache-2.0
// Host records and identity records, as text and as bytes: what is read is written again as it was,
// and nothing is accepted that nobody signed.
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>

#include <string>
#include <string_view>

#include "daemon/host_record.h"
#include "daemon/identity_bundle.h"

namespace mseg {
namespace {

void Require(bool condition) {
  if (!condition) abort();
}

// Nobody has the private half; a bundle that passes was forged.
constexpr PublicKey kNobody = {1, 2, 3};

void RunHost(const absl::StatusOr<HostRecord>& record) {
  if (!record.ok()) return Require(!record.status().message().empty());
  const auto from_bytes = DecodeHostRecord(EncodeHostRecord(*record));
  Require(from_bytes.ok() && *from_bytes == *record);
  if (!VerifyHostRecord(*record).ok()) return;
  const auto from_text = ReadHostRecord(HostRecordText(*record), "fuzz");
  Require(from_text.ok() && *from_text == *record);
}

void RunBundle(const absl::StatusOr<IdentityBundle>& bundle) {
  if (!bundle.ok()) return Require(!bundle.status().message().empty());
  const auto from_bytes = DecodeBundle(EncodeBundle(*bundle));
  Require(from_bytes.ok() && *from_bytes == *bundle);
  Require(!VerifyBundle(*bundle, kNobody, Salt{}).ok());
}

void RunOne(std::string_view input) {
  RunHost(ReadHostRecord(input, "fuzz"));
  RunHost(DecodeHostRecord(input));
  RunBundle(ReadBundle(input, "fuzz"));
  RunBundle(DecodeBundle(input));
}

}  // namespace
}  // namespace mseg

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (sodium_init() < 0) abort();
  mseg::RunOne(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
