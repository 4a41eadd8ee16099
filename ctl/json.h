// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_JSON_H_
#define MSEG_CTL_JSON_H_

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "daemon/api/service.h"

namespace mseg::ctl {

// Fields in the order in which they are documented (docs/json.md).
using Json = nlohmann::ordered_json;

Json ToJson(const api::Status& status);
Json ToJson(const Budget& budget);
Json ToJson(const api::ApplyReport& report);
Json ToJson(const api::Document& document);
// `full`: with the look-ups, as for a single question.
Json ToJson(const api::ExplainAnswer& answer, bool full);
Json ToJson(const api::PendingConfirmation& pending);
Json ToJson(const api::RevisionInfo& revision);
Json ToJson(const api::WhyAnswer& answer);
Json ToJson(const api::Process& process);
Json ToJson(const api::FlowRecord& flow);
Json ToJson(const api::Host& host);
Json ToJson(const api::RecordImported& imported);
Json ToJson(const api::IdentityRecord& record);

// One line, without the line break. Bytes that are not UTF-8 become U+FFFD.
std::string JsonLine(const Json& tree);
// Indented, with a line break at the end.
void PrintJson(std::ostream& out, const Json& tree);
// The same tree as one YAML document, with a line break at the end.
void PrintYaml(std::ostream& out, const Json& tree);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_JSON_H_
