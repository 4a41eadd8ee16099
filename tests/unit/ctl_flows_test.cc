// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "ctl_fixture.h"

namespace mseg {
namespace {

size_t Lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_CASE("flows", "[ctl]") {
  CtlHost host;
  for (const auto& [golden, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"flows_table", {"flows"}},
           {"flows_wide", {"flows", "-o", "wide"}},
           {"flows_json", {"flows", "-o", "json"}},
           {"flows_yaml", {"flows", "-o", "yaml", "--limit", "1"}},
           {"flows_deny", {"flows", "--verdict", "deny"}},
           {"flows_since", {"flows", "--since", "59s"}},
           {"flows_limit", {"flows", "--limit", "2"}}}) {
    CheckGolden(golden, arguments, host.Run(arguments));
  }
  CtlResult colored = host.Run({"flows"}, {.color = true});
  CHECK(colored.out.find("\x1b[32mallow\x1b[0m") != std::string::npos);
  CHECK(host.Run({"flows", "-o", "json"}, {.color = true}).out.find('\x1b') == std::string::npos);
}

TEST_CASE("flows: everything without a limit, page by page", "[ctl]") {
  CtlHost host;
  host.service.flows.clear();
  for (int i = 0; i < 25; ++i) host.service.flows.push_back(MakeFlow(i, "allow"));
  CtlResult result = host.Run({"flows", "-o", "json"});
  CHECK(Lines(result.out) == 25);
  CHECK(nlohmann::json::parse(result.out.substr(0, result.out.find('\n')))["count"] == 1);
}

TEST_CASE("flows --follow: goes on with what comes, and prints nothing twice", "[ctl]") {
  CtlHost host;
  int rounds = 0;
  auto pause = [&](absl::Duration) {
    std::lock_guard lock(host.service.flows_mutex);
    for (int i = 0; i < 3; ++i) {
      host.service.flows.push_back(MakeFlow(100 + 3 * rounds + i, i == 1 ? "deny" : "allow"));
    }
    return ++rounds <= 4;
  };
  SECTION("all") {
    CtlResult result = host.Run({"flows", "--follow", "-o", "json"}, {.pause = pause});
    CHECK(result.code == 0);
    // Flows after the start are paged by two, so the last rounds are still on their way.
    CHECK(Lines(result.out) >= 3 + 2 * 4);
    std::istringstream lines(result.out);
    std::string line, last;
    while (std::getline(lines, line)) {
      std::string time = nlohmann::json::parse(line)["time"];
      CHECK(time > last);
      last = time;
    }
  }
  SECTION("only refusals, from the newest one on") {
    CtlResult result =
        host.Run({"flows", "--follow", "--verdict", "deny", "--limit", "1"}, {.pause = pause});
    CHECK(result.code == 0);
    CHECK(Lines(result.out) == 1 + 1 + 4);
    CHECK(result.out.find("allow") == std::string::npos);
  }
}

TEST_CASE("flows --follow: the daemon goes away", "[ctl]") {
  auto host = std::make_unique<CtlHost>();
  std::string socket = host->socket_path();
  auto pause = [&](absl::Duration) {
    host.reset();
    return true;
  };
  CtlResult result = RunCtl(socket, {"flows", "-f"}, {.pause = pause});
  CHECK(result.code == 3);
  CHECK(Lines(result.out) == 4);
  CHECK(result.err.find("lost the connection") != std::string::npos);
}

}  // namespace
}  // namespace mseg
