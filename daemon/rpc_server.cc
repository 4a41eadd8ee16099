// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc_server.h"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/api/convert.h"
#include "daemon/api/limits.h"
#include "daemon/api/listen_socket.h"
#include "daemon/api/mseg.capnp.h"

namespace mseg {
namespace {

using Log = std::function<void(const std::string&)>;

// The description alone: libcapnp 0.9.2 reads beyond a table when it prints an exception whose type
// came from a peer and is not one of the four that it knows.
std::string Describe(const kj::Exception& exception) {
  return std::string(exception.getDescription().cStr());
}

// ---- calls --------------------------------------------------------------------------------------

// Runs `call(&diagnostics)`, a function returning absl::Status, and puts what came of it, an
// exception included, into `error`.
template <typename Call>
void Answer(wire::Error::Builder error, Call call) {
  Diagnostics diagnostics;
  absl::Status status;
  auto thrown = kj::runCatchingExceptions([&]() { status = call(&diagnostics); });
  KJ_IF_MAYBE (exception, thrown) {
    status = absl::InternalError(absl::StrCat("the call failed: ", Describe(*exception)));
  }
  wire::WriteError(status, diagnostics, error);
}

absl::Status CheckSize(const std::vector<api::PolicyFile>& files) {
  uint64_t bytes = 0;
  for (const api::PolicyFile& file : files) bytes += file.text.size();
  if (bytes <= api::kMaxPolicyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the files have ", bytes, " bytes, at most ",
                                                 api::kMaxPolicyBytes, " are accepted at once"));
}

class DaemonImpl final : public wire::Daemon::Server {
 public:
  DaemonImpl(api::Service& service, const api::Caller& caller)
      : service_(service), caller_(caller) {}

