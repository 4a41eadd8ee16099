// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_DIAL_H_
#define MSEG_CTL_DIAL_H_

#include <cstdint>
#include <string>

namespace mseg::ctl {

// What came of a TCP connection that carries no data.
struct Dialled {
  bool connected = false;
  std::string error;  // as errno names it; of connect, or of the connection when it was cut
};

// Connects, waits a moment for the other end to end it, and closes. Gives up after five seconds.
Dialled DialTcp(const std::string& address, uint32_t port);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_DIAL_H_
