// SPDX-License-Identifier: Apache-2.0
// `selftest --bypass`: tries every attack of docs/bypass.md on this host's kernel, in a place of
// its own. A row is `blocked` only if mseg says that it refused, and the same act succeeds for
// somebody whom policy allows it.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <map>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/errno_name.h"
#include "ctl/selftest_acts.h"
#include "ctl/selftest_hosts.h"
#include "ctl/selftest_rows.h"
#include "ctl/selftest_scratch.h"
#include "ctl/selftest_trial.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

class Bypass {
 public:
  explicit Bypass(Scratch& scratch) : scratch_(scratch), trials_(scratch, scratch) {}

  // `prove`: what was blocked is tried once more without the programs that block it.
  absl::StatusOr<std::vector<RowResult>> Run(bool prove);
  const std::string& mode() const { return mode_; }

 private:
  absl::Status MakeFiles() const;
  absl::Status MakeLibraries() const;
  absl::Status Enforce();
  absl::Status HoldAll();
  RowResult HeldRow();
  RowResult TryRow(const SelftestRow& row);
  absl::Status TryGuard(bool prove, const std::vector<SelftestRow>& rows,
                        std::vector<RowResult>* results);
  Outcome TryTampering(const std::vector<std::vector<std::string>>& acts) const;
  uint64_t Tampering() const;
  std::string GapOf(const std::string& name) const;
  std::string File(const std::string& name) const { return scratch_.dir() + "/" + name; }

  Scratch& scratch_;
  const Trials trials_;
  std::string mode_;
  std::string policy_;
  std::vector<std::string> gaps_;
  Scratch::Held held_attacker_;
  Scratch::Held held_allowed_;
  Scratch::Held traced_;
};

absl::Status Bypass::MakeFiles() const {
  const std::pair<const char*, const char*> files[] = {
      {"server", "s"},        {"allowed", "a"},  {"attacker", "x"},
      {"over", "a"},          {"renamed", "a"},  {"other/allowed", "x"},
      {"lower/program", "a"}, {"st-named", "n"}, {"public/st-named", "x"}};
  for (const auto& [name, mark] : files) {
    if (absl::Status status = scratch_.Copy(name, mark); !status.ok()) return status;
  }
  for (const char* name : {"script", "public/script"}) {
    std::ofstream(File(name)) << "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/" << kSelftestService
                              << " 2>/dev/null\n";
    if (chmod(File(name).c_str(), 0755) != 0) return absl::ErrnoToStatus(errno, "chmod");
  }
  if (symlink(File("script").c_str(), File("public/link").c_str()) != 0) {
    return absl::ErrnoToStatus(errno, "symlink");
  }
  if (chmod(File("public").c_str(), 01777) != 0) return absl::ErrnoToStatus(errno, "chmod");
  return MakeLibraries();
}

// One that this program uses, once root's and once somebody else's.
absl::Status Bypass::MakeLibraries() const {
  std::ifstream maps("/proc/self/maps");
  std::string library;
  for (std::string line; library.empty() && std::getline(maps, line);) {
    if (absl::StrContains(line, "/libm.so")) library = line.substr(line.find('/'));
  }
  for (const auto& [name, owner] : {std::pair("roots.so", 0), std::pair("others.so", 65534)}) {
    std::ofstream(File(name), std::ios::binary) << std::ifstream(library, std::ios::binary).rdbuf();
    if (chown(File(name).c_str(), owner, owner) != 0) return absl::ErrnoToStatus(errno, "chown");
  }
  return absl::OkStatus();
}

