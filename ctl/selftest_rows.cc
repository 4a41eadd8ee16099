// SPDX-License-Identifier: Apache-2.0
// The attacks that mseg must withstand, by their numbers in docs/bypass.md.
#include "ctl/selftest_rows.h"

#include "absl/strings/str_cat.h"
#include "ctl/selftest_acts.h"

namespace mseg::ctl {
namespace {

using Words = std::vector<std::string>;

// Makes rows in terms of the three identities: `allowed` may reach the service, `attacker` lives in
// the same cgroup and may not, and in cgroup `open` nobody is confined.
class Rows {
 public:
  explicit Rows(const SelftestPlaces& places) : places_(places) {}

  std::vector<SelftestRow> Take() { return std::move(rows_); }

  std::string File(const std::string& name) const { return places_.dir + "/" + name; }
  SelftestAct Attacker(const Words& words) const { return {"client", File("attacker"), words}; }
  SelftestAct Allowed(const Words& words) const { return {"client", File("allowed"), words}; }
  SelftestAct Unconfined(const Words& words) const { return {"open", File("attacker"), words}; }

  SelftestRow& Add(const std::string& id, const std::string& attack) {
    rows_.push_back({.id = id, .attack = attack, .trials = {}});
    return rows_.back();
  }
  // One that is refused when the socket is made.
  SelftestRow& AddKind(const std::string& id, const std::string& attack) {
    SelftestRow& row = Add(id, attack);
    row.hooks = {"mseg_sock_create", "mseg_lsm_socket_create"};
    return row;
  }
  // The act itself, by the one who may not and the one who may.
  SelftestTrial Same(const Words& words) const { return {Attacker(words), Allowed(words), {}}; }
  // A door that is closed to whoever is confined.
  SelftestTrial Door(const Words& words) const { return {Attacker(words), Unconfined(words), {}}; }

  void AddNetwork();
  void AddDoors();
  void AddOwners();
  void AddFiles();
  void AddExecs();
  void AddUntried();

