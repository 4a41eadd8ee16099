// SPDX-License-Identifier: Apache-2.0
#include "ctl/selftest_hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/errno_name.h"
#include "ctl/selftest_acts.h"
#include "ctl/selftest_collision.h"
#include "ctl/selftest_link.h"

namespace mseg::ctl {
namespace {

// Services of the far host, by who looks at the end of the handshake, and whether anybody at the
// other end of the wire would be let in for his address.
constexpr uint16_t kStrict = kCollisionService;
constexpr uint16_t kFast = 7012;
constexpr uint16_t kStrictByAddress = 7013;
constexpr uint16_t kFastByAddress = 7014;

// Programs with one short id; the far host knows the first.
constexpr char kColliderProgram[] = "collider";
constexpr char kGroundProgram[] = "ground";

constexpr char kFarWire[] =
    "  path: require\n"
    "  listeners:\n"
    "  - {services: [tcp/7011, tcp/7013], proof: strict}\n"
    "  - {services: [tcp/7012, tcp/7014], proof: fast}\n";

// `digests`: of what may reach the services, between quotes and commas.
std::string FarPolicy(const std::string& digests) {
  return absl::StrCat(SelftestWorkload("client"), SelftestWorkload("server"),
                      "apiVersion: mseg.io/v1\nkind: AddressGroup\nmetadata: {name: st-wire}\n"
                      "spec: {labels: {place: st-wire}, cidrs: [192.0.2.0/24]}\n---\n"
                      "apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: st-server}\nspec:\n"
                      "  selects: {labels: {role: st-server}}\n  directions: [ingress]\n  rules:\n"
                      "  - {name: by-digest, verdict: allow, from: {labels: {role: st-client}, "
                      "process: {digest: [",
                      digests,
                      "]}}, to: {labels: {role: st-server}}, services: [tcp/7011-7014]}\n"
                      "  - {name: by-address, verdict: allow, from: {labels: {place: st-wire}}, "
                      "to: {labels: {role: st-server}}, services: [tcp/7013-7014]}\n");
}

// A number of the far host's namespace: how many connections came out of SYN cookies.
uint64_t CookiesOf(pid_t process) {
  std::ifstream file(absl::StrCat("/proc/", process, "/net/netstat"));
  std::string names;
  std::string values;
  while (std::getline(file, names) && std::getline(file, values)) {
    std::istringstream name(names);
    std::istringstream value(values);
    std::string key;
    std::string number;
    while (name >> key && value >> number) {
      if (key == "SyncookiesRecv") return strtoull(number.c_str(), nullptr, 10);
    }
  }
  return 0;
}

// Programs of the kind that writes identities which run for the sockets of a cgroup, its own and
// those that are attached above it.
uint32_t OptionWriters(const std::string& cgroup) {
  bpf_attr attr{};
  const int fd = open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  attr.query.target_fd = static_cast<uint32_t>(fd);
  attr.query.attach_type = BPF_CGROUP_SOCK_OPS;
  attr.query.query_flags = BPF_F_QUERY_EFFECTIVE;
  const bool known = fd >= 0 && syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) == 0;
  if (fd >= 0) close(fd);
  return known ? attr.query.prog_cnt : 0;
}

class TwoHosts {
 public:
  absl::StatusOr<std::vector<RowResult>> Run(bool prove);
  // Both, in this order: nothing of them stays.
  absl::Status Remove();

 private:
  absl::Status Make();
  absl::Status MakeFiles() const;
  absl::Status Start() const;
  absl::Status Introduce() const;
  absl::Status Serve() const;
  std::string Listen() const;
  std::vector<RowResult> Untried(absl::string_view why, bool twin_ok) const;
  std::vector<SelftestRow> Rows() const;
  RowResult TryCookies(const Trials& trials, const SelftestRow& row) const;
  SelftestTrial Trial(uint16_t port, const std::string& how, const std::string& refused_for) const;
  std::string Seen() const { return far_->dir() + "/seen"; }

