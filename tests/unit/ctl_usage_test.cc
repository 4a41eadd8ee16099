// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "ctl_fixture.h"

namespace mseg {
namespace {

constexpr char kNoSocket[] = "/nonexistent/msegd.sock";

struct UsageCase {
  std::vector<std::string> arguments;
  std::string expected;
};

void CheckRefused(const std::vector<UsageCase>& cases) {
  for (const UsageCase& one : cases) {
    CtlResult result = RunCtl(kNoSocket, one.arguments);
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(result.out.empty());
    CHECK(result.err.find(one.expected) != std::string::npos);
  }
}

TEST_CASE("wrong usage is exit 2 and says what to do", "[ctl]") {
  CheckRefused(
      {{{}, "Usage"},
       {{"statsu"}, "did you mean \"status\"?"},
       {{"polic", "get"}, "did you mean \"policy\"?"},
       {{"history"},
        "commands: status, policy, panic, explain, why, identity, host, record, path, flows"},
       {{"policy", "aply", "x"}, "did you mean \"apply\"?"},
       {{"policy", "zzz"},
        "commands: check, apply, get, delete, fmt, history, diff, rollback, confirm"},
       {{"policy"}, "policy --help"},
       {{"--socket", "/x", "frobnicate"}, "unknown command \"frobnicate\" for \"msegctl\""},
       {{"status", "--frob"}, "--frob"},
       {{"status", "extra"}, "extra"},
       {{"status", "-o", "xml"}, "'xml' is not one of table|wide|json|yaml"},
       {{"status", "-o"}, "status --help"},
       {{"policy", "apply"}, "FILE is required"},
       {{"policy", "check"}, "FILE is required"},
       {{"policy", "fmt"}, "FILE is required"},
       {{"policy", "check", "-f"}, "--filename"},
       {{"policy", "check", "-f", "/no/such/file"}, "cannot read /no/such/file: No such file"},
       {{"policy", "apply", "/no/such/file"}, "cannot read /no/such/file: No such file"},
       {{"policy", "check", "/tmp"}, "cannot read /tmp"},
       {{"policy", "get", "polcy/x"}, "did you mean Policy?"},
       {{"policy", "get", "policy/"}, "has no name"},
       {{"policy", "delete"}, "nothing to delete"},
       {{"policy", "delete", "policy"}, "names no document"},
       {{"explain"}, "explain needs FROM TO SERVICE"},
       {{"explain", "pid:1", "pid:2"}, "explain needs FROM TO SERVICE"},
       {{"explain", "a", "b", "c", "--batch", "-"}, "not both"},
       {{"explain", "a", "b", "c", "--kernel", "--policy", "order.yaml"}, "--kernel"},
       {{"explain", "--batch", "/no/such", "--policy", "order.yaml"}, "cannot read /no/such"},
       {{"explain", "--batch", "-", "-o", "yaml"}, "JSON lines"},
       {{"flows", "--since", "tomorrow"}, "not a duration"},
       {{"flows", "--since", "-5m"}, "not a duration"},
       {{"flows", "--verdict", "maybe"}, "maybe"},
       {{"flows", "--limit", "0"}, "0"},
       {{"flows", "--limit", "x"}, "x"},
       {{"identity", "show"}, "PID|PATH"},
       {{"completion", "fish"}, "fish"}});
}

TEST_CASE("wrong usage of what goes back is exit 2, too", "[ctl]") {
  CheckRefused({{{"policy", "apply", "order.yaml", "--confirm-within", "soon"}, "not a duration"},
                {{"policy", "history", "x"}, "x"},
                {{"policy", "history", "--limit", "0"}, "0"},
                {{"policy", "diff", "1", "2", "3"}, "3"},
                {{"policy", "diff", "1", "-f", "order.yaml"}, "not both"},
                {{"policy", "rollback", "-1"}, "-1"},
                {{"panic"}, "needs a reason"},
                {{"panic", "-m", "x", "--for", "-1s"}, "not a duration"},
                {{"panic", "--end", "--for", "1m"}, "--for"},
                {{"why"}, "why needs PID HOST:PORT"},
                {{"why", "12"}, "why needs PID HOST:PORT"},
                {{"why", "0", "a:1"}, "0"},
                {{"why", "12", "nowhere"}, "is not HOST:PORT"},
                {{"why", "12", "::1:80"}, "stands in brackets"},
                {{"why", "12", ":80"}, "is not HOST:PORT"},
                {{"why", "12", "10.0.0.1:0"}, "a port is a number"},
                {{"why", "12", "10.0.0.1:65536"}, "a port is a number"},
                {{"why", "12", "no such host:80"}, "cannot resolve no such host"},
                {{"why", "--last", "12", "10.0.0.1:80"}, "takes a PID and no address"}});
}

TEST_CASE("an escape sequence in a command does not reach the terminal", "[ctl]") {
  CtlResult result = RunCtl(kNoSocket, {"\x1b[2J"});
  CHECK(result.code == 2);
  CHECK(result.err.find('\x1b') == std::string::npos);
}

TEST_CASE("a daemon that cannot be reached is exit 3", "[ctl]") {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"status"},
                                             {"policy", "get"},
                                             {"policy", "apply", "order.yaml"},
                                             {"policy", "delete", "policy/x"},
                                             {"policy", "history"},
                                             {"policy", "diff"},
                                             {"policy", "diff", "-f", "order.yaml"},
                                             {"policy", "rollback"},
                                             {"policy", "confirm"},
                                             {"panic", "-m", "x"},
                                             {"why", "1", "10.0.0.1:80"},
                                             {"why", "--last"},
                                             {"explain", "pid:1", "pid:2", "tcp/1"},
                                             {"explain", "--batch", "queries.jsonl"},
                                             {"identity", "list"},
                                             {"identity", "show", "1"},
                                             {"flows", "--follow"}}) {
    CtlResult result = RunCtl(kNoSocket, arguments);
    INFO(result.err);
    CHECK(result.code == 3);
    CHECK(result.out.empty());
  }
  CheckGolden("unreachable", {"status"}, RunCtl(kNoSocket, {"status"}));
}

