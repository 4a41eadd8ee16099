// SPDX-License-Identifier: Apache-2.0
#include "daemon/record_json.h"

#include <set>

#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr int kMaxDepth = 6;
constexpr int64_t kLastUs = 253402300799999999;  // year 9999
constexpr std::string_view kHexDigits = "0123456789abcdef";

// Where a text stops being JSON.
class ErrorFinder : public nlohmann::json_sax<RecordJson> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    at = position;
    return false;
  }
  size_t at = 0;
};

absl::Status NotJson(std::string_view text, std::string_view file) {
  ErrorFinder finder;
  (void)RecordJson::sax_parse(text, &finder);
  const std::string_view before = text.substr(0, finder.at == 0 ? 0 : finder.at - 1);
  size_t line = 1, column = 1;
  for (const char c : before) {
    column = c == '\n' ? 1 : column + 1;
    line += c == '\n' ? 1 : 0;
  }
  return absl::InvalidArgumentError(Cat(file, ":", line, ":", column, ": error: not JSON"));
}

}  // namespace

absl::StatusOr<RecordJson> ParseRecordJson(std::string_view text, std::string_view file,
                                           size_t most) {
  if (text.size() > most) {
    return absl::InvalidArgumentError(
        Cat(file, ": error: ", text.size(), " bytes, at most ", most, " are accepted"));
  }
  std::vector<std::set<std::string>> seen;  // keys of the objects that are open
  std::string twice;
  bool deep = false;
  const auto look = [&](int depth, RecordJson::parse_event_t event, RecordJson& value) {
    deep = deep || depth > kMaxDepth;
    if (event == RecordJson::parse_event_t::object_start) seen.emplace_back();
    if (event == RecordJson::parse_event_t::object_end && !seen.empty()) seen.pop_back();
    if (event == RecordJson::parse_event_t::key && !seen.empty() &&
        !seen.back().insert(value.get<std::string>()).second) {
      twice = value.get<std::string>();
    }
    return !deep;
  };
  RecordJson tree = RecordJson::parse(text, look, /*allow_exceptions=*/false);
  if (deep) return absl::InvalidArgumentError(Cat(file, ": error: nested too deep"));
  if (tree.is_discarded()) return NotJson(text, file);
  if (!twice.empty()) {
    return absl::InvalidArgumentError(
        Cat(file, ": error: `", Printable(twice, 80), "` is given twice"));
  }
  return tree;
}

RecordFields::RecordFields(const RecordJson& node, std::string where, absl::Status* status)
    : node_(node), where_(std::move(where)), status_(status) {
  if (!node.is_object()) Fail("", "must be an object");
}

std::string RecordFields::Place(std::string_view name) const {
  if (name.empty()) return where_;
  return Cat(where_, where_.ends_with(": ") ? "" : ".", name);
}

void RecordFields::Fail(std::string_view name, std::string_view what) {
  if (status_->ok()) *status_ = absl::InvalidArgumentError(Cat(Place(name), " ", what));
}

const RecordJson* RecordFields::Take(std::string_view name) {
  if (!status_->ok()) return nullptr;
  const auto found = node_.find(std::string(name));
  if (found == node_.end()) {
    Fail(name, "is missing");
    return nullptr;
  }
  ++taken_;
  return &*found;
}

std::string RecordFields::Text(std::string_view name) {
  const RecordJson* value = Take(name);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  Fail(name, "must be a text");
  return "";
}

bool RecordFields::Flag(std::string_view name) {
  const RecordJson* value = Take(name);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, "must be true or false");
  return false;
}

uint64_t RecordFields::Number(std::string_view name, uint64_t most) {
  const RecordJson* value = Take(name);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned() && value->get<uint64_t>() <= most) return value->get<uint64_t>();
  Fail(name, Cat("must be a whole number up to ", most));
  return 0;
}

