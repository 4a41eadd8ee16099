# SPDX-License-Identifier: Apache-2.0
@0xb7f25ab3e6f3c1d9;

# What msegd says to msegctl. The meaning of every field is in daemon/api/service.h, whose structs
# these mirror one to one; daemon/api/convert.cc is the only code that knows both.
#
# Errors are data: every result holds an `error` whose code is an absl::StatusCode. An exception of
# the RPC system means that the connection is of no use any more.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("mseg::wire");

struct Diagnostic {
  file @0 :Text;
  line @1 :Int32;
  column @2 :Int32;
  message @3 :Text;
  sourceLine @4 :Text;
}

struct Error {
  code @0 :UInt16;
  message @1 :Text;
  diagnostics @2 :List(Diagnostic);
}

struct Label {
  key @0 :Text;
  value @1 :Text;
}

struct Feature {
  name @0 :Text;
  present @1 :Bool;
  costs @2 :Text;
}

struct Program {
  name @0 :Text;
  attach @1 :Text;
  cgroup @2 :Text;
  loadedAtUs @3 :Int64;
}

struct Counter {
  name @0 :Text;
  value @1 :UInt64;
}

struct UnknownExecutable {
  path @0 :Text;
  reason @1 :Text;
  pid @2 :UInt32;
}

struct UnlabelledListener {
  protocol @0 :Text;
  address @1 :Text;
  port @2 :UInt32;
  pid @3 :UInt32;
  exe @4 :Text;
}

struct PendingConfirmation {
  revision @0 :UInt64;
  backTo @1 :UInt64;
  deadlineUs @2 :Int64;
}

struct PanicState {
  sinceUs @0 :Int64;
  untilUs @1 :Int64;
  author @2 :Text;
  reason @3 :Text;
}

struct Failsafe {
  direction @0 :Text;
  services @1 :List(Text);
  exe @2 :Text;
}

struct Tampering {
  timeUs @0 :Int64;
  act @1 :Text;
  subject @2 :UInt64;
  pid @3 :UInt32;
  uid @4 :UInt32;
  comm @5 :Text;
  exe @6 :Text;
}

struct Status {
  mode @0 :Text;
  kernel @1 :Text;
  features @2 :List(Feature);
  gaps @3 :List(Text);
  generation @4 :UInt64;
  revision @5 :UInt64;
  hostId @6 :UInt32;
  hostName @7 :Text;
  programs @8 :List(Program);
  counters @9 :List(Counter);
  conflicts @10 :List(Text);
  unknownExecutables @11 :List(UnknownExecutable);
  unlabelledListeners @12 :List(UnlabelledListener);
  pending @13 :PendingConfirmation;  # null: nothing waits
  panic @14 :PanicState;             # null: no panic
  failsafe @15 :List(Failsafe);
  lastDrift @16 :Text;
  trustedHosts @17 :UInt64;
  hostRecords @18 :UInt64;
  tampering @19 :List(Tampering);
}

struct PolicyFile {
  name @0 :Text;
  text @1 :Data;  # as it is in the file, which need not be UTF-8
}

struct ApplyRequest {
  files @0 :List(PolicyFile);
  message @1 :Text;
  author @2 :Text;
  dryRun @3 :Bool;
  confirmWithinUs @4 :Int64;
  prune @5 :Bool;
}

struct Timings {
  check @0 :Float64;
  compile @1 :Float64;
  store @2 :Float64;
  stage @3 :Float64;
  flip @4 :Float64;
  close @5 :Float64;
}

struct Budget {
  policies @0 :UInt64;
  rules @1 :UInt64;
  workloads @2 :UInt64;
  classes @3 :UInt64;
  entries @4 :UInt64;
  kernelBytes @5 :UInt64;
  portClasses @6 :UInt64;
  rows @7 :UInt64;
  identities @8 :UInt64;
}

struct Change {
  action @0 :Text;
  kind @1 :Text;
  name @2 :Text;
}

