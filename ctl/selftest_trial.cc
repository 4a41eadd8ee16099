// SPDX-License-Identifier: Apache-2.0
#include "ctl/selftest_trial.h"

#include <errno.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/errno_name.h"
#include "ctl/selftest_acts.h"

namespace mseg::ctl {
namespace {

bool IsMissing(int error) {
  for (const int missing : {EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EINVAL, ENOENT, ENODEV,
                            ENOSYS, EOPNOTSUPP, ENXIO, ENOPROTOOPT}) {
    if (error == missing) return true;
  }
  return false;
}

int Rank(const std::string& result) {
  return result == "open" ? 3 : result == "gap" ? 2 : result == "blocked" ? 1 : 0;
}

}  // namespace

std::string DeniedSince(api::Service& daemon, int64_t since_us, absl::Duration limit) {
  const absl::Time until = absl::Now() + limit;
  api::FlowsRequest request;
  request.verdict = "deny";
  request.since_unix_us = since_us;
  while (true) {
    auto page = daemon.Flows(request);
    if (page.ok() && !page->records.empty()) {
      const api::FlowRecord& flow = page->records.back();
      return absl::StrCat(flow.hook, ": ", flow.reason, flow.rule.empty() ? "" : " of ", flow.rule);
    }
    if (absl::Now() > until) return "";
    absl::SleepFor(absl::Milliseconds(20));
  }
}

int Trials::Twin(const SelftestAct& act) const {
  const absl::Time until = absl::Now() + kTwinLimit;
  while (true) {
    const int status = Do(act);
    if (status == 0 || status == kActNotTried || IsMissing(status) || absl::Now() > until) {
      return status;
    }
    absl::SleepFor(absl::Milliseconds(100));
  }
}

Outcome Trials::TryTrial(const SelftestTrial& trial) const {
  Outcome out;
  int twin = trial.between ? Twin(trial.twin) : -1;
  if (trial.between && !trial.between()) {
    out.reason = "could not be set up";
    return out;
  }
  const int64_t since_us = absl::ToUnixMicros(absl::Now());
  const int attack = Do(trial.attack);
  out.attack_errno = attack == kActNotTried ? 0 : attack;
  if (attack == EPERM && !trial.unreported.empty()) {
    out.denied_by = trial.unreported;
  } else if (attack != 0) {
    out.denied_by = DeniedSince(judge_.daemon(), since_us, kFlowLimit);
  }
  if (twin < 0) twin = Twin(trial.twin);
  if (twin == kActNotTried || (IsMissing(twin) && attack != 0)) {
    out.reason = twin == kActNotTried
                     ? "could not be set up here"
                     : absl::StrCat("this kernel says ", ErrnoName(twin), " to everybody");
    out.denied_by.clear();
    return out;
  }
  out.twin_ok = twin == 0;
  if (!out.twin_ok) out.reason = absl::StrCat("the allowed twin failed: ", ErrnoName(twin));
  out.result = "open";
  if (attack == 0) {
    out.reason = "it succeeded";
  } else if (out.denied_by.empty()) {
    out.reason = attack == kActNotTried ? "it could not be tried, its twin could"
                                        : "it failed, but mseg did not refuse it";
  } else if (!absl::StrContains(out.denied_by, trial.refused_for)) {
    out.reason = absl::StrCat("it was refused, but not for ", trial.refused_for);
  } else {
    out.result = "blocked";
  }
  return out;
}

RowResult Trials::TryRow(const SelftestRow& row) const {
  RowResult result{.id = row.id, .attack = row.attack, .outcome = {}};
  Outcome& out = result.outcome;
  for (const SelftestTrial& trial : row.trials) {
    const Outcome one = TryTrial(trial);
    const bool twin_ok = out.twin_ok && one.twin_ok;
    if (Rank(one.result) >= Rank(out.result) || !one.twin_ok) out = one;
    out.twin_ok = twin_ok;
  }
  return result;
}

// The kernel lets go of a program some milliseconds after its link went. The daemon attaches some
// of them again with each generation, which an executable that is new on this host brings.
std::string Trials::TryUnattached(const SelftestRow& row) const {
  bool opened = false;
  for (const SelftestTrial& trial : row.trials) {
    const absl::Time until = absl::Now() + kTwinLimit;
    int status = Do(trial.attack);
    while (status != 0 && !IsMissing(status) && absl::Now() < until) {
      absl::SleepFor(absl::Milliseconds(20));
      if (!judge_.Detach(row.hooks).ok()) break;
      status = Do(trial.attack);
    }
    if (status != 0 && !IsMissing(status)) return absl::StrCat("still ", ErrnoName(status));
    opened = opened || status == 0;
  }
  return opened ? "open" : "not tried";
}

// Rows that the same programs cover share a restart of the daemon, which attaches them again.
absl::Status Trials::Prove(const std::vector<SelftestRow>& rows,
                           std::vector<RowResult>* results) const {
  std::map<std::vector<std::string>, std::vector<size_t>> groups;
  for (size_t i = 0; i < rows.size(); i++) {
    if ((*results)[i].outcome.result == "blocked") groups[rows[i].hooks].push_back(i);
  }
  for (const auto& [hooks, members] : groups) {
    if (absl::Status status = judge_.Detach(hooks); !status.ok()) return status;
    for (const size_t i : members) (*results)[i].outcome.unattached = TryUnattached(rows[i]);
    if (absl::Status status = judge_.RestartDaemon(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace mseg::ctl
