// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy_random.h"

#include <netinet/in.h>

#include <stdexcept>

namespace mseg::testing {
namespace {

const std::vector<std::string>& Keys() {
  static const std::vector<std::string> keys = {"app", "env", "role"};
  return keys;
}
// As YAML: the empty value is written so.
constexpr std::string_view kEmptyValue = "\"\"";
const std::vector<std::string>& Values() {
  static const std::vector<std::string> values = {"a", "b", std::string(kEmptyValue)};
  return values;
}
const std::vector<std::string>& CgroupPatterns() {
  static const std::vector<std::string> patterns = {
      "/", "/a", "/a/b", "/a/*", "/*/b", "/a/b/c", "/**/c", "/d", "/[ad]", "/d/e", "/a/b/?", "/**"};
  return patterns;
}
const std::vector<std::string>& Cgroups() {
  static const std::vector<std::string> paths = {"/",    "/a",   "/a/b", "/a/b/c", "/a/x",    "/d",
                                                 "/d/e", "/d/b", "/f",   "/f/g/c", "/a/b/c/z"};
  return paths;
}
const std::vector<std::string>& ExePatterns() {
  static const std::vector<std::string> patterns = {"/bin/x", "/bin/y", "/bin/*", "/opt/*/x",
                                                    "/**/x"};
  return patterns;
}
const std::vector<std::string>& ExePaths() {
  static const std::vector<std::string> paths = {"/bin/x", "/bin/y",   "/bin/z",
                                                 "",       "/opt/q/x", "/tmp/x"};
  return paths;
}
const std::vector<std::string>& Users() {
  static const std::vector<std::string> users = {"root", "bob", "1000", "7", "ghost"};
  return users;
}
const std::vector<std::string>& Cidrs() {
  static const std::vector<std::string> cidrs = {"10.0.0.0/8",      "10.1.0.0/16", "10.1.2.3/32",
                                                 "0.0.0.0/0",       "::/0",        "2001:db8::/32",
                                                 "2001:db8::1/128", "192.0.2.0/24"};
  return cidrs;
}
const std::vector<std::string>& Addresses() {
  static const std::vector<std::string> addresses = {"10.1.2.3",    "10.1.2.4", "10.2.0.1",
                                                     "192.0.2.9",   "8.8.8.8",  "2001:db8::1",
                                                     "2001:db8::2", "::1"};
  return addresses;
}

Digest DigestOf(size_t number) {
  Digest digest{};
  digest[0] = static_cast<uint8_t>(number + 1);
  return digest;
}

}  // namespace

std::string PolicyRandom::List(const std::vector<std::string>& from) {
  auto item = [&] {
    const std::string& text = Pick(from);
    return text == kEmptyValue ? text : "\"" + text + "\"";
  };
  std::string out = "[" + item();
  while (Chance(30)) out += ", " + item();
  return out + "]";
}

std::string PolicyRandom::Labels() {
  std::string out = "{";
  for (const std::string& key : Keys()) {
    if (Chance(55)) out += (out.size() > 1 ? ", " : "") + key + ": " + Pick(Values());
  }
  return out + "}";
}

std::string PolicyRandom::WorkloadText(size_t number) {
  static const std::vector<std::string> states = {"build", "test", "enforce", "enforce", "enforce"};
  std::string match;
  auto add = [&match](const std::string& field) { match += (match.empty() ? "" : ", ") + field; };
  if (Chance(60)) add("cgroup: " + List(CgroupPatterns()));
  if (Chance(35)) add("exe: " + List(ExePatterns()));
  if (Chance(15)) add("digest: [" + DigestText(DigestOf(Below(3))) + "]");
  if (Chance(20)) add("user: " + List(Users()));
  if (match.empty() || Chance(10)) add("host: true");
  if (Chance(15)) add("addresses: [" + Pick(Addresses()) + "]");
  static const std::vector<std::string> ports = {"{web: tcp/80}", "{web: tcp/443}",
                                                 "{web: [tcp/90, udp/53], alt: tcp/80}"};
  const std::string named = Chance(35) ? ", ports: " + Pick(ports) : "";
  return "apiVersion: mseg.io/v1\nkind: Workload\nmetadata: {name: w" + std::to_string(number) +
         "}\nspec: {labels: " + Labels() + ", match: {" + match + "}, state: " + Pick(states) +
         named + "}\n";
}

std::string PolicyRandom::GroupText(size_t number) {
  return "apiVersion: mseg.io/v1\nkind: AddressGroup\nmetadata: {name: g" + std::to_string(number) +
         "}\nspec: {labels: " + Labels() + ", cidrs: " + List(Cidrs()) +
         (Chance(30) ? ", except: " + List(Cidrs()) : "") + "}\n";
}

std::string PolicyRandom::Process() {
  static const std::vector<std::string> grades = {"path", "hash", "ima", "verity"};
  static const std::vector<std::string> names = {"x", "y", "z", "w"};
  std::string out;
  auto add = [&out](const std::string& field) { out += (out.empty() ? "" : ", ") + field; };
  if (Chance(30)) add("name: " + List(names));
  if (Chance(25)) add("exe: " + List(ExePatterns()));
  if (Chance(20)) add("digest: [" + DigestText(DigestOf(Below(3))) + "]");
  if (Chance(30)) add("user: " + List(Users()));
  if (Chance(20)) {
    add("script: " + (Chance(50) ? List(ExePatterns()) : DigestText(DigestOf(Below(3)))));
  }
  if (out.empty() || Chance(25)) add("grade: " + Pick(grades));
  return "process: {" + out + "}";
}

std::string PolicyRandom::SelectorText(bool cidrs) {
  static const std::vector<std::string> operators = {"In", "NotIn", "Exists", "DoesNotExist"};
  std::string out;
  auto add = [&out](const std::string& field) { out += (out.empty() ? "" : ", ") + field; };
  if (Chance(55)) add("labels: " + Labels());
  if (Chance(20)) {
    const size_t op = Below(4);
    add("matchExpressions: [{key: " + Pick(Keys()) + ", operator: " + operators[op] +
        (op < 2 ? ", values: " + List(Values()) : "") + "}]");
  }
  if (Chance(4)) {
    add("matchExpressions: [{key: mseg/" + Pick<std::string>({"conflict", "kernel"}) +
        ", operator: " + operators[2 + Below(2)] + "}]");
  }
  if (out.find("matchExpressions") != out.rfind("matchExpressions")) return SelectorText(cidrs);
  if (Chance(35)) add(Process());
  if (cidrs && Chance(20)) {
    add("cidrs: " + List(Cidrs()));
    if (Chance(40)) add("except: " + List(Cidrs()));
    if (Chance(40)) add("peers: all");
  }
  return "{" + out + "}";
}

std::string PolicyRandom::RuleText() {
  static const std::vector<std::string> services = {
      "tcp/80",      "tcp/443", "tcp/80-90",         "udp/53",  "sctp/80",
      "icmp",        "icmp/8",  "icmp/echo-request", "any",     "web",
      "tcp/1-65535", "tcp/web", "tcp/web",           "udp/web", "tcp/alt"};
  static const std::vector<std::string> ends = {"both", "both", "from", "to"};
  std::string out = std::string("{verdict: ") + (Chance(70) ? "allow" : "deny");
  if (Chance(85)) out += ", from: " + SelectorText(true);
  if (Chance(85)) out += ", to: " + SelectorText(true);
  out += ", at: " + Pick(ends);
  if (Chance(65)) out += ", services: " + List(services);
  return out + "}";
}

std::string PolicyRandom::PolicyText(size_t number) {
  static const std::vector<std::string> states = {"build", "test", "enforce", "enforce", "enforce"};
  static const std::vector<std::string> directions = {"[ingress]", "[egress]", "[ingress, egress]"};
  std::string out = "apiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: p" +
                    std::to_string(number) + "}\nspec:\n  state: " + Pick(states) + "\n";
  if (Chance(80)) out += "  selects: " + SelectorText(false) + "\n";
  if (Chance(50)) out += "  directions: " + Pick(directions) + "\n";
  const size_t rules = Below(5);
  if (rules > 0) out += "  rules:\n";
  for (size_t i = 0; i < rules; ++i) out += "  - " + RuleText() + "\n";
  return out;
}

PolicySet PolicyRandom::Policy(std::string* text) {
  *text =
      "apiVersion: mseg.io/v1\nkind: Service\nmetadata: {name: web}\n"
      "spec: {ports: [tcp/80, tcp/8080-8081, udp/443]}\n";
  std::vector<std::string> candidates;
  for (size_t i = 0, n = Below(7); i < n; ++i) candidates.push_back(WorkloadText(i));
  for (size_t i = 0, n = Below(4); i < n; ++i) candidates.push_back(GroupText(i));
  for (size_t i = 0, n = 1 + Below(4); i < n; ++i) candidates.push_back(PolicyText(i));
  PolicySet accepted;
  candidates.push_back("");  // nothing but the service
  for (const std::string& candidate : candidates) {
    const std::string longer = candidate.empty() ? *text : *text + "---\n" + candidate;
    Diagnostics diagnostics;
    absl::StatusOr<std::vector<Document>> documents =
        ParseDocuments("random.yaml", longer, &diagnostics);
    if (!documents.ok()) {
      throw std::logic_error(FormatDiagnostic(diagnostics[0]) + "\n" + longer);
    }
    // A document that clashes with one before it is left out.
    absl::StatusOr<PolicySet> set = BuildPolicySet(*std::move(documents), &diagnostics);
    if (!set.ok()) continue;
    accepted = *std::move(set);
    *text = longer;
  }
  return accepted;
}

Inventory PolicyRandom::Host(size_t extra) {
  Inventory inventory;
  for (size_t i = 0; i < Cgroups().size(); ++i) {
    if (Chance(60)) inventory.cgroups.push_back(CgroupInfo{i + 10, Cgroups()[i]});
  }
  uint32_t ref = 0;
  for (size_t i = 0, n = Below(6); i < n; ++i) {
    ExecutableInfo executable;
    executable.ref = ++ref;
    const size_t content = Below(4);
    executable.digest = DigestOf(content);
    executable.exe_id = content + 1;
    executable.path = Pick(ExePaths());
    executable.trusted_path = !executable.path.empty() && Chance(75);
    executable.grade = static_cast<mseg_grade>(MSEG_GRADE_PATH + Below(4));
    executable.interpreter = content == 0;
    if (Chance(30)) {
      const size_t script = Below(4);
      executable.script = ScriptInfo{.digest = DigestOf(script), .path = Pick(ExePaths())};
      executable.exe_id += 100 * (script + 1);
    }
    inventory.executables.push_back(executable);
  }
  if (Chance(50)) {
    ExecutableInfo kernel;
    kernel.ref = MSEG_EXE_REF_KERNEL;
    kernel.grade = MSEG_GRADE_PATH;
    kernel.kernel = true;
    inventory.executables.push_back(kernel);
  }
  inventory.uids = {{"root", 0}, {"bob", 1000}};
  for (size_t i = 0; i < extra; ++i) {
    IdentityFacts facts = Facts(inventory);
    if (Chance(40)) {
      LabelSet labels;
      for (const std::string& key : Keys()) {
        if (!Chance(60)) continue;
        const std::string& value = Pick(Values());
        const absl::Status set = labels.Set(key, value == kEmptyValue ? "" : value);
        if (!set.ok()) throw std::logic_error("label");
      }
      facts.labels = labels;
      facts.state = static_cast<State>(Below(3));
      while (Chance(40)) facts.addresses.push_back(Address());
    }
    if (Chance(20)) {
      facts.uid.reset();
      facts.user = Pick(Users());
    }
    inventory.identities.push_back(facts);
  }
  return inventory;
}

IdentityFacts PolicyRandom::Facts(const Inventory& inventory) {
  static const std::vector<uint32_t> uids = {0, 7, 1000, 55};
  IdentityFacts facts;
  if (!inventory.cgroups.empty() && Chance(88)) facts.cgroup = Pick(inventory.cgroups).path;
  facts.exe = IdentityFacts::Exe::kUnknown;
  if (!inventory.executables.empty() && Chance(80)) {
    facts.exe = IdentityFacts::Exe::kKnown;
    facts.executable = Pick(inventory.executables);
    if (Chance(25)) facts.executable.grade = MSEG_GRADE_PATH;
  }
  facts.uid = Pick(uids);
  return facts;
}

IpAddress PolicyRandom::Address() { return *ParseIpAddress(Pick(Addresses())); }

std::pair<uint8_t, uint16_t> PolicyRandom::Service() {
  static const std::vector<uint8_t> protocols = {IPPROTO_TCP,  IPPROTO_TCP,  IPPROTO_UDP,
                                                 IPPROTO_SCTP, IPPROTO_ICMP, IPPROTO_ICMPV6,
                                                 IPPROTO_GRE};
  static const std::vector<uint16_t> ports = {80, 81, 90, 91, 443, 53, 8080, 1, 65535, 22};
  const uint8_t protocol = Pick(protocols);
  static const std::vector<uint16_t> types = {8, 8, 128, 128, 0, 129, 255};
  switch (protocol) {
    case IPPROTO_GRE:
      return {protocol, 0};
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return {protocol, Pick(types)};
    default:
      return {protocol, Pick(ports)};
  }
}

}  // namespace mseg::testing
