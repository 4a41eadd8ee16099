// SPDX-License-Identifier: Apache-2.0
#include "daemon/wire_config.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

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
    if (const YamlNode* paths = fields.Take("paths")) ReadPaths(*paths);
    if (const YamlNode* proof = fields.Take("proof")) {
      const int index = OneOf(source_, *proof, "proof", {"strict"});
      if (index >= 0) config_.proof = static_cast<mseg_proof_form>(index);
    }
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
    ReadFlags(fields, "mode", &path.flags);
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

  const SourceText& source_;
  WireConfig& config_;
};

}  // namespace

void ReadWireConfig(const SourceText& source, const YamlNode& node, WireConfig* config) {
  WireReader(source, config).Read(node);
}

}  // namespace mseg
