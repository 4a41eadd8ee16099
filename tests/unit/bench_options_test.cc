// SPDX-License-Identifier: Apache-2.0
// The command line of mseg-bench, and the rule sets it makes.
#include <algorithm>
#include <catch2/catch.hpp>

#include "bench/options.h"

namespace mseg::bench {
namespace {

absl::StatusOr<Options> Parse(std::vector<const char*> arguments) {
  return ParseOptions(arguments);
}

size_t Lines(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) count++;
  return count;
}

}  // namespace

TEST_CASE("options") {
  auto options = Parse({"connect", "rr", "--rules", "1000,10", "--runs=20", "-o", "out",
                        "--compare", "nftables", "--topology", "veth", "--threshold", "0.05"});
  REQUIRE(options.ok());
  CHECK(options->suites == std::vector<std::string>{"connect", "rr"});
  CHECK(options->rules == std::vector<uint64_t>{10, 1000});
  CHECK(options->runs == 20);
  CHECK(options->output == "out");
  CHECK(options->topology == Topology::kVeth);
  CHECK(options->threshold == 0.05);
  CHECK(Parse({"--runs", "1"})->recreate == 1);
}

TEST_CASE("bad usage is refused with what would be right") {
  for (const auto& arguments : std::vector<std::vector<const char*>>{{"conect"},
                                                                     {"--rules", "0"},
                                                                     {"--rules", "10,x"},
                                                                     {"--rules", "1000000"},
                                                                     {"--runs"},
                                                                     {"--mode", "fast"},
                                                                     {"--compare", "pf"},
                                                                     {"--topology", "ring"},
                                                                     {"--frob"},
                                                                     {"--without", "frob"},
                                                                     {"--without", "mseg_explain"},
                                                                     {"--threshold", "-1"}}) {
    const auto options = Parse(arguments);
    INFO(arguments[0]);
    CHECK(options.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK_FALSE(options.status().message().empty());
  }
}

TEST_CASE("the baselines are always among the arms, rivals when asked for") {
  auto options = Parse({"--compare", "nftables", "--rules", "10,1000,100000"});
  REQUIRE(options.ok());
  std::vector<std::string> names;
  for (const ArmSpec& spec : ArmsOf(*options, 10'000)) names.push_back(spec.Name());
  const auto has = [&names](const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const char* name :
       {"none", "none-aa", "mseg-both@10", "mseg-both@1000", "mseg-both@100000", "mseg-client@10",
        "nft-set@100000", "nft-ct-set@10", "nft-linear@1000"}) {
    INFO(name);
    CHECK(has(name));
  }
  CHECK_FALSE(has("nft-linear@100000"));
  CHECK_FALSE(has("iptables-linear@10"));
  CHECK_FALSE(has("nft-set@1000"));
  std::sort(names.begin(), names.end());
  CHECK(std::unique(names.begin(), names.end()) == names.end());
}

TEST_CASE("programs that do nothing are a rival of their own") {
  const auto kinds = [](const char* compare) {
    std::vector<std::string> out;
    for (const ArmSpec& spec : ArmsOf(*Parse({"--compare", compare, "--rules", "10,1000"}), 1000)) {
      if (spec.kind.rfind("empty", 0) == 0) out.push_back(spec.Name());
    }
    return out;
  };
  CHECK(kinds("empty") == std::vector<std::string>{"empty-client", "empty-both", "empty-option"});
  CHECK(kinds("nftables").empty());
}

TEST_CASE("arms without a program stand beside those of mseg with the fewest rules") {
  auto options = Parse({"--rules", "10,1000", "--without", "mseg_ingress,mseg_sockops"});
  REQUIRE(options.ok());
  std::vector<std::string> names;
  for (const ArmSpec& spec : ArmsOf(*options, 1000)) {
    if (!spec.without.empty()) names.push_back(spec.Name());
  }
  CHECK(names == std::vector<std::string>{
                     "mseg-client-without-mseg_ingress@10", "mseg-client-without-mseg_sockops@10",
                     "mseg-both-without-mseg_ingress@10", "mseg-both-without-mseg_sockops@10"});
}

TEST_CASE("every rule set has as many permissions as asked for") {
  for (const uint64_t rules : {1, 10, 1000}) {
    CHECK(Lines(NftRules("linear", rules, "127.0.0.1"), " tcp dport ") == rules - 1);
    CHECK(Lines(NftRules("set", rules, "127.0.0.1"), "   10.") == rules - 1);
    CHECK(Lines(IptablesRules(rules, "127.0.0.1"), "-s 10.") == rules - 1);
    CHECK(Lines(MsegPolicy(rules, {{kBenchClient, kBenchServer}}), "verdict:") == rules);
  }
  CHECK(NftRules("ct-set", 10, "127.0.0.1").find("ct state established,related accept") !=
        std::string::npos);
  CHECK(NftRules("set", 10, "127.0.0.1").find("ct state") == std::string::npos);
}

}  // namespace mseg::bench
