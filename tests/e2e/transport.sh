#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every way to reach a socket: families, protocols, addresses, directions, other network namespaces.
# The same act is done by a workload that may and by one that may not.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin transport
e2e_need ip ss
mkdir "$CG"/{db,dns,web,other,worker}

in_ns ip addr add 192.0.2.10/32 dev lo
in_ns ip addr add 2001:db8::10/128 dev lo
in_ns sysctl -qw net.ipv4.tcp_fastopen=3

start_msegd
cat >"$WORK/policy.yaml" <<'YAML'
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: db}
spec: {labels: {role: db}, match: {cgroup: /db}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: dns}
spec: {labels: {role: dns}, match: {cgroup: /dns}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: web}
spec: {labels: {role: web}, match: {cgroup: /web}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: other}
spec: {labels: {role: other}, match: {cgroup: /other}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: worker}
spec: {labels: {role: worker}, match: {cgroup: /worker}}
---
apiVersion: mseg.io/v1
kind: AddressGroup
metadata: {name: office}
spec: {labels: {loc: office}, cidrs: [10.77.0.2/32, 'fd77::2/128']}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: db-in}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
  rules:
  - name: web-to-db
    verdict: allow
    from: {labels: {role: web}}
    to: {labels: {role: db}}
    services: [tcp/7000-7002, udp/7000-7002]
  - name: office-to-db
    verdict: allow
    from: {labels: {loc: office}}
    to: {labels: {role: db}}
    services: [tcp/7001-7002, udp/7001-7002]
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: worker-out}
spec:
  selects: {labels: {role: worker}}
  directions: [egress]
  rules:
  - name: worker-to-db
    verdict: allow
    from: {labels: {role: worker}}
    to: {labels: {role: db}}
    services: [tcp/7000-7002, udp/7000-7002]
  - name: worker-to-office
    verdict: allow
    from: {labels: {role: worker}}
    to: {labels: {loc: office}}
    services: [tcp/7100, udp/7100]
  - name: worker-to-net
    verdict: allow
    from: {labels: {role: worker}}
    to: {cidrs: [10.77.1.0/24], except: [10.77.1.128/25]}
    services: [tcp/7100]
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: dns}
spec:
  selects: {labels: {role: dns}}
  rules:
  - name: ask
    verdict: allow
    from: {labels: {role: web}}
    to: {labels: {role: dns}}
    services: [udp/7200]
  - name: ask-from-office
    verdict: allow
    from: {labels: {loc: office}}
    to: {labels: {role: dns}}
    services: [udp/7200]
YAML
apply "$WORK/policy.yaml"

serve db tcp 7000 "$PYTHON" -SE "$PROBE" serve \
  udp 127.0.0.1 7000 udp ::1 7000 udp 0.0.0.0 7001 udp :: 7002 udp 127.0.0.1 7300 \
  tcp 0.0.0.0 7001 tcp :: 7002 tcp 127.0.0.1 7300 tcp ::1 7000 tcp 127.0.0.1 7000
serve other tcp 7400 "$PYTHON" -SE "$PROBE" serve udp 0.0.0.0 7400 tcp 0.0.0.0 7400
serve dns udp 7200 "$PYTHON" -SE "$PROBE" serve udp 0.0.0.0 7200

