// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_MAP_VIEW_H_
#define MSEG_LOADER_MAP_VIEW_H_

#include <bpf/bpf.h>

#include <optional>
#include "absl/strings/string_view.h"
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "loader/errno_status.h"

namespace mseg {

// A kernel map with the types of its declaration in maps.bpf.h. Does not own the descriptor. Every
// call is one or more system calls; errors name the map.
template <typename Key, typename Value>
class MapView {
 public:
  MapView() = default;
  MapView(int fd, absl::string_view name) : fd_(fd), name_(name) {}

  int fd() const { return fd_; }

  absl::StatusOr<std::optional<Value>> Lookup(const Key& key) const {
    Value value{};
    if (bpf_map_lookup_elem(fd_, &key, &value) == 0) return std::optional<Value>(value);
    if (errno == ENOENT) return std::optional<Value>();
    return ErrnoStatus(errno, absl::StrCat("look up in map ", name_));
  }

  // flags: BPF_ANY, BPF_NOEXIST, BPF_EXIST.
  absl::Status Update(const Key& key, const Value& value, uint64_t flags = BPF_ANY) const {
    if (bpf_map_update_elem(fd_, &key, &value, flags) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("write to map ", name_));
  }

  // A key that is not there is no error.
  absl::Status Delete(const Key& key) const {
    if (bpf_map_delete_elem(fd_, &key) == 0 || errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("delete from map ", name_));
  }

  absl::Status UpdateAll(absl::Span<const std::pair<Key, Value>> entries) const {
    std::vector<Key> keys;
    std::vector<Value> values;
    for (size_t at = 0; at < entries.size(); at += kBatch) {
      const auto part = entries.subspan(at, kBatch);
      keys.clear();
      values.clear();
      for (const auto& [key, value] : part) {
        keys.push_back(key);
        values.push_back(value);
      }
      uint32_t count = static_cast<uint32_t>(keys.size());
      if (bpf_map_update_batch(fd_, keys.data(), values.data(), &count, nullptr) != 0) {
        return ErrnoStatus(errno,
                           absl::StrCat("write ", entries.size(), " entries to map ", name_));
      }
    }
    return absl::OkStatus();
  }

  // All entries. One that comes or goes meanwhile may or may not be among them.
  absl::StatusOr<std::vector<std::pair<Key, Value>>> Dump() const {
    std::vector<std::pair<Key, Value>> out;
    std::vector<Key> keys(kBatch);
    std::vector<Value> values(kBatch);
    alignas(8) unsigned char place[sizeof(Key) < 8 ? 8 : sizeof(Key)] = {};
    for (bool first = true;; first = false) {
      uint32_t count = kBatch;
      const int error = bpf_map_lookup_batch(fd_, first ? nullptr : place, place, keys.data(),
                                             values.data(), &count, nullptr) == 0
                            ? 0
                            : errno;
      // A bucket longer than a batch, or a map of a type that has no batches.
      if (error != 0 && error != ENOENT) return DumpOneByOne();
      for (uint32_t i = 0; i < count; i++) out.emplace_back(keys[i], values[i]);
      if (error == ENOENT) return out;
    }
  }

 private:
  static constexpr size_t kBatch = 8192;

  absl::StatusOr<std::vector<std::pair<Key, Value>>> DumpOneByOne() const {
    std::vector<std::pair<Key, Value>> out;
    Key key{}, next{};
    Value value{};
    for (const Key* at = nullptr; bpf_map_get_next_key(fd_, at, &next) == 0;) {
      if (bpf_map_lookup_elem(fd_, &next, &value) == 0) out.emplace_back(next, value);
      key = next;
      at = &key;
    }
    if (errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("read map ", name_));
    return out;
  }

  int fd_ = -1;
  absl::string_view name_;  // of static storage
};

}  // namespace mseg

#endif  // MSEG_LOADER_MAP_VIEW_H_
