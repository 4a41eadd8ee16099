#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may ping whom. A ping socket is judged by the type that it sends: in full mode whenever it sends
# or connects, in cgroup mode when it is made, by what policy says of everybody.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119 # start_msegd without options
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin icmp
e2e_need ip
mkdir -p "$CG"/{monitor,other}
# shellcheck disable=SC2016 # for the shell in there
in_ns sh -c 'echo "0 2147483647" >/proc/sys/net/ipv4/ping_group_range'

cat >"$WORK/ping.py" <<'PYTHON'
# ping.py HOW ADDRESS: one echo request and its answer.
import socket, struct, sys

how, address = sys.argv[1:]
v6 = ":" in address
family = socket.AF_INET6 if v6 else socket.AF_INET
protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
try:
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(5)
        request = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0, 1) + b"mseg"
        if how == "connect":
            sock.connect((address, 0))
            sock.send(request)
        else:
            sock.sendto(request, (address, 0))
        answer = sock.recv(1500)
        assert answer[0] == (129 if v6 else 0), answer
except OSError as error:
    sys.exit(str(error))
PYTHON
ping() { in_cgroup "$1" "$PYTHON" -SE "$WORK/ping.py" "$2" "$3"; } # CGROUP sendto|connect ADDRESS

policy() { # TO SERVICES
  cat <<YAML
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: monitor}
spec: {labels: {role: monitor}, match: {cgroup: /monitor}}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: pings}
spec:
  selects: {labels: {role: monitor}}
  directions: [egress]
  rules:
  - {name: r, verdict: allow, from: {labels: {role: monitor}}, to: $1, services: $2}
YAML
}

start_msegd
policy '{}' '[tcp/80]' >"$WORK/tcp.yaml"
policy '{}' '[icmp/echo-request]' >"$WORK/echo.yaml"
policy '{}' '[icmp]' >"$WORK/icmp.yaml"
policy '{}' '[icmp/8]' >"$WORK/four.yaml"
policy '{}' '[icmp/timestamp-request, icmpv6/129]' >"$WORK/types.yaml"
policy '{cidrs: [127.0.0.2]}' '[icmp/echo-request]' >"$WORK/one.yaml"

apply "$WORK/tcp.yaml"
for address in 127.0.0.1 ::1; do
  refused "an echo request to $address where no rule allows it" local.labels.role=monitor -- \
    ping monitor sendto "$address"
  allowed "the same from somebody who is not confined" ping other sendto "$address"
done
for file in echo icmp; do
  apply "$WORK/$file.yaml"
  for address in 127.0.0.1 ::1; do
    allowed "an echo request to $address where $file allows it" ping monitor sendto "$address"
    allowed "the same, connected" ping monitor connect "$address"
  done
done
apply "$WORK/four.yaml"
allowed "an echo request of version 4" ping monitor sendto 127.0.0.1
refused "one of version 6 where version 4 is allowed" protocol=icmpv6 port=128 -- \
  ping monitor sendto ::1
apply "$WORK/types.yaml"
refused "an echo request where other types are allowed" protocol=icmp port=8 -- \
  ping monitor sendto 127.0.0.1
refused "one of version 6" protocol=icmpv6 -- ping monitor sendto ::1

apply "$WORK/one.yaml"
if [[ $(status mode) == full ]]; then
  allowed "an echo request to the address that a rule names" ping monitor sendto 127.0.0.2
  allowed "the same, connected" ping monitor connect 127.0.0.2
  refused "one to another address" peer.address=127.0.0.1 protocol=icmp port=8 -- \
    ping monitor sendto 127.0.0.1
  refused "the same, connected" peer.address=127.0.0.1 protocol=icmp port=8 -- \
    ping monitor connect 127.0.0.1
else
  # Nobody sees there whom it will ping.
  refused "a ping socket where a rule names one address" protocol=icmp port=8 -- \
    ping monitor sendto 127.0.0.2
fi
e2e_end
