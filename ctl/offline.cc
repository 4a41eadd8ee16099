// SPDX-License-Identifier: Apache-2.0
#include "ctl/offline.h"

#include <iterator>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ctl/executable_file.h"
#include "labels/ast.h"
#include "labels/compiler.h"
#include "labels/endpoint.h"
#include "labels/policy_set.h"
#include "labels/simulator.h"

namespace mseg::ctl {
namespace {

// All documents of all files; goes on after an error, so that all errors are found.
absl::StatusOr<std::vector<Document>> ParseAll(const std::vector<api::PolicyFile>& files,
                                               Diagnostics* diagnostics) {
  std::vector<Document> documents;
  absl::Status failed;
  for (const api::PolicyFile& file : files) {
    auto parsed = ParseDocuments(file.name, file.text, diagnostics);
    if (!parsed.ok()) {
      failed = parsed.status();
      continue;
    }
    std::move(parsed->begin(), parsed->end(), std::back_inserter(documents));
  }
  if (!failed.ok()) return failed;
  return documents;
}

absl::StatusOr<PolicySet> Load(const std::vector<api::PolicyFile>& files,
                               Diagnostics* diagnostics) {
  auto documents = ParseAll(files, diagnostics);
  if (!documents.ok()) return documents.status();
  return BuildPolicySet(*std::move(documents), diagnostics);
}

absl::StatusOr<ResolvedEnd> Resolve(const PolicySet& policy, const std::string& text) {
  auto endpoint = ParseEndpoint(text);
  if (!endpoint.ok()) return endpoint.status();
  if (endpoint->kind == Endpoint::Kind::kPid) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, " is known to the daemon only: ask without --policy"));
  }
  if (endpoint->kind != Endpoint::Kind::kFile) return ResolveEnd(policy, *endpoint);
  auto executable = ReadExecutable(endpoint->name);
  if (!executable.ok()) return executable.status();
  ResolvedEnd end;
  end.managed = true;
  end.facts.cgroup = "/";
  end.facts.exe = IdentityFacts::Exe::kKnown;
  end.facts.executable = *std::move(executable);
  return end;
}

absl::StatusOr<Query> ResolveQuery(const PolicySet& policy, const api::ExplainQuery& query) {
  auto from = Resolve(policy, query.from);
  if (!from.ok()) return from.status();
  auto to = Resolve(policy, query.to);
  if (!to.ok()) return to.status();
  auto service = ParseServicePort(policy, query.service);
  if (!service.ok()) return service.status();
  return Query{.from = *std::move(from),
               .to = *std::move(to),
               .protocol = service->protocol,
               .port = service->port};
}

void AddLookups(const std::string& direction, const EndVerdict& end,
                std::vector<std::string>* lookups) {
  if (!end.judged) lookups->push_back(absl::StrCat(direction, ": not judged, no managed end"));
  for (const Probe& probe : end.probes) {
    lookups->push_back(ProbeText(direction, probe));
  }
}

api::ExplainAnswer Answer(const Explanation& explanation) {
  api::ExplainAnswer answer;
  answer.verdict = VerdictName(explanation.verdict);
  answer.egress = VerdictName(explanation.egress.judged ? explanation.egress.decision.verdict
                                                        : static_cast<uint8_t>(MSEG_ALLOW));
  answer.ingress = VerdictName(explanation.ingress.judged ? explanation.ingress.decision.verdict
                                                          : static_cast<uint8_t>(MSEG_ALLOW));
  answer.would_be = VerdictName(explanation.would_be);
  answer.reason = ReasonName(explanation.reason);
  answer.rule = explanation.rule;
  answer.at = explanation.at;
  AddLookups("egress", explanation.egress, &answer.lookups);
  AddLookups("ingress", explanation.ingress, &answer.lookups);
  return answer;
}

}  // namespace

absl::StatusOr<Budget> CheckOffline(const std::vector<api::PolicyFile>& files,
                                    Diagnostics* diagnostics) {
  auto policy = Load(files, diagnostics);
  if (!policy.ok()) return policy.status();
  Inventory inventory;
  for (size_t index : policy->OfKind(DocumentKind::kWorkload)) {
    auto facts = WorkloadFacts(*policy, policy->documents()[index]->name);
    if (facts.ok()) inventory.identities.push_back(*std::move(facts));
  }
  // Counted as if every workload lived on one host, which a fleet's do not: the host's own limits
  // are for `apply`.
  CompileOptions options;
  options.max_rows = uint64_t{1} << 24;
  options.max_identities = uint64_t{1} << 24;
  options.max_tails = UINT32_MAX;
  auto image = Compile(*policy, inventory, options, diagnostics);
  if (!image.ok()) return image.status();
  return image->budget;
}

absl::StatusOr<std::vector<api::DocumentId>> DocumentsOf(const std::vector<api::PolicyFile>& files,
                                                         Diagnostics* diagnostics) {
  auto documents = ParseAll(files, diagnostics);
  if (!documents.ok()) return documents.status();
  std::vector<api::DocumentId> ids;
  std::set<std::pair<DocumentKind, std::string>> known;
  for (const Document& document : *documents) {
    if (!known.emplace(document.kind, document.name).second) continue;
    ids.push_back(api::DocumentId{.kind = std::string(DocumentKindName(document.kind)),
                                  .name = document.name});
  }
  return ids;
}

absl::StatusOr<std::vector<api::Document>> ReadDocuments(const std::vector<api::PolicyFile>& files,
                                                         Diagnostics* diagnostics) {
  auto parsed = ParseAll(files, diagnostics);
  if (!parsed.ok()) return parsed.status();
  std::vector<api::Document> documents;
  for (const Document& document : *parsed) {
    documents.push_back({.kind = std::string(DocumentKindName(document.kind)),
                         .name = document.name,
                         .text = document.text,
                         .file = document.file,
                         .line = document.first_line,
                         .revision = 0});
  }
  return documents;
}

absl::StatusOr<std::vector<api::ExplainAnswer>> ExplainOffline(
    const std::vector<api::PolicyFile>& files, const std::vector<api::ExplainQuery>& queries,
    Diagnostics* diagnostics) {
  auto policy = Load(files, diagnostics);
  if (!policy.ok()) return policy.status();
  std::vector<api::ExplainAnswer> answers(queries.size());
  std::vector<Query> resolved;
  std::vector<size_t> places;  // of resolved[i] in `answers`
  for (size_t i = 0; i < queries.size(); ++i) {
    auto query = ResolveQuery(*policy, queries[i]);
    if (!query.ok()) {
      answers[i].error = std::string(query.status().message());
      continue;
    }
    resolved.push_back(*std::move(query));
    places.push_back(i);
  }
  // A question is no reason to refuse a policy for its size on one host.
  CompileOptions options{.max_rows = uint64_t{1} << 26, .max_identities = uint64_t{1} << 24};
  auto explanations = ExplainAll(*policy, Inventory{}, options, resolved, diagnostics);
  if (!explanations.ok()) return explanations.status();
  for (size_t i = 0; i < places.size(); ++i) answers[places[i]] = Answer((*explanations)[i]);
  return answers;
}

}  // namespace mseg::ctl
