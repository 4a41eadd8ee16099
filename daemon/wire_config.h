// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_WIRE_CONFIG_H_
#define MSEG_DAEMON_WIRE_CONFIG_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "labels/address.h"
#include "labels/ast.h"
#include "labels/source_text.h"
#include "labels/yaml_reader.h"
#include "mseg/abi.h"
#include "mseg/tcp_option.h"

namespace mseg {

// `wire` of the configuration: how identities travel between hosts. All hosts of a fleet have the
// same kind, exid and epoch.
struct WireConfig {
  struct Path {
    Cidr cidr;
    uint32_t flags = MSEG_PATH_PREFER;  // mseg_path_flags
    bool operator==(const Path&) const = default;
  };
  uint8_t kind = MSEG_OPTION_KIND;
  uint16_t exid = MSEG_OPTION_EXID;
  absl::Duration epoch = absl::Hours(1);
  uint32_t default_path = MSEG_PATH_PREFER;
  std::vector<Path> paths;
  // Who verifies what a client proves to a listener of this host. Unset: by mode (DefaultForm).
  std::optional<mseg_proof_form> proof;
  struct Listeners {
    std::vector<PortRange> ports;  // of TCP
    mseg_proof_form proof = MSEG_PROOF_STRICT;
    bool operator==(const Listeners&) const = default;
  };
  std::vector<Listeners> listeners;  // the later entry counts
  bool operator==(const WireConfig&) const = default;
};

// Is there a path whose datagrams carry identities?
bool CarriesDatagrams(const WireConfig& config);

// Strict in cgroup mode; fast in full mode.
mseg_proof_form DefaultForm(mseg_mode mode);

// The form of each port, as the map `forms` has it.
std::vector<mseg_forms> FormsOf(const WireConfig& config, mseg_mode mode);

// What is wrong goes to the source.
void ReadWireConfig(const SourceText& source, const YamlNode& node, WireConfig* config);

}  // namespace mseg

#endif  // MSEG_DAEMON_WIRE_CONFIG_H_
