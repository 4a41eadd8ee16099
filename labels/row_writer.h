// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ROW_WRITER_H_
#define MSEG_LABELS_ROW_WRITER_H_

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "labels/ledger.h"
#include "labels/peer_groups.h"
#include "labels/port_classes.h"
#include "labels/program.h"

// From ledgers to rows, in the form that decide.h looks up; private to labels/.

namespace mseg {

// What is decided for peers of which nothing narrower is said: rows c to f.
struct Tail {
  uint32_t number = 0;
  uint32_t selecting[2] = {kNone, kNone};
  mseg_coarse mask{};
  LedgerMap base;                       // every peer, by port class
  std::map<uint32_t, LedgerMap> cells;  // beside that, the peers of a cell
  std::set<uint16_t> ports;             // that base or a cell names

  Ledger At(uint32_t cell, uint16_t port) const {
    Ledger ledger;
    base.MergePort(port, &ledger);
    if (const auto it = cells.find(cell); it != cells.end()) {
      it->second.MergePort(port, &ledger);
    }
    return ledger;
  }
};

struct End {
  uint32_t number = 0;
  uint32_t local = 0;  // one of its classes
  const Tail* tail = nullptr;
  bool by_peer = false;  // rows b are to be asked for first
};
using RowList = std::vector<std::pair<mseg_row_key, mseg_row>>;

// Of one direction.
class RowWriter {
 public:
  RowWriter(const Program& program, const PortClasses& ports, const PeerGroups& groups,
            mseg_direction direction)
      : program_(program), ports_(ports), groups_(groups), direction_(direction) {}

  // From port sets to port classes.
  LedgerMap ByPort(const LedgerMap& sets) const;

  RowList OfTail(const Tail& tail) const;
  // Adds rows a and b of one peer, of which `sets` is said beside the tail.
  void AddPeer(const End& end, uint32_t peer, const LedgerMap& sets, RowList* rows) const;

 private:
  mseg_row RowOf(const Tail& tail, const Ledger& ledger) const;
  mseg_row TailRow(const Tail& tail, uint32_t cell, uint16_t port) const {
    return RowOf(tail, tail.At(cell, port));
  }
  void Emit(uint32_t local, uint32_t peer, uint16_t port, const mseg_row& row,
            RowList* rows) const;
  void EmitTailPort(const Tail& tail, uint16_t port, RowList* rows) const;
  void EmitPorts(const End& end, uint32_t peer, uint32_t cell, const LedgerMap& own,
                 RowList* rows) const;
  void EmitPeer(const End& end, uint32_t peer, uint32_t cell, const LedgerMap& own,
                RowList* rows) const;

  const Program& program_;
  const PortClasses& ports_;
  const PeerGroups& groups_;
  const mseg_direction direction_;
};

}  // namespace mseg

#endif  // MSEG_LABELS_ROW_WRITER_H_
