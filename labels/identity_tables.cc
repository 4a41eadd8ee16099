// SPDX-License-Identifier: Apache-2.0
#include "labels/identity_tables.h"

#include <sodium.h>

#include <algorithm>

#include "labels/text.h"

namespace mseg {
namespace {

constexpr char kEnd = '\x1f';

// 0 and 1 have meanings of their own in abi.h.
uint64_t DerivedClass(std::string_view domain, const std::string& meaning) {
  const std::string text = Cat(domain, "\x1e", meaning);
  uint8_t hash[crypto_generichash_blake2b_BYTES_MIN] = {};
  (void)crypto_generichash_blake2b(
      hash, sizeof(hash), reinterpret_cast<const uint8_t*>(text.data()), text.size(), nullptr, 0);
  uint64_t cls = 0;
  for (size_t i = 0; i < 8; ++i) cls = (cls << 8) | hash[i];
  return cls < 2 ? cls + 2 : cls;
}

// A cgroup class, exe class or user of this host, with an example for messages.
struct CgroupGroup {
  uint64_t cls = MSEG_CGROUP_PENDING;
  CgroupHits hits;
  std::string example;
  const LabelSet* labels = nullptr;  // of another host's process: taken at their word
};
struct ExeGroup {
  uint64_t cls = MSEG_EXE_OTHER;
  ExeVector exe;
  std::string example;
};
struct UserGroup {
  uint32_t cls = MSEG_USER_OTHER;
  UserFacts user;
};

bool SameContent(const ExecutableInfo& a, const ExecutableInfo& b) {
  return a.digest == b.digest && a.script.has_value() == b.script.has_value() &&
         (!a.script || a.script->digest == b.script->digest);
}

std::string Described(const ExecutableInfo& executable) {
  std::string text = Cat(executable.path, " (", DigestText(executable.digest), ")");
  if (executable.script) {
    Append(&text, " with the script ", executable.script->path, " (",
           DigestText(executable.script->digest), ")");
  }
  return text;
}

class TablesBuilder {
 public:
  TablesBuilder(const Matcher& matcher, const CompileOptions& options, ClassRegistry* registry)
      : matcher_(matcher), options_(options), registry_(registry) {}

  absl::StatusOr<IdentityTables> Build(const Inventory& inventory) {
    if (absl::Status status = CheckExecutableIds(inventory); !status.ok()) return status;
    AddCgroups(inventory);
    AddExecutables(inventory);
    AddUsers();
    if (absl::Status status = AddRemote(inventory); !status.ok()) return status;
    for (const auto& [cls, group] : cgroups_) {
      if (absl::Status status = AddIdentities(group, users_, exes_); !status.ok()) return status;
    }
    if (absl::Status status = AddRemoteIdentities(); !status.ok()) return status;
    for (const IdentityFacts& facts : inventory.identities) {
      const Subject subject = matcher_.SubjectOf(facts);
      const uint64_t member = MemberKey(Cat("extra ", tables_.extra.size()));
      absl::StatusOr<Value> value = ValueOf(subject, member);
      if (!value.ok()) return value.status();
      tables_.extra.push_back(value->cls);
    }
    return std::move(tables_);
  }

 private:
  struct Value {
    uint64_t label_id = 0;
    ClassRegistry::Handle cls = nullptr;
    std::vector<std::string> conflicts;
    bool SameEntry(const Value& other) const {
      return label_id == other.label_id && cls == other.cls;
    }
  };

  // What processes of other hosts may be. An executable may have several paths there: what any of
  // them matches counts, since its digest is the same.
  absl::Status AddRemote(const Inventory& inventory) {
    for (const RemoteLabels& remote : inventory.remote_labels) {
      absl::Status status = RegisterLabelSet(remote.label_id, remote.labels, &tables_.label_sets);
      if (!status.ok()) return status;
      CgroupGroup group{.cls = DerivedClass("labels", remote.labels.Text()),
                        .hits = {},
                        .example = Cat("labels ", remote.labels.Text()),
                        .labels = &remote.labels};
      mseg_peer_label_key key{};
      key.label_id = remote.label_id;
      key.host_id = remote.host_id;
      mseg_peer_label value{};
      value.cls = group.cls;
      value.permitted = remote.permitted ? 1 : 0;
      tables_.peer_labels.emplace_back(key, value);
      remote_labels_.emplace(group.cls, std::move(group));
    }
    for (const mseg_grade grade :
         {MSEG_GRADE_PATH, MSEG_GRADE_HASH, MSEG_GRADE_IMA, MSEG_GRADE_VERITY}) {
      std::map<uint64_t, ExeGroup> by_id;
      for (const ExecutableInfo& executable : inventory.remote_executables) {
        ExeGroup& group = by_id[executable.exe_id];
        group.example = executable.path;
        MergeHits(matcher_.ExeVectorOf(executable, grade).hits, &group.exe.hits);
      }
      for (auto& [id, group] : by_id) AddRemoteExe(id, grade, std::move(group));
    }
    return absl::OkStatus();
  }