  std::unique_ptr<Scratch> near_;
  std::unique_ptr<Scratch> far_;
};

absl::Status TwoHosts::Make() {
  auto near = Scratch::Make("near");
  if (!near.ok()) return near.status();
  near_ = *std::move(near);
  auto far = Scratch::Make("far");
  if (!far.ok()) return far.status();
  far_ = *std::move(far);
  return absl::OkStatus();
}

absl::Status TwoHosts::MakeFiles() const {
  const std::tuple<const Scratch*, const char*, const char*> files[] = {
      {near_.get(), "allowed", "a"},
      {near_.get(), "attacker", "x"},
      {far_.get(), "server", "s"},
      {far_.get(), "attacker", "x"}};
  for (const auto& [host, name, mark] : files) {
    if (absl::Status status = host->Copy(name, mark); !status.ok()) return status;
  }
  for (const auto& [name, which] : {std::pair(kColliderProgram, Collider::kAllowed),
                                    std::pair(kGroundProgram, Collider::kGround)}) {
    if (absl::Status status = near_->Place(name, ColliderFile(which)); !status.ok()) return status;
  }
  for (Scratch* host : {near_.get(), far_.get()}) {
    const std::string file = host->dir() + "/salt";
    if (!(std::ofstream(file) << kCollisionSalt << std::flush) || chmod(file.c_str(), 0600) != 0) {
      return absl::ErrnoToStatus(errno, "selftest: " + file);
    }
    const bool far = host == far_.get();
    host->Configure(absl::StrCat("fleet: {salt_file: ", file, "}\nhost: {name: st-",
                                 far ? "far" : "near", "}\nwire:\n  exid: ", kWireExid, "\n",
                                 far ? kFarWire : ""));
  }
  return absl::OkStatus();
}

// Both at once: that is most of what this takes.
absl::Status TwoHosts::Start() const {
  for (Scratch* host : {near_.get(), far_.get()}) {
    if (absl::Status status = host->LaunchDaemon(); !status.ok()) return status;
  }
  for (Scratch* host : {near_.get(), far_.get()}) {
    if (absl::Status status = host->AwaitDaemon(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Keys, policies, and what the near host's ids mean.
absl::Status TwoHosts::Introduce() const {
  api::Service& near = near_->daemon();
  api::Service& far = far_->daemon();
  auto init = [](api::Service& host, uint32_t id) {
    api::HostInit request;
    request.id = id;
    return host.InitHost(request);
  };
  auto near_host = init(near, kNearHost);
  auto far_host = init(far, kFarHost);
  if (!near_host.ok()) return near_host.status();
  if (!far_host.ok()) return far_host.status();
  auto trust = [](api::Service& host, const std::string& record) {
    api::HostTrust request;
    request.file = {"host.json", record};
    return host.TrustHost(request).status();
  };
  if (absl::Status status = trust(near, far_host->record); !status.ok()) return status;
  if (absl::Status status = trust(far, near_host->record); !status.ok()) return status;
  std::string digests;
  for (const char* name : {"allowed", kColliderProgram}) {
    auto digest = near_->DigestOf(name);
    if (!digest.ok()) return digest.status();
    absl::StrAppend(&digests, digests.empty() ? "" : ", ", "\"", *digest, "\"");
  }
  const std::string near_policy = SelftestWorkload("client");
  if (absl::Status status = near_->ApplyPolicy(near_policy); !status.ok()) return status;
  if (absl::Status status = far_->ApplyPolicy(FarPolicy(digests)); !status.ok()) return status;
  // So that they are on record before they run.
  for (const char* name : {"allowed", kColliderProgram}) {
    auto known = near.ShowIdentity(absl::StrCat(near_->dir(), "/", name));
    if (!known.ok()) return known.status();
  }
  auto records = near.ExportRecords();
  if (!records.ok()) return records.status();
  auto imported =
      far.ImportRecords({.files = {{"records.json", *records}}, .author = "", .caller = {}});
  if (!imported.ok()) return imported.status();
  return near.ShowIdentity(near_->dir() + "/" + kGroundProgram).status();
}

absl::Status TwoHosts::Serve() const {
  std::vector<std::string> serve = {"serve"};
  for (const uint16_t port : {kStrict, kFast, kStrictByAddress, kFastByAddress}) {
    serve.push_back(absl::StrCat("t", port));
  }
  return far_->Hold("server", far_->dir() + "/server", serve).status();
}

// Keeps what somebody on the path sees of a handshake that is allowed. Not empty: why it could not.
std::string TwoHosts::Listen() const {
  auto capture = far_->Hold("open", far_->dir() + "/attacker", {"capture", Seen()});
  if (!capture.ok()) return std::string(capture.status().message());
  const int reached = Trials(*near_, *far_).Twin(Trial(kStrict, "", "").twin);
  if (reached != 0) kill(capture->pid, SIGKILL);  // it would wait on
  const int captured = Scratch::Release(*capture);
  if (reached != 0) return "the allowed handshake failed: " + ErrnoName(reached);
  return captured == 0 ? "" : "no identity was seen in the allowed handshake";
}

SelftestTrial TwoHosts::Trial(uint16_t port, const std::string& how,
                              const std::string& refused_for) const {
  const std::string at = absl::StrCat(port);
  return {.attack = {"open", near_->dir() + "/attacker", {"forge", at, Seen(), how}},
          .twin = {"client", near_->dir() + "/allowed", {"reach", at}},
          .between = {},
          .refused_for = refused_for};
}

std::vector<SelftestRow> TwoHosts::Rows() const {
  const std::vector<std::string> hooks = {"mseg_ingress", "mseg_sockops"};
  auto row = [&hooks](const char* id, const char* attack, std::vector<SelftestTrial> trials) {
    SelftestRow out{.id = id, .attack = attack, .trials = std::move(trials)};
    out.hooks = hooks;
    return out;
  };
  // It speaks to the strict service by itself.
  const SelftestTrial ground = {.attack = {"client", near_->dir() + "/" + kGroundProgram, {}},
                                .twin = {"client", near_->dir() + "/" + kColliderProgram, {}},
                                .between = {},
                                .refused_for = "unknown_identity"};
  // Each of them takes a moment of an emulated processor: not every one in both forms.
  return {row("B36", "an identity forged in the handshake: a MAC, a host",
              {Trial(kStrict, "stranger", "no_record"), Trial(kStrict, "host", "bad_proof"),
               Trial(kFast, "mac", "bad_proof")}),
          row("B37", "a handshake recorded on the path, and replayed",
              {Trial(kStrict, "replay", "bad_proof"), Trial(kFast, "replay", "bad_proof")}),
          row("B38", "the identity taken out, where the address alone would do",
              {Trial(kStrictByAddress, "none", "no_proof"),
               Trial(kFastByAddress, "claim", "no_proof")}),
          row("B39", "forged, replayed, taken out through SYN cookies",
              {Trial(kFast, "mac", "bad_proof"), Trial(kStrict, "replay", "bad_proof"),
               Trial(kStrictByAddress, "claim", "no_proof")}),
          row("B51", "a binary ground for the short id of an allowed one", {ground})};
}

// The far host answers every SYN with a cookie from here on, and remembers none.
RowResult TwoHosts::TryCookies(const Trials& trials, const SelftestRow& row) const {
  const SelftestAct always = {
      "open", far_->dir() + "/attacker", {"set_network", "ipv4/tcp_syncookies", "2"}};
  if (far_->Run(always.cgroup, always.program, always.words) != 0) {
    RowResult none{.id = row.id, .attack = row.attack, .outcome = {}};
    none.outcome.reason = "this kernel has no SYN cookies";
    return none;
  }
  const uint64_t before = CookiesOf(far_->daemon_pid());
  RowResult result = trials.TryRow(row);
  // Those of the twins at least.
  if (CookiesOf(far_->daemon_pid()) < before + row.trials.size()) {
    result.outcome.result = "open";
    result.outcome.reason = "no SYN cookies were used";
  }
  return result;
}

std::vector<RowResult> TwoHosts::Untried(absl::string_view why, bool twin_ok) const {
  std::vector<RowResult> results;
  for (const SelftestRow& row : Rows()) {
    results.push_back({.id = row.id, .attack = row.attack, .outcome = {}});
    results.back().outcome.twin_ok = twin_ok;
    results.back().outcome.reason = std::string(why);
  }
  return results;
}

absl::StatusOr<std::vector<RowResult>> TwoHosts::Run(bool prove) {
  absl::Status made = Make();
  if (!made.ok()) return made;
  made = JoinNetworks(near_->netns(), far_->netns());
  if (absl::IsUnimplemented(made)) return Untried(made.message(), /*twin_ok=*/true);
  if (made.ok()) made = MakeFiles();
  if (made.ok()) made = Start();
  if (made.ok()) made = Introduce();
  if (made.ok()) made = Serve();
  if (!made.ok()) return made;
  if (const std::string why = Listen(); !why.empty()) {
    // A socket has one switch for all who would write to its header; theirs may have turned it off.
    const bool shared = OptionWriters(near_->Cgroup("client")) > 1;
    return Untried(
        shared ? "another program of this host, as its own mseg, writes TCP options" : why, shared);
  }
  const Trials trials(*near_, *far_);
  const std::vector<SelftestRow> rows = Rows();
  std::vector<RowResult> results;
  for (const SelftestRow& row : rows) {
    results.push_back(row.id == "B39" ? TryCookies(trials, row) : trials.TryRow(row));
  }
  if (prove) {
    if (absl::Status status = trials.Prove(rows, &results); !status.ok()) return status;
  }
  return results;
}

absl::Status TwoHosts::Remove() {
  absl::Status status;
  for (Scratch* host : {near_.get(), far_.get()}) {
    if (host != nullptr) status.Update(host->Remove());
  }
  return status;
}

}  // namespace

absl::StatusOr<std::vector<RowResult>> TryTwoHosts(bool prove) {
  TwoHosts hosts;
  auto results = hosts.Run(prove);
  const absl::Status removed = hosts.Remove();
  if (results.ok() && !removed.ok()) return removed;
  return results;
}

}  // namespace mseg::ctl
