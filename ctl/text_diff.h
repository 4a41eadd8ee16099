// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_TEXT_DIFF_H_
#define MSEG_CTL_TEXT_DIFF_H_

#include <string>
#include <string_view>

namespace mseg::ctl {

// The hunks of a unified diff, line by line with three lines of context and without the two lines
// that name the files; empty if the texts are equal. What `patch` understands.
std::string UnifiedDiff(std::string_view before, std::string_view after);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_TEXT_DIFF_H_
