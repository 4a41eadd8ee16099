// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon_config.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include <fstream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "labels/diagnostic.h"
#include "labels/document_parser.h"
#include "labels/field_reader.h"
#include "labels/text.h"
#include "labels/yaml_reader.h"

namespace mseg {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr absl::Duration kMaxUdpTimeout = absl::Hours(24);
constexpr uint32_t kMaxLimit = 1u << 26;
constexpr std::string_view kLogLevels[] = {"trace", "debug", "info", "warn", "error"};

// One config file being read: every wrong value is reported, not only the first.
class ConfigReader {
 public:
  ConfigReader(const SourceText& source, DaemonConfig* config)
      : source_(source), config_(*config) {}

  void Read(const YamlNode& root) {
    FieldReader fields(source_, root, "the config file");
    ReadPath(fields, "state_dir", &config_.state_dir);
    ReadPath(fields, "socket", &config_.socket);
    ReadPath(fields, "cgroup_root", &config_.cgroup_root);
    ReadPath(fields, "bpffs", &config_.bpffs);
    if (const YamlNode* host = fields.Take("host")) ReadHost(*host);
    if (const YamlNode* fleet = fields.Take("fleet")) ReadFleet(*fleet);
    if (const YamlNode* wire = fields.Take("wire")) ReadWireConfig(source_, *wire, &config_.wire);
    if (const YamlNode* timeout = fields.Take("udp_flow_timeout")) ReadUdpTimeout(*timeout);
    ReadFlag(fields, "report_allowed", &config_.report_allowed);
    if (const YamlNode* limits = fields.Take("limits")) ReadLimits(*limits);
    if (const YamlNode* failsafe = fields.Take("failsafe")) ReadFailsafe(*failsafe);
    if (const YamlNode* list = fields.Take("interpreters")) ReadInterpreters(*list);
    if (const YamlNode* guard = fields.Take("self_protection")) {
      ReadGuardConfig(source_, *guard, &config_.guard);
    }
    ReadFlag(fields, "exec_watch", &config_.exec_watch);
    if (const YamlNode* level = fields.Take("log_level")) {
      const int index =
          OneOf(source_, *level, "log_level", {std::begin(kLogLevels), std::end(kLogLevels)});
      if (index >= 0) config_.log_level = static_cast<LogLevel>(index);
    }
    fields.Finish();
  }

 private:
  void ReadHost(const YamlNode& node) {
    FieldReader fields(source_, node, "host");
    if (const YamlNode* name = fields.Take("name")) ReadText(*name, "name", &config_.host_name);
    fields.Finish();
  }

  void ReadFleet(const YamlNode& node) {
    FieldReader fields(source_, node, "fleet");
    ReadPath(fields, "salt_file", &config_.salt_file);
    fields.Finish();
  }

  void ReadLimits(const YamlNode& node) {
    FieldReader fields(source_, node, "limits");
    ReadLimit(fields, "rows", &config_.limits.rows);
    ReadLimit(fields, "identities", &config_.limits.identities);
    ReadLimit(fields, "tasks", &config_.limits.tasks);
    ReadLimit(fields, "listeners", &config_.limits.listeners);
    fields.Finish();
  }

  // Instead of the built-in list.
  void ReadInterpreters(const YamlNode& node) {
    config_.interpreters.clear();
    for (const SpottedText& item : TextList(source_, node, "interpreters")) {
      if (item.value.starts_with('/')) {
        const absl::Status status = CheckPathPattern(item.value, "an interpreter").status();
        if (!status.ok()) source_.Error(item.spot, std::string(status.message()));
      } else if (!CheckFileName(item.value).ok()) {
        source_.Error(item.spot, Cat("`", item.value.substr(0, 80),
                                     "` is neither a file name nor an absolute path"));
      }
      config_.interpreters.push_back(item.value);
    }
  }

  // `[]` means none at all.
  void ReadFailsafe(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kSequence) {
      source_.Error(node.spot, Cat("failsafe must be a list, not ", YamlKindName(node.kind)));
      return;
    }
    config_.failsafe.clear();
    for (const YamlNode& item : node.children) ReadFailsafeEntry(item);
  }

