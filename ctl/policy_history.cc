// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

constexpr uint32_t kUsual = 20;

struct HistoryOptions {
  uint64_t revision = 0;
  uint32_t limit = kUsual;
};

// Who the kernel says it was, and who they say they are if that is somebody else.
std::string AuthorText(const api::RevisionInfo& revision) {
  if (!revision.uid.has_value()) return revision.author;
  if (revision.author.empty() || revision.author == revision.user) return revision.user;
  return absl::StrCat(revision.user, " (", revision.author, ")");
}

void PrintTable(Session& session, const std::vector<api::RevisionInfo>& revisions) {
  const bool wide = session.format() == Format::kWide;
  std::vector<std::string> header = {"REVISION", "", "TIME", "AUTHOR", "DOCUMENTS"};
  if (wide) header.insert(header.end(), {"EVENT", "UID"});
  header.push_back("MESSAGE");
  Table table(header, false);
  for (const api::RevisionInfo& revision : revisions) {
    std::vector<std::string> row = {absl::StrCat(revision.number), revision.active ? "*" : " ",
                                    TimeText(revision.time_us), AuthorText(revision),
                                    absl::StrCat(revision.changed)};
    if (wide) {
      row.push_back(revision.event);
      row.push_back(revision.uid.has_value() ? absl::StrCat(*revision.uid) : "");
    }
    row.push_back(revision.message);
    table.Add(std::move(row));
  }
  table.Print(session.out());
}

int RunHistory(Session& session, const HistoryOptions& options) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  api::HistoryRequest request{.limit = options.limit, .before = 0};
  if (options.revision != 0) request = {.limit = 1, .before = options.revision + 1};
  auto revisions = (*daemon)->History(request);
  if (!revisions.ok()) return session.Fail(revisions.status());
  if (options.revision != 0 &&
      (revisions->empty() || revisions->front().number != options.revision)) {
    return session.Fail(
        absl::NotFoundError(absl::StrCat("there is no revision ", options.revision)));
  }
  Json list = Json::array();
  for (const api::RevisionInfo& revision : *revisions) list.push_back(ToJson(revision));
  if (session.PrintTree(list)) return kExitDone;
  if (revisions->empty()) {
    session.context().err << "no revisions\n";
  } else {
    PrintTable(session, *revisions);
  }
  return kExitDone;
}

}  // namespace

void AddPolicyHistory(CLI::App& parent, Session& session) {
  CLI::App* command =
      parent.add_subcommand("history", "Revisions, newest first; * marks the one in force");
  auto options = std::make_shared<HistoryOptions>();
  command->add_option("REVISION", options->revision, "Only this one")
      ->check(CLI::Range(uint64_t{1}, uint64_t{UINT32_MAX}));
  command->add_option("--limit", options->limit, absl::StrCat("At most N (", kUsual, ")"))
      ->type_name("N")
      ->check(CLI::Range(1u, api::kMaxHistoryPage));
  AddOutputOption(*command, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunHistory(session, *options); };
  });
}

}  // namespace mseg::ctl
