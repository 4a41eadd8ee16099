// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_API_CONVERT_H_
#define MSEG_DAEMON_API_CONVERT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/api/mseg.capnp.h"
#include "daemon/api/service.h"

// Between the structs of service.h and those of mseg.capnp: Write() and Read() for each pair. They
// copy, and may throw kj::Exception for a message that lies about its own layout.
namespace mseg::wire {

void Write(const mseg::Diagnostic& from, Diagnostic::Builder to);
void Write(const mseg::Budget& from, Budget::Builder to);
void Write(const api::Feature& from, Feature::Builder to);
void Write(const api::Program& from, Program::Builder to);
void Write(const api::UnknownExecutable& from, UnknownExecutable::Builder to);
void Write(const api::UnlabelledListener& from, UnlabelledListener::Builder to);
void Write(const api::Status& from, Status::Builder to);
void Write(const api::PolicyFile& from, PolicyFile::Builder to);
void Write(const api::ApplyRequest& from, ApplyRequest::Builder to);
void Write(const api::Timings& from, Timings::Builder to);
void Write(const api::Change& from, Change::Builder to);
void Write(const api::ApplyReport& from, ApplyReport::Builder to);
void Write(const api::DocumentId& from, DocumentId::Builder to);
void Write(const api::Document& from, Document::Builder to);
void Write(const api::ExplainQuery& from, ExplainQuery::Builder to);
void Write(const api::ExplainAnswer& from, ExplainAnswer::Builder to);
void Write(const api::Process& from, Process::Builder to);
void Write(const api::PendingConfirmation& from, PendingConfirmation::Builder to);
void Write(const api::PanicState& from, PanicState::Builder to);
void Write(const api::Failsafe& from, Failsafe::Builder to);
void Write(const api::RevisionInfo& from, RevisionInfo::Builder to);
void Write(const api::HistoryRequest& from, HistoryRequest::Builder to);
void Write(const api::RollbackRequest& from, RollbackRequest::Builder to);
void Write(const api::PanicRequest& from, PanicRequest::Builder to);
void Write(const api::WhyRequest& from, WhyRequest::Builder to);
void Write(const api::WhyEnd& from, WhyEnd::Builder to);
void Write(const api::WhyAnswer& from, WhyAnswer::Builder to);
void Write(const api::FlowRecord& from, FlowRecord::Builder to);
void Write(const api::FlowsRequest& from, FlowsRequest::Builder to);
void Write(const api::FlowPage& from, FlowPage::Builder to);
void Write(const api::Host& from, Host::Builder to);
void Write(const api::HostInit& from, HostInit::Builder to);
void Write(const api::HostTrust& from, HostTrust::Builder to);
void Write(const api::HostDistrust& from, HostDistrust::Builder to);
void Write(const api::RecordImport& from, RecordImport::Builder to);
void Write(const api::RecordImported& from, RecordImported::Builder to);
void Write(const api::IdentityRecord& from, IdentityRecord::Builder to);

mseg::Diagnostic Read(Diagnostic::Reader from);
mseg::Budget Read(Budget::Reader from);
api::Feature Read(Feature::Reader from);
api::Program Read(Program::Reader from);
api::UnknownExecutable Read(UnknownExecutable::Reader from);
api::UnlabelledListener Read(UnlabelledListener::Reader from);
api::Status Read(Status::Reader from);
api::PolicyFile Read(PolicyFile::Reader from);
api::ApplyRequest Read(ApplyRequest::Reader from);
api::Timings Read(Timings::Reader from);
api::Change Read(Change::Reader from);
api::ApplyReport Read(ApplyReport::Reader from);
api::DocumentId Read(DocumentId::Reader from);
api::Document Read(Document::Reader from);
api::ExplainQuery Read(ExplainQuery::Reader from);
api::ExplainAnswer Read(ExplainAnswer::Reader from);
api::Process Read(Process::Reader from);
api::PendingConfirmation Read(PendingConfirmation::Reader from);
api::PanicState Read(PanicState::Reader from);
api::Failsafe Read(Failsafe::Reader from);
api::RevisionInfo Read(RevisionInfo::Reader from);
api::HistoryRequest Read(HistoryRequest::Reader from);
api::RollbackRequest Read(RollbackRequest::Reader from);
api::PanicRequest Read(PanicRequest::Reader from);
api::WhyRequest Read(WhyRequest::Reader from);
api::WhyEnd Read(WhyEnd::Reader from);
api::WhyAnswer Read(WhyAnswer::Reader from);
api::FlowRecord Read(FlowRecord::Reader from);
api::FlowsRequest Read(FlowsRequest::Reader from);
api::FlowPage Read(FlowPage::Reader from);
api::Host Read(Host::Reader from);
api::HostInit Read(HostInit::Reader from);
api::HostTrust Read(HostTrust::Reader from);
api::HostDistrust Read(HostDistrust::Reader from);
api::RecordImport Read(RecordImport::Reader from);
api::RecordImported Read(RecordImported::Reader from);
api::IdentityRecord Read(IdentityRecord::Reader from);

// Lists. `init` makes the list in its parent: [&](auto n) { return to.initFoo(n); }
template <typename T, typename Init>
void WriteList(const std::vector<T>& from, Init init) {
  auto list = init(static_cast<unsigned>(from.size()));
  for (size_t i = 0; i < from.size(); ++i) Write(from[i], list[static_cast<unsigned>(i)]);
}

template <typename T, typename List>
std::vector<T> ReadList(List from) {
  std::vector<T> to;
  to.reserve(from.size());
  for (auto element : from) to.push_back(Read(element));
  return to;
}

// A status and what is wrong with a policy. A code that abseil does not know is read as kUnknown,
// so that a newer daemon cannot be mistaken for "done".
void WriteError(const absl::Status& status, const Diagnostics& diagnostics, Error::Builder to);
absl::Status ReadError(Error::Reader from, Diagnostics* diagnostics);

}  // namespace mseg::wire

#endif  // MSEG_DAEMON_API_CONVERT_H_
