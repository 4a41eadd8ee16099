// SPDX-License-Identifier: Apache-2.0
#include "ctl/explain_batch.h"

#include <errno.h>
#include <string.h>

#include <fstream>
#include <istream>

#include "absl/strings/str_cat.h"

namespace mseg::ctl {
namespace {

absl::StatusOr<std::string> StringField(const Json& line, const char* name) {
  auto found = line.find(name);
  if (found == line.end()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is missing"));
  }
  if (!found->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a string"));
  }
  return found->get<std::string>();
}

absl::Status CheckFields(const Json& line) {
  if (!line.is_object()) return absl::InvalidArgumentError("not a JSON object");
  for (const auto& [name, value] : line.items()) {
    if (name != "from" && name != "to" && name != "protocol" && name != "port") {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown field \"", name, "\" (fields: from, to, protocol, port)"));
    }
  }
  return absl::OkStatus();
}

// `tcp` and 3306 to `tcp/3306`; a protocol without ports has no `port`, or 0.
absl::StatusOr<std::string> ServiceField(const Json& line) {
  auto protocol = StringField(line, "protocol");
  if (!protocol.ok()) return protocol.status();
  auto port = line.find("port");
  bool portless = *protocol != "tcp" && *protocol != "udp" && *protocol != "sctp";
  if (port == line.end() || port->is_null()) {
    if (portless) return protocol;
    return absl::InvalidArgumentError("\"port\" is missing");
  }
  if (!port->is_number_integer()) return absl::InvalidArgumentError("\"port\" is not a number");
  int64_t number = port->get<int64_t>();
  if (portless && number == 0) return protocol;
  if (number < 1 || number > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("port ", number, " is not in 1 to 65535"));
  }
  return absl::StrCat(*protocol, "/", number);
}

absl::StatusOr<api::ExplainQuery> ParseQuery(const std::string& text) {
  Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (line.is_discarded()) return absl::InvalidArgumentError("not JSON");
  absl::Status fields = CheckFields(line);
  if (!fields.ok()) return fields;
  auto from = StringField(line, "from");
  if (!from.ok()) return from.status();
  auto to = StringField(line, "to");
  if (!to.ok()) return to.status();
  auto service = ServiceField(line);
  if (!service.ok()) return service.status();
  return api::ExplainQuery{
      .from = AbsoluteEndpoint(*from), .to = AbsoluteEndpoint(*to), .service = *service};
}

// Lines that were read and not answered yet.
struct Chunk {
  std::vector<api::ExplainAnswer> answers;  // with those that need no asking filled in
  std::vector<api::ExplainQuery> queries;
  std::vector<size_t> places;  // of queries[i] in `answers`
};

Chunk ReadChunk(std::istream& in, size_t at_once, uint64_t* line_number) {
  Chunk chunk;
  std::string line;
  while (chunk.answers.size() < at_once && std::getline(in, line)) {
    ++*line_number;
    auto query = ParseQuery(line);
    chunk.answers.emplace_back();
    if (!query.ok()) {
      chunk.answers.back().error =
          absl::StrCat("line ", *line_number, ": ", query.status().message());
      continue;
    }
    chunk.places.push_back(chunk.answers.size() - 1);
    chunk.queries.push_back(*std::move(query));
  }
  return chunk;
}

int AnswerLines(Session& session, std::istream& in, size_t at_once, const Explainer& explain) {
  int code = kExitDone;
  uint64_t line_number = 0;
  for (;;) {
    Chunk chunk = ReadChunk(in, at_once, &line_number);
    if (chunk.answers.empty()) return code;
    if (!chunk.queries.empty()) {
      Diagnostics diagnostics;
      auto answers = explain(chunk.queries, &diagnostics);
      if (!answers.ok()) return session.Fail(answers.status(), diagnostics);
      for (size_t i = 0; i < answers->size(); ++i) {
        chunk.answers[chunk.places[i]] = std::move((*answers)[i]);
      }
    }
    for (const api::ExplainAnswer& answer : chunk.answers) {
      if (!answer.error.empty()) code = kExitBadInput;
      session.out() << JsonLine(ToJson(answer, false)) << '\n';
    }
    session.out().flush();
    if (!session.out().good()) return kExitDone;  // the reader went away
  }
}

}  // namespace

int RunBatch(Session& session, const std::string& name, size_t at_once, const Explainer& explain) {
  if (name == "-") return AnswerLines(session, session.context().in, at_once, explain);
  std::ifstream file(name, std::ios::binary);
  if (!file) {
    return session.Fail(
        absl::InvalidArgumentError(absl::StrCat("cannot read ", name, ": ", strerror(errno))));
  }
  return AnswerLines(session, file, at_once, explain);
}

}  // namespace mseg::ctl
