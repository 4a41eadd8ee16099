// SPDX-License-Identifier: Apache-2.0
// Revisions, what waits or is temporary, and why.
#include "daemon/api/convert.h"
#include "daemon/api/convert_text.h"

namespace mseg::wire {

void Write(const api::PendingConfirmation& from, PendingConfirmation::Builder to) {
  to.setRevision(from.revision);
  to.setBackTo(from.back_to);
  to.setDeadlineUs(from.deadline_us);
}

api::PendingConfirmation Read(PendingConfirmation::Reader from) {
  return {.revision = from.getRevision(),
          .back_to = from.getBackTo(),
          .deadline_us = from.getDeadlineUs()};
}

void Write(const api::PanicState& from, PanicState::Builder to) {
  to.setSinceUs(from.since_us);
  to.setUntilUs(from.until_us);
  to.setAuthor(ToText(from.author));
  to.setReason(ToText(from.reason));
}

api::PanicState Read(PanicState::Reader from) {
  return {.since_us = from.getSinceUs(),
          .until_us = from.getUntilUs(),
          .author = FromText(from.getAuthor()),
          .reason = FromText(from.getReason())};
}

void Write(const api::Failsafe& from, Failsafe::Builder to) {
  to.setDirection(ToText(from.direction));
  WriteTexts(from.services, to.initServices(static_cast<unsigned>(from.services.size())));
  to.setExe(ToText(from.exe));
}

api::Failsafe Read(Failsafe::Reader from) {
  return {.direction = FromText(from.getDirection()),
          .services = ReadTexts(from.getServices()),
          .exe = FromText(from.getExe())};
}

void Write(const api::RevisionInfo& from, RevisionInfo::Builder to) {
  to.setNumber(from.number);
  to.setTimeUs(from.time_us);
  to.setAuthor(ToText(from.author));
  to.setHasUid(from.uid.has_value());
  to.setUid(from.uid.value_or(0));
  to.setUser(ToText(from.user));
  to.setMessage(ToText(from.message));
  to.setEvent(ToText(from.event));
  to.setChanged(from.changed);
  to.setActive(from.active);
}

api::RevisionInfo Read(RevisionInfo::Reader from) {
  api::RevisionInfo to;
  to.number = from.getNumber();
  to.time_us = from.getTimeUs();
  to.author = FromText(from.getAuthor());
  if (from.getHasUid()) to.uid = from.getUid();
  to.user = FromText(from.getUser());
  to.message = FromText(from.getMessage());
  to.event = FromText(from.getEvent());
  to.changed = from.getChanged();
  to.active = from.getActive();
  return to;
}

void Write(const api::HistoryRequest& from, HistoryRequest::Builder to) {
  to.setLimit(from.limit);
  to.setBefore(from.before);
}

api::HistoryRequest Read(HistoryRequest::Reader from) {
  return {.limit = from.getLimit(), .before = from.getBefore()};
}

void Write(const api::RollbackRequest& from, RollbackRequest::Builder to) {
  to.setHasRevision(from.revision.has_value());
  to.setRevision(from.revision.value_or(0));
  to.setMessage(ToText(from.message));
  to.setAuthor(ToText(from.author));
  to.setDryRun(from.dry_run);
}

api::RollbackRequest Read(RollbackRequest::Reader from) {
  api::RollbackRequest to;
  if (from.getHasRevision()) to.revision = from.getRevision();
  to.message = FromText(from.getMessage());
  to.author = FromText(from.getAuthor());
  to.dry_run = from.getDryRun();
  return to;
}

void Write(const api::PanicRequest& from, PanicRequest::Builder to) {
  to.setEnd(from.end);
  to.setForUs(from.for_us);
  to.setReason(ToText(from.reason));
  to.setAuthor(ToText(from.author));
}

api::PanicRequest Read(PanicRequest::Reader from) {
  return {.end = from.getEnd(),
          .for_us = from.getForUs(),
          .reason = FromText(from.getReason()),
          .author = FromText(from.getAuthor()),
          .caller = {}};
}

void Write(const api::WhyRequest& from, WhyRequest::Builder to) {
  to.setLast(from.last);
  to.setPid(from.pid);
  to.setAddress(ToText(from.address));
  to.setProtocol(ToText(from.protocol));
  to.setPort(from.port);
}

api::WhyRequest Read(WhyRequest::Reader from) {
  return {.last = from.getLast(),
          .pid = from.getPid(),
          .address = FromText(from.getAddress()),
          .protocol = FromText(from.getProtocol()),
          .port = from.getPort()};
}

void Write(const api::WhyEnd& from, WhyEnd::Builder to) {
  to.setManaged(from.managed);
  to.setPid(from.pid);
  WriteLabels(from.labels, to.initLabels(static_cast<unsigned>(from.labels.size())));
  to.setExe(ToText(from.exe));
  to.setDigest(ToText(from.digest));
  to.setScript(ToText(from.script));
  to.setScriptDigest(ToText(from.script_digest));
  to.setGrade(ToText(from.grade));
  to.setUser(ToText(from.user));
  to.setAddress(ToText(from.address));
}

api::WhyEnd Read(WhyEnd::Reader from) {
  return {.managed = from.getManaged(),
          .pid = from.getPid(),
          .labels = ReadLabels(from.getLabels()),
          .exe = FromText(from.getExe()),
          .digest = FromText(from.getDigest()),
          .script = FromText(from.getScript()),
          .script_digest = FromText(from.getScriptDigest()),
          .grade = FromText(from.getGrade()),
          .user = FromText(from.getUser()),
          .address = FromText(from.getAddress())};
}

void Write(const api::WhyAnswer& from, WhyAnswer::Builder to) {
  to.setSource(ToText(from.source));
  to.setTimeUs(from.time_us);
  to.setProtocol(ToText(from.protocol));
  to.setPort(from.port);
  Write(from.from, to.initFrom());
  Write(from.to, to.initTo());
  to.setVerdict(ToText(from.verdict));
  to.setWouldBe(ToText(from.would_be));
  to.setEgress(ToText(from.egress));
  to.setIngress(ToText(from.ingress));
  to.setReason(ToText(from.reason));
  to.setRule(ToText(from.rule));
  to.setAt(ToText(from.at));
  to.setAllow(ToText(from.allow));
  to.setNote(ToText(from.note));
}

api::WhyAnswer Read(WhyAnswer::Reader from) {
  return {.source = FromText(from.getSource()),
          .time_us = from.getTimeUs(),
          .protocol = FromText(from.getProtocol()),
          .port = from.getPort(),
          .from = Read(from.getFrom()),
          .to = Read(from.getTo()),
          .verdict = FromText(from.getVerdict()),
          .would_be = FromText(from.getWouldBe()),
          .egress = FromText(from.getEgress()),
          .ingress = FromText(from.getIngress()),
          .reason = FromText(from.getReason()),
          .rule = FromText(from.getRule()),
          .at = FromText(from.getAt()),
          .allow = FromText(from.getAllow()),
          .note = FromText(from.getNote())};
}

}  // namespace mseg::wire
