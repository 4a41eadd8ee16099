// SPDX-License-Identifier: Apache-2.0
#include "ctl/host_port.h"

#include <netdb.h>
#include <sys/socket.h>

#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "labels/address.h"

namespace mseg::ctl {
namespace {

absl::Status Malformed(const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not HOST:PORT; an IPv6 address stands in brackets"));
}

absl::StatusOr<std::string> Resolve(const std::string& host) {
  if (ParseIpAddress(host).ok()) return host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot resolve ", host, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  char text[NI_MAXHOST];
  if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot resolve ", host));
  }
  return std::string(text);
}

}  // namespace

absl::StatusOr<HostPort> ResolveHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return Malformed(text);
  std::string host = text.substr(0, colon);
  HostPort out;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &out.port) || out.port == 0 || out.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": a port is a number from 1 to 65535"));
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.empty() || host.find(':') != std::string::npos) {
    return Malformed(text);
  }
  auto address = Resolve(host);
  if (!address.ok()) return address.status();
  out.address = *std::move(address);
  return out;
}

}  // namespace mseg::ctl
