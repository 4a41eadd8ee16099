#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts with a router between them that rewrites addresses: the server's host sees one address for
# every client, and decides by the program that is calling.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin handshake
e2e_need nft ss

# Host a (the suite's own) is the clients', host b the server's.
CG2=$CG-2 PINS2=$PINS-2 NS2=$NS-b ROUTER=$NS-r
mkdir "$CG2" "$CG"/{web,other} "$CG2"/{db,open}
E2E_LEFT+=("$CG2" "$PINS2")
forget_second() {
  "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS2" >/dev/null 2>&1
  rm -rf "$PINS2"
  remove_cgroup "$CG2"
}
E2E_AT_EXIT+=(forget_second)

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
ip netns exec "$ROUTER" nft -f - <<'NFT'
table ip nat {
  chain pre { type nat hook prerouting priority -100; ip daddr 10.9.1.1 dnat to 10.9.2.2; }
  chain post { type nat hook postrouting priority 100; oifname "side_b" masquerade; }
}
NFT
VIP=10.9.1.1

od -An -v -tx1 -N32 /dev/urandom | tr -d " \n" >"$WORK/salt"
chmod 600 "$WORK/salt"
EPOCH=$([[ -n $GUEST ]] && echo 15 || echo 2) # seconds
configure() { # SECONDS: how long a key is used
  local host
  for host in alpha beta; do
    printf 'fleet: {salt_file: %s}\nhost: {name: %s}\nwire: {epoch: %ss}\n' "$WORK/salt" \
      "$host" "$1" >"$WORK/$host.yaml"
  done
}
configure 3600

a() { msegctl "$@"; }
b() { msegctl --socket "$WORK/sock2" "$@"; }
start_b() {
  "$MSEG_BIN/msegd" --state-dir "$WORK/state2" --socket "$WORK/sock2" --cgroup-root "$CG2" \
    --bpffs "$PINS2" --config "$WORK/beta.yaml" </dev/null >>"$WORK/second.log" 2>&1 &
  B_PID=$!
  track "$B_PID"
  wait_for 30 b status || bail "the second msegd starts" "$(cat "$WORK/second.log")"
}

# Programs of their own: between hosts an executable is known by its content.
for program in webapp dbserver; do
  cp "$PYTHON" "$TRUSTED/$program"
  echo "$program" >>"$TRUSTED/$program"
done
start_msegd --config "$WORK/alpha.yaml"
start_b
a host init --id 1 >/dev/null
b host init --id 2 >/dev/null
a host show -o json >"$WORK/a.json"
b host show -o json >"$WORK/b.json"
a host trust "$WORK/b.json" >/dev/null
b host trust "$WORK/a.json" >/dev/null

workloads web >"$WORK/a-policy.yaml"
order_db_policy "{exe: $TRUSTED/webapp}" tcp/7000 >"$WORK/b-policy.yaml"
apply "$WORK/a-policy.yaml"
learn "$TRUSTED/webapp" "$PYTHON"
b policy apply "$WORK/b-policy.yaml" >/dev/null || bail "the server's policy"
b identity show "$TRUSTED/dbserver" >/dev/null

# in_b CGROUP COMMAND...: in the background on host b.
in_b() {
  bash -c 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="$2" "${@:3}"' spawn "$CG2/$1" \
    "/run/netns/$NS2" "${@:2}" </dev/null >>"$WORK/servers.log" 2>&1 &
  track "$!"
}
in_b db "$TRUSTED/dbserver" "$PROBE" serve tcp 0.0.0.0 7000
b_listens() { ip netns exec "$NS2" ss -Hlnt "sport = :$1" | grep -q .; }
wait_for 10 b_listens 7000 || bail "the server listens" "$(cat "$WORK/servers.log")"

# exchange: each host learns what the other's ids mean.
exchange() {
  a record export -o "$WORK/records-a.json"
  b record export -o "$WORK/records-b.json"
  a record import "$WORK/records-b.json" >/dev/null
  b record import "$WORK/records-a.json" >/dev/null
}
exchange

