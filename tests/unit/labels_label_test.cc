// SPDX-License-Identifier: Apache-2.0
// Labels and their ids, digests, addresses, path patterns: the small parts.
#include "labels/label.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <random>
#include <vector>

#include "labels/address.h"
#include "labels/glob.h"
#include "labels/text.h"

namespace mseg {
namespace {

LabelSet Labels(std::initializer_list<std::pair<const char*, const char*>> pairs) {
  LabelSet labels;
  for (const auto& [key, value] : pairs) REQUIRE(labels.Set(key, value).ok());
  return labels;
}

TEST_CASE("a label set has one text, the four first-class keys first") {
  const LabelSet labels = Labels({{"zone", "1"},
                                  {"role", "db"},
                                  {"app", "order"},
                                  {"a", "2"},
                                  {"env", "prod"},
                                  {"loc", "北京"}});
  CHECK(labels.Text() == "loc=北京,env=prod,app=order,role=db,a=2,zone=1");
  CHECK(labels == Labels({{"a", "2"},
                          {"app", "order"},
                          {"env", "prod"},
                          {"loc", "北京"},
                          {"role", "db"},
                          {"zone", "1"}}));
  CHECK(LabelSet().Text().empty());
}

TEST_CASE("labels that would be ambiguous in one line are refused") {
  LabelSet labels;
  for (const char* bad :
       {"a=b", "a,b", "a;b", "a|b", "a b", " a", "a\tb", "*", "a\"", "a\xFF", "a\u200bb",
        "a\u3000b", "a#b", "{a}", "e\u0301", "\u1112\u1161\u11ab", "\u212b"}) {
    INFO(bad);
    CHECK_FALSE(labels.Set("k", bad).ok());
    CHECK_FALSE(labels.Set(bad, "v").ok());
  }
  CHECK_FALSE(labels.Set("", "v").ok());
  CHECK_FALSE(labels.Set("mseg/host", "true").ok());
  CHECK(labels.Set("k", std::string(10240, 'v')).message() ==
        "label value is 10240 bytes long; at most 253 are allowed");
  CHECK(labels.Set("k", "cafe\u0301").message() ==
        "label value is not in Unicode's normal form C; write `caf\u00e9`, which looks the same");
  CHECK_FALSE(labels.Set(std::string(331, 'k'), "v").ok());
  CHECK_FALSE(labels.Set("k", std::string(254, 'v')).ok());
  CHECK(labels.empty());
  for (const char* good : {"a", "a.b-c_d", "kubernetes.io/name", "ns/x", "订单系统", "1.0", "a*",
                           "a:b", "a@b", "é", "한", "북경", "ﾃﾞ", ""}) {
    INFO(good);
    CHECK(labels.Set("k", good).ok());
  }
  CHECK(labels.Set(std::string(330, 'k'), std::string(253, 'v')).ok());
  CHECK(labels.Set("empty", "").ok());
}

TEST_CASE("an empty value is not the same as none") {
  const LabelSet empty = Labels({{"k", ""}});
  CHECK(empty.Text() == "k=");
  CHECK_FALSE(empty == LabelSet());
  CHECK(LabelId(Salt{}, empty) != LabelId(Salt{}, LabelSet()));
}

TEST_CASE("short ids depend on salt and content, and are never 0") {
  Salt salt{};
  Salt other{};
  other[0] = 1;
  const LabelSet labels = Labels({{"app", "order"}});
  CHECK(LabelId(salt, labels) == LabelId(salt, Labels({{"app", "order"}})));
  CHECK(LabelId(salt, labels) != LabelId(other, labels));
  CHECK(LabelId(salt, labels) != LabelId(salt, LabelSet()));
  CHECK(LabelId(salt, LabelSet()) != 0);
  CHECK(LabelId(salt, labels) < uint64_t{1} << 48);
  // Fixed for good: a stored id must mean the same after an upgrade.
  CHECK(LabelId(salt, labels) == 0xc9e06d87fad7ull);
  Digest digest{};
  Digest script{};
  script[0] = 1;
  CHECK(ExecutableId(salt, digest, script) != ExecutableId(salt, digest, Digest{}));
  CHECK(ExecutableId(salt, digest, script) != ExecutableId(salt, script, digest));
  CHECK(ExecutableId(salt, digest, Digest{}) < uint64_t{1} << 48);
}

TEST_CASE("digests are written one way") {
  const std::string text = "sha256:" + std::string(62, '0') + "af";
  const absl::StatusOr<Digest> digest = ParseDigest(text);
  REQUIRE(digest.ok());
  CHECK((*digest)[31] == 0xaf);
  CHECK(DigestText(*digest) == text);
  for (const std::string& bad :
       {std::string(), std::string("sha256:"), "sha256:" + std::string(63, '0'),
        "sha256:" + std::string(65, '0'), "sha256:" + std::string(62, '0') + "AF",
        "SHA256:" + std::string(64, '0'), std::string(64, '0'),
        "sha256:" + std::string(63, '0') + "g"}) {
    INFO(bad);
    CHECK_FALSE(ParseDigest(bad).ok());
  }
}

TEST_CASE("prefixes: families are apart, loose bits are refused") {
  auto cidr = [](std::string_view text) {
    const absl::StatusOr<Cidr> parsed = ParseCidr(text);
    return parsed.ok() ? CidrText(*parsed) : std::string(parsed.status().message());
  };
  CHECK(cidr("10.0.0.0/8") == "10.0.0.0/8");
  CHECK(cidr("10.1.2.3") == "10.1.2.3/32");
  CHECK(cidr("2001:DB8::/32") == "2001:db8::/32");
  CHECK(cidr("::ffff:10.0.0.0/104") == "10.0.0.0/8");
  CHECK(cidr("0.0.0.0/0") == "0.0.0.0/0");
  CHECK(cidr("::/0") == "::/0");
  CHECK(cidr("10.1.2.3/8").find("write 10.0.0.0/8") != std::string::npos);
  for (const char* bad : {"", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0/8",
                          "::/129", "x", "1.2.3.4/8/8", " 10.0.0.0/8", "010.0.0.1"}) {
    INFO(bad);
    CHECK_FALSE(ParseCidr(bad).ok());
  }
  const Cidr all6 = *ParseCidr("::/0");
  const Cidr all4 = *ParseCidr("0.0.0.0/0");
  CHECK(all4.Contains(*ParseIpAddress("10.0.0.1")));
  CHECK_FALSE(all6.Contains(*ParseIpAddress("10.0.0.1")));
  CHECK(all6.Contains(*ParseIpAddress("::1")));
  CHECK_FALSE(all4.Contains(*ParseIpAddress("::1")));
  CHECK(IpAddressText(*ParseIpAddress("::ffff:10.0.0.1")) == "10.0.0.1");
}

TEST_CASE("of few prefixes and of many, the same holds a region") {
  std::mt19937_64 random(3);
  // Few bits differ, so that many prefixes hold many others.
  auto any = [&random] {
    Cidr cidr{.address = {}, .bits = static_cast<uint8_t>(random() % 129), .ipv4 = false};
    cidr.address[random() % 3] = static_cast<uint8_t>(random() % 4 * 64);
    if (random() % 2 == 0) {
      cidr = {.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10},
              .bits = static_cast<uint8_t>(96 + random() % 33),
              .ipv4 = true};
      cidr.address[13 + random() % 3] = static_cast<uint8_t>(random() % 4 * 64);
    }
    return cidr.Shortened(cidr.bits);
  };
  auto bit = [](const IpAddress& address, int i) { return address[i / 8] >> (7 - i % 8) & 1; };
  size_t held = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<Cidr> prefixes(random() % 60);
    std::generate(prefixes.begin(), prefixes.end(), any);
    std::sort(prefixes.begin(), prefixes.end());
    const Cidr region = any();
    bool want = false;
    for (const Cidr& prefix : prefixes) {
      bool holds = prefix.ipv4 == region.ipv4 && prefix.bits <= region.bits;
      for (int i = 0; holds && i < prefix.bits; ++i) {
        holds = bit(prefix.address, i) == bit(region.address, i);
      }
      want = want || holds;
    }
    CHECK(AnyContains(prefixes, region) == want);
    held += want ? 1 : 0;
  }
  CHECK(held > 100);
  CHECK(held < 390);
}

