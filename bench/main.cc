// SPDX-License-Identifier: Apache-2.0
// mseg-bench: parses, runs the suites that are asked for, prints, writes, compares, removes
// everything again.
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/html.h"
#include "bench/suite.h"
#include "loader/feature_probe.h"

namespace mseg::bench {
namespace {

constexpr int kDone = 0, kWorse = 1, kUsage = 2, kRefused = 4;

int Complain(int status, const absl::Status& why) {
  fprintf(stderr, "mseg-bench: %s\n", std::string(why.message()).c_str());
  return status;
}

std::string CpuModel() {
  auto text = ReadWhole("/proc/cpuinfo");
  if (!text.ok()) return "";
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

// With CONFIG_IRQ_TIME_ACCOUNTING the time of softirqs is taken off whoever they interrupted.
std::string SoftirqTime() {
  auto text = RunProgram({"zgrep", "-c", "^CONFIG_IRQ_TIME_ACCOUNTING=y", "/proc/config.gz"});
  if (text.ok() && text->status <= 1 && !text->out.empty()) {
    return text->out[0] == '0' ? "task" : "apart";
  }
  utsname name{};
  uname(&name);
  auto config = ReadWhole(absl::StrCat("/boot/config-", name.release));
  if (!config.ok()) return "unknown";
  return config->find("CONFIG_IRQ_TIME_ACCOUNTING=y") == std::string::npos ? "task" : "apart";
}

Report NewReport(const Options& options) {
  Report out;
  out.version = MSEG_VERSION;
  out.started = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone());
  utsname name{};
  uname(&name);
  out.kernel = name.release;
  out.mode = options.mode;
  out.mseg_mode = ProbeFeatures().mode == MSEG_MODE_FULL ? "full" : "cgroup";
  double load[1] = {0};
  if (getloadavg(load, 1) != 1) load[0] = 0;
  out.machine = {.cpu = CpuModel(),
                 .cpus = get_nprocs(),
                 .memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                                 static_cast<uint64_t>(sysconf(_SC_PAGESIZE)),
                 .softirq_time = SoftirqTime(),
                 .load = load[0]};
  return out;
}

std::string OwnFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

bool Asked(const Options& options, const std::string& suite) {
  return options.suites.empty() ||
         std::find(options.suites.begin(), options.suites.end(), suite) != options.suites.end();
}

absl::Status RunSuites(const SuiteContext& context) {
  std::vector<std::string> slices;
  for (const char* suite : {"connect", "rr", "stream", "udp", "exec"}) {
    if (Asked(context.options, suite)) slices.emplace_back(suite);
  }
  if (const absl::Status status = RunSlices(context, slices); !status.ok()) return status;
  const std::pair<const char*, absl::Status (*)(const SuiteContext&)> others[] = {
      {"decide", RunDecide}, {"hooks", RunHooks},   {"apply", RunApply},
      {"real", RunReal},     {"events", RunEvents},
  };
  for (const auto& [suite, run] : others) {
    if (!Asked(context.options, suite)) continue;
    if (const absl::Status status = run(context); !status.ok()) return status;
    if (Interrupted()) return InterruptedStatus();
  }
  return absl::OkStatus();
}

absl::StatusOr<Report> Measure(const Options& options) {
  Report report = NewReport(options);
  if (const absl::Status status = ProbeFeatures().CheckRequired(); !status.ok()) return status;
  auto workspace = Workspace::Make();
  if (!workspace.ok()) return workspace.status();
  Progress progress;
  const bool guest = options.inside == "guest";
  const ArmContext arms{.workspace = workspace->get(),
                        .msegd = OwnFolder() + "/msegd",
                        .msegctl = OwnFolder() + "/msegctl",
                        .cpu = PinnedCpu(),
                        .alone = guest};
  for (const std::string& program : {arms.msegd, arms.msegctl}) {
    if (access(program.c_str(), X_OK) != 0) {
      return absl::FailedPreconditionError(absl::StrCat(program, " is not there"));
    }
  }
  const SuiteContext context{.options = options,
                             .workspace = **workspace,
                             .arms = arms,
                             .progress = progress,
                             .guest = guest,
                             .report = &report};
  if (const absl::Status status = RunSuites(context); !status.ok()) return status;
  return report;
}

absl::Status Write(const Options& options, const Report& report) {
  if (options.output.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  for (const auto& [name, text] : {std::pair<std::string, std::string>{"json", ToJson(report)},
                                   {"txt", ToText(report)},
                                   {"html", ToHtml(report)}}) {
    const absl::Status status = WriteWhole(absl::StrCat(options.output, "/report.", name), text);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<Report> ReadBaseline(const std::string& file) {
  auto text = ReadWhole(file);
  if (!text.ok()) return text.status();
  auto report = FromJson(*text);
  if (report.ok()) return report;
  return absl::Status(report.status().code(), absl::StrCat(file, ": ", report.status().message()));
}

void ListArms() {
  for (const ArmKind& kind : ArmKinds()) {
    printf("%-16s %s\n", kind.kind.c_str(), kind.what.c_str());
  }
}

int Run(const Options& options) {
  Report baseline;
  if (!options.baseline.empty()) {
    auto read = ReadBaseline(options.baseline);
    if (!read.ok()) return Complain(kUsage, read.status());
    baseline = *std::move(read);
  }
  if (geteuid() != 0) {
    return Complain(kRefused, absl::PermissionDeniedError(
                                  "needs root: it makes network namespaces and loads programs"));
  }
  CatchSignals();
  const bool guest = options.mode == "guest" && options.inside.empty();
  auto report = guest ? RunInGuest(options, OwnFolder() + "/../..") : Measure(options);
  if (Interrupted()) return Complain(130, InterruptedStatus());
  if (!report.ok()) return Complain(kRefused, report.status());
  fputs(ToText(*report).c_str(), stdout);
  if (const absl::Status status = Write(options, *report); !status.ok()) {
    return Complain(kRefused, status);
  }
  if (options.baseline.empty()) return kDone;
  const Comparison comparison = Compare(baseline, *report, options.threshold);
  fputs(ToText(comparison, options.threshold).c_str(), stdout);
  return comparison.ok ? kDone : kWorse;
}

int Main(int argc, char** argv) {
  if (argc >= 3 && std::string(argv[1]) == "worker") return WorkerMain(argc - 2, argv + 2);
  auto options = ParseOptions(absl::MakeConstSpan(argv + 1, static_cast<size_t>(argc - 1)));
  if (!options.ok()) {
    Complain(kUsage, options.status());
    fputs("mseg-bench --help lists what there is\n", stderr);
    return kUsage;
  }
  if (options->help) fputs(Usage().c_str(), stdout);
  if (options->version) printf("mseg-bench %s (schema %d)\n", MSEG_VERSION, kSchema);
  if (options->list) ListArms();
  if (options->help || options->version || options->list) return kDone;
  return Run(*options);
}

}  // namespace
}  // namespace mseg::bench

int main(int argc, char** argv) { return mseg::bench::Main(argc, argv); }
