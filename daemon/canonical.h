// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_CANONICAL_H_
#define MSEG_DAEMON_CANONICAL_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace mseg {

// The bytes that a signature is over: numbers big endian, texts and lists behind their length. One
// content has one form, so whoever reads it back and writes it again gets the same bytes.
class CanonicalWriter {
 public:
  explicit CanonicalWriter(std::string_view domain) { Text(domain); }

  void Number(uint64_t value, int bytes = 8) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
      out_.push_back(static_cast<char>(value >> shift));
    }
  }
  void Count(size_t n) { Number(n, 4); }
  void Text(std::string_view text) {
    Count(text.size());
    out_.append(text);
  }
  template <size_t N>
  void Bytes(const std::array<uint8_t, N>& bytes) {
    out_.append(reinterpret_cast<const char*>(bytes.data()), N);
  }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads the same. After the first thing that does not fit everything reads as zero, and Done() is
// false.
class CanonicalReader {
 public:
  CanonicalReader(std::string_view bytes, std::string_view domain) : rest_(bytes) {
    if (Text() != domain) failed_ = true;
  }

  uint64_t Number(int bytes = 8) {
    uint64_t value = 0;
    for (const char c : Cut(static_cast<size_t>(bytes))) {
      value = value << 8 | static_cast<uint8_t>(c);
    }
    return value;
  }
  // Of a list whose items take at least `least` bytes each: no more than can be there.
  size_t Count(size_t least) {
    const size_t n = Number(4);
    if (n * least > rest_.size()) failed_ = true;
    return failed_ ? 0 : n;
  }
  std::string Text() { return std::string(Cut(Number(4))); }
  template <size_t N>
  std::array<uint8_t, N> Bytes() {
    std::array<uint8_t, N> bytes{};
    const std::string_view from = Cut(N);
    for (size_t i = 0; i < from.size(); ++i) bytes[i] = static_cast<uint8_t>(from[i]);
    return bytes;
  }
  bool Done() const { return !failed_ && rest_.empty(); }

 private:
  std::string_view Cut(size_t n) {
    if (failed_ || n > rest_.size()) {
      failed_ = true;
      return {};
    }
    const std::string_view part = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return part;
  }

  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_CANONICAL_H_
