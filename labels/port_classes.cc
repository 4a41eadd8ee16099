// SPDX-License-Identifier: Apache-2.0
#include "labels/port_classes.h"

#include <algorithm>
#include <map>
#include <iterator>

#include "labels/stable_numbers.h"
#include "labels/text.h"
#include "mseg/decide.h"

namespace mseg {
namespace {

// Place on the line of {port space << 16 | port}.
uint32_t LineOf(uint8_t protocol, uint16_t port) {
  const auto at = mseg_port_place(0, protocol, port);
  return at.block * MSEG_PORT_BLOCK + at.index;
}

// Where port sets begin and end on that line.
struct Edges {
  std::vector<uint32_t> begins;
  std::vector<uint32_t> ends;
};

std::map<uint32_t, Edges> CollectEdges(const Program& program) {
  std::map<uint32_t, Edges> edges;
  for (uint32_t set = 1; set < program.port_sets.size(); ++set) {
    for (const PortRange& range : program.port_sets[set]) {
      const bool whole = range.kind == PortRange::Kind::kProtocol;
      const uint32_t first = LineOf(range.protocol, whole ? 0 : range.first);
      const uint32_t last = LineOf(range.protocol, whole ? UINT16_MAX : range.last);
      edges[first].begins.push_back(set);
      edges[last + 1].ends.push_back(set);
    }
  }
  return edges;
}

}  // namespace

absl::StatusOr<PortClasses> BuildPortClasses(const Program& program,
                                             const GenerationImage* previous) {
  struct Run {
    uint32_t first = 0;
    uint32_t end = 0;
    size_t cls = 0;
  };
  std::vector<Run> runs;
  std::map<std::vector<uint32_t>, size_t> classes;  // sets that hold a port -> index
  std::vector<std::vector<uint64_t>> members;       // of a class: where its runs begin
  std::map<uint32_t, int> open;                     // set -> how many of its ranges are open
  const std::map<uint32_t, Edges> edges = CollectEdges(program);
  for (auto edge = edges.begin(); edge != edges.end(); ++edge) {
    for (uint32_t set : edge->second.begins) ++open[set];
    for (uint32_t set : edge->second.ends) {
      if (--open[set] == 0) open.erase(set);
    }
    if (open.empty()) continue;
    std::vector<uint32_t> sets;
    for (const auto& [set, count] : open) sets.push_back(set);
    const size_t cls = classes.emplace(std::move(sets), classes.size()).first->second;
    if (cls == members.size()) members.emplace_back();
    members[cls].push_back(edge->first);
    // Something is open, so an end follows.
    runs.push_back(Run{.first = edge->first, .end = std::next(edge)->first, .cls = cls});
  }

  NumberBook book;
  if (previous != nullptr) book.insert(previous->ports.begin(), previous->ports.end());
  const std::vector<uint32_t> numbers = AssignNumbers(members, &book, 1);
  PortClasses out;
  out.count = static_cast<uint32_t>(classes.size()) + 1;
  out.of_set.resize(program.port_sets.size());
  for (const auto& [sets, cls] : classes) {
    if (numbers[cls] > UINT16_MAX) {
      return absl::ResourceExhaustedError(
          Cat("the rules tell more than ", UINT16_MAX, " classes of ports apart"));
    }
    for (uint32_t set : sets) out.of_set[set].push_back(static_cast<uint16_t>(numbers[cls]));
  }
  for (const Run& run : runs) {
    for (uint32_t port = run.first; port < run.end; ++port) {
      out.table.emplace_back(port, static_cast<uint16_t>(numbers[run.cls]));
    }
  }
  return out;
}

}  // namespace mseg
