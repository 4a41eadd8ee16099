// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_HTML_H_
#define MSEG_BENCH_HTML_H_

#include <string>

#include "bench/report.h"

namespace mseg::bench {

// One file without references to others: a plot for every suite with ratios, the growth with the
// number of rules, every figure in a table.
std::string ToHtml(const Report& report);

}  // namespace mseg::bench

#endif  // MSEG_BENCH_HTML_H_
