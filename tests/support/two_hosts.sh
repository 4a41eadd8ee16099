# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2119 # for those who source this
# Two hosts, a and b, with a router between them: each with its own msegd, state, pins, cgroups and
# network namespace, and each with the other's host record. Sourced after e2e.sh and e2e_begin.
#
# a is the suite's own: $CG with /web and /other, $NS, 10.9.1.2. b: $CG2 with /db and /open, $NS2,
# 10.9.2.2. The router, $ROUTER, is 10.9.1.1 on side_a and 10.9.2.1 on side_b.

e2e_need nft ss

second_places
NS2=$NS-b ROUTER=$NS-r
mkdir "$CG"/{web,other} "$CG2"/{db,open}

ip netns add "$NS2"
ip netns add "$ROUTER"
ip -n "$NS2" link set lo up
ip -n "$NS" link add wire0 type veth peer name side_a netns "$ROUTER"
ip -n "$NS2" link add wire0 type veth peer name side_b netns "$ROUTER"
connect() { # NETNS ADDRESS ROUTER-DEVICE ROUTER-ADDRESS
  ip -n "$1" addr add "$2/24" dev wire0
  ip -n "$1" link set wire0 up
  ip -n "$ROUTER" addr add "$4/24" dev "$3"
  ip -n "$ROUTER" link set "$3" up
  ip -n "$1" route add default via "$4"
}
connect "$NS" 10.9.1.2 side_a 10.9.1.1
connect "$NS2" 10.9.2.2 side_b 10.9.2.1
ip netns exec "$ROUTER" sysctl -qw net.ipv4.ip_forward=1
# Resets of connections that the router makes by hand: its kernel knows nothing of them.
ip netns exec "$ROUTER" nft -f - <<'NFT'
table ip quiet {
  chain out { type filter hook output priority 0; oifname "side_b" tcp flags rst drop; }
}
NFT

od -An -v -tx1 -N32 /dev/urandom | tr -d " \n" >"$WORK/salt"
chmod 600 "$WORK/salt"
configure() { # WIRE: what stands in `wire`
  local host
  for host in alpha beta; do
    printf 'fleet: {salt_file: %s}\nhost: {name: %s}\nwire: {%s}\n' "$WORK/salt" "$host" "$1" \
      >"$WORK/$host.yaml"
  done
}

a() { msegctl "$@"; }
b() { msegctl --socket "$WORK/sock2" "$@"; }
start_a() { start_msegd --config "$WORK/alpha.yaml"; }
start_b() {
  "$MSEG_BIN/msegd" --state-dir "$WORK/state2" --socket "$WORK/sock2" --cgroup-root "$CG2" \
    --bpffs "$PINS2" --config "$WORK/beta.yaml" </dev/null >>"$WORK/second.log" 2>&1 &
  B_PID=$!
  track "$B_PID"
  wait_for 30 b status || bail "the second msegd starts" "$(cat "$WORK/second.log")"
}

# start_hosts WIRE: both daemons, which trust each other; $TRUSTED/webapp and $TRUSTED/dbserver are
# programs of their own, because between hosts an executable is known by its content.
start_hosts() {
  local program
  for program in webapp dbserver; do
    cp "$PYTHON" "$TRUSTED/$program"
    echo "$program" >>"$TRUSTED/$program"
  done
  configure "$1"
  start_a
  start_b
  a host init --id 1 >/dev/null
  b host init --id 2 >/dev/null
  a host show -o json >"$WORK/a.json"
  b host show -o json >"$WORK/b.json"
  a host trust "$WORK/b.json" >/dev/null
  b host trust "$WORK/a.json" >/dev/null
  learn "$TRUSTED/webapp" "$PYTHON"
  b identity show "$TRUSTED/dbserver" >/dev/null
}

# exchange: each host learns what the other's ids mean.
exchange() {
  a record export -o "$WORK/records-a.json"
  b record export -o "$WORK/records-b.json"
  a record import "$WORK/records-b.json" >/dev/null
  b record import "$WORK/records-a.json" >/dev/null
}

# in_b CGROUP COMMAND...: in the background on host b; $SPAWNED.
in_b() {
  "$MSEG_TESTS/e2e_enter" "$CG2/$1" "/run/netns/$NS2" "${@:2}" </dev/null \
    >>"$WORK/servers.log" 2>&1 &
  SPAWNED=$!
  track "$SPAWNED"
}
b_listens() { ip netns exec "$NS2" ss -Hlnt "sport = :$1" | grep -q .; }

