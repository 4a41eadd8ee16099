// SPDX-License-Identifier: Apache-2.0
// One msegd that judges both ends, or only the client's.
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/arm.h"
#include "loader/errno_status.h"

namespace mseg::bench {

absl::StatusOr<std::unique_ptr<ManagedHost>> Arm::MakeHost(const std::string& name,
                                                           const std::string& config) const {
  const Workspace& workspace = *context_.workspace;
  const std::string id = absl::StrCat(Id(), "/", name);
  auto root = workspace.MakeCgroup(id);
  if (!root.ok()) return root.status();
  auto outside = workspace.MakeCgroup(absl::StrCat(Id(), "/daemon-", name));
  if (!outside.ok()) return outside.status();
  for (const std::string& path : FleetCgroups(spec_.rules)) {
    if (auto made = workspace.MakeCgroup(absl::StrCat(id, "/", path)); !made.ok()) {
      return made.status();
    }
  }
  auto dir = workspace.MakeDir(id);
  if (!dir.ok()) return dir.status();
  auto host = std::make_unique<ManagedHost>(
      ManagedHostPlaces{.msegd = context_.msegd,
                        .msegctl = context_.msegctl,
                        .dir = *dir,
                        .pin_dir = workspace.PinDir(absl::StrCat(Id(), "-", name)),
                        .cgroup_root = *root,
                        .own_cgroup = *outside});
  MSEG_RETURN_IF_ERROR(host->Start(config));
  return host;
}

// Without identities on the wire, the other end of a link is known by its address only.
std::vector<Permission> MsegArm::Permissions() const {
  if (ends_ == Ends::kClient) return {{kBenchClient, ServerCidr()}};
  if (spec().topology == Topology::kLo) return {{kBenchClient, kBenchServer}};
  return {{kBenchClient, ServerCidr()}, {ClientCidr(), kBenchServer}};
}

absl::Status MsegArm::Enforce() {
  const bool quiet = absl::EndsWith(spec().kind, "-quiet");
  auto host = MakeHost("managed", absl::StrCat("report_allowed: ", quiet ? "false" : "true", "\n"));
  if (!host.ok()) return host.status();
  host_ = *std::move(host);
  auto counters = Counters();
  if (!counters.ok()) return counters.status();
  bare_map_bytes_ = (*counters)["map_bytes"];
  return host_->Apply(MsegPolicy(spec().rules, Permissions()));
}

absl::StatusOr<std::map<std::string, uint64_t>> MsegArm::Counters() const {
  auto text = host_->CtlJson({"status"});
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
