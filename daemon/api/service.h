// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_API_SERVICE_H_
#define MSEG_DAEMON_API_SERVICE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "labels/diagnostic.h"
#include "labels/image.h"

// What the daemon offers to msegctl, as plain C++: the daemon implements api::Service, the RPC
// server carries it over a socket, and msegctl's client is an api::Service again. Nothing here
// knows of Cap'n Proto. (mseg::Service without `api` is a document of a policy, labels/ast.h.)
//
// Times are microseconds since the Unix epoch, 0 where a time is not known. Words (verdicts,
// reasons, grades, directions, protocols, modes) are the words of docs/json.md, lower case; an
// empty string means "does not apply".
namespace mseg {

namespace api {

// Labels in the sense of LabelSet::values().
using Labels = std::map<std::string, std::string, std::less<>>;

// Who asks, as the kernel says it (SO_PEERCRED). Never sent: the RPC server fills it in.
struct Caller {
  uint32_t uid = 0;
  uint32_t pid = 0;
};

// ---- status -------------------------------------------------------------------------------------

struct Feature {
  std::string name;
  bool present = false;
  std::string costs;  // what is lost without it; empty if nothing
};

struct Program {
  std::string name;
  std::string attach;  // attach type: cgroup_inet4_connect, lsm, ...
  std::string cgroup;  // path of the cgroup it is attached to; empty if it is global
  int64_t loaded_at_us = 0;
};

struct UnknownExecutable {
  std::string path;
  std::string reason;  // unlinked, remote, no_path, unreadable, ...
  uint32_t pid = 0;    // a process that runs it, 0 if none is left
};

struct UnlabelledListener {
  std::string protocol;  // tcp, udp
  std::string address;
  uint32_t port = 0;
  uint32_t pid = 0;
  std::string exe;
};

// A revision that is taken back at the deadline unless it is confirmed.
struct PendingConfirmation {
  uint64_t revision = 0;
  uint64_t back_to = 0;
  int64_t deadline_us = 0;
};

// Until then this host blocks nothing.
struct PanicState {
  int64_t since_us = 0;
  int64_t until_us = 0;
  std::string author;
  std::string reason;
};

// What no policy can cut.
struct Failsafe {
  std::string direction;
  std::vector<std::string> services;
  std::string exe;  // empty: every process
};

// Somebody tried to change mseg itself, and was refused.
struct Tampering {
  int64_t time_us = 0;
  std::string act;       // map, link, program, bpf_load, file, unmount, signal, trace
  uint64_t subject = 0;  // see enum mseg_tamper
  uint32_t pid = 0;
  uint32_t uid = 0;
  std::string comm;
  std::string exe;  // empty: not known
};

struct Status {
  std::string mode;    // full, cgroup
  std::string kernel;  // uname -r
  std::vector<Feature> features;
  std::vector<std::string> gaps;  // sentences: what is not covered on this host, and why
  uint64_t generation = 0;        // 0: none has ever been active
  uint64_t revision = 0;
  uint32_t host_id = 0;
  std::string host_name;
  uint64_t trusted_hosts = 0;
  uint64_t host_records = 0;  // trusted hosts whose identity records are here
  std::vector<Program> programs;
  std::vector<std::pair<std::string, uint64_t>> counters;  // in the order to be shown
  std::vector<std::string> conflicts;                      // sentences
  std::vector<UnknownExecutable> unknown_executables;
  std::vector<UnlabelledListener> unlabelled_listeners;
  std::optional<PendingConfirmation> pending;
  std::optional<PanicState> panic;
  std::vector<Failsafe> failsafe;
  std::vector<Tampering> tampering;  // the last attempts, oldest first
  std::string last_drift;  // the last difference between kernel and simulator; empty: none was seen
};

// ---- policy -------------------------------------------------------------------------------------

struct PolicyFile {
  std::string name;  // for diagnostics and `at`
  std::string text;
};

struct ApplyRequest {
  std::vector<PolicyFile> files;
  std::string message;
  std::string author;    // what the caller says of itself
  bool dry_run = false;  // everything up to the store, nothing after
  // Not 0: taken back after so long unless confirmed. While something waits, a request without it
  // is refused; with it the deadline moves and what to go back to stays.
  int64_t confirm_within_us = 0;
  // Documents that an earlier request took from a file of one of these names, and that are not in
  // any of them now, go.
  bool prune = false;
  Caller caller;
};

// Milliseconds of each step; 0 for a step that was not taken.
struct Timings {
  double check = 0;
  double compile = 0;
  double store = 0;
  double stage = 0;
  double flip = 0;
  double close = 0;
};

struct Change {
  std::string action;  // created, configured, unchanged, deleted
  std::string kind;
  std::string name;
};

struct ApplyReport {
  uint64_t revision = 0;    // in force now; of a dry run: what it still is
  uint64_t generation = 0;  // same
  uint64_t will_close = 0;  // open connections that the new policy denies
  uint64_t closed = 0;
  Timings timings_ms;
  Budget budget;
  std::vector<Change> changes;
  std::optional<PendingConfirmation> pending;  // what waits afterwards
};

struct DocumentId {
  std::string kind;  // any case: `policy` and `Policy` are the same
  std::string name;
};

struct Document {
  std::string kind;
  std::string name;
  std::string text;  // one YAML document, without `---`
  std::string file;  // where it came from
  int line = 0;
  uint64_t revision = 0;  // that changed it last
};

struct DeleteRequest {
  std::vector<DocumentId> documents;
  std::string message;
  std::string author;
  Caller caller;
};

// ---- revisions ----------------------------------------------------------------------------------

struct RevisionInfo {
  uint64_t number = 0;
  int64_t time_us = 0;
  std::string author;           // what they said of themselves
  std::optional<uint32_t> uid;  // nothing: msegd itself, or an old entry
  std::string user;
  std::string message;
  std::string event;     // change, panic, panic_end
  uint64_t changed = 0;  // documents
  bool active = false;   // in force now
};

struct HistoryRequest {
  uint32_t limit = 0;   // 0: as many as the service gives at once
  uint64_t before = 0;  // only smaller numbers; 0: from the last one
};

struct RollbackRequest {
  std::optional<uint64_t>
      revision;  // nothing: the one before the last change, or before what waits
  std::string message;
  std::string author;
  bool dry_run = false;
  Caller caller;
};

struct PanicRequest {
  bool end = false;
  int64_t for_us = 0;  // ignored with `end`
  std::string reason;
  std::string author;
  Caller caller;
};

// ---- explain ------------------------------------------------------------------------------------

struct ExplainQuery {
  std::string from;  // endpoints as in docs/msegctl.md
  std::string to;
  std::string service;  // tcp/3306, icmp, or the name of a Service
};

struct ExplainAnswer {
  std::string error;  // not empty: this query could not be resolved, the rest means nothing
  std::string verdict;
  std::string egress;
  std::string ingress;
  std::string would_be;
  std::string reason;
  std::string rule;                  // POLICY/RULE
  std::string at;                    // FILE:LINE
  std::string would_rule;            // POLICY/RULE behind would_be
  std::vector<std::string> lookups;  // each look-up tried, in order
  std::string kernel;                // with `kernel`: the verdict of the live maps
  bool drift = false;                // the live maps disagree with the simulator
};

struct WhyRequest {
  bool last = false;  // the last refusal on record, `pid` 0: of any process
  uint32_t pid = 0;
  std::string address;  // these three only without `last`
  std::string protocol;
  uint32_t port = 0;
};

struct WhyEnd {
  bool managed = false;  // a process of this host; otherwise an address
  uint32_t pid = 0;
  Labels labels;
  std::string exe;
  std::string digest;
  std::string script;  // what it is the interpreter of; empty: nothing, or not known
  std::string script_digest;
  std::string grade;
  std::string user;
  std::string address;
};

struct WhyAnswer {
  std::string source;   // flow: it happened; explain: it would
  int64_t time_us = 0;  // of the flow
  std::string protocol;
  uint32_t port = 0;
  WhyEnd from;
  WhyEnd to;
  std::string verdict;
  std::string would_be;
  std::string egress;
  std::string ingress;
  std::string reason;
  std::string rule;
  std::string at;
  std::string allow;  // a document that would allow it; empty if it is allowed, or nothing would
  std::string note;   // what else is to be known, a sentence
};

// ---- identities ---------------------------------------------------------------------------------

struct Process {
  uint32_t pid = 0;
  std::string comm;
  Labels labels;
  std::string exe;
  std::string digest;  // sha256:HEX; empty while unknown
  std::string script;  // what it is the interpreter of; empty: nothing, or not known
  std::string script_digest;
  std::string grade;
  uint64_t exe_id = 0;
  uint64_t label_id = 0;
  std::string cgroup;
  std::string user;
  uint32_t cls = 0;            // class number of the active generation
  std::string unknown_reason;  // why the identity is unknown; empty if it is known
};

// ---- hosts --------------------------------------------------------------------------------------

// This host, or one that is trusted here.
struct Host {
  bool own = false;
  uint32_t id = 0;
  std::string name;
  std::vector<std::string> addresses;
  std::vector<std::string> claims;  // k=v,k=v: what its record lets it claim; none: anything
  std::vector<std::string> limits;  // what the operator does, beside it
  std::string signing_key;          // hexadecimal
  std::string exchange_key;
  int64_t issued_us = 0;
  int64_t trusted_at_us = 0;  // of others, with the three below
  std::string author;
  std::optional<uint32_t> uid;
  std::string user;
  uint64_t sequence = 0;  // of its identity records; 0: there are none, and neither the next four
  int64_t records_issued_us = 0;
  uint64_t labels = 0;
  uint64_t executables = 0;
  uint64_t pairs = 0;
  std::string record;  // the file that others trust
};

struct HostInit {
  uint32_t id = 0;
  std::string name;  // empty: the daemon's
  std::vector<std::string> addresses;
  std::vector<std::string> claims;
  bool replace = false;
  std::string author;
  Caller caller;
};

struct HostTrust {
  PolicyFile file;
  std::vector<std::string> limits;
  bool replace = false;
  std::string author;
  Caller caller;
};

struct HostDistrust {
  std::string target;  // id or name
  std::string author;
  Caller caller;
};

struct RecordImport {
  std::vector<PolicyFile> files;
  std::string author;
  Caller caller;
};

// What an import did for one file.
struct RecordImported {
  std::string file;
  std::string action;  // imported, unchanged
  Host host;
};

// What one short id means.
struct IdentityRecord {
  uint32_t host_id = 0;
  std::string host_name;
  std::string kind;  // label, executable
  uint64_t id = 0;
  Labels labels;  // of a label id, with `permitted`
  bool permitted = false;
  std::string digest;  // of an executable id, and all below
  std::string script;
  std::string path;
  std::string package;
  bool trusted_path = false;
  std::vector<std::string> aliases;
};

// ---- flows --------------------------------------------------------------------------------------

struct FlowLocal {
  Labels labels;
  std::string exe;
  std::string digest;
  std::string script;  // what it is the interpreter of; empty: nothing, or not known
  std::string script_digest;
  std::string grade;
  uint32_t pid = 0;
};

struct FlowPeer {
  Labels labels;
  std::string exe;
  std::string digest;
  std::string script;  // what it is the interpreter of; empty: nothing, or not known
  std::string script_digest;
  std::string grade;
  std::string address;
  uint32_t port = 0;  // 0 where it is not known
};

struct FlowRecord {
  int64_t time_us = 0;    // when it was seen last
  std::string direction;  // egress, ingress
  std::string protocol;
  FlowLocal local;
  FlowPeer peer;
  uint32_t port = 0;  // the service: the responder's port
  std::string verdict;
  std::string would_be;
  std::string reason;
  std::string rule;  // POLICY/RULE
  std::string would_rule;
  std::string hook;
  std::string proof;  // bound, unbound, none, legacy; empty: not between hosts
  uint64_t generation = 0;
  uint64_t count = 0;  // how many times
};

struct FlowsRequest {
  // Set: what came after it, oldest first (0: from the oldest that is kept). Not set: the newest
  // `limit` records that pass the filter, oldest first.
  std::optional<uint64_t> cursor;
  uint32_t limit = 0;         // 0: as many as the service gives at once
  std::string verdict;        // allow, deny; empty: any
  int64_t since_unix_us = 0;  // 0: any
};

// No records: nothing after the cursor passes the filter (so far).
struct FlowPage {
  std::vector<FlowRecord> records;
  uint64_t next_cursor = 0;  // for the next call, even if there were no records
  uint64_t lost = 0;         // records after the cursor that were dropped before they were read
};

// The most records that one call may ask for or give.
inline constexpr uint32_t kMaxFlowPage = 10000;
// The most revisions that one call may ask for or give.
inline constexpr uint32_t kMaxHistoryPage = 1000;
// The most policy text that one call may carry.
inline constexpr uint64_t kMaxPolicyBytes = 64ull << 20;

// Called by the RPC server on the thread of its event loop, one call at a time. A call that blocks
// makes other clients wait, and nothing else.
//
// Errors: InvalidArgument and NotFound for what the caller got wrong (nothing was changed),
// FailedPrecondition, Unimplemented and ResourceExhausted for what this kernel or this state cannot
// do; the message names what is missing. Policy errors are InvalidArgument, and all that is wrong
// is in `diagnostics` (never null, empty on entry).
class Service {
 public:
  virtual ~Service() = default;

