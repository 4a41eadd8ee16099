// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ctl/explain_batch.h"
#include "ctl/offline.h"
#include "ctl/session.h"

namespace mseg::ctl {
namespace {

struct ExplainOptions {
  std::string from;
  std::string to;
  std::string service;
  std::string batch;
  std::vector<std::string> policy;
  bool kernel = false;
};

void PrintAnswer(Session& session, const api::ExplainAnswer& answer) {
  std::ostream& out = session.out();
  bool color = session.context().color;
  out << Verdict(answer.verdict, color) << '\n'
      << "  would be  " << Verdict(answer.would_be, color)
      << (answer.would_rule.empty() ? "" : Printable(" by " + answer.would_rule)) << '\n'
      << "  egress    " << Verdict(answer.egress, color) << '\n'
      << "  ingress   " << Verdict(answer.ingress, color) << '\n'
      << "  reason    " << Printable(answer.reason) << '\n';
  if (!answer.rule.empty()) {
    out << "  rule      " << Printable(answer.rule)
        << (answer.at.empty() ? "" : Printable(" at " + answer.at)) << '\n';
  }
  if (!answer.kernel.empty()) {
    out << "  kernel    " << Verdict(answer.kernel, color)
        << (answer.drift ? "  DRIFT: the live tables disagree with the policy" : "") << '\n';
  }
  for (const std::string& lookup : answer.lookups) {
    out << "  look-up   " << Printable(lookup) << '\n';
  }
}

int RunOne(Session& session, const ExplainOptions& options, const Explainer& explain) {
  api::ExplainQuery query{.from = AbsoluteEndpoint(options.from),
                          .to = AbsoluteEndpoint(options.to),
                          .service = options.service};
  Diagnostics diagnostics;
  auto answers = explain({query}, &diagnostics);
  if (!answers.ok()) return session.Fail(answers.status(), diagnostics);
  const api::ExplainAnswer& answer = answers->front();
  if (!answer.error.empty()) return session.Fail(absl::InvalidArgumentError(answer.error));
  if (!session.PrintTree(ToJson(answer, true))) PrintAnswer(session, answer);
  return answer.verdict == "allow" ? kExitDone : kExitNo;
}

absl::Status CheckUsage(const ExplainOptions& options, Format format) {
  if (options.kernel && !options.policy.empty()) {
    return absl::InvalidArgumentError(
        "--kernel asks the tables in force; it cannot be used with --policy");
  }
  if (options.batch.empty() && options.service.empty()) {
    return absl::InvalidArgumentError(
        "explain needs FROM TO SERVICE, or --batch FILE (see `msegctl explain --help`)");
  }
  if (!options.batch.empty() && !options.from.empty()) {
    return absl::InvalidArgumentError("explain takes FROM TO SERVICE or --batch, not both");
  }
  if (!options.batch.empty() && format == Format::kYaml) {
    return absl::InvalidArgumentError("explain --batch answers in JSON lines (-o json)");
  }
  return absl::OkStatus();
}

// `--policy FILE...` takes all words up to the next option. Before FROM TO SERVICE it takes those
// too; give them back.
void GiveBackEnds(ExplainOptions* options) {
  std::vector<std::string>& words = options->policy;
  if (!options->batch.empty() || !options->from.empty() || words.size() < 4) return;
  options->service = words[words.size() - 1];
  options->to = words[words.size() - 2];
  options->from = words[words.size() - 3];
  words.resize(words.size() - 3);
}

int RunExplain(Session& session, ExplainOptions options) {
  GiveBackEnds(&options);
  absl::Status usage = CheckUsage(options, session.format());
  if (!usage.ok()) return session.Fail(usage);
  auto files = session.ReadFiles(options.policy);
  if (!files.ok()) return session.Fail(files.status());
  Explainer explain;
  if (files->empty()) {
    auto daemon = session.Daemon();
    if (!daemon.ok()) return session.Fail(daemon.status());
    explain = [service = *daemon, kernel = options.kernel](
                  const std::vector<api::ExplainQuery>& queries, Diagnostics*) {
      return service->Explain(queries, kernel);
    };
  } else {
    explain = [&files](const std::vector<api::ExplainQuery>& queries, Diagnostics* diagnostics) {
      return ExplainOffline(*files, queries, diagnostics);
    };
  }
  // Offline, every call compiles the policy: ask everything at once.
  size_t at_once = files->empty() ? 1000 : 100000;
  if (!options.batch.empty()) return RunBatch(session, options.batch, at_once, explain);
  return RunOne(session, options, explain);
}

}  // namespace

std::string AbsoluteEndpoint(const std::string& endpoint) {
  // The daemon has another working directory.
  if (!absl::StartsWith(endpoint, "file:") || endpoint.size() == 5 || endpoint[5] == '/') {
    return endpoint;
  }
  std::error_code error;
  auto path = std::filesystem::absolute(endpoint.substr(5), error);
  return error ? endpoint : absl::StrCat("file:", path.lexically_normal().string());
}

void AddExplain(CLI::App& parent, Session& session) {
  CLI::App* command = parent.add_subcommand(
      "explain", "Whether FROM may reach SERVICE of TO, and what decides it; exit 1 if not");
  auto options = std::make_shared<ExplainOptions>();
  command->add_option("FROM", options->from,
                      "workload:NAME, pod:NS/NAME, labels:k=v,..., file:PATH, pid:N or ip:ADDR");
  command->add_option("TO", options->to, "The same");
  command->add_option("SERVICE", options->service, "tcp/3306, icmp, or the name of a Service");
  command
      ->add_option("--batch", options->batch,
                   "Answer the queries in this file, a JSON object a line; - is standard input")
      ->type_name("FILE");
  command->add_option("--policy", options->policy, "Ask these files instead of the daemon")
      ->type_name("FILE");
  command->add_flag("--kernel", options->kernel, "Ask the live tables of the kernel too");
  AddOutputOption(*command, session, {Format::kTable, Format::kJson, Format::kYaml});
  command->callback([&session, options]() {
    session.action = [&session, options]() { return RunExplain(session, *options); };
  });
}

}  // namespace mseg::ctl
