// SPDX-License-Identifier: Apache-2.0
#include "labels/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstddef>
#include <istream>
#include <streambuf>
#include <unordered_map>
#include <utility>

#include "labels/text.h"

namespace mseg {
namespace {

// Leaves yaml-cpp from inside a callback or a read; caught in ReadYaml and nowhere else.
struct StopReading {
  Spot spot;
  std::string message;
};

// The text as a stream, without a copy, that ends the reading when too much was read ahead.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) : text_(text) {}

  // The reader has come so far.
  void Seen(Spot spot) {
    seen_ = spot;
    ahead_ = 0;
  }

 protected:
  int_type underflow() override {
    if (next_ == text_.size()) return traits_type::eof();
    const std::string_view piece = text_.substr(next_, kPiece);
    CountAhead(piece);
    next_ += piece.size();
    char* begin = const_cast<char*>(piece.data());  // only read: this buffer has no put area
    setg(begin, begin, begin + piece.size());
    return traits_type::to_int_type(*begin);
  }

 private:
  static constexpr size_t kPiece = 4096;

  void CountAhead(std::string_view piece) {
    char before = ' ';
    for (const char c : piece) {
      const bool sign = Contains("[]{},:", c);
      const bool begins = Contains(" \t\r\n", before) && !Contains(" \t\r\n", c);
      ahead_ += sign || begins ? 1 : 0;
      before = c;
    }
    if (ahead_ <= kMaxYamlAhead) return;
    throw StopReading{
        seen_,
        "what begins here is too large to be read in one piece; write a large `{...}` or "
        "`[...]` as a block, an entry a line"};
  }

  std::string_view text_;
  size_t next_ = 0;
  size_t ahead_ = 0;
  Spot seen_;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const SourceText& source, ViewBuffer* buffer) : source_(source), buffer_(buffer) {
    buffer_->Seen(Spot{source.first_line(), 1});
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    // A chunk holds one document. yaml-cpp 0.7 also begins documents without end, and without
    // moving on, where something stands behind the first one.
    if (++documents_ > 1) {
      throw StopReading{SpotOf(mark), "this belongs to no document; is a `---` line missing?"};
    }
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Add(YamlNode{.kind = YamlNode::Kind::kNull, .spot = SpotOf(mark), .text = {}, .children = {}});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(SpotOf(mark), "aliases (`*name`) are not supported; write the value out");
    Add(YamlNode{.kind = YamlNode::Kind::kNull, .spot = SpotOf(mark), .text = {}, .children = {}});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    CheckTag(mark, tag, "tag:yaml.org,2002:str");
    Add(YamlNode{
        .kind = YamlNode::Kind::kScalar, .spot = SpotOf(mark), .text = value, .children = {}});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    CheckTag(mark, tag, "tag:yaml.org,2002:seq");
    Open(YamlNode::Kind::kSequence, mark, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    CheckTag(mark, tag, "tag:yaml.org,2002:map");
    Open(YamlNode::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override {
    CheckKeys(open_.back());
    Close();
  }

  bool refused() const { return refused_; }
  bool has_root() const { return has_root_; }
  YamlNode TakeRoot() { return std::move(root_); }

 private:
  // Marks come in rising order but for the odd step back. Counting on from the last one keeps a
  // document that is one long line from taking quadratic time.
  Spot SpotOf(const YAML::Mark& mark) {
    const int line = source_.first_line() + mark.line;
    if (line != counted_.line || mark.column < counted_bytes_) {
      counted_ = Spot{line, 1};
      counted_bytes_ = 0;
    }
    counted_.column += source_.CountCharactersIn(line, counted_bytes_, mark.column);
    counted_bytes_ = mark.column;
    buffer_->Seen(counted_);
    return counted_;
  }
  void Refuse(Spot spot, std::string message) {
    refused_ = true;
    source_.Error(spot, std::move(message));
  }
  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) {
      Refuse(SpotOf(mark), "anchors (`&name`) are not supported; write the value out");
    }
  }
  void CheckTag(const YAML::Mark& mark, const std::string& tag, std::string_view accepted) {
    if (tag.empty() || tag == "?" || tag == "!" || tag == accepted) return;
    Refuse(SpotOf(mark), Cat("the tag `", tag.substr(0, 80), "` is not supported"));
  }
  void Open(YamlNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    RefuseAnchor(mark, anchor);
    if (open_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      throw StopReading{SpotOf(mark), Cat("nested more than ", kMaxYamlDepth, " levels deep")};
    }
    open_.push_back(YamlNode{.kind = kind, .spot = SpotOf(mark), .text = {}, .children = {}});
  }
  void Close() {
    YamlNode node = std::move(open_.back());
    open_.pop_back();
    Add(std::move(node));
  }
  void Add(YamlNode node) {
    if (++nodes_ > kMaxYamlNodes) {
      throw StopReading{node.spot, Cat("more than ", kMaxYamlNodes, " values in one document")};
    }
    if (open_.empty()) {
      has_root_ = node.kind != YamlNode::Kind::kNull;
      root_ = std::move(node);
      return;
    }
    open_.back().children.push_back(std::move(node));
  }
  void CheckKeys(const YamlNode& map) {
    std::unordered_map<std::string_view, Spot> seen;
    for (size_t i = 0; i + 1 < map.children.size(); i += 2) {
      const YamlNode& key = map.children[i];
      if (key.kind != YamlNode::Kind::kScalar) {
        Refuse(key.spot, Cat("a key must be a word, not ", YamlKindName(key.kind)));
        continue;
      }
      const auto [first, added] = seen.emplace(key.text, key.spot);
      if (added) continue;
      Refuse(key.spot, Cat("`", key.text.substr(0, 80), "` is given twice; first in line ",
                           first->second.line, ", column ", first->second.column));
    }
  }

  const SourceText& source_;
  ViewBuffer* buffer_;
  std::vector<YamlNode> open_;
  YamlNode root_;
  Spot counted_;  // of the byte counted_bytes_ in its line
  int counted_bytes_ = 0;
  size_t nodes_ = 0;
  int documents_ = 0;
  bool has_root_ = false;
  bool refused_ = false;
};

// `---` or `...` alone or before a blank, in the first column: always a marker in YAML, even inside
// what would be a scalar.
bool IsMarker(std::string_view line, std::string_view marker) {
  if (!line.starts_with(marker)) return false;
  return line.size() == marker.size() || line[marker.size()] == ' ' ||
         line[marker.size()] == '\t' || line[marker.size()] == '\r';
}

// Whether a line has nothing but blanks and perhaps a comment.
bool IsBlank(std::string_view line, bool comments) {
  const size_t first = line.find_first_not_of(" \t\r");
  return first == std::string_view::npos || (comments && line[first] == '#');
}

}  // namespace

