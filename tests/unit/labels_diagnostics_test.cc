// SPDX-License-Identifier: Apache-2.0
// Every way in which policy text can be wrong, and what is said about it. tests/golden/policy holds
// texts and beside each what it gives; MSEG_UPDATE_GOLDEN=1 writes the latter anew.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "labels/compiler.h"
#include "labels/text.h"
#include "labels/yaml_reader.h"

namespace mseg {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string DiagnosticsOf(const std::string& name, const std::string& text) {
  Diagnostics diagnostics;
  absl::StatusOr<std::vector<Document>> documents = ParseDocuments(name, text, &diagnostics);
  if (documents.ok()) {
    const absl::StatusOr<PolicySet> policy = BuildPolicySet(*std::move(documents), &diagnostics);
    CHECK(policy.ok() == diagnostics.empty());
  } else {
    CHECK(!diagnostics.empty());
  }
  std::string out;
  for (const Diagnostic& diagnostic : diagnostics) out += FormatDiagnostic(diagnostic);
  return out;
}

TEST_CASE("diagnostics are as recorded") {
  std::vector<std::filesystem::path> texts;
  for (const auto& entry : std::filesystem::directory_iterator(MSEG_GOLDEN_POLICY_DIR)) {
    if (entry.path().extension() != ".err") texts.push_back(entry.path());
  }
  std::sort(texts.begin(), texts.end());
  REQUIRE(texts.size() >= 20);
  for (const std::filesystem::path& path : texts) {
    INFO(path.string());
    const std::string got = DiagnosticsOf(path.filename().string(), ReadFile(path));
    const std::filesystem::path recorded = std::filesystem::path(path).replace_extension(".err");
    if (std::getenv("MSEG_UPDATE_GOLDEN") != nullptr) std::ofstream(recorded) << got;
    CHECK(got == ReadFile(recorded));
    CHECK(!got.empty());
  }
}

TEST_CASE("a caret stands below wide characters, tabs and the end of a line") {
  auto format = [](const std::string& line, int column) {
    return FormatDiagnostic(Diagnostic{{"f", 1, column}, "m", line});
  };
  CHECK(format("订单: x", 5) == "f:1:5: error: m\n  订单: x\n        ^\n");
  CHECK(format("\ta", 2) == "f:1:2: error: m\n  \ta\n  \t^\n");
  CHECK(format("ab", 3) == "f:1:3: error: m\n  ab\n    ^\n");
  CHECK(format("ab", 9) == "f:1:9: error: m\n  ab\n");
  CHECK(FormatDiagnostic(Diagnostic{{}, "m", ""}) == "error: m\n");
}

TEST_CASE("control characters of a policy do not reach the terminal") {
  const std::string got = DiagnosticsOf("f", "a\x1b[31m: b\n");
  CHECK(got.find('\x1b') == std::string::npos);
}

TEST_CASE("text is bounded") {
  CHECK(DiagnosticsOf("f", std::string(kMaxYamlBytes + 1, '#')) ==
        "f:1:1: error: larger than 64 MiB\n");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "---\nx: y\n";
  const std::string got = DiagnosticsOf("f", many);
  CHECK(got.find("too many errors") != std::string::npos);
  CHECK(std::count(got.begin(), got.end(), '\n') < 1000);
  std::string long_line = "apiVersion: " + std::string(100000, 'x') + "\n";
  CHECK(DiagnosticsOf("f", long_line).size() < 4000);
}

TEST_CASE("one long line is read as fast as many") {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += Cat("k", i, ": [], ");
  // Minutes, if every place were counted from the beginning of its line.
  CHECK(DiagnosticsOf("f", text + "}").find("unknown field") != std::string::npos);
}

TEST_CASE("what cannot be read in pieces is refused before it takes much memory") {
  // yaml-cpp alone takes gigabytes for each of these.
  CHECK(DiagnosticsOf("f", "a: " + std::string(30'000'000, '['))
            .find("too large to be read in one piece") != std::string::npos);
  std::string maps;
  for (int i = 0; i < 5'000'000; ++i) maps += "{a: ";
  CHECK(DiagnosticsOf("f", maps).starts_with("f:1:1: error: what begins here is too large"));
}

TEST_CASE("a document stored alone keeps its places") {
  const std::string first =
      "# a comment\n\napiVersion: mseg.io/v1\nkind: Service\nmetadata: {name: a}\n"
      "spec: {ports: tcp/1}\n";
  const std::string second =
      "apiVersion: mseg.io/v1\r\nkind: Policy\r\nmetadata:\r\n  name: b\r\nspec: {}\r\n";
  Diagnostics diagnostics;
  const auto documents =
      ParseDocuments("f", "\n\n" + first + "--- # two\n\n" + second + "...\n---\n", &diagnostics);
  REQUIRE(documents.ok());
  REQUIRE(documents->size() == 2);
  CHECK(documents->at(0).first_line == 3);
  CHECK(documents->at(0).text == first);
  CHECK(documents->at(1).text == second);
  CHECK(documents->at(1).place() == Place{"f", 14, 9});
  const Document& b = documents->at(1);
  const auto alone = ParseDocuments("f", b.text, &diagnostics, b.first_line);
  REQUIRE(alone.ok());
  CHECK(alone->at(0).place() == b.place());
  CHECK(alone->at(0).first_line == b.first_line);
  CHECK(alone->at(0).text == b.text);
}

TEST_CASE("a byte order mark in front of a document is no part of it") {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  const auto workload = [](std::string_view name) {
    return Cat("apiVersion: mseg.io/v1\nkind: Workload\nmetadata: {name: ", name,
               "}\nspec: {labels: {a: b}, match: {host: true}}\n");
  };
  struct Case {
    std::string text;
    std::vector<int> first_lines;
  };
  const std::vector<Case> cases = {
      {Cat("\n", kMark, workload("x"), "---\n", kMark, kMark, workload("y")), {2, 7}},
      {Cat(kMark, "---\n", workload("x"), kMark, "---\n", workload("y")), {2, 7}},
      {Cat(workload("x"), kMark, "...\n", kMark, "\n", kMark, "--- {}\n"), {}},
      {Cat(workload("x"), "...\n\n", kMark, workload("y")), {1, 7}},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    Diagnostics diagnostics;
    const auto documents = ParseDocuments("f", c.text, &diagnostics);
    REQUIRE(documents.ok() == !c.first_lines.empty());
    if (!documents.ok()) {  // `{}` is no document of policy, and stands in line 7
      CHECK(diagnostics.front().place.line == 7);
      CHECK(diagnostics.front().place.column == 5);
      continue;
    }
    REQUIRE(documents->size() == c.first_lines.size());
    for (size_t i = 0; i < documents->size(); i++) {
      CHECK(documents->at(i).text == workload(i == 0 ? "x" : "y"));
      CHECK(documents->at(i).first_line == c.first_lines[i]);
    }
  }
}

TEST_CASE("what stands behind an end marker is refused, not lost") {
  Diagnostics diagnostics;
  CHECK_FALSE(ParseDocuments("f", "# x\n... kind: Policy\n", &diagnostics).ok());
  REQUIRE_FALSE(diagnostics.empty());
  CHECK(diagnostics.front().place.line == 2);
  CHECK(ParseDocuments("f", "# x\n... # the end\n", &diagnostics).ok());
}

TEST_CASE("documents without content are none") {
  Diagnostics diagnostics;
  for (const char* text : {"", "\n\n", "---\n---\n...\n", "# only a comment\n", "--- # x\n# y\n",
                           "\xEF\xBB\xBF\n", "~\n"}) {
    INFO(text);
    const auto documents = ParseDocuments("f", text, &diagnostics);
    REQUIRE(documents.ok());
    CHECK(documents->empty());
  }
}

TEST_CASE("scalars are the characters that were written") {
  Diagnostics diagnostics;
  const auto documents = ParseDocuments("f",
                                        "apiVersion: mseg.io/v1\nkind: Workload\n"
                                        "metadata: {name: 007}\n"
                                        "spec: {labels: {a: yes, b: 1.0, c: 0x10, d: !!str null},"
                                        " match: {host: true}}\n",
                                        &diagnostics);
  REQUIRE(documents.ok());
  CHECK(documents->at(0).name == "007");
  CHECK(std::get<Workload>(documents->at(0).spec).labels.Text() == "a=yes,b=1.0,c=0x10,d=null");
}

}  // namespace
}  // namespace mseg
