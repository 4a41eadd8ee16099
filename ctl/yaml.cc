// SPDX-License-Identifier: Apache-2.0
// YAML from a JSON tree. Block style; a string is plain only if no reader of YAML 1.1 or 1.2 could
// take it for anything else, and double-quoted with JSON's escapes otherwise.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "ctl/json.h"
#include "ctl/utf8.h"

namespace mseg::ctl {
namespace {

constexpr std::array<std::string_view, 9> kReserved = {"true", "false", "yes", "no", "on",
                                                       "off",  "null",  "y",   "n"};

bool IsPlain(const std::string& text) {
  if (text.empty() || !(absl::ascii_isalpha(static_cast<unsigned char>(text[0])) ||
                        text[0] == '/' || text[0] == '_')) {
    return false;
  }
  for (char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        std::string_view("/._-+").find(c) == std::string_view::npos) {
      return false;
    }
  }
  std::string lower = absl::AsciiStrToLower(text);
  return std::find(kReserved.begin(), kReserved.end(), lower) == kReserved.end();
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    Character next = NextCharacter(text);
    if (!next.valid) {
      quoted += "\xef\xbf\xbd";  // U+FFFD, as in JSON
    } else if (next.code == '"' || next.code == '\\') {
      quoted += '\\';
      quoted += static_cast<char>(next.code);
    } else if (next.code == '\n') {
      quoted += "\\n";
    } else if (next.code == '\t') {
      quoted += "\\t";
    } else if (next.code < 0x20 || (next.code >= 0x7f && next.code < 0xa0) || next.code == 0x2028 ||
               next.code == 0x2029 || next.code == 0xfeff || (next.code & 0xfffe) == 0xfffe) {
      quoted += next.code > 0xffff ? absl::StrFormat("\\U%08x", static_cast<uint32_t>(next.code))
                                   : absl::StrFormat("\\u%04x", static_cast<uint32_t>(next.code));
    } else {
      quoted.append(text.substr(0, next.bytes));
    }
    text.remove_prefix(next.bytes);
  }
  return quoted + '"';
}

std::string StringText(const std::string& text) { return IsPlain(text) ? text : Quoted(text); }

std::string ScalarText(const Json& value) {
  if (value.is_string()) return StringText(value.get_ref<const std::string&>());
  if (value.is_object()) return "{}";
  if (value.is_array()) return "[]";
  return value.dump();
}

bool IsBlock(const Json& value) { return value.is_structured() && !value.empty(); }

// Writes `value` at `indent`; the first line's indentation is written already.
void Emit(std::ostream& out, const Json& value, size_t indent) {
  if (!IsBlock(value)) {
    out << ScalarText(value) << '\n';
    return;
  }
  bool first = true;
  auto start = [&]() {
    if (!first) out << std::string(indent, ' ');
    first = false;
  };
  if (value.is_array()) {
    for (const Json& element : value) {
      start();
      out << "- ";
      Emit(out, element, indent + 2);
    }
    return;
  }
  for (const auto& [key, member] : value.items()) {
    start();
    out << StringText(key) << ':';
    if (IsBlock(member)) {
      out << '\n' << std::string(indent + 2, ' ');
      Emit(out, member, indent + 2);
    } else {
      out << ' ' << ScalarText(member) << '\n';
    }
  }
}

}  // namespace

void PrintYaml(std::ostream& out, const Json& tree) { Emit(out, tree, 0); }

}  // namespace mseg::ctl
