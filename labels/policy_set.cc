// SPDX-License-Identifier: Apache-2.0
#include "labels/policy_set.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "labels/policy_form.h"
#include "labels/text.h"
#include "labels/workload_conflicts.h"
#include "labels/yaml_reader.h"

namespace mseg {
namespace {

std::string At(const Document& document, Spot spot) {
  return Cat(document.file, ":", spot.line, ":", spot.column);
}

class Checker {
 public:
  Checker(const PolicySet& set, Diagnostics* diagnostics) : set_(set), diagnostics_(diagnostics) {}

  // `fresh`: places of documents that are not in `checked`.
  void Check(const PolicySet* checked, const std::vector<size_t>& fresh) {
    for (const size_t place : fresh) CheckName(place);
    CheckServices();
    const bool same_workloads = SameAsIn(checked, DocumentKind::kWorkload);
    if (!same_workloads) CheckWorkloads();
    if (!same_workloads || !SameAsIn(checked, DocumentKind::kAddressGroup)) CheckAddresses();
  }

 private:
  // Somebody who owns a prefix: an AddressGroup, or a Workload by one of its addresses.
  struct Owner {
    const Document* document;
    const LabelSet* labels;
    const Workload* workload;  // null: an AddressGroup
    Spot spot;
  };
  static bool SamePorts(const Owner& a, const Owner& b) {
    static const std::map<PortName, uint16_t> none;
    return (a.workload ? a.workload->ports : none) == (b.workload ? b.workload->ports : none);
  }

  // Whether more errors would not be shown anyway; looking for them may take long then.
  bool Full() const { return diagnostics_->size() > kMaxDiagnostics; }

  void Error(const Document& document, Spot spot, std::string message) {
    if (Full()) return;
    SourceText(document.file, document.text, document.first_line, diagnostics_)
        .Error(spot, std::move(message));
  }

  bool SameAsIn(const PolicySet* checked, DocumentKind kind) const {
    if (checked == nullptr) return false;
    const std::vector<size_t>& here = set_.OfKind(kind);
    const std::vector<size_t>& there = checked->OfKind(kind);
    return std::equal(
        here.begin(), here.end(), there.begin(), there.end(),
        [&](size_t a, size_t b) { return set_.documents()[a] == checked->documents()[b]; });
  }

  const Document& DocumentAt(size_t index) const { return *set_.documents()[index]; }

  // One of the two is fresh, so that both places are asked for: it is said of the second.
  void CheckName(size_t place) {
    if (place == 0) return;
    const Document& first = DocumentAt(place - 1);
    const Document& second = DocumentAt(place);
    if (first.kind != second.kind || first.name != second.name) return;
    Error(second, second.name_spot,
          Cat(DocumentKindName(second.kind), " `", second.name, "` is already in ",
              At(first, first.name_spot)));
  }

  void CheckServices() {
    std::vector<std::string_view> known;
    for (size_t i : set_.OfKind(DocumentKind::kService)) {
      const Document& service = DocumentAt(i);
      known.push_back(service.name);
      if (LooksLikePortItem(service.name)) {
        Error(service, service.name_spot,
              Cat("a Service cannot be named `", service.name,
                  "`: in a rule that means the protocol"));
      }
    }
    for (size_t i : set_.OfKind(DocumentKind::kPolicy)) {
      const Document& document = DocumentAt(i);
      const Policy& policy = std::get<Policy>(document.spec);
      if (policy.form != nullptr && !policy.form->names_services) continue;
      for (const Rule& rule : policy.rules) {
        for (const ServiceItem& item : rule.services) {
          if (!item.service.empty()) CheckService(document, item, known);
          if (!item.described_as.empty()) CheckDescription(document, item);
        }
      }
    }
  }

  void CheckService(const Document& document, const ServiceItem& item,
                    const std::vector<std::string_view>& known) {
    if (Full() || set_.Find(DocumentKind::kService, item.service) != nullptr) return;
    // Comparing with thousands of names for thousands of errors would take minutes.
    const std::string_view nearest =
        known.size() <= 1000 ? Nearest(item.service, known) : std::string_view();
    std::string message = Cat("no Service is named `", item.service, "`");
    if (!nearest.empty()) {
      Append(&message, "; did you mean `", nearest, "`?");
    } else {
      Append(&message, "; name one, or write ports such as tcp/443");
    }
    Error(document, item.spot, std::move(message));
  }

