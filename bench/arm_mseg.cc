// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/arm.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

constexpr uint64_t kStartNs = 120'000'000'000;  // a guest takes its time

}  // namespace

MsegArm::~MsegArm() { daemon_.Kill(15); }

std::string MsegArm::pin_dir() const { return context().workspace->PinDir(Id()); }

absl::Status MsegArm::MakeFleetCgroups() const {
  for (const std::string& path : FleetCgroups(spec().rules)) {
    auto made = context().workspace->MakeCgroup(absl::StrCat(Id(), "/managed/", path));
    if (!made.ok()) return made.status();
  }
  return absl::OkStatus();
}

absl::Status MsegArm::StartDaemon() {
  auto outside = context().workspace->MakeCgroup(Id() + "/daemon");
  if (!outside.ok()) return outside.status();
  socket_ = Dir() + "/sock";
  const std::string log = Dir() + "/msegd.log";
  const std::string config = Dir() + "/msegd.yaml";
  const bool quiet = absl::EndsWith(spec().kind, "-quiet");
  MSEG_RETURN_IF_ERROR(
      WriteWhole(config, absl::StrCat("report_allowed: ", quiet ? "false" : "true", "\n")));
  auto daemon = Child::Start({context().msegd, "--config", config, "--state-dir", Dir() + "/state",
                              "--socket", socket_, "--cgroup-root", root_, "--bpffs", pin_dir()},
                             {.cgroup = *outside}, log);
  if (!daemon.ok()) return daemon.status();
  daemon_ = *std::move(daemon);
  for (const uint64_t end = NowNs() + kStartNs; NowNs() < end && !Interrupted(); usleep(20'000)) {
    if (!daemon_.Running()) break;
    if (access(socket_.c_str(), F_OK) == 0 && Ctl({"status"}).ok()) return absl::OkStatus();
  }
  if (Interrupted()) return InterruptedStatus();
  auto said = ReadWhole(log);
  return absl::InternalError(
      absl::StrCat("msegd does not start: ", said.ok() ? said->substr(0, 500) : "it says nothing"));
}

absl::Status MsegArm::Enforce() {
  root_ = context().workspace->cgroup() + "/" + Id() + "/managed";
  MSEG_RETURN_IF_ERROR(MakeFleetCgroups());
  MSEG_RETURN_IF_ERROR(StartDaemon());
  MSEG_RETURN_IF_ERROR(
      WriteWhole(policy_file(), MsegPolicy(spec().rules, ends_ == Ends::kBoth, address())));
  const uint64_t start = NowNs();
  auto applied = Ctl({"policy", "apply", policy_file()});
  if (!applied.ok()) return applied.status();
  apply_ns_ = NowNs() - start;
  apply_output_ = *std::move(applied);
  return absl::OkStatus();
}

absl::StatusOr<std::string> MsegArm::Ctl(const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {context().msegctl, "--socket", socket_};
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.insert(command.end(), {"-o", "json"});
  return MustRun(command);
}

absl::StatusOr<std::map<std::string, uint64_t>> MsegArm::Counters() const {
  auto text = Ctl({"status"});
  if (!text.ok()) return text.status();
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  std::map<std::string, uint64_t> out;
  if (json.is_discarded() || !json.contains("counters")) {
    return absl::InternalError("msegctl status prints no counters");
  }
  for (const auto& [name, value] : json["counters"].items()) {
    if (value.is_number_unsigned()) out[name] = value.get<uint64_t>();
  }
  return out;
}

}  // namespace mseg::bench
