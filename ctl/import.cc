// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/match.h"
#include "ctl/session.h"
#include "labels/networkpolicy_import.h"

namespace mseg::ctl {
namespace {

struct ImportOptions {
  std::vector<std::string> files;
  std::string cgroup_root = "/";
};

int RunImport(Session& session, const ImportOptions& options) {
  auto files = session.ReadFiles(options.files);
  if (!files.ok()) return session.Fail(files.status());
  if (!absl::StartsWith(options.cgroup_root, "/")) {
    return session.Fail(absl::InvalidArgumentError("--cgroup-root takes a path, such as /kubelet"));
  }
  std::vector<ImportFile> texts;
  for (const api::PolicyFile& file : *files) texts.push_back({file.name, file.text});
  Diagnostics diagnostics;
  auto result = ImportNetworkPolicies(texts, {.cgroup_root = options.cgroup_root}, &diagnostics);
  if (!result.ok()) return session.Fail(result.status(), diagnostics);
  for (const std::string& note : result->notes) {
    session.context().err << "note: " << Printable(note) << '\n';
  }
  session.out() << result->documents;
  session.out().flush();
  if (!session.out().good()) {
    return session.Fail(absl::UnavailableError("the documents could not be written"));
  }
  return kExitDone;
}

}  // namespace

void AddImport(CLI::App& parent, Session& session) {
  CLI::App* import = parent.add_subcommand("import", "Turn the policy of others into documents");
  import->require_subcommand(1);
  CLI::App* command = import->add_subcommand(
      "networkpolicy",
      "Kubernetes objects in, as `kubectl get ns,pods,netpol -A -o yaml` prints them; mseg "
      "documents out");
  auto options = std::make_shared<ImportOptions>();
  command
      ->add_option("FILE", options->files, "YAML or JSON files of one cluster; - is standard input")
      ->required();
  command
      ->add_option("--cgroup-root", options->cgroup_root,
                   "kubelet's --cgroup-root, below which kubepods lies (default: /)")
      ->type_name("PATH");
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunImport(session, *options); };
  });
}

}  // namespace mseg::ctl
