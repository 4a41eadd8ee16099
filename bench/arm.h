// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_ARM_H_
#define MSEG_BENCH_ARM_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/managed_host.h"
#include "bench/process.h"
#include "bench/worker.h"
#include "bench/workspace.h"
#include "loader/scoped_fd.h"

struct bench_option_bpf;  // the skeleton of option.bpf.c

namespace mseg::bench {

// Where client and server are: one namespace and `lo`, or two joined by a veth pair.
enum class Topology { kLo, kVeth };

struct ArmSpec {
  std::string kind = {};  // see ArmKinds()
  uint64_t rules = 0;
  Topology topology = Topology::kLo;
  std::string without = {};  // a program of mseg that is detached, to see what it costs

  // The kind, and what it is without.
  std::string Variant() const;
  // `mseg-both@1000`, `none`; unique in a run.
  std::string Name() const;
};

struct ArmKind {
  std::string kind;
  bool has_rules;
  uint64_t most_rules;                // more take too long to be of use
  std::vector<std::string> programs;  // that must be installed
  std::string family;                 // for --compare: none | mseg | empty | nftables | iptables
  std::string what;
  bool two_hosts = false;  // needs client and server in namespaces of their own
};
const std::vector<ArmKind>& ArmKinds();
const ArmKind* FindArmKind(const std::string& kind);

// Who may reach whom: selectors of a policy's rule.
struct Permission {
  std::string from, to;
};
inline constexpr char kBenchClient[] = "{labels: {bench: client}}";
inline constexpr char kBenchServer[] = "{labels: {bench: server}}";

// What a run needs to know to make arms.
struct ArmContext {
  const Workspace* workspace;
  std::string msegd, msegctl;  // programs
  int cpu;                     // that client and server share
  bool alone;                  // one arm at a time: a program of LSM sees all connections
};

// One way to have connections judged, or not: a client and a server with network namespaces and
// cgroups of their own, and whatever judges between them. Alive until it is destroyed.
//
// To add a kind: a class with Enforce(), a line in ArmKinds() and one in MakeArm().
class Arm {
 public:
  Arm(ArmSpec spec, ArmContext context) : spec_(std::move(spec)), context_(std::move(context)) {}
  virtual ~Arm();
  Arm(const Arm&) = delete;
  Arm& operator=(const Arm&) = delete;

  // Network, cgroups, rules, then server and client.
  absl::Status Start();
  // What the arm claims is true: the allowed port answers, the other one is refused. An arm that
  // does not refuse would be cheap.
  virtual absl::Status Verify() const;

  const ArmSpec& spec() const { return spec_; }
  const Worker& client() const { return *client_; }
  const Worker& server() const { return *server_; }
  const Place& client_place() const { return client_place_; }
  const Place& server_place() const { return server_place_; }
  const std::string& address() const { return address_; }
  // CPU time of what serves the arm in user space, so far.
  virtual uint64_t DaemonCpuNs() const { return 0; }

 protected:
  virtual absl::Status Enforce() = 0;
  virtual bool Refuses() const { return true; }
  // For policies that know an end by its address only.
  std::string ClientCidr() const;
  std::string ServerCidr() const;
  // Where the client's and the server's processes are, below the arm's cgroup.
  virtual std::string ClientCgroup() const { return "client"; }
  virtual std::string ServerCgroup() const { return "server"; }

  const ArmContext& context() const { return context_; }
  // A msegd that manages the arm's cgroup `name`, started. Its files are in Dir()/NAME.
  absl::StatusOr<std::unique_ptr<ManagedHost>> MakeHost(const std::string& name,
                                                        const std::string& config) const;
  // A name for files and cgroups of this arm.
  std::string Id() const;
  std::string Dir() const { return context_.workspace->dir() + "/" + Id(); }

 private:
  absl::Status MakeNetwork();
  absl::Status TakeAway() const;

  ArmSpec spec_;
  ArmContext context_;
  Place client_place_, server_place_;
  std::string address_ = "127.0.0.1";
  std::unique_ptr<Worker> server_, client_;
};

// A msegd of the arm's own.
class MsegArm : public Arm {
 public:
  // What is under the managed cgroup root.
  enum class Ends { kClient, kBoth };

  MsegArm(ArmSpec spec, ArmContext context, Ends ends)
      : Arm(std::move(spec), std::move(context)), ends_(ends) {}

  uint64_t DaemonCpuNs() const override { return host_->CpuNs(); }
  const ManagedHost& host() const { return *host_; }
  absl::StatusOr<std::map<std::string, uint64_t>> Counters() const;
  // What its maps took before it had a policy.
  uint64_t bare_map_bytes() const { return bare_map_bytes_; }

 protected:
  absl::Status Enforce() override;
  std::string ClientCgroup() const override { return "managed/client"; }
  std::string ServerCgroup() const override {
    return ends_ == Ends::kBoth ? "managed/server" : "server";
  }

 private:
  std::vector<Permission> Permissions() const;

  Ends ends_;
  std::unique_ptr<ManagedHost> host_;
  uint64_t bare_map_bytes_ = 0;
};

// A msegd for each end, and identities proven in the handshake.
class WireArm : public Arm {
 public:
  // proof: strict | fast, as the server's configuration names it.
  WireArm(ArmSpec spec, ArmContext context, std::string proof)
      : Arm(std::move(spec), std::move(context)), proof_(std::move(proof)) {}

  uint64_t DaemonCpuNs() const override { return client_host_->CpuNs() + server_host_->CpuNs(); }

 protected:
  absl::Status Enforce() override;
  std::string ClientCgroup() const override { return "alpha/client"; }
  std::string ServerCgroup() const override { return "beta/server"; }

 private:
  absl::Status Tell(const ManagedHost& from, const ManagedHost& to) const;

  std::string proof_;
  std::unique_ptr<ManagedHost> client_host_, server_host_;
};

// Nobody judges, but at every hook of mseg's there is a program that returns at once: what is left
// for mseg's own code is what its arms cost beyond this.
class EmptyArm : public Arm {
 public:
  enum class Form {
    kClient,  // hooks of the client's cgroup
    kBoth,    // of both ends
    kOption,  // of both, and options of the product's sizes in each handshake
  };

  EmptyArm(ArmSpec spec, ArmContext context, Form form)
      : Arm(std::move(spec), std::move(context)), form_(form) {}
  ~EmptyArm() override;

  absl::Status Verify() const override;

 protected:
  absl::Status Enforce() override;
  bool Refuses() const override { return false; }

 private:
  absl::Status LoadOption();
  absl::Status AttachLookup();
  absl::Status Keep(int link, const std::string& hook);

  Form form_;
  bench_option_bpf* option_ = nullptr;
  std::vector<ScopedFd> links_;
};

absl::StatusOr<std::unique_ptr<Arm>> MakeArm(const ArmSpec& spec, const ArmContext& context);

// ---- rule sets, as text ----

// The harness's own workloads and policy, with a fleet's around them until there are `rules` rules.
std::string MsegPolicy(uint64_t rules, const std::vector<Permission>& permissions);
// The cgroups (below the managed root) that the fleet's workloads of this host live in.
std::vector<std::string> FleetCgroups(uint64_t rules);
// For `nft -f`: form is linear | set | ct-set.
std::string NftRules(const std::string& form, uint64_t rules, const std::string& address);
// For `iptables-nft-restore`.
std::string IptablesRules(uint64_t rules, const std::string& address);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_ARM_H_
