// SPDX-License-Identifier: Apache-2.0
#include "labels/label.h"

#include <sodium.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr size_t kMaxKey = 330;
constexpr size_t kMaxValue = 253;
constexpr std::string_view kReservedPrefix = "mseg/";
constexpr std::string_view kFirstClass[] = {"loc", "env", "app", "role"};

// What would make a label ambiguous where labels are written in one line: `k=v,k=v;exe=...`, the
// sentence forms, and shells.
constexpr std::string_view kForbidden = "=,;|\"'`\\#{}[]()<>";

absl::Status CheckWord(std::string_view what, std::string_view word, size_t longest) {
  if (word.size() > longest) {
    return absl::InvalidArgumentError(
        Cat(what, " is ", word.size(), " bytes long; at most ", longest, " are allowed"));
  }
  if (word == "*") {
    return absl::InvalidArgumentError(Cat(what, " must not be `*`"));
  }
  std::string_view rest = word;
  while (!rest.empty()) {
    const std::string_view before = rest;
    const std::optional<char32_t> character = TakeCharacter(&rest);
    if (!character) return absl::InvalidArgumentError(Cat(what, " is not UTF-8"));
    if (IsControl(*character) || IsSpace(*character)) {
      return absl::InvalidArgumentError(Cat(what, " must not hold spaces or control characters"));
    }
    if (*character < 0x80 && Contains(kForbidden, static_cast<char>(*character))) {
      return absl::InvalidArgumentError(Cat(what, " must not hold `", before.substr(0, 1), "`"));
    }
  }
  return CheckComposed(what, word);
}

uint64_t ShortHash(const Salt& salt, const uint8_t* data, size_t size) {
  std::array<uint8_t, crypto_generichash_blake2b_BYTES_MIN> hash{};
  static_assert(crypto_generichash_blake2b_BYTES_MIN >= 6);
  // Cannot fail: all sizes are constants within BLAKE2b's limits.
  (void)crypto_generichash_blake2b(hash.data(), hash.size(), data, size, salt.data(), salt.size());
  uint64_t id = 0;
  for (size_t i = 0; i < 6; ++i) id = (id << 8) | hash[i];
  return id == 0 ? 1 : id;  // 0 means "not known" in every table
}

}  // namespace

absl::Status CheckLabelKey(std::string_view key) {
  if (key.empty()) return absl::InvalidArgumentError("label key is empty");
  return CheckWord("label key", key, kMaxKey);
}
absl::Status CheckLabelValue(std::string_view value) {
  return CheckWord("label value", value, kMaxValue);
}

absl::Status LabelSet::Set(std::string_view key, std::string_view value) {
  if (absl::Status status = CheckLabelKey(key); !status.ok()) return status;
  if (key.starts_with(kReservedPrefix)) {
    return absl::InvalidArgumentError(
        Cat("label key `", key, "` is reserved: only mseg gives labels under `mseg/`"));
  }
  if (absl::Status status = CheckLabelValue(value); !status.ok()) return status;
  values_.insert_or_assign(std::string(key), std::string(value));
  return absl::OkStatus();
}

void LabelSet::SetReserved(std::string_view key, std::string_view value) {
  values_.insert_or_assign(std::string(key), std::string(value));
}

std::string LabelSet::Text() const {
  std::string out;
  auto append = [&out](std::string_view key, std::string_view value) {
    Append(&out, out.empty() ? "" : ",", key, "=", value);
  };
  for (std::string_view key : kFirstClass) {
    if (auto it = values_.find(key); it != values_.end()) append(it->first, it->second);
  }
  for (const auto& [key, value] : values_) {
    if (std::find(std::begin(kFirstClass), std::end(kFirstClass), key) == std::end(kFirstClass)) {
      append(key, value);
    }
  }
  return out;
}

uint64_t LabelId(const Salt& salt, const LabelSet& labels) {
  const std::string text = labels.Text();
  return ShortHash(salt, reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

uint64_t ExecutableId(const Salt& salt, const Digest& exe, const Digest& script) {
  std::array<uint8_t, sizeof(Digest) * 2> both{};
  std::copy(exe.begin(), exe.end(), both.begin());
  std::copy(script.begin(), script.end(), both.begin() + exe.size());
  return ShortHash(salt, both.data(), both.size());
}

std::string DigestText(const Digest& digest) {
  return Cat("sha256:", absl::BytesToHexString(absl::string_view(
                            reinterpret_cast<const char*>(digest.data()), digest.size())));
}

absl::StatusOr<Digest> ParseDigest(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  Digest digest{};
  const std::string_view hex = text.substr(std::min(text.size(), kPrefix.size()));
  const bool well_formed = text.starts_with(kPrefix) && hex.size() == 2 * digest.size() &&
                           hex.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!well_formed) {
    return absl::InvalidArgumentError(
        "a digest is `sha256:` and 64 hexadecimal digits in lower case");
  }
  const std::string bytes = absl::HexStringToBytes(ToAbsl(hex));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(digest.data()));
  return digest;
}

}  // namespace mseg
