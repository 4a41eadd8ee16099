// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SESSION_H_
#define MSEG_CTL_SESSION_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/context.h"
#include "ctl/json.h"
#include "ctl/output.h"
#include "daemon/api/service.h"

namespace CLI {
class App;
}

namespace mseg::ctl {

// One run of msegctl: what every command shares.
class Session {
 public:
  explicit Session(Context& context) : context_(context), socket_path_(context.socket_path) {}

  Context& context() { return context_; }
  std::ostream& out() { return context_.out; }
  std::string& socket_path() { return socket_path_; }
  Format& format() { return format_; }

  // Connects at the first call. Unavailable if that fails.
  absl::StatusOr<api::Service*> Daemon();

  // A file's content; `-` is standard input. InvalidArgument if it cannot be read.
  absl::StatusOr<api::PolicyFile> ReadFile(const std::string& name);
  absl::StatusOr<std::vector<api::PolicyFile>> ReadFiles(const std::vector<std::string>& names);

  // Prints `tree` as json or yaml and returns true, or returns false for the formats that each
  // command draws itself.
  bool PrintTree(const Json& tree);

  // Prints what went wrong on stderr; returns the exit code.
  int Fail(const absl::Status& status, const Diagnostics& diagnostics = {});

  // What the parsed command line is to do.
  std::function<int()> action;

 private:
  Context& context_;
  std::string socket_path_;
  Format format_ = Format::kTable;
  std::unique_ptr<api::Service> daemon_;
};

// Adds -o with these values; the first is the default.
void AddOutputOption(CLI::App& command, Session& session, const std::vector<Format>& formats);

// Adds FILE..., also as -f FILE. `files` lives as long as the command, whose callback asks for one
// at least: it throws a usage error.
void AddPolicyFiles(CLI::App& command, std::vector<std::string>* files);
void RequirePolicyFiles(const std::vector<std::string>& files);

// An option's duration, such as 30s, 5m or 1h30m, in microseconds.
absl::StatusOr<int64_t> DurationUs(const std::string& option, const std::string& text);

// The commands. Each adds itself to `parent` and sets Session::action when it was chosen.
void AddStatus(CLI::App& parent, Session& session);
void AddPolicyCheck(CLI::App& parent, Session& session);
void AddPolicyApply(CLI::App& parent, Session& session);
void AddPolicyGet(CLI::App& parent, Session& session);
void AddPolicyHistory(CLI::App& parent, Session& session);
void AddPolicyDiff(CLI::App& parent, Session& session);
void AddPolicyRollback(CLI::App& parent, Session& session);
void AddPolicyConfirm(CLI::App& parent, Session& session);
void AddPolicyDelete(CLI::App& parent, Session& session);
void AddPolicyFmt(CLI::App& parent, Session& session);
void AddExplain(CLI::App& parent, Session& session);
void AddWhy(CLI::App& parent, Session& session);
void AddPanic(CLI::App& parent, Session& session);
void AddIdentity(CLI::App& parent, Session& session);
void AddHost(CLI::App& parent, Session& session);
void AddRecord(CLI::App& parent, Session& session);
void AddImport(CLI::App& parent, Session& session);
void AddPath(CLI::App& parent, Session& session);
void AddFlows(CLI::App& parent, Session& session);
void AddSelftest(CLI::App& parent, Session& session);
void AddCompletion(CLI::App& parent, Session& session);
void AddVersion(CLI::App& parent, Session& session);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SESSION_H_
