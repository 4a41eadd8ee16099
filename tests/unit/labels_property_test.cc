// SPDX-License-Identifier: Apache-2.0
// The compiler's tables, asked through decide.h, against a reference that knows no tables. A
// failure prints its seed; MSEG_PROPERTY_SEED=N runs that one alone, MSEG_PROPERTY_ROUNDS=N changes
// how many are run.
#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "labels/compiler.h"
#include "labels/simulator.h"
#include "labels/text.h"
#include "tests/support/environment.h"
#include "tests/support/policy_random.h"
#include "tests/support/policy_reference.h"

namespace mseg::testing {
namespace {

// One end of a question: what the tables make of it, and what the reference does.
struct End {
  uint32_t cls = 0;
  ReferenceSubject subject;
  std::string text;
};

std::string Describe(const IdentityFacts& facts) {
  std::string out = facts.labels ? Cat("labels ", facts.labels->Text())
                                 : Cat("cgroup ", facts.cgroup.value_or("(pending)"));
  if (facts.exe == IdentityFacts::Exe::kUnknown) Append(&out, " exe unknown");
  if (facts.exe == IdentityFacts::Exe::kKnown) {
    Append(&out, " exe ", facts.executable.path, " ",
           DigestText(facts.executable.digest).substr(0, 9),
           facts.executable.trusted_path ? " trusted " : " untrusted ",
           GradeName(facts.executable.grade));
    if (facts.executable.script) {
      Append(&out, " script ", facts.executable.script->path, " ",
             DigestText(facts.executable.script->digest).substr(0, 9));
    }
  }
  if (facts.uid) Append(&out, " uid ", *facts.uid);
  return Cat(out, " user ", facts.user);
}

struct Coverage {
  uint64_t decisions = 0;
  std::map<std::string, uint64_t> seen;  // by verdict and reason
  std::map<char, uint64_t> probes;       // which look-up answered
  uint64_t conflicts = 0;
  uint64_t differing_views = 0;
};

class Round {
 public:
  Round(uint64_t seed, Coverage* coverage) : seed_(seed), random_(seed), coverage_(coverage) {}

  // Whether every decision was the same; the first difference is reported.
  bool Run() {
    inventory_ = random_.Host(4);
    // The second generation keeps the numbers of the first, whatever they mean there.
    absl::StatusOr<GenerationImage> first = Generation(nullptr);
    return first.ok() && Generation(&*first).ok();
  }

 private:
  absl::StatusOr<GenerationImage> Generation(const GenerationImage* previous) {
    text_.clear();
    policy_ = random_.Policy(&text_);
    Diagnostics diagnostics;
    CompileOptions options;
    options.previous = previous;
    options.few_classes = random_.Below(8);
    options.wide = random_.Below(2) == 0 ? 256 : random_.Below(6);
    absl::StatusOr<GenerationImage> image = Compile(policy_, inventory_, options, &diagnostics);
    if (!image.ok()) {
      Fail(std::string(image.status().message()));
      return image;
    }
    coverage_->conflicts += image->conflicts.size();
    const Simulator simulator(*image);
    const PolicyReference reference(policy_, inventory_.uids);
    std::vector<End> processes;
    std::vector<End> peers;
    const absl::Status differs = absl::InternalError("a decision differs");
    if (!AddEnds(simulator, reference, &processes, &peers)) return differs;
    for (const End& local : processes) {
      for (const End& peer : peers) {
        if (!Compare(simulator, reference, local, peer)) return differs;
      }
    }
    return image;
  }

  bool Fail(const std::string& what) {
    FAIL_CHECK("MSEG_PROPERTY_SEED=" << seed_ << "\n" << what << "\n" << text_);
    return false;
  }

  bool AddEnds(const Simulator& simulator, const PolicyReference& reference,
               std::vector<End>* processes, std::vector<End>* peers) {
    const GenerationImage& image = simulator.image();
    for (size_t i = 0; i < inventory_.identities.size(); ++i) {
      processes->push_back(End{image.identity_classes[i],
                               reference.Process(inventory_.identities[i]),
                               Cat("extra ", Describe(inventory_.identities[i]))});
    }
    for (int i = 0; i < 8; ++i) {
      const IdentityFacts facts = random_.Facts(inventory_);
      uint64_t cgroup = 0;  // of no cgroup: pending
      for (const CgroupInfo& info : inventory_.cgroups) {
        if (facts.cgroup && info.path == *facts.cgroup) cgroup = info.id;
      }
      const bool known = facts.exe == IdentityFacts::Exe::kKnown;
      const mseg_identity_value value = simulator.Identity(cgroup, known ? facts.executable.ref : 0,
                                                           facts.executable.grade, *facts.uid);
      processes->push_back(End{value.cls, reference.Process(facts), Describe(facts)});
      const std::optional<uint32_t> asked = image.classifier->ClassOf(facts);
      if (asked != value.cls) return Fail(Cat("classifier disagrees on ", Describe(facts)));
      if (!LabelsAgree(image, value.label_id, processes->back().subject)) {
        return Fail(Cat("labels of ", Describe(facts)));
      }
    }
    *peers = *processes;
    for (int i = 0; i < 5; ++i) {
      const IpAddress address = random_.Address();
      peers->push_back(End{simulator.AddressClass(address), reference.Address(address),
                           Cat("address ", IpAddressText(address))});
      if (image.classifier->ClassOfAddress(address) != peers->back().cls) {
        return Fail(Cat("classifier disagrees on ", IpAddressText(address)));
      }
    }
    return true;
  }

