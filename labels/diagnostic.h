// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_DIAGNOSTIC_H_
#define MSEG_LABELS_DIAGNOSTIC_H_

#include <string>
#include <vector>

namespace mseg {

// A place in a policy file. Lines and columns count from 1; columns count characters.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  bool operator==(const Place&) const = default;
};

// What is wrong with a policy, where, and what was expected.
struct Diagnostic {
  Place place;
  std::string message;
  std::string source_line;  // without the line break; empty where there is none
};
using Diagnostics = std::vector<Diagnostic>;

// FILE:LINE:COL: error: MESSAGE, then the source line and a caret below the column.
std::string FormatDiagnostic(const Diagnostic& diagnostic);

}  // namespace mseg

#endif  // MSEG_LABELS_DIAGNOSTIC_H_
