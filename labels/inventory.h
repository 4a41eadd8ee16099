// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_INVENTORY_H_
#define MSEG_LABELS_INVENTORY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "labels/address.h"
#include "labels/ast.h"
#include "labels/label.h"
#include "mseg/abi.h"

namespace mseg {

// A live cgroup. `path` is below the managed cgroup root: "/" for the root itself, "/a/b" below.
struct CgroupInfo {
  uint64_t id = 0;
  std::string path;
  bool operator==(const CgroupInfo&) const = default;
};

// What an interpreter was started for by the kernel: a file that only root can change, so that what
// was hashed is what the interpreter reads.
struct ScriptInfo {
  Digest digest{};
  std::string path;  // empty: not known (another host's)
  bool operator==(const ScriptInfo&) const = default;
};

// An executable file that was hashed on this host: one (content, path) pair; or an interpreter of
// that kind and the script that it was started for.
struct ExecutableInfo {
  uint32_t ref = 0;  // never 0 in an inventory
  Digest digest{};
  std::string path;           // as executed; empty when it is not known
  bool trusted_path = false;  // may `exe` and `name` selectors match it?
  bool any_path = false;      // the content is certain, where it lies is not known
  // Trusted symbolic links that lead to `path`: selectors match them as they match the path itself.
  std::vector<std::string> aliases;
  mseg_grade grade = MSEG_GRADE_HASH;
  uint64_t exe_id = 0;  // 0: not computed
  std::optional<ScriptInfo> script;
  // Without a script: it takes what it does from a file, an argument or its input, who knows which.
  bool interpreter = false;
  bool kernel = false;  // no file: what the kernel's own threads are, which nothing here matches
  bool operator==(const ExecutableInfo&) const = default;
};

// What is known about one process, whether it lives here or is only asked about.
struct IdentityFacts {
  enum class Exe : uint8_t {
    kOther,    // known, and no selector names it
    kKnown,    // `executable`
    kUnknown,  // not hashed (yet): three-valued
  };

  // Labels that are taken at their word, with `state`; otherwise the Workload documents that match
  // the facts below give them.
  std::optional<LabelSet> labels;
  State state = State::kEnforce;
  std::vector<IpAddress> addresses;  // beside `labels`: where the process is reached

  std::optional<std::string> cgroup;  // path below the managed root; absent: not known yet
  Exe exe = Exe::kOther;
  ExecutableInfo executable;    // with its grade; `ref` does not matter
  std::optional<uint32_t> uid;  // absent, and no name: a user that nobody mentions
  std::string user;             // by name, where there is no number
  bool operator==(const IdentityFacts&) const = default;
};

// What another host may say in a handshake: a label set, by its short id.
struct RemoteLabels {
  uint32_t host_id = 0;
  uint64_t label_id = 0;
  LabelSet labels;
  bool permitted = true;  // false: its host record does not let it claim these
  bool operator==(const RemoteLabels&) const = default;
};

// What lives on this host: the input of the compiler beside the policy. Order does not matter.
struct Inventory {
  std::vector<CgroupInfo> cgroups;
  std::vector<ExecutableInfo> executables;
  std::map<std::string, uint32_t> uids;  // user names that the policy mentions and that exist
  // Processes to classify beside those: GenerationImage::identity_classes has their classes, in
  // this order, and each gets rows as if it lived here.
  std::vector<IdentityFacts> identities;
  // Of other hosts, from their records: label sets, and executables (by `exe_id`; `ref` and `grade`
  // do not matter).
  std::vector<RemoteLabels> remote_labels;
  std::vector<ExecutableInfo> remote_executables;
  bool operator==(const Inventory&) const = default;
};

}  // namespace mseg

#endif  // MSEG_LABELS_INVENTORY_H_
