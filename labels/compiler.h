// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_COMPILER_H_
#define MSEG_LABELS_COMPILER_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/ast.h"
#include "labels/classifier.h"
#include "labels/diagnostic.h"
#include "labels/failsafe.h"
#include "labels/image.h"
#include "labels/inventory.h"
#include "labels/label.h"
#include "labels/policy_set.h"

namespace mseg {

struct CompileOptions {
  Salt salt{};
  uint64_t max_rows = 131072;  // a generation with more rows is refused
  uint64_t max_identities = 32768;
  uint32_t max_tails = MSEG_TAILS;
  // A selector that matches no more classes than this is spelled out class by class, others by
  // groups. Low, so that local classes times peers stays small; not lower, so that groups stay few.
  size_t few_classes = 16;
  // A class that more selectors match is wide: what they say of it is looked at by groups of them.
  // Only the time to compile depends on it.
  size_t wide = 256;
  // The generation before, or null: what is in both keeps its number, so that the tables differ
  // only by what changed.
  const GenerationImage* previous = nullptr;
  // Policies count as if they were in this state where they are in a higher one: what `panic` does
  // to a host, without a change of any document.
  State highest_state = State::kEnforce;
  // What no policy can cut at the ends of this host.
  std::vector<FailsafeEntry> failsafe = {};
  // Peers may prove who they are in the handshake, so that there are classes for them.
  bool wire = false;
};

// What a policy names and the host must look up before compiling.
struct Mentions {
  std::set<std::string> exe_paths;  // literal paths and globs of `exe`
  std::set<std::string> exe_names;  // file names of `name`
  std::set<Digest> digests;         // of `digest`, wherever the file lies
  std::set<std::string> users;      // names (numbers need no look-up)
  bool scripts = false;             // of `script`, by path or digest
  std::set<std::string> script_paths;
};
Mentions CollectMentions(const PolicySet& policy);

// The same of one policy after another: what the Workloads mention is kept for the next one, where
// they are the very same documents.
class MentionsBook {
 public:
  Mentions Of(const PolicySet& policy);

 private:
  std::vector<DocumentRef> workloads_;
  Mentions by_workloads_;
};

// Compiles the whole policy for this host. Deterministic: the same input gives the same image, byte
// for byte. Semantic errors go to `diagnostics` and give InvalidArgument; what does not fit gives
// ResourceExhausted with the budget in the message.
absl::StatusOr<GenerationImage> Compile(const PolicySet& policy, const Inventory& inventory,
                                        const CompileOptions& options, Diagnostics* diagnostics);

}  // namespace mseg

#endif  // MSEG_LABELS_COMPILER_H_
