// SPDX-License-Identifier: Apache-2.0
#include "labels/allow_document.h"

#include <netinet/in.h>

#include <algorithm>
#include <string_view>

#include "labels/glob.h"
#include "labels/icmp_types.h"
#include "labels/text.h"

namespace mseg {
namespace {

bool IsPlain(std::string_view text) {
  const bool harmless = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c == '.' || c == '/' || c == '-' || c >= 0x80;
  });
  return harmless && !text.empty() && text[0] != '-' && text[0] != '.' && text != "null" &&
         text != "Null" && text != "NULL";
}

// As a scalar inside `{}`. The caller has made sure that it is UTF-8 without control characters.
std::string Scalar(std::string_view text) {
  if (IsPlain(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

// A path as a pattern that matches it alone; nothing if it cannot be written.
std::optional<std::string> Literal(std::string_view path) {
  if (FindInvalidUtf8(path) != path.npos) return std::nullopt;
  std::string pattern;
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return std::nullopt;
    if (c == '*' || c == '?' || c == '[' || c == '\\') pattern += '\\';
    pattern += c;
  }
  if (!PathPattern::Parse(pattern).ok()) return std::nullopt;
  return pattern;
}

std::string ProcessText(const ExecutableInfo& executable) {
  std::string text = Cat("digest: ", Scalar(DigestText(executable.digest)));
  if (executable.trusted_path) {
    if (const auto pattern = Literal(executable.path)) text = Cat("exe: ", Scalar(*pattern));
  }
  if (!executable.script) return text;
  const auto pattern = Literal(executable.script->path);
  return Cat(text, ", script: ", Scalar(pattern.value_or(DigestText(executable.script->digest))));
}

absl::StatusOr<std::string> SelectorText(const AllowEnd& end, std::string_view what) {
  if (!end.managed) return Cat("{cidrs: [", Scalar(IpAddressText(end.address)), "]}");
  if (!end.executable.has_value()) {
    return absl::FailedPreconditionError(
        Cat("the executable of the ", what, " is not known, so no rule can name it"));
  }
  std::string labels;
  for (const auto& [key, value] : end.labels.values()) {
    if (key.starts_with("mseg/")) continue;  // given by mseg, not by a document
    Append(&labels, labels.empty() ? "" : ", ", Scalar(key), ": ", Scalar(value));
  }
  return Cat("{", labels.empty() ? std::string() : Cat("labels: {", labels, "}, "), "process: {",
             ProcessText(*end.executable), "}}");
}

absl::StatusOr<std::string> ServiceText(uint8_t protocol, uint16_t port) {
  switch (protocol) {
    case IPPROTO_TCP:
      return Cat("tcp/", port);
    case IPPROTO_UDP:
      return Cat("udp/", port);
    case IPPROTO_SCTP:
      return Cat("sctp/", port);
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return port == 0 ? std::string("icmp") : IcmpTypesText(protocol, port, port);
    default:
      return absl::FailedPreconditionError(Cat("no service stands for protocol ", protocol));
  }
}

// FNV-1a: only so that different rules have different names.
uint32_t Fingerprint(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace

absl::StatusOr<std::string> AllowDocument(const AllowEnd& from, const AllowEnd& to,
                                          uint8_t protocol, uint16_t port) {
  const auto source = SelectorText(from, "client");
  if (!source.ok()) return source.status();
  const auto target = SelectorText(to, "server");
  if (!target.ok()) return target.status();
  const auto service = ServiceText(protocol, port);
  if (!service.ok()) return service.status();
  std::string label = *service;
  std::replace(label.begin(), label.end(), '/', '-');
  const std::string rule = Cat("  - verdict: allow\n    from: ", *source, "\n    to: ", *target,
                               "\n    services: [", *service, "]\n");
  const std::string name =
      Cat("allow-", label, "-", absl::StrCat(absl::Hex(Fingerprint(rule), absl::kZeroPad8)));
  return Cat("apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: ", name,
             "}\nspec:\n  rules:\n", rule);
}

}  // namespace mseg
