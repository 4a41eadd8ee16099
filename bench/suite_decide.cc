// SPDX-License-Identifier: Apache-2.0
// decide: one decision in the kernel, over fleets of many sizes, without a connection around it.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "bench/decide_abi.h"
#include "bench/decide.skel.h"
#include "bench/suite.h"
#include "labels/ast.h"
#include "labels/compiler.h"
#include "labels/simulator.h"
#include "loader/dataplane.h"
#include "loader/errno_status.h"
#include "loader/feature_probe.h"
#include "loader/pins.h"
#include "loader/policy_tables.h"
#include "tests/support/fleet.h"

namespace mseg::bench {
namespace {

constexpr uint64_t kIdentities[] = {10, 1000, 10000};

absl::StatusOr<GenerationImage> CompileFleet(const testing::Fleet& fleet) {
  std::vector<Document> documents;
  Diagnostics diagnostics;
  for (const auto& texts : {fleet.Workloads(), fleet.Policies()}) {
    for (const std::string& text : texts) {
      auto parsed = ParseDocuments("fleet.yaml", text, &diagnostics);
      if (!parsed.ok()) return parsed.status();
      for (Document& document : *parsed) documents.push_back(std::move(document));
    }
  }
  auto set = BuildPolicySet(std::move(documents), &diagnostics);
  if (!set.ok()) return set.status();
  return Compile(*set, fleet.Host(), {}, &diagnostics);
}

struct Skeleton {
  ~Skeleton() { bench_decide_bpf__destroy(object); }
  bench_decide_bpf* object = nullptr;
};

// The maps of an instance instead of maps of its own.
absl::Status LoadOver(const std::string& pin_dir, Skeleton* out) {
  out->object = bench_decide_bpf__open();
  if (out->object == nullptr) return ErrnoStatus(errno, "open the BPF object");
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, out->object->obj) {
    const ScopedFd fd(
        bpf_obj_get(absl::StrCat(pin_dir, "/", kMapPins, "/", bpf_map__name(map)).c_str()));
    if (fd.ok() && bpf_map__reuse_fd(map, fd.get()) != 0) {
      return absl::InternalError(absl::StrCat("reuse map ", bpf_map__name(map)));
    }
  }
  const int error = bench_decide_bpf__load(out->object);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "load the BPF program");
}

// Queries that a host of the fleet could be asked: its own classes against all, the ports that
// rules name and others.
class Queries {
 public:
  Queries(const GenerationImage& image, uint64_t seed) : image_(image), random_(seed) {
    for (const auto& [number, cls] : image.classes) {
      for (const int direction : {MSEG_EGRESS, MSEG_INGRESS}) {
        if (cls.end[direction] != 0) locals_.push_back({number, direction});
      }
    }
    for (const auto& [place, cls] : image.ports) {
      if (place >> 16 == MSEG_PORTS_TCP) ports_.push_back(static_cast<uint16_t>(place));
    }
    if (ports_.empty()) ports_.push_back(443);
  }

  bench_query Next() {
    bench_query out{};
    out.protocol = 6;
    out.peer = static_cast<uint32_t>(Below(std::max<uint64_t>(1, image_.budget.classes)));
    out.port = Below(4) == 0 ? static_cast<uint16_t>(Below(65536)) : ports_[Below(ports_.size())];
    if (!locals_.empty()) {
      const auto [local, direction] = locals_[Below(locals_.size())];
      out.local = local;
      out.direction = static_cast<uint8_t>(direction);
    }
    return out;
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }
  const GenerationImage& image_;
  std::mt19937_64 random_;
  std::vector<std::pair<uint32_t, int>> locals_;
  std::vector<uint16_t> ports_;
};

class DecideRun {
 public:
  DecideRun(const SuiteContext& context, Dataplane& plane, Skeleton& program)
      : context_(context), plane_(plane), program_(program) {}

  absl::Status One(uint64_t rules, uint64_t identities);

 private:
  absl::Status Stage(const GenerationImage& image);
  absl::Status Fill(const GenerationImage& image);
  absl::StatusOr<double> Ns(uint32_t mask, bench_judge judge);
  absl::StatusOr<std::vector<double>> Cost(uint32_t mask, bench_judge judge);
  void Add(uint64_t rules, uint64_t identities, const std::string& metric, const std::string& unit,
           const Estimate& value);

  const SuiteContext& context_;
  Dataplane& plane_;
  Skeleton& program_;
};

absl::Status DecideRun::Stage(const GenerationImage& image) {
  const PolicyTables tables(plane_);
  const TableSet set{.cgroups = image.cgroups,
                     .exe_classes = image.exe_classes,
                     .users = image.users,
                     .identities = image.identities,
                     .peer_labels = image.peer_labels,
                     .peer_exes = image.peer_exes,
                     .addresses = image.addresses,
                     .ports = image.ports,
                     .classes = image.classes,
                     .groups = image.groups,
                     .tails = image.tails,
                     .rows = image.rows};
  MSEG_RETURN_IF_ERROR(tables.Stage(set));
  return tables.Flip().status();
}

