// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_ROWS_H_
#define MSEG_CTL_SELFTEST_ROWS_H_

#include <functional>
#include <string>
#include <vector>

namespace mseg::ctl {

// Who does what: a program of the scratch folder, in one of its cgroups.
struct SelftestAct {
  std::string cgroup;
  std::string program;
  std::vector<std::string> words;
};

// One way to try an attack, and the same act by somebody whom policy allows it.
struct SelftestTrial {
  SelftestAct attack;
  SelftestAct twin;
  // Set: the twin goes first, and this happens in between.
  std::function<bool()> between;
  // Set: what refuses it, which reports nothing; the act has made sure that it was that, and not
  // something else, if it says EPERM.
  std::string unreported = {};
  // What the refusal must say; empty: anything.
  std::string refused_for = {};
};

// Every program that judges a connection or datagram by its ends.
std::vector<std::string> VerdictHooks();

struct SelftestRow {
  std::string id;
  std::string attack;
  std::vector<SelftestTrial> trials;
  std::string gap = {};         // named so in `status`: some of it is covered in no mode
  std::string gap_cgroup = {};  // the same, in cgroup mode only: then the attack may succeed
  // The programs that refuse it, each of which would do so alone. Without them it succeeds.
  std::vector<std::string> hooks = VerdictHooks();
  bool guarded = false;  // in full mode it takes `self_protection`
};

// Where things are, for the rows that name them.
struct SelftestPlaces {
  std::string dir;            // programs `allowed`, `attacker`, `server`, folders
  std::string client_cgroup;  // full path
  std::string traced;         // pid of an allowed process
  std::function<bool(const std::string& name)> replace;  // by the attacker's content, in place
};

// The document of the Workload `st-NAME`, of the cgroup of that name; `more` of its spec.
std::string SelftestWorkload(const std::string& name, const std::string& more = "");
// What the scratch instance enforces. `digest`: of the program that is allowed. `full`: the mode,
// which scripts and AF_UNIX can be named in.
std::string SelftestPolicy(const std::string& dir, const std::string& digest, bool full);
// Every attack of the list but B22, which begins before there is a policy, and those between hosts.
std::vector<SelftestRow> SelftestRows(const SelftestPlaces& places);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_ROWS_H_
