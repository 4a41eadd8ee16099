// SPDX-License-Identifier: Apache-2.0
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "ctl/context.h"

namespace {

std::string Environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// The person behind sudo, for the record of a change; nothing is decided by it.
std::string UserName() {
  std::string sudo = Environment("SUDO_USER");
  if (getuid() == 0 && !sudo.empty()) return sudo;
  const passwd* entry = getpwuid(getuid());
  return entry == nullptr ? absl::StrCat("uid ", getuid()) : entry->pw_name;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  std::string socket = Environment("MSEG_SOCKET");
  mseg::ctl::Context context{
      .in = std::cin,
      .out = std::cout,
      .err = std::cerr,
      .color = isatty(STDOUT_FILENO) != 0 && Environment("NO_COLOR").empty() &&
               Environment("TERM") != "dumb",
      .socket_path = socket.empty() ? "/run/mseg/msegd.sock" : socket,
      .user = UserName(),
      .now_us = []() { return absl::ToUnixMicros(absl::Now()); },
      .pause =
          [](absl::Duration duration) {
            absl::SleepFor(duration);
            return true;
          },
      .dial = mseg::ctl::DialTcp,
  };
  return mseg::ctl::Run(std::vector<std::string>(argv + 1, argv + argc), context);
}
