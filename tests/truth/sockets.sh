#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A sample of the cyclonus cells on real sockets: pods are network namespaces on a bridge and cgroups
# named as kubelet names them, a running msegd enforces what `msegctl import` made of the step.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

readonly CELLS=${TRUTH_SOCKET_CELLS:-3600}

e2e_begin sockets
e2e_need ip nsenter
[[ -f $ROOT/../shared/data/cyclonus-cases.jsonl.gz ]] || {
  skip "cells on real sockets" "$ROOT/../shared/data"
  e2e_end
}

in_ns ip link add bridge type bridge
in_ns ip addr add 192.168.0.1/16 dev bridge
in_ns ip link set bridge up
for ns in x y z; do
  for pod in a b c; do
    name=$NS-$ns-$pod
    number=$(($(printf '%d' "'$ns") - $(printf '%d' "'x") + 1))
    host=$(($(printf '%d' "'$pod") - $(printf '%d' "'a") + 11))
    ip netns add "$name"
    ip -n "$NS" link add "v-$ns$pod" type veth peer name eth0 netns "$name"
    in_ns ip link set "v-$ns$pod" master bridge up
    ip -n "$name" link set lo up
    ip -n "$name" addr add "192.168.$number.$host/16" dev eth0
    ip -n "$name" link set eth0 up
  done
done

check "the steps are imported and explained" \
  "$PYTHON" "$ROOT/tests/truth/cyclonus.py" --keep "$WORK/steps"
start_msegd
export POD_AGENT=$WORK/pod_agent.py POD_TIMEOUT=$((1 * SLOW))
install -m 644 "$SUPPORT/pod_agent.py" "$POD_AGENT"
if "$PYTHON" "$SUPPORT/pods_on_sockets.py" "$WORK/steps" "$CG" "$NS" "$CELLS" >"$WORK/cells" 2>&1
then
  ok "$(tail -n 1 "$WORK/cells")"
  note "$(grep '^# ' "$WORK/cells" | tr -d '#\n')"
else
  not_ok "every cell is as the tables say" "$(head -n 40 "$WORK/cells"; tail -n 3 "$WORK/cells")"
fi
e2e_end