  virtual absl::StatusOr<Status> GetStatus() = 0;

  virtual absl::StatusOr<ApplyReport> ApplyPolicy(const ApplyRequest& request,
                                                  Diagnostics* diagnostics) = 0;
  // Documents in a stable order. An empty kind or name means any; NotFound only if both are given.
  // `revision`: as they were after it, 0 for before the first.
  virtual absl::StatusOr<std::vector<Document>> GetPolicies(const std::string& kind,
                                                            const std::string& name,
                                                            std::optional<uint64_t> revision) = 0;
  // All of them or none: NotFound names those that do not exist.
  virtual absl::StatusOr<ApplyReport> DeletePolicies(const DeleteRequest& request,
                                                     Diagnostics* diagnostics) = 0;

  // Newest first.
  virtual absl::StatusOr<std::vector<RevisionInfo>> History(const HistoryRequest& request) = 0;
  // A new revision with the documents of an old one. Settles what waits for confirmation.
  virtual absl::StatusOr<ApplyReport> Rollback(const RollbackRequest& request,
                                               Diagnostics* diagnostics) = 0;
  // What waited; FailedPrecondition if nothing does.
  virtual absl::StatusOr<PendingConfirmation> Confirm() = 0;
  // Begins, prolongs or ends a panic. FailedPrecondition: none to end.
  virtual absl::StatusOr<ApplyReport> SetPanic(const PanicRequest& request) = 0;

