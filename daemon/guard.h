// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_GUARD_H_
#define MSEG_DAEMON_GUARD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "daemon/api/service.h"
#include "daemon/exe_registry.h"
#include "daemon/guard_config.h"
#include "loader/dataplane.h"
#include "mseg/abi.h"

namespace mseg {

// mseg against everybody but mseg (bpf/guard.bpf.c): says which executables are its own, what of it
// is guarded, and remembers who tried.
class Guard {
 public:
  using Log = std::function<void(const std::string&)>;

  Guard(const Dataplane& dataplane, ExeRegistry& exes, GuardConfig config, std::string state_dir,
        Log log)
      : dataplane_(dataplane),
        exes_(exes),
        config_(std::move(config)),
        state_dir_(std::move(state_dir)),
        log_(std::move(log)) {}
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  bool enabled() const { return config_.enabled; }
  // Gives roles to executables; they count once the registry has published them. `self`: what the
  // daemon runs. FailedPrecondition: it cannot be known by its content.
  absl::Status NameOwn(const mseg_exe_key& self);
  // What of mseg_config is the guard's.
  absl::Status FillConfig(mseg_config* config) const;
  // Says what is guarded.
  absl::Status NameGuarded() const;

  // `exe`: what the registry knows of who did it.
  void Note(const mseg_tamper_event& event, const std::string& exe);
  const std::deque<api::Tampering>& attempts() const { return attempts_; }

 private:
  const Dataplane& dataplane_;
  ExeRegistry& exes_;
  GuardConfig config_;
  std::string state_dir_;
  Log log_;
  std::deque<api::Tampering> attempts_;  // the last ones
};

// The word of enum mseg_tamper.
std::string_view TamperName(uint32_t act);

}  // namespace mseg

#endif  // MSEG_DAEMON_GUARD_H_
