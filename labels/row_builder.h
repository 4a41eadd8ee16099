// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ROW_BUILDER_H_
#define MSEG_LABELS_ROW_BUILDER_H_

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "labels/image.h"
#include "labels/matcher.h"
#include "labels/port_classes.h"
#include "labels/program.h"

namespace mseg {

// Resolves the rules into rows, in the form that decide.h looks up. `signatures` is indexed by
// class number, `locals` are the classes that judge. Appends to `rows`, unsorted; ResourceExhausted
// beyond `max_rows`.
absl::Status BuildRows(const Program& program, const PortClasses& ports,
                       const std::vector<Signature>& signatures, const std::set<uint32_t>& locals,
                       uint64_t max_rows, GenerationImage::Table<mseg_row_key, mseg_row>* rows);

}  // namespace mseg

#endif  // MSEG_LABELS_ROW_BUILDER_H_
