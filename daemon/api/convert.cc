// SPDX-License-Identifier: Apache-2.0
#include "daemon/api/convert.h"

#include <utility>

#include "daemon/api/convert_text.h"

namespace mseg::wire {
namespace {

void WriteCounters(const std::vector<std::pair<std::string, uint64_t>>& from,
                   capnp::List<Counter>::Builder to) {
  for (size_t i = 0; i < from.size(); ++i) {
    to[static_cast<unsigned>(i)].setName(ToText(from[i].first));
    to[static_cast<unsigned>(i)].setValue(from[i].second);
  }
}

std::vector<std::pair<std::string, uint64_t>> ReadCounters(capnp::List<Counter>::Reader from) {
  std::vector<std::pair<std::string, uint64_t>> to;
  for (auto counter : from) to.emplace_back(FromText(counter.getName()), counter.getValue());
  return to;
}

}  // namespace

// ---- errors -------------------------------------------------------------------------------------

void Write(const mseg::Diagnostic& from, Diagnostic::Builder to) {
  to.setFile(ToText(from.place.file));
  to.setLine(from.place.line);
  to.setColumn(from.place.column);
  to.setMessage(ToText(from.message));
  to.setSourceLine(ToText(from.source_line));
}

mseg::Diagnostic Read(Diagnostic::Reader from) {
  mseg::Diagnostic to;
  to.place.file = FromText(from.getFile());
  to.place.line = from.getLine();
  to.place.column = from.getColumn();
  to.message = FromText(from.getMessage());
  to.source_line = FromText(from.getSourceLine());
  return to;
}

void WriteError(const absl::Status& status, const Diagnostics& diagnostics, Error::Builder to) {
  to.setCode(static_cast<uint16_t>(status.raw_code()));
  to.setMessage(ToText(std::string(status.message())));
  WriteList(diagnostics, [&](unsigned n) { return to.initDiagnostics(n); });
}

absl::Status ReadError(Error::Reader from, Diagnostics* diagnostics) {
  if (diagnostics != nullptr) {
    *diagnostics = ReadList<mseg::Diagnostic>(from.getDiagnostics());
  }
  uint16_t code = from.getCode();
  if (code == 0) return absl::OkStatus();
  if (code > static_cast<uint16_t>(absl::StatusCode::kUnauthenticated)) {
    return absl::UnknownError(FromText(from.getMessage()));
  }
  return absl::Status(static_cast<absl::StatusCode>(code), FromText(from.getMessage()));
}

// ---- status -------------------------------------------------------------------------------------

void Write(const api::Feature& from, Feature::Builder to) {
  to.setName(ToText(from.name));
  to.setPresent(from.present);
  to.setCosts(ToText(from.costs));
}

api::Feature Read(Feature::Reader from) {
  return {.name = FromText(from.getName()),
          .present = from.getPresent(),
          .costs = FromText(from.getCosts())};
}

void Write(const api::Program& from, Program::Builder to) {
  to.setName(ToText(from.name));
  to.setAttach(ToText(from.attach));
  to.setCgroup(ToText(from.cgroup));
  to.setLoadedAtUs(from.loaded_at_us);
}

api::Program Read(Program::Reader from) {
  return {.name = FromText(from.getName()),
          .attach = FromText(from.getAttach()),
          .cgroup = FromText(from.getCgroup()),
          .loaded_at_us = from.getLoadedAtUs()};
}

void Write(const api::UnknownExecutable& from, UnknownExecutable::Builder to) {
  to.setPath(ToText(from.path));
  to.setReason(ToText(from.reason));
  to.setPid(from.pid);
}

api::UnknownExecutable Read(UnknownExecutable::Reader from) {
  return {
      .path = FromText(from.getPath()), .reason = FromText(from.getReason()), .pid = from.getPid()};
}

void Write(const api::UnlabelledListener& from, UnlabelledListener::Builder to) {
  to.setProtocol(ToText(from.protocol));
  to.setAddress(ToText(from.address));
  to.setPort(from.port);
  to.setPid(from.pid);
  to.setExe(ToText(from.exe));
}

api::UnlabelledListener Read(UnlabelledListener::Reader from) {
  return {.protocol = FromText(from.getProtocol()),
          .address = FromText(from.getAddress()),
          .port = from.getPort(),
          .pid = from.getPid(),
          .exe = FromText(from.getExe())};
}

void Write(const api::Tampering& from, Tampering::Builder to) {
  to.setTimeUs(from.time_us);
  to.setAct(ToText(from.act));
  to.setSubject(from.subject);
  to.setPid(from.pid);
  to.setUid(from.uid);
  to.setComm(ToText(from.comm));
  to.setExe(ToText(from.exe));
}

api::Tampering Read(Tampering::Reader from) {
  return {.time_us = from.getTimeUs(),
          .act = FromText(from.getAct()),
          .subject = from.getSubject(),
          .pid = from.getPid(),
          .uid = from.getUid(),
          .comm = FromText(from.getComm()),
          .exe = FromText(from.getExe())};
}

void Write(const api::Status& from, Status::Builder to) {
  to.setMode(ToText(from.mode));
  to.setKernel(ToText(from.kernel));
  WriteList(from.features, [&](unsigned n) { return to.initFeatures(n); });
  WriteTexts(from.gaps, to.initGaps(static_cast<unsigned>(from.gaps.size())));
  to.setGeneration(from.generation);
  to.setRevision(from.revision);
  to.setHostId(from.host_id);
  to.setHostName(ToText(from.host_name));
  to.setTrustedHosts(from.trusted_hosts);
  to.setHostRecords(from.host_records);
  WriteList(from.programs, [&](unsigned n) { return to.initPrograms(n); });
  WriteCounters(from.counters, to.initCounters(static_cast<unsigned>(from.counters.size())));
  WriteTexts(from.conflicts, to.initConflicts(static_cast<unsigned>(from.conflicts.size())));
  WriteList(from.unknown_executables, [&](unsigned n) { return to.initUnknownExecutables(n); });
  WriteList(from.unlabelled_listeners, [&](unsigned n) { return to.initUnlabelledListeners(n); });
  if (from.pending.has_value()) Write(*from.pending, to.initPending());
  if (from.panic.has_value()) Write(*from.panic, to.initPanic());
  WriteList(from.failsafe, [&](unsigned n) { return to.initFailsafe(n); });
  WriteList(from.tampering, [&](unsigned n) { return to.initTampering(n); });
  to.setLastDrift(ToText(from.last_drift));
}

api::Status Read(Status::Reader from) {
  api::Status to;
  to.mode = FromText(from.getMode());
  to.kernel = FromText(from.getKernel());
  to.features = ReadList<api::Feature>(from.getFeatures());
  to.gaps = ReadTexts(from.getGaps());
  to.generation = from.getGeneration();
  to.revision = from.getRevision();
  to.host_id = from.getHostId();
  to.host_name = FromText(from.getHostName());
  to.trusted_hosts = from.getTrustedHosts();
  to.host_records = from.getHostRecords();
  to.programs = ReadList<api::Program>(from.getPrograms());
  to.counters = ReadCounters(from.getCounters());
  to.conflicts = ReadTexts(from.getConflicts());
  to.unknown_executables = ReadList<api::UnknownExecutable>(from.getUnknownExecutables());
  to.unlabelled_listeners = ReadList<api::UnlabelledListener>(from.getUnlabelledListeners());
  if (from.hasPending()) to.pending = Read(from.getPending());
  if (from.hasPanic()) to.panic = Read(from.getPanic());
  to.failsafe = ReadList<api::Failsafe>(from.getFailsafe());
  to.tampering = ReadList<api::Tampering>(from.getTampering());
  to.last_drift = FromText(from.getLastDrift());
  return to;
}

// ---- policy -------------------------------------------------------------------------------------

void Write(const api::PolicyFile& from, PolicyFile::Builder to) {
  to.setName(ToText(from.name));
  to.setText(ToData(from.text));
}

api::PolicyFile Read(PolicyFile::Reader from) {
  return {.name = FromText(from.getName()), .text = FromData(from.getText())};
}

void Write(const api::ApplyRequest& from, ApplyRequest::Builder to) {
  WriteList(from.files, [&](unsigned n) { return to.initFiles(n); });
  to.setMessage(ToText(from.message));
  to.setAuthor(ToText(from.author));
  to.setDryRun(from.dry_run);
  to.setConfirmWithinUs(from.confirm_within_us);
  to.setPrune(from.prune);
}

api::ApplyRequest Read(ApplyRequest::Reader from) {
  return {.files = ReadList<api::PolicyFile>(from.getFiles()),
          .message = FromText(from.getMessage()),
          .author = FromText(from.getAuthor()),
          .dry_run = from.getDryRun(),
          .confirm_within_us = from.getConfirmWithinUs(),
          .prune = from.getPrune(),
          .caller = {}};
}

void Write(const api::Timings& from, Timings::Builder to) {
  to.setCheck(from.check);
  to.setCompile(from.compile);
  to.setStore(from.store);
  to.setStage(from.stage);
  to.setFlip(from.flip);
  to.setClose(from.close);
}

api::Timings Read(Timings::Reader from) {
  return {.check = from.getCheck(),
          .compile = from.getCompile(),
          .store = from.getStore(),
          .stage = from.getStage(),
          .flip = from.getFlip(),
          .close = from.getClose()};
}

void Write(const mseg::Budget& from, Budget::Builder to) {
  to.setPolicies(from.policies);
  to.setRules(from.rules);
  to.setWorkloads(from.workloads);
  to.setClasses(from.classes);
  to.setEntries(from.entries);
  to.setKernelBytes(from.kernel_bytes);
  to.setPortClasses(from.port_classes);
  to.setRows(from.rows);
  to.setIdentities(from.identities);
}

mseg::Budget Read(Budget::Reader from) {
  mseg::Budget to;
  to.policies = from.getPolicies();
  to.rules = from.getRules();
  to.workloads = from.getWorkloads();
  to.classes = from.getClasses();
  to.entries = from.getEntries();
  to.kernel_bytes = from.getKernelBytes();
  to.port_classes = from.getPortClasses();
  to.rows = from.getRows();
  to.identities = from.getIdentities();
  return to;
}

void Write(const api::Change& from, Change::Builder to) {
  to.setAction(ToText(from.action));
  to.setKind(ToText(from.kind));
  to.setName(ToText(from.name));
}

api::Change Read(Change::Reader from) {
  return {.action = FromText(from.getAction()),
          .kind = FromText(from.getKind()),
          .name = FromText(from.getName())};
}

void Write(const api::ApplyReport& from, ApplyReport::Builder to) {
  to.setRevision(from.revision);
  to.setGeneration(from.generation);
  to.setWillClose(from.will_close);
  to.setClosed(from.closed);
  Write(from.timings_ms, to.initTimingsMs());
  Write(from.budget, to.initBudget());
  WriteList(from.changes, [&](unsigned n) { return to.initChanges(n); });
  if (from.pending.has_value()) Write(*from.pending, to.initPending());
}

api::ApplyReport Read(ApplyReport::Reader from) {
  api::ApplyReport to;
  to = {.revision = from.getRevision(),
        .generation = from.getGeneration(),
        .will_close = from.getWillClose(),
        .closed = from.getClosed(),
        .timings_ms = Read(from.getTimingsMs()),
        .budget = Read(from.getBudget()),
        .changes = ReadList<api::Change>(from.getChanges()),
        .pending = {}};
  if (from.hasPending()) to.pending = Read(from.getPending());
  return to;
}

void Write(const api::DocumentId& from, DocumentId::Builder to) {
  to.setKind(ToText(from.kind));
  to.setName(ToText(from.name));
}

api::DocumentId Read(DocumentId::Reader from) {
  return {.kind = FromText(from.getKind()), .name = FromText(from.getName())};
}

void Write(const api::Document& from, Document::Builder to) {
  to.setKind(ToText(from.kind));
  to.setName(ToText(from.name));
  to.setText(ToData(from.text));
  to.setFile(ToText(from.file));
  to.setLine(from.line);
  to.setRevision(from.revision);
}

api::Document Read(Document::Reader from) {
  return {.kind = FromText(from.getKind()),
          .name = FromText(from.getName()),
          .text = FromData(from.getText()),
          .file = FromText(from.getFile()),
          .line = from.getLine(),
          .revision = from.getRevision()};
}

// ---- explain, identities, flows -----------------------------------------------------------------

void Write(const api::ExplainQuery& from, ExplainQuery::Builder to) {
  to.setFrom(ToText(from.from));
  to.setTo(ToText(from.to));
  to.setService(ToText(from.service));
}

api::ExplainQuery Read(ExplainQuery::Reader from) {
  return {.from = FromText(from.getFrom()),
          .to = FromText(from.getTo()),
          .service = FromText(from.getService())};
}

void Write(const api::ExplainAnswer& from, ExplainAnswer::Builder to) {
  to.setError(ToText(from.error));
  to.setVerdict(ToText(from.verdict));
  to.setEgress(ToText(from.egress));
  to.setIngress(ToText(from.ingress));
  to.setWouldBe(ToText(from.would_be));
  to.setReason(ToText(from.reason));
  to.setRule(ToText(from.rule));
  to.setAt(ToText(from.at));
  to.setWouldRule(ToText(from.would_rule));
  WriteTexts(from.lookups, to.initLookups(static_cast<unsigned>(from.lookups.size())));
  to.setKernel(ToText(from.kernel));
  to.setDrift(from.drift);
}

api::ExplainAnswer Read(ExplainAnswer::Reader from) {
  return {.error = FromText(from.getError()),
          .verdict = FromText(from.getVerdict()),
          .egress = FromText(from.getEgress()),
          .ingress = FromText(from.getIngress()),
          .would_be = FromText(from.getWouldBe()),
          .reason = FromText(from.getReason()),
          .rule = FromText(from.getRule()),
          .at = FromText(from.getAt()),
          .would_rule = FromText(from.getWouldRule()),
          .lookups = ReadTexts(from.getLookups()),
          .kernel = FromText(from.getKernel()),
          .drift = from.getDrift()};
}

void Write(const api::Process& from, Process::Builder to) {
  to.setPid(from.pid);
  to.setComm(ToText(from.comm));
  WriteLabels(from.labels, to.initLabels(static_cast<unsigned>(from.labels.size())));
  to.setExe(ToText(from.exe));
  to.setDigest(ToText(from.digest));
  to.setScript(ToText(from.script));
  to.setScriptDigest(ToText(from.script_digest));
  to.setGrade(ToText(from.grade));
  to.setExeId(from.exe_id);
  to.setLabelId(from.label_id);
  to.setCgroup(ToText(from.cgroup));
  to.setUser(ToText(from.user));
  to.setCls(from.cls);
  to.setUnknownReason(ToText(from.unknown_reason));
}

api::Process Read(Process::Reader from) {
  return {.pid = from.getPid(),
          .comm = FromText(from.getComm()),
          .labels = ReadLabels(from.getLabels()),
          .exe = FromText(from.getExe()),
          .digest = FromText(from.getDigest()),
          .script = FromText(from.getScript()),
          .script_digest = FromText(from.getScriptDigest()),
          .grade = FromText(from.getGrade()),
          .exe_id = from.getExeId(),
          .label_id = from.getLabelId(),
          .cgroup = FromText(from.getCgroup()),
          .user = FromText(from.getUser()),
          .cls = from.getCls(),
          .unknown_reason = FromText(from.getUnknownReason())};
}

namespace {

template <typename End, typename Builder>
void WriteFlowEnd(const End& from, Builder to) {
  WriteLabels(from.labels, to.initLabels(static_cast<unsigned>(from.labels.size())));
  to.setExe(ToText(from.exe));
  to.setDigest(ToText(from.digest));
  to.setScript(ToText(from.script));
  to.setScriptDigest(ToText(from.script_digest));
  to.setGrade(ToText(from.grade));
}

template <typename End, typename Reader>
End ReadFlowEnd(Reader from) {
  End to;
  to.labels = ReadLabels(from.getLabels());
  to.exe = FromText(from.getExe());
  to.digest = FromText(from.getDigest());
  to.script = FromText(from.getScript());
  to.script_digest = FromText(from.getScriptDigest());
  to.grade = FromText(from.getGrade());
  return to;
}

}  // namespace

void Write(const api::FlowRecord& from, FlowRecord::Builder to) {
  to.setTimeUs(from.time_us);
  to.setDirection(ToText(from.direction));
  to.setProtocol(ToText(from.protocol));
  WriteFlowEnd(from.local, to.initLocal());
  to.getLocal().setPid(from.local.pid);
  WriteFlowEnd(from.peer, to.initPeer());
  to.getPeer().setAddress(ToText(from.peer.address));
  to.getPeer().setPort(from.peer.port);
  to.setPort(from.port);
  to.setVerdict(ToText(from.verdict));
  to.setWouldBe(ToText(from.would_be));
  to.setReason(ToText(from.reason));
  to.setRule(ToText(from.rule));
  to.setWouldRule(ToText(from.would_rule));
  to.setHook(ToText(from.hook));
  to.setProof(ToText(from.proof));
  to.setGeneration(from.generation);
  to.setCount(from.count);
}

api::FlowRecord Read(FlowRecord::Reader from) {
  api::FlowRecord to;
  to.time_us = from.getTimeUs();
  to.direction = FromText(from.getDirection());
  to.protocol = FromText(from.getProtocol());
  to.local = ReadFlowEnd<api::FlowLocal>(from.getLocal());
  to.local.pid = from.getLocal().getPid();
  to.peer = ReadFlowEnd<api::FlowPeer>(from.getPeer());
  to.peer.address = FromText(from.getPeer().getAddress());
  to.peer.port = from.getPeer().getPort();
  to.port = from.getPort();
  to.verdict = FromText(from.getVerdict());
  to.would_be = FromText(from.getWouldBe());
  to.reason = FromText(from.getReason());
  to.rule = FromText(from.getRule());
  to.would_rule = FromText(from.getWouldRule());
  to.hook = FromText(from.getHook());
  to.proof = FromText(from.getProof());
  to.generation = from.getGeneration();
  to.count = from.getCount();
  return to;
}

void Write(const api::FlowsRequest& from, FlowsRequest::Builder to) {
  to.setHasCursor(from.cursor.has_value());
  to.setCursor(from.cursor.value_or(0));
  to.setLimit(from.limit);
  to.setVerdict(ToText(from.verdict));
  to.setSinceUnixUs(from.since_unix_us);
}

api::FlowsRequest Read(FlowsRequest::Reader from) {
  api::FlowsRequest to;
  if (from.getHasCursor()) to.cursor = from.getCursor();
  to.limit = from.getLimit();
  to.verdict = FromText(from.getVerdict());
  to.since_unix_us = from.getSinceUnixUs();
  return to;
}

void Write(const api::FlowPage& from, FlowPage::Builder to) {
  WriteList(from.records, [&](unsigned n) { return to.initRecords(n); });
  to.setNextCursor(from.next_cursor);
  to.setLost(from.lost);
}

api::FlowPage Read(FlowPage::Reader from) {
  return {.records = ReadList<api::FlowRecord>(from.getRecords()),
          .next_cursor = from.getNextCursor(),
          .lost = from.getLost()};
}

}  // namespace mseg::wire
