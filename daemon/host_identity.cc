// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "labels/text.h"
#include "loader/errno_status.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

constexpr std::string_view kHead = "mseg host key 1\n";
constexpr size_t kHexBytes = 2 * Secret::size();
constexpr size_t kFileBytes = kHead.size() + 2 * (kHexBytes + 1);
constexpr size_t kMaxFile = 512;

// A buffer that is wiped whichever way its function is left.
struct Wiped {
  ~Wiped() { sodium_memzero(bytes, sizeof(bytes)); }
  char bytes[kMaxFile] = {};
  size_t size = 0;
};

// Reads a small file that holds a secret. `what` begins the messages.
absl::Status ReadSecretFile(const std::string& path, std::string_view what, Wiped* to) {
  const ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.ok()) return absl::ErrnoToStatus(errno, Cat(what, ": cannot open ", path));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, Cat(what, ": ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(Cat(what, ": ", path, " is no regular file"));
  }
  if (info.st_uid != 0 && info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(Cat(what, ": ", path, " belongs to user ", info.st_uid,
                                             "; make it root's: chown root ", path));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::FailedPreconditionError(
        Cat(what, ": others may read or change ", path, "; close it: chmod 600 ", path));
  }
  while (to->size < sizeof(to->bytes)) {
    const ssize_t n = read(fd.get(), to->bytes + to->size, sizeof(to->bytes) - to->size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, Cat(what, ": cannot read ", path));
    if (n == 0) break;
    to->size += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

bool FromHex(const char* hex, uint8_t* to, size_t size) {
  size_t done = 0;
  const char* end = nullptr;
  return sodium_hex2bin(to, size, hex, 2 * size, nullptr, &done, &end) == 0 && done == size &&
         end == hex + 2 * size;
}

absl::Status WriteAll(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t n = write(fd, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, "host key: cannot write");
    bytes += n;
    size -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status SyncParent(const std::string& path) {
  const std::string parent = path.substr(0, path.rfind('/'));
  const ScopedFd fd(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok() || fsync(fd.get()) != 0) {
    return absl::ErrnoToStatus(errno, Cat("host key: cannot sync ", parent));
  }
  return absl::OkStatus();
}

}  // namespace

Secret::~Secret() { sodium_memzero(bytes_.data(), bytes_.size()); }
Secret::Secret(Secret&& other) noexcept : bytes_(other.bytes_) {
  sodium_memzero(other.bytes_.data(), other.bytes_.size());
}
Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  sodium_memzero(other.bytes_.data(), other.bytes_.size());
  return *this;
}

absl::Status HostIdentity::Derive() {
  uint8_t secret[crypto_sign_SECRETKEYBYTES];
  const bool ok =
      crypto_sign_seed_keypair(signing_key_.data(), secret, signing_seed_.data()) == 0 &&
      crypto_scalarmult_base(exchange_key_.data(), exchange_secret_.data()) == 0;
  sodium_memzero(secret, sizeof(secret));
  return ok ? absl::OkStatus() : absl::InternalError("host key: libsodium makes no keys of it");
}

absl::StatusOr<HostIdentity> HostIdentity::Generate() {
  if (sodium_init() < 0) return absl::InternalError("host key: libsodium cannot be initialised");
  HostIdentity identity;
  randombytes_buf(identity.signing_seed_.data(), Secret::size());
  randombytes_buf(identity.exchange_secret_.data(), Secret::size());
  MSEG_RETURN_IF_ERROR(identity.Derive());
  return identity;
}

