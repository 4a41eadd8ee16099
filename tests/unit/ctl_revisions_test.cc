// SPDX-License-Identifier: Apache-2.0
// History, difference, rollback, confirmation, panic and why, as they are printed.
#include <stdlib.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "ctl/text_diff.h"
#include "ctl_fixture.h"

namespace mseg {
namespace {

TEST_CASE("policy history, diff and rollback", "[ctl]") {
  CtlHost host;
  RunCases(host,
           {{"history_nothing", {"policy", "history"}}, {"diff_nothing", {"policy", "diff"}}});
  host.Run({"policy", "apply", "order.yaml", "-m", "first"});
  host.Run({"policy", "apply", "order2.yaml", "-m", "more"});
  host.Run({"policy", "delete", "workload/order-web"});
  CHECK(host.service.last_author == "alice");
  RunCases(host, {{"history_table", {"policy", "history"}},
                  {"history_wide", {"policy", "history", "-o", "wide", "--limit", "2"}},
                  {"history_json", {"policy", "history", "9", "-o", "json"}},
                  {"history_yaml", {"policy", "history", "--limit", "1", "-o", "yaml"}},
                  {"history_missing", {"policy", "history", "99"}},
                  {"get_revision", {"policy", "get", "--revision", "8"}},
                  {"get_revision_missing", {"policy", "get", "--revision", "99"}},
                  {"diff_last", {"policy", "diff"}},
                  {"diff_two", {"policy", "diff", "8", "9"}},
                  {"diff_same", {"policy", "diff", "10", "10"}},
                  {"diff_json", {"policy", "diff", "8", "9", "-o", "json"}},
                  {"diff_files", {"policy", "diff", "-f", "order.yaml"}},
                  {"diff_files_broken", {"policy", "diff", "-f", "broken.yaml"}},
                  {"rollback_dry_run", {"policy", "rollback", "9", "--dry-run"}},
                  {"rollback_table", {"policy", "rollback", "9", "-m", "oops"}},
                  {"rollback_missing", {"policy", "rollback", "99"}}});
  host.Run({"policy", "rollback", "9", "-m", "oops"});
  CHECK(host.service.last_rollback.revision == 9u);
  CHECK(host.service.last_rollback.message == "oops");
  CHECK(host.service.last_rollback.author == "alice");
  CHECK(host.service.last_rollback.caller.uid == geteuid());
  host.Run({"policy", "rollback"});
  CHECK_FALSE(host.service.last_rollback.revision.has_value());
}

TEST_CASE("policy apply --confirm-within, confirm", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"confirm_nothing", {"policy", "confirm"}},
                  {"apply_confirm", {"policy", "apply", "order.yaml", "--confirm-within", "5m"}}});
  CHECK(host.service.last_apply.confirm_within_us == 300'000'000);
  CHECK(host.service.last_apply.caller.uid == geteuid());
  const CtlResult status = host.Run({"status"});
  CHECK(status.out.find("UNCONFIRMED: revision 8 goes back to revision 7 at 2026-01-02T03:09:05") ==
        0);
  const auto json = nlohmann::json::parse(host.Run({"status", "-o", "json"}).out);
  CHECK(json["pending"]["back_to"] == 7);
  CHECK(json["pending"]["deadline"] == "2026-01-02T03:09:05.000000Z");
  RunCases(host, {{"confirm", {"policy", "confirm"}}});
}

TEST_CASE("policy apply --prune", "[ctl]") {
  CtlHost host;
  CHECK(host.Run({"policy", "apply", "order.yaml"}).code == 0);
  CHECK_FALSE(host.service.last_apply.prune);
  CHECK(host.Run({"policy", "apply", "order.yaml", "--prune"}).code == 0);
  CHECK(host.service.last_apply.prune);
  RunCases(host, {{"prune_stdin", {"policy", "apply", "-", "--prune"}}});
}

