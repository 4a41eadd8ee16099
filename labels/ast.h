// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_AST_H_
#define MSEG_LABELS_AST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "labels/address.h"
#include "labels/diagnostic.h"
#include "labels/label.h"
#include "mseg/abi.h"

// What people wrote, checked field by field and nothing more: names are not resolved, documents not
// compared. docs/policy.md says what it means.

namespace mseg {

// Of a policy and of a workload; ordered, the lower one of the two counts.
enum class State : uint8_t { kBuild = 0, kTest = 1, kEnforce = 2 };
std::string_view StateName(State state);
absl::StatusOr<State> ParseState(std::string_view text);

// `path`, `hash`, `ima`, `verity` (and `unknown`, which no document may ask for).
std::string_view GradeName(mseg_grade grade);
absl::StatusOr<mseg_grade> ParseGrade(std::string_view text);

// A place inside a document; the document knows the file. Both count from 1.
struct Spot {
  int line = 0;
  int column = 0;
  bool operator==(const Spot&) const = default;
};

template <typename T>
struct Spotted {
  T value{};
  Spot spot;
};
using SpottedText = Spotted<std::string>;

struct LabelRequirement {
  enum class Operator : uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Operator op = Operator::kIn;
  std::vector<std::string> values;  // sorted, each once; `key: value` is In with one value
  Spot spot;
};

struct ProcessSelector {
  std::vector<SpottedText> names;  // file names, compared as they are
  std::vector<SpottedText> exes;   // absolute paths, globs allowed
  std::vector<Spotted<Digest>> digests;
  std::optional<mseg_grade> grade;  // least grade accepted
  std::vector<SpottedText> users;   // names or numbers
  // `script`: what it is the interpreter of; absolute paths, globs allowed, or contents.
  std::vector<SpottedText> scripts;
  std::vector<Spotted<Digest>> script_digests;
  // `pin`: `true` (here), until what lies at the paths has been looked up; then the digests found,
  // which are in `digests`.
  std::optional<Spot> pin;
  bool pinned = false;
  Spot spot;
};

struct Selector {
  std::vector<LabelRequirement> labels;
  std::optional<ProcessSelector> process;
  std::vector<Spotted<Cidr>> cidrs;
  std::vector<Spotted<Cidr>> except;
  bool all_peers = false;  // `peers: all`: `cidrs` match peers with an identity too
  Spot spot;

  bool MatchesAnyone() const { return labels.empty() && !process && cidrs.empty(); }
};

// Ports of one protocol or types of ICMP, or (kProtocol) a whole protocol, or (kAny) everything.
struct PortRange {
  enum class Kind : uint8_t { kPorts, kProtocol, kAny };
  Kind kind = Kind::kPorts;
  uint8_t protocol = 0;  // IPPROTO_*
  uint16_t first = 0;
  uint16_t last = 0;
  auto operator<=>(const PortRange&) const = default;
  template <typename H>
  friend H AbslHashValue(H hash, const PortRange& range) {
    return H::combine(std::move(hash), static_cast<int>(range.kind), range.protocol, range.first,
                      range.last);
  }
};
// `tcp/3306`, `tcp/8000-8010`, `udp/53`, `sctp/36412`, `icmp` (both families), `icmp/TYPE`
// (icmp_types.h), `any`. The text must be of one of these forms; a service's name is not.
absl::StatusOr<std::vector<PortRange>> ParsePortItem(std::string_view text);
// Whether `text` has the form of a port item rather than of a service's name.
bool LooksLikePortItem(std::string_view text);

// `tcp/http`: whatever port the responder's Workload calls so.
struct PortName {
  uint8_t protocol = 0;  // IPPROTO_*
  std::string name;
  auto operator<=>(const PortName&) const = default;
};
// Nothing if `text` does not have that form.
std::optional<PortName> ParsePortName(std::string_view text);
std::string PortNameText(const PortName& name);

// One item under `services`: ports written in place, a named port, or the name of a Service.
struct ServiceItem {
  std::string service;  // empty for ports written in place
  std::optional<PortName> named;
  std::vector<PortRange> ports;
  Spot spot;
  // What a sentence calls the ports that it gives, `MySQL(tcp/3306)`; says nothing by itself, but a
  // Service of that name must have the same ports.
  std::string described_as;
};

enum class RuleAt : uint8_t { kBoth, kFrom, kTo };

struct Rule {
  std::string name;  // `#N`, counted from 1, where none was given
  mseg_verdict verdict = MSEG_ALLOW;
  std::optional<Selector> from;
  std::optional<Selector> to;
  RuleAt at = RuleAt::kBoth;
  std::vector<ServiceItem> services;  // empty: every service
  Spot spot;
};

struct PolicyForm;

struct Policy {
  State state = State::kEnforce;
  std::optional<Selector> selects;  // absent: nobody
  bool ingress = true;
  bool egress = true;
  std::vector<Rule> rules;
  // What it says, for the compiler (policy_form.h); null until the document is shared.
  std::shared_ptr<const PolicyForm> form = nullptr;
};

struct WorkloadMatch {
  std::vector<SpottedText> cgroups;  // paths below the cgroup root, globs allowed
  std::vector<SpottedText> exes;
  std::vector<Spotted<Digest>> digests;
  std::vector<SpottedText> users;
  bool host = false;
  std::vector<Spotted<Cidr>> addresses;  // single addresses
  Spot spot;

