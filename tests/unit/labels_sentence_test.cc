// SPDX-License-Identifier: Apache-2.0
// Sentences in English and Chinese: what they mean, that both mean the same, how they are named.
// What is wrong with wrong ones is in tests/golden/policy.
#include <catch2/catch.hpp>
#include <set>

#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg {
namespace {

using testing::PolicyYaml;
using testing::ServiceYaml;

constexpr std::string_view kEnglish =
    "allow loc=北京 env=生产环境 app=订单系统 role=WEB服务器 process webapp to "
    "loc=北京 env=生产环境 app=订单系统 role=DB服务器 service MySQL(tcp/3306)";
constexpr std::string_view kChinese =
    "北京 | 生产环境 | 订单系统 | DB服务器 的 MySQL (TCP/3306 端口) 允许 "
    "北京 | 生产环境 | 订单系统 | WEB服务器 的 webapp 访问";

std::vector<Document> Sentences(std::string_view text) {
  Diagnostics diagnostics;
  absl::StatusOr<std::vector<Document>> documents = ParseDocuments("a.mseg", text, &diagnostics);
  for (const Diagnostic& diagnostic : diagnostics) UNSCOPED_INFO(FormatDiagnostic(diagnostic));
  REQUIRE(documents.ok());
  return *std::move(documents);
}

Document Sentence(std::string_view text) {
  std::vector<Document> documents = Sentences(text);
  REQUIRE(documents.size() == 1);
  return documents[0];
}

std::string SelectorText(const std::optional<Selector>& selector) {
  if (!selector) return "anyone";
  std::string out;
  for (const LabelRequirement& label : selector->labels) {
    CHECK(label.op == LabelRequirement::Operator::kIn);
    REQUIRE(label.values.size() == 1);
    Append(&out, out.empty() ? "" : " ", label.key, "=", label.values[0]);
  }
  if (const auto& process = selector->process) {
    for (const SpottedText& name : process->names) Append(&out, " name:", name.value);
    for (const SpottedText& exe : process->exes) Append(&out, " exe:", exe.value);
    for (const auto& digest : process->digests) Append(&out, " ", DigestText(digest.value));
  }
  return out;
}

// All of a sentence's policy but its places.
std::string Meaning(std::string_view text) {
  const Policy policy = std::get<Policy>(Sentence(text).spec);
  REQUIRE(policy.rules.size() == 1);
  REQUIRE(policy.selects);
  CHECK(policy.state == State::kEnforce);
  CHECK(policy.ingress);
  CHECK_FALSE(policy.egress);
  CHECK_FALSE(policy.selects->process);
  const Rule& rule = policy.rules[0];
  CHECK(rule.at == RuleAt::kBoth);
  std::string out = Cat(rule.verdict == MSEG_ALLOW ? "allow" : "deny", " ", SelectorText(rule.from),
                        " > ", SelectorText(rule.to), " [", SelectorText(policy.selects), "]");
  for (const ServiceItem& item : rule.services) {
    Append(&out, " ", item.service, item.described_as);
    if (item.named) Append(&out, PortNameText(*item.named));
    for (const PortRange& range : item.ports) {
      Append(&out, ":", static_cast<int>(range.kind), "/", range.protocol, "/", range.first, "-",
             range.last);
    }
  }
  return out;
}

TEST_CASE("the sentence and its English twin are the same rule") {
  const std::string both =
      "allow loc=北京 env=生产环境 app=订单系统 role=WEB服务器 name:webapp > "
      "loc=北京 env=生产环境 app=订单系统 role=DB服务器 "
      "[loc=北京 env=生产环境 app=订单系统 role=DB服务器] MySQL:0/6/3306-3306";
  CHECK(Meaning(kEnglish) == both);
  CHECK(Meaning(kChinese) == both);
  CHECK(Sentence(kEnglish).name == Sentence(kChinese).name);
  // Fixed for good: a policy applied by an older version must be replaced, not doubled.
  CHECK(Sentence(kEnglish).name == "allow-5ef1e983d7e9");
}

TEST_CASE("full-width punctuation and blanks mean the same") {
  for (const char* text :
       {"北京｜生产环境｜订单系统｜DB服务器 的 MySQL（TCP／3306 端口）允许 "
        "北京｜生产环境｜订单系统｜WEB服务器 的 webapp 访问。",
        "北京\u3000|\u3000生产环境\u3000|\u3000订单系统\u3000|\u3000DB服务器\u3000的\u3000"
        "MySQL\u3000(ＴＣＰ／３３０６端口)\u3000允许\u3000北京|生产环境|订单系统|WEB服务器\u3000的"
        "\u3000webapp\u3000访问",
        "北京|生产环境|订单系统|DB服务器 的 MySQL(tcp 3306) 允许 "
        "北京|生产环境|订单系统|WEB服务器 的 webapp 访问 # 说明",
        "allow from process webapp role=WEB服务器 app=订单系统 env=生产环境 loc=北京 to "
        "loc=北京 env=生产环境 app=订单系统 role=DB服务器 service MySQL（TCP/3306） # why"}) {
    INFO(text);
    CHECK(Sentence(text).name == Sentence(kChinese).name);
  }
}

TEST_CASE("sentences mean what they say") {
  const std::pair<const char*, const char*> cases[] = {
      {"deny app=a to app=b service any", "deny app=a > app=b [app=b] :2/0/0-0"},
      {"allow app=a to app=b service tcp/http", "allow app=a > app=b [app=b] tcp/http"},
      {"allow anyone to app=b service ssh", "allow anyone > app=b [app=b] ssh"},
      {"allow * process /usr/bin/** to process sha256:"
       "0000000000000000000000000000000000000000000000000000000000000001 service icmp",
       "allow  exe:/usr/bin/** >  sha256:"
       "0000000000000000000000000000000000000000000000000000000000000001 [] "
       ":1/1/0-0:1/58/0-0"},
      {"allow app=a to app=b process /opt/a(1)/b service web(tcp/80,443, 8000-8010 udp/53), x",
       "allow app=a > app=b exe:/opt/a(1)/b [app=b] "
       "web:0/6/80-80:0/6/443-443:0/6/8000-8010:0/17/53-53 x"},
      {"allow to=service service=process process process to process=to service service",
       "allow to=service service=process name:process > process=to [process=to] service"},
      {"allow k= to app=b service tcp/1", "allow k= > app=b [app=b] :0/6/1-1"},
      {"| * |订单| 的 any 拒绝 * | | 订单 | ＊ 访问",
       "deny app=订单 > app=订单 [app=订单] :2/0/0-0"},
      {"allow|deny|a|b 的 web（TCP/80、443 端口，UDP／８０００～８０１０）允许 任何人 访问",
       "allow anyone > loc=allow env=deny app=a role=b [loc=allow env=deny app=a role=b] "
       "web:0/6/80-80:0/6/443-443:0/17/8000-8010"},
      {"*|*|*|db 的 ／usr/sbin/mysqld 的 mysql、任意 拒绝 *|*|*|我的允许 访问",
       "deny role=我的允许 > role=db exe:/usr/sbin/mysqld [role=db] mysql :2/0/0-0"},
  };
  for (const auto& [text, meaning] : cases) {
    INFO(text);
    CHECK(Meaning(text) == meaning);
  }
}

TEST_CASE("a file of sentences: comments, blank lines, line ends, a byte order mark") {
  const std::vector<Document> documents = Sentences(
      "\xEF\xBB\xBF# a comment\r\n\r\n  allow a=b to c=d service any  # x\r\n\t\n"
      "*|*|*|x 的 any 拒绝 *|*|*|y 访问");
  REQUIRE(documents.size() == 2);
  CHECK(documents[0].place() == Place{"a.mseg", 3, 3});
  CHECK(documents[0].text == "  allow a=b to c=d service any  # x");
  CHECK(documents[1].place() == Place{"a.mseg", 5, 1});
  CHECK(Sentences("").empty());
  CHECK(Sentences("# nothing\n\n").empty());
}

TEST_CASE("a sentence stored alone keeps its places and its name") {
  const std::vector<Document> documents =
      Sentences(Cat("# x\n", kEnglish, "\r\n\n  deny a=b to c=d service any # y\n"));
  REQUIRE(documents.size() == 2);
  for (const Document& document : documents) {
    Diagnostics diagnostics;
    const auto alone =
        ParseDocuments(document.file, document.text, &diagnostics, document.first_line);
    REQUIRE(alone.ok());
    REQUIRE(alone->size() == 1);
    CHECK(alone->front().place() == document.place());
    CHECK(alone->front().name == document.name);
    CHECK(alone->front().text == document.text);
    CHECK(alone->front().first_line == document.first_line);
  }
}

TEST_CASE("the same rule said twice counts once, other rules have other names") {
  CHECK(Sentences(Cat(kEnglish, "\n", kChinese, "\n")).front().first_line == 1);
  CHECK(Sentences(Cat(kEnglish, "\n", kChinese, "\n")).size() == 1);
  CHECK(Sentences("allow a=b to c=d service x(tcp/1,2)\nallow a=b to c=d service y(tcp/2,tcp/1)\n")
            .size() == 1);
  std::set<std::string> names;
  const std::vector<Document> documents = Sentences(
      "allow a=b to c=d service any\ndeny a=b to c=d service any\n"
      "allow a=b process x to c=d service any\nallow a=b to c=d process x service any\n"
      "allow a=b to c=d service tcp/1\nallow a=b to c=d service udp/1\n"
      "allow a=b to c=d service x\nallow a=b process /x to c=d service any\n"
      "allow c=d to a=b service any\nallow anyone to a=b service any\n");
  for (const Document& document : documents) names.insert(document.name);
  CHECK(names.size() == 10);
  // Across files too, as one who applies both languages does.
  Diagnostics diagnostics;
  std::vector<Document> both = Sentences(kEnglish);
  absl::StatusOr<std::vector<Document>> chinese = ParseDocuments("zh.mseg", kChinese, &diagnostics);
  REQUIRE(chinese.ok());
  both.insert(both.end(), chinese->begin(), chinese->end());
  const absl::StatusOr<PolicySet> policy = BuildPolicySet(both, &diagnostics);
  REQUIRE(policy.ok());
  CHECK(policy->documents().size() == 1);
  CHECK(policy->documents()[0]->file == "a.mseg");
}

TEST_CASE("a name in front of a bracket says nothing that a Service contradicts") {
  auto errors = [](std::string_view ports) {
    Diagnostics diagnostics;
    std::vector<Document> documents = Sentences("allow a=b to c=d service mysql(tcp/3306,3307)\n");
    absl::StatusOr<std::vector<Document>> service =
        ParseDocuments("s.yaml", ServiceYaml("mysql", Cat("{ports: ", ports, "}")), &diagnostics);
    REQUIRE(service.ok());
    documents.push_back(service->front());
    const bool ok = BuildPolicySet(documents, &diagnostics).ok();
    CHECK(ok == diagnostics.empty());
    return ok ? std::string() : FormatDiagnostic(diagnostics[0]);
  };
  CHECK(errors("[tcp/3307, tcp/3306]").empty());
  CHECK(errors("[tcp/3306]")
            .find("a.mseg:1:26: error: `mysql` has other ports in Service `mysql` "
                  "(s.yaml:") == 0);
}

TEST_CASE("a sentence and the policy that it stands for give the same verdicts") {
  Diagnostics diagnostics;
  const absl::StatusOr<PolicySet> sentence =
      BuildPolicySet(Sentences(Cat("\n", kChinese)), &diagnostics);
  REQUIRE(sentence.ok());
  const std::string db = "labels:loc=北京,env=生产环境,app=订单系统,role=DB服务器";
  const std::string web = "labels:loc=北京,env=生产环境,app=订单系统,role=WEB服务器";
  const std::string name = Sentence(kChinese).name;
  auto answer = [&](const std::string& from, const std::string& to, const char* service) {
    return testing::Answer(*sentence, from, to, service);
  };
  CHECK(answer(web + ";exe=/opt/bin/webapp", db, "tcp/3306") == "allow rule " + name + "/#1");
  CHECK(answer(web + ";exe=/opt/bin/other", db, "tcp/3306") == "deny default " + name);
  CHECK(answer(web + ";exe=/opt/bin/webapp", db, "tcp/3307") == "deny default " + name);
  CHECK(answer("labels:", db, "tcp/3306") == "deny default " + name);
  CHECK(answer(db, web, "tcp/3306").starts_with("allow default"));
  CHECK(testing::Ask(*sentence, web + ";exe=/opt/bin/webapp", db, "tcp/3306").at == "a.mseg:2");
}

}  // namespace
}  // namespace mseg
