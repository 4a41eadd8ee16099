// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ROW_BUILDER_H_
#define MSEG_LABELS_ROW_BUILDER_H_

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "labels/compiler.h"
#include "labels/image.h"
#include "labels/peer_groups.h"
#include "labels/port_classes.h"
#include "labels/program.h"
#include "labels/rule_changes.h"

namespace mseg {

// Resolves the rules into rows, in the form that decide.h looks up. `locals` are the classes that
// judge. `changes`, if not null, says which rules are others than in options.previous, all else
// being the same; what they do not touch is taken from there. Fills image->classes, groups, tails
// and rows, and what `workings` keeps of the directions. ResourceExhausted beyond the limits;
// Aborted if two cells have one number and other bits must be tried.
absl::Status BuildRows(const Program& program, const PortClasses& ports,
                       const Signatures& signatures, const PeerGroups& groups,
                       const std::set<uint32_t>& locals, const CompileOptions& options,
                       const RuleChanges* changes, Workings* workings, GenerationImage* image);

}  // namespace mseg

#endif  // MSEG_LABELS_ROW_BUILDER_H_
