// SPDX-License-Identifier: Apache-2.0
// Two hosts that prove to each other, in the TCP handshake, which programs talk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/arm.h"
#include "loader/errno_status.h"

namespace mseg::bench {
namespace {

// A salt that both hosts share, in a file of this user alone.
absl::StatusOr<std::string> MakeSalt(const std::string& path) {
  std::random_device random;
  std::string salt;
  for (int i = 0; i < 8; i++) absl::StrAppend(&salt, absl::StrFormat("%08x", random()));
  MSEG_RETURN_IF_ERROR(WriteWhole(path, salt + "\n"));
  if (chmod(path.c_str(), 0600) != 0) return ErrnoStatus(errno, path);
  return path;
}

}  // namespace

absl::Status WireArm::Enforce() {
  auto salt = MakeSalt(Dir() + "/salt");
  if (!salt.ok()) return salt.status();
  struct Side {
    const char* name;
    const char* id;
    std::unique_ptr<ManagedHost>* host;
  };
  const Side sides[] = {{"alpha", "1", &client_host_}, {"beta", "2", &server_host_}};
  const std::string policy = MsegPolicy(spec().rules, {{kBenchClient, kBenchServer}});
  for (const Side& side : sides) {
    auto host = MakeHost(side.name, absl::StrFormat("fleet: {salt_file: %s}\n"
                                                    "host: {name: %s}\n"
                                                    "wire: {proof: %s}\n",
                                                    *salt, side.name, proof_));
    if (!host.ok()) return host.status();
    *side.host = *std::move(host);
    if (auto done = (*side.host)->Ctl({"host", "init", "--id", side.id}); !done.ok()) {
      return done.status();
    }
    MSEG_RETURN_IF_ERROR((*side.host)->Apply(policy));
  }
  MSEG_RETURN_IF_ERROR(Tell(*client_host_, *server_host_));
  return Tell(*server_host_, *client_host_);
}

// Whose keys `from` has, and what the ids mean that it will claim: of this program, which is client
// and server, and of the labels.
absl::Status WireArm::Tell(const ManagedHost& from, const ManagedHost& to) const {
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string host = from.places().dir + "/host.json";
  const std::string records = from.places().dir + "/records.json";
  auto shown = from.CtlJson({"host", "show"});
  if (!shown.ok()) return shown.status();
  MSEG_RETURN_IF_ERROR(WriteWhole(host, *shown));
  const std::pair<const ManagedHost*, std::vector<std::string>> steps[] = {
      {&to, {"host", "trust", host}},
      {&from, {"identity", "show", self}},
      {&from, {"record", "export", "-o", records}},
      {&to, {"record", "import", records}},
  };
  for (const auto& [at, command] : steps) {
    if (auto done = at->Ctl(command); !done.ok()) return done.status();
  }
  return absl::OkStatus();
}

}  // namespace mseg::bench
