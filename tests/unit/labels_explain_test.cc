// SPDX-License-Identifier: Apache-2.0
// Endpoints as people type them, and answers as they are shown.
#include <catch2/catch.hpp>

#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

std::string ErrorOf(std::string_view endpoint) {
  const absl::StatusOr<Endpoint> parsed = ParseEndpoint(endpoint);
  return parsed.ok() ? "" : std::string(parsed.status().message());
}

TEST_CASE("endpoints") {
  const Endpoint labels =
      *ParseEndpoint(Cat("labels:app=订单,role=db;exe=/bin/x;digest=sha256:", std::string(63, '0'),
                         "1;grade=ima;user=bob;ip=10.0.0.1"));
  CHECK(labels.facts.labels->Text() == "app=订单,role=db");
  CHECK(labels.facts.executable.path == "/bin/x");
  CHECK(labels.facts.executable.trusted_path);
  CHECK(labels.facts.executable.digest[31] == 1);
  CHECK(labels.facts.executable.grade == MSEG_GRADE_IMA);
  CHECK(labels.facts.user == "bob");
  CHECK(IpAddressText(*labels.address) == "10.0.0.1");
  CHECK(labels.managed());
  CHECK(ParseEndpoint("labels:")->facts.exe == IdentityFacts::Exe::kOther);
  CHECK(ParseEndpoint("labels:;user=7")->facts.uid == 7u);
  CHECK(ParseEndpoint("labels:;grade=unknown;exe=/x")->facts.exe == IdentityFacts::Exe::kUnknown);
  CHECK(ParseEndpoint("pid:17")->pid == 17);
  CHECK(ParseEndpoint("file:/bin/x")->name == "/bin/x");
  CHECK(ParseEndpoint("workload:订单")->name == "订单");
  CHECK(ParseEndpoint("pod:shop/web-0.a")->name == "pod.shop.web-0.a");
  CHECK_FALSE(ParseEndpoint("ip:::1")->managed());
}

TEST_CASE("endpoints that cannot be read say why") {
  CHECK(ErrorOf("x").find("is no endpoint") != std::string::npos);
  CHECK(ErrorOf("host:x").find("is no kind of endpoint") != std::string::npos);
  CHECK(ErrorOf("workload:").find("is no endpoint") != std::string::npos);
  CHECK(ErrorOf("pod:a").find("pod:NAMESPACE/NAME") != std::string::npos);
  CHECK(ErrorOf("pod:a/").find("pod:NAMESPACE/NAME") != std::string::npos);
  CHECK(ErrorOf("pid:x").find("process id") != std::string::npos);
  CHECK(ErrorOf("pid:0").find("process id") != std::string::npos);
  CHECK(ErrorOf("ip:x").find("not an IP address") != std::string::npos);
  CHECK(ErrorOf("labels:app").find("key=value") != std::string::npos);
  CHECK(ErrorOf("labels:app=a,app=b").find("twice") != std::string::npos);
  CHECK(ErrorOf("labels:mseg/host=x").find("reserved") != std::string::npos);
  CHECK(ErrorOf("labels:;exe=x").find("absolute") != std::string::npos);
  CHECK(ErrorOf("labels:;color=x").find("exe, digest, script, grade, user, ip") !=
        std::string::npos);
  CHECK(ErrorOf("labels:;script=x").find("absolute path") != std::string::npos);
  CHECK(ErrorOf("labels:;digest=x").find("sha256") != std::string::npos);
  CHECK(ErrorOf("labels:;grade=x").find("grade") != std::string::npos);
  CHECK(ErrorOf("labels:;exe").find("name=value") != std::string::npos);
  CHECK_FALSE(ResolveEnd({}, *ParseEndpoint("workload:x")).ok());
  CHECK(absl::IsFailedPrecondition(ResolveEnd({}, *ParseEndpoint("pid:1")).status()));
  CHECK_FALSE(ServicePortOf("tcp", 0).ok());
  CHECK_FALSE(ServicePortOf("tcp", 65536).ok());
  CHECK_FALSE(ServicePortOf("http", 1).ok());
  CHECK(ServicePortOf("icmp", 0)->protocol == 1);
  CHECK(ServicePortOf("icmp", 0)->port == 8);
  CHECK(ServicePortOf("icmp", 13)->port == 13);
  CHECK(ServicePortOf("icmpv6", 0)->port == 128);
  CHECK_FALSE(ServicePortOf("icmp", 256).ok());
  CHECK_FALSE(ServicePortOf("icmp", -1).ok());
  CHECK_FALSE(ParseServicePort({}, "mysql").ok());
  CHECK_FALSE(ParseServicePort({}, "any").ok());
}