absl::Status DecideRun::Fill(const GenerationImage& image) {
  Queries queries(image, 1);
  const int map = bpf_map__fd(program_.object->maps.bench_queries);
  for (uint32_t i = 0; i < BENCH_QUERIES; i++) {
    const bench_query query = queries.Next();
    if (bpf_map_update_elem(map, &i, &query, BPF_ANY) != 0) {
      return ErrnoStatus(errno, "write a query");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> DecideRun::Ns(uint32_t mask, bench_judge judge) {
  bench_args args{};
  args.count = context_.guest ? 4096 : BENCH_QUERIES;
  args.mask = mask;
  args.judge = judge;
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &args, .ctx_size_in = sizeof(args));
  const int program = bpf_program__fd(program_.object->progs.bench_decide);
  if (bpf_prog_test_run_opts(program, &options) != 0) return ErrnoStatus(errno, "run the program");
  // A syscall program gives its context back in place.
  return static_cast<double>(args.ns) / args.count;
}

// With the decision and without it, in turn.
absl::StatusOr<std::vector<double>> DecideRun::Cost(uint32_t mask, bench_judge judge) {
  std::vector<double> out;
  const uint64_t runs = std::min<uint64_t>(context_.options.runs, 60);
  for (uint64_t i = 0; i <= runs; i++) {
    if (Interrupted()) return InterruptedStatus();
    auto with = Ns(mask, judge), without = Ns(mask, BENCH_NOTHING);
    if (!with.ok()) return with.status();
    if (!without.ok()) return without.status();
    if (i > 0) out.push_back(*with - *without);
  }
  return out;
}

void DecideRun::Add(uint64_t rules, uint64_t identities, const std::string& metric,
                    const std::string& unit, const Estimate& value) {
  context_.report->results.push_back({.suite = "decide",
                                      .arm = absl::StrCat("identities-", identities, "@", rules),
                                      .rules = rules,
                                      .metric = metric,
                                      .unit = unit,
                                      .value = value});
}

absl::Status DecideRun::One(uint64_t rules, uint64_t identities) {
  context_.progress.Show(absl::StrCat("decide: ", rules, " rules, ", identities, " identities"));
  testing::Fleet fleet;
  fleet.rules = rules;
  fleet.coarse = std::min<uint64_t>(50, rules / 10);
  fleet.identities = identities;
  fleet.local = std::clamp<uint64_t>(identities / 20, 1, 500);
  auto image = CompileFleet(fleet);
  if (!image.ok()) return image.status();
  MSEG_RETURN_IF_ERROR(Stage(*image));
  MSEG_RETURN_IF_ERROR(Fill(*image));
  const std::string unit = context_.guest ? "instructions" : "ns";
  struct Way {
    const char* metric;
    uint32_t mask;
    bench_judge judge;
  };
  constexpr uint32_t kFew = 63, kAll = BENCH_QUERIES - 1;
  for (const auto& [metric, mask, judge] : {Way{"warm", kFew, BENCH_LOOK_UP},
                                            {"cold", kAll, BENCH_LOOK_UP},
                                            {"remembered", kFew, BENCH_HOOK},
                                            {"forgotten", kAll, BENCH_HOOK}}) {
    auto cost = Cost(mask, judge);
    if (!cost.ok()) return cost.status();
    Add(rules, identities, metric, unit, BootstrapMedian(*cost));
  }
  const Simulator simulator(*image);
  Queries queries(*image, 1);
  std::vector<double> lookups;
  for (int i = 0; i < 10'000; i++) {
    const bench_query asked = queries.Next();
    std::vector<Probe> probes;
    simulator.Trace(asked.local, asked.peer, static_cast<mseg_direction>(asked.direction),
                    asked.protocol, asked.port, &probes);
    lookups.push_back(static_cast<double>(probes.size()));
  }
  const double most = *std::max_element(lookups.begin(), lookups.end());
  double sum = 0;
  for (const double one : lookups) sum += one;
  const double mean = sum / static_cast<double>(lookups.size());
  Add(rules, identities, "lookups_mean", "1", {mean, mean, mean, lookups.size()});
  Add(rules, identities, "lookups_max", "1", {most, most, most, lookups.size()});
  const double rows = static_cast<double>(image->budget.rows);
  Add(rules, identities, "rows", "1", {rows, rows, rows, 1});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunDecide(const SuiteContext& context) {
  auto cgroup = context.workspace.MakeCgroup("decide_");
  if (!cgroup.ok()) return cgroup.status();
  DataplaneOptions options;
  options.cgroup_root = *cgroup;
  options.pin_dir = context.workspace.PinDir("decide_");
  auto plane = Dataplane::Open(options, ProbeFeatures());
  if (!plane.ok()) return plane.status();
  Skeleton program;
  if (const absl::Status status = LoadOver(options.pin_dir, &program); !status.ok()) return status;
  DecideRun run(context, **plane, program);
  absl::Status status;
  for (const uint64_t rules : context.options.rules) {
    for (const uint64_t identities : kIdentities) {
      if (context.guest && identities > 1000) continue;  // compiled by emulation, it takes minutes
      if (status.ok()) status = run.One(rules, identities);
    }
  }
  plane->reset();
  context.workspace.RemoveArm("decide_");
  return status;
}

}  // namespace mseg::bench
