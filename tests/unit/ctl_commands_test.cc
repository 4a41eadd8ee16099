// SPDX-License-Identifier: Apache-2.0
// Every command that speaks to the daemon, over a real socket, against its golden output.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "ctl_fixture.h"

namespace mseg {
namespace {

TEST_CASE("status", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"status_table", {"status"}},
                  {"status_wide", {"status", "-o", "wide"}},
                  {"status_json", {"status", "-o", "json"}},
                  {"status_yaml", {"status", "-o", "yaml"}}});
}

TEST_CASE("policy: apply, get, delete", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"apply_dry_run", {"policy", "apply", "order.yaml", "--dry-run"}},
                  {"get_nothing", {"policy", "get"}},
                  {"apply_table", {"policy", "apply", "order.yaml", "-m", "first"}},
                  {"apply_wide", {"policy", "apply", "order.yaml", "-o", "wide"}},
                  {"apply_json", {"policy", "apply", "order.yaml", "-o", "json"}},
                  {"apply_yaml", {"policy", "apply", "order.yaml", "-o", "yaml"}},
                  {"get_table", {"policy", "get"}},
                  {"get_kind_json", {"policy", "get", "services", "-o", "json"}},
                  {"get_one_yaml", {"policy", "get", "policy/order-db", "-o", "yaml"}},
                  {"get_missing", {"policy", "get", "Policy/nothing"}},
                  {"delete_missing", {"policy", "delete", "policy/order-db", "policy/nothing"}},
                  {"delete_one", {"policy", "delete", "policy/order-db", "-m", "gone"}},
                  {"delete_file_missing", {"policy", "delete", "-f", "order.yaml"}}});
  CHECK(host.service.last_message.empty());
}

TEST_CASE("sentences are applied, shown as YAML that can be applied, and deleted", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"apply_sentences", {"policy", "apply", "sentences.mseg"}},
                  {"get_sentences", {"policy", "get"}},
                  {"get_sentence_yaml", {"policy", "get", "-o", "yaml"}}});
  const std::string yaml = host.Run({"policy", "get", "-o", "yaml"}).out;
  CHECK(host.Run({"policy", "apply", "-"}, {.in = yaml}).out.find("configured") !=
        std::string::npos);
  RunCases(host, {{"delete_sentences", {"policy", "delete", "-f", "sentences.mseg"}}});
  CHECK(host.Run({"policy", "get"}).err == "no documents\n");
}

