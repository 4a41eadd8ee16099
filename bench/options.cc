// SPDX-License-Identifier: Apache-2.0
#include "bench/options.h"

#include <algorithm>
#include <functional>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "loader/programs.h"

namespace mseg::bench {
namespace {

absl::Status Wrong(const std::string& option, const std::string& value, const std::string& want) {
  return absl::InvalidArgumentError(absl::StrCat(option, " ", value, ": ", want));
}

absl::Status Number(const std::string& option, const std::string& value, uint64_t* out,
                    uint64_t most = 1'000'000) {
  if (!absl::SimpleAtoi(value, out) || *out == 0 || *out > most) {
    return Wrong(option, value, absl::StrCat("a number from 1 to ", most, " is wanted"));
  }
  return absl::OkStatus();
}

absl::Status Rules(const std::string& value, std::vector<uint64_t>* out) {
  out->clear();
  for (const std::string& one : std::vector<std::string>(absl::StrSplit(value, ','))) {
    uint64_t rules = 0;
    const absl::Status status = Number("--rules", one, &rules, 100'000);
    if (!status.ok()) return status;
    out->push_back(rules);
  }
  std::sort(out->begin(), out->end());
  out->erase(std::unique(out->begin(), out->end()), out->end());
  return absl::OkStatus();
}

absl::Status OneOf(const std::string& option, const std::string& value,
                   const std::vector<std::string>& allowed, std::string* out) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    return Wrong(option, value, absl::StrCat("one of ", absl::StrJoin(allowed, ", ")));
  }
  *out = value;
  return absl::OkStatus();
}

absl::Status SomeOf(const std::string& option, const std::string& value,
                    const std::vector<std::string>& allowed, std::vector<std::string>* out) {
  out->clear();
  for (const std::string& one : std::vector<std::string>(absl::StrSplit(value, ','))) {
    std::string name;
    const absl::Status status = OneOf(option, one, allowed, &name);
    if (!status.ok()) return status;
    out->push_back(name);
  }
  return absl::OkStatus();
}

// Only what is attached to a cgroup or a hook of the kernel can be taken away.
std::vector<std::string> AttachedPrograms() {
  std::vector<std::string> out;
  for (const ProgramSpec& spec : kPrograms) {
    if (spec.attach != Attach::kNone) out.emplace_back(spec.name);
  }
  return out;
}

absl::Status Threshold(const std::string& value, double* out) {
  if (!absl::SimpleAtod(value, out) || !(*out >= 0 && *out < 10)) {
    return Wrong("--threshold", value, "a share is wanted, such as 0.02");
  }
  return absl::OkStatus();
}

using Setter = std::function<absl::Status(const std::string& value)>;

std::map<std::string, Setter> Setters(Options* out) {
  const auto text = [](std::string* to) {
    return [to](const std::string& value) {
      *to = value;
      return absl::OkStatus();
    };
  };
  return {
      {"--compare",
       [out](const std::string& v) {
         return SomeOf("--compare", v, {"none", "empty", "nftables", "iptables"}, &out->compare);
       }},
      {"--without",
       [out](const std::string& v) {
         return SomeOf("--without", v, AttachedPrograms(), &out->without);
       }},
      {"--rules", [out](const std::string& v) { return Rules(v, &out->rules); }},
      {"--runs", [out](const std::string& v) { return Number("--runs", v, &out->runs); }},
      {"--recreate",
       [out](const std::string& v) { return Number("--recreate", v, &out->recreate); }},
      {"--slice",
       [out](const std::string& v) { return Number("--slice", v, &out->slice_ms, 10'000); }},
      {"--topology",
       [out](const std::string& v) {
         std::string name;
         const absl::Status status = OneOf("--topology", v, {"lo", "veth"}, &name);
         out->topology = name == "veth" ? Topology::kVeth : Topology::kLo;
         return status;
       }},
      {"--mode",
       [out](const std::string& v) {
         return OneOf("--mode", v, {"native", "guest"}, &out->mode);
       }},
      {"--kernel",
       [out](const std::string& v) {
         return OneOf("--kernel", v, {"6.1", "6.12"}, &out->kernel);
       }},
      {"-o", text(&out->output)},
      {"--output", text(&out->output)},
      {"--baseline", text(&out->baseline)},
      {"--threshold", [out](const std::string& v) { return Threshold(v, &out->threshold); }},
      {"--inside", text(&out->inside)},
  };
}

absl::Status Suite(const std::string& name, Options* out) {
  for (const SuiteInfo& suite : Suites()) {
    if (suite.name != name) continue;
    out->suites.push_back(name);
    return absl::OkStatus();
  }
  std::vector<std::string> names;
  for (const SuiteInfo& suite : Suites()) names.push_back(suite.name);
  return absl::InvalidArgumentError(
      absl::StrCat("no suite is called ", name, "; there are ", absl::StrJoin(names, ", ")));
}

}  // namespace

const std::vector<SuiteInfo>& Suites() {
  static const std::vector<SuiteInfo> suites = {
      {"connect", "connect, request, response, close; refusals"},
      {"rr", "request and response on an open connection"},
      {"stream", "bulk transfer"},
      {"udp", "datagrams: connected, unconnected, a socket for each exchange"},
      {"decide", "one decision, by test-run"},
      {"hooks", "each attached program under load"},
      {"apply", "from a policy to its enforcement; memory"},
      {"exec", "exec and fork"},
      {"real", "wrk with nginx, redis-benchmark, pgbench"},
      {"events", "flow events a second without loss"},
  };
  return suites;
}

absl::StatusOr<Options> ParseOptions(absl::Span<const char* const> arguments) {
  Options out;
  const auto setters = Setters(&out);
  for (size_t i = 0; i < arguments.size(); i++) {
    std::string name = arguments[i], value;
    if (name == "-h" || name == "--help") out.help = true;
    if (name == "--version") out.version = true;
    if (name == "--list") out.list = true;
    if (name == "-h" || name == "--help" || name == "--version" || name == "--list") continue;
    if (name.empty() || name[0] != '-') {
      if (const absl::Status status = Suite(name, &out); !status.ok()) return status;
      continue;
    }
    const size_t equals = name.find('=');
    const bool joined = equals != std::string::npos;
    if (joined) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const auto setter = setters.find(name);
    if (setter == setters.end()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown option ", name));
    }
    if (!joined && i + 1 == arguments.size()) {
      return absl::InvalidArgumentError(absl::StrCat(name, " needs a value"));
    }
    if (!joined) value = arguments[++i];
    if (const absl::Status status = setter->second(value); !status.ok()) return status;
  }
  out.recreate = std::min(out.recreate, out.runs);
  return out;
}

std::string Usage() {
  std::string out =
      "usage: mseg-bench [SUITE]... [OPTION]...\n"
      "Measures what mseg costs on this machine, beside what would be used instead. Needs root.\n"
      "\nSuites (all, if none is named):\n";
  for (const SuiteInfo& suite : Suites()) {
    out += absl::StrFormat("  %-8s %s\n", suite.name, suite.what);
  }
  out +=
      "\nOptions:\n"
      "  --compare LIST     rivals beside mseg: none, empty, nftables, iptables (all)\n"
      "  --rules LIST       numbers of rules (10,1000,10000,100000)\n"
      "  --without LIST     programs of mseg: its arms once more without each of them\n"
      "  --runs N           rounds of slices in a suite (300)\n"
      "  --recreate N       how often the arms are made anew in a suite (3)\n"
      "  --slice MS         length of a slice (20)\n"
      "  --topology T       lo, or veth: client and server in two network namespaces (lo)\n"
      "  --mode M           native, or guest: executed instructions in an emulated guest (native)\n"
      "  --kernel SERIES    of the guest: 6.1 or 6.12 (6.12)\n"
      "  -o DIR             writes report.json, report.html and report.txt there\n"
      "  --baseline FILE    a report.json to compare with; status 1 if a figure is worse\n"
      "  --threshold SHARE  by more than this (0.02)\n"
      "  --list             the arms that can be compared\n"
      "  --help, --version\n"
      "\nExit status: 0 done, 1 worse than the baseline, 2 usage, 4 cannot be measured here.\n"
      "docs/bench.md says what is timed.\n";
  return out;
}

std::vector<ArmSpec> ArmsOf(const Options& options, uint64_t most_linear) {
  std::vector<ArmSpec> out;
  const auto compared = [&options](const std::string& family) {
    return family == "mseg" || family == "none" ||
           std::find(options.compare.begin(), options.compare.end(), family) !=
               options.compare.end();
  };
  for (const ArmKind& kind : ArmKinds()) {
    if (!compared(kind.family)) continue;
    if (kind.two_hosts && options.topology != Topology::kVeth) continue;
    if (!kind.has_rules) out.push_back({kind.kind, 0, options.topology});
    if (!kind.has_rules) continue;
    const bool linear = absl::EndsWith(kind.kind, "-linear");
    const bool quiet = absl::EndsWith(kind.kind, "-quiet");
    for (const uint64_t rules : options.rules) {
      const bool end = rules == options.rules.front() || rules == options.rules.back();
      // A linear rule set has to be seen growing, mseg not growing; sets only stand beside it.
      if (!end && !linear && kind.kind != "mseg-both") continue;
      if (kind.two_hosts && rules != options.rules.front()) continue;
      if (quiet && rules != options.rules.front()) continue;
      if (linear && rules > std::min(kind.most_rules, most_linear)) continue;
      out.push_back({kind.kind, rules, options.topology});
      if (kind.family != "mseg" || quiet || rules != options.rules.front()) continue;
      for (const std::string& program : options.without) {
        out.push_back({kind.kind, rules, options.topology, program});
      }
    }
  }
  return out;
}

}  // namespace mseg::bench
