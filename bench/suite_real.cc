// SPDX-License-Identifier: Apache-2.0
// real: servers and load generators as they come, in the arms' cgroups and namespaces. The cost of
// a request is the CPU time of both cgroups.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <regex>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "bench/series.h"
#include "bench/suite.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

constexpr int kNginxPort = 7010, kRedisPort = 7020, kPostgresPort = 7030, kIperfPort = 7040;
constexpr uint64_t kDefaultRules = 1000;

// CPU ns of everything that ran in a cgroup.
absl::StatusOr<uint64_t> CgroupCpuNs(const std::string& cgroup) {
  auto text = ReadWhole(cgroup + "/cpu.stat");
  if (!text.ok()) return text.status();
  std::istringstream in(*text);
  std::string name;
  uint64_t value = 0;
  while (in >> name >> value) {
    if (name == "usage_usec") return value * 1000;
  }
  return absl::FailedPreconditionError(cgroup + "/cpu.stat has no usage_usec");
}

// The first number that the expression's group finds in a program's output.
double Found(const std::string& text, const char* expression) {
  std::smatch match;
  double value = 0;
  if (!std::regex_search(text, match, std::regex(expression))) return 0;
  return absl::SimpleAtod(match[1].str(), &value) ? value : 0;
}

std::string PostgresFolder() {
  for (const char* version : {"17", "16", "15", "14", "13"}) {
    const std::string folder = absl::StrCat("/usr/lib/postgresql/", version, "/bin");
    if (access((folder + "/postgres").c_str(), X_OK) == 0) return folder;
  }
  return "";
}

// A server and what loads it, in one arm.
struct Application {
  std::string name;
  std::vector<std::string> missing;  // programs
  absl::StatusOr<Child> (*start)(const Arm& arm, const std::string& dir);
  // Requests that were served.
  absl::StatusOr<double> (*load)(const Arm& arm, const std::string& dir);
};

absl::Status AwaitPort(const Arm& arm, int port) {
  for (const uint64_t end = NowNs() + 20'000'000'000; NowNs() < end; usleep(20'000)) {
    auto outcome = arm.client().Run(
        {.work = Work::kRefused, .port = static_cast<uint32_t>(port), .want = 0, .max_ops = 1});
    if (!outcome.ok()) return outcome.status();
    if (outcome->failures == 0) return absl::OkStatus();
  }
  return absl::DeadlineExceededError(absl::StrCat("nobody listens on port ", port));
}

absl::StatusOr<Child> StartNginx(const Arm& arm, const std::string& dir) {
  const std::string config = absl::StrCat(
      "daemon off; master_process off; pid ", dir, "/nginx.pid; error_log ", dir,
      "/nginx.log;\nevents { worker_connections 512; }\nhttp { access_log off; "
      "client_body_temp_path ",
      dir, "; proxy_temp_path ", dir, "; fastcgi_temp_path ", dir, "; uwsgi_temp_path ", dir,
      "; scgi_temp_path ", dir, "; server { listen ", arm.address(), ":", kNginxPort,
      "; location / { return 200 'hello, world'; } } }\n");
  MSEG_RETURN_IF_ERROR(WriteWhole(dir + "/nginx.conf", config));
  return Child::Start({FindProgram("nginx"), "-c", dir + "/nginx.conf", "-p", dir},
                      arm.server_place(), dir + "/nginx.out");
}

absl::StatusOr<double> LoadNginx(const Arm& arm, const std::string&) {
  auto out = MustRun({FindProgram("wrk"), "-t1", "-c8", "-d1s", "-H", "Connection: close",
                      absl::StrCat("http://", arm.address(), ":", kNginxPort, "/")},
                     arm.client_place());
  if (!out.ok()) return out.status();
  return Found(*out, "([0-9]+) requests in");
}

absl::StatusOr<Child> StartRedis(const Arm& arm, const std::string& dir) {
  return Child::Start(
      {FindProgram("redis-server"), "--port", absl::StrCat(kRedisPort), "--bind", arm.address(),
       "--save", "", "--appendonly", "no", "--dir", dir, "--protected-mode", "no"},
      arm.server_place(), dir + "/redis.out");
}

absl::StatusOr<double> LoadRedis(const Arm& arm, const std::string&) {
  constexpr int kRequests = 30'000;
  auto out =
      MustRun({FindProgram("redis-benchmark"), "-h", arm.address(), "-p", absl::StrCat(kRedisPort),
               "-n", absl::StrCat(kRequests), "-c", "8", "-t", "set", "-q"},
              arm.client_place());
  if (!out.ok()) return out.status();
  return static_cast<double>(kRequests);
}