  bool HasProcessField() const { return !exes.empty() || !digests.empty() || !users.empty(); }
  // `addresses` alone says where somebody else is reached; it describes no process of this host.
  bool MatchesProcesses() const { return HasProcessField() || !cgroups.empty() || host; }
};

struct Workload {
  LabelSet labels;
  Spot labels_spot;
  WorkloadMatch match;
  State state = State::kEnforce;
  bool loopback_allowed = false;       // `loopback: allow`
  uint16_t doors = 0;                  // mseg_doors: `passing`, `unix`, `raw`, `family`, ...
  Spot full_mode_spot;                 // the first of them that needs full mode; line 0: none
  std::map<PortName, uint16_t> ports;  // named ports
};

// The families of sockets that a Workload can open.
struct DoorFamily {
  std::string_view name;
  uint16_t door;
};
inline constexpr DoorFamily kDoorFamilies[] = {
    {"packet", MSEG_DOOR_PACKET}, {"vsock", MSEG_DOOR_VSOCK}, {"xdp", MSEG_DOOR_XDP},
    {"alg", MSEG_DOOR_ALG},       {"can", MSEG_DOOR_CAN},     {"tipc", MSEG_DOOR_TIPC},
    {"bluetooth", MSEG_DOOR_BLUETOOTH}};

struct Service {
  std::vector<PortRange> ports;
};

struct AddressGroup {
  LabelSet labels;
  Spot labels_spot;
  std::vector<Spotted<Cidr>> cidrs;
  std::vector<Spotted<Cidr>> except;
};

enum class DocumentKind : uint8_t { kWorkload, kPolicy, kService, kAddressGroup };
std::string_view DocumentKindName(DocumentKind kind);  // as written: `Workload`, ...

struct Document {
  DocumentKind kind = DocumentKind::kPolicy;
  std::string name;
  std::string file;
  Spot name_spot;
  // The document's own YAML, without the `---` line, or its sentence. Parsing it alone with `file`
  // and `first_line` gives this document again, places included. That is how a store keeps
  // documents one by one.
  std::string text;
  int first_line = 1;
  std::variant<Workload, Policy, Service, AddressGroup> spec;

  Place At(const Spot& spot) const { return Place{file, spot.line, spot.column}; }
  Place place() const { return At(name_spot); }
};

// Documents are large and never change: whoever needs one shares it.
using DocumentRef = std::shared_ptr<const Document>;

inline constexpr size_t kMaxDocuments = size_t{1} << 18;  // of one text

// Where the document says `pin: true`, and beside what.
struct Pin {
  Spot spot;
  std::vector<std::string> names;
  std::vector<std::string> exes;
};
std::vector<Pin> PinsOf(const Document& document);
// The document's text with digests in place of `true`, one list a pin, in their order. On the same
// lines as before.
absl::StatusOr<std::string> PinnedText(const Document& document, const std::vector<Pin>& pins,
                                       const std::vector<std::vector<Digest>>& digests);

// Text to documents: sentences if the file's name ends in `.mseg`, YAML otherwise. Collects every
// error of the text, not only the first; gives InvalidArgument if there was one. `first_line` is
// the number of the text's first line in `file`.
absl::StatusOr<std::vector<Document>> ParseDocuments(std::string_view file, std::string_view text,
                                                     Diagnostics* diagnostics, int first_line = 1);

}  // namespace mseg

#endif  // MSEG_LABELS_AST_H_