int64_t RecordFields::Time(std::string_view name) {
  const std::string text = Text(name);
  absl::Time time;
  std::string error;
  if (!status_->ok()) return 0;
  const bool read = absl::ParseTime(absl::RFC3339_full, text, &time, &error);
  const int64_t us = read ? absl::ToUnixMicros(time) : -1;
  if (us >= 0 && us <= kLastUs) return us;
  Fail(name, "must be a time such as 2026-01-02T03:04:05.000006Z");
  return 0;
}

uint64_t RecordFields::ShortId(std::string_view name) {
  const std::string text = Text(name);
  uint64_t id = 0;
  if (status_->ok() && !ParseShortId(text, &id)) Fail(name, "must be 12 hexadecimal digits");
  return id;
}

Digest RecordFields::FileDigest(std::string_view name) {
  const std::string text = Text(name);
  if (!status_->ok() || text.empty()) return {};  // empty: there is none
  const absl::StatusOr<Digest> digest = ParseDigest(text);
  if (digest.ok()) return *digest;
  Fail(name, std::string(digest.status().message()));
  return {};
}

void RecordFields::ReadHex(std::string_view name, uint8_t* to, size_t size) {
  const std::string text = Text(name);
  if (!status_->ok()) return;
  if (text.size() != 2 * size || text.find_first_not_of(kHexDigits) != text.npos) {
    return Fail(name, Cat("must be ", 2 * size, " hexadecimal digits in lower case"));
  }
  const std::string bytes = absl::HexStringToBytes(text);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(to));
}

LabelSet RecordFields::Labels(std::string_view name) {
  LabelSet labels;
  const RecordJson* value = Take(name);
  if (value == nullptr) return labels;
  if (!value->is_object()) {
    Fail(name, "must be an object");
    return labels;
  }
  for (const auto& [key, item] : value->items()) {
    absl::Status status = CheckLabelKey(key);
    if (status.ok() && !item.is_string()) status = absl::InvalidArgumentError("a value is a text");
    if (status.ok()) status = CheckLabelValue(item.get<std::string>());
    if (!status.ok()) {
      Fail(name, Cat("holds a bad label: ", ToStd(status.message())));
      return {};
    }
    labels.SetReserved(key, item.get<std::string>());  // `mseg/` too: another mseg gave these
  }
  return labels;
}

const RecordJson& RecordFields::List(std::string_view name, size_t most) {
  static const RecordJson nothing = RecordJson::array();
  const RecordJson* value = Take(name);
  if (value == nullptr) return nothing;
  if (value->is_array() && value->size() <= most) return *value;
  Fail(name, Cat("must be a list of at most ", most, " items"));
  return nothing;
}

std::vector<std::string> RecordFields::Texts(std::string_view name, size_t most) {
  std::vector<std::string> texts;
  for (const RecordJson& item : List(name, most)) {
    if (!item.is_string()) {
      Fail(name, "must hold texts");
      return {};
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

// A field that nobody reads is under no signature.
void RecordFields::Finish() {
  if (status_->ok() && node_.size() != taken_) {
    *status_ = absl::InvalidArgumentError(Cat(Place(""), where_.ends_with(": ") ? "" : " ",
                                              "holds a field that this version does not know"));
  }
}

bool ParseShortId(std::string_view text, uint64_t* id) {
  if (text.size() != 12 || text.find_first_not_of(kHexDigits) != text.npos) return false;
  *id = 0;
  for (const char c : text) *id = *id << 4 | kHexDigits.find(c);
  return true;
}

std::string ShortIdText(uint64_t id) {
  std::string text;
  for (int shift = 44; shift >= 0; shift -= 4) text.push_back(kHexDigits[(id >> shift) & 15]);
  return text;
}

std::string HexText(const uint8_t* bytes, size_t size) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), size));
}

std::string RecordTimeText(int64_t us) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::FromUnixMicros(us), absl::UTCTimeZone());
}

RecordJson LabelsJson(const LabelSet& labels) {
  RecordJson tree = RecordJson::object();
  for (const auto& [key, value] : labels.values()) tree[key] = value;
  return tree;
}

std::string RecordText(const RecordJson& tree) {
  return tree.dump(2, ' ', false, RecordJson::error_handler_t::replace) + "\n";
}

}  // namespace mseg