// Before there is a policy: the service, and connections to it that are older than the daemon.
absl::Status Bypass::HoldAll() {
  auto server =
      scratch_.Hold("server", File("server"),
                    {"serve", absl::StrCat("t", kSelftestService),
                     absl::StrCat("u", kSelftestService), absl::StrCat("u", kSelftestLure)});
  if (!server.ok()) return server.status();
  auto squatter =
      scratch_.Hold("server", File("attacker"), {"serve", absl::StrCat("t", kSelftestSquat)});
  if (!squatter.ok()) return squatter.status();
  auto attacker = scratch_.Hold("client", File("attacker"), {"hold"});
  if (!attacker.ok()) return attacker.status();
  auto allowed = scratch_.Hold("client", File("allowed"), {"hold"});
  if (!allowed.ok()) return allowed.status();
  held_attacker_ = *attacker;
  held_allowed_ = *allowed;
  return absl::OkStatus();
}

absl::Status Bypass::Enforce() {
  auto digest = scratch_.DigestOf("allowed");
  if (!digest.ok()) return digest.status();
  if (absl::Status status = scratch_.LaunchDaemon(); !status.ok()) return status;
  if (absl::Status status = scratch_.AwaitDaemon(); !status.ok()) return status;
  auto status = scratch_.daemon().GetStatus();
  if (!status.ok()) return status.status();
  mode_ = status->mode;
  gaps_ = status->gaps;
  policy_ = SelftestPolicy(scratch_.dir(), *digest, mode_ == "full");
  if (absl::Status applied = scratch_.ApplyPolicy(policy_); !applied.ok()) return applied;
  auto traced = scratch_.Hold("client", File("allowed"), {"sleep"});
  if (!traced.ok()) return traced.status();
  traced_ = *traced;
  // Who answers at an AF_UNIX socket is on record since bind().
  return scratch_
      .Hold("server", File("server"), {"serve", "x" + File("stream"), "y" + File("datagram")})
      .status();
}

// A gap is one that `status` names; what is no word of its list stands for itself.
std::string Bypass::GapOf(const std::string& name) const {
  for (const std::string& gap : gaps_) {
    if (absl::StartsWith(gap, name + ":")) return gap;
  }
  return name;
}

RowResult Bypass::TryRow(const SelftestRow& row) {
  RowResult result = trials_.TryRow(row);
  Outcome& out = result.outcome;
  const bool cgroup_gap = !row.gap_cgroup.empty() && mode_ == "cgroup" && out.result == "open";
  if (!row.gap.empty() || cgroup_gap) {
    out.result = "gap";
    out.reason = GapOf(row.gap.empty() ? row.gap_cgroup : row.gap);
  }
  return result;
}

RowResult Bypass::HeldRow() {
  RowResult result{
      .id = "B22", .attack = "a connection older than the policy and the daemon", .outcome = {}};
  Outcome& out = result.outcome;
  out.denied_by = DeniedSince(scratch_.daemon(), 0, kFlowLimit);
  out.attack_errno = Scratch::Release(held_attacker_);
  out.twin_ok = Scratch::Release(held_allowed_) == 0;
  out.result = out.attack_errno != 0 && !out.denied_by.empty() ? "blocked" : "open";
  if (out.result == "open") out.reason = "it is still open";
  if (!out.twin_ok) out.reason = "the allowed twin was closed, too";
  return result;
}

// How many attempts on mseg itself were refused.
uint64_t Bypass::Tampering() const {
  auto status = scratch_.daemon().GetStatus();
  if (!status.ok()) return 0;
  for (const auto& [name, value] : status->counters) {
    if (name == "tampering") return value;
  }
  return 0;
}

Outcome Bypass::TryTampering(const std::vector<std::vector<std::string>>& acts) const {
  Outcome out;
  out.result = "blocked";
  for (const std::vector<std::string>& act : acts) {
    const uint64_t before = Tampering();
    const int status = trials_.Do({"open", File("attacker"), act});
    const bool counted = Tampering() > before;
    if (status != 0 && counted) {
      out.attack_errno = status;
      continue;
    }
    out.result = "open";
    out.reason =
        absl::StrCat(act.front(), status == 0 ? ": it succeeded" : ": mseg did not refuse it");
  }
  return out;
}

