// SPDX-License-Identifier: Apache-2.0
// Reads JSON for the end-to-end suites: a program of its own, since they ask hundreds of times and
// an interpreter's start is most of a second on an emulated processor.
//
// e2e_json field PATH: prints one field of the JSON object on stdin: counters.denied, items.0.name
//
// e2e_json flows [--since TIME] [--count] CONDITION...: finds a line of `msegctl flows -o json`.
// A condition is FIELD=VALUE, FIELD!=VALUE, FIELD~REGEX or FIELD! (has a value), with a dotted path
// as FIELD (local.labels.role). Prints the newest line for which all hold, shortened for reading,
// exit 0; else all lines since TIME, exit 1. --count: prints the sum of the matching lines' counts
// instead. Exit status 2: usage, or what was read is no JSON.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Json = nlohmann::ordered_json;

constexpr int kNotFound = 1, kUsage = 2;

// Null pointer where there is no such field.
const Json* Find(const Json& value, const std::string& path) {
  const Json* at = &value;
  for (size_t from = 0; from <= path.size();) {
    const size_t dot = std::min(path.find('.', from), path.size());
    const std::string name = path.substr(from, dot - from);
    from = dot + 1;
    if (at->is_array()) {
      const size_t index = std::stoul(name);
      if (index >= at->size()) return nullptr;
      at = &(*at)[index];
    } else {
      if (!at->is_object() || !at->contains(name)) return nullptr;
      at = &(*at)[name];
    }
  }
  return at;
}

Json At(const Json& value, const std::string& path) {
  const Json* found = Find(value, path);
  return found == nullptr ? Json() : *found;
}

// A text as it is, anything else as JSON writes it.
std::string Text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

struct Condition {
  std::string field, relation, want;
};

Condition ParseCondition(const std::string& text) {
  static const std::regex shape(R"(([\w./-]+?)(!=|=|~|!$)([^]*))");
  std::smatch match;
  if (!std::regex_match(text, match, shape)) throw std::invalid_argument("no condition: " + text);
  return {match[1], match[2], match[3]};
}

bool Holds(const Json& line, const Condition& condition) {
  const Json value = At(line, condition.field);
  const std::string have = value.is_null() ? "" : Text(value);
  if (condition.relation == "=") return have == condition.want;
  if (condition.relation == "!=") return have != condition.want;
  if (condition.relation == "!") return !have.empty();
  return std::regex_search(have, std::regex(condition.want));
}

std::string Or(const Json& value, const std::string& otherwise) {
  return value.is_null() || value == "" ? otherwise : Text(value);
}

std::string End(const Json& end) {
  std::string labels;
  if (const Json all = At(end, "labels"); all.is_object()) {
    for (const auto& [key, value] : all.items()) {
      labels += (labels.empty() ? "" : ",") + key + "=" + Text(value);
    }
  }
  std::string digest = Or(At(end, "digest"), "no digest");
  if (digest.rfind("sha256:", 0) == 0) digest = digest.substr(7, 12);
  return "[" + (labels.empty() ? "no labels" : labels) + "] " + Or(At(end, "exe"), "?") + " " +
         digest + " " + Text(At(end, "grade"));
}

std::string Short(const Json& line) {
  const auto text = [&](const char* path) { return Text(At(line, path)); };
  return text("verdict") + " " + text("direction") + " " + text("protocol") + "/" + text("port") +
         " local " + End(line.at("local")) + " · peer " + End(line.at("peer")) + " " +
         text("peer.address") + " · " + text("reason") + " " + Or(At(line, "rule"), "-") +
         " · hook " + text("hook") + " · generation " + text("generation") + " · x" + text("count");
}

int Field(const std::string& path) {
  const Json value = Json::parse(std::cin);
  const Json* found = Find(value, path);
  if (found == nullptr) throw std::invalid_argument("no field " + path);
  std::cout << Text(*found) << "\n";
  return 0;
}

int Flows(const std::vector<std::string>& arguments) {
  std::string since;
  bool count = false;
  std::vector<Condition> conditions;
  for (size_t i = 0; i < arguments.size(); i++) {
    if (arguments[i] == "--since" && i + 1 < arguments.size()) {
      since = arguments[++i];
    } else if (arguments[i] == "--count") {
      count = true;
    } else {
      conditions.push_back(ParseCondition(arguments[i]));
    }
  }
  std::vector<Json> lines, found;
  for (std::string text; std::getline(std::cin, text);) {
    if (text.empty()) continue;
    Json line = Json::parse(text);
    if (line.at("time").get<std::string>() >= since) lines.push_back(std::move(line));
  }
  std::copy_if(lines.begin(), lines.end(), std::back_inserter(found), [&](const Json& line) {
    return std::all_of(conditions.begin(), conditions.end(),
                       [&](const Condition& condition) { return Holds(line, condition); });
  });
  if (count) {
    uint64_t sum = 0;
    for (const Json& line : found) sum += line.at("count").get<uint64_t>();
    std::cout << sum << "\n";
    return 0;
  }
  if (!found.empty()) {
    std::cout << Short(found.back()) << "\n";
    return 0;
  }
  for (const Json& line : lines) std::cout << Short(line) << "\n";
  if (lines.empty()) std::cout << "no line at all\n";
  return kNotFound;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 2 && arguments[0] == "field") return Field(arguments[1]);
    if (!arguments.empty() && arguments[0] == "flows") {
      return Flows({arguments.begin() + 1, arguments.end()});
    }
    std::cerr
        << "usage: e2e_json field PATH | e2e_json flows [--since TIME] [--count] CONDITION...\n";
  } catch (const std::exception& error) {
    std::cerr << "e2e_json: " << error.what() << "\n";
  }
  return kUsage;
}
