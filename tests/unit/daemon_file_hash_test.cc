// SPDX-License-Identifier: Apache-2.0
#include "daemon/file_hash.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "loader/scoped_fd.h"
#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

ScopedFd OpenForReading(const std::string& path) {
  ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(fd.ok());
  return fd;
}

std::string Hex(const Digest& digest) {
  std::string text;
  for (const uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

TEST_CASE("a file's digest is the SHA-256 of its content, whatever the descriptor's offset") {
  const TempDir dir;
  WriteText(dir / "empty", "");
  WriteText(dir / "abc", "abc");
  WriteText(dir / "chunks", std::string(1000000, 'a'));
  const auto digest = [&](const std::string& name) {
    const ScopedFd fd = OpenForReading(dir / name);
    lseek(fd.get(), 1, SEEK_SET);
    const auto hash = HashFile(fd.get());
    REQUIRE(hash.ok());
    return Hex(hash->digest);
  };
  // FIPS 180-4's examples.
  CHECK(digest("empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest("chunks") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("a file that changes while it is read has no digest") {
  const TempDir dir;
  const std::string path = dir / "file";
  WriteText(path, std::string(32 << 20, 'a'));
  const ScopedFd fd = OpenForReading(path);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    const int out = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    for (char c = 0; !stop; ++c) {
      if (pwrite(out, &c, 1, 31 << 20) != 1) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    close(out);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  // On a busy machine the writer may sleep through a whole reading: then the digest is right.
  auto changed = HashFile(fd.get());
  for (int tries = 0; changed.ok() && tries < 100; ++tries) changed = HashFile(fd.get());
  stop = true;
  writer.join();
  CHECK(absl::IsAborted(changed.status()));
  CHECK(HashFile(fd.get()).ok());  // the twin: left alone, it has one
}

TEST_CASE("a file that shrinks or grows while it is read has no digest") {
  const TempDir dir;
  constexpr off_t kSize = off_t{48} << 20;
  const off_t other = GENERATE(off_t{1} << 20, off_t{64} << 20);
  WriteText(dir / "file", "");
  const ScopedFd fd = OpenForReading(dir / "file");
  bool aborted = false;
  // Whether the change meets the reading is the scheduler's business; what it gives is ours.
  for (int tries = 0; !aborted && tries < 100; ++tries) {
    REQUIRE(truncate((dir / "file").c_str(), kSize) == 0);
    std::thread changer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (truncate((dir / "file").c_str(), other) != 0) abort();
    });
    const auto hash = HashFile(fd.get());
    changer.join();
    aborted = absl::IsAborted(hash.status());
    if (aborted) continue;
    REQUIRE(hash.ok());
    const auto size = static_cast<off_t>(hash->stamp.size);
    REQUIRE((size == kSize || size == other));
  }
  CHECK(aborted);
  CHECK(HashFile(fd.get())->stamp.size == static_cast<uint64_t>(other));
}

TEST_CASE("what is too large or no regular file is refused") {
  const TempDir dir;
  WriteText(dir / "file", "0123456789");
  const ScopedFd file = OpenForReading(dir / "file");
  CHECK(absl::IsResourceExhausted(HashFile(file.get(), {.max_bytes = 9}).status()));
  CHECK(HashFile(file.get(), {.max_bytes = 10}).ok());
  const ScopedFd directory = OpenForReading(dir.path());
  CHECK(absl::IsInvalidArgument(HashFile(directory.get()).status()));
  CHECK_FALSE(HashFile(-1).ok());
}

TEST_CASE("a ctime settles when the coarse clock has passed it") {
  const absl::Duration tick = absl::Milliseconds(4);
  const timespec now{.tv_sec = 1000, .tv_nsec = 500000000};
  const auto wait = [&](time_t sec, long nsec) {
    return SettleWaitAt({.tv_sec = sec, .tv_nsec = nsec}, now, tick);
  };
  CHECK(wait(1000, 499999999) == absl::ZeroDuration());
  CHECK(wait(1000, 500000000) == tick);  // this very tick: another change would not show
  CHECK(wait(1000, 501000000) == tick + absl::Milliseconds(1));  // a fine-grained stamp
  CHECK(wait(999, 999999999) == absl::ZeroDuration());
  // A file system that stores seconds.
  CHECK(wait(1000, 0) == absl::Milliseconds(500) - absl::Nanoseconds(1) + tick);
  CHECK(wait(999, 0) == absl::ZeroDuration());
  // A clock that was set back.
  CHECK(wait(2000, 500000000) == absl::Seconds(1000) + tick);
}

TEST_CASE("after the wait a file's digest is settled") {
  const TempDir dir;
  WriteText(dir / "file", "fresh");
  const ScopedFd fd = OpenForReading(dir / "file");
  const absl::Duration wait = SettleWait(StampFile(fd.get())->ctime);
  CHECK(wait <= absl::Milliseconds(1100));
  absl::SleepFor(wait);
  CHECK(HashFile(fd.get())->settled);
}

}  // namespace
}  // namespace mseg::testing
