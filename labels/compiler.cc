// SPDX-License-Identifier: Apache-2.0
#include "labels/compiler.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "labels/address_classes.h"
#include "labels/budget.h"
#include "labels/classifier_impl.h"
#include "labels/identity_tables.h"
#include "labels/port_classes.h"
#include "labels/program.h"
#include "labels/row_builder.h"
#include "labels/rule_changes.h"
#include "labels/text.h"
#include "labels/workings.h"

namespace mseg {
namespace {

template <typename Key, typename Value>
void SortByKeyBytes(GenerationImage::Table<Key, Value>* table) {
  std::sort(table->begin(), table->end(), [](const auto& a, const auto& b) {
    return std::memcmp(&a.first, &b.first, sizeof(Key)) < 0;
  });
  table->erase(std::unique(table->begin(), table->end(),
                           [](const auto& a, const auto& b) {
                             return std::memcmp(&a.first, &b.first, sizeof(Key)) == 0;
                           }),
               table->end());
}

// Whether one prefix's bytes hold another's, families aside: how the kernel's trie compares.
bool TrieHolds(const mseg_address_key& outer, const mseg_address_key& inner) {
  if (outer.prefixlen >= inner.prefixlen) return false;
  const uint32_t bits = outer.prefixlen - 8;
  if (std::memcmp(outer.addr, inner.addr, bits / 8) != 0) return false;
  const uint8_t mask = static_cast<uint8_t>(0xFF00 >> (bits % 8));
  return bits % 8 == 0 || ((outer.addr[bits / 8] ^ inner.addr[bits / 8]) & mask) == 0;
}

struct AddressEntry {
  mseg_address_key key{};
  ClassRegistry::Handle cls = nullptr;
  const LabelSet* labels = nullptr;
};

// Address entries, shortest prefix first within a branch, without those that the enclosing one
// makes superfluous. Regions are sorted by (address, bits), so the enclosing entries of the last
// one are a stack.
void FillAddresses(const AddressRegions& regions, const std::vector<ClassRegistry::Handle>& classes,
                   GenerationImage* image) {
  std::vector<AddressEntry> kept;
  std::vector<AddressEntry> enclosing;
  for (size_t i = 0; i < regions.size(); ++i) {
    const AddressEntry entry{AddressKey(regions[i].prefix), classes[i], &regions[i].labels};
    while (!enclosing.empty() && !TrieHolds(enclosing.back().key, entry.key)) enclosing.pop_back();
    const bool superfluous = !enclosing.empty() && enclosing.back().cls == entry.cls &&
                             *enclosing.back().labels == *entry.labels;
    if (superfluous) continue;
    kept.push_back(entry);
    enclosing.push_back(entry);
  }
  std::sort(kept.begin(), kept.end(), [](const AddressEntry& a, const AddressEntry& b) {
    return std::memcmp(&a.key, &b.key, sizeof(a.key)) < 0;
  });
  for (const AddressEntry& entry : kept) {
    image->addresses.emplace_back(entry.key, entry.cls->number);
  }
}

// What seldom changes is kept once, however many generations are remembered.
std::shared_ptr<const AddressRegions> SharedRegions(AddressRegions regions,
                                                    const GenerationImage* previous) {
  if (previous != nullptr && *previous->regions == regions) return previous->regions;
  return std::make_shared<const AddressRegions>(std::move(regions));
}

void FillIdentities(IdentityTables tables, std::set<uint32_t>* locals, GenerationImage* image) {
  for (const IdentityTables::Entry& entry : tables.identities) {
    mseg_identity_value value{};
    value.label_id = entry.label_id;
    value.cls = entry.cls->number;
    image->identities.emplace_back(entry.key, value);
    if (!entry.remote) locals->insert(value.cls);
  }
  for (ClassRegistry::Handle cls : tables.extra) {
    image->identity_classes.push_back(cls->number);
    locals->insert(cls->number);
  }
  image->cgroups = std::move(tables.cgroups);
  image->exe_classes = std::move(tables.exe_classes);
  image->users = std::move(tables.users);
  image->peer_labels = std::move(tables.peer_labels);
  image->peer_exes = std::move(tables.peer_exes);
  image->label_sets = std::make_shared<const LabelSets>(std::move(tables.label_sets));
  image->conflicts.assign(tables.conflicts.begin(), tables.conflicts.end());
  SortByKeyBytes(&image->cgroups);
  SortByKeyBytes(&image->exe_classes);
  SortByKeyBytes(&image->users);
  SortByKeyBytes(&image->identities);
  SortByKeyBytes(&image->peer_labels);
  SortByKeyBytes(&image->peer_exes);
}

// By number: Program::rule_table is in the order of naming.
SharedList<RuleInfo> RulesByNumber(const Program& program) {
  std::vector<RuleInfo> rules(1 +
                              *std::max_element(program.numbers.begin(), program.numbers.end()));
  for (size_t i = 0; i < program.numbers.size(); ++i) {
    rules[program.numbers[i]] = program.rule_table[i];
  }
  return SharedList(rules);
}

// The same, from those of before.
SharedList<RuleInfo> RemadeRules(const Program& program, const SharedList<RuleInfo>& before) {
  std::vector<std::pair<size_t, RuleInfo>> changes;
  for (const size_t part : *program.remade) {
    for (size_t i = program.parts[part].table; i < program.parts[part + 1].table; ++i) {
      changes.emplace_back(program.numbers[i], program.rule_table[i]);
    }
  }
  std::sort(changes.begin(), changes.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return before.Replaced(changes);
}

void FillRules(const GenerationImage* previous, Workings* workings, GenerationImage* image) {
  const Program& program = workings->program;
  std::vector<DocumentRef> documents = program.said_by;
  for (const Program::Part& part : program.parts) documents.push_back(part.policy);
  image->rules = std::make_shared<const RuleTable>(
      program.remade.has_value() ? RemadeRules(program, previous->rules->rules())
                                 : RulesByNumber(program),
      std::move(documents));
  const Workings* before = previous == nullptr ? nullptr : previous->workings.get();
  const bool same = before != nullptr && (program.remade.has_value() ||
                                          (before->program.rule_members == program.rule_members &&
                                           before->program.numbers == program.numbers));
  if (same) {
    workings->rule_book = before->rule_book;
    return;
  }
  NumberBook book;
  book.reserve(program.numbers.size());
  for (size_t i = 1; i < program.numbers.size(); ++i) {
    book.emplace(program.rule_members[i], program.numbers[i]);
  }
  workings->rule_book = std::make_shared<const NumberBook>(std::move(book));
}

void CountDocuments(const PolicySet& policy, Budget* budget) {
  budget->policies = policy.OfKind(DocumentKind::kPolicy).size();
  budget->workloads = policy.OfKind(DocumentKind::kWorkload).size();
  for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
    budget->rules += std::get<Policy>(policy.documents()[i]->spec).rules.size();
  }
}

// Adds what was counted until then to the message, and hands semantic errors to the caller's list.
absl::Status Refuse(const absl::Status& status, GenerationImage* image, Diagnostics* diagnostics) {
  if (!absl::IsResourceExhausted(status)) {
    diagnostics->emplace_back().message = std::string(status.message());
    return status;
  }
  FillBudget(image);
  return absl::ResourceExhaustedError(Cat("the policy does not fit: ", status.message(),
                                          " (counted so far: ", BudgetText(image->budget), ")"));
}

// Where nothing but rules changed: all rows that they do not touch are those of before.
absl::Status FillChangedRows(const Classifier::Impl& impl, const Signatures& signatures,
                             const CompileOptions& options, Workings* workings,
                             GenerationImage* image) {
  const Workings& before = *options.previous->workings;
  const GroupOptions group_options{.few_classes = options.few_classes, .wide = options.wide};
  if (!SameGroups(*before.groups, workings->program, group_options)) {
    return absl::AbortedError("other groups");
  }
  workings->groups = before.groups;
  workings->bit_book = before.bit_book;
  const std::optional<RuleChanges> changes =
      FindRuleChanges(before, workings->program, workings->ports, *workings->groups);
  return BuildRows(workings->program, workings->ports, signatures, *workings->groups, impl.locals,
                   options, changes ? &*changes : nullptr, workings, image);
}

// Aborted means that two cells of a tail came out with one number; other bits give other numbers.
absl::Status FillRows(const Classifier::Impl& impl, const Signatures& signatures,
                      const CompileOptions& options, Workings* workings, GenerationImage* image) {
  constexpr uint32_t kAttempts = 8;
  absl::Status status = absl::AbortedError("nothing tried");
  if (options.previous != nullptr && options.previous->classifier == image->classifier) {
    status = FillChangedRows(impl, signatures, options, workings, image);
  }
  for (uint32_t attempt = 0; attempt < kAttempts && absl::IsAborted(status); ++attempt) {
    const GroupOptions group_options{
        .few_classes = options.few_classes, .wide = options.wide, .rotation = 31 * attempt};
    absl::StatusOr<PeerGroups> groups = BuildPeerGroups(
        workings->program, signatures, group_options, options.previous, &workings->bit_book);
    if (!groups.ok()) return groups.status();
    workings->groups = std::make_shared<const PeerGroups>(*std::move(groups));
    status = BuildRows(workings->program, workings->ports, signatures, *workings->groups,
                       impl.locals, options, nullptr, workings, image);
  }
  return status;
}

// Which selectors of a program the one before had, and where.
struct SelectorsMoved {
  std::vector<uint32_t> to;     // by number there: the number here, kNone where it is gone
  std::vector<uint32_t> fresh;  // numbers of those that were not there
};

SelectorsMoved MovedSelectors(const Vocabulary& from, const Vocabulary& to) {
  SelectorsMoved moved;
  moved.to.resize(from.selectors.size(), kNone);
  absl::flat_hash_map<std::array<uint64_t, 2>, uint32_t> elsewhere;
  for (uint32_t i = 0; i < from.selectors.size(); ++i) {
    if (i < to.selectors.size() && from.selectors[i]->name == to.selectors[i]->name) {
      moved.to[i] = i;
    } else {
      elsewhere.emplace(from.selectors[i]->name, i);
    }
  }
  for (uint32_t i = 0; i < to.selectors.size(); ++i) {
    if (i < moved.to.size() && moved.to[i] == i) continue;
    const auto it = elsewhere.find(to.selectors[i]->name);
    if (it == elsewhere.end()) {
      moved.fresh.push_back(i);
    } else {
      moved.to[it->second] = i;
    }
  }
  return moved;
}

// Signatures of addresses depend on selectors and labels alone. Where those were there before, only
// new selectors are tried on them.
void ClassifyRegions(const GenerationImage* previous, Classifier::Impl* impl) {
  const Classifier::Impl* before = nullptr;
  SelectorsMoved moved;
  if (previous != nullptr && previous->regions == impl->regions) {
    before = &previous->classifier->impl();
    moved = MovedSelectors(*before->matcher.vocabulary(), *impl->matcher.vocabulary());
  }
  const Matcher& matcher = impl->matcher;
  auto signature_of = [&](size_t i) {
    const AddressRegion& region = (*impl->regions)[i];
    if (before == nullptr) {
      return matcher.SignatureOf(matcher.AddressSubject(region.prefix, region.labels));
    }
    Signature signature;
    for (const auto& [selector, tri] : before->region_classes[i]->signature.selectors) {
      if (moved.to[selector] != kNone) signature.selectors.emplace_back(moved.to[selector], tri);
    }
    if (!moved.fresh.empty()) {
      const Subject subject = matcher.AddressSubject(region.prefix, region.labels);
      for (const uint32_t selector : moved.fresh) {
        const Tri tri = matcher.Matches(selector, subject);
        if (tri != Tri::kNo) signature.selectors.emplace_back(selector, tri);
      }
    }
    std::sort(signature.selectors.begin(), signature.selectors.end());
    return signature;
  };
  for (size_t i = 0; i < impl->regions->size(); ++i) {
    const mseg_address_key key = AddressKey((*impl->regions)[i].prefix);
    const std::string_view bytes(reinterpret_cast<const char*>(&key), sizeof(key));
    const uint64_t member = MemberKey("address", bytes);
    impl->region_classes.push_back(impl->registry.Intern(signature_of(i), member));
  }
}

// Classes, and the tables that lead to them.
absl::Status FillClasses(const Inventory& inventory, const CompileOptions& options,
                         const Workings& workings, GenerationImage* image) {
  const GenerationImage* previous = options.previous;
  const std::shared_ptr<const Vocabulary>& vocabulary = workings.program.vocabulary;
  auto impl = std::make_unique<Classifier::Impl>(vocabulary, inventory, options);
  image->regions = SharedRegions(BuildAddressRegions(*vocabulary), previous);
  impl->regions = image->regions;
  ClassifyRegions(previous, impl.get());
  absl::StatusOr<IdentityTables> tables =
      BuildIdentityTables(impl->matcher, inventory, options, &impl->registry);
  if (!tables.ok()) return tables.status();
  impl->registry.Seal(previous == nullptr ? nullptr
                                          : &previous->classifier->impl().registry.book());
  impl->exe_classes = tables->known_exe_classes;
  impl->cgroup_classes = tables->known_cgroup_classes;
  FillIdentities(*std::move(tables), &impl->locals, image);
  FillAddresses(*impl->regions, impl->region_classes, image);
  image->classifier = std::make_shared<const Classifier>(std::move(impl), options.highest_state);
  return absl::OkStatus();
}

// The same from the image before, where vocabulary and inventory are the same.
absl::Status CopyClasses(const GenerationImage& previous, const Inventory& inventory,
                         const CompileOptions& options, GenerationImage* image) {
  if (previous.identities.size() > options.max_identities) {
    return TooManyIdentities(options);
  }
  if (absl::Status status = CheckExecutableIds(inventory); !status.ok()) return status;
  image->cgroups = previous.cgroups;
  image->exe_classes = previous.exe_classes;
  image->users = previous.users;
  image->identities = previous.identities;
  image->peer_labels = previous.peer_labels;
  image->peer_exes = previous.peer_exes;
  image->addresses = previous.addresses;
  image->label_sets = previous.label_sets;
  image->conflicts = previous.conflicts;
  image->identity_classes = previous.identity_classes;
  image->regions = previous.regions;
  image->classifier = previous.classifier;
  if (image->classifier->highest_state() == options.highest_state) return absl::OkStatus();
  // Classes do not depend on it; what a workload in a lower state refuses does.
  image->classifier = previous.classifier->With(options.highest_state);
  absl::flat_hash_map<uint64_t, uint16_t> doors;
  for (const CgroupInfo& cgroup : inventory.cgroups) {
    doors.emplace(cgroup.id, image->classifier->DoorsOf(cgroup.path));
  }
  for (auto& [key, cgroup] : image->cgroups) cgroup.doors = doors.at(key.id);
  return absl::OkStatus();
}

absl::Status Fill(const PolicySet& policy, const Inventory& inventory,
                  const CompileOptions& options, GenerationImage* image) {
  const GenerationImage* previous = options.previous;
  auto workings = std::make_shared<Workings>();
  workings->program = BuildProgram(policy, options);
  absl::StatusOr<PortClasses> ports = BuildPortClasses(workings->program, previous);
  if (!ports.ok()) return ports.status();
  workings->ports = *std::move(ports);
  image->budget.port_classes = workings->ports.count;
  image->ports = workings->ports.table;
  const bool same = previous != nullptr && previous->classifier->impl().IsOf(
                                               workings->program.vocabulary, inventory, options);
  absl::Status status = same ? CopyClasses(*previous, inventory, options, image)
                             : FillClasses(inventory, options, *workings, image);
  if (!status.ok()) return status;
  FillRules(previous, workings.get(), image);
  const Classifier::Impl& impl = image->classifier->impl();
  image->budget.classes = impl.registry.size();
  const Signatures signatures = impl.registry.ByNumber();
  if (signatures.size() > MSEG_CLASSES) {
    return absl::ResourceExhaustedError(Cat("more than ", MSEG_CLASSES, " classes are needed"));
  }
  status = FillRows(impl, signatures, options, workings.get(), image);
  if (!status.ok()) return status;
  image->workings = std::move(workings);
  FillBudget(image);
  return absl::OkStatus();
}

}  // namespace

namespace {

void AddUsers(const std::vector<std::string>& users, Mentions* out) {
  for (const std::string& user : users) {
    if (!ParseDecimal(user)) out->users.insert(user);
  }
}

void AddWorkload(const Workload& workload, Mentions* out) {
  for (const SpottedText& exe : workload.match.exes) out->exe_paths.insert(exe.value);
  for (const Spotted<Digest>& digest : workload.match.digests) out->digests.insert(digest.value);
  AddUsers(SortedValues(workload.match.users), out);
}

void AddExecutables(const ExeMatcher& exe, Mentions* out) {
  for (const PathPattern& path : exe.exes) out->exe_paths.insert(path.text());
  out->exe_names.insert(exe.names.begin(), exe.names.end());
  out->digests.insert(exe.digests.begin(), exe.digests.end());
  for (const PathPattern& script : exe.scripts) out->script_paths.insert(script.text());
  out->scripts |= !exe.scripts.empty() || !exe.script_digests.empty();
}

}  // namespace

Mentions CollectMentions(const PolicySet& policy) { return MentionsBook().Of(policy); }

Mentions MentionsBook::Of(const PolicySet& policy) {
  const std::vector<DocumentRef>& documents = policy.documents();
  const std::vector<size_t>& workloads = policy.OfKind(DocumentKind::kWorkload);
  if (!std::equal(workloads.begin(), workloads.end(), workloads_.begin(), workloads_.end(),
                  [&](size_t i, const DocumentRef& known) { return documents[i] == known; })) {
    workloads_.clear();
    by_workloads_ = Mentions();
    for (size_t i : workloads) {
      workloads_.push_back(documents[i]);
      AddWorkload(std::get<Workload>(documents[i]->spec), &by_workloads_);
    }
  }
  Mentions out = by_workloads_;
  absl::flat_hash_set<const ExeMatcher*> seen;  // thousands of rules name one executable
  SelectorForms forms;
  for (size_t i : policy.OfKind(DocumentKind::kPolicy)) {
    const Policy& rules = std::get<Policy>(documents[i]->spec);
    const auto form =
        rules.form != nullptr ? rules.form : forms.OfPolicy(documents[i]->name, rules);
    AddUsers(form->users, &out);
    for (const ExeMatcherRef& exe : form->exes) {
      if (seen.insert(exe.get()).second) AddExecutables(*exe, &out);
    }
  }
  return out;
}

absl::StatusOr<GenerationImage> Compile(const PolicySet& policy, const Inventory& inventory,
                                        const CompileOptions& options, Diagnostics* diagnostics) {
  GenerationImage image;
  CountDocuments(policy, &image.budget);
  absl::Status status = Fill(policy, inventory, options, &image);
  if (!status.ok()) return Refuse(status, &image, diagnostics);
  return image;
}

}  // namespace mseg
