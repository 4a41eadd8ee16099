// SPDX-License-Identifier: Apache-2.0
#include "labels/sentence_parser.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "labels/document_parser.h"
#include "labels/policy_set.h"
#include "labels/sentence_lexer.h"
#include "labels/text.h"

namespace mseg {
namespace {

constexpr std::string_view kSuffix = ".mseg";
constexpr std::string_view kFieldKeys[] = {"loc", "env", "app", "role"};
constexpr std::string_view kFieldNames[] = {"位置", "环境", "业务", "角色"};
constexpr std::string_view kOf = "的";
constexpr std::string_view kAllow = "允许";
constexpr std::string_view kDeny = "拒绝";
constexpr std::string_view kAccess = "访问";
constexpr std::string_view kAnyoneChinese = "任何人";
constexpr std::string_view kAnyChinese = "任意";
constexpr std::string_view kPort = "端口";

bool IsKeyword(std::string_view word) {
  return word == kOf || word == kAllow || word == kDeny || word == kAccess;
}

// One line that holds a sentence. Functions that give nothing have reported why.
class SentenceParser {
 public:
  SentenceParser(const SourceText& source, int line_number, std::string_view line)
      : source_(source),
        line_number_(line_number),
        line_(line),
        tokens_(LexSentence(line, Token{}, Punctuation::kAll)),
        start_{line_number, tokens_.front().column} {}

  bool IsBlank() const { return tokens_.front().kind == Token::Kind::kEnd; }
  Spot start() const { return start_; }

  std::optional<Policy> Parse() {
    const bool verb = tokens_[0].text == "allow" || tokens_[0].text == "deny";
    if (verb && tokens_[1].kind != Token::Kind::kBar) return English();
    const bool chinese = std::any_of(tokens_.begin(), tokens_.end(), [](const Token& token) {
      return token.kind == Token::Kind::kBar || IsKeyword(token.text);
    });
    if (chinese) return Chinese();
    Expected("`allow`, `deny` or 位置 | 环境 | 业务 | 角色");
    return std::nullopt;
  }

 private:
  // ---- tokens ----

  Spot SpotOf(const Token& token) const { return Spot{line_number_, token.column}; }
  const Token& Peek() const { return tokens_[next_]; }
  bool AtWord(std::string_view word) const {
    return Peek().kind == Token::Kind::kWord && Peek().text == word;
  }
  Token Take() {
    const Token token = Peek();
    if (token.kind != Token::Kind::kEnd) ++next_;
    return token;
  }
  bool TakeIf(Token::Kind kind) {
    const bool is = Peek().kind == kind;
    if (is) Take();
    return is;
  }
  void Error(Spot spot, std::string message) const { source_.Error(spot, std::move(message)); }
  void Check(Spot spot, const absl::Status& status) const {
    if (!status.ok()) Error(spot, std::string(status.message()));
  }
  void Expected(std::string_view what, std::string_view hint = {}) const {
    const Token& token = Peek();
    std::string message = Cat("expected ", what);
    if (token.kind == Token::Kind::kEnd) {
      Append(&message, ", but the sentence ends here");
    } else {
      Append(&message, ", not `", token.text.substr(0, 80), "`");
    }
    Error(SpotOf(token), Cat(message, hint));
  }
  // A keyword that is glued to its neighbours is part of a value: both may hold the same
  // characters.
  void ExpectedKeyword(std::string_view what, std::string_view keyword) const {
    auto glued = [keyword](std::string_view text) {
      return text != keyword && text.find(keyword) != text.npos;
    };
    const bool hint = glued(Peek().text) || (next_ > 0 && glued(tokens_[next_ - 1].text));
    Expected(what, hint ? Cat("; put blanks around `", keyword, "`") : "");
  }
  bool TakeKeyword(std::string_view keyword, std::string_view what) {
    if (AtWord(keyword)) {
      Take();
      return true;
    }
    ExpectedKeyword(what, keyword);
    return false;
  }
  bool TakeEnd(std::string_view what) {
    if (Peek().kind == Token::Kind::kEnd) return true;
    Expected(what);
    return false;
  }

