// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_DOCUMENT_ID_H_
#define MSEG_CTL_DOCUMENT_ID_H_

#include <string>

#include "absl/status/statusor.h"
#include "daemon/api/service.h"

namespace mseg::ctl {

// `KIND/NAME`, or `KIND` alone. The kind is one of the four, in any case, singular or plural.
absl::StatusOr<api::DocumentId> ParseDocumentId(const std::string& text);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_DOCUMENT_ID_H_
