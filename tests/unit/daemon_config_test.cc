// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon_config.h"

#include <netinet/in.h>

#include "tests/unit/daemon_test_util.h"

namespace mseg::testing {
namespace {

std::string ErrorOf(const std::string& text) {
  const auto config = ParseDaemonConfig(text, "msegd.yaml");
  REQUIRE(absl::IsInvalidArgument(config.status()));
  return std::string(config.status().message());
}

TEST_CASE("an empty config file is the defaults") {
  for (const char* text : {"", "\n", "# nothing\n", "---\n"}) {
    const auto config = ParseDaemonConfig(text, "msegd.yaml");
    INFO(config.status().ToString());
    REQUIRE(config.ok());
    CHECK(*config == DaemonConfig{});
  }
  const DaemonConfig defaults;
  CHECK(defaults.state_dir == "/var/lib/mseg");
  CHECK(defaults.socket == "/run/mseg/msegd.sock");
  CHECK(defaults.bpffs == "/sys/fs/bpf/mseg");
  CHECK(defaults.cgroup_root.empty());
  CHECK_FALSE(defaults.exec_watch);
}

TEST_CASE("where datagrams carry identities") {
  const auto wire = [](const std::string& text) {
    const auto config = ParseDaemonConfig("wire: {" + text + "}\n", "msegd.yaml");
    INFO(config.status().ToString());
    REQUIRE(config.ok());
    return config->wire;
  };
  CHECK_FALSE(CarriesDatagrams(wire("")));
  CHECK_FALSE(CarriesDatagrams(wire("udp: off, paths: [{cidr: 10.0.0.0/8, udp: off}]")));
  CHECK(wire("udp: on").default_path == (MSEG_PATH_PREFER | MSEG_PATH_UDP));
  CHECK(CarriesDatagrams(wire("udp: on")));
  CHECK(CarriesDatagrams(wire("path: legacy, paths: [{cidr: 10.0.0.0/8, udp: on}]")));
  const WireConfig some = wire(
      "path: require, udp: on, paths: [{cidr: 10.0.0.0/8}, {cidr: 10.1.0.0/16, udp: off}, "
      "{cidr: 10.2.0.0/16, mode: legacy}, {cidr: 10.3.0.0/16, mode: require, bind: none}]");
  CHECK(some.default_path == (MSEG_PATH_REQUIRE | MSEG_PATH_UDP));
  REQUIRE(some.paths.size() == 4);
  CHECK(some.paths[0].flags == (MSEG_PATH_PREFER | MSEG_PATH_UDP));
  CHECK(some.paths[1].flags == MSEG_PATH_PREFER);
  CHECK(some.paths[2].flags == MSEG_PATH_LEGACY);
  CHECK(some.paths[3].flags == (MSEG_PATH_REQUIRE | MSEG_PATH_UNBOUND | MSEG_PATH_UDP));
}

TEST_CASE("every key is read") {
  const auto config = ParseDaemonConfig(
      "state_dir: /a\nsocket: /b\ncgroup_root: /c\nbpffs: /d\nhost: {name: 订单-1}\n"
      "fleet: {salt_file: /e}\n"
      "wire: {kind: 254, exid: 0xabcd, epoch: 1s, path: legacy, bind: none, proof: fast,\n"
      "  listeners: [{services: [tcp/22, tcp/8000-8010], proof: strict}],\n"
      "  paths: [{cidr: 10.0.0.0/8, mode: require}, {cidr: 2001:db8::/32, bind: none}]}\n"
      "udp_flow_timeout: 1m30s\nreport_allowed: false\n"
      "limits: {rows: 1, identities: 2, tasks: 3, listeners: 4}\nexec_watch: true\n"
      "interpreters: [sh, /opt/*/lua]\n"
      "self_protection: {enabled: true, successors: sha256:" +
          std::string(64, 'a') +
          ",\n  bpf_loaders: [/usr/sbin/loader, sha256:" + std::string(64, 'b') +
          "]}\n"
          "failsafe:\n- {direction: egress, services: [tcp/22, udp/5000-5001, icmp], exe: "
          "/usr/bin/ssh}\n"
          "log_level: debug\n",
      "msegd.yaml");
  INFO(config.status().ToString());
  REQUIRE(config.ok());
  DaemonConfig expected;
  expected.state_dir = "/a";
  expected.salt_file = "/e";
  expected.wire.kind = 254;
  expected.wire.exid = 0xabcd;
  expected.wire.epoch = absl::Seconds(1);
  expected.wire.default_path = MSEG_PATH_LEGACY | MSEG_PATH_UNBOUND;
  expected.wire.paths = {{*ParseCidr("10.0.0.0/8"), MSEG_PATH_REQUIRE},
                         {*ParseCidr("2001:db8::/32"), MSEG_PATH_PREFER | MSEG_PATH_UNBOUND}};
  expected.wire.proof = MSEG_PROOF_FAST;
  expected.wire.listeners = {
      {{{.protocol = IPPROTO_TCP, .first = 22, .last = 22},
        {.protocol = IPPROTO_TCP, .first = 8000, .last = 8010}},
       MSEG_PROOF_STRICT}};
  expected.socket = "/b";
  expected.cgroup_root = "/c";
  expected.bpffs = "/d";
  expected.host_name = "订单-1";
  expected.udp_flow_timeout = absl::Seconds(90);
  expected.report_allowed = false;
  expected.limits = {.rows = 1, .identities = 2, .tasks = 3, .listeners = 4};
  expected.failsafe = {{.direction = MSEG_EGRESS, .ports = {}, .exe = "/usr/bin/ssh"}};
  for (const char* item : {"tcp/22", "udp/5000-5001", "icmp"}) {
    const auto ports = ParsePortItem(item);
    REQUIRE(ports.ok());
    expected.failsafe[0].ports.insert(expected.failsafe[0].ports.end(), ports->begin(),
                                      ports->end());
  }
  expected.exec_watch = true;
  expected.interpreters = {"sh", "/opt/*/lua"};
  expected.guard.enabled = true;
  expected.guard.successors.insert(*ParseDigest("sha256:" + std::string(64, 'a')));
  expected.guard.limit_loaders = true;
  expected.guard.loader_paths.insert("/usr/sbin/loader");
  expected.guard.loaders.insert(*ParseDigest("sha256:" + std::string(64, 'b')));
  expected.log_level = LogLevel::kDebug;
  CHECK(*config == expected);
  CHECK(LogLevelName(config->log_level) == "debug");
}

TEST_CASE("each port has one form: its listener's, else the host's, else the mode's") {
  const auto form = [](const WireConfig& config, mseg_mode mode, uint16_t port) {
    const std::vector<mseg_forms> forms = FormsOf(config, mode);
    REQUIRE(forms.size() == MSEG_FORM_WORDS);
    const uint64_t bit = uint64_t{1} << port % 64;
    const bool strict = forms[port / 64].strict & bit, fast = forms[port / 64].fast & bit;
    CHECK(strict != fast);
    return fast ? MSEG_PROOF_FAST : MSEG_PROOF_STRICT;
  };
  for (const uint16_t port : {0, 63, 64, 3306, 65535}) {
    CHECK(form({}, MSEG_MODE_CGROUP, port) == MSEG_PROOF_STRICT);
    CHECK(form({}, MSEG_MODE_FULL, port) == MSEG_PROOF_FAST);
    WireConfig chosen;
    chosen.proof = MSEG_PROOF_FAST;
    CHECK(form(chosen, MSEG_MODE_CGROUP, port) == MSEG_PROOF_FAST);
    chosen.proof = MSEG_PROOF_STRICT;
    CHECK(form(chosen, MSEG_MODE_FULL, port) == MSEG_PROOF_STRICT);
  }
  WireConfig config;
  config.listeners = {
      {{{.protocol = IPPROTO_TCP, .first = 65000, .last = 65535}}, MSEG_PROOF_FAST},
      {{{.protocol = IPPROTO_TCP, .first = 65534, .last = 65534}}, MSEG_PROOF_STRICT}};
  CHECK(form(config, MSEG_MODE_CGROUP, 64999) == MSEG_PROOF_STRICT);
  CHECK(form(config, MSEG_MODE_CGROUP, 65000) == MSEG_PROOF_FAST);
  CHECK(form(config, MSEG_MODE_CGROUP, 65534) == MSEG_PROOF_STRICT);
  CHECK(form(config, MSEG_MODE_CGROUP, 65535) == MSEG_PROOF_FAST);
}

TEST_CASE("fail-safe entries: the defaults, and none") {
  const std::vector<FailsafeEntry> defaults = DaemonConfig{}.failsafe;
  std::vector<std::string> texts;
  for (const FailsafeEntry& entry : defaults) {
    CHECK(entry.exe.empty());
    for (const PortRange& range : entry.ports) {
      texts.push_back((entry.direction == MSEG_INGRESS ? "in " : "out ") + PortRangeText(range));
    }
  }
  CHECK(texts == std::vector<std::string>{"in tcp/22", "in udp/67-68", "in udp/546-547",
                                          "out udp/67-68", "out udp/546-547"});
  const auto none = ParseDaemonConfig("failsafe: []\n", "msegd.yaml");
  REQUIRE(none.ok());
  CHECK(none->failsafe.empty());
}

struct BadConfig {
  const char* text;
  const char* error;
};
constexpr BadConfig kBadConfigs[] = {
#include "tests/unit/daemon_config_golden.inc"
};

TEST_CASE("errors name the place, what is wrong and what was expected") {
  for (const BadConfig& bad : kBadConfigs) CHECK(ErrorOf(bad.text) == bad.error);
}

absl::StatusOr<DaemonFlags> Flags(std::vector<const char*> args) { return ParseDaemonFlags(args); }

TEST_CASE("flags take a value behind a space or an equals sign") {
  const auto flags = Flags({"--state-dir", "/s", "--socket=/a=b", "--cgroup-root", "/c", "--bpffs",
                            "/b", "--config=/etc/c"});
  REQUIRE(flags.ok());
  CHECK(flags->state_dir == "/s");
  CHECK(flags->socket == "/a=b");
  CHECK(flags->cgroup_root == "/c");
  CHECK(flags->bpffs == "/b");
  CHECK(flags->config == "/etc/c");
  CHECK_FALSE(flags->detach_all);
  CHECK(Flags({"--detach-all"})->detach_all);
  CHECK(Flags({"--help"})->help);
  CHECK(Flags({"--version"})->version);
}

TEST_CASE("bad usage is refused with a sentence") {
  const auto error = [](std::vector<const char*> args) {
    const auto flags = Flags(std::move(args));
    CHECK(absl::IsInvalidArgument(flags.status()));
    return std::string(flags.status().message());
  };
  CHECK(error({"--sokcet", "/a"}) == "msegd: unknown argument --sokcet. See msegd --help.");
  CHECK(error({"run"}) == "msegd: unknown argument run. See msegd --help.");
  CHECK(error({"--socket"}) == "msegd: --socket needs a value. See msegd --help.");
  CHECK(error({"--socket="}) == "msegd: --socket needs a value. See msegd --help.");
  CHECK(error({"--socket=/a", "--socket=/b"}) ==
        "msegd: --socket is given twice. See msegd --help.");
  CHECK(error({"--detach-all=yes"}) ==
        "msegd: unknown argument --detach-all=yes. See msegd --help.");
}

TEST_CASE("flags win over the file, the file over the defaults") {
  const TempDir dir;
  WriteText(dir / "msegd.yaml", "state_dir: /from/file\nsocket: /from/file.sock\n");
  const auto config = LoadDaemonConfig({.config = dir / "msegd.yaml",
                                        .state_dir = {},
                                        .socket = "/from/flag.sock",
                                        .cgroup_root = {},
                                        .bpffs = {}});
  REQUIRE(config.ok());
  CHECK(config->state_dir == "/from/file");
  CHECK(config->socket == "/from/flag.sock");
  CHECK(config->bpffs == "/sys/fs/bpf/mseg");
  CHECK(LoadDaemonConfig({})->state_dir == "/var/lib/mseg");
}

TEST_CASE("a config file that cannot be read and a socket path that is too long are refused") {
  DaemonFlags flags;
  flags.config = "/does/not/exist";
  CHECK(LoadDaemonConfig(flags).status().message() ==
        "msegd: cannot read the config file /does/not/exist: No such file or directory");
  flags.config = "/proc";
  CHECK(LoadDaemonConfig(flags).status().message() ==
        "msegd: cannot read the config file /proc: Is a directory");
  flags.config = "/dev/zero";
  CHECK_THAT(std::string(LoadDaemonConfig(flags).status().message()),
             Catch::StartsWith("/dev/zero:1:1: error: larger than"));
  flags.config.reset();
  flags.socket = std::string(107, 'a');
  CHECK(LoadDaemonConfig(flags).ok());
  flags.socket = std::string(108, 'a');
  CHECK(absl::IsInvalidArgument(LoadDaemonConfig(flags).status()));
}

TEST_CASE("the usage text shows the defaults") {
  CHECK_THAT(DaemonUsage(), Catch::Contains("/var/lib/mseg") && Catch::Contains("--detach-all"));
}

}  // namespace
}  // namespace mseg::testing