# both_ways ALLOWED DENIED DIRECTION RULE ACT...: every act is ok from one cgroup, and EPERM at once
# with a flow line of its own from the other.
both_ways() {
  local yes=$1 no=$2 direction=$3 rule=$4 act out i address protocol
  local -a acts words results ends
  shift 4
  acts=("$@")
  mapfile -t results < <(probe "$yes" many "${acts[@]}")
  for i in "${!acts[@]}"; do
    has "$yes may: ${acts[i]}" "${results[i]-}" '^ok '
  done
  mark
  mapfile -t results < <(probe "$no" many "${acts[@]}")
  msegctl flows -o json --since 10m >"$WORK/flows.json"
  for i in "${!acts[@]}"; do
    act=${acts[i]} out=${results[i]-}
    read -ra words <<<"$act"
    [[ ${words[0]} == udp* ]] && protocol=udp || protocol=tcp
    # What the kernel makes of an address of zeroes, and of IPv4 in IPv6.
    address=${words[1]#::ffff:}
    [[ $address == 0.0.0.0 ]] && address=127.0.0.1
    [[ $address == :: ]] && address=::1
    ends=(local.labels.role! local.digest!)
    # Who listens is on this host too.
    [[ $address != 127.0.0.1 && $address != ::1 ]] || ends+=(peer.labels.role! peer.digest!)
    if [[ $out != EPERM* ]]; then
      not_ok "$no may not: $act" "result: $out"
    elif ! line=$(matching_flow verdict=deny \
      "direction=$direction" "rule=$rule" reason=default "protocol=$protocol" \
      "port=${words[2]}" "peer.address~^(::ffff:)?$address\$" "${ends[@]}" \
      <"$WORK/flows.json"); then
      not_ok "$no may not: $act" "EPERM, but no flow line of $rule for $protocol $address: $line"
    elif [[ ! $out =~ ^EPERM\ ([0-9]+)\. ]] || ((BASH_REMATCH[1] >= 100 * SLOW)); then
      not_ok "$no may not: $act" "not at once: $out"
    else
      ok "$no may not: $act ($out)"
    fi
  done
}

addresses=("127.0.0.1 7000" "::1 7000" "::ffff:127.0.0.1 7000" "0.0.0.0 7000" ":: 7000"
  "192.0.2.10 7001" "::ffff:192.0.2.10 7001" "0.0.0.0 7001"
  "::1 7002" "2001:db8::10 7002" "192.0.2.10 7002" "::ffff:127.0.0.1 7002" ":: 7002")

for act in tcp udp udp-connected; do
  note "$act, the server's end judges"
  both_ways web other ingress db-in "${addresses[@]/#/$act }"
done
# A wildcard server answers from another of its addresses, which a connected client would not take.
both_ways web other ingress db-in "tcp 127.0.0.5 7001" "udp 127.0.0.5 7001"
note "Fast Open: sendto() that connects"
both_ways web other ingress db-in "fastopen 127.0.0.1 7000" "fastopen ::1 7000" \
  "fastopen ::ffff:127.0.0.1 7000" "fastopen 192.0.2.10 7001"

note "the client's end judges"
both_ways web worker egress worker-out "tcp 127.0.0.1 7400" "udp 127.0.0.1 7400" \
  "udp-connected 192.0.2.10 7400" "tcp ::ffff:127.0.0.1 7400" "fastopen 127.0.0.1 7400" \
  "tcp 0.0.0.0 7400"
mapfile -t results < <(probe worker many "tcp 127.0.0.1 7000" "udp ::1 7000")
same "a restricted client may reach what its rule names" "ok ok" \
  "$(printf '%s\n' "${results[@]}" | cut -d' ' -f1 | xargs)"

note "UDP, one socket and two peers"
allowed "connected to one allowed peer, sent to another" \
  probe web udp-elsewhere 127.0.0.1 7000 127.0.0.1 7001
refused "connected to an allowed peer, sent to one that is not" direction=ingress rule=db-in \
  protocol=udp port=7300 hook~sendmsg peer.labels.role=web -- \
  probe web udp-elsewhere 127.0.0.1 7000 127.0.0.1 7300
refused "the same, IPv4 in IPv6" direction=ingress rule=db-in protocol=udp port=7300 -- \
  probe web udp-elsewhere ::ffff:127.0.0.1 7002 ::ffff:127.0.0.1 7300

note "a UDP server that may send to nobody"
allowed "it answers who may ask" probe web udp 127.0.0.1 7200
refused "it does not send by itself" direction=egress rule=dns protocol=udp \
  local.labels.role=dns -- probe dns udp-send 127.0.0.1 7400
refused "who may not ask is refused" direction=ingress rule=dns protocol=udp port=7200 -- \
  probe other udp 127.0.0.1 7200

note "another network namespace"
PEER=$NS-p
ip netns add "$PEER"
link=m${ID}
if ! ip link add "${link}a" netns "$NS" type veth peer name "${link}b" netns "$PEER"; then
  skip "another network namespace" "veth devices"
  e2e_end
fi
for address in 10.77.0.1/24 10.77.1.1/24 fd77::1/64; do
  in_ns ip addr add "$address" dev "${link}a" nodad 2>/dev/null ||
    in_ns ip addr add "$address" dev "${link}a"
done
for address in 10.77.0.2/24 10.77.0.3/24 10.77.1.2/24 10.77.1.200/24 fd77::2/64 fd77::3/64; do
  ip -n "$PEER" addr add "$address" dev "${link}b" nodad 2>/dev/null ||
    ip -n "$PEER" addr add "$address" dev "${link}b"
done
in_ns ip link set "${link}a" up
ip -n "$PEER" link set "${link}b" up
ip -n "$PEER" link set lo up
peer() { nsenter --net="/run/netns/$PEER" "$PYTHON" -SE "$PROBE" "$@"; }
nsenter --net="/run/netns/$PEER" "$PYTHON" -SE "$PROBE" serve tcp 0.0.0.0 7100 \
  udp 0.0.0.0 7100 tcp :: 7101 >/dev/null 2>&1 &
track $!
wait_for 10 peer tcp 127.0.0.1 7100 || bail "the peer's server listens"
wait_for 10 in_ns "$PYTHON" -SE "$PROBE" tcp 10.77.0.2 7100 || bail "the link works"

mark
allowed "outbound, by address group, TCP" probe worker tcp 10.77.0.2 7100
check "its line has the group's labels" flow_line verdict=allow direction=egress \
  peer.labels.loc=office rule=worker-out/worker-to-office
refused "outbound, an address outside the group, TCP" direction=egress rule=worker-out \
  peer.address=10.77.0.3 peer.labels={} local.labels.role=worker "local.exe=$PYTHON" -- \
  probe worker tcp 10.77.0.3 7100
allowed "outbound, by address group, UDP" probe worker udp 10.77.0.2 7100
refused "outbound, an address outside the group, UDP" direction=egress rule=worker-out \
  protocol=udp peer.address=10.77.0.3 -- probe worker udp 10.77.0.3 7100
refused "outbound, the group's address, another port" direction=egress rule=worker-out \
  peer.labels.loc=office port=7101 -- probe worker tcp 10.77.0.2 7101
allowed "outbound, by cidrs" probe worker tcp 10.77.1.2 7100
refused "outbound, cidrs' except" direction=egress rule=worker-out peer.address=10.77.1.200 -- \
  probe worker tcp 10.77.1.200 7100

# dropped DESCRIPTION PROTOCOL SOURCE HOST PORT RULE
dropped() {
  mark
  local out
  out=$(peer --timeout 2 --from "$3" "$2" "$4" "$5" || true)
  has "inbound, $1: no answer" "$out" '^(timeout|ECONNREFUSED)'
  denied_by "inbound, $1: the listener's host refused it" hook=ingress direction=ingress \
    "protocol=$2" "rule=$6" "peer.address=$3" "port=$5" "local.exe=$PYTHON" \
    "local.digest=$(digest_of "$PYTHON")" peer.exe=
}
allowed "inbound, by address group, TCP" peer --from 10.77.0.2 tcp 10.77.0.1 7001
dropped "an address outside the group, TCP" tcp 10.77.0.3 10.77.0.1 7001 db-in
allowed "inbound, by address group, UDP" peer --from 10.77.0.2 udp 10.77.0.1 7001
dropped "an address outside the group, UDP" udp 10.77.0.3 10.77.0.1 7001 db-in
allowed "inbound, by address group, IPv6" peer --from fd77::2 tcp fd77::1 7002
dropped "an address outside the group, IPv6" tcp fd77::3 fd77::1 7002 db-in
allowed "inbound, IPv4 at a listener of both families" peer --from 10.77.0.2 tcp 10.77.0.1 7002
dropped "IPv4 at a listener of both families" tcp 10.77.0.3 10.77.0.1 7002 db-in
allowed "inbound, the UDP server that may send to nobody answers" \
  peer --from 10.77.0.2 udp 10.77.0.1 7200
dropped "and does not where it may not be asked" udp 10.77.0.3 10.77.0.1 7200 dns
allowed "a server that nobody protects is open" peer --from 10.77.0.3 tcp 10.77.0.1 7400

e2e_end
