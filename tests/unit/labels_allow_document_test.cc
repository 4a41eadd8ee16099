// SPDX-License-Identifier: Apache-2.0
// What `why` suggests is a document that `policy check` takes, and that allows what was refused.
#include <netinet/in.h>

#include <catch2/catch.hpp>

#include "labels/allow_document.h"
#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

AllowEnd Process(std::vector<std::pair<std::string, std::string>> labels, std::string_view path,
                 bool trusted, uint8_t content) {
  AllowEnd end;
  end.managed = true;
  for (const auto& [key, value] : labels) REQUIRE(end.labels.Set(key, value).ok());
  end.executable = Executable(1, path, content);
  end.executable->trusted_path = trusted;
  return end;
}

AllowEnd Address(std::string_view text) {
  AllowEnd end;
  end.address = *ParseIpAddress(text);
  return end;
}

ResolvedEnd Resolved(const AllowEnd& end) {
  ResolvedEnd out;
  out.managed = end.managed;
  out.address = end.address;
  if (!end.managed) return out;
  out.facts.labels = end.labels;
  out.facts.exe = IdentityFacts::Exe::kKnown;
  out.facts.executable = *end.executable;
  return out;
}

Explanation Judge(const PolicySet& policy, const AllowEnd& from, const AllowEnd& to,
                  uint8_t protocol, uint16_t port) {
  Query query{.from = Resolved(from), .to = Resolved(to), .protocol = protocol, .port = port};
  Diagnostics diagnostics;
  const auto answers = ExplainAll(policy, {}, {}, {query}, &diagnostics);
  INFO(answers.status().ToString());
  REQUIRE(answers.ok());
  return answers->front();
}

// Everybody refuses everything.
const char kClosed[] = "{selects: {}}";

TEST_CASE("the suggestion allows what was refused, and nothing beside it", "[why]") {
  const AllowEnd web = Process({{"app", "order"}, {"role", "web"}}, "/opt/web", true, 1);
  const AllowEnd db = Process({{"role", "数据库"}, {"tier", "1:2"}}, "/usr/sbin/mysqld", true, 2);
  const std::vector<std::pair<AllowEnd, AllowEnd>> pairs = {
      {web, db},
      {web, Address("10.1.2.3")},
      {Address("2001:db8::1"), db},
      {Process({}, "/opt/a [b]*\\\"c: d", true, 3), db},
      {Process({{"k", "null"}, {"x", "yes"}, {"y", "~"}, {"z", "-1"}}, "/opt/x", true, 4), db},
      {Process({{"app", "a"}}, "/home/me/tool", false, 5), db},
      {Process({{"app", "a"}}, "/opt/\xff\x01", true, 6), db},
  };
  const AllowEnd stranger = Process({{"role", "other"}}, "/usr/bin/nc", true, 9);
  for (const auto& [from, to] : pairs) {
    const auto document = AllowDocument(from, to, IPPROTO_TCP, 3306);
    INFO(document.status().ToString());
    REQUIRE(document.ok());
    INFO(*document);
    const PolicySet before = GoodPolicy(PolicyYaml("closed", kClosed));
    const PolicySet after = GoodPolicy(PolicyYaml("closed", kClosed) + "---\n" + *document);
    CHECK(Judge(before, from, to, IPPROTO_TCP, 3306).verdict == MSEG_DENY);
    CHECK(Judge(after, from, to, IPPROTO_TCP, 3306).verdict == MSEG_ALLOW);
    CHECK(Judge(after, from, to, IPPROTO_TCP, 3307).verdict == MSEG_DENY);
    CHECK(Judge(after, from, to, IPPROTO_UDP, 3306).verdict == MSEG_DENY);
    if (to.managed) CHECK(Judge(after, stranger, to, IPPROTO_TCP, 3306).verdict == MSEG_DENY);
    if (from.managed) CHECK(Judge(after, from, stranger, IPPROTO_TCP, 3306).verdict == MSEG_DENY);
  }
}

TEST_CASE("the suggestion reads like one that a person wrote", "[why]") {
  const auto document = AllowDocument(Process({{"role", "web"}}, "/opt/web", true, 1),
                                      Address("10.1.2.3"), IPPROTO_UDP, 53);
  REQUIRE(document.ok());
  const size_t name = document->find("{name: allow-udp-53-");
  REQUIRE(name != std::string::npos);
  CHECK(document->substr(document->find("spec:")) ==
        "spec:\n  rules:\n  - verdict: allow\n"
        "    from: {labels: {role: web}, process: {exe: /opt/web}}\n"
        "    to: {cidrs: [10.1.2.3]}\n    services: [udp/53]\n");
}

TEST_CASE("a script is named beside its interpreter", "[why]") {
  AllowEnd web = Process({{"role", "web"}}, "/usr/bin/python3", true, 1);
  web.executable->script = ScriptInfo{.digest = {}, .path = "/opt/tool.py"};
  const AllowEnd there = Address("10.1.2.3");
  CHECK(AllowDocument(web, there, IPPROTO_UDP, 53)
            ->find("process: {exe: /usr/bin/python3, script: /opt/tool.py}}") != std::string::npos);
  web.executable->script->path.clear();
  CHECK(AllowDocument(web, there, IPPROTO_UDP, 53)->find("script: \"sha256:0000") !=
        std::string::npos);
}

TEST_CASE("what nothing can name is said", "[why]") {
  AllowEnd unknown;
  unknown.managed = true;
  const AllowEnd there = Address("10.0.0.1");
  CHECK(AllowDocument(unknown, there, IPPROTO_TCP, 1).status().message() ==
        "the executable of the client is not known, so no rule can name it");
  CHECK(AllowDocument(there, unknown, IPPROTO_TCP, 1).status().message() ==
        "the executable of the server is not known, so no rule can name it");
  CHECK_FALSE(AllowDocument(there, there, 47, 0).ok());
  CHECK(AllowDocument(there, there, IPPROTO_ICMPV6, 128)->find("services: [icmpv6/128]") !=
        std::string::npos);
  CHECK(AllowDocument(there, there, IPPROTO_ICMPV6, 0)->find("services: [icmp]") !=
        std::string::npos);
}

}  // namespace
}  // namespace mseg::testing
