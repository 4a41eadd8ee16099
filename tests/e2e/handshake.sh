#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts with a router between them that rewrites addresses: the server's host sees one address for
# every client, and decides by the program that is calling.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin handshake
e2e_need nft openssl ss

# Host a (the suite's own) is the clients', host b the server's.
CG2=$CG-2 PINS2=$PINS-2 NS2=$NS-b ROUTER=$NS-r
mkdir "$CG2" "$CG"/{web,other} "$CG2/db"
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

openssl rand -hex 32 >"$WORK/salt"
chmod 600 "$WORK/salt"
printf 'fleet: {salt_file: %s}\nhost: {name: alpha}\n' "$WORK/salt" >"$WORK/a.yaml"
printf 'fleet: {salt_file: %s}\nhost: {name: beta}\n' "$WORK/salt" >"$WORK/b.yaml"

a() { msegctl "$@"; }
b() { msegctl --socket "$WORK/sock2" "$@"; }
start_b() {
  "$MSEG_BIN/msegd" --state-dir "$WORK/state2" --socket "$WORK/sock2" --cgroup-root "$CG2" \
    --bpffs "$PINS2" --config "$WORK/b.yaml" </dev/null >>"$WORK/second.log" 2>&1 &
  B_PID=$!
  track "$B_PID"
  wait_for 30 b status || bail "the second msegd starts" "$(cat "$WORK/second.log")"
}

# Programs of their own: between hosts an executable is known by its content.
for program in webapp dbserver; do
  cp "$PYTHON" "$TRUSTED/$program"
  echo "$program" >>"$TRUSTED/$program"
done
start_msegd --config "$WORK/a.yaml"
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

bash -c 'echo $$ >"$1/db/cgroup.procs" && exec nsenter --net="$2" "${@:3}"' spawn "$CG2" \
  "/run/netns/$NS2" "$TRUSTED/dbserver" "$PROBE" serve tcp 0.0.0.0 7000 </dev/null \
  >"$WORK/dbserver.log" 2>&1 &
track "$!"
b_listens() { ip netns exec "$NS2" ss -Hlnt "sport = :$1" | grep -q .; }
wait_for 10 b_listens 7000 || bail "the server listens" "$(cat "$WORK/dbserver.log")"

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
  b flows -o json --since 10m | "$PYTHON" "$SUPPORT/flows.py" --since "$MARK" "$@"
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
same "no proof was wrong" 0 "$(b status -o json | "$PYTHON" "$SUPPORT/json_field.py" counters.bad_proof)"

e2e_end
