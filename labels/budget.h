// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_BUDGET_H_
#define MSEG_LABELS_BUDGET_H_

#include "labels/image.h"

namespace mseg {

// Counts the image's tables. Policies, rules, workloads and classes are the compiler's to fill.
void FillBudget(GenerationImage* image);

}  // namespace mseg

#endif  // MSEG_LABELS_BUDGET_H_
