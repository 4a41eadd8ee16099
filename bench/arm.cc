// SPDX-License-Identifier: Apache-2.0
#include "bench/arm.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "loader/errno_status.h"
#include "loader/pins.h"
#include "loader/scoped_fd.h"

namespace mseg::bench {
namespace {

constexpr char kQuiet[] = "mseg-both-quiet";
constexpr char kClientAddress[] = "192.0.2.1";
constexpr char kServerAddress[] = "192.0.2.2";
// CPU time is what counts; this only keeps other work of the machine out of the slices' caches.
constexpr int kNice = -10;

class NoneArm : public Arm {
 public:
  using Arm::Arm;

 protected:
  absl::Status Enforce() override { return absl::OkStatus(); }
  bool Refuses() const override { return false; }
};

// What sends is judged where it arrives: in the namespace of each end.
class NftArm : public Arm {
 public:
  NftArm(ArmSpec spec, ArmContext context, std::string form)
      : Arm(std::move(spec), std::move(context)), form_(std::move(form)) {}

 protected:
  absl::Status Enforce() override {
    const std::string rules = form_ == "iptables" ? IptablesRules(spec().rules, PeerPattern())
                                                  : NftRules(form_, spec().rules, PeerPattern());
    const std::vector<std::string> program =
        form_ == "iptables" ? std::vector<std::string>{FindProgram("iptables-nft-restore")}
                            : std::vector<std::string>{FindProgram("nft"), "-f", "-"};
    return MustRun(program, {.netns = server_place().netns}, rules).status();
  }

 private:
  // Over veth only the server has a firewall, and it judges the client's address.
  std::string PeerPattern() const {
    return spec().topology == Topology::kLo ? "127.0.0.1" : kClientAddress;
  }
  std::string form_;
};

}  // namespace

std::string ArmSpec::Variant() const {
  return without.empty() ? kind : absl::StrCat(kind, "-without-", without);
}

std::string ArmSpec::Name() const {
  return rules == 0 ? Variant() : absl::StrCat(Variant(), "@", rules);
}

const std::vector<ArmKind>& ArmKinds() {
  static const std::vector<ArmKind> kinds = {
      {"none", false, 0, {}, "none", "no policy"},
      {"none-aa", false, 0, {}, "none", "no policy again: the A/A arm"},
      {"empty-client", false, 0, {}, "empty", "idle programs at mseg's hooks, client only"},
      {"empty-both", false, 0, {}, "empty", "the same at both ends"},
      {"empty-option", false, 0, {}, "empty", "the same, and options in the handshake"},
      {"mseg-client", true, 100000, {}, "mseg", "mseg, only the client managed"},
      {"mseg-both", true, 100000, {}, "mseg", "mseg, both ends managed"},
      {"mseg-both-quiet", true, 100000, {}, "mseg", "the same, allowed connections not reported"},
      {"mseg-wire-strict",
       true,
       100000,
       {},
       "mseg",
       "mseg on two hosts, identities proven before there is a connection",
       true},
      {"mseg-wire-fast",
       true,
       100000,
       {},
       "mseg",
       "the same, proven when the connection is there",
       true},
      {"nft-set", true, 100000, {"nft"}, "nftables", "nftables, one set"},
      {"nft-ct-set", true, 100000, {"nft"}, "nftables", "nftables, conntrack and one set"},
      {"nft-linear", true, 100000, {"nft"}, "nftables", "nftables, a rule a permission"},
      {"iptables-linear",
       true,
       10000,
       {"iptables-nft-restore"},
       "iptables",
       "iptables-nft, a rule a permission"},
  };
  return kinds;
}

const ArmKind* FindArmKind(const std::string& kind) {
  for (const ArmKind& known : ArmKinds()) {
    if (known.kind == kind) return &known;
  }
  return nullptr;
}

Arm::~Arm() {
  client_.reset();
  server_.reset();
  context_.workspace->RemoveArm(Id());
}

std::string Arm::Id() const {
  return absl::StrReplaceAll(spec_.Name(), {{"@", "-r"}}) +
         (spec_.topology == Topology::kVeth ? "-veth_" : "_");
}

std::string Arm::ServerCidr() const { return absl::StrCat("{cidrs: [", address_, "/32]}"); }

std::string Arm::ClientCidr() const {
  return absl::StrCat("{cidrs: [", spec_.topology == Topology::kVeth ? kClientAddress : address_,
                      "/32]}");
}

absl::Status Arm::MakeNetwork() {
  const Workspace& workspace = *context_.workspace;
  auto first = workspace.MakeNetns(Id());
  if (!first.ok()) return first.status();
  client_place_.netns = server_place_.netns = *first;
  if (spec_.topology == Topology::kLo) return absl::OkStatus();
  auto second = workspace.MakeNetns(Id() + "s");
  if (!second.ok()) return second.status();
  server_place_.netns = *second;
  address_ = kServerAddress;
  const std::string peer = second->substr(second->rfind('/') + 1);
  const Place here{.netns = *first}, there{.netns = *second};
  const std::vector<std::pair<Place, std::vector<std::string>>> steps = {
      {here,
       {"ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", peer}},
      {here, {"ip", "addr", "add", absl::StrCat(kClientAddress, "/24"), "dev", "veth0"}},
      {here, {"ip", "link", "set", "veth0", "up"}},
      {there, {"ip", "addr", "add", absl::StrCat(kServerAddress, "/24"), "dev", "veth1"}},
      {there, {"ip", "link", "set", "veth1", "up"}},
  };
  for (const auto& [place, command] : steps) {
    if (auto done = MustRun(command, place); !done.ok()) return done.status();
  }
  return absl::OkStatus();
}

// Removes the pinned links of `without`, and waits until the kernel has let go of them. The daemon
// attaches it again with the next generation, so there must be none.
absl::Status Arm::TakeAway() const {
  bool found = false;
  for (const char* host : {"managed", "alpha", "beta"}) {
    const std::string pin = absl::StrCat(context_.workspace->PinDir(absl::StrCat(Id(), "-", host)),
                                         "/", kLinkPins, "/", spec_.without);
    ScopedFd link(bpf_obj_get(pin.c_str()));
    if (!link.ok()) continue;
    bpf_link_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0 || unlink(pin.c_str()) != 0) {
      return ErrnoStatus(errno, "detach " + pin);
    }
    link.Reset();
    for (int i = 0; ScopedFd(bpf_link_get_fd_by_id(info.id)).ok(); i++) {
      if (i == 500) return absl::InternalError(pin + " is removed, but stays attached");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    found = true;
  }
  if (found) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("no program ", spec_.without, " is attached"));
}