  // One answer a query, in order. `kernel`: ask the live maps too. Fails as a whole only if nothing
  // could be asked; a query that cannot be resolved has its own `error`.
  virtual absl::StatusOr<std::vector<ExplainAnswer>> Explain(
      const std::vector<ExplainQuery>& queries, bool kernel) = 0;

  // NotFound: no such process, or no refusal is on record.
  virtual absl::StatusOr<WhyAnswer> Why(const WhyRequest& request) = 0;

  virtual absl::StatusOr<std::vector<Process>> ListIdentities() = 0;
  // `target` is a pid in decimal, or the absolute path of a file: its identity if it were executed
  // now, with pid 0. NotFound if there is no such process or file.
  virtual absl::StatusOr<Process> ShowIdentity(const std::string& target) = 0;

  virtual absl::StatusOr<FlowPage> Flows(const FlowsRequest& request) = 0;

  // This host first, if it has an identity; then those that are trusted, by id.
  virtual absl::StatusOr<std::vector<Host>> ListHosts() = 0;
  // Each answers with the host as it is then; FailedPrecondition for what would take a key back.
  virtual absl::StatusOr<Host> InitHost(const HostInit& request) = 0;
  virtual absl::StatusOr<Host> TrustHost(const HostTrust& request) = 0;
  virtual absl::StatusOr<Host> DistrustHost(const HostDistrust& request) = 0;  // as it was
  // This host's identity records, as a file for others.
  virtual absl::StatusOr<std::string> ExportRecords() = 0;
  // All files or none, in their order.
  virtual absl::StatusOr<std::vector<RecordImported>> ImportRecords(
      const RecordImport& request) = 0;
  // `host`: an id or a name; empty: of all, this one included.
  virtual absl::StatusOr<std::vector<IdentityRecord>> ListRecords(const std::string& host) = 0;
};

}  // namespace api

// The exit codes of msegctl and msegd.
enum ExitCode : int {
  kExitDone = 0,
  kExitNo = 1,           // the answer is no: never an error
  kExitBadInput = 2,     // bad usage or bad input, nothing was changed
  kExitUnreachable = 3,  // the daemon cannot be reached
  kExitRefused = 4,      // this kernel or this state cannot do it
};

// The one place where a status becomes an exit code.
inline ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kOutOfRange:
      return kExitBadInput;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    default:
      return kExitRefused;
  }
}

}  // namespace mseg

#endif  // MSEG_DAEMON_API_SERVICE_H_
