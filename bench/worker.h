// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_BENCH_WORKER_H_
#define MSEG_BENCH_WORKER_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/process.h"
#include "bench/stats.h"

namespace mseg::bench {

// The programs that are measured: this executable again, as `mseg-bench worker`, in the network
// namespace and the cgroup of an arm. A server serves all ports below; a client does one slice of
// work when it is told to and says what that took.

enum Port : uint16_t {
  kPortConnect = 7000,
  kPortMany = 7100,  // kManyThreads threads accept here
  kPortStream = 7200,
  kPortRequest = 7300,
  kPortUdp = 7400,
  kPortLast = 7400,
  kPortRefused = 7500,  // no arm allows it, and nobody listens
};
inline constexpr uint32_t kManyThreads = 4;

enum class Work : uint32_t {
  kConnect,         // connect, request, response, close
  kConnectMany,     // the same from kManyThreads threads
  kRefused,         // connect to `port`, to fail with `want` (an errno)
  kRequest,         // request and response on one open connection
  kStream,          // bulk: an operation is a MiB that the server has read
  kUdpConnected,    // a datagram there and back on a connected socket
  kUdpUnconnected,  // the same with sendto
  kUdpExchange,     // the same with a socket of its own each time, as DNS clients do
  kExec,            // vfork, exec of /bin/true, wait
  kFork,            // fork, exit, wait
  kWatch,           // connect to `port` until the outcome is `want`; `at_ns` says when it was
  kRate,            // refused connects, `max_ops` of them spread over max_ns
};

// What goes over the socket between mseg-bench and a worker. Both are this executable.
struct Slice {
  Work work = Work::kConnect;
  uint32_t port = 0;
  int32_t want = 0;
  uint32_t ports = 1;  // kRate: so many from `port` on, in turn
  uint64_t max_ns = 0;
  uint64_t max_ops = UINT64_MAX;
};

struct Outcome {
  uint64_t ops = 0;
  uint64_t failures = 0;
  int32_t error = 0;  // the first failure's errno
  uint32_t pad = 0;
  uint64_t client_cpu_ns = 0;
  uint64_t server_cpu_ns = 0;
  uint64_t wall_ns = 0;
  uint64_t at_ns = 0;
  uint32_t latency[Histogram::kBuckets] = {};

  double CpuPerOp() const {
    return ops == 0 ? 0
                    : static_cast<double>(client_cpu_ns + server_cpu_ns) / static_cast<double>(ops);
  }
};

class Worker {
 public:
  // Both return when the worker is ready.
  static absl::StatusOr<std::unique_ptr<Worker>> StartServer(const Place& place,
                                                             const std::string& address,
                                                             const std::string& log);
  static absl::StatusOr<std::unique_ptr<Worker>> StartClient(const Place& place,
                                                             const std::string& address,
                                                             pid_t server, const std::string& log);
  pid_t pid() const { return child_.pid(); }
  // Blocks until the slice is done. DeadlineExceeded if the worker says nothing for `patience`.
  absl::StatusOr<Outcome> Run(const Slice& slice, uint64_t patience_ns = 30'000'000'000) const;
  // The two halves of Run, for what is done meanwhile.
  absl::Status Begin(const Slice& slice) const;
  absl::StatusOr<Outcome> End(uint64_t patience_ns) const;

 private:
  static absl::StatusOr<std::unique_ptr<Worker>> Start(std::vector<std::string> arguments,
                                                       const Place& place, const std::string& log);
  Child child_;
  ScopedFd socket_;
  std::string log_;
};

// What the worker process does; `argv` after the word "worker".
int WorkerMain(int argc, char** argv);
int ServerMain(const std::string& address);
int ClientMain(const std::string& address, pid_t server);

inline constexpr int kWorkerSocket = 3;

}  // namespace mseg::bench

#endif  // MSEG_BENCH_WORKER_H_
