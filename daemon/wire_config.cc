// SPDX-License-Identifier: Apache-2.0
#include "daemon/wire_config.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "labels/field_reader.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr absl::Duration kShortestEpoch = absl::Seconds(1);
constexpr absl::Duration kLongestEpoch = absl::Hours(24);
constexpr size_t kMaxPaths = 4096;  // of map mseg_paths
// Below are kinds that every stack gives a meaning (SACK, timestamps, MPTCP, Fast Open).
constexpr uint32_t kFirstKind = 35;
constexpr uint32_t kLastKind = 254;

// Decimal, or hexadecimal behind 0x.
std::optional<uint32_t> ParseNumber(std::string_view text) {
  if (!text.starts_with("0x")) return ParseDecimal(text);
  uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + 2, end, value, 16);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

class WireReader {
 public:
  WireReader(const SourceText& source, WireConfig* config) : source_(source), config_(*config) {}

  void Read(const YamlNode& node) {
    FieldReader fields(source_, node, "wire");
    uint32_t number = 0;
    if (ReadNumber(fields, "kind", kFirstKind, kLastKind, &number)) {
      config_.kind = static_cast<uint8_t>(number);
    }
    if (ReadNumber(fields, "exid", 0, 0xffff, &number)) {
      config_.exid = static_cast<uint16_t>(number);
    }
    if (const YamlNode* epoch = fields.Take("epoch")) ReadEpoch(*epoch);
    ReadFlags(fields, "path", &config_.default_path);
    ReadUdp(fields, &config_.default_path);
    if (const YamlNode* paths = fields.Take("paths")) ReadPaths(*paths);
    if (const YamlNode* proof = fields.Take("proof")) {
      const int index = OneOf(source_, *proof, "proof", {"strict", "fast", "auto"});
      config_.proof.reset();
      if (index >= 0 && index < 2) config_.proof = static_cast<mseg_proof_form>(index);
    }
    if (const YamlNode* listeners = fields.Take("listeners")) ReadListeners(*listeners);
    fields.Finish();
  }

 private:
  bool ReadNumber(FieldReader& fields, std::string_view name, uint32_t least, uint32_t most,
                  uint32_t* to) {
    const YamlNode* node = fields.Take(name);
    const std::string* text = node == nullptr ? nullptr : ScalarText(source_, *node, name);
    if (text == nullptr) return false;
    const std::optional<uint32_t> number = ParseNumber(*text);
    if (number.has_value() && *number >= least && *number <= most) {
      *to = *number;
      return true;
    }
    source_.Error(node->spot, Cat(name, " must be a number from ", least, " to ", most));
    return false;
  }

  void ReadEpoch(const YamlNode& node) {
    const std::string* text = ScalarText(source_, node, "epoch");
    if (text == nullptr) return;
    absl::Duration epoch;
    if (absl::ParseDuration(*text, &epoch) && epoch >= kShortestEpoch && epoch <= kLongestEpoch) {
      config_.epoch = epoch;
      return;
    }
    source_.Error(node.spot, "epoch must be a duration from 1s to 24h, as in 1h");
  }

  // `path: prefer`, or `mode` and `bind` of an item of `paths`.
  void ReadFlags(FieldReader& fields, std::string_view mode, uint32_t* flags) {
    if (const YamlNode* node = fields.Take(mode)) {
      const int index = OneOf(source_, *node, mode, {"legacy", "prefer", "require"});
      if (index >= 0) *flags = (*flags & ~uint32_t{MSEG_PATH_MODE}) | static_cast<uint32_t>(index);
    }
    if (const YamlNode* node = fields.Take("bind")) {
      const int index = OneOf(source_, *node, "bind", {"both", "none"});
      *flags &= ~uint32_t{MSEG_PATH_UNBOUND};
      if (index == 1) *flags |= MSEG_PATH_UNBOUND;
    }
  }

  // What is carried in datagrams is carried in handshakes, too.
  void ReadUdp(FieldReader& fields, uint32_t* flags) {
    const YamlNode* node = fields.Take("udp");
    if (node == nullptr) return;
    const int index = OneOf(source_, *node, "udp", {"off", "on"});
    if (index < 0) return;
    if (index == 1 && (*flags & MSEG_PATH_MODE) == MSEG_PATH_LEGACY) {
      source_.Error(node->spot,
                    "a legacy path carries no identities; udp: on needs prefer or "
                    "require");
      return;
    }
    *flags &= ~uint32_t{MSEG_PATH_UDP};
    if (index == 1) *flags |= MSEG_PATH_UDP;
  }

