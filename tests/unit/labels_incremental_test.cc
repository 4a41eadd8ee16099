// SPDX-License-Identifier: Apache-2.0
// What the compiler takes from the image before is what it would have made: a policy is edited at
// random, and compiled twice after each edit. Once with the documents that did not change being the
// very ones of before, so that all that can be is reused; once with all of them parsed again, so
// that nothing is. Both keep numbers from the image before, so every table must be the same, byte
// for byte. MSEG_INCREMENTAL_SEED=N runs one seed alone, MSEG_INCREMENTAL_SEEDS=N so
// many.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "labels/compiler.h"
#include "labels/text.h"
#include "labels/workings.h"
#include "tests/support/environment.h"
#include "tests/support/policy_fixture.h"

namespace mseg::testing {
namespace {

// Selectors of every kind: few peers and many, certain and possible, addresses, users, anyone.
constexpr const char* kSelectors[] = {
    "{labels: {role: r0}}",
    "{labels: {role: r1}}",
    "{labels: {role: r1, env: e0}}",
    "{labels: {role: r2, env: e1}}",
    "{labels: {env: e0}}",
    "{labels: {env: e1}}",
    "{matchExpressions: [{key: env, operator: Exists}]}",
    "{matchExpressions: [{key: role, operator: NotIn, values: [r0, r1]}]}",
    "{labels: {role: r0}, process: {exe: /bin/x}}",
    "{process: {name: y}}",
    "{labels: {env: e0}, process: {user: \"7\"}}",
    "{cidrs: [10.1.0.0/16], except: [10.1.2.0/24]}",
    "",
};
constexpr const char* kServices[] = {
    "[tcp/1000]", "[tcp/1000-2000]", "[tcp/1500, udp/53]", "[web]", "[tcp/http]", "[icmp]", ""};
constexpr const char* kStates[] = {"build", "test", "enforce", "enforce", "enforce"};

struct EditedRule {
  int name = 0;
  bool allow = true;
  size_t from = 0;
  size_t to = 0;
  size_t services = 0;
  const char* at = "both";
};
struct EditedPolicy {
  const char* state = "enforce";
  size_t selects = 0;  // one past the last selector: none
  std::vector<EditedRule> rules;
};

class Edits {
 public:
  explicit Edits(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 12; ++i) PutWorkload(i);
    PutService();
    for (int i = 0; i < 6; ++i) AddPolicy();
    inventory_.cgroups = {{1, "/"}};
    for (uint64_t i = 0; i < 5; ++i) inventory_.cgroups.push_back({2 + i, Cat("/w", i)});
    inventory_.executables = {Executable(1, "/bin/x", 1), Executable(2, "/usr/bin/y", 2)};
    // So many that rules for every service have peers that are spelled out, too.
    options_.few_classes = Below(3) == 0 ? 64 : Below(6);
    options_.wide = Below(2) == 0 ? 256 : 4;
    options_.failsafe = DefaultFailsafe();
  }

  const std::map<std::string, std::string>& texts() const { return texts_; }
  const Inventory& inventory() const { return inventory_; }
  const CompileOptions& options() const { return options_; }
  const std::string& last() const { return last_; }

