// SPDX-License-Identifier: Apache-2.0
// Do the kernel's tables and the image that they were made from decide alike?
#include <netinet/in.h>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "daemon/controller.h"
#include "labels/simulator.h"
#include "loader/errno_status.h"

namespace mseg {
namespace {

constexpr int kSample = 64;

struct Sample {
  uint32_t local = 0;
  uint32_t peer = 0;
  mseg_direction direction = MSEG_EGRESS;
  uint8_t protocol = IPPROTO_TCP;
  uint16_t port = 0;
};

// For each end and tail a class that has it: the first from a random one on.
class Judges {
 public:
  Judges(const GenerationImage& image, uint64_t start) {
    for (size_t i = 0; i < image.classes.size(); i++) {
      const auto& [cls, entry] = image.classes[(start + i) % image.classes.size()];
      for (int direction = 0; direction < 2; direction++) {
        of_end_[direction].try_emplace(entry.end[direction], cls);
        of_tail_[direction].try_emplace(entry.tail[direction], cls);
      }
    }
  }
  // One that judges by this row.
  std::optional<uint32_t> Of(const mseg_row_key& key) const {
    const bool of_tail = (key.peer & MSEG_PEER_CELL) != 0;
    const auto& classes = (of_tail ? of_tail_ : of_end_)[key.direction];
    const auto it = classes.find(key.local);
    return it == classes.end() ? std::nullopt : std::optional(it->second);
  }

 private:
  absl::flat_hash_map<uint32_t, uint32_t> of_end_[2], of_tail_[2];  // by direction
};

// What rows and ports name, and now and then anything else: an entry too many is a fault as well.
Sample Draw(const GenerationImage& image, const Judges& judges, std::mt19937_64& random) {
  Sample sample;
  const auto any_class = [&] {
    return static_cast<uint32_t>(random() % (image.budget.classes + 1));
  };
  sample.local = any_class();
  sample.peer = any_class();
  sample.direction = random() % 2 == 0 ? MSEG_EGRESS : MSEG_INGRESS;
  sample.port = static_cast<uint16_t>(random());
  if (!image.rows.empty() && random() % 8 != 0) {
    const mseg_row_key& key = image.rows[random() % image.rows.size()].first;
    sample.direction = static_cast<mseg_direction>(key.direction);
    if ((key.peer & MSEG_PEER_CELL) == 0) sample.peer = key.peer;
    sample.local = judges.Of(key).value_or(sample.local);
  }
  if (!image.ports.empty() && random() % 4 != 0) {
    constexpr uint8_t kProtocols[MSEG_PORT_SPACES] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, 0};
    const uint32_t place = image.ports[random() % image.ports.size()].first;
    const uint32_t space = (place >> 16) % MSEG_PORT_SPACES;
    const bool other = space == MSEG_PORTS_OTHER;
    sample.protocol = other ? static_cast<uint8_t>(place >> 8) : kProtocols[space];
    sample.port = static_cast<uint16_t>(other ? place & MSEG_ICMP_TYPE_MAX : place);
  }
  return sample;
}

std::string DecisionText(uint8_t verdict, uint8_t would_be, uint8_t reason, uint32_t rule) {
  return absl::StrCat(std::string(VerdictName(verdict)), " (would be ",
                      std::string(VerdictName(would_be)), ", ", std::string(ReasonName(reason)),
                      ", rule ", rule, ")");
}

}  // namespace

// One example of a difference; empty: none in the sample. `generation`: whose side is asked, 0 for
// the one in force.
absl::StatusOr<std::string> Controller::FindDifference(const GenerationImage& image,
                                                       uint32_t generation) {
  const Simulator simulator(image);
  const Judges judges(image, random_());
  for (int i = 0; i < kSample; i++) {
    const Sample sample = Draw(image, judges, random_);
    mseg_explain args{};
    args.local_class = sample.local;
    args.peer_class = sample.peer;
    args.direction = static_cast<uint8_t>(sample.direction);
    args.protocol = sample.protocol;
    args.port = sample.port;
    args.generation = generation;
    MSEG_RETURN_IF_ERROR(dataplane_.Explain(&args));
    const mseg_decision expected =
        simulator.Decide(sample.local, sample.peer, sample.direction, sample.protocol, sample.port);
    if (args.verdict == expected.verdict && args.would_be == expected.would_be &&
        args.reason == expected.reason && args.rule == expected.rule &&
        args.would_rule == expected.would_rule) {
      continue;
    }
    return absl::StrCat(
        std::string(DirectionName(args.direction)), ", class ", sample.local, ", peer class ",
        sample.peer, ", protocol ", sample.protocol, ", port ", sample.port, ": the kernel says ",
        DecisionText(args.verdict, args.would_be, args.reason, args.rule), ", the simulator ",
        DecisionText(expected.verdict, expected.would_be, expected.reason, expected.rule));
  }
  return std::string();
}

// Between reading back and the flip: the side that is to come decides as the image says.
absl::Status Controller::CheckStandby(const GenerationImage& image) {
  auto active = tables_.Generation();
  if (!active.ok()) return active.status();
  // 0 would mean the side in force; a side has two numbers then.
  auto difference = FindDifference(image, *active == UINT32_MAX ? 2 : *active + 1);
  if (!difference.ok()) return difference.status();
  if (difference->empty()) return absl::OkStatus();
  NoteDrift(*difference);
  return absl::DataLossError(absl::StrCat("the kernel does not decide as the policy says: ",
                                          *difference, "; the old generation stays in force"));
}

void Controller::CheckDrift() {
  auto difference = FindDifference(*image_, 0);
  if (!difference.ok()) {
    log_(absl::StrCat("drift: ", std::string(difference.status().message())));
  } else if (!difference->empty()) {
    NoteDrift(*difference);
  }
  compared_generation_ = generation_;
}

void Controller::NoteDrift(const std::string& example) {
  drift_++;
  last_drift_ = example;
  log_(absl::StrCat("DRIFT: ", example));
}

}  // namespace mseg