TEST_CASE("--socket, before and behind the command", "[ctl]") {
  CtlHost host;
  CHECK(RunCtl(kNoSocket, {"--socket", host.socket_path(), "status"}).code == 0);
  CHECK(RunCtl(kNoSocket, {"status", "--socket", host.socket_path()}).code == 0);
  CHECK(RunCtl(kNoSocket, {"policy", "get", "--socket=" + host.socket_path()}).code == 0);
  CHECK(RunCtl(host.socket_path(), {"status", "--socket", kNoSocket}).code == 3);
  CHECK(RunCtl(kNoSocket, {"status", "--socket", std::string(200, 'x')}).code == 2);
}

TEST_CASE("help, version and completion need no daemon", "[ctl]") {
  CtlResult help = RunCtl(kNoSocket, {"--help"});
  CHECK(help.code == 0);
  CHECK(help.out.find("explain") != std::string::npos);
  CtlResult apply = RunCtl(kNoSocket, {"policy", "apply", "--help"});
  CHECK(apply.code == 0);
  CHECK(apply.out.find("--dry-run") != std::string::npos);
  CHECK(RunCtl(kNoSocket, {"version"}).out.find("msegctl ") == 0);
  CHECK(RunCtl(kNoSocket, {"version", "-o", "json"}).out.find("{\n  \"version\": \"") == 0);
  CtlResult bash = RunCtl(kNoSocket, {"completion", "bash"});
  CHECK(bash.code == 0);
  CHECK(bash.out.find("complete -o default -F _msegctl msegctl") != std::string::npos);
  CHECK(RunCtl(kNoSocket, {"completion", "zsh"}).out.find("#compdef msegctl") == 0);
}

// What bash would offer after `typed`, whose last word is the one to complete.
std::string Offered(const std::string& script, const std::string& words, int cword) {
  std::string command = "bash -c '" + script + "\nCOMP_WORDS=(" + words +
                        "); COMP_CWORD=" + std::to_string(cword) +
                        "; _msegctl; echo \"${COMPREPLY[*]}\"'";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string offered;
  char buffer[256];
  while (fgets(buffer, sizeof(buffer), pipe) != nullptr) offered += buffer;
  pclose(pipe);
  return offered;
}

TEST_CASE("bash completion offers commands and options", "[ctl]") {
  std::string script = RunCtl(kNoSocket, {"completion", "bash"}).out;
  CHECK(Offered(script, "msegctl sta", 1) == "status\n");
  CHECK(Offered(script, "msegctl policy a", 2) == "apply\n");
  CHECK(Offered(script, "msegctl policy apply --d", 3) == "--dry-run\n");
  CHECK(Offered(script, "msegctl status -o j", 3) == "json\n");
  CHECK(Offered(script, "msegctl policy h", 2) == "history\n");
  CHECK(Offered(script, "msegctl policy apply x --confirm-within 5", 5) == "5m\n");
  CHECK(Offered(script, "msegctl panic --e", 2) == "--end\n");
  CHECK(Offered(script, "msegctl why --l", 2) == "--last\n");
  CHECK(Offered(script, "msegctl policy apply x", 3) == "\n");
}

}  // namespace
}  // namespace mseg
