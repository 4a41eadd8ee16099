// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>

#include "labels/document_parser.h"
#include "labels/field_reader.h"
#include "labels/glob.h"
#include "labels/text.h"

namespace mseg {
namespace {

void ParseExpression(const SourceText& source, const YamlNode& node,
                     std::vector<LabelRequirement>* out) {
  static const std::vector<std::string_view> kOperators = {"In", "NotIn", "Exists", "DoesNotExist"};
  FieldReader fields(source, node, "an item of `matchExpressions`");
  LabelRequirement requirement;
  requirement.spot = node.spot;
  if (const YamlNode* key = fields.TakeRequired("key")) {
    if (const std::string* text = ScalarText(source, *key, "`key`")) {
      requirement.key = *text;
      absl::Status status = CheckSelectorKey(*text);
      if (!status.ok()) source.Error(key->spot, std::string(status.message()));
    }
  }
  int op = -1;
  if (const YamlNode* word = fields.TakeRequired("operator")) {
    op = OneOf(source, *word, "`operator`", kOperators);
  }
  const YamlNode* values = fields.Take("values");
  fields.Finish();
  if (op < 0) return;
  requirement.op = static_cast<LabelRequirement::Operator>(op);
  const bool wants_values = op <= 1;
  if (wants_values && values == nullptr) {
    source.Error(node.spot, Cat("`", kOperators[static_cast<size_t>(op)], "` needs `values`"));
  } else if (!wants_values && values != nullptr) {
    source.Error(values->spot,
                 Cat("`", kOperators[static_cast<size_t>(op)], "` takes no `values`"));
  } else if (wants_values) {
    for (const SpottedText& value : TextList(source, *values, "`values`")) {
      absl::Status status = CheckLabelValue(value.value);
      if (!status.ok()) source.Error(value.spot, std::string(status.message()));
      requirement.values.push_back(value.value);
    }
  }
  std::sort(requirement.values.begin(), requirement.values.end());
  requirement.values.erase(std::unique(requirement.values.begin(), requirement.values.end()),
                           requirement.values.end());
  out->push_back(std::move(requirement));
}

void ParseExpressions(const SourceText& source, const YamlNode& node,
                      std::vector<LabelRequirement>* out) {
  if (node.kind != YamlNode::Kind::kSequence) {
    source.Error(node.spot,
                 Cat("`matchExpressions` must be a list, not ", YamlKindName(node.kind)));
    return;
  }
  for (const YamlNode& item : node.children) ParseExpression(source, item, out);
}

void ParseRequirements(const SourceText& source, const YamlNode& node,
                       std::vector<LabelRequirement>* out) {
  if (node.kind != YamlNode::Kind::kMap) {
    source.Error(node.spot, Cat("`labels` must be a map, not ", YamlKindName(node.kind)));
    return;
  }
  for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const YamlNode& key = node.children[i];
    const YamlNode& value = node.children[i + 1];
    if (key.kind != YamlNode::Kind::kScalar) continue;  // reported by the reader
    if (key.text == "matchExpressions" && value.kind == YamlNode::Kind::kSequence) {
      ParseExpressions(source, value, out);
      continue;
    }
    if (absl::Status status = CheckSelectorKey(key.text); !status.ok()) {
      source.Error(key.spot, std::string(status.message()));
    }
    if (value.kind == YamlNode::Kind::kNull) {
      source.Error(key.spot,
                   Cat("label `", key.text.substr(0, 63), "` has no value; to ask whether it ",
                       "is there, use `matchExpressions` with `Exists`"));
      continue;
    }
    if (value.kind != YamlNode::Kind::kScalar) {
      source.Error(value.spot,
                   Cat("label `", key.text.substr(0, 63), "` must be a single value; for ",
                       "several use `matchExpressions` with `In`"));
      continue;
    }
    if (absl::Status status = CheckLabelValue(value.text); !status.ok()) {
      source.Error(value.spot, std::string(status.message()));
    }
    out->push_back(LabelRequirement{.key = key.text,
                                    .op = LabelRequirement::Operator::kIn,
                                    .values = {value.text},
                                    .spot = key.spot});
  }
}

void ParseNames(const SourceText& source, const YamlNode& node, std::vector<SpottedText>* out) {
  for (SpottedText& name : TextList(source, node, "`name`")) {
    absl::Status status = CheckFileName(name.value);
    if (!status.ok()) source.Error(name.spot, std::string(status.message()));
    out->push_back(std::move(name));
  }
}

void ParsePin(const SourceText& source, const YamlNode& node, ProcessSelector* process) {
  if (process->names.empty() && process->exes.empty()) {
    source.Error(node.spot, "`pin` fixes what lies at a path: give `exe` or `name` beside it");
    return;
  }
  if (!process->digests.empty()) {
    source.Error(node.spot, "`pin` beside `digest`: the digest fixes the content already");
    return;
  }
  if (node.kind == YamlNode::Kind::kScalar && node.text == "true") {
    process->pin = node.spot;
    return;
  }
  process->pinned = true;
  for (const SpottedText& text : TextList(source, node, "`pin`")) {
    absl::StatusOr<Digest> digest = ParseDigest(text.value);
    if (digest.ok()) {
      process->digests.push_back({*digest, text.spot});
    } else {
      source.Error(text.spot, Cat("`pin` is true, or what that becomes when it is applied: ",
                                  digest.status().message()));
    }
  }
}

void ParseScripts(const SourceText& source, const YamlNode& node, ProcessSelector* process) {
  for (SpottedText& text : TextList(source, node, "`script`")) {
    if (text.value.starts_with("sha256:")) {
      absl::StatusOr<Digest> digest = ParseDigest(text.value);
      if (!digest.ok()) source.Error(text.spot, std::string(digest.status().message()));
      if (digest.ok()) process->script_digests.push_back({*digest, text.spot});
      continue;
    }
    absl::StatusOr<std::string> path = CheckPathPattern(text.value, "`script`");
    if (!path.ok()) source.Error(text.spot, std::string(path.status().message()));
    if (path.ok()) process->scripts.push_back({*std::move(path), text.spot});
  }
}

ProcessSelector ParseProcess(const SourceText& source, const YamlNode& node) {
  FieldReader fields(source, node, "`process`");
  ProcessSelector process;
  process.spot = node.spot;
  if (const YamlNode* names = fields.Take("name")) ParseNames(source, *names, &process.names);
  if (const YamlNode* exes = fields.Take("exe")) {
    process.exes = ParsePathPatterns(source, *exes, "`exe`");
  }
  if (const YamlNode* digests = fields.Take("digest")) {
    process.digests = ParseDigests(source, *digests);
  }
  if (const YamlNode* grade = fields.Take("grade")) {
    const int least = OneOf(source, *grade, "`grade`", {"path", "hash", "ima", "verity"});
    if (least >= 0) process.grade = static_cast<mseg_grade>(MSEG_GRADE_PATH + least);
  }
  if (const YamlNode* users = fields.Take("user")) process.users = ParseUsers(source, *users);
  if (const YamlNode* pin = fields.Take("pin")) ParsePin(source, *pin, &process);
  if (const YamlNode* scripts = fields.Take("script")) ParseScripts(source, *scripts, &process);
  fields.Finish();
  if (fields.usable() && node.children.empty()) {
    source.Error(node.spot, "`process` is empty; leave it out to accept any process");
  }
  return process;
}

}  // namespace