  void One() {
    const auto at = std::next(policies_.begin(), static_cast<ptrdiff_t>(Below(policies_.size())));
    EditedPolicy& policy = at->second;
    EditedRule* rule = policy.rules.empty() ? nullptr : &policy.rules[Below(policy.rules.size())];
    switch (Below(18)) {
      case 0:
        return PutWorkload(static_cast<int>(Below(12)));
      case 1:
        return PutService();
      case 2:
        return AddPolicy();
      case 3:
        if (policies_.size() < 3) return AddPolicy();
        last_ = Cat("delete ", at->first);
        texts_.erase(at->first);
        policies_.erase(at);
        return;
      case 4:
        policy.state = kStates[Below(std::size(kStates))];
        last_ = "state";
        break;
      case 5:
        policy.selects = Below(std::size(kSelectors) + 1);
        last_ = "selects";
        break;
      case 6:
        policy.rules.insert(
            policy.rules.begin() + static_cast<ptrdiff_t>(Below(policy.rules.size() + 1)),
            RandomRule());
        last_ = "add a rule";
        break;
      case 7:
        if (rule == nullptr) return;
        policy.rules.erase(policy.rules.begin() + (rule - policy.rules.data()));
        last_ = "remove a rule";
        break;
      case 8:
        if (rule == nullptr) return;
        std::swap(*rule, policy.rules[Below(policy.rules.size())]);
        last_ = "swap rules";
        break;
      case 9:
        if (rule == nullptr) return;
        (Below(2) == 0 ? rule->from : rule->to) = Below(std::size(kSelectors));
        last_ = "selector";
        break;
      case 10:
        if (rule == nullptr) return;
        rule->services = Below(std::size(kServices));
        last_ = "services";
        break;
      case 11:
        if (rule == nullptr) return;
        rule->at = Below(2) == 0 ? "both" : Below(2) == 0 ? "from" : "to";
        last_ = "at";
        break;
      case 12:
        options_.highest_state = Below(2) == 0 ? State::kEnforce : State::kTest;
        last_ = "highest state";
        return;
      case 13:
        if (options_.failsafe.empty()) {
          options_.failsafe = DefaultFailsafe();
        } else {
          options_.failsafe.pop_back();
        }
        last_ = "failsafe";
        return;
      case 14:
        inventory_.cgroups.back().path = Below(2) == 0 ? "/w4" : "/w5";
        last_ = "inventory";
        return;
      case 16:
        PutExecutable();
        return;
      case 15: {
        const std::string name = Cat("p", Below(1000));
        last_ = "rename";
        texts_.erase(at->first);
        const EditedPolicy same = policies_.extract(at).mapped();
        Put(name, policies_[name] = same);
        return;
      }
      default:
        if (rule == nullptr) return;
        rule->allow = !rule->allow;
        last_ = "verdict";
    }
    Put(at->first, policy);
  }

 private:
  size_t Below(size_t n) { return random_() % n; }

  void PutWorkload(int number) {
    const std::string name = Cat("w", number);
    last_ = Cat("workload ", name);
    std::string match = number < 6 ? Cat("cgroup: /w", number) : "";
    if (number >= 4) Append(&match, match.empty() ? "" : ", ", "addresses: [10.1.", number, ".1]");
    const std::string ports = Below(3) == 0 ? "" : Cat(", ports: {http: tcp/", 80 + Below(2), "}");
    texts_[name] = WorkloadYaml(name, Cat("{labels: {role: r", Below(3), ", env: e", Below(2),
                                          "}, match: {", match, "}", ports, "}"));
  }
  // One that selectors name, or one that none does; it comes, changes and goes.
  void PutExecutable() {
    std::vector<ExecutableInfo>& all = inventory_.executables;
    const bool named = Below(2) == 0;
    const std::string path = named ? "/bin/x" : "/opt/other";
    last_ = named ? "named executable" : "other executable";
    const uint32_t ref = named ? 3 : 4;
    const auto it = std::find_if(all.begin(), all.end(),
                                 [ref](const ExecutableInfo& one) { return one.ref == ref; });
    if (it != all.end()) {
      all.erase(it);
    } else {
      all.push_back(Executable(ref, path, static_cast<uint8_t>(10 + Below(3))));
    }
  }
  void PutService() {
    last_ = "service";
    texts_["web"] = ServiceYaml("web", Cat("{ports: [tcp/", 1999 + Below(3), "]}"));
  }
  EditedRule RandomRule() {
    return {.name = next_rule_++,
            .allow = Below(3) != 0,
            .from = Below(std::size(kSelectors)),
            .to = Below(std::size(kSelectors)),
            .services = Below(std::size(kServices))};
  }
  void AddPolicy() {
    const std::string name = Cat("p", Below(1000));
    EditedPolicy& policy = policies_[name];
    policy.selects = Below(std::size(kSelectors) + 1);
    for (size_t rules = Below(8); rules > 0; --rules) policy.rules.push_back(RandomRule());
    last_ = Cat("policy ", name);
    Put(name, policy);
  }
  void Put(const std::string& name, const EditedPolicy& policy) {
    std::string spec = Cat("{state: ", policy.state);
    if (policy.selects < std::size(kSelectors)) {
      const std::string selector = kSelectors[policy.selects];
      const bool peers_only = selector.find("cidrs") != std::string::npos;
      Append(&spec, ", selects: ", selector.empty() || peers_only ? "{}" : selector);
    }
    Append(&spec, ", rules: [");
    for (const EditedRule& rule : policy.rules) {
      Append(&spec, "{name: r", rule.name, ", verdict: ", rule.allow ? "allow" : "deny",
             ", at: ", rule.at);
      if (kSelectors[rule.from][0] != 0) Append(&spec, ", from: ", kSelectors[rule.from]);
      if (kSelectors[rule.to][0] != 0) Append(&spec, ", to: ", kSelectors[rule.to]);
      if (kServices[rule.services][0] != 0) {
        Append(&spec, ", services: ", kServices[rule.services]);
      }
      Append(&spec, "}, ");
    }
    texts_[name] = PolicyYaml(name, Cat(spec, "]}"));
  }

