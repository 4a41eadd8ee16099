// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_ACTS_H_
#define MSEG_CTL_SELFTEST_ACTS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace mseg::ctl {

// What the copies of msegctl do that `selftest --bypass` runs: one way each to reach a service.

inline constexpr uint16_t kSelftestService = 7001;  // TCP and UDP, answers what it is sent
inline constexpr uint16_t kSelftestLure = 7002;     // UDP, open to everybody
inline constexpr uint16_t kSelftestSquat = 7003;    // TCP, where the wrong program listens
inline constexpr uint16_t kSelftestHanded = 7004;   // TCP, opened by one program for another

// The exit status of an act that could not even be tried; everything else is an errno, 0 for done.
inline constexpr int kActNotTried = 125;

int RunAct(const std::string& name, const std::vector<std::string>& arguments);

// For the acts of selftest_exec_acts.cc, which go through another program first, and those of
// selftest_wire_acts.cc, which are on the wire between two hosts.
int ActTcp(uint16_t port, uint32_t address = 0x7f000001);
int RunExecAct(const std::string& name, const std::vector<std::string>& arguments);
int RunWireAct(const std::string& name, const std::vector<std::string>& arguments);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_ACTS_H_
