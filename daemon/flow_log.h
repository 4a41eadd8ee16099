// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_FLOW_LOG_H_
#define MSEG_DAEMON_FLOW_LOG_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/api/service.h"
#include "labels/image.h"
#include "mseg/abi.h"

namespace mseg {

// What the numbers in flow events of one generation mean. Shared by the records that need it.
struct GenerationNames {
  uint32_t generation = 0;
  std::shared_ptr<const RuleTable> rules;
  std::shared_ptr<const LabelSets> label_sets;
  std::shared_ptr<const AddressRegions> regions;
};
std::shared_ptr<const GenerationNames> NamesOf(uint32_t generation, const GenerationImage& image);

// Recent flows, newest last, in a bounded memory. Equal events of one drain are one record with a
// count. Records are numbered from 1 without gaps; a reader that was too slow learns how many it
// missed.
class FlowLog {
 public:
  // What a process runs, of this host or another; null where nothing says.
  using FindExe = std::function<const ExecutableInfo*(const mseg_identity& id)>;
  explicit FlowLog(size_t capacity) : capacity_(capacity) {}

  // A generation comes into force. Earlier ones stay known while a record or one of the last few
  // generations needs them.
  void AddGeneration(std::shared_ptr<const GenerationNames> names);

  void BeginBatch();
  void Add(const mseg_flow_event& event);

  // How often something was judged, of all that was ever added.
  uint64_t judged() const { return judged_; }

  api::FlowPage Read(const api::FlowsRequest& request, const FindExe& exes) const;

  // The last refusal that is kept, of a process at either end (0: any). Null: there is none.
  struct Refusal {
    mseg_flow_event event;
    api::FlowRecord record;
  };
  std::optional<Refusal> LastRefusal(uint32_t pid, const FindExe& exes) const;

 private:
  struct Record {
    mseg_flow_event event;
    int64_t time_us = 0;
    uint64_t count = 0;
    std::shared_ptr<const GenerationNames> names;  // null: of a generation long gone
  };
  api::FlowRecord Render(const Record& record, const FindExe& exes) const;
  std::shared_ptr<const GenerationNames> FindNames(uint32_t generation) const;
  uint64_t first_number() const { return next_number_ - records_.size(); }

  size_t capacity_;
  std::deque<Record> records_;
  uint64_t next_number_ = 1;
  uint64_t judged_ = 0;
  std::deque<std::shared_ptr<const GenerationNames>> generations_;
  std::map<std::string, size_t> batch_;  // what equal events share -> number of their record
  int64_t clock_offset_us_ = 0;  // CLOCK_REALTIME minus CLOCK_MONOTONIC
};

std::string ProtocolName(uint8_t protocol);
std::string HookName(uint8_t hook);
std::string ProofName(uint8_t proof);

}  // namespace mseg

#endif  // MSEG_DAEMON_FLOW_LOG_H_
