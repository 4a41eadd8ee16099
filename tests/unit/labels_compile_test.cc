// SPDX-License-Identifier: Apache-2.0
// What policies mean, one sentence of docs/policy.md at a time.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "labels/text.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

constexpr char kDb[] = "labels:app=order,role=db";
constexpr char kWeb[] = "labels:app=order,role=web";

std::string OrderDb(std::string_view rules) {
  return PolicyYaml("p", Cat("{selects: {labels: {role: db}}, rules: [", rules, "]}"));
}

TEST_CASE("deny beats allow, allow beats the default, the rest is open") {
  const std::string allow =
      "{name: a, verdict: allow, from: {labels: {app: order}}, services: tcp/1}";
  const std::string deny =
      "{name: d, verdict: deny, from: {labels: {role: web}}, services: tcp/1-2}";
  const PolicySet policy = GoodPolicy(OrderDb(Cat(allow, ",", deny)));
  CHECK(Answer(policy, kWeb, kDb, "tcp/1") == "deny rule p/d");
  CHECK(Answer(policy, "labels:app=order", kDb, "tcp/1") == "allow rule p/a");
  CHECK(Answer(policy, "labels:app=order", kDb, "tcp/3") == "deny default p");
  CHECK(Answer(policy, "labels:app=order", "labels:role=x", "tcp/3") == "allow default");
  CHECK(Answer(policy, kWeb, "labels:role=x", "tcp/2") == "deny rule p/d");
}

TEST_CASE("each end judges: a rule counts where `at` says") {
  const auto text = [](const char* at) {
    return PolicyYaml("all", "{selects: {}}") +
           PolicyYaml("p", Cat("{rules: [{name: r, verdict: allow, from: {labels: {role: web}}, "
                               "to: {labels: {role: db}}, at: ",
                               at, "}]}"));
  };
  CHECK(Answer(GoodPolicy(text("both")), kWeb, kDb, "tcp/1") == "allow rule p/r");
  const PolicySet from = GoodPolicy(text("from"));
  const PolicySet to = GoodPolicy(text("to"));
  CHECK(Answer(from, kWeb, kDb, "tcp/1") == "deny default all");
  CHECK(Ask(from, kWeb, kDb, "tcp/1").egress.decision.verdict == MSEG_ALLOW);
  CHECK(Ask(from, kWeb, kDb, "tcp/1").ingress.decision.verdict == MSEG_DENY);
  CHECK(Ask(to, kWeb, kDb, "tcp/1").egress.decision.verdict == MSEG_DENY);
  CHECK(Ask(to, kWeb, kDb, "tcp/1").ingress.decision.verdict == MSEG_ALLOW);
  // A rule has a direction: what it allows one way says nothing about the other.
  CHECK(Answer(GoodPolicy(text("both")), kDb, kWeb, "tcp/1") == "deny default all");
}

TEST_CASE("`selects` alone denies by default, in its directions") {
  const PolicySet ingress =
      GoodPolicy(PolicyYaml("p", "{selects: {labels: {role: db}}, directions: [ingress]}"));
  CHECK(Answer(ingress, kWeb, kDb, "tcp/1") == "deny default p");
  CHECK(Answer(ingress, kDb, kWeb, "tcp/1") == "allow default");
  const PolicySet nobody =
      GoodPolicy(PolicyYaml("p", "{rules: [{verdict: allow, to: {labels: {role: x}}}]}"));
  CHECK(Answer(nobody, kWeb, kDb, "tcp/1") == "allow default");
  const PolicySet all = GoodPolicy(PolicyYaml("p", "{selects: {}}"));
  CHECK(Answer(all, "labels:", "ip:192.0.2.1", "tcp/1") == "deny default p");
  CHECK(Answer(all, "ip:192.0.2.1", "labels:", "tcp/1") == "deny default p");
}

TEST_CASE("an omitted or empty end matches anyone, managed or not") {
  for (const char* end : {"", "from: {}, "}) {
    const PolicySet policy = GoodPolicy(OrderDb(Cat("{name: r, verdict: allow, ", end, "at: to}")));
    CHECK(Answer(policy, "labels:", kDb, "tcp/9") == "allow rule p/r");
    CHECK(Answer(policy, "ip:192.0.2.1", kDb, "udp/9") == "allow rule p/r");
    CHECK(Answer(policy, "ip:2001:db8::1", kDb, "icmp") == "allow rule p/r");
  }
}