app() { in_cgroup web "$TRUSTED/webapp" "$PROBE" "$@"; }
b_line() { # CONDITION...: a flow line of the server's host since `mark`
  b flows -o json --since 10m | matching_flow "$@"
}
b_saw() { # DESCRIPTION CONDITION...
  local what=$1 out
  shift
  if out=$(b_line "$@"); then ok "$what" && note "$out"; else not_ok "$what" "$*: $out"; fi
}
# db_by_address CIDR SERVICES: documents that let any process at these addresses reach role=db.
db_by_address() {
  cat <<YAML
---
apiVersion: mseg.io/v1
kind: AddressGroup
metadata: {name: lan}
spec: {labels: {loc: lan}, cidrs: [$1]}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: by-address}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
  rules:
  - {name: lan, verdict: allow, from: {labels: {loc: lan}}, to: {labels: {role: db}}, services: [$2]}
YAML
}
# web_out_policy SERVICES [PROCESS]: cgroup /web may reach these of role=db only, or of this program there.
web_out_policy() {
  cat <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: web-out}
spec:
  selects: {labels: {role: web}}
  directions: [egress]
  rules:
  - name: to-db
    verdict: allow
    from: {labels: {role: web}}
    to: {labels: {role: db}${2:+, process: $2}}
    services: [$1]
YAML
}
counter_of() { # a|b NAME
  "$1" status -o json | json_field "counters.$2"
}
a_counter() { counter_of a "$1"; }
b_counter() { counter_of b "$1"; }

# turned_away DESCRIPTION CONDITION... -- COMMAND...: ECONNREFUSED in 1.5 s, and the server's host says why.
turned_away() {
  local what=$1 out took
  local -a conditions=()
  shift
  while [[ $1 != -- ]]; do conditions+=("$1") && shift; done
  shift
  mark
  if out=$("$@" 2>&1); then
    not_ok "$what" "it was allowed: $out"
    return 0
  fi
  took=$(sed -n 's/.*ECONNREFUSED \([0-9]*\).*/\1/p' <<<"$out")
  if [[ -z $took ]] || ((took > 1500 * SLOW)); then
    not_ok "$what" "not refused in time: $out"
    return 0
  fi
  b_saw "$what" verdict=deny "${conditions[@]}"
}

# ---- handshakes made by hand, by the router ------------------------------------------------------

install -m 644 "$SUPPORT"/{forge,internet}.py "$WORK/"
forge() { ip netns exec "$ROUTER" "$PYTHON" "$WORK/forge.py" "$@"; }
# capture COMMAND...: $CLAIM and $PROOF are those of a handshake that the command makes.
capture() {
  local pid
  rm -f "$WORK/captured"
  forge capture side_a "$WORK/captured" >"$WORK/capture.log" 2>&1 &
  pid=$!
  track "$pid"
  wait_for 10 grep -q ready "$WORK/capture.log" || bail "a capture" "$(cat "$WORK/capture.log")"
  "$@" >/dev/null
  wait_for 10 test -s "$WORK/captured" || bail "a handshake is captured"
  kill_tracked "$pid"
  CLAIM=$(awk '$1 == "claim" { print $2 }' "$WORK/captured")
  PROOF=$(awk '$1 == "proof" { print $2 }' "$WORK/captured")
}
dial() { forge dial side_b 10.9.2.1 10.9.2.2 "$@"; }
# let_in_not DESCRIPTION ANSWERS COUNTER PORT ARGUMENT...: one of these answers (a|b), and the counter
# moves.
let_in_not() {
  local what=$1 want=$2 counter=$3 before
  shift 3
  before=$(b_counter "$counter")
  has "$what" "$(dial "$@" 2>&1)" "^($want)\$"
  check "$what: counted as $counter" test "$(b_counter "$counter")" -gt "$before"
}
changed() { # HEX BYTE XOR: one byte of an option changed
  local byte=$((16#${1:$((2 * $2)):2} ^ $3))
  printf '%s%02x%s' "${1:0:$((2 * $2))}" "$byte" "${1:$((2 * $2 + 2))}"
}