struct ApplyReport {
  revision @0 :UInt64;
  generation @1 :UInt64;
  willClose @2 :UInt64;
  closed @3 :UInt64;
  timingsMs @4 :Timings;
  budget @5 :Budget;
  changes @6 :List(Change);
  pending @7 :PendingConfirmation;  # null: nothing waits
}

struct DocumentId {
  kind @0 :Text;
  name @1 :Text;
}

struct Document {
  kind @0 :Text;
  name @1 :Text;
  text @2 :Data;
  file @3 :Text;
  line @4 :Int32;
  revision @5 :UInt64;
}

struct RevisionInfo {
  number @0 :UInt64;
  timeUs @1 :Int64;
  author @2 :Text;
  hasUid @3 :Bool;
  uid @4 :UInt32;
  user @5 :Text;
  message @6 :Text;
  event @7 :Text;
  changed @8 :UInt64;
  active @9 :Bool;
}

struct HistoryRequest {
  limit @0 :UInt32;
  before @1 :UInt64;
}

struct RollbackRequest {
  hasRevision @0 :Bool;
  revision @1 :UInt64;
  message @2 :Text;
  author @3 :Text;
  dryRun @4 :Bool;
}

struct PanicRequest {
  end @0 :Bool;
  forUs @1 :Int64;
  reason @2 :Text;
  author @3 :Text;
}

struct WhyRequest {
  last @0 :Bool;
  pid @1 :UInt32;
  address @2 :Text;
  protocol @3 :Text;
  port @4 :UInt32;
}

struct WhyEnd {
  managed @0 :Bool;
  pid @1 :UInt32;
  labels @2 :List(Label);
  exe @3 :Text;
  digest @4 :Text;
  grade @5 :Text;
  user @6 :Text;
  address @7 :Text;
  script @8 :Text;
  scriptDigest @9 :Text;
}

struct WhyAnswer {
  source @0 :Text;
  timeUs @1 :Int64;
  protocol @2 :Text;
  port @3 :UInt32;
  from @4 :WhyEnd;
  to @5 :WhyEnd;
  verdict @6 :Text;
  wouldBe @7 :Text;
  egress @8 :Text;
  ingress @9 :Text;
  reason @10 :Text;
  rule @11 :Text;
  at @12 :Text;
  allow @13 :Text;
  note @14 :Text;
}

struct ExplainQuery {
  from @0 :Text;
  to @1 :Text;
  service @2 :Text;
}

struct ExplainAnswer {
  error @0 :Text;
  verdict @1 :Text;
  egress @2 :Text;
  ingress @3 :Text;
  wouldBe @4 :Text;
  reason @5 :Text;
  rule @6 :Text;
  at @7 :Text;
  wouldRule @8 :Text;
  lookups @9 :List(Text);
  kernel @10 :Text;
  drift @11 :Bool;
}

struct Process {
  pid @0 :UInt32;
  comm @1 :Text;
  labels @2 :List(Label);
  exe @3 :Text;
  digest @4 :Text;
  grade @5 :Text;
  exeId @6 :UInt64;
  labelId @7 :UInt64;
  cgroup @8 :Text;
  user @9 :Text;
  cls @10 :UInt32;
  unknownReason @11 :Text;
  script @12 :Text;
  scriptDigest @13 :Text;
}

struct FlowLocal {
  labels @0 :List(Label);
  exe @1 :Text;
  digest @2 :Text;
  grade @3 :Text;
  pid @4 :UInt32;
  script @5 :Text;
  scriptDigest @6 :Text;
}

struct FlowPeer {
  labels @0 :List(Label);
  exe @1 :Text;
  digest @2 :Text;
  grade @3 :Text;
  address @4 :Text;
  port @5 :UInt32;
  script @6 :Text;
  scriptDigest @7 :Text;
}

struct FlowRecord {
  timeUs @0 :Int64;
  direction @1 :Text;
  protocol @2 :Text;
  local @3 :FlowLocal;
  peer @4 :FlowPeer;
  port @5 :UInt32;
  verdict @6 :Text;
  wouldBe @7 :Text;
  reason @8 :Text;
  rule @9 :Text;
  wouldRule @10 :Text;
  hook @11 :Text;
  generation @12 :UInt64;
  count @13 :UInt64;
  proof @14 :Text;
}

