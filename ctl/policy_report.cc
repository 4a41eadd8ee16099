// SPDX-License-Identifier: Apache-2.0
#include "ctl/policy_report.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mseg::ctl {

void PrintReport(Session& session, const api::ApplyReport& report, bool dry_run) {
  if (session.PrintTree(ToJson(report))) return;
  std::ostream& out = session.out();
  const char* mark = dry_run ? " (dry run)" : "";
  for (const api::Change& change : report.changes) {
    out << Printable(absl::StrCat(absl::AsciiStrToLower(change.kind), "/", change.name, " ",
                                  change.action))
        << mark << '\n';
  }
  out << Count(report.will_close, "open connection") << " will close" << mark << '\n';
  if (!dry_run) {
    out << Count(report.closed, "connection") << " closed\n"
        << "revision " << report.revision << ", generation " << report.generation
        << " is in force\n";
  }
  if (report.pending.has_value()) {
    out << "waits for `msegctl policy confirm` until " << TimeText(report.pending->deadline_us)
        << ", else back to revision " << report.pending->back_to << '\n';
  }
  if (dry_run || session.format() == Format::kWide) PrintBudget(out, report.budget);
  if (session.format() == Format::kWide) {
    const api::Timings& ms = report.timings_ms;
    out << absl::StrFormat(
        "timings: check %.3f, compile %.3f, store %.3f, stage %.3f, flip %.3f, close %.3f ms\n",
        ms.check, ms.compile, ms.store, ms.stage, ms.flip, ms.close);
  }
}

}  // namespace mseg::ctl