  // A sentence that gives a Service's name to other ports would mean something else than it says.
  void CheckDescription(const Document& document, const ServiceItem& item) {
    const Document* service =
        Full() ? nullptr : set_.Find(DocumentKind::kService, item.described_as);
    if (service == nullptr) return;
    auto sorted = [](std::vector<PortRange> ports) {
      std::sort(ports.begin(), ports.end());
      ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
      return ports;
    };
    if (sorted(std::get<Service>(service->spec).ports) == sorted(item.ports)) return;
    Error(document, item.spot,
          Cat("`", item.described_as, "` has other ports in Service `", service->name, "` (",
              At(*service, service->name_spot),
              "); leave the bracket out to mean those, or use another name"));
  }

  void CheckWorkloads() {
    std::vector<const Document*> documents;
    std::vector<const Workload*> workloads;
    for (size_t i : set_.OfKind(DocumentKind::kWorkload)) {
      documents.push_back(&DocumentAt(i));
      workloads.push_back(&std::get<Workload>(DocumentAt(i).spec));
    }
    for (const auto& [i, j] : FindWorkloadConflicts(workloads)) {
      const std::string key(DifferingKey(workloads[i]->labels, workloads[j]->labels));
      Error(*documents[j], workloads[j]->labels_spot,
            Cat("label `", key, "` is `", workloads[j]->labels.values().at(key), "` here and `",
                workloads[i]->labels.values().at(key), "` in Workload `", documents[i]->name, "` (",
                At(*documents[i], workloads[i]->labels_spot),
                "), which matches the same processes at the same level"));
    }
  }

  void CheckAddresses() {
    std::map<Cidr, std::vector<Owner>> owners;
    for (size_t i : set_.OfKind(DocumentKind::kWorkload)) {
      const Workload& workload = std::get<Workload>(DocumentAt(i).spec);
      for (const Spotted<Cidr>& address : workload.match.addresses) {
        owners[address.value].push_back(
            Owner{&DocumentAt(i), &workload.labels, &workload, address.spot});
      }
    }
    for (size_t i : set_.OfKind(DocumentKind::kAddressGroup)) {
      const AddressGroup& group = std::get<AddressGroup>(DocumentAt(i).spec);
      for (const Spotted<Cidr>& cidr : group.cidrs) {
        owners[cidr.value].push_back(Owner{&DocumentAt(i), &group.labels, nullptr, cidr.spot});
      }
    }
    for (const auto& [cidr, list] : owners) {
      for (size_t i = 1; i < list.size(); ++i) {
        if (*list[i].labels == *list[0].labels) {
          if (SamePorts(list[i], list[0])) continue;
          Error(*list[i].document, list[i].spot,
                Cat(CidrText(cidr), " has other named ports here than in ",
                    DocumentKindName(list[0].document->kind), " `", list[0].document->name, "` (",
                    At(*list[0].document, list[0].spot), ")"));
          continue;
        }
        Error(*list[i].document, list[i].spot,
              Cat(CidrText(cidr), " has the labels `", list[i].labels->Text(), "` here and `",
                  list[0].labels->Text(), "` in ", DocumentKindName(list[0].document->kind), " `",
                  list[0].document->name, "` (", At(*list[0].document, list[0].spot), ")"));
      }
    }
  }

