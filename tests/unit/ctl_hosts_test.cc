// SPDX-License-Identifier: Apache-2.0
// `host` and `record`, over a real socket, against their golden output.
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>

#include "ctl_fixture.h"

namespace mseg {
namespace {

TEST_CASE("host: init, show, list, trust, distrust", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"host_init", {"host", "init", "--id", "7", "--address", "10.0.0.7"}},
                  {"host_init_no_id", {"host", "init"}},
                  {"host_init_bad_id", {"host", "init", "--id", "16777216"}},
                  {"host_show", {"host", "show"}},
                  {"host_show_json", {"host", "show", "-o", "json"}},
                  {"host_list", {"host", "list"}},
                  {"host_list_wide", {"host", "list", "-o", "wide"}},
                  {"host_list_json", {"host", "list", "-o", "json"}},
                  {"host_trust", {"host", "trust", "order.yaml", "--claims", "app=order"}},
                  {"host_trust_yaml", {"host", "trust", "order.yaml", "-o", "yaml"}},
                  {"host_trust_missing", {"host", "trust", "absent.json"}},
                  {"host_distrust", {"host", "distrust", "8"}},
                  {"host_distrust_missing", {"host", "distrust", "nobody"}}});
  host.service.has_identity = false;
  RunCases(host, {{"host_show_none", {"host", "show"}}, {"host_list_none", {"host", "list"}}});
}

TEST_CASE("record: export, import, list", "[ctl]") {
  CtlHost host;
  RunCases(host, {{"record_export", {"record", "export"}},
                  {"record_import", {"record", "import", "order.yaml", "ssh.yaml"}},
                  {"record_import_json", {"record", "import", "order.yaml", "-o", "json"}},
                  {"record_list", {"record", "list"}},
                  {"record_list_wide", {"record", "list", "-o", "wide"}},
                  {"record_list_json", {"record", "list", "-o", "json"}},
                  {"record_list_none", {"record", "list", "--host", "8"}},
                  {"record_list_missing", {"record", "list", "--host", "9"}}});
  const std::string file = host.directory() + "/records.json";
  CHECK(host.Run({"record", "export", "-o", file}).code == 0);
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  CHECK(text == "{\"kind\": \"mseg.io/IdentityRecords\"}\n");
  CHECK(host.Run({"record", "export", "-o", "/absent/x"}).code == kExitBadInput);
}

TEST_CASE("host and record: what reaches the daemon", "[ctl]") {
  CtlHost host;
  REQUIRE(host.Run({"host", "init", "--id", "9", "--name", "n", "--address", "10.0.0.1",
                    "--address", "10.0.0.2", "--claims", "a=1,b=2", "--claims", "a=2", "--replace"})
              .code == 0);
  CHECK(host.service.last_init.id == 9);
  CHECK(host.service.last_init.name == "n");
  CHECK(host.service.last_init.addresses == std::vector<std::string>{"10.0.0.1", "10.0.0.2"});
  CHECK(host.service.last_init.claims == std::vector<std::string>{"a=1,b=2", "a=2"});
  CHECK(host.service.last_init.replace);
  CHECK(host.service.last_init.author == "alice");
  REQUIRE(host.Run({"host", "trust", "--claims", "a=1", "-"}, {.in = "text"}).code == 0);
  CHECK(host.service.last_trust.file.name == "<stdin>");
  CHECK(host.service.last_trust.file.text == "text");
  CHECK(host.service.last_trust.limits == std::vector<std::string>{"a=1"});
  CHECK_FALSE(host.service.last_trust.replace);
  CHECK(host.service.last_trust.author == "alice");
  CHECK(host.service.last_trust.caller.pid != 0);
  REQUIRE(host.Run({"record", "import", "-"}, {.in = "text"}).code == 0);
  CHECK(host.service.last_import.files.front().text == "text");
  host.service.fail = absl::FailedPreconditionError("no");
  CHECK(host.Run({"record", "export"}).code == kExitRefused);
}

}  // namespace
}  // namespace mseg