  std::mt19937_64 random_;
  std::map<std::string, std::string> texts_;  // by document
  std::map<std::string, EditedPolicy> policies_;
  Inventory inventory_;
  CompileOptions options_;
  int next_rule_ = 0;
  std::string last_;
};

template <typename Table>
bool SameBytes(const Table& a, const Table& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
           return std::memcmp(&x.first, &y.first, sizeof(x.first)) == 0 &&
                  std::memcmp(&x.second, &y.second, sizeof(x.second)) == 0;
         });
}

std::string Difference(const GenerationImage& a, const GenerationImage& b) {
  std::string out;
  const auto table = [&out](const char* name, bool same) {
    if (!same) Append(&out, " ", name);
  };
  table("rows", SameBytes(a.rows, b.rows));
  table("classes", SameBytes(a.classes, b.classes));
  table("groups", SameBytes(a.groups, b.groups));
  table("tails", SameBytes(a.tails, b.tails));
  table("identities", SameBytes(a.identities, b.identities));
  table("cgroups", SameBytes(a.cgroups, b.cgroups));
  table("exe_classes", SameBytes(a.exe_classes, b.exe_classes));
  table("users", SameBytes(a.users, b.users));
  table("addresses", SameBytes(a.addresses, b.addresses));
  table("ports", a.ports == b.ports);
  table("label_sets", *a.label_sets == *b.label_sets);
  table("regions", *a.regions == *b.regions);
  table("budget", BudgetText(a.budget) == BudgetText(b.budget) && a.budget.ends == b.budget.ends);
  bool rules = a.rules->size() == b.rules->size();
  for (size_t i = 0; rules && i < a.rules->size(); ++i) {
    rules = (*a.rules)[i].Name() == (*b.rules)[i].Name() &&
            (*a.rules)[i].place().line == (*b.rules)[i].place().line;
  }
  table("rules", rules);
  return out;
}

struct ReuseCoverage {
  size_t compared = 0;
  size_t same_vocabulary = 0;
  std::map<std::string, size_t> changed_rows;  // by edit: that kept the vocabulary
  std::map<std::string, size_t> same_classes;  // by edit
};

bool SharesClasses(const GenerationImage& a, const GenerationImage& b) {
  return &a.classifier->impl() == &b.classifier->impl();
}

std::vector<DocumentRef> Parse(const std::string& text) {
  Diagnostics diagnostics;
  auto documents = ParseDocuments("e.yaml", text, &diagnostics);
  INFO(text);
  REQUIRE(documents.ok());
  return ShareDocuments(*std::move(documents));
}