struct FlowsRequest {
  hasCursor @0 :Bool;
  cursor @1 :UInt64;
  limit @2 :UInt32;
  verdict @3 :Text;
  sinceUnixUs @4 :Int64;
}

struct FlowPage {
  records @0 :List(FlowRecord);
  nextCursor @1 :UInt64;
  lost @2 :UInt64;
}

struct Host {
  own @0 :Bool;
  id @1 :UInt32;
  name @2 :Text;
  addresses @3 :List(Text);
  claims @4 :List(Text);
  limits @5 :List(Text);
  signingKey @6 :Text;
  exchangeKey @7 :Text;
  issuedUs @8 :Int64;
  trustedAtUs @9 :Int64;
  author @10 :Text;
  hasUid @11 :Bool;
  uid @12 :UInt32;
  user @13 :Text;
  sequence @14 :UInt64;
  recordsIssuedUs @15 :Int64;
  labels @16 :UInt64;
  executables @17 :UInt64;
  pairs @18 :UInt64;
  record @19 :Text;
}

struct HostInit {
  id @0 :UInt32;
  name @1 :Text;
  addresses @2 :List(Text);
  claims @3 :List(Text);
  replace @4 :Bool;
  author @5 :Text;
}

struct HostTrust {
  file @0 :PolicyFile;
  limits @1 :List(Text);
  replace @2 :Bool;
  author @3 :Text;
}

struct HostDistrust {
  target @0 :Text;
  author @1 :Text;
}

struct RecordImport {
  files @0 :List(PolicyFile);
  author @1 :Text;
}

struct RecordImported {
  file @0 :Text;
  action @1 :Text;
  host @2 :Host;
}

struct IdentityRecord {
  hostId @0 :UInt32;
  hostName @1 :Text;
  kind @2 :Text;
  id @3 :UInt64;
  labels @4 :List(Label);
  permitted @5 :Bool;
  digest @6 :Text;
  script @7 :Text;
  path @8 :Data;
  package @9 :Text;
  trustedPath @10 :Bool;
  aliases @11 :List(Text);
}

interface Daemon {
  getStatus @0 () -> (error :Error, status :Status);
  applyPolicy @1 (request :ApplyRequest) -> (error :Error, report :ApplyReport);
  getPolicies @2 (kind :Text, name :Text, hasRevision :Bool, revision :UInt64)
      -> (error :Error, documents :List(Document));
  deletePolicies @3 (documents :List(DocumentId), message :Text, author :Text)
      -> (error :Error, report :ApplyReport);
  explain @4 (queries :List(ExplainQuery), kernel :Bool)
      -> (error :Error, answers :List(ExplainAnswer));
  listIdentities @5 () -> (error :Error, processes :List(Process));
  showIdentity @6 (target :Text) -> (error :Error, process :Process);
  flows @7 (request :FlowsRequest) -> (error :Error, page :FlowPage);
  history @8 (request :HistoryRequest) -> (error :Error, revisions :List(RevisionInfo));
  rollback @9 (request :RollbackRequest) -> (error :Error, report :ApplyReport);
  confirm @10 () -> (error :Error, confirmed :PendingConfirmation);
  setPanic @11 (request :PanicRequest) -> (error :Error, report :ApplyReport);
  why @12 (request :WhyRequest) -> (error :Error, answer :WhyAnswer);
  listHosts @13 () -> (error :Error, hosts :List(Host));
  initHost @14 (request :HostInit) -> (error :Error, host :Host);
  trustHost @15 (request :HostTrust) -> (error :Error, host :Host);
  distrustHost @16 (request :HostDistrust) -> (error :Error, host :Host);
  exportRecords @17 () -> (error :Error, text :Text);
  importRecords @18 (request :RecordImport) -> (error :Error, imported :List(RecordImported));
  listRecords @19 (host :Text) -> (error :Error, records :List(IdentityRecord));
}
