// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_CLASS_WORDS_H_
#define MSEG_LABELS_CLASS_WORDS_H_

#include <vector>

#include "labels/image.h"

// What a class repeats of other tables, so that a decision need not ask them.

namespace mseg {

// Which rows there are, as far as the classes say (mseg_hint).
void SetHints(const GenerationImage::Table<mseg_row_key, mseg_row>& rows,
              std::vector<mseg_class>* classes);

// Of their groups and tails: mseg_class.bits, mask and far.
void FillNearBits(GenerationImage* image);

}  // namespace mseg

#endif  // MSEG_LABELS_CLASS_WORDS_H_
