// SPDX-License-Identifier: Apache-2.0
#include "tests/kernel/random_image.h"

#include <netinet/in.h>

#include <cstring>

#include "labels/class_words.h"
#include "mseg/decide.h"
#include "tests/kernel/table_set.h"

namespace mseg::testing {

GenerationImage ImageOf(uint32_t cls, mseg_direction direction, mseg_verdict verdict) {
  constexpr uint32_t kTail = 9;
  GenerationImage image;
  mseg_row_key key{};
  key.local = kTail;
  key.peer = MSEG_PEER_ALL;
  key.direction = static_cast<uint8_t>(direction);
  mseg_class entry{};
  entry.tail[direction] = kTail;
  image.classes.emplace_back(cls, entry);
  mseg_row row{};
  row.verdict = row.would_be = static_cast<uint8_t>(verdict);
  row.reason = row.would_reason = MSEG_REASON_DEFAULT;
  image.rows.emplace_back(key, row);
  return image;
}

GenerationImage ImageRandom::Image() {
  GenerationImage image;
  Rows(&image);
  Ports(&image);
  Identities(&image);
  Addresses(&image);
  return image;
}

uint8_t ImageRandom::Protocol() {
  constexpr uint8_t kProtocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP, 47, 255};
  return kProtocols[Below(std::size(kProtocols))];
}

uint16_t ImageRandom::Port() {
  // The ends of the space and of a block, and what lies beside them.
  constexpr uint16_t kPorts[] = {0,   1,   22,  80,   255,   256,   257,
                                 443, 511, 512, 8080, 65280, 65534, 65535};
  return Chance(70) ? kPorts[Below(std::size(kPorts))] : static_cast<uint16_t>(Below(65536));
}

// Six classes, each with an end, a tail and a group of its own choice; bits so few that cells of
// different groups coincide.
void ImageRandom::Rows(GenerationImage* image) {
  for (uint32_t i = 1; i < 6; i++) {
    mseg_coarse bits{};
    mseg_coarse mask{};
    const int group_words = Chance(50) ? 1 : MSEG_COARSE_WORDS;
    for (int word = 0; word < group_words; word++) {
      if (Chance(30)) bits.bits[word] = uint64_t{1} << Below(3) | uint64_t{1} << (62 + Below(2));
    }
    const int tail_words = Chance(50) ? 1 : MSEG_COARSE_WORDS;
    for (int word = 0; word < tail_words; word++) {
      if (Chance(70)) mask.bits[word] = Below(8) | uint64_t{Below(4)} << 62;
    }
    const mseg_coarse none{};
    if (std::memcmp(&bits, &none, sizeof(none)) != 0) image->groups.emplace_back(i, bits);
    if (std::memcmp(&mask, &none, sizeof(none)) != 0) image->tails.emplace_back(i, mask);
  }
  for (uint32_t cls = 0; cls < 6; cls++) {
    mseg_class entry{};
    entry.group = static_cast<uint32_t>(Below(6));
    for (int direction = 0; direction < 2; direction++) {
      entry.end[direction] = 1 + static_cast<uint32_t>(Below(5));
      entry.tail[direction] = static_cast<uint32_t>(Below(6));
      entry.by_peer[direction] = static_cast<uint8_t>(Below(2));
      // Right or wrong: both sides must make the same of them.
      entry.peers[direction] = static_cast<uint32_t>(engine_() | engine_());
      entry.ports[direction] = static_cast<uint32_t>(engine_() | engine_());
    }
    image->classes.emplace_back(cls, entry);
  }
  FillNearBits(image);
  std::vector<uint32_t> peers = {0, 1, 2, 3, 4, 5, MSEG_PEER_ALL};
  for (const auto& [group, bits] : image->groups) {
    for (const auto& [tail, mask] : image->tails) {
      if (const uint32_t cell = mseg_cell(&bits, &mask)) peers.push_back(MSEG_PEER_CELL | cell);
    }
  }
  const unsigned density = static_cast<unsigned>(10 + Below(85));
  for (uint32_t local = 0; local < 6; local++) {
    for (const uint32_t peer : peers) {
      for (uint16_t port = 0; port < 5; port++) {
        for (uint8_t direction = 0; direction < 2; direction++) {
          if (!Chance(density)) continue;
          mseg_row_key key{};
          key.local = local;
          key.peer = peer;
          key.port = port;
          key.direction = direction;
          mseg_row row{};
          row.rule = static_cast<uint32_t>(engine_());
          row.would_rule = static_cast<uint32_t>(engine_());
          row.verdict = static_cast<uint8_t>(Below(2));
          row.would_be = static_cast<uint8_t>(Below(2));
          row.reason = static_cast<uint8_t>(Below(MSEG_REASON_MAX));
          row.would_reason = static_cast<uint8_t>(Below(MSEG_REASON_MAX));
          row.more = static_cast<uint8_t>(Below(2));
          row.may = static_cast<uint8_t>(Below(2));
          image->rows.emplace_back(key, row);
        }
      }
    }
  }
  Normalize(&image->rows);
}

