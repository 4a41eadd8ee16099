// SPDX-License-Identifier: Apache-2.0
#include "ctl/client.h"

#include <capnp/rpc-twoparty.h>
#include <errno.h>
#include <kj/async-io.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/api/convert.h"
#include "daemon/api/limits.h"
#include "daemon/api/mseg.capnp.h"

namespace mseg::ctl {
namespace {

// Never print a kj::Exception that came from a peer: libcapnp 0.9.2 uses its type as an index
// without looking at it. The description is only text.
absl::Status LostConnection(const std::string& path, bool foreign, const kj::Exception& exception) {
  kj::StringPtr why = exception.getDescription();
  bool known_type = exception.getType() >= kj::Exception::Type::FAILED &&
                    exception.getType() <= kj::Exception::Type::UNIMPLEMENTED;
  if (known_type && exception.getType() == kj::Exception::Type::UNIMPLEMENTED) {
    return absl::UnimplementedError(absl::StrCat(
        "msegd at ", path, " does not know this request: ", "it is older than this msegctl"));
  }
  if (foreign) {
    return absl::UnavailableError(absl::StrCat(
        "msegd at ", path, " closed the connection: it answers only root and its own user"));
  }
  return absl::UnavailableError(absl::StrCat("lost the connection to msegd at ", path, ": ",
                                             std::string(why.cStr(), why.size()),
                                             "\nIts log says why; see whether it still runs."));
}

// KJ allows one of them in a thread. It lives as long as a client that was made in it.
std::shared_ptr<kj::AsyncIoContext> EventLoop() {
  thread_local std::weak_ptr<kj::AsyncIoContext> known;
  std::shared_ptr<kj::AsyncIoContext> loop = known.lock();
  if (loop == nullptr) known = loop = std::make_shared<kj::AsyncIoContext>(kj::setupAsyncIo());
  return loop;
}

class Client final : public api::Service {
 public:
  Client(std::string path, int fd, bool foreign)
      : path_(std::move(path)),
        foreign_(foreign),
        io_(EventLoop()),
        stream_(io_->lowLevelProvider->wrapSocketFd(
            fd, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                    kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC)),
        network_(*stream_, capnp::rpc::twoparty::Side::CLIENT, RpcReaderOptions()),
        rpc_(capnp::makeRpcClient(network_)),
        daemon_(Bootstrap()) {}
  ~Client() noexcept override {}  // KJ's members would have it throw

  absl::StatusOr<api::Status> GetStatus() override {
    return Call<api::Status>(daemon_.getStatusRequest(), nullptr,
                             [](auto& results) { return wire::Read(results.getStatus()); });
  }

  absl::StatusOr<api::ApplyReport> ApplyPolicy(const api::ApplyRequest& request,
                                               Diagnostics* diagnostics) override {
    auto message = daemon_.applyPolicyRequest();
    wire::Write(request, message.initRequest());
    return Call<api::ApplyReport>(kj::mv(message), diagnostics,
                                  [](auto& results) { return wire::Read(results.getReport()); });
  }

  absl::StatusOr<std::vector<api::Document>> GetPolicies(
      const std::string& kind, const std::string& name, std::optional<uint64_t> revision) override {
    auto message = daemon_.getPoliciesRequest();
    message.setKind(kind.c_str());
    message.setName(name.c_str());
    message.setHasRevision(revision.has_value());
    message.setRevision(revision.value_or(0));
    return Call<std::vector<api::Document>>(kj::mv(message), nullptr, [](auto& results) {
      return wire::ReadList<api::Document>(results.getDocuments());
    });
  }

  absl::StatusOr<api::ApplyReport> DeletePolicies(const api::DeleteRequest& request,
                                                  Diagnostics* diagnostics) override {
    auto message = daemon_.deletePoliciesRequest();
    wire::WriteList(request.documents, [&](unsigned n) { return message.initDocuments(n); });
    message.setMessage(request.message.c_str());
    message.setAuthor(request.author.c_str());
    return Call<api::ApplyReport>(kj::mv(message), diagnostics,
                                  [](auto& results) { return wire::Read(results.getReport()); });
  }

