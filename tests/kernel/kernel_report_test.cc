// SPDX-License-Identifier: Apache-2.0
// Flow events: what the kernel counts, sends and collects adds up to what happened.
#include <linux/types.h>
#include <poll.h>

#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <utility>

#include "loader/events.h"
#include "tests/kernel/kernel_fixture.h"
#include "tests/kernel/report.skel.h"
#include "tests/kernel/report_args.h"

namespace mseg::testing {
namespace {

using Flow = std::pair<uint32_t, uint16_t>;  // process and port

class Reports {
 public:
  explicit Reports(const Instance& here) : here_(here), object_(mseg_report_test__open()) {
    before_ = Lost();
    REQUIRE(object_ != nullptr);
    UseMapsOf(here, object_->obj);
    REQUIRE(mseg_report_test__load(object_) == 0);
    auto reader = EventReader::Create(*here.plane, {.exe = {},
                                                    .cgroup = {},
                                                    .flow = [this](const auto& e) { Note(e); },
                                                    .quarantine = {},
                                                    .tamper = {},
                                                    .script = {}});
    REQUIRE(reader.ok());
    reader_ = *std::move(reader);
  }
  ~Reports() { mseg_report_test__destroy(object_); }
  Reports(const Reports&) = delete;
  Reports& operator=(const Reports&) = delete;

  void Refuse(const Flow& flow, uint16_t peer_port = 1) {
    report_args args{.tgid = flow.first, .port = flow.second, .peer_port = peer_port};
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = &args;
    options.ctx_size_in = sizeof(args);
    REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(object_->progs.test_report), &options) == 0);
  }
  void Collect() {
    REQUIRE(here_.plane->CollectFlows().ok());
    Drain();
  }
  bool WouldWake() const {
    pollfd fd{reader_->control_fd(), POLLIN, 0};
    return poll(&fd, 1, 0) == 1;
  }
  void DrainControl() { REQUIRE(reader_->DrainControl().ok()); }
  void Drain() { REQUIRE(reader_->DrainFlows().ok()); }
  uint64_t Lost() const {
    auto counters = here_.plane->Counters();
    REQUIRE(counters.ok());
    return (*counters)[MSEG_CNT_FLOW_EVENTS_LOST] - before_;
  }

  std::map<Flow, uint64_t> seen;
  uint64_t events = 0;
  uint16_t last_peer_port = 0;

 private:
  void Note(const mseg_flow_event& event) {
    events++;
    seen[{event.local.tgid, event.port}] += event.count;
    last_peer_port = event.peer_port;
    CHECK(event.verdict == MSEG_DENY);
    CHECK(event.count > 0);
  }

  const Instance& here_;
  mseg_report_test* object_;
  uint64_t before_ = 0;
  std::unique_ptr<EventReader> reader_;
};

TEST_CASE("the first event of a flow is sent, equal ones are counted until somebody collects") {
  const OneProcessor here;  // places belong to one, and the test must know where it counts
  Reports reports(SharedInstance());
  const Flow flow{10, 443};
  for (uint16_t i = 1; i <= 5; i++) reports.Refuse(flow, i);
  reports.Drain();
  CHECK(reports.seen == std::map<Flow, uint64_t>{{flow, 1}});
  reports.Collect();
  CHECK(reports.seen == std::map<Flow, uint64_t>{{flow, 5}});
  CHECK(reports.events == 2);
  CHECK(reports.last_peer_port == 5);
  reports.Collect();
  CHECK(reports.events == 2);
  // Another flow, also where only one thing differs.
  reports.Refuse({10, 444});
  reports.Refuse({11, 443});
  reports.Refuse(flow);
  reports.Collect();
  CHECK(reports.seen == std::map<Flow, uint64_t>{{flow, 6}, {{10, 444}, 1}, {{11, 443}, 1}});
  CHECK(reports.Lost() == 0);
}

// More flows than places, so that they push each other out, on all processors in turn.
TEST_CASE("what was sent, pushed out and collected adds up") {
  Reports reports(SharedInstance());
  std::mt19937_64 random(FromEnvironment("MSEG_TEST_SEED", 1));
  const uint64_t steps = FromEnvironment("MSEG_KERNEL_FLOWS", 200000) / 5;
  std::map<Flow, uint64_t> model;
  for (uint64_t step = 0; step < steps; step++) {
    const uint32_t process = 1000 + static_cast<uint32_t>(random() % 40);
    const Flow flow{process, static_cast<uint16_t>(random() % (random() % 4 ? 8 : 60))};
    const uint64_t times = 1 + random() % 5;
    for (uint64_t i = 0; i < times; i++) reports.Refuse(flow);
    model[flow] += times;
    if (step % 97 == 0) reports.Drain();
    if (step % 1009 == 0) reports.Collect();
  }
  reports.Collect();
  CHECK(reports.seen == model);
  CHECK(reports.Lost() == 0);
}

TEST_CASE("a full ring keeps what is counted, and the rest is counted as lost") {
  const OneProcessor here;  // places belong to one, and the test must know where it counts
  Reports reports(SharedInstance());
  constexpr uint32_t kFlows = MSEG_FLOWS_BYTES / sizeof(mseg_flow_event) + 5000;
  const Flow busy{9, 1};
  reports.Refuse(busy);
  reports.Refuse(busy);
  reports.DrainControl();
  for (uint32_t i = 0; i < kFlows; i++) {
    if (i == kFlows / 3) CHECK_FALSE(reports.WouldWake());
    reports.Refuse({100000, static_cast<uint16_t>(i)});
  }
  CHECK(reports.WouldWake());
  const uint64_t lost = reports.Lost();
  CHECK(lost > 0);
  reports.Collect();  // it is full: nothing is sent, and what was in it is read
  reports.Collect();
  uint64_t sum = 0;
  for (const auto& [flow, count] : reports.seen) sum += count;
  CHECK(sum + lost == kFlows + 2);
  CHECK(reports.Lost() == lost);
}

}  // namespace
}  // namespace mseg::testing