TEST_CASE("the nine combinations of states") {
  // What the state of the policy and of the workload give for a denied connection.
  struct Row {
    const char* policy;
    const char* workload;
    const char* answer;
  };
  const Row rows[] = {
      {"build", "build", "allow default"},          {"build", "test", "allow default"},
      {"build", "enforce", "allow default"},        {"test", "build", "allow default"},
      {"test", "test", "allow default would deny"}, {"test", "enforce", "allow default would deny"},
      {"enforce", "build", "allow default"},        {"enforce", "test", "allow default would deny"},
      {"enforce", "enforce", "deny default p"},
  };
  for (const Row& row : rows) {
    INFO(row.policy << " " << row.workload);
    const PolicySet policy = GoodPolicy(
        PolicyYaml("p", Cat("{state: ", row.policy, ", selects: {labels: {role: db}}}")) +
        WorkloadYaml("db",
                     Cat("{labels: {role: db}, match: {cgroup: /db}, state: ", row.workload, "}")));
    CHECK(Answer(policy, "labels:", "workload:db", "tcp/1") == row.answer);
  }
}

TEST_CASE("two ends in different states each judge by their own") {
  const PolicySet policy =
      GoodPolicy(PolicyYaml("p", "{selects: {}}") +
                 WorkloadYaml("t", "{labels: {role: t}, match: {cgroup: /t}, state: test}") +
                 WorkloadYaml("e", "{labels: {role: e}, match: {cgroup: /e}}"));
  const Explanation answer = Ask(policy, "workload:t", "workload:e", "tcp/1");
  CHECK(answer.egress.decision.verdict == MSEG_ALLOW);
  CHECK(answer.egress.decision.would_be == MSEG_DENY);
  CHECK(answer.ingress.decision.verdict == MSEG_DENY);
  CHECK(answer.verdict == MSEG_DENY);
}

TEST_CASE("the rule that is named is the first in (policy name, position)") {
  const PolicySet policy = GoodPolicy(
      PolicyYaml("z", "{selects: {}, rules: [{name: first, verdict: deny}]}") +
      PolicyYaml("b",
                 "{selects: {}, rules: [{name: n, verdict: allow}, {name: x, verdict: deny},"
                 " {name: y, verdict: deny}]}") +
      PolicyYaml("a", "{state: test, rules: [{verdict: deny}]}"));
  const Explanation answer = Ask(policy, "labels:", "labels:", "tcp/1");
  CHECK(answer.rule == "b/x");
  CHECK(answer.at == "t.yaml:10");
  const GenerationImage image = GoodImage(policy, {});
  CHECK((*image.rules)[answer.egress.decision.would_rule].policy() == "a");
  CHECK((*image.rules)[answer.egress.decision.would_rule].rule() == "#1");
}

