// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_UNIT_CTL_FIXTURE_H_
#define MSEG_TESTS_UNIT_CTL_FIXTURE_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ctl/context.h"
#include "ctl_fake_service.h"
#include "daemon/rpc_server.h"

namespace mseg {

struct CtlResult {
  int code = 0;
  std::string out;
  std::string err;
};

struct CtlInput {
  std::string in = "";
  bool color = false;
  std::function<bool(absl::Duration)> pause = [](absl::Duration) { return false; };
  std::function<ctl::Dialled(const std::string&, uint32_t)> dial =
      [](const std::string&, uint32_t) { return ctl::Dialled{}; };
};

// Runs msegctl in-process, from the directory of the golden inputs.
CtlResult RunCtl(const std::string& socket_path, const std::vector<std::string>& arguments,
                 CtlInput input = {});

// A directory of its own, a FakeService in it behind a real socket, and msegctl speaking to it.
class CtlHost {
 public:
  explicit CtlHost(unsigned max_connections = 64);
  ~CtlHost();

  CtlResult Run(const std::vector<std::string>& arguments, CtlInput input = {}) {
    return RunCtl(socket_path(), arguments, std::move(input));
  }
  std::string socket_path() const { return directory_ + "/msegd.sock"; }
  const std::string& directory() const { return directory_; }
  std::vector<std::string> log();

  FakeService service;

 private:
  std::string directory_;
  std::mutex log_mutex_;
  std::vector<std::string> log_;
  std::unique_ptr<RpcServer> server_;
};

// Compares with tests/golden/ctl/NAME.txt, or writes it if MSEG_UPDATE_GOLDEN is set.
void CheckGolden(const std::string& name, const std::vector<std::string>& arguments,
                 const CtlResult& result);

struct GoldenCase {
  const char* golden;
  std::vector<std::string> arguments;
};

// Runs one after the other and checks each.
void RunCases(CtlHost& host, const std::vector<GoldenCase>& cases);

}  // namespace mseg

#endif  // MSEG_TESTS_UNIT_CTL_FIXTURE_H_
