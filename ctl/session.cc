// SPDX-License-Identifier: Apache-2.0
#include "ctl/session.h"

#include <errno.h>
#include <string.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "ctl/client.h"

namespace mseg::ctl {
namespace {

const char* FormatName(Format format) {
  switch (format) {
    case Format::kTable:
      return "table";
    case Format::kWide:
      return "wide";
    case Format::kJson:
      return "json";
    case Format::kYaml:
      return "yaml";
  }
  return "";
}

// What a name leads to may have no end (/dev/zero).
std::string ReadAtMost(std::istream& in, size_t most) {
  constexpr size_t kPiece = 1 << 16;
  std::string text;
  while (in && text.size() < most) {
    const size_t had = text.size();
    text.resize(std::min(had + kPiece, most));
    in.read(text.data() + had, static_cast<std::streamsize>(text.size() - had));
    text.resize(had + static_cast<size_t>(in.gcount()));
  }
  return text;
}

}  // namespace

absl::StatusOr<api::Service*> Session::Daemon() {
  if (daemon_ == nullptr) {
    auto daemon = Connect(socket_path_);
    if (!daemon.ok()) return daemon.status();
    daemon_ = *std::move(daemon);
  }
  return daemon_.get();
}

absl::StatusOr<api::PolicyFile> Session::ReadFile(const std::string& name) {
  api::PolicyFile file{.name = name == "-" ? "<stdin>" : name, .text = ""};
  errno = 0;
  if (name == "-") {
    file.text = ReadAtMost(context_.in, api::kMaxPolicyBytes + 1);
  } else {
    // A directory opens, and fails to be read.
    std::ifstream stream(name, std::ios::binary);
    file.text = ReadAtMost(stream, api::kMaxPolicyBytes + 1);
    if (!stream.is_open() || stream.bad()) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot read ", name, ": ", strerror(errno != 0 ? errno : EIO)));
    }
  }
  if (file.text.size() > api::kMaxPolicyBytes) {
    return absl::InvalidArgumentError(absl::StrCat(file.name, " has more than ",
                                                   api::kMaxPolicyBytes,
                                                   " bytes, the most that is accepted at once"));
  }
  return file;
}

absl::StatusOr<std::vector<api::PolicyFile>> Session::ReadFiles(
    const std::vector<std::string>& names) {
  std::vector<api::PolicyFile> files;
  uint64_t bytes = 0;
  for (const std::string& name : names) {
    auto file = ReadFile(name);
    if (!file.ok()) return file.status();
    bytes += file->text.size();
    files.push_back(*std::move(file));
  }
  if (bytes > api::kMaxPolicyBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the files have ", bytes, " bytes, at most ",
                                                   api::kMaxPolicyBytes, " are accepted at once"));
  }
  return files;
}

bool Session::PrintTree(const Json& tree) {
  if (format_ == Format::kJson) {
    PrintJson(context_.out, tree);
  } else if (format_ == Format::kYaml) {
    PrintYaml(context_.out, tree);
  } else {
    return false;
  }
  return true;
}

int Session::Fail(const absl::Status& status, const Diagnostics& diagnostics) {
  for (const Diagnostic& diagnostic : diagnostics) {
    context_.err << PrintableLines(FormatDiagnostic(diagnostic));
  }
  if (diagnostics.empty()) {
    context_.err << "error: " << PrintableLines(std::string(status.message())) << '\n';
  } else {
    context_.err << Count(diagnostics.size(), "error") << ", nothing was changed\n";
  }
  return ExitCodeOf(status);
}

void AddPolicyFiles(CLI::App& command, std::vector<std::string>* files) {
  command.add_option("FILE", *files, "Policy files; - is standard input");
  command
      .add_option_function<std::vector<std::string>>(
          "-f,--filename",
          [files](const std::vector<std::string>& more) {
            files->insert(files->end(), more.begin(), more.end());
          },
          "The same, as kubectl has it")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
}

void RequirePolicyFiles(const std::vector<std::string>& files) {
  if (files.empty()) throw CLI::RequiredError("FILE");
}

absl::StatusOr<int64_t> DurationUs(const std::string& option, const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration() ||
      duration > absl::Hours(24 * 3650)) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, " ", text, " is not a duration such as 30s, 5m or 1h30m"));
  }
  return absl::ToInt64Microseconds(duration);
}

void AddOutputOption(CLI::App& command, Session& session, const std::vector<Format>& formats) {
  std::vector<std::pair<std::string, Format>> names;
  std::string list;
  for (Format format : formats) {
    names.emplace_back(FormatName(format), format);
    absl::StrAppend(&list, list.empty() ? "" : "|", FormatName(format));
  }
  command
      .add_option_function<std::string>(
          "-o,--output",
          [&session, names, list](const std::string& value) {
            for (const auto& [name, format] : names) {
              if (name == value) {
                session.format() = format;
                return;
              }
            }
            throw CLI::ValidationError("-o", "'" + value + "' is not one of " + list);
          },
          "How to print the answer: " + list)
      ->type_name("FORMAT");
  Format first = formats.front();
  command.parse_complete_callback([&session, &command, first]() {
    if (command.count("--output") == 0) session.format() = first;
  });
}

}  // namespace mseg::ctl