absl::StatusOr<std::optional<HostIdentity>> HostIdentity::Load(const std::string& path) {
  if (sodium_init() < 0) return absl::InternalError("host key: libsodium cannot be initialised");
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::nullopt;
  Wiped file;
  MSEG_RETURN_IF_ERROR(ReadSecretFile(path, "host key", &file));
  HostIdentity identity;
  const char* signing = file.bytes + kHead.size();
  const char* exchange = signing + kHexBytes + 1;
  if (file.size != kFileBytes || std::string_view(file.bytes, kHead.size()) != kHead ||
      !FromHex(signing, identity.signing_seed_.data(), Secret::size()) ||
      !FromHex(exchange, identity.exchange_secret_.data(), Secret::size())) {
    return absl::DataLossError(Cat("host key: ", path,
                                   " is damaged. Restore it from a backup, or remove it and run "
                                   "msegctl host init --replace, after which every other host has "
                                   "to trust this one anew"));
  }
  MSEG_RETURN_IF_ERROR(identity.Derive());
  return std::optional<HostIdentity>(std::move(identity));
}

absl::Status HostIdentity::Save(const std::string& path) const {
  Wiped file;
  std::copy(kHead.begin(), kHead.end(), file.bytes);
  char* at = file.bytes + kHead.size();
  for (const Secret* secret : {&signing_seed_, &exchange_secret_}) {
    sodium_bin2hex(at, kHexBytes + 1, secret->data(), Secret::size());
    at[kHexBytes] = '\n';
    at += kHexBytes + 1;
  }
  const std::string fresh = path + ".new";
  (void)unlink(fresh.c_str());  // of a daemon that was killed here
  {
    const ScopedFd fd(
        open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.ok()) return absl::ErrnoToStatus(errno, Cat("host key: cannot make ", fresh));
    MSEG_RETURN_IF_ERROR(WriteAll(fd.get(), file.bytes, kFileBytes));
    if (fsync(fd.get()) != 0) return absl::ErrnoToStatus(errno, "host key: cannot sync");
  }
  if (rename(fresh.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, Cat("host key: cannot put ", path, " in place"));
  }
  return SyncParent(path);
}

bool HostIdentity::Matches(const HostRecord& record) const {
  return record.signing_key == signing_key_ && record.exchange_key == exchange_key_;
}

Signature HostIdentity::SignatureOf(const std::string& payload) const {
  uint8_t secret[crypto_sign_SECRETKEYBYTES];
  PublicKey ignored;
  Signature signature{};
  // Neither can fail: all sizes are constants.
  (void)crypto_sign_seed_keypair(ignored.data(), secret, signing_seed_.data());
  (void)crypto_sign_detached(signature.data(), nullptr,
                             reinterpret_cast<const uint8_t*>(payload.data()), payload.size(),
                             secret);
  sodium_memzero(secret, sizeof(secret));
  return signature;
}

void HostIdentity::Sign(HostRecord* record) const {
  record->signing_key = signing_key_;
  record->exchange_key = exchange_key_;
  record->signature = SignatureOf(HostRecordPayload(*record));
}

void HostIdentity::Sign(IdentityBundle* bundle) const {
  bundle->signature = SignatureOf(BundlePayload(*bundle));
}

absl::StatusOr<Secret> HostIdentity::Agree(const PublicKey& other) const {
  Secret shared;
  if (crypto_scalarmult(shared.data(), exchange_secret_.data(), other.data()) != 0) {
    return absl::InvalidArgumentError("the exchange key is no X25519 key");
  }
  return shared;
}

absl::StatusOr<Salt> ReadFleetSalt(const std::string& path) {
  Wiped file;
  MSEG_RETURN_IF_ERROR(ReadSecretFile(path, "fleet.salt_file", &file));
  while (file.size > 0 && (file.bytes[file.size - 1] == '\n' || file.bytes[file.size - 1] == ' ')) {
    --file.size;
  }
  Salt salt{};
  if (file.size != 2 * salt.size() || !FromHex(file.bytes, salt.data(), salt.size())) {
    return absl::FailedPreconditionError(
        Cat("fleet.salt_file: ", path,
            " must hold 64 hexadecimal digits and nothing else; make "
            "one with: openssl rand -hex 32"));
  }
  return salt;
}

}  // namespace mseg
