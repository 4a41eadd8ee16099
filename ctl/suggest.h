// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SUGGEST_H_
#define MSEG_CTL_SUGGEST_H_

#include <string>
#include <string_view>
#include <vector>

namespace mseg::ctl {

// The name that someone who typed `word` most likely meant; empty if none is near.
std::string Closest(std::string_view word, const std::vector<std::string>& names);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SUGGEST_H_