  static void MergeHits(const Hits& from, Hits* into) {
    std::map<uint32_t, Tri> merged(into->begin(), into->end());
    for (const auto& [matcher, tri] : from) {
      Tri& have = merged.emplace(matcher, tri).first->second;
      have = std::max(have, tri);
    }
    into->assign(merged.begin(), merged.end());
  }

  void AddRemoteExe(uint64_t id, mseg_grade grade, ExeGroup group) {
    group.cls = ExeClassNumber(*matcher_.vocabulary(), group.exe);
    mseg_peer_exe_key key{};
    key.exe_id = id;
    key.grade = static_cast<uint8_t>(grade);
    tables_.peer_exes.emplace_back(key, group.cls);
    if (group.cls != MSEG_EXE_OTHER) remote_exes_.emplace(group.cls, std::move(group));
  }

  // Processes elsewhere: their user is never known, their labels perhaps not either.
  absl::Status AddRemoteIdentities() {
    if (tables_.peer_labels.empty() && !options_.wire) return absl::OkStatus();
    std::vector<UserGroup> users;
    if (!users_.empty()) {
      users.push_back(
          UserGroup{.cls = MSEG_USER_UNKNOWN, .user = {.known = false, .uid = {}, .name = {}}});
    }
    remote_ = true;
    for (const auto& [cls, group] : remote_labels_) {
      if (absl::Status s = AddIdentities(group, users, remote_exes_); !s.ok()) return s;
    }
    return AddIdentities(cgroups_.at(MSEG_CGROUP_PENDING), users, remote_exes_);
  }

  void AddCgroups(const Inventory& inventory) {
    cgroups_[MSEG_CGROUP_PENDING] =
        CgroupGroup{.hits = {.pending = true, .hits = {}}, .example = "(pending)"};
    std::map<uint64_t, std::string> paths;
    for (const CgroupInfo& cgroup : inventory.cgroups) paths.emplace(cgroup.id, cgroup.path);
    for (const auto& [id, path] : paths) {
      CgroupGroup group{.hits = matcher_.CgroupHitsOf(path), .example = path};
      group.cls = CgroupClassNumber(*matcher_.vocabulary(), group.hits);
      mseg_cgroup_key key{};
      key.id = id;
      mseg_cgroup value{};
      value.cls = group.cls;
      value.watch = matcher_.Watch(path) ? 1 : 0;
      value.doors = matcher_.DoorsOf(group.hits, options_.highest_state);
      value.loopback = LoopbackNumber(matcher_, group.hits);
      tables_.cgroups.emplace_back(key, value);
      tables_.known_cgroup_classes.insert(group.cls);
      const auto [it, added] = cgroups_.emplace(group.cls, group);
      if (!added && path < it->second.example) it->second.example = path;
    }
  }

  void AddExecutables(const Inventory& inventory) {
    for (const ExecutableInfo& executable : inventory.executables) {
      for (mseg_grade grade : std::set<mseg_grade>{executable.grade, MSEG_GRADE_PATH}) {
        ExeGroup group{.exe = matcher_.ExeVectorOf(executable, grade), .example = executable.path};
        group.cls = ExeClassNumber(*matcher_.vocabulary(), group.exe);
        if (group.cls == MSEG_EXE_OTHER) continue;
        mseg_exe_class_key key{};
        key.ref = executable.ref;
        key.grade = static_cast<uint8_t>(grade);
        tables_.exe_classes.emplace_back(key, group.cls);
        tables_.known_exe_classes.insert(group.cls);
        const auto [it, added] = exes_.emplace(group.cls, group);
        if (!added && group.example < it->second.example) it->second.example = group.example;
      }
    }
  }

  void AddUsers() {
    for (uint32_t uid : matcher_.MentionedUids()) {
      mseg_user_key key{};
      key.uid = uid;
      const uint32_t cls = uid + 1;  // 0 is everyone else; no user has the highest number
      tables_.users.emplace_back(key, cls);
      users_.push_back(UserGroup{.cls = cls, .user = {.known = true, .uid = uid, .name = {}}});
    }
  }

  static uint64_t Member(const CgroupGroup& cgroup, const ExeGroup& exe, const UserGroup& user) {
    return MemberKey(Cat("identity ", cgroup.cls, " ", exe.cls, " ", user.cls));
  }

  absl::StatusOr<Value> ValueOf(const Subject& subject, uint64_t member) {
    Value value;
    value.cls = registry_->Intern(matcher_.SignatureOf(subject), member);
    value.conflicts = subject.conflicts;
    if (!subject.exact) return value;
    value.label_id = LabelId(options_.salt, subject.certain);
    absl::Status status = RegisterLabelSet(value.label_id, subject.certain, &tables_.label_sets);
    if (!status.ok()) return status;
    return value;
  }