std::string_view YamlKindName(YamlNode::Kind kind) {
  switch (kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return "a single value";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
  }
  return "";
}

absl::Status CheckYamlText(std::string_view file, std::string_view text, int first_line,
                           Diagnostics* diagnostics) {
  auto refuse = [&](int line, int column, std::string message) {
    diagnostics->push_back(Diagnostic{
        .place = {std::string(file), line, column}, .message = message, .source_line = {}});
    return absl::InvalidArgumentError(message);
  };
  if (text.size() > kMaxYamlBytes) {
    return refuse(first_line, 1, Cat("larger than ", kMaxYamlBytes >> 20, " MiB"));
  }
  const size_t bad = FindInvalidUtf8(text);
  if (bad == std::string_view::npos) return absl::OkStatus();
  const std::string_view before = text.substr(0, bad);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  const int line = first_line + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  const int column = 1 + static_cast<int>(CountCharacters(before.substr(line_start)));
  return refuse(line, column, text[bad] == '\0' ? "a NUL byte" : "not UTF-8");
}

std::vector<YamlChunk> SplitYaml(std::string_view text, int first_line) {
  std::vector<YamlChunk> chunks;
  size_t begin = 0;
  int begin_line = first_line;
  bool blank = true;  // nothing but blank lines since `begin`
  auto finish = [&](size_t end) {
    if (!blank) chunks.push_back(YamlChunk{text.substr(begin, end - begin), begin_line});
    blank = true;
  };
  int line_number = first_line;
  for (size_t at = 0; at < text.size(); ++line_number) {
    const size_t break_at = text.find('\n', at);
    const size_t next = break_at == std::string_view::npos ? text.size() : break_at + 1;
    const std::string_view line = text.substr(at, std::min(break_at, text.size()) - at);
    // Where files were put together one stands in front of a document, as no part of it.
    const std::string_view unmarked = WithoutByteOrderMark(line);
    const size_t first = at + line.size() - unmarked.size();
    if (IsMarker(unmarked, "---") || IsMarker(unmarked, "...")) {
      finish(at);
      // A document may begin in the marker's line; a bare marker is no part of it.
      const bool bare = IsBlank(unmarked.substr(3), /*comments=*/true);
      blank = bare;
      begin = bare ? next : first;
      begin_line = line_number + (bare ? 1 : 0);
    } else if (blank) {
      blank = IsBlank(unmarked, /*comments=*/false);
      begin = blank ? next : first;
      begin_line = line_number + (blank ? 1 : 0);
    }
    at = next;
  }
  finish(text.size());
  return chunks;
}

absl::StatusOr<std::optional<YamlNode>> ReadYaml(const SourceText& source) {
  ViewBuffer buffer(source.text());
  TreeBuilder builder(source, &buffer);
  try {
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const StopReading& stop) {
    source.Error(stop.spot, stop.message);
    return absl::InvalidArgumentError(stop.message);
  } catch (const YAML::Exception& error) {
    const int line = source.first_line() + std::max(error.mark.line, 0);
    source.Error(source.SpotOfByte(line, error.mark.column), Cat("not YAML: ", error.msg));
    return absl::InvalidArgumentError(error.msg);
  } catch (const std::exception& error) {
    source.Error(Spot{source.first_line(), 1}, Cat("cannot be read: ", error.what()));
    return absl::InvalidArgumentError(error.what());
  }
  if (builder.refused()) return absl::InvalidArgumentError("refused");
  if (!builder.has_root()) return std::optional<YamlNode>();
  return std::optional<YamlNode>(builder.TakeRoot());
}

}  // namespace mseg
