#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# UDP between two hosts by the identity that each datagram carries: who gets in, what is forged,
# changed, replayed or left out, what other machines make of it, and where filters are and are not.
# guests: 6.12
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin udp_wire
e2e_need tc bpftool
# shellcheck source=../support/two_hosts.sh
source "$SUPPORT/two_hosts.sh"
install -m 644 "$SUPPORT/datagram.py" "$WORK/"
DATAGRAM=$WORK/datagram.py

# Beside the addresses of the hosts: a pair where the address may do, and IPv6.
ip -n "$NS" addr add 10.9.1.22/24 dev wire0
ip -n "$NS2" addr add 10.9.2.22/24 dev wire0
v6() { # NETNS DEVICE ADDRESS
  ip -n "$1" addr add "$3/64" dev "$2" nodad
}
v6 "$NS" wire0 fd09:1::2
v6 "$ROUTER" side_a fd09:1::1
v6 "$NS2" wire0 fd09:2::2
v6 "$ROUTER" side_b fd09:2::1
ip -n "$NS" route add default via fd09:1::1
ip -n "$NS2" route add default via fd09:2::1
ip netns exec "$ROUTER" sysctl -qw net.ipv6.conf.all.forwarding=1
masquerade() { # on|off
  ip netns exec "$ROUTER" nft 'table ip masq; delete table ip masq'
  [[ $1 == on ]] || return 0
  ip netns exec "$ROUTER" nft -f - <<'NFT'
table ip masq {
  chain post { type nat hook postrouting priority 100; oifname "side_b" masquerade; }
}
NFT
}

MAY="{cidr: 10.9.1.22/32, mode: prefer, udp: on}, {cidr: 10.9.2.22/32, mode: prefer, udp: on}"
WIRE="udp: off, epoch: 1h, paths: [{cidr: 10.9.0.0/16, mode: require, udp: on}"
WIRE+=", {cidr: 'fd09::/16', mode: require, udp: on}, $MAY]"
start_hosts "$WIRE"
# A machine without mseg counts as b, so that it is sent signed datagrams.
a host init --id 1 --address 10.9.1.2 --address 10.9.1.22 --address fd09:1::2 >/dev/null
b host init --id 2 --address 10.9.2.2 --address 10.9.2.22 --address fd09:2::2 \
  --address 10.9.1.1 --address 10.9.3.2 >/dev/null
a host show -o json >"$WORK/a.json"
b host show -o json >"$WORK/b.json"
a host trust "$WORK/b.json" >/dev/null
b host trust "$WORK/a.json" >/dev/null

workloads web >"$WORK/a-policy.yaml"
{
  order_db_policy "{exe: $TRUSTED/webapp}" udp/7000-7099
  db_by_address 10.9.1.0/24 "udp/7090"
} >"$WORK/b-policy.yaml"
apply "$WORK/a-policy.yaml"
b policy apply "$WORK/b-policy.yaml" >/dev/null || bail "the server's policy"

SEEN=$WORK/seen # what the server got
: >"$SEEN"
B=10.9.2.2 B6=fd09:2::2
in_b db "$TRUSTED/dbserver" "$DATAGRAM" serve "$SEEN" 0.0.0.0 7000 $B6 7006 10.9.2.22 7090 \
  10.9.2.22 7022
in_b open "$PYTHON" -SE "$DATAGRAM" serve "$SEEN" 0.0.0.0 7009
b_hears() { ip netns exec "$NS2" ss -Hlnu "sport = :$1" | grep -q .; }
for port in 7000 7006 7009; do
  wait_for 10 b_hears $port || bail "the server listens" "$(cat "$WORK/servers.log")"
done
spawn web sleep 1000 # so that a's namespace has a process
filtered() { # a|b DEVICE
  "$1" status -o json | grep -q "tc/egress $2 "
}
for host in a b; do wait_for 10 filtered $host wire0 || bail "filters of $host"; done
exchange

