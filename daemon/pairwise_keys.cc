// SPDX-License-Identifier: Apache-2.0
#include "daemon/pairwise_keys.h"

#include <sodium.h>

#include <utility>

#include "daemon/canonical.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

static_assert(crypto_generichash_BYTES_MIN <= 16 && crypto_generichash_BYTES_MAX >= 32);

// BLAKE2b of at most 32 bytes; sizes are constants, so it cannot fail.
void Hash(const Secret& key, const std::string& message, uint8_t* to, size_t size) {
  (void)crypto_generichash(to, size, reinterpret_cast<const uint8_t*>(message.data()),
                           message.size(), key.data(), Secret::size());
}

uint64_t LittleEndian(const uint8_t* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

PairwiseKeys::PairwiseKeys(const HostIdentity& identity, uint32_t own_id)
    : identity_(identity), own_id_(own_id) {}

absl::Status PairwiseKeys::Add(uint32_t host_id, const PublicKey& exchange_key) {
  if (const auto it = pairs_.find(host_id);
      it != pairs_.end() && it->second.exchange_key == exchange_key) {
    return absl::OkStatus();  // the dear part is there already
  }
  auto shared = identity_.Agree(exchange_key);
  if (!shared.ok()) return shared.status();
  const PublicKey& own_key = identity_.exchange_key();
  const bool own_first = std::pair(own_id_, own_key) <= std::pair(host_id, exchange_key);
  CanonicalWriter context("mseg pairwise key v1");
  context.Number(own_first ? own_id_ : host_id, 4);
  context.Number(own_first ? host_id : own_id_, 4);
  context.Bytes(own_first ? own_key : exchange_key);
  context.Bytes(own_first ? exchange_key : own_key);
  Pair pair;
  pair.exchange_key = exchange_key;
  Hash(*shared, context.Take(), pair.secret.data(), Secret::size());
  pairs_.insert_or_assign(host_id, std::move(pair));
  return absl::OkStatus();
}

void PairwiseKeys::KeepOnly(const std::set<uint32_t>& host_ids) {
  std::erase_if(pairs_, [&](const auto& pair) { return !host_ids.contains(pair.first); });
}

void PairwiseKeys::Fill(const Secret& pair, uint64_t now, mseg_host_keys* keys) {
  for (uint64_t slot = now - 1; slot != now + MSEG_EPOCHS - 1; ++slot) {
    CanonicalWriter message("mseg slot key v1");
    message.Number(slot);
    uint8_t key[16];
    Hash(pair, message.Take(), key, sizeof(key));
    keys->key[slot % MSEG_EPOCHS][0] = LittleEndian(key);
    keys->key[slot % MSEG_EPOCHS][1] = LittleEndian(key + 8);
    sodium_memzero(key, sizeof(key));
  }
}

void PairwiseKeys::Wipe(mseg_host_keys* keys) { sodium_memzero(keys, sizeof(*keys)); }

}  // namespace mseg