absl::StatusOr<Child> StartPostgres(const Arm& arm, const std::string& dir) {
  const std::string bin = PostgresFolder(), data = dir + "/pg";
  auto made = MustRun({"install", "-d", "-o", "postgres", "-m", "700", data});
  if (made.ok()) {
    made = MustRun({"runuser", "-u", "postgres", "--", bin + "/initdb", "-D", data, "-A", "trust",
                    "--no-sync", "-N"});
  }
  if (!made.ok()) return made.status();
  return Child::Start({"runuser", "-u", "postgres", "--", bin + "/postgres", "-D", data, "-p",
                       absl::StrCat(kPostgresPort), "-k", data, "-h", arm.address(), "-F"},
                      arm.server_place(), dir + "/postgres.out");
}

// It listens a while before it answers.
absl::Status AwaitPostgres(const Arm& arm) {
  const std::vector<std::string> ask = {
      PostgresFolder() + "/pg_isready", "-q", "-h", arm.address(), "-p",
      absl::StrCat(kPostgresPort)};
  for (const uint64_t end = NowNs() + 60'000'000'000; NowNs() < end; usleep(100'000)) {
    auto asked = RunProgram(ask, arm.client_place());
    if (!asked.ok()) return asked.status();
    if (asked->status == 0) return absl::OkStatus();
  }
  return absl::DeadlineExceededError("postgres listens, and does not answer");
}

absl::StatusOr<double> LoadPostgres(const Arm& arm, const std::string& dir) {
  std::vector<std::string> pgbench = {PostgresFolder() + "/pgbench", "-h", arm.address(), "-p",
                                      absl::StrCat(kPostgresPort),   "-U", "postgres"};
  if (access((dir + "/filled").c_str(), F_OK) != 0) {
    MSEG_RETURN_IF_ERROR(AwaitPostgres(arm));
    std::vector<std::string> fill = pgbench;
    fill.insert(fill.end(), {"-i", "-q", "postgres"});
    auto filled = MustRun(fill, arm.client_place());
    if (!filled.ok()) return filled.status();
    MSEG_RETURN_IF_ERROR(WriteWhole(dir + "/filled", ""));
  }
  pgbench.insert(pgbench.end(), {"-S", "-n", "-c", "2", "-j", "1", "-T", "1", "postgres"});
  auto out = MustRun(pgbench, arm.client_place());
  if (!out.ok()) return out.status();
  return Found(*out, "actually processed: ([0-9]+)");
}

absl::StatusOr<Child> StartIperf(const Arm& arm, const std::string& dir) {
  return Child::Start(
      {FindProgram("iperf3"), "-s", "-B", arm.address(), "-p", absl::StrCat(kIperfPort)},
      arm.server_place(), dir + "/iperf3.out");
}

// MiB that arrived.
absl::StatusOr<double> LoadIperf(const Arm& arm, const std::string&) {
  auto out = MustRun(
      {FindProgram("iperf3"), "-c", arm.address(), "-p", absl::StrCat(kIperfPort), "-t", "1", "-J"},
      arm.client_place());
  if (!out.ok()) return out.status();
  const size_t sum = out->find("\"sum_received\"");
  if (sum == std::string::npos) return absl::InternalError("iperf3 prints no sum");
  return Found(out->substr(sum), "\"bytes\":\\s*([0-9]+)") / (1 << 20);
}

std::vector<Application> Applications() {
  std::vector<Application> out = {
      {"wrk-nginx", {}, StartNginx, LoadNginx},
      {"redis-benchmark", {}, StartRedis, LoadRedis},
      {"pgbench", {}, StartPostgres, LoadPostgres},
      {"iperf3", {}, StartIperf, LoadIperf},
  };
  const std::vector<std::string> programs[] = {
      {"nginx", "wrk"}, {"redis-server", "redis-benchmark"}, {"runuser"}, {"iperf3"}};
  for (size_t i = 0; i < out.size(); i++) {
    for (const std::string& program : programs[i]) {
      if (FindProgram(program).empty()) out[i].missing.push_back(program);
    }
  }
  if (PostgresFolder().empty()) out[2].missing.push_back("postgres");
  return out;
}

int PortOf(const std::string& name) {
  if (name == "wrk-nginx") return kNginxPort;
  if (name == "iperf3") return kIperfPort;
  return name == "pgbench" ? kPostgresPort : kRedisPort;
}