  const PolicySet& set_;
  Diagnostics* diagnostics_;
};

}  // namespace

const Document* PolicySet::Find(DocumentKind kind, std::string_view name) const {
  const auto it = std::lower_bound(documents().begin(), documents().end(), std::tie(kind, name),
                                   [](const DocumentRef& document, const auto& wanted) {
                                     const std::string_view text = document->name;
                                     return std::tie(document->kind, text) < wanted;
                                   });
  if (it == documents().end() || (*it)->kind != kind || (*it)->name != name) return nullptr;
  return it->get();
}

const std::shared_ptr<const PolicySet::Content>& PolicySet::Nothing() {
  static const auto nothing = std::make_shared<const Content>();
  return nothing;
}

namespace {

bool Before(const DocumentRef& a, const DocumentRef& b) {
  return std::tie(a->kind, a->name) < std::tie(b->kind, b->name);
}

// How many of the first documents are those of `checked`, in its order. A fleet has tens of
// thousands, and nobody should have to look into them for one that changed.
size_t CheckedAlready(const std::vector<DocumentRef>& documents, const PolicySet* checked) {
  size_t found = 0;
  if (checked == nullptr) return found;
  for (const DocumentRef& document : checked->documents()) {
    if (found < documents.size() && documents[found] == document) ++found;
  }
  return found;
}

// The first `sorted` are in order, and most often nearly all are.
void SortDocuments(size_t sorted, std::vector<DocumentRef>* documents) {
  constexpr size_t kFew = 16;
  auto rest = documents->begin() + static_cast<ptrdiff_t>(sorted);
  if (documents->size() - sorted > kFew) {
    rest = std::is_sorted_until(documents->begin(), documents->end(), Before);
    std::stable_sort(rest, documents->end(), Before);
    std::inplace_merge(documents->begin(), rest, documents->end(), Before);
    return;
  }
  for (; rest != documents->end(); ++rest) {
    std::rotate(std::upper_bound(documents->begin(), rest, *rest, Before), rest, rest + 1);
  }
}

// Where in the sorted documents there may be two of one name: those that were checked have none.
std::vector<size_t> PlacesOf(const std::vector<DocumentRef>& fresh,
                             const std::vector<DocumentRef>& documents) {
  std::set<size_t> places;
  for (const DocumentRef& document : fresh) {
    const auto [first, last] =
        std::equal_range(documents.begin(), documents.end(), document, Before);
    for (auto it = first; it != last; ++it) {
      places.insert(static_cast<size_t>(it - documents.begin()));
    }
  }
  return {places.begin(), places.end()};
}

}  // namespace

std::vector<DocumentRef> ShareDocuments(std::vector<Document> documents) {
  SelectorForms forms;
  std::vector<DocumentRef> out;
  out.reserve(documents.size());
  for (Document& document : documents) {
    if (Policy* policy = std::get_if<Policy>(&document.spec)) {
      policy->form = forms.OfPolicy(document.name, *policy);
    }
    out.push_back(std::make_shared<const Document>(std::move(document)));
  }
  return out;
}

absl::StatusOr<PolicySet> BuildPolicySet(std::vector<Document> documents,
                                         Diagnostics* diagnostics) {
  return BuildPolicySet(ShareDocuments(std::move(documents)), diagnostics);
}

absl::StatusOr<PolicySet> BuildPolicySet(std::vector<DocumentRef> documents,
                                         Diagnostics* diagnostics, const PolicySet* checked) {
  DropRepeatedSentences(&documents);
  const size_t known = CheckedAlready(documents, checked);
  const std::vector<DocumentRef> fresh(documents.begin() + static_cast<ptrdiff_t>(known),
                                       documents.end());
  SortDocuments(known, &documents);
  auto content = std::make_shared<PolicySet::Content>();
  content->documents = std::move(documents);
  auto end = content->documents.begin();
  for (size_t kind = 0; kind < std::size(content->by_kind); ++kind) {
    const auto begin = end;
    const auto belongs = [kind](const DocumentRef& document) {
      return static_cast<size_t>(document->kind) == kind;
    };
    end = std::partition_point(begin, content->documents.end(), belongs);
    std::vector<size_t>& places = content->by_kind[kind];
    places.resize(static_cast<size_t>(end - begin));
    const auto first = static_cast<size_t>(begin - content->documents.begin());
    std::iota(places.begin(), places.end(), first);
  }
  PolicySet set;
  set.content_ = std::move(content);
  const size_t errors_before = diagnostics->size();
  Checker(set, diagnostics).Check(checked, PlacesOf(fresh, set.documents()));
  SortDiagnostics(errors_before, diagnostics);
  const size_t errors = diagnostics->size() - errors_before;
  if (errors > 0) {
    return absl::InvalidArgumentError(
        Cat(errors, errors == 1 ? " error" : " errors", " between documents"));
  }
  return set;
}

}  // namespace mseg
