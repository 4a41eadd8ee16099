// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_RPC_SERVER_H_
#define MSEG_DAEMON_RPC_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/api/service.h"

namespace kj {
struct AsyncIoContext;
}

namespace mseg {

struct RpcOptions {
  std::string socket_path;
  unsigned max_connections = 64;  // more are closed at once
  // Called with one line for what an operator should see (a refused peer, a malformed message).
  // Runs on the thread of the event loop; may be empty.
  std::function<void(const std::string&)> log = nullptr;
};

// Carries a Service over a unix socket. Peers are root and the daemon's own user, by SO_PEERCRED.
// Whatever a peer sends, only its own connection suffers; no kj::Exception leaves this class.
//
// There are two ways to run it. In an event loop that exists:
//
//   auto io = kj::setupAsyncIo();
//   auto server = RpcServer::Create(io, service, {.socket_path = path});   // a StatusOr
//   ... io.waitScope: calls arrive while something waits on it, on this thread
//
// Or, where the rest of the process knows no KJ, on a thread of its own, on which the Service's
// methods then run:
//
//   auto server = RpcServer::StartThread(service, {.socket_path = path});
//
// `service` must outlive the server; `io` too. Destruction removes the socket and drops every
// connection; with a thread it waits for the call that runs.
class RpcServer {
 public:
  static absl::StatusOr<std::unique_ptr<RpcServer>> Create(kj::AsyncIoContext& io,
                                                           api::Service& service,
                                                           RpcOptions options);
  static absl::StatusOr<std::unique_ptr<RpcServer>> StartThread(api::Service& service,
                                                                RpcOptions options);
  virtual ~RpcServer() = default;

  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

 protected:
  RpcServer() = default;
};

}  // namespace mseg

#endif  // MSEG_DAEMON_RPC_SERVER_H_