  // ---- parts of both languages ----

  void AddLabel(std::string_view key, std::string_view value, Spot key_spot, Spot value_spot,
                Selector* selector) const {
    Check(key_spot, CheckSelectorKey(key));
    Check(value_spot, CheckLabelValue(value));
    selector->labels.push_back(LabelRequirement{.key = std::string(key),
                                                .op = LabelRequirement::Operator::kIn,
                                                .values = {std::string(value)},
                                                .spot = key_spot});
  }

  // A file name, a path or a digest.
  void AddProcess(const Token& token, Selector* selector) const {
    const Spot spot = SpotOf(token);
    ProcessSelector process;
    process.spot = spot;
    std::string text(token.text);
    const std::string half = HalfWidth(text);
    if (half.starts_with("/") || half.starts_with("sha256:")) text = half;
    if (text.starts_with("sha256:")) {
      const absl::StatusOr<Digest> digest = ParseDigest(text);
      Check(spot, digest.status());
      if (digest.ok()) process.digests.push_back({*digest, spot});
    } else if (text.starts_with("/")) {
      absl::StatusOr<std::string> path = CheckPathPattern(text, "a process");
      Check(spot, path.status());
      if (path.ok()) process.exes.push_back({*std::move(path), spot});
    } else {
      Check(spot, CheckFileName(text));
      process.names.push_back({std::move(text), spot});
    }
    selector->process = std::move(process);
  }

  static std::string PortText(const Token& token) {
    std::string text = HalfWidth(token.text);
    if (text.ends_with(kPort)) text.resize(text.size() - kPort.size());
    std::replace(text.begin(), text.end(), '~', '-');
    absl::AsciiStrToLower(&text);
    return text == kAnyChinese ? "any" : text;
  }

  void AddPorts(Spot spot, std::string_view text, ServiceItem* item) const {
    absl::StatusOr<std::vector<PortRange>> ports = ParsePortItem(text);
    Check(spot, ports.status());
    if (ports.ok()) item->ports.insert(item->ports.end(), ports->begin(), ports->end());
  }

  void RefuseProtocol(const Token& token) const {
    Check(SpotOf(token), ParsePortItem(PortText(token)).status());
  }

  // What stands in the bracket: `tcp/80,443 udp/53`, a protocol before each port or for all that
  // follow.
  bool TakeBracket(ServiceItem* item) {
    std::string protocol;          // of ports that stand alone
    std::optional<Token> no_port;  // a protocol that no port has followed yet
    bool empty = true;
    while (!TakeIf(Token::Kind::kClose)) {
      if (TakeIf(Token::Kind::kComma)) continue;
      if (Peek().kind != Token::Kind::kWord) {
        Expected("a port such as tcp/3306, or `)`");
        return false;
      }
      const Token token = Take();
      const std::string text = PortText(token);
      if (text.empty()) continue;  // 端口 by itself
      empty = false;
      const bool bare = absl::ascii_isdigit(static_cast<unsigned char>(text[0]));
      if (no_port && !bare) RefuseProtocol(*no_port);
      no_port.reset();
      if (text == "tcp" || text == "udp" || text == "sctp") {
        protocol = text;
        no_port = token;
        continue;
      }
      const size_t slash = text.find('/');
      if (slash != std::string::npos) protocol = text.substr(0, slash);
      if (bare && protocol.empty()) {
        Error(SpotOf(token), Cat("`", text, "` needs a protocol; write tcp/", text));
        continue;
      }
      AddPorts(SpotOf(token), bare ? Cat(protocol, "/", text) : text, item);
    }
    if (no_port) RefuseProtocol(*no_port);
    if (empty) Error(SpotOf(tokens_[next_ - 1]), "expected a port such as tcp/3306");
    return true;
  }

