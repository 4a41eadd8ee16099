// SPDX-License-Identifier: Apache-2.0
#include <yaml-cpp/yaml.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "ctl/json.h"
#include "ctl/output.h"
#include "ctl/suggest.h"

namespace mseg::ctl {
namespace {

std::string Yaml(const Json& tree) {
  std::ostringstream out;
  PrintYaml(out, tree);
  return out.str();
}

// Whether `node`, read by yaml-cpp, is `tree`, and strings are strings.
bool Equal(const YAML::Node& node, const Json& tree) {
  if (tree.is_object()) {
    if (!node.IsMap() || node.size() != tree.size()) return false;
    for (const auto& [key, value] : tree.items()) {
      if (!node[key] || !Equal(node[key], value)) return false;
    }
    return true;
  }
  if (tree.is_array()) {
    if (!node.IsSequence() || node.size() != tree.size()) return false;
    for (size_t i = 0; i < tree.size(); ++i) {
      if (!Equal(node[i], tree[i])) return false;
    }
    return true;
  }
  if (tree.is_null()) return node.IsNull();
  if (!node.IsScalar()) return false;
  if (tree.is_string()) return node.Scalar() == tree.get<std::string>();
  return node.Scalar() == tree.dump() && node.Tag() == "?";
}

TEST_CASE("YAML: what is written is what is read", "[ctl]") {
  Json tree = {
      {"plain", "abc/def.x-1"},
      {"empty", ""},
      {"map", Json::object()},
      {"list", Json::array()},
      {"nested", {{"a", {1, 2, {{"b", "c"}, {"d", Json::array({Json::array({1, "x"})})}}}}}},
      {"float", 0.25},
      {"no", true},
      {"nothing", nullptr},
      {"key: with colon", "# not a comment"},
      {"中文", "北京 | 生产"},
  };
  INFO(Yaml(tree));
  CHECK(Equal(YAML::Load(Yaml(tree)), tree));
}

TEST_CASE("YAML: strings that look like something else are quoted", "[ctl]") {
  for (const char* text : {"true",
                           "No",
                           "null",
                           "~",
                           "on",
                           "y",
                           "1",
                           "1.5",
                           "0x10",
                           "1e3",
                           "-",
                           "- a",
                           "a: b",
                           "a #b",
                           "?",
                           "[x]",
                           "{x}",
                           "*x",
                           "&x",
                           "!x",
                           "%x",
                           "@x",
                           "`x`",
                           "'x'",
                           "\"x\"",
                           "a\nb\n",
                           "\ttab",
                           " lead",
                           "trail ",
                           "back\\slash",
                           "\x01\x7f",
                           "\xc2\x85\xe2\x80\xa8",
                           "---",
                           "...",
                           ".inf",
                           "2026-01-02",
                           "\xf0\x9f\x98\x80",
                           "=",
                           "<<",
                           "|",
                           ">",
                           ","}) {
    Json tree = {{"value", text}, {text, 1}};
    INFO(Yaml(tree));
    CHECK(Equal(YAML::Load(Yaml(tree)), tree));
    if (std::string(text).find_first_of("truenNoy~1.-") == 0) {
      CHECK(Yaml({{"value", text}}) == "value: \"" + std::string(text) + "\"\n");
    }
  }
}

TEST_CASE("bytes that are not UTF-8 do not break JSON or YAML", "[ctl]") {
  Json tree = {{"comm", "a\xff\x62"}};
  CHECK(JsonLine(tree) ==
        "{\"comm\":\"a\xef\xbf\xbd"
        "b\"}");
  CHECK(YAML::Load(Yaml(tree))["comm"].Scalar() ==
        "a\xef\xbf\xbd"
        "b");
}

TEST_CASE("Printable: nothing that moves the cursor", "[ctl]") {
  CHECK(Printable("plain 北京 ü") == "plain 北京 ü");
  CHECK(Printable("\x1b[2J\r\n\t") == "?[2J???");
  CHECK(Printable("\xc2\x9b"
                  "31m") == "?31m");          // CSI as one C1 character
  CHECK(Printable("\xc0\xaf\xff") == "???");  // overlong, and no UTF-8 at all
  CHECK(Printable("\xed\xa0\x80") == "???");  // a surrogate
  CHECK(Printable("\xe5\x8c") == "??");       // cut off
}

TEST_CASE("Table: wide characters, empty cells, growing columns", "[ctl]") {
  Table table({"A", "B"}, false);
  table.Add({"北京", "x"});
  table.Add({"", "y"});
  std::ostringstream out;
  table.Print(out);
  CHECK(out.str() == "A     B\n北京  x\n-     y\n");
  table.Add({"longer", "z"});
  out.str("");
  table.Print(out);
  CHECK(out.str() == "longer  z\n");
}

TEST_CASE("times, labels, sizes", "[ctl]") {
  CHECK(TimeText(1767323045000001) == "2026-01-02T03:04:05.000001Z");
  CHECK(TimeText(0).empty());
  CHECK(LabelsText({{"a", "1"}, {"app", "x"}, {"loc", "y"}}) == "loc=y,app=x,a=1");
  CHECK(BytesText(1023) == "1023 B");
  CHECK(BytesText(1536) == "1.5 KiB");
  CHECK(Count(1, "error") == "1 error");
  CHECK(Count(0, "error") == "0 errors");
}

TEST_CASE("Closest", "[ctl]") {
  std::vector<std::string> names = {"status", "policy", "explain", "flows"};
  CHECK(Closest("stauts", names) == "status");
  CHECK(Closest("expl", names) == "explain");
  CHECK(Closest("flow", names) == "flows");
  CHECK(Closest("xyz", names).empty());
  CHECK(Closest("", names).empty());
  CHECK(Closest(std::string(100000, 'a'), names).empty());
}

}  // namespace
}  // namespace mseg::ctl