TEST_CASE("panic", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"panic_end_nothing", {"panic", "--end"}},
                  {"panic", {"panic", "-m", "all is red"}},
                  {"panic_json", {"panic", "--for", "2h", "-m", "still", "-o", "json"}}});
  CHECK(host.service.last_panic.for_us == 7'200'000'000);
  CHECK(host.service.last_panic.author == "alice");
  const CtlResult status = host.Run({"status"}, {.color = true});
  CHECK(status.out.find("\x1b[1;31mPANIC: NOTHING IS BLOCKED ON THIS HOST\x1b[0m until "
                        "2026-01-02T05:04:05.000000Z (by alice: still)") == 0);
  RunCases(host, {{"panic_end", {"panic", "--end"}}});
  CHECK(host.Run({"status"}).out.find("PANIC") == std::string::npos);
}

TEST_CASE("status shows a difference between kernel and compiler", "[ctl]") {
  CtlHost host;
  host.service.last_drift = "egress, class 3";
  CHECK(host.Run({"status"}).out.find("DRIFT: kernel and compiler disagreed, last on egress") == 0);
}

TEST_CASE("why", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"why_deny", {"why", "12", "10.1.2.3:3306"}},
                  {"why_allow", {"why", "12", "[2001:db8::1]:443"}},
                  {"why_rule", {"why", "12", "10.1.2.3:22", "--protocol", "udp"}},
                  {"why_last", {"why", "--last"}},
                  {"why_json", {"why", "--last", "12", "-o", "json"}},
                  {"why_missing", {"why", "404", "10.1.2.3:22"}}});
  CHECK(host.Run({"why", "12", "localhost:80"}).code == 1);
  CHECK((host.service.last_why.address == "127.0.0.1" || host.service.last_why.address == "::1"));
  CHECK(host.service.last_why.port == 80);
}

// ---- the difference of two texts
// ------------------------------------------------------------------

std::string Patched(const std::string& before, const std::string& diff) {
  char name[] = "/tmp/mseg-diff-XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  const std::string dir = name;
  std::ofstream(dir + "/a", std::ios::binary) << before;
  std::ofstream(dir + "/p", std::ios::binary) << "--- a\n+++ a\n" << diff;
  const std::string command = "cd " + dir + " && patch -s a p >/dev/null";
  const int status = system(command.c_str());
  std::ifstream file(dir + "/a", std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  REQUIRE(system(("rm -r " + dir).c_str()) == 0);
  REQUIRE(status == 0);
  return text.str();
}

TEST_CASE("a unified diff, as diff -u would print it", "[ctl]") {
  CHECK(ctl::UnifiedDiff("", "").empty());
  CHECK(ctl::UnifiedDiff("a\n", "a\n").empty());
  CHECK(ctl::UnifiedDiff("", "a\nb\n") == "@@ -0,0 +1,2 @@\n+a\n+b\n");
  CHECK(ctl::UnifiedDiff("a\nb\n", "") == "@@ -1,2 +0,0 @@\n-a\n-b\n");
  CHECK(ctl::UnifiedDiff("a\n", "b\n") == "@@ -1 +1 @@\n-a\n+b\n");
  CHECK(ctl::UnifiedDiff("a", "a\n") == "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
  CHECK(ctl::UnifiedDiff("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\n5\n6\nx\n8\n") ==
        "@@ -4,5 +4,5 @@\n 4\n 5\n 6\n-7\n+x\n 8\n");
}

TEST_CASE("a diff leads from one text to the other", "[ctl]") {
  if (system("command -v patch >/dev/null") != 0) {
    WARN("skipped: needs patch");
    return;
  }
  std::mt19937_64 random(7);
  for (int round = 0; round < 100; ++round) {
    std::vector<std::string> lines;
    for (size_t i = random() % 40; i > 0; --i) {
      lines.push_back(std::to_string(random() % 6) + "\n");
    }
    std::string before, after;
    for (const std::string& line : lines) before += line;
    for (size_t i = random() % 6; i > 0 && !lines.empty(); --i) {
      const auto at = lines.begin() + static_cast<ptrdiff_t>(random() % lines.size());
      if (random() % 2 == 0) {
        lines.erase(at);
      } else {
        lines.insert(at, "new " + std::to_string(random() % 3) + "\n");
      }
    }
    for (const std::string& line : lines) after += line;
    const std::string diff = ctl::UnifiedDiff(before, after);
    INFO("before:\n" << before << "after:\n" << after << "diff:\n" << diff);
    CHECK(diff.empty() == (before == after));
    if (!diff.empty() && !after.empty()) CHECK(Patched(before, diff) == after);
  }
}

}  // namespace
}  // namespace mseg