app() { in_cgroup web "$TRUSTED/webapp" "$PROBE" "$@"; }
b_line() { # CONDITION...: a flow line of the server's host since `mark`
  b flows -o json --since 10m | matching_flow "$@"
}
b_saw() { # DESCRIPTION CONDITION...
  local what=$1 out
  shift
  if out=$(b_line "$@"); then ok "$what" && note "$out"; else not_ok "$what" "$*: $out"; fi
}
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

note "the same address for everybody"
mark
allowed "webapp reaches the server through the router" app tcp "$VIP" 7000
b_saw "the server's host knows who it was" verdict=allow peer.labels.role=web \
  "peer.exe=$TRUSTED/webapp"
turned_away "another program of the same host does not" peer.exe="$PYTHON" reason=default -- \
  probe web tcp "$VIP" 7000
turned_away "nor the same program with another label" reason=default -- \
  in_cgroup other "$TRUSTED/webapp" "$PROBE" tcp "$VIP" 7000
b_counter() { b status -o json | json_field "counters.$1"; }
same "no proof was wrong" 0 "$(b_counter bad_proof)"


note "made by hand, by a machine on the way, from the address that the clients have"
install -m 644 "$SUPPORT/forge.py" "$WORK/forge.py"
ip netns exec "$ROUTER" nft -f - <<'NFT'
table ip quiet {
  chain out { type filter hook output priority 0; oifname "side_b" tcp flags rst drop; }
}
NFT
forge() { ip netns exec "$ROUTER" "$PYTHON" "$WORK/forge.py" "$@"; }
forge capture side_a "$WORK/captured" >"$WORK/capture.log" 2>&1 &
CAPTURE=$!
track "$CAPTURE"
wait_for 10 grep -q ready "$WORK/capture.log" || bail "a capture" "$(cat "$WORK/capture.log")"
app tcp "$VIP" 7000 >/dev/null
wait_for 10 test -s "$WORK/captured" || bail "a handshake is captured"
kill_tracked "$CAPTURE"
CLAIM=$(awk '$1 == "claim" { print $2 }' "$WORK/captured")
PROOF=$(awk '$1 == "proof" { print $2 }' "$WORK/captured")
dial() { forge dial side_b 10.9.2.1 10.9.2.2 "$@"; }
# let_in_not DESCRIPTION ANSWER COUNTER ARGUMENT...: that answer, and the counter moves.
let_in_not() {
  local what=$1 want=$2 counter=$3 before
  shift 3
  before=$(b_counter "$counter")
  same "$what" "$want" "$(dial 7000 "$@" 2>&1)"
  check "$what: counted as $counter" test "$(b_counter "$counter")" -gt "$before"
}
changed() { # HEX BYTE XOR: one byte of an option changed
  local byte=$((16#${1:$((2 * $2)):2} ^ $3))
  printf '%s%02x%s' "${1:0:$((2 * $2))}" "$byte" "${1:$((2 * $2 + 2))}"
}
in_b open "$PYTHON" -SE "$PROBE" serve tcp 0.0.0.0 7009
wait_for 10 b_listens 7009 || bail "an open server listens"
same "a port that no policy guards answers it" answered "$(dial 7009)"
let_in_not "without an option" dropped denied
let_in_not "a captured claim alone" silent denied claim="$CLAIM"
let_in_not "a captured proof, replayed" silent bad_proof claim="$CLAIM" proof="$PROOF"
let_in_not "another executable's id" silent bad_proof claim="$CLAIM" \
  proof="$(changed "$PROOF" 19 1)"
let_in_not "another label id" silent bad_proof claim="$CLAIM" proof="$(changed "$PROOF" 8 64)"
let_in_not "another grade" silent bad_proof claim="$CLAIM" proof="$(changed "$PROOF" 4 32)"
let_in_not "another MAC" silent bad_proof claim="$CLAIM" proof="$(changed "$PROOF" 27 1)"
let_in_not "the key of another time" silent stale_epoch claim="$CLAIM" \
  proof="$(changed "$PROOF" 4 8)"
let_in_not "another host, in the proof" silent unknown_host claim="$CLAIM" \
  proof="$(changed "$PROOF" 7 8)"
mark
let_in_not "another host, in the claim" dropped denied claim="$(changed "$CLAIM" 7 8)"
b_saw "its reason" verdict=deny reason=no_record

note "labels beyond what a host may claim"
b host trust "$WORK/a.json" --claims role=else >/dev/null
turned_away "the host may not say this" reason=label_not_permitted -- app tcp "$VIP" 7000
b host trust "$WORK/a.json" --claims role=web >/dev/null
allowed "and now it may" app tcp "$VIP" 7000

note "many, while keys change"
stop_msegd
kill_tracked "$B_PID"
configure "$EPOCH"
start_msegd --config "$WORK/alpha.yaml"
start_b
cat >"$WORK/exchanges.py" <<'PY'
"""exchanges.py HOST PORT COUNT SECONDS: that many exchanges over that time, each on its own connection."""
import socket
import sys
import time

host, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
for i in range(count):
    with socket.create_connection((host, port), 5) as sock:
        sock.sendall(b"x" * 3000)
        got = 0
        while got < 3000:
            got += len(sock.recv(4096)) or sys.exit("closed")
    time.sleep(seconds / count)
PY
failures() { echo "$(b_counter bad_proof) $(b_counter stale_epoch)"; }
before=$(failures)
proven=$(b_counter proven)
allowed "exchanges over several epochs" \
  in_cgroup web "$TRUSTED/webapp" "$WORK/exchanges.py" "$VIP" 7000 200 $((3 * EPOCH))
same "none failed its proof" "$before" "$(failures)"
check "they were proven" test "$(b_counter proven)" -ge $((proven + 200))

cat >"$WORK/segments.py" <<'PY'
import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as sock:
    sock.sendall(b"x")
    sock.recv(1)
    print(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
PY
same "segments are as long as ever once it is done" 1448 \
  "$(in_cgroup web "$TRUSTED/webapp" "$WORK/segments.py" "$VIP" 7000)"

note "the client's policy knows who may answer"
workloads web db >"$WORK/a-strict.yaml"
cat >>"$WORK/a-strict.yaml" <<YAML
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
    to: {labels: {role: db}, process: {exe: $TRUSTED/dbserver}}
    services: [tcp/7000, tcp/7001]
YAML
apply "$WORK/a-strict.yaml"
order_db_policy "{exe: $TRUSTED/webapp}" tcp/7000-7001 >"$WORK/b-policy.yaml"
b policy apply "$WORK/b-policy.yaml" >/dev/null || bail "the server's policy"
in_b db "$PYTHON" -SE "$PROBE" serve tcp 0.0.0.0 7001
wait_for 10 b_listens 7001 || bail "the impostor listens"
exchange
allowed "the server that its policy names" app tcp "$VIP" 7000
mark
check_not "an impostor at another port of the same host gets nothing" app tcp "$VIP" 7001
denied_by "the client's host says who answered" hook=established "peer.exe=$PYTHON"
refused "a port that no rule names: at once" direction=egress -- app tcp "$VIP" 7002

note "nobody there"
stop_msegd KILL
kill_tracked "$B_PID" KILL
allowed "webapp, both daemons dead" app tcp "$VIP" 7000
check_not "another program, both daemons dead" probe web tcp "$VIP" 7000
check_not "an impostor, both daemons dead" app --timeout 3 tcp "$VIP" 7001
start_msegd --config "$WORK/alpha.yaml"
start_b
allowed "and with both back" app tcp "$VIP" 7000

note "open connections follow the policy"
spawn web "$TRUSTED/webapp" -c "
import socket, sys, time
sock = socket.create_connection(('$VIP', 7000), 5)
sock.sendall(b'x')
sock.recv(1)
open('$WORK/open', 'w').close()
sock.settimeout(60)
try:
    sock.recv(1)
except OSError:
    pass
open('$WORK/closed', 'w').close()
time.sleep(60)
"
wait_for 10 test -e "$WORK/open" || bail "a connection is open"
b policy apply "$WORK/b-policy.yaml" -m same >/dev/null
sleep 0.5
check_not "it stays where nothing changed" test -e "$WORK/closed"
order_db_policy "{exe: /usr/bin/nobody}" tcp/7000 >"$WORK/b-policy.yaml"
out=$(b policy apply "$WORK/b-policy.yaml" -o json)
same "one that a new policy denies is closed" 1 \
  "$(json_field closed <<<"$out")"
check "its client knows" wait_for 5 test -e "$WORK/closed"

e2e_end
