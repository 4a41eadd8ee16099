// SPDX-License-Identifier: Apache-2.0
// policy fmt: what is printed says what the file said, is what is printed for itself, and loses
// nobody's comments.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "ctl/document_yaml.h"
#include "ctl_fixture.h"
#include "tests/support/policy_fixture.h"
#include "tests/support/policy_random.h"

namespace mseg {
namespace {

CtlResult Fmt(std::vector<std::string> arguments, const std::string& in = "") {
  arguments.insert(arguments.begin(), {"policy", "fmt"});
  return RunCtl("/nonexistent/msegd.sock", arguments, {.in = in});
}

class Folder {
 public:
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "mseg-fmt-XXXXXX";
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(path_ / name, std::ios::binary).rdbuf();
    return text.str();
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST_CASE("policy fmt", "[ctl]") {
  for (const auto& [golden, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"fmt_yaml", {"all-fields.yaml"}},
           {"fmt_sentences", {"sentences.mseg"}},
           {"fmt_several", {"sentences.mseg", "order.yaml"}},
           {"fmt_broken", {"order.yaml", "broken.yaml"}},
           {"fmt_comments", {"comments.yaml"}},
           {"fmt_drop_comments", {"--drop-comments", "comments.yaml"}},
           {"fmt_write_sentences", {"-w", "sentences.mseg"}}}) {
    INFO(golden);
    std::vector<std::string> words = {"policy", "fmt"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const CtlResult result = Fmt(arguments);
    CheckGolden(golden, words, result);
    if (result.code == 0) CHECK(Fmt({"-"}, result.out).out == result.out);
  }
}

TEST_CASE("policy fmt -w rewrites what differs, through links, and keeps permissions", "[ctl]") {
  const Folder folder;
  const std::string text =
      "# why\nkind: Service\napiVersion: mseg.io/v1\nmetadata: {name: a}\n"
      "spec: {ports: tcp/1}\n";
  const std::string file = folder.File("a.yaml", text);
  std::filesystem::permissions(
      file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const std::string link = folder.path() / "link.yaml";
  std::filesystem::create_symlink("a.yaml", link);
  const std::string formatted = Fmt({file}).out;
  CHECK(folder.Read("a.yaml") == text);
  CtlResult result = Fmt({"-w", link});
  CHECK(result.code == 0);
  CHECK(result.out == link + " formatted\n");
  CHECK(folder.Read("a.yaml") == formatted);
  CHECK(std::filesystem::is_symlink(link));
  CHECK(std::filesystem::status(file).permissions() ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  CHECK(Fmt({"-w", link}).out.empty());
  CHECK(Fmt({"-w", "-"}, text).code == 2);
  // Nothing is written if anything is wrong.
  const std::string broken = folder.File("b.yaml", "kind: [");
  folder.File("a.yaml", text);
  CHECK(Fmt({"-w", file, broken}).code == 2);
  CHECK(folder.Read("a.yaml") == text);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 3);
}

TEST_CASE("formatted policies compile to the same tables", "[ctl]") {
  testing::PolicyRandom random(7);
  for (int round = 0; round < 50; ++round) {
    std::string text;
    const PolicySet policy = random.Policy(&text);
    INFO(text);
    const CtlResult result = Fmt({"-"}, text);
    REQUIRE(result.code == 0);
    const PolicySet again = testing::GoodPolicy(result.out);
    const Inventory host = random.Host(3);
    const GenerationImage before = testing::GoodImage(policy, host);
    const GenerationImage after = testing::GoodImage(again, host);
    CHECK(before.rows.size() == after.rows.size());
    CHECK(before.identities.size() == after.identities.size());
    CHECK(before.budget.kernel_bytes == after.budget.kernel_bytes);
    REQUIRE(policy.documents().size() == again.documents().size());
    for (size_t i = 0; i < policy.documents().size(); ++i) {
      CHECK(ctl::DocumentTree(*policy.documents()[i]) == ctl::DocumentTree(*again.documents()[i]));
    }
  }
}

}  // namespace
}  // namespace mseg
