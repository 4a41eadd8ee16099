#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `loopback: allow`: a workload's own processes talk on loopback addresses whatever the rules say,
# and nobody else does, and nowhere else.
# guests: 6.1
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119 # start_msegd without options
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin loopback
e2e_need ip ss
mkdir -p "$CG"/{pod/server,pod/client,twin,other}
in_ns ip addr add 192.0.2.10/32 dev lo

policy() { # LOOPBACK
  cat <<YAML
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: pod}
spec: {labels: {role: pod}, match: {cgroup: /pod}, loopback: $1}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: twin}
spec: {labels: {role: pod}, match: {cgroup: /twin}, loopback: allow}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: nobody}
spec: {selects: {labels: {role: pod}}}
YAML
}

start_msegd
policy allow >"$WORK/allow.yaml"
policy judge >"$WORK/judge.yaml"
apply "$WORK/allow.yaml"
serve pod/server tcp 7000 "$PYTHON" -SE "$PROBE" serve tcp 0.0.0.0 7000 udp 0.0.0.0 7000 tcp ::1 7001

allowed "TCP to 127.0.0.1 within the workload" probe pod/client tcp 127.0.0.1 7000
allowed "UDP to 127.0.0.1 within the workload" probe pod/client udp 127.0.0.1 7000
allowed "connected UDP to 127.0.0.1 within the workload" \
  probe pod/client udp-connected 127.0.0.1 7000
allowed "TCP to ::1 within the workload" probe pod/client tcp ::1 7001
allowed_soon "TCP from a cgroup that was made just now" probe pod/late/child tcp 127.0.0.1 7000

refused "TCP to another address of the same host" local.labels.role=pod -- \
  probe pod/client tcp 192.0.2.10 7000
refused "UDP to another address of the same host" local.labels.role=pod -- \
  probe pod/client udp 192.0.2.10 7000
refused "TCP from a workload with the same labels" local.labels.role=pod -- \
  probe twin tcp 127.0.0.1 7000
refused "UDP from a workload with the same labels" local.labels.role=pod -- \
  probe twin udp 127.0.0.1 7000
refused "TCP from somebody else" direction=ingress local.labels.role=pod -- \
  probe other tcp 127.0.0.1 7000

apply "$WORK/judge.yaml"
refused "TCP within the workload when it is judged" local.labels.role=pod -- \
  probe pod/client tcp 127.0.0.1 7000
refused "UDP within the workload when it is judged" local.labels.role=pod -- \
  probe pod/client udp 127.0.0.1 7000
apply "$WORK/allow.yaml"
allowed "TCP within the workload when it is no longer" probe pod/client tcp 127.0.0.1 7000
e2e_end