  absl::StatusOr<std::vector<api::RevisionInfo>> History(
      const api::HistoryRequest& request) override {
    auto message = daemon_.historyRequest();
    wire::Write(request, message.initRequest());
    return Call<std::vector<api::RevisionInfo>>(kj::mv(message), nullptr, [](auto& results) {
      return wire::ReadList<api::RevisionInfo>(results.getRevisions());
    });
  }

  absl::StatusOr<api::ApplyReport> Rollback(const api::RollbackRequest& request,
                                            Diagnostics* diagnostics) override {
    auto message = daemon_.rollbackRequest();
    wire::Write(request, message.initRequest());
    return Call<api::ApplyReport>(kj::mv(message), diagnostics,
                                  [](auto& results) { return wire::Read(results.getReport()); });
  }

  absl::StatusOr<api::PendingConfirmation> Confirm() override {
    return Call<api::PendingConfirmation>(daemon_.confirmRequest(), nullptr, [](auto& results) {
      return wire::Read(results.getConfirmed());
    });
  }

  absl::StatusOr<api::ApplyReport> SetPanic(const api::PanicRequest& request) override {
    auto message = daemon_.setPanicRequest();
    wire::Write(request, message.initRequest());
    return Call<api::ApplyReport>(kj::mv(message), nullptr,
                                  [](auto& results) { return wire::Read(results.getReport()); });
  }

  absl::StatusOr<api::WhyAnswer> Why(const api::WhyRequest& request) override {
    auto message = daemon_.whyRequest();
    wire::Write(request, message.initRequest());
    return Call<api::WhyAnswer>(kj::mv(message), nullptr,
                                [](auto& results) { return wire::Read(results.getAnswer()); });
  }

  absl::StatusOr<std::vector<api::ExplainAnswer>> Explain(
      const std::vector<api::ExplainQuery>& queries, bool kernel) override {
    auto message = daemon_.explainRequest();
    wire::WriteList(queries, [&](unsigned n) { return message.initQueries(n); });
    message.setKernel(kernel);
    auto answers = Call<std::vector<api::ExplainAnswer>>(
        kj::mv(message), nullptr,
        [](auto& results) { return wire::ReadList<api::ExplainAnswer>(results.getAnswers()); });
    if (answers.ok() && answers->size() != queries.size()) {
      return absl::InternalError(absl::StrCat("msegd gave ", answers->size(), " answers to ",
                                              queries.size(), " questions"));
    }
    return answers;
  }

  absl::StatusOr<std::vector<api::Process>> ListIdentities() override {
    return Call<std::vector<api::Process>>(
        daemon_.listIdentitiesRequest(), nullptr,
        [](auto& results) { return wire::ReadList<api::Process>(results.getProcesses()); });
  }

  absl::StatusOr<api::Process> ShowIdentity(const std::string& target) override {
    auto message = daemon_.showIdentityRequest();
    message.setTarget(target.c_str());
    return Call<api::Process>(kj::mv(message), nullptr,
                              [](auto& results) { return wire::Read(results.getProcess()); });
  }

  absl::StatusOr<api::FlowPage> Flows(const api::FlowsRequest& request) override {
    auto message = daemon_.flowsRequest();
    wire::Write(request, message.initRequest());
    return Call<api::FlowPage>(kj::mv(message), nullptr,
                               [](auto& results) { return wire::Read(results.getPage()); });
  }

  absl::StatusOr<std::vector<api::Host>> ListHosts() override {
    return Call<std::vector<api::Host>>(daemon_.listHostsRequest(), nullptr, [](auto& results) {
      return wire::ReadList<api::Host>(results.getHosts());
    });
  }

  absl::StatusOr<api::Host> InitHost(const api::HostInit& request) override {
    auto message = daemon_.initHostRequest();
    wire::Write(request, message.initRequest());
    return Call<api::Host>(kj::mv(message), nullptr,
                           [](auto& results) { return wire::Read(results.getHost()); });
  }

  absl::StatusOr<api::Host> TrustHost(const api::HostTrust& request) override {
    auto message = daemon_.trustHostRequest();
    wire::Write(request, message.initRequest());
    return Call<api::Host>(kj::mv(message), nullptr,
                           [](auto& results) { return wire::Read(results.getHost()); });
  }

