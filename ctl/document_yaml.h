// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_DOCUMENT_YAML_H_
#define MSEG_CTL_DOCUMENT_YAML_H_

#include <string>

#include "ctl/json.h"
#include "labels/ast.h"

namespace mseg::ctl {

// A document in its one spelling: fields in the order of docs/policy.md, lists of one item as that
// item, what is the default left out (but `state`, which nobody should have to guess).
Json DocumentTree(const Document& document);

// That as YAML. A sentence stands above the document that it becomes, as a comment.
std::string DocumentYaml(const Document& document);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_DOCUMENT_YAML_H_
