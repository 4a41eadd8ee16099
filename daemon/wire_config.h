// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_WIRE_CONFIG_H_
#define MSEG_DAEMON_WIRE_CONFIG_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "labels/address.h"
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
  mseg_proof_form proof = MSEG_PROOF_STRICT;
  bool operator==(const WireConfig&) const = default;
};

// What is wrong goes to the source.
void ReadWireConfig(const SourceText& source, const YamlNode& node, WireConfig* config);

}  // namespace mseg

#endif  // MSEG_DAEMON_WIRE_CONFIG_H_
