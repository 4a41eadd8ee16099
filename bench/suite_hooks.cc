// SPDX-License-Identifier: Apache-2.0
// hooks: what the kernel's own statistics say of each attached program while connections are made.
#include <bpf/bpf.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "bench/suite.h"
#include "loader/errno_status.h"
#include "loader/pins.h"
#include "loader/programs.h"

namespace mseg::bench {
namespace {

struct Runs {
  uint64_t ns = 0, count = 0;
};

absl::StatusOr<Runs> RunsOf(int program) {
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) {
    return ErrnoStatus(errno, "read a program's statistics");
  }
  return Runs{info.run_time_ns, info.run_cnt};
}

// What the statistics cost by themselves: a program that does nothing.
absl::StatusOr<double> Floor() {
  bpf_insn code[2] = {};
  code[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  code[0].imm = 1;
  code[1].code = BPF_JMP | BPF_EXIT;
  const ScopedFd program(
      bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "bench_nothing", "GPL", code, 2, nullptr));
  if (!program.ok()) return ErrnoStatus(errno, "load a program that does nothing");
  char packet[64] = {};
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet),
              .repeat = 200'000);
  if (bpf_prog_test_run_opts(program.get(), &options) != 0) {
    return ErrnoStatus(errno, "run a program that does nothing");
  }
  auto runs = RunsOf(program.get());
  if (!runs.ok()) return runs.status();
  return runs->count == 0 ? 0 : static_cast<double>(runs->ns) / static_cast<double>(runs->count);
}

class HooksRun {
 public:
  HooksRun(const SuiteContext& context, const MsegArm& arm, double floor)
      : context_(context), arm_(arm), floor_(floor) {}

  absl::Status Open() {
    for (const ProgramSpec& spec : kPrograms) {
      const std::string pin =
          absl::StrCat(arm_.host().places().pin_dir, "/", kProgramPins, "/", spec.name);
      ScopedFd fd(bpf_obj_get(pin.c_str()));
      if (fd.ok() && spec.stage != Stage::kTool) programs_[std::string(spec.name)] = std::move(fd);
    }
    if (programs_.empty()) return absl::InternalError("no program is pinned");
    return absl::OkStatus();
  }

  absl::Status Under(const std::string& load, Work work) {
    for (uint64_t i = 0; i < std::min<uint64_t>(context_.options.runs, 50); i++) {
      std::map<std::string, Runs> before;
      for (const auto& [name, fd] : programs_) {
        auto runs = RunsOf(fd.get());
        if (!runs.ok()) return runs.status();
        before[name] = *runs;
      }
      auto outcome =
          arm_.client().Run({.work = work, .max_ns = context_.options.slice_ms * 1'000'000});
      if (!outcome.ok()) return outcome.status();
      if (i > 0) Note(before, static_cast<double>(outcome->ops));
    }
    for (const auto& [name, values] : ns_)
      Add(load, name, "run", values, context_.guest ? "instructions" : "ns");
    for (const auto& [name, values] : each_) Add(load, name, "runs_per_operation", values, "1");
    ns_.clear();
    each_.clear();
    return absl::OkStatus();
  }

 private:
  void Note(const std::map<std::string, Runs>& before, double ops) {
    for (const auto& [name, fd] : programs_) {
      auto runs = RunsOf(fd.get());
      if (!runs.ok()) continue;
      const Runs& old = before.at(name);
      const double count = static_cast<double>(runs->count - old.count);
      if (count == 0) continue;
      ns_[name].push_back(static_cast<double>(runs->ns - old.ns) / count - floor_);
      each_[name].push_back(count / ops);
    }
  }

  void Add(const std::string& load, const std::string& program, const std::string& metric,
           const std::vector<double>& values, const std::string& unit) const {
    context_.report->results.push_back({.suite = "hooks",
                                        .arm = absl::StrCat(program, "/", load),
                                        .rules = arm_.spec().rules,
                                        .metric = metric,
                                        .unit = unit,
                                        .value = BootstrapMedian(values)});
  }

  const SuiteContext& context_;
  const MsegArm& arm_;
  double floor_;
  std::map<std::string, ScopedFd> programs_;
  std::map<std::string, std::vector<double>> ns_, each_;
};

}  // namespace

absl::Status RunHooks(const SuiteContext& context) {
  auto arm = MakeMsegArm(context, context.options.rules.back());
  if (!arm.ok()) return arm.status();
  // They are collected as long as this is open.
  const ScopedFd statistics(bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (!statistics.ok()) return ErrnoStatus(errno, "turn on the kernel's BPF statistics");
  auto floor = Floor();
  if (!floor.ok()) return floor.status();
  context.report->results.push_back({.suite = "hooks",
                                     .arm = "nothing",
                                     .metric = "run",
                                     .unit = context.guest ? "instructions" : "ns",
                                     .value = {*floor, *floor, *floor, 1}});
  HooksRun run(context, **arm, *floor);
  context.progress.Show("hooks");
  for (const absl::Status& status :
       {run.Open(), run.Under("connect", Work::kConnect), run.Under("rr", Work::kRequest),
        run.Under("udp", Work::kUdpExchange), run.Under("exec", Work::kExec)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace mseg::bench
