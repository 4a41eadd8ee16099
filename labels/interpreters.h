// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_INTERPRETERS_H_
#define MSEG_LABELS_INTERPRETERS_H_

#include <string>
#include <string_view>
#include <vector>

namespace mseg {

// Programs that do what a file, an argument or their input tells them: file names, or paths with
// globs. Without a script that the kernel started them for nobody knows what they run. Dynamic
// linkers are among them: they run any program that they are given.
std::vector<std::string> DefaultInterpreters();

// Whether the list above has what lies at `path`, by its path alone.
bool IsInterpreterPath(std::string_view path);

}  // namespace mseg

#endif  // MSEG_LABELS_INTERPRETERS_H_