TEST_CASE("an unknown executable: deny needs a possible match, allow a certain one") {
  const auto rule = [](const char* verdict) {
    return GoodPolicy(OrderDb(
        Cat("{name: r, verdict: ", verdict, ", from: {labels: {role: web}, process: {name: w}}}")));
  };
  const std::string unknown = Cat(kWeb, ";grade=unknown");
  CHECK(Answer(rule("allow"), Cat(kWeb, ";exe=/bin/w"), kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(rule("allow"), Cat(kWeb, ";exe=/bin/v"), kDb, "tcp/1") == "deny default p");
  CHECK(Answer(rule("allow"), unknown, kDb, "tcp/1") == "deny unknown_identity p");
  CHECK(Answer(rule("deny"), unknown, "labels:role=x", "tcp/1") == "deny rule p/r");
  CHECK(Answer(rule("deny"), Cat(kWeb, ";exe=/bin/v"), "labels:role=x", "tcp/1") ==
        "allow default");
  const PolicySet deny = GoodPolicy(
      PolicyYaml("p", "{rules: [{name: r, verdict: deny, from: {process: {name: w}}}]}"));
  CHECK(Answer(deny, unknown, "labels:", "tcp/1") == "deny rule p/r");
  CHECK(Answer(deny, kWeb, "labels:", "tcp/1") == "allow default");
  // An address's executable is not known either.
  CHECK(Answer(deny, "ip:192.0.2.1", "labels:", "tcp/1") == "deny rule p/r");
}

TEST_CASE("a grade lower than asked for is unknown, not false") {
  const PolicySet policy =
      GoodPolicy(OrderDb("{name: r, verdict: allow, from: {process: {name: w, grade: ima}}}"));
  CHECK(Answer(policy, "labels:;exe=/bin/w;grade=ima", kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(policy, "labels:;exe=/bin/w;grade=verity", kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(policy, "labels:;exe=/bin/w;grade=hash", kDb, "tcp/1") == "deny unknown_identity p");
  CHECK(Answer(policy, "labels:;exe=/bin/v;grade=ima", kDb, "tcp/1") == "deny default p");
}

TEST_CASE("a digest matches content, whatever its name or place") {
  const std::string digest = DigestText(Executable(1, "", 5).digest);
  const PolicySet policy = GoodPolicy(
      OrderDb(Cat("{name: r, verdict: allow, from: {process: {digest: ", digest, "}}}")));
  CHECK(Answer(policy, Cat("labels:;digest=", digest), kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(policy, Cat("labels:;exe=/tmp/any;digest=", digest), kDb, "tcp/1") ==
        "allow rule p/r");
  CHECK(Answer(policy, "labels:;exe=/tmp/any", kDb, "tcp/1") == "deny default p");
}

TEST_CASE("a script: what the kernel was told to run, by path or content") {
  const std::string digest = DigestText(Executable(1, "", 5).digest);
  const auto rule = [](std::string_view verdict, std::string_view process) {
    return GoodPolicy(OrderDb(Cat("{name: r, verdict: ", verdict,
                                  ", from: {labels: {role: web}, process: {", process, "}}}")));
  };
  const PolicySet allow =
      rule("allow", Cat("exe: /usr/bin/python3, script: [/opt/*.py, \"", digest, "\"]"));
  const std::string python = Cat(kWeb, ";exe=/usr/bin/python3");
  CHECK(Answer(allow, Cat(python, ";script=/opt/a.py"), kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(allow, Cat(python, ";script=", digest), kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(allow, Cat(python, ";script=/opt/b/a.py"), kDb, "tcp/1") == "deny default p");
  CHECK(Answer(allow, Cat(kWeb, ";exe=/bin/bash;script=/opt/a.py"), kDb, "tcp/1") ==
        "deny default p");
  // Inline code may be that script and may be anything: no allow, but a deny.
  CHECK(Answer(allow, python, kDb, "tcp/1") == "deny unknown_identity p");
  const PolicySet deny = rule("deny", "script: /opt/a.py");
  CHECK(Answer(deny, python, "labels:", "tcp/1") == "deny rule p/r");
  CHECK(Answer(deny, Cat(python, ";script=/opt/a.py"), "labels:", "tcp/1") == "deny rule p/r");
  CHECK(Answer(deny, Cat(python, ";script=/opt/b.py"), "labels:", "tcp/1") == "allow default");
  CHECK(Answer(deny, Cat(kWeb, ";exe=/bin/w"), "labels:", "tcp/1") == "allow default");
  CHECK(Answer(deny, Cat(kWeb, ";grade=unknown"), "labels:", "tcp/1") == "deny rule p/r");
  // Who does not ask for a script does not care.
  const PolicySet plain = rule("allow", "exe: /usr/bin/python3");
  CHECK(Answer(plain, python, kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(plain, Cat(python, ";script=/opt/a.py"), kDb, "tcp/1") == "allow rule p/r");
  CHECK(CollectMentions(allow).scripts);
  CHECK(CollectMentions(allow).script_paths == std::set<std::string>{"/opt/*.py"});
  CHECK_FALSE(CollectMentions(plain).scripts);
}

TEST_CASE("what is kept of one policy's mentions is not said of the next") {
  const auto policy = [](std::string_view workload, std::string_view rule) {
    return GoodPolicy(
        WorkloadYaml("w", Cat("{labels: {role: web}, match: {exe: ", workload, "}}")) + "---\n" +
        OrderDb(Cat("{name: r, verdict: allow, from: {process: {exe: ", rule, ", user: ann}}}")));
  };
  MentionsBook book;
  for (const auto& [workload, rule] : std::vector<std::pair<std::string, std::string>>{
           {"/bin/a", "/bin/r"}, {"/bin/b", "/bin/r"}, {"/bin/b", "/bin/s"}}) {
    const PolicySet set = policy(workload, rule);
    for (int time = 0; time < 2; ++time) {  // the second time with the same documents
      const Mentions mentions = book.Of(set);
      CHECK(mentions.exe_paths == std::set<std::string>{workload, rule});
      CHECK(mentions.users == std::set<std::string>{"ann"});
    }
  }
}

TEST_CASE("a document beside checked ones is compared with them") {
  Diagnostics diagnostics;
  const auto parse = [&diagnostics](const std::string& text) {
    auto documents = ParseDocuments("b.yaml", text, &diagnostics);
    REQUIRE(documents.ok());
    return ShareDocuments(*std::move(documents))[0];
  };
  const PolicySet checked =
      GoodPolicy(ServiceYaml("a", "{ports: [tcp/1]}") + "---\n" +
                 PolicyYaml("p", "{rules: [{name: r, verdict: allow}]}") + "---\n" +
                 PolicyYaml("q", "{rules: [{name: r, verdict: allow}]}"));
  std::vector<DocumentRef> documents = checked.documents();
  documents.push_back(parse(PolicyYaml("pq", "{rules: [{name: r, verdict: deny}]}")));
  const auto with = BuildPolicySet(documents, &diagnostics, &checked);
  REQUIRE(with.ok());
  std::vector<std::string> names;
  for (const DocumentRef& document : with->documents()) names.push_back(document->name);
  CHECK(names == std::vector<std::string>{"p", "pq", "q", "a"});
  CHECK(with->OfKind(DocumentKind::kPolicy) == std::vector<size_t>{0, 1, 2});
  CHECK(with->OfKind(DocumentKind::kService) == std::vector<size_t>{3});
  documents.push_back(parse(PolicyYaml("q", "{rules: [{name: r, verdict: deny}]}")));
  CHECK_FALSE(BuildPolicySet(documents, &diagnostics, &checked).ok());
  REQUIRE(diagnostics.size() == 1);
  CHECK(absl::StrContains(diagnostics[0].message, "is already in"));
}

TEST_CASE("more specific workloads win key by key, the lowest state counts") {
  const PolicySet policy = GoodPolicy(
      WorkloadYaml("host", "{labels: {env: prod, app: host, role: none}, match: {host: true}}") +
      WorkloadYaml("pod", "{labels: {app: shop, role: pod}, match: {cgroup: /pods}, state: test}") +
      WorkloadYaml("deep", "{labels: {role: deep}, match: {cgroup: /pods/*}}") +
      WorkloadYaml("exe", "{labels: {role: exe}, match: {exe: /bin/w}}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/pods/a/b"}, {2, "/pods"}, {3, "/other"}};
  inventory.executables = {Executable(1, "/bin/w", 1), Executable(2, "/bin/v", 2)};
  const GenerationImage image = GoodImage(policy, inventory);
  const Simulator simulator(image);
  auto labels = [&](uint64_t cgroup, uint32_t exe) {
    const uint64_t id = simulator.Identity(cgroup, exe, MSEG_GRADE_HASH, 0).label_id;
    return id == 0 ? "(open)" : image.label_sets->at(id).Text();
  };
  CHECK(labels(1, 1) == "env=prod,app=shop,role=exe");
  CHECK(labels(1, 2) == "env=prod,app=shop,role=deep");
  CHECK(labels(2, 2) == "env=prod,app=shop,role=pod");
  CHECK(labels(3, 2) == "env=prod,app=host,role=none");
  CHECK(labels(3, 0) == "(open)");
  CHECK(labels(99, 2) == "(open)");  // a cgroup that is not known yet
  CHECK(image.conflicts.empty());
}

TEST_CASE("what only a running process shows: the key is unknown, and the conflict is listed") {
  const PolicySet policy =
      GoodPolicy(WorkloadYaml("a", "{labels: {env: dev, app: x}, match: {exe: /bin/w}}") +
                 WorkloadYaml("b", "{labels: {env: prod}, match: {user: '7'}}") +
                 PolicyYaml("p",
                            "{selects: {labels: {role: db}}, rules: ["
                            "{name: dev, verdict: allow, from: {labels: {env: dev}}},"
                            "{name: x, verdict: allow, from: {labels: {app: x}}, services: tcp/2},"
                            "{name: c, verdict: deny, services: tcp/3, from: {matchExpressions: "
                            "[{key: mseg/conflict, operator: Exists}]}}]}"));
  Inventory inventory;
  inventory.cgroups = {{1, "/"}};
  inventory.executables = {Executable(1, "/bin/w", 1)};
  IdentityFacts db;
  db.labels.emplace();
  REQUIRE(db.labels->Set("role", "db").ok());
  inventory.identities.push_back(db);
  const GenerationImage image = GoodImage(policy, inventory);
  REQUIRE(image.conflicts.size() == 1);
  CHECK(image.conflicts[0] ==
        "cgroup /, executable /bin/w, user 7: env is dev (Workload `a`) and prod (Workload `b`)");
  const Simulator simulator(image);
  auto decide = [&](uint32_t uid, uint16_t port) {
    const uint32_t peer = simulator.Identity(1, 1, MSEG_GRADE_HASH, uid).cls;
    return simulator.Decide(image.identity_classes[0], peer, MSEG_INGRESS, 6, port);
  };
  CHECK(decide(0, 1).verdict == MSEG_ALLOW);
  CHECK(decide(7, 1).verdict == MSEG_DENY);
  CHECK(decide(7, 1).reason == MSEG_REASON_UNKNOWN_IDENTITY);
  CHECK(decide(7, 2).verdict == MSEG_ALLOW);
  CHECK((*image.rules)[decide(7, 3).rule].rule() == "c");
  const uint64_t id = simulator.Identity(1, 1, MSEG_GRADE_HASH, 7).label_id;
  CHECK(image.label_sets->at(id).Text() == "app=x,mseg/conflict=true");
}

TEST_CASE("addresses: the most specific group, cidrs only for peers without an identity") {
  const PolicySet policy = GoodPolicy(
      GroupYaml("wide", "{labels: {loc: wide}, cidrs: [10.0.0.0/8], except: [10.9.0.0/16]}") +
      GroupYaml("narrow", "{labels: {loc: narrow}, cidrs: [10.1.0.0/16]}") +
      WorkloadYaml("far", "{labels: {loc: far}, match: {addresses: [10.1.2.3]}}") +
      OrderDb("{name: w, verdict: allow, from: {labels: {loc: wide}}},"
              "{name: n, verdict: allow, from: {labels: {loc: narrow}}},"
              "{name: f, verdict: allow, from: {labels: {loc: far}}},"
              "{name: c, verdict: allow, from: {cidrs: ['::/0', 192.0.2.0/24], "
              "except: [192.0.2.128/25]}}"));
  CHECK(Answer(policy, "ip:10.2.0.1", kDb, "tcp/1") == "allow rule p/w");
  CHECK(Answer(policy, "ip:10.1.0.1", kDb, "tcp/1") == "allow rule p/n");
  CHECK(Answer(policy, "ip:10.1.2.3", kDb, "tcp/1") == "allow rule p/f");
  CHECK(Answer(policy, "ip:10.9.0.1", kDb, "tcp/1") == "deny default p");
  CHECK(Answer(policy, "ip:192.0.2.1", kDb, "tcp/1") == "allow rule p/c");
  CHECK(Answer(policy, "ip:192.0.2.129", kDb, "tcp/1") == "deny default p");
  CHECK(Answer(policy, "ip:2001:db8::1", kDb, "tcp/1") == "allow rule p/c");
  CHECK(Answer(policy, "ip:8.8.8.8", kDb, "tcp/1") == "deny default p");  // ::/0 is IPv6
  CHECK(Answer(policy, "labels:;ip=192.0.2.1", kDb, "tcp/1") == "deny default p");
}

TEST_CASE("services: ports, ranges, names, protocols without ports") {
  const PolicySet policy =
      GoodPolicy(ServiceYaml("web", "{ports: [tcp/80, udp/443]}") +
                 OrderDb("{name: r, verdict: allow, services: [web, tcp/8000-8010, sctp/5, icmp]},"
                         "{name: any, verdict: allow, from: {labels: {x: y}}, services: any}"));
  for (const char* service : {"tcp/80", "udp/443", "tcp/8000", "tcp/8010", "sctp/5", "icmp"}) {
    INFO(service);
    CHECK(Answer(policy, "labels:", kDb, service) == "allow rule p/r");
  }
  for (const char* service : {"udp/80", "tcp/443", "tcp/7999", "tcp/8011", "tcp/5"}) {
    INFO(service);
    CHECK(Answer(policy, "labels:", kDb, service) == "deny default p");
    CHECK(Answer(policy, "labels:x=y", kDb, service) == "allow rule p/any");
  }
}

TEST_CASE("services: types of ICMP, of one family or of both") {
  auto answers = [](const std::string& services, const char* asked) {
    return Answer(GoodPolicy(OrderDb(Cat("{name: r, verdict: allow, services: [", services, "]}"))),
                  "labels:", kDb, asked);
  };
  struct Case {
    const char* services;
    std::vector<const char*> allowed;
    std::vector<const char*> denied;
  };
  const Case cases[] = {
      {"icmp",
       {"icmp", "icmp/0", "icmp/8", "icmp/255", "icmpv6/128", "icmp/echo-request"},
       {"tcp/8", "udp/128"}},
      {"icmp/echo-request",
       {"icmp", "icmp/8", "icmpv6/128", "icmp/echo-request"},
       {"icmp/7", "icmp/9", "icmp/128", "icmpv6/8", "icmpv6/127", "tcp/8"}},
      {"icmp/8", {"icmp", "icmp/8"}, {"icmpv6/8", "icmpv6/128", "icmp/0"}},
      {"icmpv6/128-129", {"icmpv6/128", "icmpv6/129"}, {"icmpv6/130", "icmp"}},
      {"icmp/0-255", {"icmp", "icmp/0", "icmp/255"}, {"icmpv6/0", "icmpv6/128"}},
      {"icmp/packet-too-big", {"icmpv6/2"}, {"icmp/2", "icmp"}},
      {"tcp/8", {"tcp/8"}, {"icmp", "icmp/8"}},
  };
  for (const Case& one : cases) {
    INFO(one.services);
    for (const char* service : one.allowed) {
      INFO(service);
      CHECK(answers(one.services, service) == "allow rule p/r");
    }
    for (const char* service : one.denied) {
      INFO(service);
      CHECK(answers(one.services, service) == "deny default p");
    }
  }
}

TEST_CASE("a user name that does not exist matches nobody") {
  const PolicySet policy =
      GoodPolicy(OrderDb("{name: r, verdict: allow, from: {process: {user: [ghost, '1000']}}}"));
  CHECK(Answer(policy, "labels:;user=1000", kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(policy, "labels:;user=ghost", kDb, "tcp/1") == "allow rule p/r");
  CHECK(Answer(policy, "labels:;user=0", kDb, "tcp/1") == "deny default p");
  Inventory inventory;
  inventory.cgroups = {{1, "/"}};
  const GenerationImage image = GoodImage(policy, inventory);
  CHECK(image.users.size() == 1);
}

TEST_CASE("what is pinned is the content that lay at the path") {
  const std::string text = OrderDb(
      "{name: 订单, verdict: allow, from: {process: {exe: /bin/a, pin: true}}, to: "
      "{process: {name: b, pin: 'true'}}}");
  Diagnostics diagnostics;
  auto documents = ParseDocuments("p.yaml", text, &diagnostics);
  REQUIRE(documents.ok());
  const std::vector<Pin> pins = PinsOf(documents->front());
  REQUIRE(pins.size() == 2);
  CHECK(pins[0].exes == std::vector<std::string>{"/bin/a"});
  CHECK(pins[1].names == std::vector<std::string>{"b"});
  Digest digests[3] = {};
  for (uint8_t i = 0; i < 3; ++i) digests[i][0] = i;
  auto pinned = PinnedText(documents->front(), pins, {{digests[0], digests[1]}, {digests[2]}});
  REQUIRE(pinned.ok());
  CHECK(std::count(pinned->begin(), pinned->end(), '\n') ==
        std::count(documents->front().text.begin(), documents->front().text.end(), '\n'));
  const PolicySet policy = GoodPolicy(*pinned);
  auto client = [&](size_t digest) {
    return Cat("labels:;exe=/bin/a;digest=", DigestText(digests[digest]));
  };
  const std::string server = Cat(kDb, ";exe=/opt/b;digest=", DigestText(digests[2]));
  CHECK(Answer(policy, client(0), server, "tcp/1") == "allow rule p/订单");
  CHECK(Answer(policy, client(1), server, "tcp/1") == "allow rule p/订单");
  CHECK(Answer(policy, client(2), server, "tcp/1") == "deny default p");
  CHECK(Answer(policy, client(0), Cat(kDb, ";exe=/opt/b"), "tcp/1") == "deny default p");
  // Until then the path decides.
  CHECK(Answer(GoodPolicy(text), client(2), server, "tcp/1") == "allow rule p/订单");
}

TEST_CASE("a policy in build is checked and decides nothing") {
  const PolicySet policy =
      GoodPolicy(PolicyYaml("p", "{state: build, selects: {}, rules: [{verdict: deny}]}"));
  CHECK(Answer(policy, "labels:", "labels:", "tcp/1") == "allow default");
  CHECK(GoodImage(policy, {}).budget.rules == 1);
}

}  // namespace
}  // namespace mseg::testing