  absl::Status Emit(const CgroupGroup& cgroup, const ExeGroup& exe, const UserGroup& user,
                    const Value& value) {
    if (tables_.identities.size() >= options_.max_identities) {
      return TooManyIdentities(options_);
    }
    IdentityTables::Entry entry;
    entry.remote = remote_;
    entry.key.cgroup = cgroup.cls;
    entry.key.exe = exe.cls;
    entry.key.user = user.cls;
    entry.label_id = value.label_id;
    entry.cls = value.cls;
    tables_.identities.push_back(entry);
    return absl::OkStatus();
  }

  void NoteConflicts(const CgroupGroup& cgroup, const ExeGroup& exe, const UserGroup& user,
                     const Value& value, const std::vector<std::string>& already) {
    for (const std::string& conflict : value.conflicts) {
      if (std::find(already.begin(), already.end(), conflict) != already.end()) continue;
      std::string who = Cat("cgroup ", cgroup.example);
      if (exe.cls != MSEG_EXE_OTHER) Append(&who, ", executable ", exe.example);
      if (user.user.uid) Append(&who, ", user ", *user.user.uid);
      tables_.conflicts.insert(Cat(who, ": ", conflict));
    }
  }

  // All identities of one cgroup class, left out where the rest of the kernel's chain says the
  // same: (exe, user), (exe, other), (other, user), (other, other).
  absl::Status AddIdentities(const CgroupGroup& cgroup, const std::vector<UserGroup>& users,
                             const std::map<uint64_t, ExeGroup>& exes) {
    const ExeGroup other_exe;
    const UserGroup other_user;
    auto value_of = [&](const ExeGroup& exe, const UserGroup& user) {
      return ValueOf(SubjectOf(cgroup, exe.exe, user.user), Member(cgroup, exe, user));
    };
    absl::StatusOr<Value> base = value_of(other_exe, other_user);
    if (!base.ok()) return base.status();
    NoteConflicts(cgroup, other_exe, other_user, *base, {});
    if (absl::Status s = Emit(cgroup, other_exe, other_user, *base); !s.ok()) return s;
    std::vector<Value> by_user;
    for (const UserGroup& user : users) {
      absl::StatusOr<Value> value = value_of(other_exe, user);
      if (!value.ok()) return value.status();
      NoteConflicts(cgroup, other_exe, user, *value, base->conflicts);
      if (!value->SameEntry(*base)) {
        if (absl::Status s = Emit(cgroup, other_exe, user, *value); !s.ok()) return s;
      }
      by_user.push_back(*std::move(value));
    }
    ExeGroup unknown{
        .cls = MSEG_EXE_UNKNOWN, .exe = {.unknown = true, .hits = {}}, .example = "(unknown)"};
    if (absl::Status s = AddForExe(cgroup, unknown, users, *base, by_user); !s.ok()) return s;
    const bool exe_matters = ExeMatters(cgroup, unknown, users);
    // The kernel's threads live in the root; elsewhere they are rare, and told apart if rules do.
    const bool kernel_matters = cgroup.example == "/" || matcher_.AsksForKernel();
    for (const auto& [cls, exe] : exes) {
      if (!(exe.exe.kernel ? kernel_matters : exe_matters)) continue;
      if (absl::Status s = AddForExe(cgroup, exe, users, *base, by_user); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  Subject SubjectOf(const CgroupGroup& cgroup, const ExeVector& exe, const UserFacts& user) const {
    if (cgroup.labels == nullptr) return matcher_.ProcessSubject(cgroup.hits, exe, user);
    return matcher_.RemoteSubject(*cgroup.labels, exe, user);
  }

  // Whether any executable could make a difference in this cgroup. If an unknown one, which matches
  // every exe matcher perhaps, changes nothing, none does.
  bool ExeMatters(const CgroupGroup& cgroup, const ExeGroup& unknown,
                  std::vector<UserGroup> users) {
    users.emplace_back();
    return std::any_of(users.begin(), users.end(), [&](const UserGroup& user) {
      const Subject with = SubjectOf(cgroup, unknown.exe, user.user);
      if (with.conditional) return true;
      const Subject without = SubjectOf(cgroup, {}, user.user);
      return matcher_.SignatureOf(with) != matcher_.SignatureOf(without);
    });
  }

  absl::Status AddForExe(const CgroupGroup& cgroup, const ExeGroup& exe,
                         const std::vector<UserGroup>& users, const Value& base,
                         const std::vector<Value>& by_user) {
    const UserGroup other_user;
    absl::StatusOr<Value> any_user =
        ValueOf(SubjectOf(cgroup, exe.exe, other_user.user), Member(cgroup, exe, other_user));
    if (!any_user.ok()) return any_user.status();
    NoteConflicts(cgroup, exe, other_user, *any_user, base.conflicts);
    const bool emitted = !any_user->SameEntry(base);
    if (emitted) {
      if (absl::Status s = Emit(cgroup, exe, other_user, *any_user); !s.ok()) return s;
    }
    for (size_t i = 0; i < users.size(); ++i) {
      absl::StatusOr<Value> value =
          ValueOf(SubjectOf(cgroup, exe.exe, users[i].user), Member(cgroup, exe, users[i]));
      if (!value.ok()) return value.status();
      std::vector<std::string> already = any_user->conflicts;
      already.insert(already.end(), by_user[i].conflicts.begin(), by_user[i].conflicts.end());
      NoteConflicts(cgroup, exe, users[i], *value, already);
      if (value->SameEntry(emitted ? *any_user : by_user[i])) continue;
      if (absl::Status s = Emit(cgroup, exe, users[i], *value); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  const Matcher& matcher_;
  const CompileOptions& options_;
  ClassRegistry* registry_;
  IdentityTables tables_;
  std::map<uint64_t, CgroupGroup> cgroups_;
  std::map<uint64_t, ExeGroup> exes_;
  std::vector<UserGroup> users_;
  std::map<uint64_t, CgroupGroup> remote_labels_;
  std::map<uint64_t, ExeGroup> remote_exes_;
  bool remote_ = false;  // what is emitted now is other hosts'
};

}  // namespace

uint64_t ExeClassNumber(const Vocabulary& vocabulary, const ExeVector& exe) {
  if (exe.unknown) return MSEG_EXE_UNKNOWN;
  if (exe.kernel) return DerivedClass("exe", "kernel");
  if (exe.hits.empty()) return MSEG_EXE_OTHER;
  // By the matchers' text, not their numbers, so that other rules do not change the class.
  std::vector<std::string> parts;
  for (const auto& [matcher, tri] : exe.hits) {
    parts.push_back(Cat(static_cast<int>(tri), vocabulary.exe_matchers[matcher]->text));
  }
  std::sort(parts.begin(), parts.end());
  std::string meaning;
  for (const std::string& part : parts) Append(&meaning, part, "\x1e");
  return DerivedClass("exe", meaning);
}

uint64_t CgroupClassNumber(const Vocabulary& vocabulary, const CgroupHits& hits) {
  if (hits.pending) return MSEG_CGROUP_PENDING;
  std::string meaning;
  for (const auto& [workload, depth] : hits.hits) {
    meaning += vocabulary.workloads[workload].name;
    meaning += kEnd;
    Append(&meaning, depth, "\x1e");
  }
  return DerivedClass("cgroup", meaning);
}

uint32_t LoopbackNumber(const Matcher& matcher, const CgroupHits& hits) {
  const uint32_t number = matcher.LoopbackOf(hits);
  if (number == kNone) return 0;
  const CompiledWorkload& workload = matcher.vocabulary()->workloads[number];
  std::string meaning = workload.name;
  for (const PathPattern& pattern : workload.cgroups) Append(&meaning, "\x1e", pattern.text());
  const uint32_t derived = static_cast<uint32_t>(DerivedClass("loopback", meaning) >> 32);
  return derived == 0 ? 1 : derived;
}

absl::Status TooManyIdentities(const CompileOptions& options) {
  return absl::ResourceExhaustedError(
      Cat("more than ", options.max_identities, " identities are needed"));
}

absl::Status RegisterLabelSet(uint64_t id, const LabelSet& labels,
                              LabelSets* label_sets) {
  const auto [it, added] = label_sets->emplace(id, labels);
  if (added || it->second == labels) return absl::OkStatus();
  return absl::InvalidArgumentError(Cat("two label sets have one short id: `", it->second.Text(),
                                        "` and `", labels.Text(),
                                        "`; change a label of one of them"));
}

absl::Status CheckExecutableIds(const Inventory& inventory) {
  std::map<uint64_t, const ExecutableInfo*> by_id;
  for (const auto* executables : {&inventory.executables, &inventory.remote_executables}) {
    for (const ExecutableInfo& executable : *executables) {
      if (executable.exe_id == 0) continue;
      const auto [it, added] = by_id.emplace(executable.exe_id, &executable);
      if (added || SameContent(*it->second, executable)) continue;
      return absl::InvalidArgumentError(
          Cat("two executables have one short id: ", Described(*it->second), " and ",
              Described(executable), "; one of them must be replaced"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<IdentityTables> BuildIdentityTables(const Matcher& matcher,
                                                   const Inventory& inventory,
                                                   const CompileOptions& options,
                                                   ClassRegistry* registry) {
  return TablesBuilder(matcher, options, registry).Build(inventory);
}

}  // namespace mseg