std::shared_ptr<const GenerationImage> ImageOf(std::vector<DocumentRef> documents,
                                               const Inventory& inventory,
                                               const CompileOptions& options) {
  Diagnostics diagnostics;
  auto set = BuildPolicySet(std::move(documents), &diagnostics);
  INFO((diagnostics.empty() ? std::string() : diagnostics[0].message));
  REQUIRE(set.ok());
  auto image = Compile(*set, inventory, options, &diagnostics);
  INFO(std::string(image.status().message()));
  REQUIRE(image.ok());
  return std::make_shared<const GenerationImage>(*std::move(image));
}

class ReuseRound {
 public:
  ReuseRound(uint64_t seed, ReuseCoverage* coverage) : edits_(seed), coverage_(coverage) {}

  bool Run(uint64_t seed) {
    for (int step = 0; step < 40; ++step) {
      if (step > 0) edits_.One();
      INFO("MSEG_INCREMENTAL_SEED=" << seed << " step " << step << ": " << edits_.last());
      std::shared_ptr<const GenerationImage> reused = Image(Documents(), reused_.get());
      std::shared_ptr<const GenerationImage> made = Image(Anew(), made_.get());
      const std::string differs = Difference(*reused, *made);
      CHECK(differs == "");
      if (!differs.empty()) return false;
      ++coverage_->compared;
      if (reused_ != nullptr && SharesClasses(*reused, *reused_)) {
        ++coverage_->same_vocabulary;
        ++coverage_->same_classes[edits_.last()];
        if (!SameBytes(reused->rows, reused_->rows)) ++coverage_->changed_rows[edits_.last()];
      }
      // What is compiled anew must share nothing, or the two would be compared with themselves.
      CHECK((made_ == nullptr || !SharesClasses(*made, *made_)));
      reused_ = std::move(reused);
      made_ = std::move(made);
    }
    return true;
  }

 private:
  std::vector<DocumentRef> Anew() const {
    std::vector<DocumentRef> out;
    for (const auto& [name, text] : edits_.texts()) out.push_back(Parse(text)[0]);
    return out;
  }
  std::vector<DocumentRef> Documents() {
    std::vector<DocumentRef> out;
    for (const auto& [name, text] : edits_.texts()) {
      DocumentRef& known = documents_[text];
      if (known == nullptr) known = Parse(text)[0];
      out.push_back(known);
    }
    return out;
  }
  std::shared_ptr<const GenerationImage> Image(std::vector<DocumentRef> documents,
                                               const GenerationImage* previous) const {
    CompileOptions options = edits_.options();
    options.previous = previous;
    return ImageOf(std::move(documents), edits_.inventory(), options);
  }

  Edits edits_;
  ReuseCoverage* coverage_;
  std::map<std::string, DocumentRef> documents_;  // by text
  std::shared_ptr<const GenerationImage> reused_;
  std::shared_ptr<const GenerationImage> made_;
};

TEST_CASE("what is reused is what would have been made", "[property]") {
  constexpr uint64_t kSeeds = 60;
  const uint64_t only = FromEnvironment("MSEG_INCREMENTAL_SEED", 0);
  const uint64_t seeds = only != 0 ? 1 : FromEnvironment("MSEG_INCREMENTAL_SEEDS", kSeeds);
  ReuseCoverage coverage;
  for (uint64_t i = 0; i < seeds; ++i) {
    const uint64_t seed = only != 0 ? only : i + 1;
    if (!ReuseRound(seed, &coverage).Run(seed)) return;
  }
  if (seeds < kSeeds) return;
  CHECK(coverage.compared == kSeeds * 40);
  CHECK(coverage.same_vocabulary > kSeeds * 13);
  for (const char* edit : {"verdict", "services", "add a rule", "remove a rule", "swap rules", "at",
                           "selector", "selects", "state", "rename", "failsafe", "highest state"}) {
    INFO(edit);
    CHECK(coverage.changed_rows[edit] > 5);
  }
  CHECK(coverage.same_classes["other executable"] > 5);
}