TEST_CASE("a workload endpoint is a process as its document describes it") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("host", "{labels: {env: prod}, match: {host: true}}") +
      WorkloadYaml("db",
                   "{labels: {role: db}, match: {cgroup: '/svc/[m-n]*', exe: '/usr/*/mysqld', "
                   "user: mysql}}") +
      WorkloadYaml("far", "{labels: {role: far}, match: {addresses: [10.0.0.1]}}") +
      PolicyYaml("p",
                 "{selects: {labels: {role: db}}, rules: [{name: r, verdict: allow, from: "
                 "{labels: {role: db, env: prod}, process: {name: mysqld, user: mysql}}},"
                 "{name: far, verdict: allow, from: {labels: {role: far}}}]}"));
  CHECK(Answer(policy, "workload:db", "workload:db", "tcp/1") == "allow rule p/r");
  CHECK(Answer(policy, "workload:host", "workload:db", "tcp/1") == "deny default p");
  CHECK(Answer(policy, "workload:far", "workload:db", "tcp/1") == "allow rule p/far");
  CHECK(Answer(policy, "ip:10.0.0.1", "workload:db", "tcp/1") == "allow rule p/far");
}

TEST_CASE("an explanation names what decided, where it stands, and each look-up") {
  const PolicySet policy = GoodPolicy(
      PolicyYaml("p",
                 "\n  selects: {labels: {role: db}}\n  rules:\n  - name: web\n    verdict: allow\n"
                 "    from: {labels: {role: web}}\n    services: tcp/1\n"));
  const Explanation allowed = Ask(policy, "labels:role=web", "labels:role=db", "tcp/1");
  CHECK(allowed.verdict == MSEG_ALLOW);
  CHECK(allowed.rule == "p/web");
  CHECK(allowed.at == "t.yaml:8");
  REQUIRE(allowed.ingress.probes.size() == 1);
  CHECK(allowed.ingress.probes[0].step == 'a');
  CHECK(allowed.ingress.probes[0].hit);
  const Explanation denied = Ask(policy, "labels:role=web", "labels:role=db", "tcp/2");
  CHECK(denied.rule == "p");
  CHECK(denied.at == "t.yaml:6");
  CHECK(denied.ingress.probes.back().step == 'f');
  CHECK(denied.ingress.probes.size() == 1);
  const Explanation unmanaged = Ask(policy, "ip:10.0.0.1", "ip:10.0.0.2", "tcp/2");
  CHECK(unmanaged.verdict == MSEG_ALLOW);
  CHECK(unmanaged.reason == MSEG_REASON_NONE);
  CHECK_FALSE(unmanaged.egress.judged);
}

TEST_CASE("words are those of the reference") {
  CHECK(ReasonName(MSEG_REASON_UNKNOWN_IDENTITY) == "unknown_identity");
  CHECK(ReasonName(200) == "none");
  CHECK(DirectionName(MSEG_INGRESS) == "ingress");
  CHECK(VerdictName(MSEG_DENY) == "deny");
  CHECK(GradeName(MSEG_GRADE_VERITY) == "verity");
  CHECK(*ParseState("test") == State::kTest);
  CHECK_FALSE(ParseState("tset").ok());
}

}  // namespace
}  // namespace mseg::testing