  // The label id must mean the reference's labels, or be 0 where one of them is open. That it is
  // the kernel itself is shown only where it lives, or where rules ask.
  static bool LabelsAgree(const GenerationImage& image, uint64_t id,
                          const ReferenceSubject& subject) {
    LabelSet certain;
    bool open = subject.all_labels_unknown;
    for (const auto& [key, choice] : subject.labels) {
      if (choice.unknown || key == kKernelKey) continue;  // unknown: a conflict, it is left out
      if (choice.values.size() != 1) {
        open = true;
      } else if (const auto& value = *choice.values.begin()) {
        certain.SetReserved(key, *value);
      }
    }
    if (open) return id == 0;
    const auto it = image.label_sets->find(id);
    if (it == image.label_sets->end()) return false;
    LabelSet shown;
    for (const auto& [key, value] : it->second.values()) {
      if (key != kKernelKey) shown.SetReserved(key, value);
    }
    return shown == certain;
  }

  static std::string RuleText(const GenerationImage& image, uint32_t number) {
    return (*image.rules)[number].Name();
  }

  static std::string Text(const ReferenceVerdict::View& view) {
    return Cat(view.allow ? "allow " : "deny ", ReasonName(view.reason), " ", view.rule);
  }

  bool Compare(const Simulator& simulator, const PolicyReference& reference, const End& local,
               const End& peer) {
    const GenerationImage& image = simulator.image();
    for (mseg_direction direction : {MSEG_EGRESS, MSEG_INGRESS}) {
      const auto [protocol, port] = random_.Service();
      const mseg_decision d = simulator.Decide(local.cls, peer.cls, direction, protocol, port);
      const ReferenceVerdict got{
          .enforced = {d.verdict == MSEG_ALLOW, d.reason, RuleText(image, d.rule)},
          .would_be = {d.would_be == MSEG_ALLOW, d.would_reason, RuleText(image, d.would_rule)}};
      const ReferenceVerdict want =
          reference.Judge(local.subject, peer.subject, direction, protocol, port);
      ++coverage_->decisions;
      ++coverage_->probes[static_cast<char>(d.probe)];
      ++coverage_->seen[Cat(VerdictName(d.verdict), " ", ReasonName(d.reason))];
      coverage_->differing_views += got.enforced == got.would_be ? 0 : 1;
      if (got == want) continue;
      return Fail(Cat(DirectionName(direction), " protocol ", static_cast<int>(protocol), " port ",
                      port, "\nlocal: ", local.text, " (class ", local.cls, ")\npeer: ", peer.text,
                      " (class ", peer.cls, ")\ntables: ", Text(got.enforced), " / ",
                      Text(got.would_be), "\nreference: ", Text(want.enforced), " / ",
                      Text(want.would_be)));
    }
    return true;
  }

  uint64_t seed_;
  PolicyRandom random_;
  Coverage* coverage_;
  std::string text_;
  PolicySet policy_;
  Inventory inventory_;
};

TEST_CASE("tables and reference agree on random policies", "[property]") {
  const uint64_t only = FromEnvironment("MSEG_PROPERTY_SEED", 0);
  const uint64_t rounds = only != 0 ? 1 : FromEnvironment("MSEG_PROPERTY_ROUNDS", 2000);
  Coverage coverage;
  for (uint64_t i = 0; i < rounds; ++i) {
    if (!Round(only != 0 ? only : i + 1, &coverage).Run()) return;
  }
  if (only != 0 || rounds < 2000) return;
  // What the test is for must have come up.
  CHECK(coverage.decisions >= 200'000);
  CHECK(coverage.conflicts > 100);
  CHECK(coverage.differing_views > 1000);
  for (const char probe : {'a', 'b', 'c', 'd', 'e', 'f'}) {
    INFO(probe);
    CHECK(coverage.probes[probe] > 1000);
  }
  for (const char* outcome :
       {"deny rule", "allow rule", "deny default", "allow default", "deny unknown_identity"}) {
    INFO(outcome);
    CHECK(coverage.seen[outcome] > 1000);
  }
}

}  // namespace
}  // namespace mseg::testing
