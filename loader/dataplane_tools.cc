// SPDX-License-Identifier: Apache-2.0
// What the daemon runs in the kernel by hand: walks, explain, counters.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "loader/dataplane.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

// Runs an iterator to its end and returns what it wrote. `tid`: only this thread; 0: everything.
absl::StatusOr<std::string> RunIterator(int program, uint32_t tid, absl::string_view what) {
  bpf_iter_link_info info{};
  LIBBPF_OPTS(bpf_link_create_opts, options);
  if (tid != 0) {
    info.task.tid = tid;
    options.iter_info = &info;
    options.iter_info_len = sizeof(info);
  }
  const ScopedFd link(bpf_link_create(program, 0, BPF_TRACE_ITER, &options));
  if (!link.ok()) return ErrnoStatus(errno, absl::StrCat("start the walk over ", what));
  const ScopedFd iterator(bpf_iter_create(link.get()));
  if (!iterator.ok()) return ErrnoStatus(errno, absl::StrCat("start the walk over ", what));
  std::string out;
  std::vector<char> buffer(65536);
  for (;;) {
    const ssize_t n = read(iterator.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return ErrnoStatus(errno, absl::StrCat("walk over ", what));
    if (n == 0) return out;
    out.append(buffer.data(), static_cast<size_t>(n));
  }
}

}  // namespace

absl::Status Dataplane::AdoptTasks() const {
  return RunIterator(programs_[ProgramIndex("mseg_adopt_tasks")].get(), 0, "processes").status();
}

absl::Status Dataplane::AdoptListeners() const {
  return RunIterator(programs_[ProgramIndex("mseg_adopt_listeners")].get(), 0, "listeners")
      .status();
}

absl::StatusOr<std::map<int, mseg_exe_key>> Dataplane::FileKeys() const {
  // One thread is enough: all share the descriptors.
  auto bytes = RunIterator(programs_[ProgramIndex("mseg_file_keys")].get(),
                           static_cast<uint32_t>(getpid()), "open files");
  if (!bytes.ok()) return bytes.status();
  std::map<int, mseg_exe_key> keys;
  for (size_t at = 0; at + sizeof(mseg_file_record) <= bytes->size();
       at += sizeof(mseg_file_record)) {
    mseg_file_record record;
    std::memcpy(&record, bytes->data() + at, sizeof(record));
    keys.emplace(static_cast<int>(record.fd), record.key);
  }
  return keys;
}

absl::StatusOr<std::vector<mseg_socket_record>> Dataplane::OpenSockets() const {
  auto bytes =
      RunIterator(programs_[ProgramIndex("mseg_walk_sockets")].get(), 0, "open connections");
  if (!bytes.ok()) return bytes.status();
  std::vector<mseg_socket_record> records(bytes->size() / sizeof(mseg_socket_record));
  if (!records.empty()) {
    std::memcpy(records.data(), bytes->data(), records.size() * sizeof(mseg_socket_record));
  }
  return records;
}

namespace {

// The slot of a socket, if it is this socket's. A slot may be written while it is copied: two
// copies that agree were not.
template <typename Slot>
absl::StatusOr<std::optional<Slot>> SlotOf(uint64_t cookie, const MapView<uint32_t, Slot>& slots,
                                           uint64_t count) {
  const uint32_t index = static_cast<uint32_t>(cookie & (count - 1));
  for (int attempt = 0; attempt < 8; attempt++) {
    auto one = slots.Lookup(index);
    if (!one.ok()) return one.status();
    auto two = slots.Lookup(index);
    if (!two.ok()) return two.status();
    if (!one->has_value() || !two->has_value() ||
        std::memcmp(&**one, &**two, sizeof(Slot)) != 0) {
      continue;
    }
    if ((*one)->cookie != cookie) break;
    return *one;
  }
  return std::optional<Slot>();
}

}  // namespace

absl::StatusOr<uint32_t> Dataplane::OwnedSockets() {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return ErrnoStatus(cpus, "count processors");
  const uint32_t in_hand = static_cast<uint32_t>(cpus) * MSEG_COOKIE_BATCH;
  return std::max<uint32_t>(MSEG_SLOTS_MIN, std::bit_ceil(2 * in_hand));
}

absl::StatusOr<std::optional<mseg_identity>> Dataplane::SocketOwner(uint64_t cookie) const {
  const auto count = OwnedSockets();
  if (!count.ok()) return count.status();
  auto slot = SlotOf(cookie, View<uint32_t, mseg_slot>("mseg_slots"), *count);
  if (!slot.ok()) return slot.status();
  if (!slot->has_value()) return std::optional<mseg_identity>();
  return std::optional<mseg_identity>((*slot)->owner);
}

