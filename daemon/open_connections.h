// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_OPEN_CONNECTIONS_H_
#define MSEG_DAEMON_OPEN_CONNECTIONS_H_

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "labels/address.h"
#include "labels/simulator.h"
#include "mseg/abi.h"

namespace mseg {

// One open socket, and what is on record about how it came to be.
struct OpenSocket {
  mseg_socket_record record{};          // with its oldest holder
  std::optional<mseg_identity> opener;  // who connected it, or sent on it
  std::optional<mseg_identity> proven;  // who proved to be at the other end, on another host
  std::optional<mseg_direction> flow;   // UDP: of the datagram that opened the flow
  // UDP: its process bound it to a port, or it is older than mseg.
  bool bound = false;
};

struct BytesLess {
  template <typename T>
  bool operator()(const T& a, const T& b) const {
    return std::memcmp(&a, &b, sizeof(T)) < 0;
  }
};

struct OpenSockets {
  std::vector<OpenSocket> sockets;  // each cookie once
  // Sockets of the same namespaces that are not mseg's to judge, known to be there.
  std::vector<mseg_socket_record> foreign;
  std::map<mseg_listener_key, mseg_listener, BytesLess> listeners;
  std::map<uint64_t, std::vector<IpAddress>> addresses;  // netns cookie -> its own
};

// A connection that a generation denies.
struct DeniedConnection {
  std::vector<size_t> sockets;  // to be closed, of OpenSockets::sockets
  mseg_flow_event event{};      // who denies what; time and generation are the caller's
};

// The identity that these facts make, with label id and class.
using ResolveIdentity = std::function<mseg_identity(const mseg_task& facts)>;

// Descriptors of one socket, which processes may share, as one: the oldest holder counts, because
// it is the one that the others were forked from or got it from.
std::vector<mseg_socket_record> OnePerSocket(std::vector<mseg_socket_record> records);

// Judges what is open as the kernel would judge it if it were opened now, with the identities it
// was opened with: egress by who connected, ingress by who answers at the address, both ends with
// each other's identity where both are in one network namespace, else by address. The two sockets
// of a connection within this host are one connection.
//
// A connection from an address of its own namespace whose other socket is not there is left alone:
// its end is gone, or came to be during the walk; the next walk will see.
//
// Who answered is not on record: it is whoever listens at the socket's address, else its holder. A
// socket without any record (older than mseg, or 65,536 newer ones were connected since, and of TCP
// nobody listens at its port) was opened by the end with the higher port.
std::vector<DeniedConnection> FindDenied(const OpenSockets& open, const Simulator& simulator,
                                         const ResolveIdentity& resolve);

}  // namespace mseg

#endif  // MSEG_DAEMON_OPEN_CONNECTIONS_H_
