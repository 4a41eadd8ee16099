// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_STORE_CODEC_H_
#define MSEG_DAEMON_STORE_CODEC_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "daemon/store.h"

namespace mseg {

// How the store's records look on disk (daemon/api/store.capnp) and under which keys. Decoding
// never trusts a byte: what cannot be read is DataLoss. KJ's exceptions end here.

inline constexpr std::string_view kStoreSchema = "1";

inline constexpr std::string_view kSchemaKey = "m/schema";
inline constexpr std::string_view kHostKey = "m/host";
inline constexpr std::string_view kHeadKey = "m/head";
inline constexpr std::string_view kCheckpointKey = "m/checkpoint";
inline constexpr std::string_view kActiveKey = "m/active";
inline constexpr std::string_view kConfirmationKey = "m/confirmation";
inline constexpr std::string_view kPanicKey = "m/panic";
inline constexpr std::string_view kBootKey = "m/boot";
inline constexpr std::string_view kHostRowPrefix = "h/";     // + what store_hosts.h says
inline constexpr std::string_view kRevisionPrefix = "l/";    // + number, 8 bytes big endian
inline constexpr std::string_view kDocumentPrefix = "d/";    // + kind, NUL, name
inline constexpr std::string_view kExecutablePrefix = "x/";  // + mseg_exe_key, 48 bytes
inline constexpr std::string_view kRefPrefix = "y/";         // + hash of (digest, trusted, path)

std::string RevisionKey(uint64_t number);
std::string DocumentKey(std::string_view kind, std::string_view name);
std::string ExecutableKey(const mseg_exe_key& key);
std::string RefKey(const ExecutableInfo& info);

struct BootRecord {
  std::string boot_id;
  uint32_t next_ref = 1;
};

std::string EncodeRevision(const Revision& revision);             // everything but `hash`
absl::StatusOr<Revision> DecodeRevision(std::string_view bytes);  // with `hash`
std::string EncodeDocument(const StoredDocument& document);
absl::StatusOr<StoredDocument> DecodeDocument(std::string_view bytes);
std::string EncodeHead(const Head& head);
absl::StatusOr<Head> DecodeHead(std::string_view bytes);
std::string EncodeActive(const ActiveMark& mark);
absl::StatusOr<ActiveMark> DecodeActive(std::string_view bytes);
std::string EncodeConfirmation(const Confirmation& confirmation);
absl::StatusOr<Confirmation> DecodeConfirmation(std::string_view bytes);
std::string EncodePanic(const Panic& panic);
absl::StatusOr<Panic> DecodePanic(std::string_view bytes);
std::string EncodeExecutable(const ExecutableInfo& info);
// `key`: the record's whole key, which holds the mseg_exe_key.
absl::StatusOr<StoredExecutable> DecodeExecutable(std::string_view key, std::string_view bytes);
std::string EncodeBoot(const BootRecord& boot);
absl::StatusOr<BootRecord> DecodeBoot(std::string_view bytes);
std::string EncodeHost(const StoredHost& host);
absl::StatusOr<StoredHost> DecodeHost(std::string_view bytes);

// BLAKE2b-256 over (previous hash, encoded revision).
ChainHash HashRevision(const ChainHash& previous, std::string_view encoded);

// The state hash is the sum, modulo 2^256, of one BLAKE2b-256 a document, so that an append costs
// what it changes and not what there is. It guards against damage and against mistakes of msegd,
// not against somebody who may write to the store: that one could compute any hash.
ChainHash HashDocument(const StoredDocument& document);
void AddToState(const ChainHash& document, ChainHash* state);
void TakeFromState(const ChainHash& document, ChainHash* state);

}  // namespace mseg

#endif  // MSEG_DAEMON_STORE_CODEC_H_
