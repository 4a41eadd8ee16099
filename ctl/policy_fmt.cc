// SPDX-License-Identifier: Apache-2.0
// Documents in their one spelling. The tree of a document holds no comments, so those that stand
// above a document are carried over by hand, and others stop the command: nobody's words are lost
// by the way.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "ctl/document_yaml.h"
#include "ctl/session.h"
#include "labels/ast.h"
#include "labels/sentence_parser.h"

namespace mseg::ctl {
namespace {

constexpr size_t kShownErrors = 20;

struct FmtOptions {
  std::vector<std::string> files;
  bool write = false;
  bool drop_comments = false;
};

bool IsComment(const std::string& line) {
  const size_t first = line.find_first_not_of(" \t\r");
  return first != std::string::npos && line[first] == '#';
}
bool IsBlankOrComment(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos || IsComment(line);
}

// Where a line may have a comment, from 0; npos if nowhere. What looks like one inside a quoted
// text is taken for one too: better to stop once too often.
size_t FindComment(const std::string& line) {
  for (size_t at = line.find('#'); at != std::string::npos; at = line.find('#', at + 1)) {
    if (at == 0 || line[at - 1] == ' ' || line[at - 1] == '\t') return at;
  }
  return std::string::npos;
}

class Formatter {
 public:
  Formatter(const api::PolicyFile& file, bool drop_comments)
      : file_(file),
        sentences_(IsSentenceFile(file.name)),
        drop_comments_(drop_comments),
        lines_(absl::StrSplit(file.text, '\n')) {}

  absl::StatusOr<std::string> Format(Diagnostics* diagnostics) {
    auto documents = ParseDocuments(file_.name, file_.text, diagnostics);
    if (!documents.ok()) return documents.status();
    std::string out;
    for (const Document& document : *documents) {
      absl::StrAppend(&out, out.empty() ? "" : "---\n", CommentsAbove(document),
                      DocumentYaml(document));
    }
    if (!drop_comments_ && FindLost(diagnostics)) {
      return absl::InvalidArgumentError(absl::StrCat(file_.name, ": comments would be lost"));
    }
    return Same(*documents, out) ? absl::StatusOr<std::string>(std::move(out))
                                 : absl::InternalError(absl::StrCat(
                                       file_.name, ": the result would mean something else"));
  }

 private:
  // The comment lines above a document, or at its beginning, which is the same in YAML.
  std::string CommentsAbove(const Document& document) {
    std::string out;
    const size_t at = static_cast<size_t>(document.first_line) - 1;
    size_t begin = at;
    size_t end = at;
    if (sentences_) {
      while (begin > 0 && IsBlankOrComment(lines_[begin - 1])) --begin;
    } else {
      while (end < lines_.size() && IsBlankOrComment(lines_[end])) ++end;
    }
    for (size_t i = begin; i < end; ++i) {
      if (!IsComment(lines_[i]) || !kept_.insert(i).second || drop_comments_) continue;
      absl::StrAppend(
          &out, lines_[i].ends_with('\r') ? lines_[i].substr(0, lines_[i].size() - 1) : lines_[i],
          "\n");
    }
    return out;
  }

  // A sentence is carried over whole, whatever stands behind it.
  bool FindLost(Diagnostics* diagnostics) const {
    size_t found = 0;
    for (size_t i = 0; i < lines_.size() && found < kShownErrors; ++i) {
      if (kept_.contains(i) || (sentences_ && !IsComment(lines_[i]))) continue;
      const size_t at = FindComment(lines_[i]);
      if (at == std::string::npos) continue;
      ++found;
      diagnostics->push_back(
          Diagnostic{.place = {file_.name, static_cast<int>(i) + 1,
                               static_cast<int>(CountCharacters(lines_[i].substr(0, at))) + 1},
                     .message = "this comment would be lost; move it above the document, or say "
                                "--drop-comments",
                     .source_line = lines_[i]});
    }
    return found > 0;
  }

  // Whether the result says what the file did.
  static bool Same(const std::vector<Document>& documents, const std::string& text) {
    Diagnostics diagnostics;
    auto again = ParseDocuments("formatted.yaml", text, &diagnostics);
    if (!again.ok() || again->size() != documents.size()) return false;
    for (size_t i = 0; i < documents.size(); ++i) {
      if (DocumentTree((*again)[i]) != DocumentTree(documents[i])) return false;
    }
    return true;
  }

  static size_t CountCharacters(const std::string& text) {
    return static_cast<size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
  }

  const api::PolicyFile& file_;
  bool sentences_;
  bool drop_comments_;
  std::vector<std::string> lines_;
  std::set<size_t> kept_;
};

// The old content or the new one, never half of it; links and permissions stay.
absl::Status Rewrite(const std::string& name, const std::string& text) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(name, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(name, ": ", error.message()));
  const std::filesystem::path fresh = path.string() + ".mseg-fmt";
  std::ofstream stream(fresh, std::ios::binary | std::ios::trunc);
  stream << text;
  stream.close();
  if (stream) {
    std::filesystem::permissions(fresh, std::filesystem::status(path).permissions(), error);
    if (!error) std::filesystem::rename(fresh, path, error);
    if (!error) return absl::OkStatus();
  }
  std::error_code ignored;
  std::filesystem::remove(fresh, ignored);
  return absl::InvalidArgumentError(absl::StrCat(
      "cannot write ", name, ": ", error ? error.message() : "the new file is incomplete"));
}

absl::Status CheckWritable(const std::vector<std::string>& files) {
  for (const std::string& name : files) {
    if (name == "-") return absl::InvalidArgumentError("-w cannot rewrite standard input");
    if (IsSentenceFile(name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": -w would put YAML into a file of sentences; leave -w out and redirect"));
    }
  }
  return absl::OkStatus();
}

int RunFmt(Session& session, const FmtOptions& options) {
  if (options.write) {
    const absl::Status writable = CheckWritable(options.files);
    if (!writable.ok()) return session.Fail(writable);
  }
  auto files = session.ReadFiles(options.files);
  if (!files.ok()) return session.Fail(files.status());
  std::vector<std::string> formatted;
  Diagnostics diagnostics;
  absl::Status failed;
  for (const api::PolicyFile& file : *files) {
    auto text = Formatter(file, options.drop_comments).Format(&diagnostics);
    if (!text.ok()) failed = text.status();
    formatted.push_back(text.ok() ? *std::move(text) : "");
  }
  if (!failed.ok()) return session.Fail(failed, diagnostics);
  bool first = true;
  for (size_t i = 0; i < formatted.size(); ++i) {
    if (!options.write) {
      if (!formatted[i].empty()) session.out() << (first ? "" : "---\n") << formatted[i];
      first = first && formatted[i].empty();
      continue;
    }
    if (formatted[i] == (*files)[i].text) continue;
    const absl::Status written = Rewrite(options.files[i], formatted[i]);
    if (!written.ok()) return session.Fail(written);
    session.out() << Printable(options.files[i]) << " formatted\n";
  }
  return kExitDone;
}

}  // namespace

void AddPolicyFmt(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "fmt", "Print documents in their one spelling; sentences become documents");
  auto options = std::make_shared<FmtOptions>();
  AddPolicyFiles(*command, &options->files);
  command->add_flag("-w,--write", options->write, "Rewrite the files instead");
  command->add_flag("--drop-comments", options->drop_comments,
                    "Leave comments out, also those above documents");
  command->callback([&session, options]() {
    RequirePolicyFiles(options->files);
    session.action = [&session, options]() { return RunFmt(session, *options); };
  });
}

}  // namespace mseg::ctl