class RealRun {
 public:
  RealRun(const SuiteContext& context, std::vector<std::unique_ptr<Arm>> arms)
      : context_(context), arms_(std::move(arms)) {}

  absl::Status Of(const Application& application);

 private:
  absl::Status Once(const Application& application, size_t arm, Series* series);
  std::string DirOf(size_t arm) const {
    return context_.workspace.dir() + "/real-" + std::to_string(arm);
  }

  const SuiteContext& context_;
  std::vector<std::unique_ptr<Arm>> arms_;
};

absl::Status RealRun::Once(const Application& application, size_t i, Series* series) {
  const Arm& arm = *arms_[i];
  uint64_t before = 0, after = 0;
  for (const Place* place : {&arm.client_place(), &arm.server_place()}) {
    auto used = CgroupCpuNs(place->cgroup);
    if (!used.ok()) return used.status();
    before += *used;
  }
  const uint64_t start = NowNs();
  auto requests = application.load(arm, DirOf(i));
  if (!requests.ok()) return requests.status();
  if (*requests <= 0) return absl::InternalError(application.name + " served nothing");
  for (const Place* place : {&arm.client_place(), &arm.server_place()}) {
    auto used = CgroupCpuNs(place->cgroup);
    if (!used.ok()) return used.status();
    after += *used;
  }
  series->cost.push_back(static_cast<double>(after - before) / *requests);
  series->wall.push_back(static_cast<double>(NowNs() - start) / *requests);
  series->ops += static_cast<uint64_t>(*requests);
  return absl::OkStatus();
}

absl::Status RealRun::Of(const Application& application) {
  std::vector<Child> servers;
  std::vector<Series> series;
  for (size_t i = 0; i < arms_.size(); i++) {
    auto dir = context_.workspace.MakeDir("real-" + std::to_string(i));
    if (!dir.ok()) return dir.status();
    chmod(dir->c_str(), 0755);
    auto server = application.start(*arms_[i], *dir);
    if (!server.ok()) return server.status();
    servers.push_back(*std::move(server));
    MSEG_RETURN_IF_ERROR(AwaitPort(*arms_[i], PortOf(application.name)));
    const ArmSpec& spec = arms_[i]->spec();
    series.push_back({.kind = spec.kind, .arm = spec.Name(), .rules = spec.rules, .starts = {0}});
    Series warm;
    MSEG_RETURN_IF_ERROR(Once(application, i, &warm));
  }
  const uint64_t rounds = std::max<uint64_t>(2, context_.options.runs / 20);
  for (uint64_t round = 0; round < rounds; round++) {
    context_.progress.Show(absl::StrCat(application.name, ": round ", round + 1, " of ", rounds));
    for (const size_t i : RandomOrder(arms_.size(), round)) {
      if (Interrupted()) return InterruptedStatus();
      MSEG_RETURN_IF_ERROR(Once(application, i, &series[i]));
    }
  }
  AddResults({.suite = application.name,
              .topology = "lo",
              .metric = "cpu",
              .unit = context_.Unit(),
              .latencies = false},
             series, context_.report);
  for (Child& server : servers) server.Kill(15);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunReal(const SuiteContext& context) {
  if (context.guest) {
    context.Skip("real", "", "not in a guest: the programs would measure the emulation's clock");
    return absl::OkStatus();
  }
  const auto& rules = context.options.rules;
  const uint64_t many = std::find(rules.begin(), rules.end(), kDefaultRules) != rules.end()
                            ? kDefaultRules
                            : rules.front();
  std::vector<ArmSpec> specs;
  for (const ArmSpec& spec : ArmsOf(context.options, 0)) {
    const bool base = spec.rules == 0;
    if (base) specs.push_back(spec);
  }
  for (const char* kind : {"mseg-client", "mseg-both", "nft-ct-set"}) {
    const std::string family = FindArmKind(kind)->family;
    const auto& compare = context.options.compare;
    if (family != "mseg" && std::find(compare.begin(), compare.end(), family) == compare.end()) {
      continue;
    }
    specs.push_back({kind, many, context.options.topology});
  }
  auto arms = MakeArms(context, "real", specs);
  if (!arms.ok()) return arms.status();
  RealRun run(context, *std::move(arms));
  for (const Application& application : Applications()) {
    if (!application.missing.empty()) {
      context.Skip(
          "real", application.name,
          absl::StrCat(application.missing[0], " is not installed (tools/setup installs it)"));
      continue;
    }
    MSEG_RETURN_IF_ERROR(run.Of(application));
  }
  return absl::OkStatus();
}

}  // namespace mseg::bench