  // `mysql`, `MySQL(tcp/3306)`, `tcp/3306`, `tcp/http`, `any`.
  std::optional<ServiceItem> TakeService() {
    if (Peek().kind != Token::Kind::kWord || IsKeyword(Peek().text)) {
      Expected("the name of a service");
      return std::nullopt;
    }
    const Token token = Take();
    ServiceItem item;
    item.spot = SpotOf(token);
    const std::string text = PortText(token);
    if (Peek().kind == Token::Kind::kOpen) {
      Check(item.spot, CheckName(token.text));
      item.described_as = std::string(token.text);
      Take();
      if (!TakeBracket(&item)) return std::nullopt;
    } else if (std::optional<PortName> named = ParsePortName(text)) {
      item.named = *std::move(named);
    } else if (LooksLikePortItem(text)) {
      AddPorts(item.spot, text, &item);
    } else {
      Check(item.spot, CheckName(token.text));
      item.service = std::string(token.text);
    }
    return item;
  }

  bool TakeServices(Rule* rule) {
    do {
      std::optional<ServiceItem> item = TakeService();
      if (!item) return false;
      rule->services.push_back(*std::move(item));
    } while (TakeIf(Token::Kind::kComma));
    return true;
  }

  // The policy that the sentence is: its rule, and that its provider denies what no rule allows.
  Policy PolicyOf(Rule rule, Selector from, Selector to) const {
    Policy policy;
    policy.state = State::kEnforce;
    policy.ingress = true;
    policy.egress = false;
    policy.selects.emplace();
    policy.selects->labels = to.labels;
    policy.selects->spot = to.spot;
    rule.name = "#1";
    rule.spot = start();
    rule.at = RuleAt::kBoth;
    if (!from.MatchesAnyone()) rule.from = std::move(from);
    if (!to.MatchesAnyone()) rule.to = std::move(to);
    policy.rules.push_back(std::move(rule));
    return policy;
  }

  // ---- English: allow|deny FROM to TO service SERVICES ----

  void AddTerm(const Token& token, std::set<std::string_view>* keys, Selector* selector) const {
    const size_t equals = token.text.find('=');
    const std::string_view key = token.text.substr(0, equals);
    const std::string_view value = token.text.substr(equals + 1);
    const Spot spot = SpotOf(token);
    const int before = static_cast<int>(CountCharacters(token.text.substr(0, equals + 1)));
    if (!keys->insert(key).second) Error(spot, Cat("`", key.substr(0, 63), "` is given twice"));
    if (value == "*") {
      Error(spot, Cat("leave `", key.substr(0, 63), "` out to match any value"));
      return;
    }
    AddLabel(key, value, spot, Spot{spot.line, spot.column + before}, selector);
  }

  // The labels and the process of one end, up to the word behind them.
  std::optional<Selector> TakeEnglishEnd(std::string_view until) {
    const std::string what = Cat("key=value, `process`, `anyone` or `", until, "`");
    Selector selector;
    selector.spot = SpotOf(Peek());
    std::set<std::string_view> keys;
    bool anyone = false;
    while (!AtWord(until)) {
      const Token token = Peek();
      const bool anyone_here = token.text == "anyone" || token.text == "*";
      if (token.text == "process") {
        Take();
        if (selector.process) Error(SpotOf(token), "`process` is given twice");
        if (Peek().kind != Token::Kind::kWord) {
          Expected("a file name, a path or a digest behind `process`");
          return std::nullopt;
        }
        AddProcess(Take(), &selector);
      } else if (anyone_here && keys.empty() && !anyone) {
        anyone = true;
        Take();
      } else if (Contains(token.text, '=') && !anyone) {
        AddTerm(Take(), &keys, &selector);
      } else {
        Expected(anyone ? Cat("`process` or `", until, "` behind `anyone`") : what);
        return std::nullopt;
      }
    }
    if (keys.empty() && !anyone && !selector.process) {
      Expected("key=value, `process` or `anyone`");
      return std::nullopt;
    }
    return selector;
  }

