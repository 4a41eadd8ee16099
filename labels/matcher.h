// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_MATCHER_H_
#define MSEG_LABELS_MATCHER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "labels/inventory.h"
#include "labels/program.h"

// Who carries which labels and which selectors match whom; private to labels/. Three-valued: what
// is not known matches "maybe", an allow needs a yes, a deny only a maybe (docs/policy.md).

namespace mseg {

enum class Tri : uint8_t { kNo = 0, kMaybe = 1, kYes = 2 };

// Numbers with an answer other than no, sorted by number.
using Hits = std::vector<std::pair<uint32_t, Tri>>;

// What the exe matchers say about one executable.
struct ExeVector {
  bool unknown = false;  // every matcher: maybe
  bool kernel = false;   // none: a thread of the kernel's
  Hits hits;
  Tri At(uint32_t matcher) const;
};

// Which workloads' cgroup patterns hold for one cgroup, and how deep.
struct CgroupHits {
  bool pending = false;                        // the cgroup itself is not known
  std::vector<std::pair<uint32_t, int>> hits;  // (workload, depth), sorted
};

struct UserFacts {
  bool known = true;
  std::optional<uint32_t> uid;  // absent: a user that nobody mentions
  std::string name;
};

// What one key may be.
struct LabelChoice {
  bool unknown = false;  // may be anything, or absent
  bool may_be_absent = false;
  std::vector<std::string> values;  // sorted, each once
};

// One peer or process as selectors see it.
struct Subject {
  bool is_address = false;
  Cidr region;                  // addresses: the prefix that stands for all of them
  std::vector<Cidr> addresses;  // processes: where it is reached, as far as Workloads say
  bool labels_unknown = false;  // every key
  std::map<std::string, LabelChoice, std::less<>> labels;
  LabelSet certain;          // keys with one certain value
  bool exact = true;         // `certain` is all there is: no key is open
  bool conditional = false;  // some Workload only may apply
  State state = State::kEnforce;
  ExeVector exe;
  UserFacts user;
  std::vector<std::string> conflicts;  // `env is dev (Workload a) and prod (Workload b)`
};

// All that any rule can see of a subject. Equal signatures are one class.
struct Signature {
  State state = State::kEnforce;
  Hits selectors;
  auto operator<=>(const Signature&) const = default;
};

class Matcher {
 public:
  Matcher(std::shared_ptr<const Vocabulary> vocabulary, std::map<std::string, uint32_t> uids);

  const std::shared_ptr<const Vocabulary>& vocabulary() const { return vocabulary_; }

  ExeVector ExeVectorOf(const ExecutableInfo& executable, mseg_grade grade) const;
  CgroupHits CgroupHitsOf(std::string_view path) const;
  // The workload with `loopback: allow` that a cgroup belongs to, kNone if there is none. Of
  // several it is the outermost, which the others are part of.
  uint32_t LoopbackOf(const CgroupHits& cgroup) const;
  // mseg_doors: what the workloads that a cgroup belongs to say, together, each as if its state was
  // `highest` at most.
  uint16_t DoorsOf(const CgroupHits& cgroup, State highest) const;
  // Does a workload say one of these?
  bool AnyDoor(uint16_t doors) const;
  // Does a selector name `mseg/kernel`?
  bool AsksForKernel() const { return asks_for_kernel_; }
  // Whether a cgroup below `path` could match a pattern that `path` does not satisfy.
  bool Watch(std::string_view path) const;
  // The uids that policies mention and that exist, sorted.
  std::vector<uint32_t> MentionedUids() const;

  // Merges the Workload documents that match a process.
  Subject ProcessSubject(const CgroupHits& cgroup, const ExeVector& exe,
                         const UserFacts& user) const;
  // The same for facts from outside; labels that are given are taken at their word.
  Subject SubjectOf(const IdentityFacts& facts) const;
  // A process of another host: its labels are taken at their word, its addresses do not count.
  Subject RemoteSubject(const LabelSet& labels, const ExeVector& exe, const UserFacts& user) const;
  Subject AddressSubject(const Cidr& region, const LabelSet& labels) const;

  Signature SignatureOf(const Subject& subject) const;
  Tri Matches(uint32_t selector, const Subject& subject) const;

 private:
  struct Contribution;
  Tri MatchUsers(const std::vector<std::string>& users, const UserFacts& user) const;
  void AddContribution(uint32_t workload, int depth, Tri cgroup, const ExeVector& exe,
                       const UserFacts& user, std::vector<Contribution>* out) const;
  std::vector<Contribution> Contributions(const CgroupHits& cgroup, const ExeVector& exe,
                                          const UserFacts& user) const;
  void MergeLabels(const std::vector<Contribution>& contributions, Subject* subject) const;
  std::vector<uint32_t> Candidates(const Subject& subject) const;
  Signature SignatureOfUnlabelled(const Subject& subject) const;
  void IndexSelectors();
  void IndexWorkloads();

  std::shared_ptr<const Vocabulary> vocabulary_;
  std::map<std::string, uint32_t> uids_;
  // Workloads by the cheapest thing that rules them out.
  absl::flat_hash_map<std::string, std::vector<uint32_t>> workloads_by_cgroup_;  // literal paths
  std::vector<std::pair<uint32_t, uint32_t>> glob_cgroups_;  // (workload, pattern)
  std::vector<std::vector<uint32_t>> workloads_by_exe_;      // without cgroups
  std::vector<uint32_t> other_workloads_;                    // neither cgroup nor executable
  absl::flat_hash_map<std::string, bool> literal_parents_;   // paths above a literal pattern
  // Selectors by a label that they demand, and by a second one if they do. By hash: a selector too
  // many is found not to match.
  struct Demanded {
    std::vector<uint32_t> alone;
    absl::flat_hash_map<uint64_t, std::vector<uint32_t>> with;
  };
  static void AddDemanded(const Demanded& demanded, const std::vector<uint64_t>& own, bool open,
                          std::vector<uint32_t>* out);
  absl::flat_hash_map<uint64_t, Demanded> selectors_by_label_;
  absl::flat_hash_map<std::string, std::vector<uint32_t>> selectors_by_key_;
  std::vector<uint32_t> other_selectors_;
  // Selectors with cidrs and no label, by each of them, and the lengths that there are.
  absl::flat_hash_map<Cidr, std::vector<uint32_t>> selectors_by_cidr_;
  std::set<std::pair<bool, uint8_t>> cidr_lengths_;  // (ipv4, bits)
  // What is left of a selector where nothing is known of the labels.
  struct Unlabelled {
    uint32_t exe_matcher = kNone;
    bool labels = false;  // some are asked for
    bool more = false;    // users or addresses too
  };
  std::vector<Unlabelled> unlabelled_;  // by selector
  bool asks_for_kernel_ = false;
};

}  // namespace mseg

#endif  // MSEG_LABELS_MATCHER_H_