 private:
  const SelftestPlaces& places_;
  std::vector<SelftestRow> rows_;
};

void Rows::AddNetwork() {
  Add("B01", "TCP Fast Open: sendto() that connects").trials = {Same({"fastopen"})};
  Add("B02", "TCP_FASTOPEN_CONNECT").trials = {Same({"fastopen_connect"})};
  AddKind("B03", "MPTCP").trials = {Door({"socket", "2", "1", "262", "10", "1", "262"})};
  Add("B04", "UDP sendto() without connect()").trials = {Same({"udp"})};
  Add("B05", "UDP connected to one address, sent to another").trials = {Same({"udp_redirect"})};
  Add("B06", "IPv4 in IPv6, TCP and UDP, and plain IPv6").trials = {
      Same({"mapped_tcp"}), Same({"mapped_udp"}), Same({"tcp6"})};
  Add("B07", "connect() by io_uring").trials = {Same({"uring"})};
}

void Rows::AddDoors() {
  SelftestRow& sqpoll = Add("B08", "io_uring served by a kernel thread (SQPOLL)");
  sqpoll.trials = {Door({"sqpoll"})};
  sqpoll.hooks = {"mseg_lsm_sqpoll"};
  sqpoll.gap_cgroup = "io_uring_sqpoll";
  AddKind("B09", "raw sockets, ICMP and IP").trials = {
      Door({"socket", "2", "3", "1", "10", "3", "58"}), Door({"socket", "2", "3", "255"})};
  SelftestRow& ping = AddKind("B10", "ping sockets");
  ping.trials = {Door({"ping", "4"}), Door({"ping", "6"})};
  ping.hooks.push_back("mseg_lsm_sendmsg");  // which sees whom a ping socket pings
  // What an echo request carries is not looked at: who may send one is all there is.
  SelftestRow& tunnel = AddKind("B46", "a tunnel through ICMP that a rule allows to somebody else");
  tunnel.trials = {Same({"ping", "4"}), Same({"ping", "6"})};
  tunnel.hooks = ping.hooks;
  SelftestRow& packet = AddKind("B11", "packet sockets");
  packet.trials = {Door({"socket", "17", "3", "768"}), Door({"socket", "17", "2", "768"})};
  packet.gap_cgroup = "af_packet";
  SelftestRow& families = AddKind("B12", "XDP, ALG, TIPC, RDS, SMC, KCM, L2TP, key sockets");
  for (const Words& kind : std::vector<Words>{{"44", "3", "0"},
                                              {"38", "5", "0"},
                                              {"30", "5", "0"},
                                              {"21", "5", "0"},
                                              {"43", "1", "0"},
                                              {"41", "2", "0"},
                                              {"2", "2", "115"},
                                              {"15", "3", "2"}}) {
    families.trials.push_back(Door({"socket", kind[0], kind[1], kind[2]}));
  }
  families.gap_cgroup = "af_packet";
  SelftestRow& tun = Add("B13", "a TUN device and a stack of one's own");
  tun.trials = {Door({"tun"})};
  tun.hooks = {"mseg_lsm_tun_create", "mseg_lsm_tun_open"};
  tun.gap_cgroup = "af_packet";
  SelftestRow& vsock = AddKind("B14", "vsock");
  vsock.trials = {Door({"socket", "40", "1", "0"})};
  vsock.gap_cgroup = "af_packet";
  SelftestRow& program = Add("B43", "a BPF program of the attacker's own");
  program.trials = {Door({"load_program"})};
  program.hooks = {"mseg_lsm_bpf"};
  program.guarded = true;
  program.gap_cgroup = "bpf_programs";
  AddKind("B18", "SCTP, one-to-one and one-to-many").trials = {Door({"socket", "2", "1", "132"}),
                                                               Door({"socket", "2", "5", "132"})};
  AddKind("B19", "DCCP").trials = {Door({"socket", "2", "6", "33"})};
}

void Rows::AddOwners() {
  Add("B16", "a service on the loopback address").trials = {Same({"tcp"})};
  SelftestRow& passed = Add("B20", "a connected socket handed over (SCM_RIGHTS)");
  passed.trials = {{Allowed({"pass", File("attacker")}), Allowed({"pass", File("allowed")}), {}}};
  passed.gap_cgroup = "fd_passing";
  passed.hooks = {"mseg_lsm_file_receive", "mseg_lsm_send_held"};
  SelftestRow& inherited = Add("B21", "a connected, accepted or listening socket kept over exec");
  auto hand_over = [this](const std::string& to, const char* how = "hand_over") {
    return SelftestAct{
        "server", File("server"), {how, File(to), File("allowed"), places_.client_cgroup}};
  };
  inherited.trials = {
      {Allowed({"inherit", File("attacker")}), Allowed({"inherit", File("allowed")}), {}},
      {hand_over("attacker"), hand_over("server"), {}},
      {hand_over("attacker", "hand_accepted"), hand_over("server", "hand_accepted"), {}}};
  inherited.gap_cgroup = "fd_passing";
  inherited.hooks = {"mseg_lsm_send_held", "mseg_lsm_accept"};
  SelftestRow& proxy = Add("B15", "an allowed process as proxy behind an AF_UNIX socket");
  proxy.trials = {Same({"unix", File("stream")}), Same({"unix_datagram", File("datagram")})};
  proxy.gap_cgroup = "af_unix";
  proxy.hooks = {"mseg_lsm_unix_connect", "mseg_lsm_unix_send"};
  SelftestRow& pair = Add("B17", "an end of socketpair() kept over exec");
  auto keep = [this](const char* to) {
    return SelftestAct{"server", File("server"), {"pair", File(to), places_.client_cgroup}};
  };
  pair.trials = {{keep("attacker"), keep("allowed"), {}}};
  pair.gap_cgroup = "af_unix";
  pair.hooks = {"mseg_lsm_pair_send"};
  Add("B40", "a connection that the kernel makes: a mount of SMB").trials = {Same({"mount_smb"})};
  const Words move = {"move", places_.client_cgroup};
  Add("B23", "a socket made before a move to another cgroup").trials = {
      {{"open", File("attacker"), move}, {"open", File("allowed"), move}, {}}};
  Add("B24", "a user namespace of one's own").trials = {Same({"userns"})};
  Add("B25", "another program that listens at a port that a rule names").trials = {
      {Allowed({"squatted"}), Allowed({"tcp"}), {}}};
  SelftestRow& traced = Add("B33", "ptrace of an allowed process");
  traced.trials = {Same({"trace", places_.traced})};
  traced.gap_cgroup = "ptrace";
  traced.hooks = {"mseg_lsm_ptrace"};
}

void Rows::AddFiles() {
  Add("B27", "an allowed file, overwritten").trials = {
      {{"client", File("over"), {"tcp"}},
       {"client", File("over"), {"tcp"}},
       [replace = places_.replace]() { return replace("over"); }}};
  Add("B28", "an allowed file's name, elsewhere").trials = {
      {{"client", File("other/allowed"), {"tcp"}}, {"client", File("renamed"), {"tcp"}}, {}}};
  const std::string lower = File("lower");
  SelftestRow& mounts = Add("B29", "bind mounts over a file, overlay copy-up");
  mounts.trials = {
      {Attacker({"bind", File("attacker"), File("allowed")}),
       Attacker({"bind", File("allowed"), File("over")}),
       {}},
      {Attacker({"overlay", lower, File("attacker")}), Attacker({"overlay", lower}), {}}};
  auto served = [this](const char* act) {
    return Attacker({"served", File("allowed"), File("other"), act});
  };
  Add("B30", "a file that its server may change between two reads (FUSE)").trials = {
      {served("tcp"), served("lure"), {}}};
  Add("B31", "files without a name: memfd, deleted").trials = {
      {Attacker({"nameless", File("allowed")}), Allowed({"tcp"}), {}},
      {Attacker({"nameless", File("allowed"), File("gone")}), Allowed({"tcp"}), {}}};
  Add("B50", "a name that a rule allows, where anybody may write").trials = {
      {{"client", File("public/st-named"), {"tcp"}}, {"client", File("st-named"), {"tcp"}}, {}}};
}

void Rows::AddExecs() {
  Add("B26", "fork, vfork and exec by a thread, connecting at once").trials = {
      {Allowed({"race", File("attacker"), "any"}), Attacker({"race", File("allowed"), "all"}), {}}};
  SelftestRow& loader = Add("B32", "ld.so PROGRAM; what LD_PRELOAD and dlopen bring in");
  const std::string others = File("others.so");
  loader.trials = {{Attacker({"loader", File("attacker")}), Allowed({"tcp"}), {}},
                   {Allowed({"preload", others, File("allowed")}),
                    Unconfined({"preload", others, File("allowed")}),
                    {},
                    "AT_SECURE"},
                   {Allowed({"library", others}), Allowed({"library", File("roots.so")}), {}}};
  loader.gap_cgroup = "libraries";
  loader.hooks.insert(loader.hooks.end(), {"mseg_lsm_secure_exec", "mseg_lsm_mmap"});
  SelftestRow& script = Add("B34", "an interpreter told what to do");
  const SelftestAct told = Attacker({"interpreter", "script", File("script")});
  script.trials = {{Attacker({"interpreter", "line"}), told, {}},
                   {Attacker({"interpreter", "argument", File("script")}), told, {}},
                   {Attacker({"interpreter", "script", File("public/script")}), told, {}},
                   {Attacker({"interpreter", "script", File("public/link")}), told, {}}};
  script.gap_cgroup = "script_identity";
  Add("B48", "a flood of events").trials = {{Attacker({"flood"}), Allowed({"tcp"}), {}}};
  Add("B49", "mm->exe_file changed from inside").trials = {
      {Attacker({"swap", File("allowed")}), Allowed({"tcp"}), {}}};
}

// Not tried here; what there is to say of them.
void Rows::AddUntried() {
  auto untried = [this](const char* id, const char* attack, const char* gap) {
    Add(id, attack).gap = gap;
  };
  untried("B35", "code injected into an allowed process",
          "out of scope: give each process what it needs and no more");
  untried("B41", "root writes to mseg's maps", "self_protection");
  untried("B42", "root detaches mseg's programs", "self_protection");
  untried("B44", "kexec, modules, /dev/mem", "kernel_takeover");
  untried("B45", "a tunnel through an allowed DNS server", "dns_tunnel");
  untried("B47", "a changed policy store", "policy_store");
}

}  // namespace

std::vector<std::string> VerdictHooks() {
  return {"mseg_connect4",    "mseg_connect6",    "mseg_sendmsg4", "mseg_sendmsg6",
          "mseg_lsm_connect", "mseg_lsm_sendmsg", "mseg_ingress"};
}

std::string SelftestWorkload(const std::string& name, const std::string& more) {
  return absl::StrCat("apiVersion: mseg.io/v1\nkind: Workload\nmetadata: {name: st-", name,
                      "}\nspec: {labels: {role: st-", name, "}, match: {cgroup: /", name, "}", more,
                      "}\n---\n");
}

std::string SelftestPolicy(const std::string& dir, const std::string& digest, bool full) {
  auto rule = [](const std::string& name, const std::string& process, const std::string& exe,
                 const std::string& services) {
    const std::string from = process.empty() ? "" : absl::StrCat(", process: {", process, "}");
    return absl::StrCat("  - {name: ", name, ", verdict: allow, from: {labels: {role: st-client}",
                        from, "}, to: {labels: {role: st-server}, process: {exe: [", exe, "]}}",
                        services.empty() ? "" : absl::StrCat(", services: [", services, "]"),
                        "}\n");
  };
  const std::string server = dir + "/server";
  const std::string allowed = absl::StrCat("digest: [\"", digest, "\"]");
  // Where scripts are not known, whoever wants one to talk allows its interpreter.
  const std::string script =
      absl::StrCat("exe: [/bin/bash, /usr/bin/bash]", full ? ", script: " + dir + "/script" : "");
  return absl::StrCat(
      SelftestWorkload("client", full ? ", libraries: trusted" : ""),
      SelftestWorkload("server", full ? ", unix: judge" : ""),
      "apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: st-client}\nspec:\n"
      "  selects: {labels: {role: st-client}}\n  directions: [egress]\n  rules:\n"
      "  - {name: ping, verdict: allow, from: {labels: {role: st-client}, process: {",
      allowed,
      "}}, to: {}, services: [icmp/echo-request]}\n---\n"
      "apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: st-server}\nspec:\n"
      "  selects: {labels: {role: st-server}}\n  directions: [ingress]\n  rules:\n",
      rule("by-digest", allowed, server,
           absl::StrCat("tcp/", kSelftestService, ", udp/", kSelftestService, ", tcp/",
                        kSelftestSquat, ", tcp/", kSelftestHanded)),
      rule("by-script", script, server, absl::StrCat("tcp/", kSelftestService)),
      rule("by-name", "name: st-named", server, absl::StrCat("tcp/", kSelftestService)),
      full ? rule("unix", allowed, server, "") : "",
      rule("lure", "", server, absl::StrCat("udp/", kSelftestLure)));
}

std::vector<SelftestRow> SelftestRows(const SelftestPlaces& places) {
  Rows rows(places);
  rows.AddNetwork();
  rows.AddDoors();
  rows.AddOwners();
  rows.AddFiles();
  rows.AddExecs();
  rows.AddUntried();
  return rows.Take();
}

}  // namespace mseg::ctl
