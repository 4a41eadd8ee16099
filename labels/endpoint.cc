// SPDX-License-Identifier: Apache-2.0
#include "labels/endpoint.h"

#include <netinet/in.h>

#include <utility>

#include "labels/glob.h"
#include "labels/icmp_types.h"
#include "labels/interpreters.h"
#include "labels/program.h"
#include "labels/text.h"

namespace mseg {
namespace {

absl::Status Invalid(std::string message) { return absl::InvalidArgumentError(message); }

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t at = text.find(separator);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

absl::Status AddLabels(std::string_view text, LabelSet* labels) {
  if (text.empty()) return absl::OkStatus();  // `labels:` is a process without labels
  for (std::string_view pair : Split(text, ',')) {
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      return Invalid(Cat("`", pair, "` is no label; write key=value"));
    }
    const std::string_view key = pair.substr(0, equals);
    if (labels->values().contains(key)) return Invalid(Cat("label `", key, "` is given twice"));
    if (IsGivenKey(key)) {
      labels->SetReserved(key, pair.substr(equals + 1));
      continue;
    }
    if (absl::Status status = labels->Set(key, pair.substr(equals + 1)); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status AddExe(std::string_view value, IdentityFacts* facts) {
  if (!value.starts_with('/')) return Invalid("`exe` must be an absolute path");
  facts->exe = IdentityFacts::Exe::kKnown;
  facts->executable.path = std::string(value);
  facts->executable.trusted_path = true;
  facts->executable.interpreter = IsInterpreterPath(value);
  return absl::OkStatus();
}

absl::Status AddScript(std::string_view value, IdentityFacts* facts) {
  ScriptInfo script;
  if (value.starts_with("sha256:")) {
    absl::StatusOr<Digest> digest = ParseDigest(value);
    if (!digest.ok()) return digest.status();
    script.digest = *digest;
  } else if (value.starts_with('/')) {
    script.path = std::string(value);
  } else {
    return Invalid("`script` must be an absolute path or sha256:HEX");
  }
  facts->exe = IdentityFacts::Exe::kKnown;
  facts->executable.script = std::move(script);
  return absl::OkStatus();
}

// One `name=value` behind the labels.
absl::Status AddOption(std::string_view name, std::string_view value, Endpoint* endpoint) {
  IdentityFacts& facts = endpoint->facts;
  if (name == "exe") return AddExe(value, &facts);
  if (name == "script") return AddScript(value, &facts);
  if (name == "digest") {
    absl::StatusOr<Digest> digest = ParseDigest(value);
    if (!digest.ok()) return digest.status();
    facts.exe = IdentityFacts::Exe::kKnown;
    facts.executable.digest = *digest;
    return absl::OkStatus();
  }
  if (name == "grade") {
    absl::StatusOr<mseg_grade> grade = ParseGrade(value);
    if (!grade.ok()) return grade.status();
    facts.executable.grade = *grade;
    facts.exe =
        *grade == MSEG_GRADE_UNKNOWN ? IdentityFacts::Exe::kUnknown : IdentityFacts::Exe::kKnown;
    return absl::OkStatus();
  }
  if (name == "user") {
    if (value.empty()) return Invalid("`user` is empty");
    facts.uid = ParseDecimal(value);
    if (!facts.uid) facts.user = std::string(value);
    return absl::OkStatus();
  }
  if (name == "ip") {
    absl::StatusOr<IpAddress> address = ParseIpAddress(value);
    if (!address.ok()) return address.status();
    endpoint->address = *address;
    facts.addresses = {*address};
    return absl::OkStatus();
  }
  return Invalid(Cat("`", name, "` is not one of exe, digest, script, grade, user, ip"));
}

absl::StatusOr<Endpoint> ParseLabelsEndpoint(std::string_view text) {
  Endpoint endpoint;
  endpoint.kind = Endpoint::Kind::kLabels;
  endpoint.facts.executable.grade = MSEG_GRADE_HASH;
  LabelSet labels;
  const std::vector<std::string_view> parts = Split(text, ';');
  if (absl::Status status = AddLabels(parts[0], &labels); !status.ok()) return status;
  endpoint.facts.labels = std::move(labels);
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t equals = parts[i].find('=');
    if (equals == std::string_view::npos) {
      return Invalid(Cat("`", parts[i], "` has no value; write name=value"));
    }
    absl::Status status =
        AddOption(parts[i].substr(0, equals), parts[i].substr(equals + 1), &endpoint);
    if (!status.ok()) return status;
  }
  const bool said_unknown = endpoint.facts.executable.grade == MSEG_GRADE_UNKNOWN;
  if (said_unknown) endpoint.facts.exe = IdentityFacts::Exe::kUnknown;
  return endpoint;
}

// An example of the path that a pattern stands for.
std::string ExampleOf(const SpottedText& pattern) {
  absl::StatusOr<PathPattern> parsed = PathPattern::Parse(pattern.value);
  return parsed.ok() ? parsed->Example() : pattern.value;
}

}  // namespace

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string_view rest =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  Endpoint endpoint;
  if (colon != std::string_view::npos && kind == "labels") return ParseLabelsEndpoint(rest);
  if (rest.empty()) {
    return Invalid(Cat("`", text.substr(0, 80),
                       "` is no endpoint; write workload:NAME, pod:NAMESPACE/NAME, labels:k=v,..., "
                       "file:PATH, pid:N or ip:ADDR"));
  }
  if (kind == "workload" || kind == "file") {
    endpoint.kind = kind == "file" ? Endpoint::Kind::kFile : Endpoint::Kind::kWorkload;
    endpoint.name = std::string(rest);
    return endpoint;
  }
  if (kind == "pid") {
    const std::optional<uint32_t> pid = ParseDecimal(rest);
    if (!pid || *pid == 0) return Invalid(Cat("`", rest.substr(0, 80), "` is no process id"));
    endpoint.kind = Endpoint::Kind::kPid;
    endpoint.pid = *pid;
    return endpoint;
  }
  if (kind == "ip") {
    absl::StatusOr<IpAddress> address = ParseIpAddress(rest);
    if (!address.ok()) return address.status();
    endpoint.kind = Endpoint::Kind::kIp;
    endpoint.address = *address;
    return endpoint;
  }
  if (kind == "pod") {
    const size_t slash = rest.find('/');
    if (slash == std::string_view::npos || slash == 0 || slash + 1 == rest.size()) {
      return Invalid(Cat("`", rest.substr(0, 80), "` is no pod; write pod:NAMESPACE/NAME"));
    }
    endpoint.kind = Endpoint::Kind::kWorkload;
    endpoint.name = PodWorkloadName(rest.substr(0, slash), rest.substr(slash + 1));
    return endpoint;
  }
  return Invalid(Cat("`", kind.substr(0, 80),
                     "` is no kind of endpoint; write workload, pod, labels, file, pid or ip"));
}

std::string PodWorkloadName(std::string_view name_space, std::string_view name) {
  return Cat("pod.", name_space, ".", name);
}

absl::StatusOr<IdentityFacts> WorkloadFacts(const PolicySet& policy, std::string_view name) {
  const Document* document = policy.Find(DocumentKind::kWorkload, name);
  if (document == nullptr) return absl::NotFoundError(Cat("no Workload is named `", name, "`"));
  const Workload& workload = std::get<Workload>(document->spec);
  const WorkloadMatch& match = workload.match;
  IdentityFacts facts;
  if (!match.MatchesProcesses()) {
    LabelSet labels = workload.labels;
    for (const auto& [port_name, port] : workload.ports) {
      labels.SetReserved(NamedPortLabel(port_name), Cat(port));
    }
    facts.labels = std::move(labels);
    facts.state = workload.state;
    for (const Spotted<Cidr>& address : match.addresses) {
      facts.addresses.push_back(address.value.address);
    }
    return facts;
  }
  facts.cgroup = match.cgroups.empty() ? "/" : ExampleOf(match.cgroups[0]);
  if (!match.exes.empty() || !match.digests.empty()) {
    facts.exe = IdentityFacts::Exe::kKnown;
    facts.executable.grade = MSEG_GRADE_HASH;
    if (!match.exes.empty()) {
      facts.executable.path = ExampleOf(match.exes[0]);
      facts.executable.trusted_path = true;
      facts.executable.interpreter = IsInterpreterPath(facts.executable.path);
    }
    if (!match.digests.empty()) facts.executable.digest = match.digests[0].value;
  }
  if (!match.users.empty()) {
    facts.uid = ParseDecimal(match.users[0].value);
    if (!facts.uid) facts.user = match.users[0].value;
  }
  return facts;
}

absl::StatusOr<ServicePort> ServicePortOf(std::string_view protocol, int64_t port) {
  if (const auto icmp = IcmpProtocol(protocol)) {
    if (port < 0 || port > MSEG_ICMP_TYPE_MAX) {
      return Invalid("a type of ICMP is a number from 1 to 255, or 0 for an echo request");
    }
    return ServicePort{.protocol = *icmp,
                       .port = port == 0 ? IcmpEchoRequest(*icmp) : static_cast<uint16_t>(port)};
  }
  ServicePort out;
  if (protocol == "tcp") {
    out.protocol = IPPROTO_TCP;
  } else if (protocol == "udp") {
    out.protocol = IPPROTO_UDP;
  } else if (protocol == "sctp") {
    out.protocol = IPPROTO_SCTP;
  } else {
    return Invalid(
        Cat("`", protocol.substr(0, 80), "` is not one of tcp, udp, sctp, icmp, icmpv6"));
  }
  if (port < 1 || port > 65535) return Invalid("a port is a number from 1 to 65535");
  out.port = static_cast<uint16_t>(port);
  return out;
}

absl::StatusOr<ServicePort> ParseServicePort(const PolicySet& policy, std::string_view text) {
  std::vector<PortRange> ranges;
  if (LooksLikePortItem(text)) {
    absl::StatusOr<std::vector<PortRange>> item = ParsePortItem(text);
    if (!item.ok()) return item.status();
    ranges = *std::move(item);
  } else if (const Document* service = policy.Find(DocumentKind::kService, text)) {
    ranges = std::get<Service>(service->spec).ports;
  } else {
    return absl::NotFoundError(Cat("no Service is named `", text.substr(0, 80),
                                   "`; name one, or write a port such as tcp/443"));
  }
  if (ranges.empty() || ranges[0].kind == PortRange::Kind::kAny) {
    return Invalid("a question is about one port; write for example tcp/443");
  }
  const PortRange& range = ranges[0];
  const bool whole = range.kind == PortRange::Kind::kProtocol;
  return ServicePort{.protocol = range.protocol,
                     .port = whole ? IcmpEchoRequest(range.protocol) : range.first};
}

}  // namespace mseg