  void ReadPaths(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kSequence) {
      source_.Error(node.spot, Cat("paths must be a list, not ", YamlKindName(node.kind)));
      return;
    }
    if (node.children.size() > kMaxPaths) {
      source_.Error(node.spot, Cat("at most ", kMaxPaths, " paths are accepted"));
      return;
    }
    for (const YamlNode& item : node.children) ReadPath(item);
  }

  void ReadPath(const YamlNode& node) {
    FieldReader fields(source_, node, "an item of paths");
    WireConfig::Path path;
    const YamlNode* cidr = fields.TakeRequired("cidr");
    const std::string* text = cidr == nullptr ? nullptr : ScalarText(source_, *cidr, "cidr");
    path.flags |= config_.default_path & MSEG_PATH_UDP;
    ReadFlags(fields, "mode", &path.flags);
    if ((path.flags & MSEG_PATH_MODE) == MSEG_PATH_LEGACY) path.flags &= ~uint32_t{MSEG_PATH_UDP};
    ReadUdp(fields, &path.flags);
    fields.Finish();
    if (text == nullptr) return;
    const absl::StatusOr<Cidr> parsed = ParseCidr(*text);
    if (!parsed.ok()) return source_.Error(cidr->spot, std::string(parsed.status().message()));
    path.cidr = *parsed;
    for (const WireConfig::Path& other : config_.paths) {
      if (other.cidr == path.cidr) source_.Error(cidr->spot, Cat(*text, " is given twice"));
    }
    config_.paths.push_back(path);
  }

  void ReadListeners(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kSequence) {
      source_.Error(node.spot, Cat("listeners must be a list, not ", YamlKindName(node.kind)));
      return;
    }
    for (const YamlNode& item : node.children) ReadListener(item);
  }

  void ReadListener(const YamlNode& node) {
    FieldReader fields(source_, node, "an item of listeners");
    WireConfig::Listeners listeners;
    if (const YamlNode* services = fields.TakeRequired("services")) {
      for (const SpottedText& item : TextList(source_, *services, "services")) {
        ReadTcpPorts(item, &listeners.ports);
      }
    }
    if (const YamlNode* proof = fields.TakeRequired("proof")) {
      const int index = OneOf(source_, *proof, "proof", {"strict", "fast"});
      if (index >= 0) listeners.proof = static_cast<mseg_proof_form>(index);
    }
    fields.Finish();
    config_.listeners.push_back(std::move(listeners));
  }

  void ReadTcpPorts(const SpottedText& item, std::vector<PortRange>* to) {
    if (!LooksLikePortItem(item.value)) return NotTcpPorts(item);
    const absl::StatusOr<std::vector<PortRange>> ports = ParsePortItem(item.value);
    if (!ports.ok()) return source_.Error(item.spot, std::string(ports.status().message()));
    for (const PortRange& range : *ports) {
      if (range.kind != PortRange::Kind::kPorts || range.protocol != IPPROTO_TCP) {
        return NotTcpPorts(item);
      }
      to->push_back(range);
    }
  }

  void NotTcpPorts(const SpottedText& item) {
    source_.Error(item.spot, Cat("`", item.value, "` proves nothing in a handshake; write ",
                                 "tcp/PORT or tcp/FIRST-LAST"));
  }

  const SourceText& source_;
  WireConfig& config_;
};

}  // namespace

bool CarriesDatagrams(const WireConfig& config) {
  return (config.default_path & MSEG_PATH_UDP) != 0 ||
         std::any_of(config.paths.begin(), config.paths.end(), [](const WireConfig::Path& path) {
           return (path.flags & MSEG_PATH_UDP) != 0;
         });
}

mseg_proof_form DefaultForm(mseg_mode mode) {
  return mode == MSEG_MODE_FULL ? MSEG_PROOF_FAST : MSEG_PROOF_STRICT;
}

std::vector<mseg_forms> FormsOf(const WireConfig& config, mseg_mode mode) {
  std::vector<mseg_forms> forms(MSEG_FORM_WORDS);
  const auto set = [&forms](uint32_t port, mseg_proof_form form) {
    const uint64_t bit = uint64_t{1} << port % 64;
    mseg_forms& word = forms[port / 64];
    word.strict = form == MSEG_PROOF_STRICT ? word.strict | bit : word.strict & ~bit;
    word.fast = form == MSEG_PROOF_FAST ? word.fast | bit : word.fast & ~bit;
  };
  const mseg_proof_form otherwise = config.proof.value_or(DefaultForm(mode));
  for (uint32_t port = 0; port < 64 * MSEG_FORM_WORDS; port++) set(port, otherwise);
  for (const WireConfig::Listeners& listeners : config.listeners) {
    for (const PortRange& range : listeners.ports) {
      for (uint32_t port = range.first; port <= range.last; port++) set(port, listeners.proof);
    }
  }
  return forms;
}

void ReadWireConfig(const SourceText& source, const YamlNode& node, WireConfig* config) {
  WireReader(source, config).Read(node);
}

}  // namespace mseg