// What root does to mseg itself, with `self_protection`, which only this daemon has: it guards its
// own maps, pins and state, nobody else's. Last of all, because afterwards only mseg can end it.
absl::Status Bypass::TryGuard(bool prove, const std::vector<SelftestRow>& rows,
                              std::vector<RowResult>* results) {
  using Acts = std::vector<std::vector<std::string>>;
  const std::string pins = scratch_.pins();
  auto acts_of = [&]() {
    const std::string daemon = absl::StrCat(scratch_.daemon_pid());
    return std::map<std::string, Acts>{
        {"B41", {{"open_map", pins + "/maps/mseg_config"}, {"write", File("state/store/CURRENT")}}},
        {"B42",
         {{"detach", pins + "/links/mseg_sendmsg6"},
          {"unpin", pins + "/links/mseg_connect6"},
          {"stop", daemon},
          {"trace", daemon}}}};
  };
  std::map<std::string, std::string> unattached;
  auto try_before = [&](const std::string& id, const SelftestAct& act) {
    std::string& said = unattached[id];
    if (!prove || (!said.empty() && said != "open")) return;
    const int status = trials_.Do(act);
    said = status == 0 ? "open" : absl::StrCat(act.words.front(), " still ", ErrnoName(status));
  };
  for (const auto& [id, acts] : acts_of()) {
    for (const auto& act : acts) try_before(id, {"open", File("attacker"), act});
  }
  for (const SelftestRow& row : rows) {
    for (const SelftestTrial& trial : row.trials) {
      if (row.guarded) try_before(row.id, trial.attack);
    }
  }
  if (absl::Status status = scratch_.RestartDaemon(/*guarded=*/true); !status.ok()) return status;
  std::map<std::string, Outcome> outcomes;
  for (const auto& [id, acts] : acts_of()) outcomes[id] = TryTampering(acts);
  for (size_t i = 0; i < rows.size(); i++) {
    if (!rows[i].guarded) continue;
    (*results)[i] = TryRow(rows[i]);
    (*results)[i].outcome.unattached = unattached[rows[i].id];
  }
  // What mseg itself does: a policy goes into the maps and the store, and everything is taken away.
  const absl::Status applied = scratch_.ApplyPolicy(SelftestWorkload("open") + policy_);
  // A daemon that has just taken a policy may be slow to stop.
  absl::Status detached = scratch_.DetachAll();
  for (const absl::Time until = absl::Now() + kTwinLimit; !detached.ok() && absl::Now() < until;) {
    detached = scratch_.DetachAll();
  }
  outcomes["B41"].twin_ok = applied.ok();
  outcomes["B42"].twin_ok = detached.ok();
  for (RowResult& row : *results) {
    const auto it = outcomes.find(row.id);
    if (it == outcomes.end()) continue;
    row.outcome = it->second;
    row.outcome.denied_by = "self_protection";
    row.outcome.unattached = unattached[row.id];
    if (!row.outcome.twin_ok) {
      row.outcome.reason = std::string((applied.ok() ? detached : applied).message());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RowResult>> Bypass::Run(bool prove) {
  if (absl::Status status = MakeFiles(); !status.ok()) return status;
  if (absl::Status status = HoldAll(); !status.ok()) return status;
  if (absl::Status status = Enforce(); !status.ok()) return status;
  const RowResult held = HeldRow();
  const SelftestPlaces places{
      .dir = scratch_.dir(),
      .client_cgroup = scratch_.Cgroup("client"),
      .traced = absl::StrCat(traced_.pid),
      .replace = [this](const std::string& name) { return scratch_.Copy(name, "x").ok(); }};
  const std::vector<SelftestRow> rows = SelftestRows(places);
  std::vector<RowResult> results;
  for (const SelftestRow& row : rows) {
    const bool later = row.guarded && mode_ == "full";
    results.push_back(later ? RowResult{.id = row.id, .attack = row.attack, .outcome = {}}
                            : TryRow(row));
  }
  if (prove) {
    if (absl::Status status = trials_.Prove(rows, &results); !status.ok()) return status;
  }
  if (mode_ == "full") {
    if (absl::Status status = TryGuard(prove, rows, &results); !status.ok()) return status;
  }
  results.push_back(held);
  return results;
}

Json ToJson(const RowResult& row) {
  const Outcome& out = row.outcome;
  auto text = [](const std::string& value) { return value.empty() ? Json() : Json(value); };
  return {{"id", row.id},
          {"attack", row.attack},
          {"result", out.result},
          {"attack_errno", out.attack_errno == 0 ? Json() : Json(ErrnoName(out.attack_errno))},
          {"twin", out.twin_ok ? "ok" : "failed"},
          {"denied_by", text(out.denied_by)},
          {"unattached", text(out.unattached)},
          {"reason", text(out.reason)}};
}

void PrintRows(Session& session, const std::vector<RowResult>& rows) {
  Table table({"ID", "RESULT", "TWIN", "ATTACK", "WHY"}, session.context().color);
  std::vector<std::string> unproven;
  for (const RowResult& row : rows) {
    const Outcome& out = row.outcome;
    table.Add({row.id, out.result, out.twin_ok ? "ok" : "FAILED", row.attack,
               out.reason.empty() ? out.denied_by : out.reason});
    if (out.unattached.empty() || out.unattached == "open") continue;
    unproven.push_back(absl::StrCat(row.id, " without its hooks: ", out.unattached, "\n"));
  }
  table.Print(session.out());
  for (const std::string& line : unproven) session.out() << line;
}

int RunBypass(Session& session, bool prove) {
  auto between_hosts = TryTwoHosts(prove);
  if (!between_hosts.ok()) return session.Fail(between_hosts.status());
  auto scratch = Scratch::Make();
  if (!scratch.ok()) return session.Fail(scratch.status());
  Bypass bypass(**scratch);
  auto rows = bypass.Run(prove);
  const absl::Status removed = (*scratch)->Remove();
  if (!rows.ok()) return session.Fail(rows.status());
  rows->insert(rows->end(), between_hosts->begin(), between_hosts->end());
  std::sort(rows->begin(), rows->end(),
            [](const RowResult& a, const RowResult& b) { return a.id < b.id; });
  Json tree = Json::array();
  bool bad = false;
  for (const RowResult& row : *rows) {
    tree.push_back(ToJson(row));
    bad = bad || row.outcome.result == "open" || !row.outcome.twin_ok ||
          !(row.outcome.unattached.empty() || row.outcome.unattached == "open");
  }
  if (!session.PrintTree(tree)) PrintRows(session, *rows);
  if (!removed.ok()) return session.Fail(removed);
  return bad ? kExitNo : kExitDone;
}

}  // namespace

void AddSelftest(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "selftest", "Tries on this host, in a place of its own, what mseg must withstand");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  const auto bypass = std::make_shared<bool>(false);
  const auto prove = std::make_shared<bool>(false);
  command->add_flag("--prove", *prove,
                    "Then try what was blocked once more, without the programs that block it: it "
                    "must succeed");
  const auto act = std::make_shared<std::vector<std::string>>();
  command->add_flag("--bypass", *bypass,
                    "Try every attack of docs/bypass.md (root; less than a minute)");
  // How it runs itself as attacker.
  command->add_option("--act", *act)->group("")->expected(1, 64);
  command->callback([&session, bypass, prove, act]() {
    session.action = [&session, bypass, prove, act]() {
      if (!act->empty()) return RunAct(act->front(), {act->begin() + 1, act->end()});
      if (*bypass) return RunBypass(session, *prove);
      return session.Fail(absl::InvalidArgumentError("selftest: say what to try: --bypass"));
    };
  });
}

}  // namespace mseg::ctl
