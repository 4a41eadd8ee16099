// SPDX-License-Identifier: Apache-2.0
// `path check`: what each outcome of a handshake is told as.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "ctl_fixture.h"

namespace mseg {
namespace {

struct PathCase {
  const char* verdict;
  const char* reason;
  const char* hook;
  const char* proof;
  ctl::Dialled dialled;
  int code;
  const char* option;
  const char* numbers;
  const char* mode;
};

CtlResult Check(CtlHost& host, const PathCase& one, const std::string& target) {
  host.service.flows.clear();
  if (*one.verdict != '\0') {
    api::FlowRecord flow = MakeFlow(200, one.verdict);
    flow.local.pid = static_cast<uint32_t>(getpid());
    flow.port = 7000;
    flow.reason = one.reason;
    flow.hook = one.hook;
    flow.proof = one.proof;
    host.service.flows.push_back(flow);
    flow.local.pid++;  // somebody else's
    flow.proof = "legacy";
    host.service.flows.push_back(flow);
  }
  CtlInput input;
  input.dial = [&one](const std::string& address, uint32_t port) {
    CHECK(address == "10.9.9.9");
    CHECK(port == 7000);
    return one.dialled;
  };
  return host.Run({"path", "check", target, "-o", "json"}, input);
}

const ctl::Dialled kMade = {.connected = true, .error = ""};
const ctl::Dialled kCut = {.connected = true, .error = "ECONNABORTED"};
const ctl::Dialled kRefused = {.connected = false, .error = "ECONNREFUSED"};

}  // namespace

TEST_CASE("path check: the option and the sequence numbers, by what the handshake was", "[ctl]") {
  CtlHost host;
  const PathCase cases[] = {
      {"allow", "default", "established", "bound", kMade, 0, "kept", "kept", "identity"},
      {"allow", "default", "established", "unbound", kMade, 0, "kept", "not_asked",
       "identity_unbound"},
      {"allow", "default", "established", "none", kMade, 1, "missing", "unknown", "address"},
      {"deny", "no_proof", "established", "none", kCut, 1, "missing", "unknown", "refused"},
      {"allow", "default", "connect", "legacy", kMade, 1, "not_sent", "not_asked", "address"},
      {"deny", "bad_proof", "established", "none", kCut, 1, "kept", "changed", "refused"},
      {"deny", "no_record", "established", "none", kCut, 1, "kept", "unknown", "refused"},
      {"deny", "default", "established", "bound", kCut, 1, "kept", "kept", "refused"},
      {"allow", "default", "established", "bound", kCut, 1, "kept", "kept", "identity"},
      {"deny", "default", "connect", "", {false, "EPERM"}, 1, "not_sent", "unknown", "refused"},
      {"allow", "default", "connect", "", kMade, 1, "not_sent", "not_asked", "address"},
      {"", "", "", "", kRefused, 1, "unknown", "unknown", "unknown"},
  };
  for (const PathCase& one : cases) {
    CAPTURE(one.verdict, one.reason, one.hook, one.proof);
    const CtlResult result = Check(host, one, "10.9.9.9:7000");
    CHECK(result.code == one.code);
    const auto answer = nlohmann::json::parse(result.out);
    CHECK(answer["option"] == one.option);
    CHECK(answer["sequence_numbers"] == one.numbers);
    CHECK(answer["mode"] == one.mode);
    CHECK(answer["connected"] == one.dialled.connected);
    CHECK_FALSE(answer["advice"].get<std::string>().empty());
  }
}

TEST_CASE("path check: a connection that nobody judged tells nothing", "[ctl]") {
  CtlHost host;
  const CtlResult result = Check(host, {"", "", "", "", kMade, 4, "", "", ""}, "10.9.9.9:7000");
  CHECK(result.code == kExitRefused);
  CHECK(absl::StrContains(result.err, "cgroup root"));
}

TEST_CASE("path check: a target with and without a port", "[ctl]") {
  CtlHost host;
  std::string address;
  uint32_t port = 0;
  CtlInput input;
  input.dial = [&](const std::string& to, uint32_t at) {
    address = to;
    port = at;
    return kRefused;
  };
  const std::tuple<const char*, const char*, uint32_t> targets[] = {
      {"10.0.0.7", "10.0.0.7", 22},       {"10.0.0.7:80", "10.0.0.7", 80},
      {"2001:db8::1", "2001:db8::1", 22}, {"[2001:db8::1]:80", "2001:db8::1", 80},
      {"[2001:db8::1]", "2001:db8::1", 22}};
  for (const auto& [target, want_address, want_port] : targets) {
    CAPTURE(target);
    CHECK(host.Run({"path", "check", target}, input).code == kExitNo);
    CHECK(address == want_address);
    CHECK(port == want_port);
  }
  CHECK(host.Run({"path", "check", "10.0.0.7:0"}, input).code == kExitBadInput);
  CHECK(host.Run({"path", "check"}, input).code == kExitBadInput);
}

TEST_CASE("path check: as it is printed", "[ctl]") {
  CtlHost host;
  CtlInput input;
  input.dial = [](const std::string&, uint32_t) { return kRefused; };
  CheckGolden("path_check_refused", {"path", "check", "10.9.9.9:7000"},
              host.Run({"path", "check", "10.9.9.9:7000"}, input));
}

}  // namespace mseg
