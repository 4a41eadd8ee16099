// SPDX-License-Identifier: Apache-2.0
#include "ctl_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mseg {

CtlResult RunCtl(const std::string& socket_path, const std::vector<std::string>& arguments,
                 CtlInput input) {
  std::filesystem::current_path(std::string(MSEG_GOLDEN_DIR) + "/input");
  std::istringstream in(input.in);
  std::ostringstream out, err;
  ctl::Context context{.in = in,
                       .out = out,
                       .err = err,
                       .color = input.color,
                       .socket_path = socket_path,
                       .user = "alice",
                       .now_us = []() { return int64_t{1767323105000000}; },  // 03:05:05
                       .pause = input.pause,
                       .dial = input.dial};
  int code = ctl::Run(arguments, context);
  return {.code = code, .out = out.str(), .err = err.str()};
}

CtlHost::CtlHost(unsigned max_connections) {
  char name[] = "/tmp/mseg-ctl-XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  directory_ = name;
  auto server = RpcServer::StartThread(service, {.socket_path = socket_path(),
                                                 .max_connections = max_connections,
                                                 .log = [this](const std::string& line) {
                                                   std::lock_guard lock(log_mutex_);
                                                   log_.push_back(line);
                                                 }});
  INFO(server.status().ToString());
  REQUIRE(server.ok());
  server_ = *std::move(server);
}

CtlHost::~CtlHost() {
  server_.reset();
  std::filesystem::remove_all(directory_);
}

std::vector<std::string> CtlHost::log() {
  std::lock_guard lock(log_mutex_);
  return log_;
}

void CheckGolden(const std::string& name, const std::vector<std::string>& arguments,
                 const CtlResult& result) {
  std::string text = absl::StrCat("$ msegctl ", absl::StrJoin(arguments, " "), "\n", result.out);
  if (!result.err.empty()) absl::StrAppend(&text, "[stderr]\n", result.err);
  absl::StrAppend(&text, "[exit ", result.code, "]\n");
  std::string path = absl::StrCat(MSEG_GOLDEN_DIR, "/", name, ".txt");
  if (getenv("MSEG_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream golden;
  golden << file.rdbuf();
  INFO(path << " (MSEG_UPDATE_GOLDEN=1 writes it anew)");
  CHECK(text == golden.str());
}

void RunCases(CtlHost& host, const std::vector<GoldenCase>& cases) {
  for (const GoldenCase& one : cases) {
    CheckGolden(one.golden, one.arguments, host.Run(one.arguments));
  }
}

}  // namespace mseg
