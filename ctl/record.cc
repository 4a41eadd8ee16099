// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

int RunRecordExport(Session& session, const std::string& file) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto text = (*daemon)->ExportRecords();
  if (!text.ok()) return session.Fail(text.status());
  if (file == "-") {
    session.out() << *text;
    return kExitDone;
  }
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << *text;
  out.close();
  if (!out) return session.Fail(absl::InvalidArgumentError(absl::StrCat("cannot write ", file)));
  return kExitDone;
}

int RunRecordImport(Session& session, const std::vector<std::string>& names) {
  auto files = session.ReadFiles(names);
  if (!files.ok()) return session.Fail(files.status());
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto imported = (*daemon)->ImportRecords(
      {.files = *std::move(files), .author = session.context().user, .caller = {}});
  if (!imported.ok()) return session.Fail(imported.status());
  Json list = Json::array();
  for (const api::RecordImported& one : *imported) list.push_back(ToJson(one));
  if (session.PrintTree(list)) return kExitDone;
  for (const api::RecordImported& one : *imported) {
    session.out() << Printable(one.file) << ": host " << one.host.id << " ("
                  << Printable(one.host.name) << ") " << one.action << ": "
                  << Count(one.host.labels, "label set") << ", "
                  << Count(one.host.executables, "executable") << '\n';
  }
  return kExitDone;
}

std::string MeaningOf(const api::IdentityRecord& record) {
  if (record.kind != "label") return record.path;
  return record.labels.empty() ? "no labels" : LabelsText(record.labels);
}

// Whether what it says counts: of labels, whether the host may claim them; of executables, whether
// `exe` and `name` match the path.
std::string Counts(const api::IdentityRecord& record) {
  if (record.kind == "label") return record.permitted ? "permitted" : "NOT PERMITTED";
  return record.trusted_path ? "trusted path" : "digest only";
}

int RunRecordList(Session& session, const std::string& host) {
  auto daemon = session.Daemon();
  if (!daemon.ok()) return session.Fail(daemon.status());
  auto records = (*daemon)->ListRecords(host);
  if (!records.ok()) return session.Fail(records.status());
  Json list = Json::array();
  for (const api::IdentityRecord& record : *records) list.push_back(ToJson(record));
  if (session.PrintTree(list)) return kExitDone;
  if (records->empty()) {
    session.context().err << "no records\n";
    return kExitDone;
  }
  const bool wide = session.format() == Format::kWide;
  std::vector<std::string> header = {"HOST", "NAME", "KIND", "ID", "COUNTS", "MEANS"};
  if (wide) header.insert(header.end(), {"DIGEST", "SCRIPT", "PACKAGE"});
  Table table(header, false);
  for (const api::IdentityRecord& record : *records) {
    std::vector<std::string> row = {
        absl::StrCat(record.host_id),        record.host_name, record.kind,
        absl::StrFormat("%012x", record.id), Counts(record),   MeaningOf(record)};
    if (wide) row.insert(row.end(), {record.digest, record.script, record.package});
    table.Add(std::move(row));
  }
  table.Print(session.out());
  return kExitDone;
}

}  // namespace

void AddRecord(CLI::App& parent, Session& session) {
  CLI::App* group =
      parent.add_subcommand("record", "What the short ids of hosts mean: identity records");
  group->require_subcommand(1);

  CLI::App* give = group->add_subcommand("export", "This host's records, signed, for other hosts");
  auto to = std::make_shared<std::string>("-");
  give->add_option("-o,--output", *to, "Where to; - (default) is standard output")
      ->type_name("FILE");
  give->callback([&session, to]() {
    session.action = [&session, to]() { return RunRecordExport(session, *to); };
  });

  CLI::App* take = group->add_subcommand("import", "Take records of trusted hosts: all or none");
  auto files = std::make_shared<std::vector<std::string>>();
  take->add_option("FILE", *files, "What `record export` said there; - for stdin")->required();
  AddOutputOption(*take, session, {Format::kTable, Format::kJson, Format::kYaml});
  take->callback([&session, files]() {
    session.action = [&session, files]() { return RunRecordImport(session, *files); };
  });

  CLI::App* list = group->add_subcommand("list", "What each id means, this host's included");
  auto host = std::make_shared<std::string>();
  list->add_option("--host", *host, "Only of this one")->type_name("ID|NAME");
  AddOutputOption(*list, session, {Format::kTable, Format::kWide, Format::kJson, Format::kYaml});
  list->callback([&session, host]() {
    session.action = [&session, host]() { return RunRecordList(session, *host); };
  });
}

}  // namespace mseg::ctl
