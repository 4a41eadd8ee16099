// SPDX-License-Identifier: Apache-2.0
// What needs no daemon: policy check, explain --policy.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ctl_fixture.h"

namespace mseg {
namespace {

CtlResult Offline(const std::vector<std::string>& arguments, CtlInput input = {}) {
  return RunCtl("/nonexistent/msegd.sock", arguments, std::move(input));
}

TEST_CASE("policy check", "[ctl]") {
  for (const auto& [golden, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"check_table", {"policy", "check", "order.yaml"}},
           {"check_json", {"policy", "check", "order.yaml", "-o", "json"}},
           {"check_broken", {"policy", "check", "order.yaml", "broken.yaml"}}}) {
    CheckGolden(golden, arguments, Offline(arguments));
  }
  CtlResult result = Offline({"policy", "check", "-"}, {.in = "nonsense: ["});
  CHECK(result.code == 2);
  CHECK(result.out.empty());
  CHECK(result.err.find("<stdin>:1:") == 0);
  CHECK(Offline({"policy", "check", "-"}, {.in = ""}).code == 0);
}

TEST_CASE("files behind -f are files like the others", "[ctl]") {
  const CtlResult want = Offline({"policy", "check", "order.yaml"});
  CHECK(want.code == 0);
  CHECK(Offline({"policy", "check", "-f", "order.yaml"}).out == want.out);
  CHECK(Offline({"policy", "check", "--filename=order.yaml"}).out == want.out);
  const CtlResult both = Offline({"policy", "check", "order.yaml", "broken.yaml"});
  CHECK(both.code != 0);
  CHECK(Offline({"policy", "check", "-f", "order.yaml", "-f", "broken.yaml"}).err == both.err);
  CHECK(Offline({"policy", "check", "-f", "broken.yaml", "order.yaml"}).err == both.err);
}

TEST_CASE("explain --policy", "[ctl]") {
  std::vector<std::string> policy = {"--policy", "order.yaml"};
  auto explain = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "explain");
    arguments.insert(arguments.end(), policy.begin(), policy.end());
    return arguments;
  };
  for (const auto& [golden, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"offline_allow", explain({"workload:order-web", "workload:order-db", "mysql"})},
           {"offline_deny", explain({"ip:192.0.2.1", "workload:order-db", "tcp/3306"})},
           {"offline_json",
            explain({"labels:app=order,role=web", "workload:order-db", "tcp/22", "-o", "json"})},
           {"offline_batch", explain({"--batch", "queries.jsonl", "-o", "json"})},
           {"offline_batch_bad", explain({"--batch", "bad_queries.jsonl", "-o", "json"})},
           {"offline_pod", explain({"pod:shop/web", "workload:order-db", "tcp/3306"})},
           {"offline_pid", explain({"pid:1", "workload:order-db", "tcp/3306"})},
           {"offline_no_service", explain({"ip:192.0.2.1", "workload:order-db", "mysqll"})},
           {"offline_broken",
            {"explain", "ip:192.0.2.1", "ip:192.0.2.2", "tcp/1", "--policy", "broken.yaml"}}}) {
    CheckGolden(golden, arguments, Offline(arguments));
  }
}

TEST_CASE("explain --policy: several files, before and behind the ends", "[ctl]") {
  std::vector<std::string> ends = {"workload:order-web", "workload:order-db", "tcp/3306"};
  std::vector<std::string> files = {"--policy", "order.yaml", "ssh.yaml"};
  std::vector<std::string> before = {"explain"}, behind = {"explain"};
  before.insert(before.end(), files.begin(), files.end());
  before.insert(before.end(), ends.begin(), ends.end());
  behind.insert(behind.end(), ends.begin(), ends.end());
  behind.insert(behind.end(), files.begin(), files.end());
  CHECK(Offline(before).code == 0);
  CHECK(Offline(behind).code == 0);
  behind.back() = "order.yaml";  // twice the same documents
  CHECK(Offline(behind).code == 2);
  CHECK(
      Offline({"explain", "--batch", "queries.jsonl", "--policy", "order.yaml", "ssh.yaml"}).code ==
      0);
}

TEST_CASE("import networkpolicy", "[ctl]") {
  for (const auto& [golden, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"import", {"import", "networkpolicy", "cluster.yaml"}},
           {"import_cgroup_root",
            {"import", "networkpolicy", "--cgroup-root", "kubelet", "cluster.yaml"}},
           {"import_foreign", {"import", "networkpolicy", "broken.yaml", "cluster.yaml"}},
           {"import_missing", {"import", "networkpolicy", "nothing.yaml"}}}) {
    CheckGolden(golden, arguments, Offline(arguments));
  }
  CtlResult imported = Offline({"import", "networkpolicy", "cluster.yaml"});
  REQUIRE(imported.code == 0);
  auto explain = [&](const std::string& service) {
    return Offline({"explain", "pod:shop/web", "pod:shop/db", service, "--policy", "-"},
                   {.in = imported.out})
        .code;
  };
  CHECK(explain("tcp/5432") == 0);
  CHECK(explain("tcp/22") == 1);
  CtlResult broken = Offline({"import", "networkpolicy", "-"}, {.in = "kind: [\n"});
  CHECK(broken.code == 2);
  CHECK(broken.out.empty());
  CHECK(broken.err.find("<stdin>:2:1: error: not YAML") == 0);
}

TEST_CASE("explain --policy: file: is read now", "[ctl]") {
  std::string policy =
      "apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n"
      "  selects: {}\n  directions: [egress]\n  rules:\n"
      "  - {verdict: allow, from: {process: {digest: [\"sha256:"
      "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"]}}}\n";  // "foo"
  char name[] = "/tmp/mseg-ctl-XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  std::string program = std::string(name) + "/program";
  auto code = [&](const char* content) {
    std::ofstream(program) << content;
    CtlResult result = Offline(
        {"explain", "file:" + program, "ip:192.0.2.1", "tcp/1", "--policy", "-"}, {.in = policy});
    INFO(result.out << result.err);
    CHECK(result.err.empty());
    return result.code;
  };
  CHECK(code("foo") == 0);
  CHECK(code("bar") == 1);
  std::filesystem::remove_all(name);
  CtlResult gone = Offline({"explain", "file:" + program, "ip:192.0.2.1", "tcp/1", "--policy", "-"},
                           {.in = policy});
  CHECK(gone.code == 2);
  CHECK(gone.err.find("No such file") != std::string::npos);
  CHECK(Offline({"explain", "file:/tmp", "ip:192.0.2.1", "tcp/1", "--policy", "order.yaml"}).code ==
        2);
}

}  // namespace
}  // namespace mseg
