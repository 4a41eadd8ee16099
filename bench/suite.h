// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_SUITE_H_
#define MSEG_BENCH_SUITE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/arm.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/workspace.h"

namespace mseg::bench {

// One line on a terminal, rewritten; nothing where stderr is none.
class Progress {
 public:
  Progress();
  ~Progress();
  void Show(const std::string& line);

 private:
  bool terminal_;
};

struct SuiteContext {
  const Options& options;
  const Workspace& workspace;
  ArmContext arms;
  Progress& progress;
  bool guest;  // emulated, with a clock that counts instructions
  Report* report;

  // What a nanosecond of a clock is called.
  std::string Unit() const { return guest ? "instructions" : "us"; }
  double Scale() const { return guest ? 1.0 : 1e-3; }
  void Skip(const std::string& suite, const std::string& arm, const std::string& reason) const {
    report->skipped.push_back({suite, arm, reason});
  }
};

// connect, rr, stream, udp and exec: whichever of them are asked for, on the same arms.
absl::Status RunSlices(const SuiteContext& context, const std::vector<std::string>& suites);
absl::Status RunDecide(const SuiteContext& context);
absl::Status RunHooks(const SuiteContext& context);
absl::Status RunApply(const SuiteContext& context);
absl::Status RunReal(const SuiteContext& context);
absl::Status RunEvents(const SuiteContext& context);

// The programs of --mode guest: tools/vm with this program inside.
absl::StatusOr<Report> RunInGuest(const Options& options, const std::string& root);

// The arms that can be made here; others go to the report as skipped.
absl::StatusOr<std::vector<std::unique_ptr<Arm>>> MakeArms(const SuiteContext& context,
                                                           const std::string& suite,
                                                           const std::vector<ArmSpec>& specs);
// The least interrupted mseg arm for suites that look at one.
absl::StatusOr<std::unique_ptr<MsegArm>> MakeMsegArm(const SuiteContext& context, uint64_t rules);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_SUITE_H_
