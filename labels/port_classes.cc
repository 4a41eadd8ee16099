// SPDX-License-Identifier: Apache-2.0
#include "labels/port_classes.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <set>

#include "labels/text.h"

namespace mseg {
namespace {

uint32_t PortSpace(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return MSEG_PORTS_TCP;
    case IPPROTO_UDP:
      return MSEG_PORTS_UDP;
    case IPPROTO_SCTP:
      return MSEG_PORTS_SCTP;
    default:
      return MSEG_PORTS_OTHER;
  }
}

// Where port sets begin and end on the line of {port space << 16 | port}.
struct Edges {
  std::vector<uint32_t> begins;
  std::vector<uint32_t> ends;
};

std::map<uint32_t, Edges> CollectEdges(const Program& program) {
  std::map<uint32_t, Edges> edges;
  for (uint32_t set = 1; set < program.port_sets.size(); ++set) {
    for (const PortRange& range : program.port_sets[set]) {
      const bool ports = range.kind == PortRange::Kind::kPorts;
      const uint32_t space = PortSpace(range.protocol) << 16;
      const uint32_t first = space | (ports ? range.first : range.protocol);
      const uint32_t last = space | (ports ? range.last : range.protocol);
      edges[first].begins.push_back(set);
      edges[last + 1].ends.push_back(set);
    }
  }
  return edges;
}

}  // namespace

absl::StatusOr<PortClasses> BuildPortClasses(const Program& program) {
  PortClasses out;
  out.of_set.resize(program.port_sets.size());
  std::map<std::vector<uint32_t>, uint16_t> classes;  // sets that hold a port -> class
  std::map<uint32_t, int> open;                       // set -> how many of its ranges are open
  const std::map<uint32_t, Edges> edges = CollectEdges(program);
  for (auto edge = edges.begin(); edge != edges.end(); ++edge) {
    for (uint32_t set : edge->second.begins) ++open[set];
    for (uint32_t set : edge->second.ends) {
      if (--open[set] == 0) open.erase(set);
    }
    if (open.empty()) continue;
    std::vector<uint32_t> sets;
    for (const auto& [set, count] : open) sets.push_back(set);
    if (!classes.contains(sets) && out.count > UINT16_MAX) {
      return absl::ResourceExhaustedError(
          Cat("the rules tell more than ", UINT16_MAX, " classes of ports apart"));
    }
    const auto [it, added] = classes.emplace(sets, static_cast<uint16_t>(out.count));
    if (added) {
      ++out.count;
      for (uint32_t set : sets) out.of_set[set].push_back(it->second);
    }
    const uint32_t end = std::next(edge)->first;  // something is open, so an end follows
    for (uint32_t port = edge->first; port < end; ++port) {
      out.table.emplace_back(port, it->second);
    }
  }
  return out;
}

}  // namespace mseg