// mseg/host and its like would never match while nothing gives them: a rule that silently does
// nothing is worse than an error.
absl::Status CheckSelectorKey(std::string_view key) {
  if (absl::Status status = CheckLabelKey(key); !status.ok()) return status;
  if (key.starts_with("mseg/") && !IsGivenKey(key)) {
    return absl::InvalidArgumentError(Cat("the label `", key.substr(0, 63),
                                          "` is not supported yet; of the labels under ",
                                          "`mseg/` a selector can name `mseg/conflict` and ",
                                          "`mseg/kernel`"));
  }
  return absl::OkStatus();
}

absl::Status CheckFileName(std::string_view name) {
  if (!name.empty() && !Contains(name, '/') && name != "." && name != "..") {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(Cat("`name` is a file name without a path, not `",
                                        name.substr(0, 80), "`; for a path use `exe`"));
}

absl::StatusOr<std::string> CheckPathPattern(std::string_view path, std::string_view what) {
  absl::StatusOr<PathPattern> pattern = PathPattern::Parse(path);
  if (pattern.ok()) return pattern->text();
  return absl::InvalidArgumentError(
      Cat(what, " `", path.substr(0, 80), "`: ", pattern.status().message()));
}

std::vector<SpottedText> ParsePathPatterns(const SourceText& source, const YamlNode& node,
                                           std::string_view what) {
  std::vector<SpottedText> out;
  for (SpottedText& path : TextList(source, node, what)) {
    absl::StatusOr<std::string> pattern = CheckPathPattern(path.value, what);
    if (!pattern.ok()) {
      source.Error(path.spot, std::string(pattern.status().message()));
      continue;
    }
    path.value = *std::move(pattern);
    out.push_back(std::move(path));
  }
  return out;
}

std::vector<Spotted<Digest>> ParseDigests(const SourceText& source, const YamlNode& node) {
  std::vector<Spotted<Digest>> out;
  for (const SpottedText& text : TextList(source, node, "`digest`")) {
    absl::StatusOr<Digest> digest = ParseDigest(text.value);
    if (!digest.ok()) {
      source.Error(text.spot, std::string(digest.status().message()));
      continue;
    }
    out.push_back(Spotted<Digest>{*digest, text.spot});
  }
  return out;
}

std::vector<SpottedText> ParseUsers(const SourceText& source, const YamlNode& node) {
  std::vector<SpottedText> users = TextList(source, node, "`user`");
  for (const SpottedText& user : users) {
    const bool digits = user.value.find_first_not_of("0123456789") == std::string::npos;
    if (user.value.empty() || user.value.size() > 64 || (digits && !ParseDecimal(user.value)) ||
        user.value.find_first_of(" \t\n:/,;") != std::string::npos) {
      source.Error(user.spot,
                   Cat("`", user.value.substr(0, 80), "` is neither a user's name nor a user id"));
    }
  }
  return users;
}

std::vector<Spotted<Cidr>> ParseCidrs(const SourceText& source, const YamlNode& node,
                                      std::string_view what) {
  std::vector<Spotted<Cidr>> out;
  for (const SpottedText& text : TextList(source, node, what)) {
    absl::StatusOr<Cidr> cidr = ParseCidr(text.value.substr(0, 80));
    if (!cidr.ok()) {
      source.Error(text.spot, std::string(cidr.status().message()));
      continue;
    }
    out.push_back(Spotted<Cidr>{*cidr, text.spot});
  }
  return out;
}

Selector ParseSelector(const SourceText& source, const YamlNode& node, const std::string& what) {
  FieldReader fields(source, node, what);
  Selector selector;
  selector.spot = node.spot;
  if (const YamlNode* labels = fields.Take("labels")) {
    ParseRequirements(source, *labels, &selector.labels);
  }
  if (const YamlNode* expressions = fields.Take("matchExpressions")) {
    ParseExpressions(source, *expressions, &selector.labels);
  }
  if (const YamlNode* process = fields.Take("process")) {
    selector.process = ParseProcess(source, *process);
  }
  if (const YamlNode* cidrs = fields.Take("cidrs")) {
    selector.cidrs = ParseCidrs(source, *cidrs, "`cidrs`");
  }
  if (const YamlNode* except = fields.Take("except")) {
    selector.except = ParseCidrs(source, *except, "`except`");
    if (!fields.Has("cidrs")) {
      source.Error(fields.SpotOf("except"), "`except` needs `cidrs` beside it");
    }
  }
  if (const YamlNode* peers = fields.Take("peers")) {
    selector.all_peers = OneOf(source, *peers, "`peers`", {"unmanaged", "all"}) == 1;
    if (!fields.Has("cidrs")) {
      source.Error(fields.SpotOf("peers"), "`peers` needs `cidrs` beside it");
    }
  }
  fields.Finish();
  return selector;
}

}  // namespace mseg