TEST_CASE("path patterns match component by component") {
  auto matches = [](std::string_view pattern, std::string_view path) {
    return PathPattern::Parse(pattern)->Matches(path);
  };
  CHECK(matches("/a/*", "/a/b"));
  CHECK_FALSE(matches("/a/*", "/a/b/c"));
  CHECK_FALSE(matches("/a/*", "/a"));
  CHECK(matches("/a/**", "/a"));
  CHECK(matches("/a/**/z", "/a/z"));
  CHECK(matches("/a/**/z", "/a/b/c/z"));
  CHECK_FALSE(matches("/a/**/z", "/a/b/c/zz"));
  CHECK(matches("/*x*y*", "/axbyc"));
  CHECK_FALSE(matches("/*x*y", "/axbyc"));
  CHECK(matches("/订?系*", "/订单系统"));
  CHECK(matches("/[a-c]?[!x]", "/b1y"));
  CHECK_FALSE(matches("/[a-c]?[!x]", "/b1x"));
  CHECK(matches("/[]]", "/]"));
  CHECK(matches("/\\*", "/*"));
  CHECK_FALSE(matches("/\\*", "/a"));
  CHECK(matches("/", "/"));
  CHECK_FALSE(matches("/", "/a"));
  // A file cannot hide behind a name that is not UTF-8.
  CHECK(matches("/tmp/*", "/tmp/\xFF\xFE"));
  CHECK(matches("/tmp/?x", "/tmp/\xFFx"));
  CHECK(matches("/tmp/[!a]", "/tmp/\xFF"));
}

