// SPDX-License-Identifier: Apache-2.0
#include "loader/events.h"

#include <bpf/libbpf.h>

#include <cstring>

#include "loader/errno_status.h"

namespace mseg {
namespace {

template <typename Event>
bool Read(const void* data, size_t size, Event* out) {
  if (size < sizeof(Event)) return false;
  std::memcpy(out, data, sizeof(Event));
  return true;
}

}  // namespace

struct EventReader::Rings {
  struct Free {
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  };
  using Ring = std::unique_ptr<ring_buffer, Free>;
  Ring control;
  Ring flows;
};

int EventReader::OnEvent(void* context, void* data, size_t size) {
  auto* self = static_cast<EventReader*>(context);
  uint32_t type = 0;
  if (Read(data, size, &type)) {
    mseg_exe_event exe;
    mseg_cgroup_event cgroup;
    mseg_flow_event flow;
    mseg_quarantine_event quarantine;
    mseg_tamper_event tamper;
    mseg_script_event script;
    if (type == MSEG_EVENT_FLOWS_WAIT) return 0;  // whoever is awake drains the flows, too
    if (type == MSEG_EVENT_TAMPER && Read(data, size, &tamper)) {
      self->handlers_.tamper(tamper);
      return 0;
    }
    if (type == MSEG_EVENT_SCRIPT && Read(data, size, &script)) {
      self->handlers_.script(script);
      return 0;
    }
    if (type == MSEG_EVENT_QUARANTINE && Read(data, size, &quarantine)) {
      self->handlers_.quarantine(quarantine);
      return 0;
    }
    if (type == MSEG_EVENT_EXE && Read(data, size, &exe)) {
      self->handlers_.exe(exe);
      return 0;
    }
    if (type == MSEG_EVENT_CGROUP && Read(data, size, &cgroup)) {
      self->handlers_.cgroup(cgroup);
      return 0;
    }
    if (type == MSEG_EVENT_FLOW && Read(data, size, &flow)) {
      self->handlers_.flow(flow);
      return 0;
    }
  }
  self->malformed_++;
  return 0;
}

absl::StatusOr<std::unique_ptr<EventReader>> EventReader::Create(const Dataplane& dataplane,
                                                                 EventHandlers handlers) {
  std::unique_ptr<EventReader> reader(new EventReader(std::move(handlers)));
  reader->rings_ = std::make_unique<Rings>();
  auto open = [&](const char* map) {
    return Rings::Ring(ring_buffer__new(dataplane.MapFd(map), OnEvent, reader.get(), nullptr));
  };
  reader->rings_->control = open("mseg_control");
  if (!reader->rings_->control) return ErrnoStatus(errno, "read ring mseg_control");
  reader->rings_->flows = open("mseg_flows");
  if (!reader->rings_->flows) return ErrnoStatus(errno, "read ring mseg_flows");
  return reader;
}

EventReader::EventReader(EventHandlers handlers) : handlers_(std::move(handlers)) {}
EventReader::~EventReader() = default;

int EventReader::control_fd() const { return ring_buffer__epoll_fd(rings_->control.get()); }

absl::Status EventReader::DrainControl() {
  const int n = ring_buffer__consume(rings_->control.get());
  return n < 0 ? ErrnoStatus(n, "read ring mseg_control") : absl::OkStatus();
}

absl::Status EventReader::DrainFlows() {
  const int n = ring_buffer__consume(rings_->flows.get());
  return n < 0 ? ErrnoStatus(n, "read ring mseg_flows") : absl::OkStatus();
}

}  // namespace mseg