void ImageRandom::Ports(GenerationImage* image) {
  for (size_t ranges = Below(10); ranges > 0; ranges--) {
    const uint32_t space = static_cast<uint32_t>(Below(MSEG_PORT_SPACES)) << 16;
    // A protocol and a type stand for the port in the last space.
    const bool other = space == MSEG_PORTS_OTHER << 16;
    const auto first = static_cast<uint16_t>(other ? Protocol() << 8 | Below(256) : Port());
    const size_t length = Chance(20) ? Below(70000) : Below(300);
    const uint16_t cls = static_cast<uint16_t>(1 + Below(4));
    for (uint32_t port = first; port <= 65535 && port <= first + length; port++) {
      image->ports.emplace_back(space | port, cls);
    }
  }
  std::stable_sort(image->ports.begin(), image->ports.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  image->ports.erase(std::unique(image->ports.begin(), image->ports.end(),
                                 [](const auto& a, const auto& b) { return a.first == b.first; }),
                     image->ports.end());
}

void ImageRandom::Identities(GenerationImage* image) {
  for (uint64_t id = 100; id < 107; id++) {
    if (!Chance(70)) continue;
    mseg_cgroup_key key{};
    key.id = id;
    image->cgroups.emplace_back(
        key, mseg_cgroup{.cls = CgroupClass(), .watch = 0, .doors = 0, .loopback = 0});
  }
  for (uint32_t ref = 1; ref < 5; ref++) {
    for (uint8_t grade = 0; grade < MSEG_GRADE_MAX; grade++) {
      if (!Chance(60)) continue;
      mseg_exe_class_key key{};
      key.ref = ref;
      key.grade = grade;
      image->exe_classes.emplace_back(key, ExeClass());
    }
  }
  for (uint32_t uid = 0; uid < 4; uid++) {
    mseg_user_key key{};
    key.uid = uid;
    if (Chance(60)) image->users.emplace_back(key, static_cast<uint32_t>(Below(3)));
  }
  const unsigned density = static_cast<unsigned>(10 + Below(80));
  for (uint64_t cgroup = 1; cgroup < 5; cgroup++) {
    for (uint64_t exe = 0; exe < 4; exe++) {
      for (uint32_t user = 0; user < 3; user++) {
        if (!Chance(density)) continue;
        mseg_identity_key key{};
        key.cgroup = cgroup;
        key.exe = exe;
        key.user = user;
        image->identities.emplace_back(
            key, mseg_identity_value{.label_id = engine_() >> 16, .cls = Class(), .pad = 0});
      }
    }
  }
  for (uint64_t id = 1; id < 5; id++) {
    mseg_peer_label_key label{};
    label.label_id = id;
    label.host_id = static_cast<uint32_t>(Below(3));
    const auto permitted = static_cast<uint32_t>(Below(2));
    if (Chance(60)) {
      image->peer_labels.emplace_back(
          label, mseg_peer_label{.cls = CgroupClass(), .permitted = permitted, .pad = 0});
    }
    mseg_peer_exe_key exe{};
    exe.exe_id = id;
    exe.grade = static_cast<uint8_t>(Grade());
    if (Chance(60)) image->peer_exes.emplace_back(exe, ExeClass());
  }
  Normalize(&image->peer_labels);
  Normalize(&image->peer_exes);
  Normalize(&image->cgroups);
  Normalize(&image->exe_classes);
  Normalize(&image->users);
  Normalize(&image->identities);
}

void ImageRandom::Address(uint8_t (&out)[16]) {
  std::memset(out, 0, sizeof(out));
  if (Chance(50)) {
    out[10] = out[11] = 0xff;
    out[12] = 10;
  } else {
    out[0] = 0x20;
    out[1] = 0x01;
  }
  for (int i = 13; i < 16; i++) out[i] = static_cast<uint8_t>(Chance(50) ? Below(4) : Below(256));
}

void ImageRandom::Addresses(GenerationImage* image) {
  for (size_t n = Below(30); n > 0; n--) {
    uint8_t address[16];
    Address(address);
    const size_t bits = Chance(30) ? Below(129) : 96 + Below(33);
    mseg_address_key key{};
    key.prefixlen = static_cast<uint32_t>(8 + bits);
    for (size_t bit = 0; bit < bits; bit++) {
      key.addr[bit / 8] |= static_cast<uint8_t>(address[bit / 8] & (0x80 >> (bit % 8)));
    }
    image->addresses.emplace_back(key, static_cast<uint32_t>(1 + Below(1000)));
  }
  Normalize(&image->addresses);
}

}  // namespace mseg::testing