  void ReadFailsafeEntry(const YamlNode& node) {
    FieldReader fields(source_, node, "an item of failsafe");
    FailsafeEntry entry;
    if (const YamlNode* direction = fields.TakeRequired("direction")) {
      const int index = OneOf(source_, *direction, "direction", {"egress", "ingress"});
      if (index >= 0) entry.direction = static_cast<mseg_direction>(index);
    }
    const YamlNode* services = fields.TakeRequired("services");
    if (services != nullptr) {
      for (const SpottedText& item : TextList(source_, *services, "services")) {
        if (!LooksLikePortItem(item.value)) {
          source_.Error(item.spot, Cat("`", item.value, "` has a name; here write tcp/PORT, ",
                                       "udp/FIRST-LAST, sctp/PORT, icmp or any"));
          continue;
        }
        const absl::StatusOr<std::vector<PortRange>> ports = ParsePortItem(item.value);
        if (!ports.ok()) source_.Error(item.spot, std::string(ports.status().message()));
        if (ports.ok()) entry.ports.insert(entry.ports.end(), ports->begin(), ports->end());
      }
    }
    if (const YamlNode* exe = fields.Take("exe")) ReadFailsafeExe(*exe, &entry.exe);
    fields.Finish();
    for (const PortRange& range : entry.ports) {
      if (range.kind != PortRange::Kind::kAny || !entry.exe.empty()) continue;
      source_.Error(services->spot, "`any` of every process would leave no policy; name an exe");
    }
    config_.failsafe.push_back(std::move(entry));
  }

  void ReadFailsafeExe(const YamlNode& node, std::string* to) {
    if (!ReadText(node, "exe", to)) return;
    if ((*to)[0] != '/') source_.Error(node.spot, "exe must be an absolute path");
    if (to->find_first_of("*?[\\") != to->npos) source_.Error(node.spot, "exe takes no globs");
  }

  // False: there is none, or it was refused.
  bool ReadText(const YamlNode& node, std::string_view name, std::string* to) {
    const std::string* text = ScalarText(source_, node, name);
    if (text == nullptr) return false;
    if (text->empty()) {
      source_.Error(node.spot, Cat(name, " must not be empty"));
      return false;
    }
    *to = *text;
    return true;
  }

  void ReadPath(FieldReader& fields, std::string_view name, std::string* to) {
    const YamlNode* node = fields.Take(name);
    if (node == nullptr || !ReadText(*node, name, to)) return;
    if ((*to)[0] != '/') source_.Error(node->spot, Cat(name, " must be an absolute path"));
  }

  void ReadFlag(FieldReader& fields, std::string_view name, bool* to) {
    const YamlNode* node = fields.Take(name);
    if (node == nullptr) return;
    const int index = OneOf(source_, *node, name, {"false", "true"});
    if (index >= 0) *to = index == 1;
  }

  void ReadLimit(FieldReader& fields, std::string_view name, uint32_t* to) {
    const YamlNode* node = fields.Take(name);
    if (node == nullptr) return;
    const std::string* text = ScalarText(source_, *node, name);
    if (text == nullptr) return;
    const std::optional<uint32_t> number = ParseDecimal(*text);
    if (!number.has_value() || *number == 0 || *number > kMaxLimit) {
      source_.Error(node->spot, Cat(name, " must be a number from 1 to ", kMaxLimit));
      return;
    }
    *to = *number;
  }

  void ReadUdpTimeout(const YamlNode& node) {
    const std::string* text = ScalarText(source_, node, "udp_flow_timeout");
    if (text == nullptr) return;
    absl::Duration timeout;
    if (!absl::ParseDuration(*text, &timeout) || timeout < absl::Seconds(1) ||
        timeout > kMaxUdpTimeout) {
      source_.Error(node.spot, Cat("udp_flow_timeout must be a duration from 1s to ",
                                   absl::ToInt64Hours(kMaxUdpTimeout), "h, as in 30s"));
      return;
    }
    config_.udp_flow_timeout = timeout;
  }

  const SourceText& source_;
  DaemonConfig& config_;
};

absl::Status CheckSocket(const std::string& path) {
  constexpr size_t kMost = sizeof(sockaddr_un{}.sun_path) - 1;
  if (path.size() <= kMost) return absl::OkStatus();
  return absl::InvalidArgumentError(Cat("msegd: the socket path ", path, " is longer than ", kMost,
                                        " bytes, the most that Linux allows"));
}

absl::Status BadUsage(std::string_view message) {
  return absl::InvalidArgumentError(Cat("msegd: ", message, ". See msegd --help."));
}

}  // namespace