absl::StatusOr<std::optional<mseg_identity>> Dataplane::Peer(uint64_t cookie) const {
  auto slot = SlotOf(cookie, View<uint32_t, mseg_peer_slot>("mseg_peer_slots"), MSEG_PEER_SLOTS);
  if (!slot.ok()) return slot.status();
  if (slot->has_value()) return std::optional<mseg_identity>((*slot)->peer);
  return View<uint64_t, mseg_identity>("mseg_peers").Lookup(cookie);
}

absl::StatusOr<std::vector<uint64_t>> Dataplane::PeerCookies() const {
  std::vector<uint64_t> cookies;
  auto elsewhere = View<uint64_t, mseg_identity>("mseg_peers").Dump();
  if (!elsewhere.ok()) return elsewhere.status();
  for (const auto& [cookie, peer] : *elsewhere) cookies.push_back(cookie);
  auto slots = View<uint32_t, mseg_peer_slot>("mseg_peer_slots").Dump();
  if (!slots.ok()) return slots.status();
  for (const auto& [index, slot] : *slots) {
    if (slot.cookie != MSEG_PEER_SLOT_FREE && slot.cookie != MSEG_COOKIE_BUSY) {
      cookies.push_back(slot.cookie);
    }
  }
  return cookies;
}

// Nobody else writes to the slot of a socket that is gone: the kernel would, when it is released.
absl::Status Dataplane::ForgetPeer(uint64_t cookie) const {
  const auto slots = View<uint32_t, mseg_peer_slot>("mseg_peer_slots");
  auto slot = SlotOf(cookie, slots, MSEG_PEER_SLOTS);
  if (!slot.ok()) return slot.status();
  if (slot->has_value()) {
    return slots.Update(static_cast<uint32_t>(cookie & (MSEG_PEER_SLOTS - 1)), mseg_peer_slot{});
  }
  return View<uint64_t, mseg_identity>("mseg_peers").Delete(cookie);
}

absl::Status Dataplane::RunTool(const char* program, void* args, uint32_t size) const {
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.ctx_in = args;
  options.ctx_size_in = size;
  // The result comes back in ctx_in: programs of this type refuse a ctx_out.
  if (bpf_prog_test_run_opts(programs_[ProgramIndex(program)].get(), &options) != 0) {
    return ErrnoStatus(errno, absl::StrCat("run ", program));
  }
  return absl::OkStatus();
}

absl::Status Dataplane::Explain(mseg_explain* args) const {
  return RunTool("mseg_explain", args, sizeof(*args));
}

absl::Status Dataplane::CollectFlows() const {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return ErrnoStatus(cpus, "count processors");
  mseg_collect args{.processors = static_cast<uint32_t>(cpus)};
  return RunTool("mseg_collect_flows", &args, sizeof(args));
}

absl::StatusOr<std::array<uint64_t, MSEG_CNT_MAX>> Dataplane::Counters() const {
  std::array<uint64_t, MSEG_CNT_MAX> sums{};
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return ErrnoStatus(cpus, "count processors");
  std::vector<uint64_t> values(static_cast<size_t>(cpus));
  for (uint32_t i = 0; i < MSEG_CNT_MAX; i++) {
    if (bpf_map_lookup_elem(MapFd("mseg_counters"), &i, values.data()) != 0) {
      return ErrnoStatus(errno, "read map mseg_counters");
    }
    for (uint64_t value : values) sums[i] += value;
  }
  return sums;
}

absl::Status Dataplane::CountQuarantine() const {
  const auto use = View<uint32_t, uint64_t>("mseg_quarantine_use");
  const auto put = use.Lookup(MSEG_QUARANTINE_PUT);
  if (!put.ok()) return put.status();
  if (put->value_or(0) == 0) return absl::OkStatus();
  const int fd = MapFd("mseg_quarantine");
  uint64_t cookie = 0, next = 0, there = 0;
  for (bool first = true; bpf_map_get_next_key(fd, first ? nullptr : &cookie, &next) == 0;
       first = false) {
    // A socket that went meanwhile makes the walk start again.
    if (there++ >= MSEG_QUARANTINE_PLACES) break;
    cookie = next;
  }
  return use.Update(MSEG_QUARANTINE_GONE, **put - there);
}

absl::StatusOr<std::vector<uint32_t>> Dataplane::MapIds() const {
  std::vector<uint32_t> ids;
  for (const auto& [name, fd] : maps_) {
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
      return ErrnoStatus(errno, "map " + name);
    }
    ids.push_back(info.id);
  }
  return ids;
}

absl::StatusOr<uint64_t> Dataplane::MapMemory() const {
  uint64_t total = 0;
  for (const auto& [name, fd] : maps_) {
    std::ifstream info(absl::StrCat("/proc/self/fdinfo/", fd.get()));
    for (std::string line; std::getline(info, line);) {
      uint64_t bytes = 0;
      if (absl::StartsWith(line, "memlock:") && absl::SimpleAtoi(line.substr(8), &bytes)) {
        total += bytes;
      }
    }
  }
  return total;
}

}  // namespace mseg
