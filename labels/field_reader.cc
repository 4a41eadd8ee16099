// SPDX-License-Identifier: Apache-2.0
#include "labels/field_reader.h"

#include <algorithm>
#include <utility>

#include "labels/text.h"

namespace mseg {

FieldReader::FieldReader(const SourceText& source, const YamlNode& node, std::string what)
    : source_(source),
      node_(node),
      what_(std::move(what)),
      usable_(node.kind == YamlNode::Kind::kMap) {
  if (!usable_) {
    source_.Error(node.spot, Cat(what_, " must be a map, not ", YamlKindName(node.kind)));
  }
}

size_t FieldReader::Find(std::string_view name) const {
  if (!usable_) return std::string::npos;
  for (size_t i = 0; i + 1 < node_.children.size(); i += 2) {
    if (node_.children[i].text == name) return i;
  }
  return std::string::npos;
}

Spot FieldReader::SpotOf(std::string_view name) const {
  const size_t at = Find(name);
  return at == std::string::npos ? node_.spot : node_.children[at].spot;
}

const YamlNode* FieldReader::Take(std::string_view name) {
  known_.push_back(name);
  supported_.push_back(name);
  const size_t at = Find(name);
  if (at == std::string::npos) return nullptr;
  const YamlNode& value = node_.children[at + 1];
  if (value.kind != YamlNode::Kind::kNull) return &value;
  source_.Error(node_.children[at].spot,
                Cat("`", name, "` has no value; leave the field out, or write `{}` or `[]` ",
                    "for an empty one"));
  return nullptr;
}

const YamlNode* FieldReader::TakeRequired(std::string_view name) {
  const YamlNode* value = Take(name);
  if (value == nullptr && usable_ && Find(name) == std::string::npos) {
    source_.Error(node_.spot, Cat(what_, " needs the field `", name, "`"));
  }
  return value;
}

void FieldReader::Refuse(std::string_view name, std::string_view instead) {
  known_.push_back(name);
  const size_t at = Find(name);
  if (at == std::string::npos) return;
  source_.Error(node_.children[at].spot,
                Cat("`", name, "` is not supported yet", instead.empty() ? "" : "; ", instead));
}

void FieldReader::Finish() {
  if (!usable_) return;
  for (size_t i = 0; i + 1 < node_.children.size(); i += 2) {
    const YamlNode& key = node_.children[i];
    if (key.kind != YamlNode::Kind::kScalar) continue;  // reported by the reader
    if (std::find(known_.begin(), known_.end(), key.text) != known_.end()) continue;
    const std::string_view nearest = Nearest(key.text, supported_);
    std::string message = Cat("unknown field `", key.text.substr(0, 80), "` in ", what_);
    if (!nearest.empty()) Append(&message, "; did you mean `", nearest, "`?");
    Append(&message, nearest.empty() ? ";" : "", " allowed: ", JoinAlternatives(supported_));
    source_.Error(key.spot, std::move(message));
  }
}

const std::string* ScalarText(const SourceText& source, const YamlNode& node,
                              std::string_view what) {
  if (node.kind == YamlNode::Kind::kScalar) return &node.text;
  source.Error(node.spot, Cat(what, " must be a single value, not ", YamlKindName(node.kind)));
  return nullptr;
}

std::vector<SpottedText> TextList(const SourceText& source, const YamlNode& node,
                                  std::string_view what) {
  std::vector<SpottedText> out;
  if (node.kind == YamlNode::Kind::kScalar) {
    out.push_back(SpottedText{node.text, node.spot});
    return out;
  }
  if (node.kind != YamlNode::Kind::kSequence) {
    source.Error(node.spot,
                 Cat(what, " must be a value or a list of values, not ", YamlKindName(node.kind)));
    return out;
  }
  if (node.children.empty()) {
    source.Error(
        node.spot,
        Cat(what, " is an empty list, which could mean all or none; fill it or leave it out"));
  }
  for (const YamlNode& item : node.children) {
    if (const std::string* text = ScalarText(source, item, Cat("an item of ", what))) {
      out.push_back(SpottedText{*text, item.spot});
    }
  }
  return out;
}

int OneOf(const SourceText& source, const YamlNode& node, std::string_view what,
          const std::vector<std::string_view>& words) {
  const std::string* text = ScalarText(source, node, what);
  if (text == nullptr) return -1;
  const auto it = std::find(words.begin(), words.end(), *text);
  if (it != words.end()) return static_cast<int>(it - words.begin());
  source.Error(node.spot, Cat(what, " must be ", JoinAlternatives(words), ", not `",
                              text->substr(0, 80), "`"));
  return -1;
}

}  // namespace mseg