// More rules than a piece of a list has, so that some pieces are those of the image before.
class ManyRules {
 public:
  static constexpr size_t kPolicies = 4;
  static constexpr size_t kRules = 1500;

  ManyRules() {
    for (size_t i = 0; i < kPolicies; ++i) {
      verdicts_[i].assign(kRules, "allow");
      documents_.push_back(Parse(PolicyText(i))[0]);
    }
    for (int i = 0; i < 3; ++i) {
      workloads_ += WorkloadYaml(Cat("w", i), Cat("{labels: {role: r", i, "}, match: {cgroup: /c",
                                                  i, "}}"));
      inventory_.cgroups.push_back({static_cast<uint64_t>(i) + 1, Cat("/c", i)});
    }
    others_ = Parse(workloads_);
  }

  // The only one to hold the document of before is an image then.
  void Change(size_t policy, size_t rule) {
    const char*& verdict = verdicts_[policy][rule];
    verdict = std::string_view(verdict) == "allow" ? "deny" : "allow";
    documents_[policy] = Parse(PolicyText(policy))[0];
  }

  std::shared_ptr<const GenerationImage> Image(const GenerationImage* previous) const {
    return With(others_, documents_, previous);
  }
  std::shared_ptr<const GenerationImage> Anew(const GenerationImage* previous) const {
    std::vector<DocumentRef> documents;
    for (size_t i = 0; i < kPolicies; ++i) documents.push_back(Parse(PolicyText(i))[0]);
    return With(Parse(workloads_), documents, previous);
  }

 private:
  std::string PolicyText(size_t policy) const {
    std::string spec = "{rules: [";
    for (size_t i = 0; i < kRules; ++i) {
      Append(&spec, i == 0 ? "" : ", ", "{name: n", i, ", verdict: ", verdicts_[policy][i],
             ", from: {labels: {role: r", policy % 3, "}}, to: {labels: {role: r", i % 3,
             "}}, services: tcp/", 1 + i, "}");
    }
    return PolicyYaml(Cat("p", policy), spec + "]}");
  }
  std::shared_ptr<const GenerationImage> With(std::vector<DocumentRef> documents,
                                              const std::vector<DocumentRef>& policies,
                                              const GenerationImage* previous) const {
    documents.insert(documents.end(), policies.begin(), policies.end());
    CompileOptions options;
    options.previous = previous;
    return ImageOf(std::move(documents), inventory_, options);
  }

  std::vector<const char*> verdicts_[kPolicies];
  std::vector<DocumentRef> documents_;
  std::string workloads_;
  std::vector<DocumentRef> others_;
  Inventory inventory_;
};

TEST_CASE("one changed rule of thousands leaves the lists of the others where they are") {
  ManyRules policies;
  auto reused = policies.Image(nullptr);
  auto made = policies.Anew(nullptr);
  for (const auto& [policy, rule] : std::vector<std::pair<size_t, size_t>>{
           {0, 0}, {1, 700}, {3, ManyRules::kRules - 1}, {1, 700}, {2, 24}}) {
    policies.Change(policy, rule);
    auto next = policies.Image(reused.get());
    made = policies.Anew(made.get());
    CHECK(next->workings->program.remade == std::vector<size_t>{policy});
    size_t shared = 0;
    for (size_t i = 0; i < next->rules->size(); ++i) {
      if (&(*next->rules)[i] == &(*reused->rules)[i]) ++shared;
    }
    CHECK(shared > ManyRules::kPolicies * ManyRules::kRules / 4);
    CHECK(shared < next->rules->size());
    reused = std::move(next);  // and with the one before go its documents
    CHECK(Difference(*reused, *made) == "");
  }
}

}  // namespace
}  // namespace mseg::testing
