// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LABELS_KUBERNETES_H_
#define MSEG_LABELS_KUBERNETES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "labels/ast.h"
#include "labels/yaml_reader.h"

// The Kubernetes objects that say who may talk to whom, as far as they do; private to labels/.

namespace mseg {

struct KubeObject {
  const SourceText* source = nullptr;  // of KubeCluster::sources
  Spot spot;                           // of the name
  std::string name;
  std::string name_space;
};

struct KubeNamespace : KubeObject {
  std::map<std::string, std::string> labels;
};

struct KubePod : KubeObject {
  std::map<std::string, std::string> labels;
  std::string uid;
  std::string qos;  // Guaranteed, Burstable, BestEffort; empty where it is not said
  std::vector<Cidr> addresses;
  std::map<PortName, uint16_t> ports;
  bool host_network = false;
  bool finished = false;  // Succeeded or Failed: there is no process, and the address is free again
};

using KubeSelector = std::vector<LabelRequirement>;

struct KubePeer {
  std::optional<KubeSelector> pods;
  std::optional<KubeSelector> namespaces;
  std::optional<Cidr> block;
  std::vector<Cidr> except;
};

// A protocol's ports `first` to `last`, or its port with that name.
struct KubePort {
  uint8_t protocol = 0;
  uint16_t first = 1;
  uint16_t last = 65535;
  std::string name;
};

struct KubeRule {
  std::vector<KubePeer> peers;  // empty: anyone
  std::vector<KubePort> ports;  // empty: every port
};

struct KubePolicy : KubeObject {
  KubeSelector pods;
  std::optional<std::vector<KubeRule>> ingress;  // nothing: not in its policyTypes
  std::optional<std::vector<KubeRule>> egress;
};

struct KubeCluster {
  std::vector<KubeNamespace> namespaces;
  std::vector<KubePod> pods;
  std::vector<KubePolicy> policies;
  std::map<std::string, size_t> ignored;  // `v1 Service` -> how many
  std::vector<std::unique_ptr<SourceText>> sources;
};

// Adds a file's objects: Lists, single objects, several YAML documents, JSON. Errors go to
// `diagnostics`. `text` must outlive the cluster.
void ReadKubeObjects(std::string_view file, std::string_view text, KubeCluster* cluster,
                     Diagnostics* diagnostics);

}  // namespace mseg

#endif  // MSEG_LABELS_KUBERNETES_H_