stranger() { probe web "$@"; }
moves() { # DESCRIPTION a|b COUNTER COMMAND...
  local what=$1 host=$2 counter=$3 before
  shift 3
  before=$(counter_of "$host" "$counter")
  "$@"
  check "$what: $counter moves at $host" test "$(counter_of "$host" "$counter")" -gt "$before"
}
# unheard DESCRIPTION CONDITION... -- COMMAND...: no answer comes, and the server's host says why.
unheard() {
  local what=$1 out
  local -a conditions=()
  shift
  while [[ $1 != -- ]]; do conditions+=("$1") && shift; done
  shift
  mark
  if out=$("$@" 2>&1); then
    not_ok "$what" "it was allowed: $out"
  else
    b_saw "$what" verdict=deny protocol=udp "${conditions[@]}"
  fi
}

note "by the program that sends"
in_turn() { # NAME ADDRESS PORT
  local how
  for how in udp udp-connected; do
    mark
    moves "$1, $how" b proven allowed "webapp, $1, $how" app $how "$2" "$3"
    b_saw "its flow says so" verdict=allow protocol=udp hook=ingress proof=bound \
      peer.labels.role=web "peer.exe=$TRUSTED/webapp" local.labels.role=db
    unheard "another program, $1, $how" hook=ingress reason=default proof=bound \
      "peer.exe=$PYTHON" peer.labels.role=web local.labels.role=db -- \
      stranger --timeout 1 $how "$2" "$3"
  done
  unheard "the same program with another label, $1" reason=default "peer.exe=$TRUSTED/webapp" -- \
    in_cgroup other "$TRUSTED/webapp" "$PROBE" --timeout 1 udp "$2" "$3"
}
in_turn IPv4 $B 7000
in_turn IPv6 $B6 7006
check "a signs" test "$(a_counter udp_signed)" -gt 0
check "and b signs what answers" test "$(b_counter udp_signed)" -gt 0
same "no proof was wrong" "0 0" "$(a_counter bad_proof) $(b_counter bad_proof)"
masquerade on
in_turn "through masquerade" $B 7000
note "checksums that the sender makes itself, and connection tracking verifies"
ip netns exec "$NS" "$PYTHON" "$DATAGRAM" txcsum wire0 0
ip netns exec "$NS2" "$PYTHON" "$DATAGRAM" txcsum wire0 0
in_turn "software checksums" $B 7000
masquerade off
same "of every size" "" "$(in_cgroup web "$TRUSTED/webapp" "$DATAGRAM" sizes $B 7000 \
  0 1 2 7 8 9 63 64 65 127 128 129 1000 1001 1433 1434)"
ip netns exec "$NS" "$PYTHON" "$DATAGRAM" txcsum wire0 1
ip netns exec "$NS2" "$PYTHON" "$DATAGRAM" txcsum wire0 1
same "of every size, checksums made by the device" "" "$(in_cgroup web "$TRUSTED/webapp" \
  "$DATAGRAM" sizes $B 7000 0 1 2 7 8 9 63 64 65 127 128 129 1000 1001 1433 1434)"
same "written in parts" "" "$(in_cgroup web "$TRUSTED/webapp" "$DATAGRAM" parts $B 7000 \
  3 64 1001 1434)"
for end in "$NS wire0" "$ROUTER side_a" "$ROUTER side_b" "$NS2 wire0"; do
  ip -n "${end% *}" link set "${end#* }" mtu 9000
done
same "as long as an MTU of 9000 lets them" "" "$(in_cgroup web "$TRUSTED/webapp" "$DATAGRAM" \
  sizes $B 7000 1435 8191 8934)"
for end in "$NS wire0" "$ROUTER side_a" "$ROUTER side_b" "$NS2 wire0"; do
  ip -n "${end% *}" link set "${end#* }" mtu 1500
done
same "of every size, IPv6" "" "$(in_cgroup web "$TRUSTED/webapp" "$DATAGRAM" sizes $B6 7006 \
  0 1 2 7 8 9 63 64 65 127 128 129 1000 1001 1413 1414)"
mark
too_long() { [[ $(in_cgroup web "$TRUSTED/webapp" "$DATAGRAM" sizes "$B" 7000 1435) == 1435 ]]; }
moves "too long for a trailer" a udp_no_room check "it is sent without one, and refused" too_long
b_saw "its reason" verdict=deny reason=no_proof proof=none