  kj::Promise<void> getStatus(GetStatusContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto status = service_.GetStatus();
      if (status.ok()) wire::Write(*status, results.initStatus());
      return status.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> applyPolicy(ApplyPolicyContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics* diagnostics) {
      api::ApplyRequest request = wire::Read(context.getParams().getRequest());
      context.releaseParams();  // tens of megabytes that are copied already
      absl::Status size = CheckSize(request.files);
      if (!size.ok()) return size;
      request.caller = caller_;
      auto report = service_.ApplyPolicy(request, diagnostics);
      if (report.ok()) wire::Write(*report, results.initReport());
      return report.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> getPolicies(GetPoliciesContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto params = context.getParams();
      std::optional<uint64_t> revision;
      if (params.getHasRevision()) revision = params.getRevision();
      auto documents =
          service_.GetPolicies(params.getKind().cStr(), params.getName().cStr(), revision);
      if (documents.ok()) {
        wire::WriteList(*documents, [&](unsigned n) { return results.initDocuments(n); });
      }
      return documents.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> deletePolicies(DeletePoliciesContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics* diagnostics) {
      auto params = context.getParams();
      api::DeleteRequest request{
          .documents = wire::ReadList<api::DocumentId>(params.getDocuments()),
          .message = params.getMessage().cStr(),
          .author = params.getAuthor().cStr(),
          .caller = caller_};
      auto report = service_.DeletePolicies(request, diagnostics);
      if (report.ok()) wire::Write(*report, results.initReport());
      return report.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> explain(ExplainContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto params = context.getParams();
      auto queries = wire::ReadList<api::ExplainQuery>(params.getQueries());
      auto answers = service_.Explain(queries, params.getKernel());
      if (answers.ok()) {
        wire::WriteList(*answers, [&](unsigned n) { return results.initAnswers(n); });
      }
      return answers.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> listIdentities(ListIdentitiesContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto processes = service_.ListIdentities();
      if (processes.ok()) {
        wire::WriteList(*processes, [&](unsigned n) { return results.initProcesses(n); });
      }
      return processes.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> showIdentity(ShowIdentityContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto process = service_.ShowIdentity(context.getParams().getTarget().cStr());
      if (process.ok()) wire::Write(*process, results.initProcess());
      return process.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> flows(FlowsContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) -> absl::Status {
      api::FlowsRequest request = wire::Read(context.getParams().getRequest());
      if (request.limit > api::kMaxFlowPage) {
        return absl::InvalidArgumentError(
            absl::StrCat("at most ", api::kMaxFlowPage, " flows are given at once"));
      }
      auto page = service_.Flows(request);
      if (page.ok()) wire::Write(*page, results.initPage());
      return page.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> history(HistoryContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) -> absl::Status {
      api::HistoryRequest request = wire::Read(context.getParams().getRequest());
      if (request.limit > api::kMaxHistoryPage) {
        return absl::InvalidArgumentError(
            absl::StrCat("at most ", api::kMaxHistoryPage, " revisions are given at once"));
      }
      auto revisions = service_.History(request);
      if (revisions.ok()) {
        wire::WriteList(*revisions, [&](unsigned n) { return results.initRevisions(n); });
      }
      return revisions.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> rollback(RollbackContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics* diagnostics) {
      api::RollbackRequest request = wire::Read(context.getParams().getRequest());
      request.caller = caller_;
      auto report = service_.Rollback(request, diagnostics);
      if (report.ok()) wire::Write(*report, results.initReport());
      return report.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> confirm(ConfirmContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto confirmed = service_.Confirm();
      if (confirmed.ok()) wire::Write(*confirmed, results.initConfirmed());
      return confirmed.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> setPanic(SetPanicContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      api::PanicRequest request = wire::Read(context.getParams().getRequest());
      request.caller = caller_;
      auto report = service_.SetPanic(request);
      if (report.ok()) wire::Write(*report, results.initReport());
      return report.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> why(WhyContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto answer = service_.Why(wire::Read(context.getParams().getRequest()));
      if (answer.ok()) wire::Write(*answer, results.initAnswer());
      return answer.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> listHosts(ListHostsContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto hosts = service_.ListHosts();
      if (hosts.ok()) wire::WriteList(*hosts, [&](unsigned n) { return results.initHosts(n); });
      return hosts.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> initHost(InitHostContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      api::HostInit request = wire::Read(context.getParams().getRequest());
      request.caller = caller_;
      auto host = service_.InitHost(request);
      if (host.ok()) wire::Write(*host, results.initHost());
      return host.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> trustHost(TrustHostContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      api::HostTrust request = wire::Read(context.getParams().getRequest());
      request.caller = caller_;
      auto host = service_.TrustHost(request);
      if (host.ok()) wire::Write(*host, results.initHost());
      return host.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> distrustHost(DistrustHostContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      api::HostDistrust request = wire::Read(context.getParams().getRequest());
      request.caller = caller_;
      auto host = service_.DistrustHost(request);
      if (host.ok()) wire::Write(*host, results.initHost());
      return host.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> exportRecords(ExportRecordsContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto text = service_.ExportRecords();
      if (text.ok()) results.setText(*text);
      return text.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> importRecords(ImportRecordsContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      api::RecordImport request = wire::Read(context.getParams().getRequest());
      context.releaseParams();
      absl::Status size = CheckSize(request.files);
      if (!size.ok()) return size;
      request.caller = caller_;
      auto imported = service_.ImportRecords(request);
      if (imported.ok()) {
        wire::WriteList(*imported, [&](unsigned n) { return results.initImported(n); });
      }
      return imported.status();
    });
    return kj::READY_NOW;
  }

  kj::Promise<void> listRecords(ListRecordsContext context) override {
    auto results = context.getResults();
    Answer(results.initError(), [&](Diagnostics*) {
      auto records = service_.ListRecords(context.getParams().getHost().cStr());
      if (records.ok()) {
        wire::WriteList(*records, [&](unsigned n) { return results.initRecords(n); });
      }
      return records.status();
    });
    return kj::READY_NOW;
  }

 private:
  api::Service& service_;
  const api::Caller caller_;
};

// ---- connections --------------------------------------------------------------------------------

struct Connection {
  Connection(kj::Own<kj::AsyncIoStream> accepted, wire::Daemon::Client daemon, unsigned& count)
      : stream(kj::mv(accepted)),
        network(*stream, capnp::rpc::twoparty::Side::SERVER, RpcReaderOptions()),
        rpc(capnp::makeRpcServer(network, kj::mv(daemon))),
        live(count) {
    ++live;
    rpc.setFlowLimit(kMaxMessageWords);
  }
  ~Connection() noexcept(false) { --live; }
  KJ_DISALLOW_COPY(Connection);

  kj::Own<kj::AsyncIoStream> stream;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;
  unsigned& live;
};

class LoopServer final : public RpcServer, private kj::TaskSet::ErrorHandler {
 public:
  LoopServer(kj::AsyncIoContext& io, api::Service& service, RpcOptions options, ListenSocket socket)
      : io_(io),
        options_(std::move(options)),
        socket_(std::move(socket)),
        service_(service),
        receiver_(io.lowLevelProvider->wrapListenSocketFd(
            socket_.fd(), kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                              kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK)),
        tasks_(*this) {
    tasks_.add(AcceptLoop());
  }
  ~LoopServer() noexcept override {}  // KJ's members would have it throw

 private:
  kj::Promise<void> AcceptLoop() {
    return receiver_->accept().then(
        [this](kj::Own<kj::AsyncIoStream> stream) {
          auto failed = kj::runCatchingExceptions([&]() { Admit(kj::mv(stream)); });
          KJ_IF_MAYBE (exception, failed) Say(Describe(*exception));
          return AcceptLoop();
        },
        [this](kj::Exception&& exception) {
          // Out of descriptors, most likely: it passes, and the daemon must stay reachable.
          Say(absl::StrCat("cannot accept a connection: ", Describe(exception)));
          return io_.provider->getTimer().afterDelay(1 * kj::SECONDS).then([this]() {
            return AcceptLoop();
          });
        });
  }

  void Admit(kj::Own<kj::AsyncIoStream> stream) {
    ucred peer{};
    kj::uint length = sizeof(peer);
    stream->getsockopt(SOL_SOCKET, SO_PEERCRED, &peer, &length);
    if (length != sizeof(peer) || (peer.uid != 0 && peer.uid != geteuid())) {
      Say(absl::StrCat("refused pid ", peer.pid, " of user ", peer.uid));
      return;
    }
    if (connections_ >= options_.max_connections) {
      Say(absl::StrCat("refused pid ", peer.pid, ": ", connections_, " connections are open"));
      return;
    }
    wire::Daemon::Client daemon = kj::heap<DaemonImpl>(
        service_, api::Caller{.uid = peer.uid, .pid = static_cast<uint32_t>(peer.pid)});
    auto connection = kj::heap<Connection>(kj::mv(stream), kj::mv(daemon), connections_);
    auto disconnected = connection->network.onDisconnect();
    tasks_.add(disconnected.attach(kj::mv(connection)));
  }

  void taskFailed(kj::Exception&& exception) override {
    Say(absl::StrCat("a connection failed: ", Describe(exception)));
  }

  void Say(const std::string& line) {
    if (options_.log) options_.log("rpc: " + line);
  }

  kj::AsyncIoContext& io_;
  RpcOptions options_;
  ListenSocket socket_;
  api::Service& service_;
  kj::Own<kj::ConnectionReceiver> receiver_;
  unsigned connections_ = 0;
  kj::TaskSet tasks_;  // last: what runs in it uses all of the above
};

// ---- the same on a thread of its own ------------------------------------------------------------

class ThreadServer final : public RpcServer {
 public:
  ThreadServer(api::Service& service, RpcOptions options, ListenSocket socket) {
    // Signals are for the threads of the daemon that wait for them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::promise<absl::Status> started;
    auto result = started.get_future();
    thread_ = std::thread([this, &service, options = std::move(options), socket = std::move(socket),
                           started = std::move(started)]() mutable {
      Run(service, std::move(options), std::move(socket), std::move(started));
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    started_ = result.get();
  }

  ~ThreadServer() noexcept override {
    if (started_.ok()) {
      executor_->executeSync([this]() { stop_->fulfill(); });
    }
    thread_.join();
  }

  const absl::Status& started() const { return started_; }

 private:
  void Run(api::Service& service, RpcOptions options, ListenSocket socket,
           std::promise<absl::Status> started) {
    bool running = false;
    Log log = options.log;
    auto thrown = kj::runCatchingExceptions([&]() {
      auto io = kj::setupAsyncIo();
      auto stop = kj::newPromiseAndFulfiller<void>();
      executor_ = kj::getCurrentThreadExecutor().addRef();
      stop_ = stop.fulfiller.get();
      LoopServer server(io, service, std::move(options), std::move(socket));
      running = true;
      started.set_value(absl::OkStatus());
      stop.promise.wait(io.waitScope);
    });
    KJ_IF_MAYBE (exception, thrown) {
      if (!running) return started.set_value(absl::InternalError(Describe(*exception)));
      if (log) log("rpc: stopped: " + Describe(*exception));
    }
  }

  std::thread thread_;
  absl::Status started_;
  kj::Own<const kj::Executor> executor_;
  kj::PromiseFulfiller<void>* stop_ = nullptr;  // lives on the thread
};

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Create(kj::AsyncIoContext& io,
                                                             api::Service& service,
                                                             RpcOptions options) {
  auto socket = ListenSocket::Open(options.socket_path);
  if (!socket.ok()) return socket.status();
  std::unique_ptr<RpcServer> server;
  auto thrown = kj::runCatchingExceptions([&]() {
    server = std::make_unique<LoopServer>(io, service, std::move(options), *std::move(socket));
  });
  KJ_IF_MAYBE (exception, thrown) return absl::InternalError(Describe(*exception));
  return server;
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::StartThread(api::Service& service,
                                                                  RpcOptions options) {
  auto socket = ListenSocket::Open(options.socket_path);
  if (!socket.ok()) return socket.status();
  auto server = std::make_unique<ThreadServer>(service, std::move(options), *std::move(socket));
  if (!server->started().ok()) return server->started();
  return server;
}

}  // namespace mseg
