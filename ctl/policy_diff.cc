// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "ctl/offline.h"
#include "ctl/session.h"
#include "ctl/text_diff.h"

namespace mseg::ctl {
namespace {

struct DiffOptions {
  std::vector<uint64_t> revisions;
  std::vector<std::string> files;
};

// One document, before and after; no text: it is not there.
struct Pair {
  std::string kind;
  std::string name;
  std::optional<std::string> before;
  std::optional<std::string> after;
};

// Two states and what they are called.
struct Sides {
  std::vector<Pair> pairs;
  std::string before;
  std::string after;
};

std::string EndLine(std::string text) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

using States = std::map<std::pair<std::string, std::string>, Pair>;

void AddState(const std::vector<api::Document>& documents, std::optional<std::string> Pair::*side,
              States* states) {
  for (const api::Document& document : documents) {
    Pair& pair = (*states)[{document.kind, document.name}];
    pair.kind = document.kind;
    pair.name = document.name;
    pair.*side = EndLine(document.text);
  }
}

std::vector<Pair> Differing(States states) {
  std::vector<Pair> pairs;
  for (auto& [name, pair] : states) {
    if (pair.before != pair.after) pairs.push_back(std::move(pair));
  }
  return pairs;
}

// The last revision that changed a document, 0 if there is none.
absl::StatusOr<uint64_t> LastChange(api::Service& daemon) {
  api::HistoryRequest request{.limit = 100, .before = 0};
  for (;;) {
    auto page = daemon.History(request);
    if (!page.ok()) return page.status();
    if (page->empty()) return uint64_t{0};
    for (const api::RevisionInfo& revision : *page) {
      if (revision.changed > 0) return revision.number;
    }
    request.before = page->back().number;
    if (request.before == 1) return uint64_t{0};
  }
}

std::string RevisionText(const std::optional<uint64_t>& revision) {
  return revision.has_value() ? absl::StrCat("revision ", *revision) : "in force";
}

absl::StatusOr<Sides> BetweenRevisions(api::Service& daemon, const DiffOptions& options) {
  std::optional<uint64_t> from, to;
  if (options.revisions.empty()) {
    auto last = LastChange(daemon);
    if (!last.ok()) return last.status();
    if (*last == 0) return Sides{};
    from = *last - 1;
    to = *last;
  } else {
    from = options.revisions[0];
    if (options.revisions.size() > 1) to = options.revisions[1];
  }
  States states;
  auto before = daemon.GetPolicies("", "", from);
  if (!before.ok()) return before.status();
  AddState(*before, &Pair::before, &states);
  auto after = daemon.GetPolicies("", "", to);
  if (!after.ok()) return after.status();
  AddState(*after, &Pair::after, &states);
  return Sides{Differing(std::move(states)), RevisionText(from), RevisionText(to)};
}

// What `apply` would change: documents that the files do not name stay.
absl::StatusOr<Sides> AgainstFiles(Session& session, api::Service& daemon,
                                   const DiffOptions& options, Diagnostics* diagnostics) {
  auto files = session.ReadFiles(options.files);
  if (!files.ok()) return files.status();
  auto wanted = ReadDocuments(*files, diagnostics);
  if (!wanted.ok()) return wanted.status();
  auto have = daemon.GetPolicies("", "", std::nullopt);
  if (!have.ok()) return have.status();
  States there;
  AddState(*have, &Pair::before, &there);
  States states;
  AddState(*wanted, &Pair::after, &states);
  for (auto& [name, pair] : states) {
    const auto old = there.find(name);
    if (old != there.end()) pair.before = old->second.before;
  }
  return Sides{Differing(std::move(states)), RevisionText(std::nullopt), "files"};
}

const char* ChangeWord(const Pair& pair) {
  if (!pair.before.has_value()) return "created";
  return pair.after.has_value() ? "configured" : "deleted";
}

std::string Hunks(const Pair& pair) {
  return UnifiedDiff(pair.before.value_or(""), pair.after.value_or(""));
}

void PrintPair(Session& session, const Pair& pair, const Sides& sides) {
  const std::string name = absl::StrCat(absl::AsciiStrToLower(pair.kind), "/", pair.name);
  const auto title = [&](const std::optional<std::string>& text, const std::string& side) {
    return text.has_value() ? absl::StrCat(Printable(name), "\t(", side, ")") : "/dev/null";
  };
  std::ostream& out = session.out();
  out << "--- " << title(pair.before, sides.before) << "\n+++ " << title(pair.after, sides.after)
      << '\n';
  const std::string hunks = Hunks(pair);
  if (!session.context().color) {
    out << PrintableLines(hunks);
    return;
  }
  for (const absl::string_view line : absl::StrSplit(hunks, '\n')) {
    if (line.empty()) continue;
    const char* color = line[0] == '+'   ? "\x1b[32m"
                        : line[0] == '-' ? "\x1b[31m"
                        : line[0] == '@' ? "\x1b[36m"
                                         : "";
    out << color << PrintableLines(std::string(line)) << (*color == '\0' ? "\n" : "\x1b[0m\n");
  }
}

int RunDiff(Session& session, const DiffOptions& options) {
  if (!options.files.empty() && !options.revisions.empty()) {
    return session.Fail(absl::InvalidArgumentError("diff takes revisions or -f FILE, not both"));
  }
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  Diagnostics diagnostics;
  auto sides = options.files.empty() ? BetweenRevisions(**daemon, options)
                                     : AgainstFiles(session, **daemon, options, &diagnostics);
  if (!sides.ok()) return session.Fail(sides.status(), diagnostics);
  Json changes = Json::array();
  for (const Pair& pair : sides->pairs) {
    changes.push_back({{"action", ChangeWord(pair)},
                       {"kind", pair.kind},
                       {"name", pair.name},
                       {"diff", Hunks(pair)}});
  }
  const Json tree = {{"before", sides->before}, {"after", sides->after}, {"changes", changes}};
  if (!session.PrintTree(tree)) {
    for (const Pair& pair : sides->pairs) PrintPair(session, pair, *sides);
  }
  return sides->pairs.empty() ? kExitDone : kExitNo;
}

}  // namespace

void AddPolicyDiff(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "diff", "What a revision changed, or what files would; exit 1 if there is a difference");
  auto options = std::make_shared<DiffOptions>();
  command
      ->add_option("REVISION", options->revisions,
                   "One: from it to what is in force. Two: from the first to the second. None: "
                   "what the last change changed")
      ->expected(0, 2)
      ->check(CLI::Range(uint64_t{0}, uint64_t{UINT32_MAX}));
  command->add_option("-f,--filename", options->files, "What applying these files would change")
      ->type_name("FILE");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunDiff(session, *options); };
  });
}

}  // namespace mseg::ctl
