// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_EVENTS_H_
#define MSEG_LOADER_EVENTS_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "loader/dataplane.h"
#include "mseg/abi.h"

namespace mseg {

// What comes out of the kernel. Handlers run inside Poll() and Drain*(), on the caller's thread.
struct EventHandlers {
  std::function<void(const mseg_exe_event&)> exe;
  std::function<void(const mseg_cgroup_event&)> cgroup;
  std::function<void(const mseg_flow_event&)> flow;
  std::function<void(const mseg_quarantine_event&)> quarantine;
  std::function<void(const mseg_tamper_event&)> tamper;
  std::function<void(const mseg_script_event&)> script;
};

// Reads both rings. An event of an unknown type or size is counted, not guessed at.
class EventReader {
 public:
  static absl::StatusOr<std::unique_ptr<EventReader>> Create(const Dataplane& dataplane,
                                                             EventHandlers handlers);
  ~EventReader();
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

  // Readable when a control event waits, or flow events fill half of their ring. Fewer of these
  // wake nobody: drain them from time to time.
  int control_fd() const;
  absl::Status DrainControl();
  absl::Status DrainFlows();
  uint64_t malformed() const { return malformed_; }

 private:
  explicit EventReader(EventHandlers handlers);
  static int OnEvent(void* context, void* data, size_t size);
  struct Rings;

  EventHandlers handlers_;
  std::unique_ptr<Rings> rings_;
  uint64_t malformed_ = 0;
};

}  // namespace mseg

#endif  // MSEG_LOADER_EVENTS_H_