  absl::StatusOr<api::Host> DistrustHost(const api::HostDistrust& request) override {
    auto message = daemon_.distrustHostRequest();
    wire::Write(request, message.initRequest());
    return Call<api::Host>(kj::mv(message), nullptr,
                           [](auto& results) { return wire::Read(results.getHost()); });
  }

  absl::StatusOr<std::string> ExportRecords() override {
    return Call<std::string>(daemon_.exportRecordsRequest(), nullptr, [](auto& results) {
      return std::string(results.getText().begin(), results.getText().size());
    });
  }

  absl::StatusOr<std::vector<api::RecordImported>> ImportRecords(
      const api::RecordImport& request) override {
    auto message = daemon_.importRecordsRequest();
    wire::Write(request, message.initRequest());
    return Call<std::vector<api::RecordImported>>(kj::mv(message), nullptr, [](auto& results) {
      return wire::ReadList<api::RecordImported>(results.getImported());
    });
  }

  absl::StatusOr<std::vector<api::IdentityRecord>> ListRecords(const std::string& host) override {
    auto message = daemon_.listRecordsRequest();
    message.setHost(host.c_str());
    return Call<std::vector<api::IdentityRecord>>(kj::mv(message), nullptr, [](auto& results) {
      return wire::ReadList<api::IdentityRecord>(results.getRecords());
    });
  }

 private:
  wire::Daemon::Client Bootstrap() {
    capnp::MallocMessageBuilder message(4);
    auto server = message.initRoot<capnp::rpc::twoparty::VatId>();
    server.setSide(capnp::rpc::twoparty::Side::SERVER);
    return rpc_.bootstrap(server).castAs<wire::Daemon>();
  }

  // Sends, waits, and takes the error or the result out of the answer.
  template <typename Result, typename Request, typename Take>
  absl::StatusOr<Result> Call(Request request, Diagnostics* diagnostics, Take take) {
    absl::StatusOr<Result> result = absl::InternalError("no answer");
    auto thrown = kj::runCatchingExceptions([&]() {
      auto response = request.send().wait(io_->waitScope);
      absl::Status error = wire::ReadError(response.getError(), diagnostics);
      if (error.ok()) {
        result = take(response);
      } else {
        result = error;
      }
    });
    KJ_IF_MAYBE (exception, thrown) result = LostConnection(path_, foreign_, *exception);
    return result;
  }

  std::string path_;
  bool foreign_;  // neither root nor the daemon's user
  const std::shared_ptr<kj::AsyncIoContext> io_;
  kj::Own<kj::AsyncIoStream> stream_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
  wire::Daemon::Client daemon_;
};

absl::Status Unreachable(const std::string& path, int error) {
  const char* hint =
      error == EACCES || error == EPERM
          ? "Only root and the daemon's own user may speak to it."
          : "Is msegd running? Start it with `systemctl start msegd`, or name its socket with "
            "--socket or MSEG_SOCKET.";
  return absl::UnavailableError(
      absl::StrCat("cannot reach msegd at ", path, ": ", strerror(error), "\n", hint));
}

}  // namespace

absl::StatusOr<std::unique_ptr<api::Service>> Connect(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.empty() || socket_path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "socket path '", socket_path, "' must have 1 to ", sizeof(address.sun_path) - 1, " bytes"));
  }
  memcpy(address.sun_path, socket_path.data(), socket_path.size());
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Unreachable(socket_path, errno);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    int error = errno;
    close(fd);
    return Unreachable(socket_path, error);
  }
  ucred server{};
  socklen_t length = sizeof(server);
  bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &length) == 0;
  bool foreign = known && geteuid() != 0 && server.uid != geteuid();
  std::unique_ptr<api::Service> client;
  auto thrown = kj::runCatchingExceptions(
      [&]() { client = std::make_unique<Client>(socket_path, fd, foreign); });
  KJ_IF_MAYBE (exception, thrown) return LostConnection(socket_path, foreign, *exception);
  return client;
}

}  // namespace mseg::ctl
