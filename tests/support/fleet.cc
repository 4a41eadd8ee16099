// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fleet.h"

#include <algorithm>

#include "labels/text.h"

namespace mseg::testing {
namespace {

constexpr size_t kRoles = 5;
constexpr size_t kEnvs = 10;
constexpr size_t kPlaces = 4;

struct Place {
  size_t env, app, role, loc;
};

Place PlaceOf(size_t identity) {
  return {.env = identity / kRoles % kEnvs,
          .app = identity / (kRoles * kEnvs),
          .role = identity % kRoles,
          .loc = identity % 7 % kPlaces};
}

std::string Header(const char* kind, const std::string& name) {
  return Cat("apiVersion: mseg.io/v1\nkind: ", kind, "\nmetadata: {name: ", name, "}\n");
}

}  // namespace

std::string Fleet::LabelsOf(size_t identity) const {
  const Place at = PlaceOf(identity);
  return Cat("loc: l", at.loc, ", env: e", at.env, ", app: a", at.app, ", role: r", at.role);
}

std::vector<std::string> Fleet::Workloads() const {
  std::vector<std::string> out;
  const size_t stride = std::max<size_t>(1, identities / std::max<size_t>(1, local));
  for (size_t i = 0; i < identities; ++i) {
    std::string match = Cat("addresses: [10.", i / 65536, ".", i / 256 % 256, ".", i % 256, "]");
    if (i % stride == 0 && i / stride < local) Append(&match, ", cgroup: /fleet/w", i);
    out.push_back(Cat(Header("Workload", Cat("w", i)), "spec:\n  labels: {", LabelsOf(i),
                      "}\n  match: {", match, "}\n"));
  }
  return out;
}

std::vector<std::string> Fleet::Policies(size_t rules_a_policy) const {
  std::vector<std::string> out;
  const size_t pairs = std::max<size_t>(1, identities / kRoles);  // (env, app)
  size_t made = 0;
  for (size_t p = 0; made + coarse < rules; ++p) {
    std::string text = Cat(Header("Policy", Cat("fine", p)), "spec:\n  state: enforce\n");
    const size_t first = p * rules_a_policy / 50 % pairs * kRoles;
    const Place of = PlaceOf(first);
    Append(&text, "  selects: {labels: {env: e", of.env, ", app: a", of.app,
           "}}\n  directions: [ingress]\n  rules:\n");
    for (size_t i = 0; i < rules_a_policy && made + coarse < rules; ++i, ++made) {
      const Place at = PlaceOf(made / 50 % pairs * kRoles);
      const size_t from = made % kRoles;
      const size_t to = (made / kRoles + 1 + from) % kRoles;
      Append(&text, "  - name: r", i, "\n    verdict: ", made % 97 == 0 ? "deny" : "allow",
             "\n    from: {labels: {env: e", at.env, ", app: a", at.app, ", role: r", from, "}");
      if (made % 3 == 0) Append(&text, ", process: {exe: /usr/bin/tool", made % 20, "}");
      Append(&text, "}\n    to: {labels: {env: e", at.env, ", app: a", at.app, ", role: r", to,
             "}}\n    services: [tcp/", 1000 + made * 7 % 200, "]\n");
    }
    out.push_back(std::move(text));
  }
  for (size_t i = 0; i < coarse && made < rules; ++i, ++made) {
    const std::string labels = i < kEnvs             ? Cat("env: e", i)
                               : i < kEnvs + kPlaces ? Cat("loc: l", i - kEnvs)
                                                     : Cat("app: a", i);
    out.push_back(Cat(Header("Policy", Cat("coarse", i)),
                      "spec:\n  rules:\n  - verdict: ", i % 5 == 4 ? "deny" : "allow",
                      "\n    from: {labels: {", labels, "}}\n    to: {labels: {", labels, "}}\n"));
  }
  return out;
}

Inventory Fleet::Host() const {
  Inventory out;
  const size_t stride = std::max<size_t>(1, identities / std::max<size_t>(1, local));
  out.cgroups = {{1, "/"}, {2, "/fleet"}};
  for (size_t i = 0; i < local; ++i) {
    out.cgroups.push_back({3 + i, Cat("/fleet/w", i * stride)});
  }
  for (uint32_t i = 0; i < 20; ++i) {
    ExecutableInfo exe;
    exe.ref = i + 1;
    exe.digest[0] = static_cast<uint8_t>(i + 1);
    exe.path = Cat("/usr/bin/tool", i);
    exe.trusted_path = true;
    exe.exe_id = i + 1;
    out.executables.push_back(exe);
  }
  return out;
}

}  // namespace mseg::testing