  std::optional<Policy> English() {
    // Punctuation may be part of a path or a value until services are listed.
    tokens_ = LexSentence(line_, Token{}, Punctuation::kNone);
    Rule rule;
    rule.verdict = Take().text == "allow" ? MSEG_ALLOW : MSEG_DENY;
    if (AtWord("from")) Take();
    std::optional<Selector> from = TakeEnglishEnd("to");
    if (!from || !TakeKeyword("to", "`to`")) return std::nullopt;
    std::optional<Selector> to = TakeEnglishEnd("service");
    if (!to || !TakeKeyword("service", "`service`")) return std::nullopt;
    tokens_ = LexSentence(line_, Peek(), Punctuation::kAll);
    next_ = 0;
    if (!TakeServices(&rule) || !TakeEnd("the end of the sentence, `(` or `,`")) {
      return std::nullopt;
    }
    return PolicyOf(std::move(rule), *std::move(from), *std::move(to));
  }

  // ---- Chinese: FIELDS 的 [PROCESS 的] SERVICES 允许|拒绝 FIELDS [的 PROCESS] 访问 ----

  bool AtFieldValue() const { return Peek().kind == Token::Kind::kWord && !IsKeyword(Peek().text); }

  // 位置 | 环境 | 业务 | 角色, or 任何人.
  std::optional<Selector> TakeFields() {
    Selector selector;
    selector.spot = SpotOf(Peek());
    if (AtWord(kAnyoneChinese) && tokens_[next_ + 1].kind != Token::Kind::kBar) {
      Take();
      return selector;
    }
    for (size_t i = 0; i < std::size(kFieldKeys); ++i) {
      if (i > 0 && !TakeIf(Token::Kind::kBar)) {
        Expected(Cat("`|` and ", kFieldNames[i],
                     " (the fields are 位置 | 环境 | 业务 | 角色; `*` or nothing matches any)"));
        return std::nullopt;
      }
      if (!AtFieldValue()) continue;
      const Token token = Take();
      if (token.text == "*" || HalfWidth(token.text) == "*") continue;
      AddLabel(kFieldKeys[i], token.text, SpotOf(token), SpotOf(token), &selector);
    }
    return selector;
  }

  bool TakeVerdict(Rule* rule) {
    if (AtWord(kAllow) || AtWord(kDeny)) {
      rule->verdict = Take().text == kAllow ? MSEG_ALLOW : MSEG_DENY;
      return true;
    }
    ExpectedKeyword("`允许` or `拒绝`", kAllow);
    return false;
  }

  std::optional<Policy> Chinese() {
    Rule rule;
    std::optional<Selector> to = TakeFields();
    if (!to || !TakeKeyword(kOf, "`的`")) return std::nullopt;
    if (AtFieldValue() && tokens_[next_ + 1].text == kOf) {
      AddProcess(Take(), &*to);
      Take();
    }
    if (!TakeServices(&rule) || !TakeVerdict(&rule)) return std::nullopt;
    std::optional<Selector> from = TakeFields();
    if (!from) return std::nullopt;
    if (AtWord(kOf)) {
      Take();
      if (!AtFieldValue()) {
        Expected("a file name, a path or a digest behind `的`");
        return std::nullopt;
      }
      AddProcess(Take(), &*from);
    }
    if (!TakeKeyword(kAccess, from->process ? "`访问`" : "`访问`, or `的` and a process")) {
      return std::nullopt;
    }
    TakeIf(Token::Kind::kStop);
    if (!TakeEnd("the end of the sentence")) return std::nullopt;
    return PolicyOf(std::move(rule), *std::move(from), *std::move(to));
  }