note "who knows nothing of it"
ip netns exec "$ROUTER" "$PYTHON" "$DATAGRAM" serve "$SEEN" 0.0.0.0 7050 >/dev/null 2>&1 &
track "$!"
hears() { ip netns exec "$ROUTER" ss -Hlnu "sport = :7050" | grep -q .; }
wait_for 10 hears || bail "a machine without mseg listens"
in_cgroup web "$TRUSTED/webapp" "$DATAGRAM" sizes 10.9.1.1 7050 33 >/dev/null
check "a machine without mseg gets the datagram, and no more" grep -qx \
  "7050 $("$PYTHON" -c 'print(bytes(i * 7 & 255 for i in range(33)).hex())')" "$SEEN"

note "a service that connects its socket to who asks first"
in_b db "$TRUSTED/dbserver" "$DATAGRAM" first 0.0.0.0 7030
wait_for 10 b_hears 7030 || bail "the server listens" "$(cat "$WORK/servers.log")"
ask() { in_cgroup web "$@" "$DATAGRAM" ask $B 7030 40123; }
allowed "webapp asks first" ask "$TRUSTED/webapp"
unheard "another program, at the port that it had" hook=ingress direction=ingress reason=default \
  "peer.exe=$PYTHON" local.labels.role=db -- ask "$PYTHON" -SE
allowed "webapp asks once more" ask "$TRUSTED/webapp"

