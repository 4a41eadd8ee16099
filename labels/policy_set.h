// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_POLICY_SET_H_
#define MSEG_LABELS_POLICY_SET_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/ast.h"

namespace mseg {

// Documents that were checked against each other: names are unique per kind, every service that a
// rule names exists, no two documents give one thing two values. Immutable, and cheap to copy: the
// documents are shared.
class PolicySet {
 public:
  PolicySet() = default;

  // Sorted by (kind, name).
  const std::vector<DocumentRef>& documents() const { return content_->documents; }
  const Document* Find(DocumentKind kind, std::string_view name) const;
  // Indices into documents(), by name.
  const std::vector<size_t>& OfKind(DocumentKind kind) const {
    return content_->by_kind[static_cast<size_t>(kind)];
  }

 private:
  friend absl::StatusOr<PolicySet> BuildPolicySet(std::vector<DocumentRef> documents,
                                                  Diagnostics* diagnostics,
                                                  const PolicySet* checked);
  struct Content {
    std::vector<DocumentRef> documents;
    std::vector<size_t> by_kind[4];
  };
  static const std::shared_ptr<const Content>& Nothing();

  std::shared_ptr<const Content> content_ = Nothing();
};

// Two sentences that say the same rule are one, the first: it may be said in both languages.
void DropRepeatedSentences(std::vector<DocumentRef>* documents);

// Ready to be shared: what is compiled from them is made once, here.
std::vector<DocumentRef> ShareDocuments(std::vector<Document> documents);

// Checks documents against each other. Collects every error; gives InvalidArgument if there was
// one. What is the same as in `checked` is not checked again; it is best given first, in order.
absl::StatusOr<PolicySet> BuildPolicySet(std::vector<DocumentRef> documents,
                                         Diagnostics* diagnostics,
                                         const PolicySet* checked = nullptr);
absl::StatusOr<PolicySet> BuildPolicySet(std::vector<Document> documents, Diagnostics* diagnostics);

}  // namespace mseg

#endif  // MSEG_LABELS_POLICY_SET_H_