  const SourceText& source_;
  int line_number_;
  std::string_view line_;
  std::vector<Token> tokens_;
  Spot start_;
  size_t next_ = 0;
};

// ---- names ----

void AppendPart(std::string* out, char tag, std::string_view text) {
  *out += tag;
  *out += text;
  *out += '\x1f';  // no checked text holds it
}

std::string SelectorText(const std::optional<Selector>& selector) {
  std::string out;
  if (!selector) return out;
  std::set<std::string> items;
  for (const LabelRequirement& label : selector->labels) {
    for (const std::string& value : label.values) items.insert(Cat("l", label.key, "=", value));
  }
  if (const auto& process = selector->process) {
    for (const SpottedText& name : process->names) items.insert(Cat("n", name.value));
    for (const SpottedText& exe : process->exes) items.insert(Cat("e", exe.value));
    for (const auto& digest : process->digests) items.insert(Cat("d", DigestText(digest.value)));
  }
  for (const std::string& item : items) AppendPart(&out, ' ', item);
  return out;
}

// All that a sentence's rule says, in one spelling. Names of stored policies follow from it: it
// must not change.
std::string RuleText(const Rule& rule) {
  std::string out = rule.verdict == MSEG_ALLOW ? "allow" : "deny";
  AppendPart(&out, 'f', SelectorText(rule.from));
  AppendPart(&out, 't', SelectorText(rule.to));
  std::set<std::string> services;
  for (const ServiceItem& item : rule.services) {
    if (!item.service.empty()) services.insert(Cat("s", item.service));
    if (item.named) services.insert(Cat("n", PortNameText(*item.named)));
    for (const PortRange& range : item.ports) {
      services.insert(Cat("p", static_cast<int>(range.kind), "/", range.protocol, "/", range.first,
                          "-", range.last));
    }
  }
  for (const std::string& service : services) AppendPart(&out, ' ', service);
  return out;
}

bool IsSentence(const Document& document) {
  return document.kind == DocumentKind::kPolicy && IsSentenceFile(document.file);
}

const Document& Plain(const Document& document) { return document; }
const Document& Plain(const DocumentRef& document) { return *document; }

template <typename T>
void DropRepeated(std::vector<T>* documents) {
  std::set<std::pair<std::string, std::string>> seen;
  std::erase_if(*documents, [&seen](const T& item) {
    const Document& document = Plain(item);
    if (!IsSentence(document)) return false;
    const Rule& rule = std::get<Policy>(document.spec).rules.front();
    return !seen.emplace(document.name, RuleText(rule)).second;
  });
}

}  // namespace

bool IsSentenceFile(std::string_view file) { return file.ends_with(kSuffix); }

std::string SentenceName(const Policy& policy) {
  const Rule& rule = policy.rules.front();
  const std::string text = RuleText(rule);
  std::array<uint8_t, crypto_generichash_blake2b_BYTES_MIN> hash{};
  // Cannot fail: all sizes are constants within BLAKE2b's limits.
  (void)crypto_generichash_blake2b(hash.data(), hash.size(),
                                   reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                                   nullptr, 0);
  const absl::string_view shortened(reinterpret_cast<const char*>(hash.data()), 6);
  return Cat(rule.verdict == MSEG_ALLOW ? "allow-" : "deny-", absl::BytesToHexString(shortened));
}

std::vector<Document> ParseSentences(const SourceText& source) {
  std::vector<Document> out;
  std::string_view rest = source.text();
  for (int number = source.first_line(); !rest.empty(); ++number) {
    const size_t break_at = rest.find('\n');
    std::string_view line = rest.substr(0, break_at);
    rest.remove_prefix(break_at == std::string_view::npos ? rest.size() : break_at + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > kMaxSentenceBytes) {
      source.Error(Spot{number, 1}, Cat("a sentence has at most ", kMaxSentenceBytes, " bytes"));
      continue;
    }
    SentenceParser parser(source, number, line);
    if (parser.IsBlank()) continue;
    std::optional<Policy> policy = parser.Parse();
    if (!policy) continue;
    if (out.size() == kMaxDocuments) {
      source.Error(parser.start(), Cat("more than ", kMaxDocuments, " sentences"));
      break;
    }
    Document document;
    document.kind = DocumentKind::kPolicy;
    document.name = SentenceName(*policy);
    document.file = source.file();
    document.name_spot = parser.start();
    document.text = std::string(line);
    document.first_line = number;
    document.spec = *std::move(policy);
    out.push_back(std::move(document));
  }
  DropRepeated(&out);
  return out;
}

void DropRepeatedSentences(std::vector<DocumentRef>* documents) { DropRepeated(documents); }

}  // namespace mseg