note "made by hand, by a machine on the way"
capture_datagram() { # COMMAND...: $SIGNED
  local pid
  rm -f "$WORK/datagram" "$WORK/capture.log"
  ip netns exec "$ROUTER" "$PYTHON" "$DATAGRAM" capture side_a "$WORK/datagram" \
    >"$WORK/capture.log" 2>&1 &
  pid=$!
  track "$pid"
  wait_for 10 grep -q ready "$WORK/capture.log" || bail "a capture" "$(cat "$WORK/capture.log")"
  "$@" >/dev/null
  wait_for 10 test -s "$WORK/datagram" || bail "a datagram is captured"
  wait "$pid"
  SIGNED=$(<"$WORK/datagram")
}
key_of() { # PINS HOST: of the epoch of $SIGNED
  local epoch=$((16#${SIGNED: -64:2} & 15))
  bpftool -j map lookup pinned "$1/maps/mseg_hosts" key "$2" 0 0 0 | "$PYTHON" -c "
import json, sys
value = json.load(sys.stdin)['value']
print(''.join(byte[2:] for byte in value[16 * $epoch:16 * $epoch + 16]))"
}
send() { ip netns exec "$ROUTER" "$PYTHON" "$DATAGRAM" send "$@"; }
NUMBER=100 # of a datagram made by hand, beyond the one that was captured
arrives() { grep -q " $1\$" "$SEEN"; }
PAYLOAD=0
fresh() { # [HEX]
  NUMBER=$((NUMBER + 1))
  printf -v PAYLOAD 'cafe%08x%s' "$NUMBER" "${1-}"
}
# gets_in DESCRIPTION CHANGE...: signed anew, with a number and a payload of its own.
gets_in() {
  local what=$1
  fresh "${ODD-}"
  send side_b "$SIGNED" payload="$PAYLOAD" sequence=+$NUMBER key="$KEY" "${@:2}"
  check "$what: gets in" wait_for 5 arrives "$PAYLOAD"
}
# stays_out DESCRIPTION COUNTER REASON CHANGE...: the same, and it does not.
stays_out() {
  local what=$1 counter=$2 reason=$3 before
  before=$(b_counter "$counter")
  fresh "${ODD-}"
  mark
  send side_b "$SIGNED" payload="$PAYLOAD" sequence=+$NUMBER key="$KEY" "${@:4}"
  moved() { (($(b_counter "$counter") > before)); }
  check "$what: counted as $counter" wait_for 5 moved
  check_not "$what: stays out" arrives "$PAYLOAD"
  b_saw "$what: the server's host says so" verdict=deny protocol=udp "reason=$reason" hook=ingress
}
capture_datagram app udp $B 7000
KEY=$(key_of "$PINS2" 1)
gets_in "as it should be"
gets_in "from another address" source=10.9.1.77
gets_in "from another port" source_port=4321
stays_out "without a trailer" no_proof no_proof plain=1
gets_in "and with it"
before=$(b_counter udp_replayed)
mark
send side_b "$SIGNED"
replayed() { (($(b_counter udp_replayed) > before)); }
check "a replay: counted as udp_replayed" wait_for 5 replayed
b_saw "a replay: its reason" verdict=deny reason=bad_proof
before=$(b_counter udp_replayed)
send side_b "$SIGNED" source=10.9.1.66 source_port=999
check "a replay from another address: counted as udp_replayed" wait_for 5 replayed
for byte in 2 3 4 5; do
  stays_out "a bit of the kind, length or ExID ($byte)" no_proof no_proof flip=$byte:1
done
stays_out "the version" no_proof no_proof flip=6:128
for byte in 0 1 6:16 10 15 16 21 29 30 37; do
  [[ $byte == *:* ]] || byte+=:1
  stays_out "a bit of the trailer ($byte)" bad_proof bad_proof flip=$byte
done
stays_out "an answer to nothing" udp_stray bad_proof answer=1 source_port=7000
stays_out "a fragment of it" no_proof no_proof fragment=1
stays_out "the key of another time" stale_epoch bad_proof flip=6:8
stays_out "a host that nobody knows" unknown_host no_record flip=7:16
stays_out "another host's id under its own key" bad_proof bad_proof host=2
stays_out "another service" bad_proof bad_proof reroute=7009
ODD=0f
gets_in "of odd length"
stays_out "of odd length, the byte before the trailer" bad_proof bad_proof pad=1
ODD=''
bad_payload() {
  before=$(b_counter bad_proof)
  send side_b "$SIGNED" sequence=+$((NUMBER + 1)) payload=deadbeef
}
bad_payload
forged() { (($(b_counter bad_proof) > before)); }
check "another payload: counted as bad_proof" wait_for 5 forged
check_not "another payload: stays out" arrives deadbeef
b host trust "$WORK/a.json" --claims role=else >/dev/null
stays_out "a label that the host may not claim" label_not_permitted label_not_permitted
b host trust "$WORK/a.json" --claims role=web >/dev/null
gets_in "and one that it may"

note "where the address may do"
prefer() { "$1" --from 10.9.1.22 udp 10.9.2.22 "$2"; }
mark
allowed "webapp, which proves it" prefer app 7022
b_saw "its flow says so" verdict=allow proof=bound "peer.exe=$TRUSTED/webapp"
plain() { # SOURCE-PORT PORT
  fresh
  send side_b "$SIGNED" payload="$PAYLOAD" plain=1 source=10.9.1.22 destination=10.9.2.22 \
    source_port="$1" port="$2"
}
mark
moves "a plain one to a service for addresses" b unproven plain 5001 7090
check "it gets in" wait_for 5 arrives "$PAYLOAD"
b_saw "its flow says so" verdict=allow proof=none rule=by-address/lan
mark
plain 5001 7022
b_saw "a plain one to another service stays out" verdict=deny proof=none reason=default
note "the flow of one that has proven itself"
capture_datagram prefer app 7022
KEY=$(key_of "$PINS2" 1)
fresh
send side_b "$SIGNED" payload="$PAYLOAD" sequence=+$NUMBER key="$KEY" source_port=5555
check "signed: gets in" wait_for 5 arrives "$PAYLOAD"
before=$(b_counter udp_injected)
mark
plain 5555 7022
injected() { (($(b_counter udp_injected) > before)); }
check "plain, from the same port: counted as udp_injected" wait_for 5 injected
check_not "it stays out" arrives "$PAYLOAD"
b_saw "and why" verdict=deny reason=no_proof
fresh
send side_b "$SIGNED" payload="$PAYLOAD" sequence=+$((NUMBER + 1)) key="$KEY" source_port=5555
check "signed again: gets in" wait_for 5 arrives "$PAYLOAD"

note "answers"
workloads web db >"$WORK/a-strict.yaml"
cat >>"$WORK/a-strict.yaml" <<YAML
apiVersion: mseg.io/v1
kind: AddressGroup
metadata: {name: servers}
spec: {labels: {role: db}, cidrs: [10.9.2.0/23, 10.9.1.1/32]}
---
YAML
web_out_policy udp/7000-7099 >>"$WORK/a-strict.yaml"
apply "$WORK/a-strict.yaml"
exchange
for how in udp udp-connected; do
  mark
  allowed "of the server that the client may reach, $how" app $how $B 7000
  check "a says who answered, $how" flow_line verdict=allow direction=egress hook=ingress \
    proof=bound "peer.exe=$TRUSTED/dbserver" peer.labels.role=db
  mark
  check_not "of another program at that address, $how" app --timeout 1 $how $B 7009
  denied_by "a says who answered and was not let through, $how" direction=egress hook=ingress \
    reason=default "peer.exe=$PYTHON" proof=bound port=7009
done
for how in free connected; do
  mkfifo "$WORK/say-$how"
  talks=$WORK/webapp.log
  : >"$talks"
  spawn web "$TRUSTED/webapp" "$DATAGRAM" stay $how $B 7000 "$WORK/say-$how"
  exec {SAY}>"$WORK/say-$how"
  echo one >&$SAY
  check "a client has its answer, $how" wait_for 10 grep -q 'got one' "$talks"
  port=$(sed -n 's/^port //p' "$talks")
  before=$(a_counter no_proof)
  mark
  send side_a "$SIGNED" plain=1 payload=696e6a656374 source=$B source_port=7000 \
    destination=10.9.1.2 port="$port"
  unproven() { (($(a_counter no_proof) > before)); }
  check "a forged answer: counted as no_proof, $how" wait_for 5 unproven
  denied_by "a says so, $how" reason=no_proof hook=ingress
  echo two >&$SAY
  check "the next true one comes, $how" wait_for 10 grep -q 'got two' "$talks"
  check_not "and the forged one did not, $how" grep -q inject "$talks"
  exec {SAY}>&-
done

note "a container: its datagrams pass its host's device, then its own"
BOX=$NS-c
ip netns add "$BOX"
ip -n "$NS2" link add box0 type veth peer name inner0 netns "$BOX"
ip -n "$NS2" addr add 10.9.3.1/24 dev box0
ip -n "$BOX" addr add 10.9.3.2/24 dev inner0
ip -n "$NS2" link set box0 up
ip -n "$BOX" link set inner0 up
ip -n "$BOX" route add default via 10.9.3.1
ip -n "$ROUTER" route add 10.9.3.0/24 via $B
ip netns exec "$NS2" sysctl -qw net.ipv4.ip_forward=1
"$MSEG_TESTS/e2e_enter" "$CG2/db" "/run/netns/$BOX" "$TRUSTED/dbserver" "$DATAGRAM" serve "$SEEN" \
  0.0.0.0 7030 >/dev/null 2>&1 &
track "$!"
for device in box0 inner0; do wait_for 10 filtered b $device || bail "filters of $device"; done
before=$(b_counter udp_replayed)
mark
several() {
  local i
  for ((i = 0; i < 20; i++)); do app udp 10.9.3.2 7030 || return 1; done
}
allowed "webapp" several
b_saw "its flow says so" verdict=allow proof=bound "peer.exe=$TRUSTED/webapp"
same "none of it is taken for a replay" "$before" "$(b_counter udp_replayed)"
unheard "another program" reason=default proof=bound "peer.exe=$PYTHON" -- \
  stranger --timeout 1 udp 10.9.3.2 7030
capture_datagram app udp 10.9.3.2 7030
before=$(b_counter udp_replayed)
mark
send side_b "$SIGNED"
check "a replay: counted as udp_replayed" wait_for 5 replayed
b_saw "and refused" verdict=deny reason=bad_proof port=7030

note "devices"
ip -n "$NS2" link add late0 type veth peer name late1 netns "$ROUTER"
ip -n "$NS2" link set late0 up
check "one that appears later" wait_for 10 filtered b late0
kill -STOP "$B_PID" # who comes first makes the qdisc
ip -n "$NS2" link add theirs0 type veth peer name theirs1 netns "$ROUTER"
tc -n "$NS2" qdisc add dev theirs0 clsact
tc -n "$NS2" filter add dev theirs0 egress prio 9 bpf bytecode '1,6 0 0 0,' flowid 1:1
ip -n "$NS2" link add old0 type veth peer name old1 netns "$ROUTER"
tc -n "$NS2" qdisc add dev old0 ingress
kill -CONT "$B_PID"
check "one whose clsact is somebody's" wait_for 10 filtered b theirs0
names_old() { b status -o json | grep -q 'old0: .*ingress'; }
check "one that cannot have them is named" wait_for 10 names_old

note "nobody there"
stop_msegd KILL
kill_tracked "$B_PID" KILL
allowed "webapp, both daemons dead" app udp $B 7000
check_not "another program, both daemons dead" stranger --timeout 1 udp $B 7000
fresh
capture_datagram app udp $B 7000
send side_b "$SIGNED" payload="$PAYLOAD"
pause 0.5
check_not "a forged one, both daemons dead" arrives "$PAYLOAD"
programs_of() { tc -n "$1" filter show dev wire0 "$2" | grep -o 'id [0-9]* name mseg_tc[^ ]*' | sort; }
before=$(programs_of "$NS2" ingress)
check "their filters are there" test -n "$before"

note "and without one program after the other"
mkfifo "$WORK/say-bare"
: >"$talks"
spawn web "$TRUSTED/webapp" "$DATAGRAM" stay connected $B 7000 "$WORK/say-bare"
exec {SAY}>"$WORK/say-bare"
echo one >&$SAY
check "a client has its answer" wait_for 10 grep -q 'got one' "$talks"
port=$(sed -n 's/^port //p' "$talks")
forge_answer() {
  send side_a "$SIGNED" plain=1 payload=696e6a656374 source=$B source_port=7000 \
    destination=10.9.1.2 port="$port"
}
forged_comes() {
  forge_answer
  grep -q inject "$talks"
}
forge_answer
echo two >&$SAY
check "the next true one comes" wait_for 10 grep -q 'got two' "$talks"
check_not "a forged one did not" grep -q inject "$talks"
rm "$PINS/links/mseg_ingress_connected"
check "without mseg_ingress_connected it does" wait_for 10 forged_comes
exec {SAY}>&-
tc -n "$NS" filter del dev wire0 egress
check_not "without mseg_tc_egress nothing is signed" app --timeout 1 udp $B 7000
start_a
wait_for 10 filtered a wire0 || bail "filters of a"
allowed "its twin, with it" app udp $B 7000
tc -n "$NS2" filter del dev wire0 ingress
check_not "without mseg_tc_ingress nothing is verified" app --timeout 1 udp $B 7000
start_b
for host in a b; do wait_for 10 filtered $host wire0 || bail "filters of $host"; done
same "with both back, the same filters" "$before" "$(programs_of "$NS2" ingress)"
allowed "webapp, both back" app udp $B 7000
unheard "another program, both back" reason=default "peer.exe=$PYTHON" -- \
  stranger --timeout 1 udp $B 7000

note "switched off"
kill_tracked "$B_PID"
configure "epoch: 1h"
start_b
bare() { # NETNS DEVICE
  ! tc -n "$1" filter show dev "$2" ingress | grep -q mseg &&
    ! tc -n "$1" filter show dev "$2" egress | grep -q mseg
}
check "no filter is left" wait_for 10 bare "$NS2" wire0
check_not "nor the qdisc that was made for them" grep -q clsact <(tc -n "$NS2" qdisc show dev wire0)
check "somebody's filters stay" grep -q 'bytecode' <(tc -n "$NS2" filter show dev theirs0 egress)
check "there, too, ours are gone" bare "$NS2" theirs0
mark
check_not "by address alone: nobody but whom it names" app --timeout 1 udp $B 7000
b_saw "and says so" verdict=deny protocol=udp reason=default
stop_msegd
"$MSEG_BIN/msegd" --detach-all --bpffs "$PINS" >/dev/null
check "--detach-all takes them off, too" bare "$NS" wire0
check_not "with the qdisc" grep -q clsact <(tc -n "$NS" qdisc show dev wire0)

e2e_end