absl::StatusOr<DaemonConfig> ParseDaemonConfig(std::string_view text, const std::string& file) {
  DaemonConfig config;
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        Cat(file, ":1:1: error: larger than ", kMaxConfigBytes, " bytes"));
  }
  Diagnostics diagnostics;
  const std::vector<YamlChunk> chunks = SplitYaml(text, 1);
  for (const YamlChunk& chunk : chunks) {
    const SourceText source(file, chunk.text, chunk.first_line, &diagnostics);
    if (&chunk != &chunks.front()) {
      source.Error({.line = chunk.first_line, .column = 1}, "a config file is one YAML document");
      break;
    }
    const absl::StatusOr<std::optional<YamlNode>> root = ReadYaml(source);
    if (root.ok() && root->has_value()) ConfigReader(source, &config).Read(**root);
    if (!root.ok() && diagnostics.empty()) return root.status();
  }
  if (diagnostics.empty()) return config;
  std::string message;
  for (const Diagnostic& diagnostic : diagnostics) message += FormatDiagnostic(diagnostic);
  if (message.back() == '\n') message.pop_back();  // whoever prints it ends the line
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<DaemonFlags> ParseDaemonFlags(absl::Span<const char* const> args) {
  DaemonFlags flags;
  const std::pair<std::string_view, std::optional<std::string>*> values[] = {
      {"--config", &flags.config},           {"--state-dir", &flags.state_dir},
      {"--socket", &flags.socket},           {"--bpffs", &flags.bpffs},
      {"--cgroup-root", &flags.cgroup_root},
  };
  const std::pair<std::string_view, bool*> switches[] = {
      {"--detach-all", &flags.detach_all}, {"--help", &flags.help}, {"--version", &flags.version}};
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string_view arg = args[i];
    const size_t equals = arg.find('=');
    const std::string_view flag = arg.substr(0, equals);
    const bool has_value = equals != arg.npos;
    bool known = false;
    for (const auto& [name, target] : switches) {
      if (name != flag || has_value) continue;
      *target = known = true;
    }
    for (const auto& [name, target] : values) {
      if (name != flag) continue;
      known = true;
      if (target->has_value()) return BadUsage(Cat(name, " is given twice"));
      if (!has_value && i + 1 == args.size()) return BadUsage(Cat(name, " needs a value"));
      *target = has_value ? std::string(arg.substr(equals + 1)) : std::string(args[++i]);
      if ((*target)->empty()) return BadUsage(Cat(name, " needs a value"));
    }
    if (!known) return BadUsage(Cat("unknown argument ", args[i]));
  }
  return flags;
}

absl::StatusOr<DaemonConfig> LoadDaemonConfig(const DaemonFlags& flags) {
  DaemonConfig config;
  if (flags.config.has_value()) {
    // One byte too many tells that it is too large; a directory opens, and fails to be read.
    std::string text(kMaxConfigBytes + 1, '\0');
    errno = 0;
    std::ifstream in(*flags.config, std::ios::binary);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!in.is_open() || in.bad()) {
      return absl::InvalidArgumentError(Cat("msegd: cannot read the config file ", *flags.config,
                                            ": ", strerror(errno != 0 ? errno : EIO)));
    }
    text.resize(static_cast<size_t>(in.gcount()));
    absl::StatusOr<DaemonConfig> parsed = ParseDaemonConfig(text, *flags.config);
    if (!parsed.ok()) return parsed;
    config = *std::move(parsed);
  }
  if (flags.state_dir.has_value()) config.state_dir = *flags.state_dir;
  if (flags.socket.has_value()) config.socket = *flags.socket;
  if (flags.cgroup_root.has_value()) config.cgroup_root = *flags.cgroup_root;
  if (flags.bpffs.has_value()) config.bpffs = *flags.bpffs;
  if (absl::Status status = CheckSocket(config.socket); !status.ok()) return status;
  return config;
}

std::string DaemonUsage() {
  const DaemonConfig defaults;
  return Cat(
      "Usage: msegd [--config FILE] [--state-dir DIR] [--socket PATH] [--cgroup-root PATH]\n"
      "             [--bpffs PATH]\n"
      "       msegd --detach-all [--bpffs PATH]\n\n"
      "Runs in the foreground and logs to stderr. SIGTERM leaves enforcement in place.\n\n"
      "  --config FILE       YAML; flags win over it\n"
      "  --state-dir DIR     policies and their history (default ",
      defaults.state_dir,
      ")\n"
      "  --socket PATH       where msegctl finds it (default ",
      defaults.socket,
      ")\n"
      "  --cgroup-root PATH  the cgroup that it judges (default: the host's cgroup v2 root)\n"
      "  --bpffs PATH        where programs and maps are pinned (default ",
      defaults.bpffs,
      ")\n"
      "  --detach-all        removes every program, pin and map of mseg from this host\n");
}

std::string_view LogLevelName(LogLevel level) { return kLogLevels[static_cast<size_t>(level)]; }

}  // namespace mseg
