// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_ALLOW_DOCUMENT_H_
#define MSEG_LABELS_ALLOW_DOCUMENT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "labels/address.h"
#include "labels/inventory.h"
#include "labels/label.h"

namespace mseg {

// One end of a connection that was refused.
struct AllowEnd {
  bool managed = false;  // a process; otherwise only `address` counts
  LabelSet labels;
  std::optional<ExecutableInfo> executable;  // nothing: not known
  IpAddress address{};
};

// The text of a Policy document that allows this connection and as little else as can be said: one
// rule, each process by its labels and its executable (by path where the path is trusted, else by
// content), an address by itself. FailedPrecondition with a sentence where an end has nothing that
// a rule could name. Its name is made from its content, so that two such documents do not replace
// each other.
absl::StatusOr<std::string> AllowDocument(const AllowEnd& from, const AllowEnd& to,
                                          uint8_t protocol, uint16_t port);

}  // namespace mseg

#endif  // MSEG_LABELS_ALLOW_DOCUMENT_H_