TEST_CASE("patterns that no path can match are refused") {
  for (const char* bad : {"", "a", "a/b", "//", "/a//b", "/./a", "/a/..", "/a/[b", "/a/[!"}) {
    INFO(bad);
    CHECK_FALSE(PathPattern::Parse(bad).ok());
  }
  CHECK(PathPattern::Parse("/a/b/")->text() == "/a/b");
  CHECK_FALSE(PathPattern::Parse("/" + std::string(5000, 'a')).ok());
}

TEST_CASE("patterns of cgroups hold for everything below") {
  const PathPattern pattern = *PathPattern::Parse("/pods/*/c");
  CHECK(pattern.DeepestMatch("/pods/1/c/deep/er") == 3);
  CHECK(pattern.DeepestMatch("/pods/1") == -1);
  CHECK(pattern.MayMatchBelow("/"));
  CHECK(pattern.MayMatchBelow("/pods"));
  CHECK(pattern.MayMatchBelow("/pods/1"));
  CHECK_FALSE(pattern.MayMatchBelow("/pods/1/c"));
  CHECK_FALSE(pattern.MayMatchBelow("/other"));
  CHECK(PathPattern::Parse("/")->DeepestMatch("/a/b") == 0);
  CHECK(PathPattern::Parse("/**")->DeepestMatch("/a/b") == 2);
  for (const char* text : {"/a/*/b?c", "/**/x", "/**", "/[0-9]*", "/[!a]", "/\\[x"}) {
    INFO(text);
    const PathPattern example = *PathPattern::Parse(text);
    CHECK(example.Matches(example.Example()));
  }
}

TEST_CASE("matching a pattern takes bounded time") {
  std::string pattern = "/";
  for (int i = 0; i < 100; ++i) pattern += "*a";
  CHECK_FALSE(PathPattern::Parse(pattern)->Matches("/" + std::string(4000, 'a') + "b"));
  std::string deep;
  for (int i = 0; i < 60; ++i) deep += "/**/a";
  CHECK_FALSE(PathPattern::Parse(deep)->Matches(std::string(2000, '/') + "b"));
}

TEST_CASE("misspelt words are recognised") {
  CHECK(Nearest("selcts", {"selects", "rules"}) == "selects");
  CHECK(Nearest("form", {"to", "from"}) == "from");
  CHECK(Nearest("zzz", {"to", "from"}).empty());
  CHECK(Nearest(std::string(1000, 'a'), {"a"}).empty());
}

TEST_CASE("numbers are decimal") {
  CHECK(ParseDecimal("0") == 0u);
  CHECK(ParseDecimal("4294967295") == std::numeric_limits<uint32_t>::max());
  for (const char* bad : {"", "-1", "+1", "01", "4294967296", "1e3", "0x1", " 1", "99999999999"}) {
    INFO(bad);
    CHECK_FALSE(ParseDecimal(bad).has_value());
  }
}

}  // namespace
}  // namespace mseg