TEST_CASE("policy apply: who, why and what reach the daemon", "[ctl]") {
  CtlHost host;
  CtlResult result = host.Run({"policy", "apply", "-", "order.yaml", "-m", "because"},
                              {.in = "apiVersion: mseg.io/v1\nkind: Service\n"
                                     "metadata: {name: ssh}\nspec: {ports: [tcp/22]}\n"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  REQUIRE(host.service.last_apply.files.size() == 2);
  CHECK(host.service.last_apply.files[0].name == "<stdin>");
  CHECK(host.service.last_apply.files[1].name == "order.yaml");
  CHECK(host.service.last_apply.author == "alice");
  CHECK(host.service.last_apply.message == "because");
  CHECK_FALSE(host.service.last_apply.dry_run);

  result = host.Run({"policy", "delete", "-f", "order.yaml", "-o", "json"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(nlohmann::json::parse(result.out)["changes"].size() == 4);
  CHECK(host.Run({"policy", "get", "policies"}).err == "no documents\n");
}

TEST_CASE("policy get -o yaml can be applied again", "[ctl]") {
  CtlHost host;
  REQUIRE(host.Run({"policy", "apply", "order.yaml"}).code == 0);
  CtlResult got = host.Run({"policy", "get", "-o", "yaml"});
  REQUIRE(got.code == 0);
  CtlResult again = host.Run({"policy", "apply", "-", "-o", "json"}, {.in = got.out});
  INFO(again.err);
  REQUIRE(again.code == 0);
  CHECK(nlohmann::json::parse(again.out)["changes"].size() == 4);
}

TEST_CASE("policy apply: all diagnostics, on stderr, exit 2", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"apply_broken", {"policy", "apply", "broken.yaml"}}});
}

TEST_CASE("explain", "[ctl]") {
  CtlHost host;
  RunCases(
      host,
      {{"explain_allow", {"explain", "workload:order-web", "workload:order-db", "tcp/3306"}},
       {"explain_deny", {"explain", "workload:order-web", "workload:order-db", "tcp/22"}},
       {"explain_kernel", {"explain", "workload:order-web", "ip:10.0.0.1", "tcp/22", "--kernel"}},
       {"explain_json", {"explain", "pid:1", "workload:order-db", "tcp/3306", "-o", "json"}},
       {"explain_yaml", {"explain", "pid:1", "workload:order-db", "tcp/3306", "-o", "yaml"}},
       {"explain_nobody", {"explain", "workload:nobody", "workload:order-db", "tcp/3306"}},
       {"explain_batch", {"explain", "--batch", "queries.jsonl", "-o", "json"}},
       {"explain_batch_kernel", {"explain", "--batch", "queries.jsonl", "--kernel"}},
       {"explain_batch_bad", {"explain", "--batch", "bad_queries.jsonl", "-o", "json"}}});
}

TEST_CASE("explain: file: endpoints are absolute when they reach the daemon", "[ctl]") {
  CtlHost host;
  host.Run({"explain", "file:./order.yaml", "file:/bin/sh", "tcp/1"});
  REQUIRE(host.service.last_queries.size() == 1);
  CHECK(host.service.last_queries[0].from ==
        std::string("file:") + MSEG_GOLDEN_DIR + "/input/order.yaml");
  CHECK(host.service.last_queries[0].to == "file:/bin/sh");
}

TEST_CASE("explain --batch: any number of lines, in order", "[ctl]") {
  CtlHost host;
  std::string in;
  for (int i = 0; i < 2500; ++i) {
    in += R"({"from":"pid:1","to":"pid:2","protocol":"tcp","port":)" +
          std::string(i % 3 == 0 ? "3306" : "22") + "}\n";
  }
  CtlResult result = host.Run({"explain", "--batch", "-", "-o", "json"}, {.in = in});
  REQUIRE(result.code == 0);
  std::istringstream lines(result.out);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    CHECK(nlohmann::json::parse(line)["verdict"] == (count % 3 == 0 ? "allow" : "deny"));
    ++count;
  }
  CHECK(count == 2500);
  CHECK(host.Run({"explain", "--batch", "-"}, {.in = ""}).out.empty());
}

TEST_CASE("identity", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"identity_list", {"identity", "list"}},
                  {"identity_list_wide", {"identity", "list", "-o", "wide"}},
                  {"identity_list_json", {"identity", "list", "-o", "json"}},
                  {"identity_show", {"identity", "show", "812"}},
                  {"identity_show_path", {"identity", "show", "/usr/bin/../bin/env"}},
                  {"identity_show_yaml", {"identity", "show", "812", "-o", "yaml"}},
                  {"identity_show_missing", {"identity", "show", "1"}}});
  host.Run({"identity", "show", "order.yaml"});
  CHECK(host.service.last_target == std::string(MSEG_GOLDEN_DIR) + "/input/order.yaml");
}

TEST_CASE("what the daemon refuses is exit 4", "[ctl]") {
  CtlHost host;
  host.service.fail = absl::FailedPreconditionError("this kernel lacks bpf_lsm");
  RunCases(host, {{"refused", {"status"}}});
  CHECK(host.Run({"policy", "apply", "order.yaml"}).code == 4);
  CHECK(host.Run({"explain", "--batch", "queries.jsonl"}).code == 4);
  host.service.fail = absl::ResourceExhaustedError("needs 200000 rows");
  CHECK(host.Run({"policy", "apply", "order.yaml"}).code == 4);
  host.service.fail = absl::UnimplementedError("no");
  CHECK(host.Run({"flows"}).code == 4);
}

}  // namespace
}  // namespace mseg
