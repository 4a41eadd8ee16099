// SPDX-License-Identifier: Apache-2.0
#include "daemon/guard_config.h"

#include <string_view>
#include <vector>

#include "labels/field_reader.h"
#include "labels/text.h"

namespace mseg {
namespace {

// The items of a list, which may be empty: then nobody is meant.
std::vector<SpottedText> Items(const SourceText& source, const YamlNode& node,
                               std::string_view name) {
  if (node.kind == YamlNode::Kind::kSequence && node.children.empty()) return {};
  return TextList(source, node, name);
}

void AddDigest(const SourceText& source, const SpottedText& item, std::set<Digest>* to) {
  const absl::StatusOr<Digest> digest = ParseDigest(item.value);
  if (digest.ok()) to->insert(*digest);
  if (!digest.ok()) source.Error(item.spot, std::string(digest.status().message()));
}

}  // namespace

void ReadGuardConfig(const SourceText& source, const YamlNode& node, GuardConfig* config) {
  FieldReader fields(source, node, "self_protection");
  if (const YamlNode* enabled = fields.TakeRequired("enabled")) {
    config->enabled = OneOf(source, *enabled, "enabled", {"false", "true"}) == 1;
  }
  if (const YamlNode* successors = fields.Take("successors")) {
    for (const SpottedText& item : Items(source, *successors, "successors")) {
      AddDigest(source, item, &config->successors);
    }
  }
  if (const YamlNode* loaders = fields.Take("bpf_loaders")) {
    config->limit_loaders = true;
    for (const SpottedText& item : Items(source, *loaders, "bpf_loaders")) {
      if (item.value.starts_with("sha256:")) {
        AddDigest(source, item, &config->loaders);
      } else if (item.value.starts_with('/')) {
        config->loader_paths.insert(item.value);
      } else {
        source.Error(item.spot, Cat("`", item.value,
                                    "` is no executable; write its absolute path or sha256:HEX"));
      }
    }
  }
  fields.Finish();
}

}  // namespace mseg