absl::Status Arm::Start() {
  const Workspace& workspace = *context_.workspace;
  if (auto dir = workspace.MakeDir(Id()); !dir.ok()) return dir.status();
  auto client = workspace.MakeCgroup(absl::StrCat(Id(), "/", ClientCgroup()));
  auto server = workspace.MakeCgroup(absl::StrCat(Id(), "/", ServerCgroup()));
  if (!client.ok()) return client.status();
  if (!server.ok()) return server.status();
  MSEG_RETURN_IF_ERROR(MakeNetwork());
  client_place_.cgroup = *client;
  server_place_.cgroup = *server;
  client_place_.cpu = server_place_.cpu = context_.cpu;
  client_place_.nice = server_place_.nice = kNice;
  MSEG_RETURN_IF_ERROR(Enforce());
  if (!spec_.without.empty()) MSEG_RETURN_IF_ERROR(TakeAway());
  auto started = Worker::StartServer(server_place_, address_, Dir() + "/server.log");
  if (!started.ok()) return started.status();
  server_ = *std::move(started);
  started = Worker::StartClient(client_place_, address_, server_->pid(), Dir() + "/client.log");
  if (!started.ok()) return started.status();
  client_ = *std::move(started);
  return Verify();
}

absl::Status Arm::Verify() const {
  constexpr uint64_t kPatience = 10'000'000'000;
  auto allowed = client_->Run({.work = Work::kConnect, .max_ops = 1}, kPatience);
  if (!allowed.ok()) return allowed.status();
  if (allowed->failures > 0) {
    return absl::InternalError(
        absl::StrCat(spec_.Name(), ": what is allowed fails: ", strerror(allowed->error)));
  }
  if (!Refuses()) return absl::OkStatus();
  // A firewall that drops leaves the client waiting.
  const int want = FindArmKind(spec_.kind)->family == "mseg" ? EPERM : EINPROGRESS;
  auto refused = client_->Run(
      {.work = Work::kRefused, .port = kPortRefused, .want = want, .max_ops = 1}, kPatience);
  if (!refused.ok()) return refused.status();
  if (refused->failures == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(spec_.Name(), ": what is denied should give ",
                                          strerror(want), ", but: ", strerror(refused->error)));
}

absl::StatusOr<std::unique_ptr<Arm>> MakeArm(const ArmSpec& spec, const ArmContext& context) {
  std::unique_ptr<Arm> arm;
  if (spec.kind == "none" || spec.kind == "none-aa") {
    arm = std::make_unique<NoneArm>(spec, context);
  } else if (spec.kind == "empty-client") {
    arm = std::make_unique<EmptyArm>(spec, context, EmptyArm::Form::kClient);
  } else if (spec.kind == "empty-both") {
    arm = std::make_unique<EmptyArm>(spec, context, EmptyArm::Form::kBoth);
  } else if (spec.kind == "empty-option") {
    arm = std::make_unique<EmptyArm>(spec, context, EmptyArm::Form::kOption);
  } else if (spec.kind == "mseg-client") {
    arm = std::make_unique<MsegArm>(spec, context, MsegArm::Ends::kClient);
  } else if (spec.kind == "mseg-both" || spec.kind == kQuiet) {
    arm = std::make_unique<MsegArm>(spec, context, MsegArm::Ends::kBoth);
  } else if (spec.kind == "mseg-wire-strict") {
    arm = std::make_unique<WireArm>(spec, context, "strict");
  } else if (spec.kind == "mseg-wire-fast") {
    arm = std::make_unique<WireArm>(spec, context, "fast");
  } else if (spec.kind == "nft-linear") {
    arm = std::make_unique<NftArm>(spec, context, "linear");
  } else if (spec.kind == "nft-set") {
    arm = std::make_unique<NftArm>(spec, context, "set");
  } else if (spec.kind == "nft-ct-set") {
    arm = std::make_unique<NftArm>(spec, context, "ct-set");
  } else if (spec.kind == "iptables-linear") {
    arm = std::make_unique<NftArm>(spec, context, "iptables");
  } else {
    return absl::InvalidArgumentError(absl::StrCat("no arm is called ", spec.kind));
  }
  if (const absl::Status status = arm->Start(); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(spec.Name(), ": ", status.message()));
  }
  return arm;
}

}  // namespace mseg::bench
