// SPDX-License-Identifier: Apache-2.0
#include "ctl/document_id.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ctl/suggest.h"

namespace mseg::ctl {
namespace {

struct KindNames {
  const char* kind;
  const char* plural;
};
constexpr KindNames kKinds[] = {{"Workload", "workloads"},
                                {"Policy", "policies"},
                                {"Service", "services"},
                                {"AddressGroup", "addressgroups"}};

}  // namespace

absl::StatusOr<api::DocumentId> ParseDocumentId(const std::string& text) {
  size_t slash = text.find('/');
  std::string kind = text.substr(0, slash);
  std::string name = slash == std::string::npos ? "" : text.substr(slash + 1);
  if (slash != std::string::npos && name.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" has no name after the slash"));
  }
  std::vector<std::string> names;
  for (const KindNames& known : kKinds) {
    if (absl::EqualsIgnoreCase(kind, known.kind) || absl::EqualsIgnoreCase(kind, known.plural)) {
      return api::DocumentId{.kind = known.kind, .name = name};
    }
    names.push_back(known.kind);
  }
  std::string close = Closest(kind, names);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kind \"", kind, "\"",
                   close.empty() ? "" : absl::StrCat("; did you mean ", close, "?"),
                   " (kinds: Workload, Policy, Service, AddressGroup)"));
}

}  // namespace mseg::ctl
