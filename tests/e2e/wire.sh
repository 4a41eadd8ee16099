#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Identities between two hosts where the path, the client or the server makes it hard: both forms of
# the server's verdict, packets lost, options stripped, sequence numbers rewritten, SYN floods, Fast
# Open, MPTCP, simultaneous open, addresses that change hands.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin wire
# shellcheck source=../support/two_hosts.sh
source "$SUPPORT/two_hosts.sh"
install -m 644 "$SUPPORT/talk.py" "$SUPPORT/middlebox.py" "$WORK/"
TALK=$WORK/talk.py

# A second way between the two hosts, with a machine on it that does what it is told. Paths go by
# address: a has the odd ones, b the even ones.
MIDDLE=$NS-m
ip netns add "$MIDDLE"
ip -n "$NS" link add mid0 type veth peer name m_a netns "$MIDDLE"
ip -n "$NS2" link add mid0 type veth peer name m_b netns "$MIDDLE"
for host in 1 11 21 33; do
  ip -n "$NS" addr add "10.9.4.$host/24" dev mid0
  ip -n "$NS2" addr add "10.9.4.$((host + 1))/24" dev mid0
done
ip -n "$NS" link set mid0 up
ip -n "$NS2" link set mid0 up
ip -n "$MIDDLE" link set m_a up
ip -n "$MIDDLE" link set m_b up
path_is() { echo "$1" >"$WORK/mode.new" && mv "$WORK/mode.new" "$WORK/mode"; }
path_is pass
ip netns exec "$MIDDLE" "$PYTHON" "$WORK/middlebox.py" "$WORK/mode" m_a m_b >"$WORK/middle.log" 2>&1 &
track "$!"
ip netns exec "$ROUTER" nft -f - <<'NFT'
table ip nat {
  chain pre {
    type nat hook prerouting priority -100;
    ip daddr 10.9.1.1 tcp dport 7090 dnat to numgen inc mod 2 map { 0 : 10.9.2.2, 1 : 10.9.2.3 }
  }
  chain post { type nat hook postrouting priority 100; ct status dnat masquerade; }
}
NFT
ip -n "$NS2" addr add 10.9.2.3/24 dev wire0

# Ports 70xx are strict, 71xx fast, whatever the mode; the rest is the mode's.
paths="{cidr: 10.9.4.8/29, mode: require}, {cidr: 10.9.4.16/29, mode: legacy}"
paths+=", {cidr: 10.9.4.32/29, bind: none}"
listeners="{services: [tcp/7000-7099], proof: strict}, {services: [tcp/7100-7199], proof: fast}"
start_hosts "paths: [$paths], listeners: [$listeners]"

workloads web >"$WORK/a-policy.yaml"
{
  order_db_policy "{exe: $TRUSTED/webapp}" "tcp/7000-7199"
  db_by_address 10.9.4.0/24 "tcp/7080, tcp/7180"
} >"$WORK/b-policy.yaml"
apply "$WORK/a-policy.yaml"
b policy apply "$WORK/b-policy.yaml" >/dev/null || bail "the server's policy"
places() { # PORT...
  local port
  for port; do printf '0.0.0.0 %s ' "$port"; done
}
# shellcheck disable=SC2046 # words are wanted
in_b db "$TRUSTED/dbserver" "$TALK" serve $(places 7000 7100 7080 7180 7090)
# shellcheck disable=SC2046
in_b db "$TRUSTED/dbserver" "$TALK" serve --banner $(places 7001 7101)
for port in 7000 7100 7001 7101; do
  wait_for 10 b_listens "$port" || bail "the server listens" "$(cat "$WORK/servers.log")"
done
exchange

talk() { in_cgroup web "$TRUSTED/webapp" "$TALK" "$@"; }
stranger() { in_cgroup web "$PYTHON" -SE "$TALK" "$@"; }
# moves DESCRIPTION a|b COUNTER COMMAND...: the counter of that host does, over the command.
moves() {
  local what=$1 host=$2 counter=$3 before
  shift 3
  before=$(counter_of "$host" "$counter")
  "$@"
  check "$what: $counter moves at $host" test "$(counter_of "$host" "$counter")" -gt "$before"
}
a_saw() { # DESCRIPTION CONDITION...
  local what=$1 out
  shift
  if out=$(flow_line "$@"); then ok "$what" && note "$out"; else not_ok "$what" "$*: $out"; fi
}

note "the fast form: verified when the connection is there"
B=10.9.2.2
mark
moves "webapp" b proven allowed "webapp reaches a fast listener" talk echo $B 7100
b_saw "its flow says so" verdict=allow hook=established proof=bound "peer.exe=$TRUSTED/webapp"
turned_away "another program does not" peer.exe="$PYTHON" reason=default hook=ingress -- \
  stranger echo $B 7100
same "segments are as long as ever once it is done" 1448 "$(talk mss $B 7100)"
mkdir "$CG2/web"
on_b() { # COMMAND...: a client of the server's own host, which is known by its socket
  enter "$CG2/web" "/run/netns/$NS2" "$@"
}
for address in 127.0.0.1 $B; do
  # The cgroup and the program are new to that daemon.
  allowed_soon "a client on the same host, at $address" \
    on_b "$TRUSTED/webapp" "$TALK" echo $address 7100
  check_not "another program there, at $address" on_b "$PYTHON" -SE "$TALK" echo $address 7100
done
capture talk echo $B 7100
# The daemon resets what the kernel has cut off, unless the server closes it first: its recv fails.
CUT='reset|closed'
mark
let_in_not "a captured proof, replayed" "$CUT" bad_proof 7100 claim="$CLAIM" proof="$PROOF"
b_saw "who refused it" verdict=deny hook=established reason=bad_proof
let_in_not "another executable's id" "$CUT" bad_proof 7100 claim="$CLAIM" \
  proof="$(changed "$PROOF" 19 1)"
let_in_not "the key of another time" "$CUT" stale_epoch 7100 claim="$CLAIM" \
  proof="$(changed "$PROOF" 4 8)"
let_in_not "another host, in the proof" "$CUT" unknown_host 7100 claim="$CLAIM" \
  proof="$(changed "$PROOF" 7 8)"
let_in_not "a captured claim alone" "$CUT" quarantined 7100 claim="$CLAIM"
let_in_not "something else in its place" "$CUT" no_proof 7100 claim="$CLAIM" proof=fd046d73
let_in_not "another host, in the claim" dropped denied 7100 claim="$(changed "$CLAIM" 7 8)"
use() { # WHICH VALUE
  bpftool map update pinned "$PINS2/maps/mseg_quarantine_use" key "$1" 0 0 0 \
    value $(($2 & 255)) $(($2 >> 8 & 255)) 0 0 0 0 0 0
}
counted_again() {
  bpftool -j map lookup pinned "$PINS2/maps/mseg_quarantine_use" key 1 0 0 0 |
    grep -qv '"value":\["0x00","0x00"'
}
if command -v bpftool >/dev/null; then
  # Every ten seconds the daemon counts again what is there: the test is between two of these.
  use 1 0
  use 0 16000
  wait_for 20 counted_again || bail "the daemon counts the quarantine"
  use 1 0
  let_in_not "with the quarantine nearly full, before there is a connection" silent \
    quarantine_full 7100 claim="$CLAIM" proof="$PROOF"
  use 0 16000
  moves "and webapp" b proven allowed "webapp, with the quarantine nearly full" talk echo $B 7100
  use 0 0
else
  skip "the quarantine nearly full" "bpftool"
fi

note "conversations"
for port in 7000 7100; do
  allowed "the client ends its side first, port $port" talk half $B $port
  allowed "the server ends the connection first, port $port" talk bye $B $port --from "0.0.0.0:$((port + 20000))"
  allowed "again from the same port, which waits at the server" talk bye $B $port \
    --from "0.0.0.0:$((port + 20000))"
  turned_away "but not for another program" reason=default -- \
    stranger bye $B $port --from "0.0.0.0:$((port + 20000))"
  allowed "the server speaks first, port $((port + 1))" talk banner $B $((port + 1))
  turned_away "but not to another program" reason=default -- stranger banner $B $((port + 1))
done

note "several sockets at one port, of one program"
# shellcheck disable=SC2046
in_b db "$TRUSTED/dbserver" "$TALK" serve --reuseport $(places 7010 7110)
FIRST=$SPAWNED
# shellcheck disable=SC2046
in_b db "$TRUSTED/dbserver" "$TALK" serve --reuseport $(places 7010 7110)
two_listen() { (($(ip netns exec "$NS2" ss -Hlnt "sport = :$1" | wc -l) == 2)); }
for port in 7010 7110; do wait_for 10 two_listen $port || bail "two listeners"; done
several() { # COUNT COMMAND...
  local i
  for ((i = 0; i < $1; i++)); do "${@:2}" || return 1; done
}
for port in 7010 7110; do allowed "each connection, port $port" several 6 talk echo $B $port; done
turned_away "not another program" reason=default -- stranger echo $B 7110
kill_tracked "$FIRST" KILL
allowed "and with one of them gone" several 3 talk echo $B 7110

note "a balancer: the same address, two servers behind it"
allowed "webapp, in turn" several 4 talk echo 10.9.1.1 7090
turned_away "another program" reason=default -- stranger echo 10.9.1.1 7090

note "packets are lost"
path_is lossy
declare -A LOSSY=()
lossy() { # NAME SOURCE ADDRESS PORT ACT
  talk "$5" "$3" "$4" --from "$2" >"$WORK/lossy-$1" 2>&1 &
  LOSSY[$1]=$!
}
lossy strict 10.9.4.1 10.9.4.2 7000 echo
lossy fast 10.9.4.1 10.9.4.2 7100 echo
lossy strict-required 10.9.4.11 10.9.4.12 7000 echo
lossy fast-required 10.9.4.11 10.9.4.12 7100 echo
lossy banner 10.9.4.11 10.9.4.12 7101 banner
# Half-open connections outlive a new generation: the end of the handshake is judged by it.
sleep 1.2
b policy apply "$WORK/b-policy.yaml" -m same >/dev/null || bail "the server's policy, again"
for name in "${!LOSSY[@]}"; do
  wait "${LOSSY[$name]}" || true
  same "the first SYN, SYN-ACK and ACK: $name" ok "$(cat "$WORK/lossy-$name")"
done
path_is pass

path_check() { # WANTED-OPTION WANTED-NUMBERS
  local out
  out=$(in_cgroup web "$MSEG_BIN/msegctl" path check 10.9.4.2:7200 -o json || true)
  same "path check, path: $(cat "$WORK/mode")" "$1 $2" \
    "$(json_field option <<<"$out") $(json_field sequence_numbers <<<"$out")"
}
in_b open "$PYTHON" -SE "$TALK" serve 0.0.0.0 7200
wait_for 10 b_listens 7200 || bail "an open server listens"

note "a middlebox takes the option away"
path_check kept kept
prefer() { "$1" echo 10.9.4.2 "$2" --from 10.9.4.1; }
require() { "$1" echo 10.9.4.12 "$2" --from 10.9.4.11; }
for port in 7000 7100; do
  allowed "not yet, port $port" prefer talk $port
  allowed "where it is required, port $port" require talk $port
done
path_is strip
path_check missing unknown
turned_away "webapp is nobody without it" reason=default proof=none -- prefer talk 7000
turned_away "to a fast listener, too" reason=default proof=none -- prefer talk 7100
for port in 7080 7180; do
  mark
  moves "the server's host, port $port" b unproven \
    moves "the client's" a unproven \
    allowed "who is let in for the address still is, port $port" prefer talk $port
  b_saw "the server's host says so" verdict=allow proof=none rule=by-address/lan
  a_saw "the client's, too" verdict=allow proof=none hook=established
done
turned_away "where a proof is required, nobody" reason=no_proof -- require talk 7080
path_is pass
allowed "without the middlebox" require talk 7080

note "a middlebox draws sequence numbers anew"
path_is isn
for port in 7000 7100; do
  mark
  moves "port $port" a bad_proof \
    check_not "the client does not believe the answer, port $port" prefer talk $port
  a_saw "and says why" verdict=deny reason=bad_proof hook=established
done
path_check kept changed
unbound() { "$1" echo 10.9.4.34 "$2" --from 10.9.4.33; }
for port in 7000 7100; do
  mark
  moves "the server's host, port $port" b unbound \
    moves "the client's" a unbound \
    allowed "where the path says so, numbers are left out, port $port" unbound talk $port
  b_saw "and the flow says it" verdict=allow proof=unbound "peer.exe=$TRUSTED/webapp"
  turned_away "not for another program" reason=default -- unbound stranger $port
done
path_is pass

note "a path that carries nothing"
legacy() { "$1" echo 10.9.4.22 "$2" --from 10.9.4.21; }
for port in 7080 7180; do
  mark
  moves "the server's host, port $port" b legacy \
    moves "the client's" a legacy \
    allowed "who is let in for the address, port $port" legacy stranger $port
  b_saw "the flow says so" verdict=allow proof=legacy rule=by-address/lan
done
turned_away "and nobody else" reason=default proof=legacy -- legacy talk 7100

note "no room for the option"
sysctl_b() { ip netns exec "$NS2" sysctl -qw "$1"; }
sysctl_b net.ipv4.tcp_fastopen=2
in_ns sysctl -qw net.ipv4.tcp_fastopen=1
moves "Fast Open" a no_option_room \
  allowed "webapp opens, when its second SYN has room" app --timeout 10 fastopen $B 7100
check_not "another program does not" probe web --timeout 3 fastopen $B 7100
# Without a cookie there is room, and the SYN alone makes the connection: a claim is no proof.
sysctl_b net.ipv4.tcp_fastopen=$((2 | 0x200))
in_ns sysctl -qw net.ipv4.tcp_fastopen=$((1 | 4))
for port in 7000 7100; do
  mark
  moves "without a cookie, port $port" b quarantined \
    check_not "a claim in a SYN with data gets no answer, port $port" \
    app --timeout 3 fastopen $B $port
  b_saw "and why" verdict=deny reason=no_proof hook=established
done
# Nor does a client send anything to whoever is there, if its policy asks who that is.
{
  workloads web db
  web_out_policy tcp/7000-7199
} >"$WORK/a-out.yaml"
a policy apply "$WORK/a-out.yaml" >/dev/null || bail "a policy that restricts the client"
moves "Fast Open, where the server must prove itself" a no_proof \
  refused "a SYN with data is not sent" hook=connect reason=no_proof -- app fastopen $B 7100
allowed "one without is" talk echo $B 7100
a policy delete policy/web-out >/dev/null || bail "the client's policy goes"
in_ns sysctl -qw net.ipv4.tcp_fastopen=1
sysctl_b net.ipv4.tcp_fastopen=1
allowed "without Fast Open" talk echo $B 7100
if in_ns sysctl -n net.mptcp.enabled >/dev/null 2>&1; then
  moves "MPTCP" a no_option_room check_not "MPTCP, where identity decides" talk mptcp $B 7100
  mark
  # The server speaks none, and the client falls back when it answers: the rest has room.
  allowed "MPTCP, where the address does for the SYN" talk mptcp 10.9.4.2 7180 --from 10.9.4.1
  b_saw "it is proven after all" verdict=allow proof=bound "peer.exe=$TRUSTED/webapp"
else
  skip "MPTCP" "the kernel has none"
fi

note "both ends connect"
crossed() { # A-ADDRESS B-ADDRESS PORT
  in_b open "$PYTHON" -SE "$TALK" cross "$1" "$3" --from "$2:$3"
  talk cross "$2" "$3" --from "$1:$3"
}
path_is cross
mark
allowed "where the address does" crossed 10.9.4.1 10.9.4.2 7060
a_saw "it counts as no proof" verdict=allow proof=none hook=established
mark
check_not "not where a proof is required" crossed 10.9.4.11 10.9.4.12 7061
a_saw "and why" verdict=deny reason=no_proof hook=established
path_is pass

if [[ -z $GUEST ]]; then # 160,000 sockets
  note "a record that gives way while its handshake is on its way"
  is_opening() { ip netns exec "$NS" ss -Hnt state syn-sent "dport = :$1" | grep -q .; }
  # late PORT COMMAND...: what a connection says that is answered after the command; $LATE.
  late() {
    path_is deaf
    talk echo 10.9.4.2 "$1" --from 10.9.4.1 >"$WORK/late" 2>&1 &
    LATE=$!
    wait_for 5 is_opening "$1" || bail "a connection waits for its answer"
    "${@:2}" || bail "other sockets"
    path_is pass
    wait "$LATE" || true
    LATE=$(cat "$WORK/late")
  }
  crowd() { in_cgroup web "$PYTHON" -SE "$TALK" crowd 127.0.0.1 9; }
  for port in 7080 7180; do
    late $port true
    same "it is answered late, port $port" ok "$LATE"
    mark
    moves "when others took its place" a slot_lost late $port crowd
    has "it is cut off, port $port" "$LATE" '^E(ACCES|CONN|PIPE)'
    a_saw "and why" verdict=deny reason=no_state hook=established
  done
  path_is cross
  mark
  talk cross 10.9.4.2 7062 --from 10.9.4.1:7062 >"$WORK/late" 2>&1 &
  LATE=$!
  wait_for 5 is_opening 7062 || bail "one end connects"
  crowd
  in_b open "$PYTHON" -SE "$TALK" cross 10.9.4.1 7062 --from 10.9.4.2:7062
  ended() { wait "$LATE" || true; }
  moves "nor does it help that the other end connects, too" a slot_lost ended
  has "it is cut off" "$(cat "$WORK/late")" '^E(ACCES|CONN|PIPE)'
  a_saw "and why" verdict=deny reason=no_state hook=established
  path_is pass
fi

note "a flood of SYNs, with cookies"
cookies() {
  ip netns exec "$NS2" awk '/^TcpExt:/ && !n++ { split($0, name); next }
    /^TcpExt:/ { split($0, value); for (i in name) if (name[i] == "SyncookiesRecv") print value[i] }' \
    /proc/net/netstat
}
sysctl_b net.ipv4.tcp_syncookies=2
before=$(cookies)
forge flood side_b 10.9.2.1 $B 7000 3000 claim="$CLAIM" &
flood=$!
track "$flood"
forge flood side_b 10.9.2.1 $B 7100 3000 claim="$CLAIM" &
flood2=$!
track "$flood2"
for port in 7000 7100; do
  allowed "webapp still connects, port $port" several 5 talk echo $B $port
done
turned_away "another program does not" reason=default -- stranger echo $B 7000
{ wait "$flood" "$flood2"; } 2>/dev/null || true
check "they came from cookies" test "$(cookies)" -ge $((before + 10))
# Without a half-open connection the refusal is remembered for the listener.
let_in_not "nor does a replay" reset bad_proof 7000 claim="$CLAIM" proof="$PROOF"
let_in_not "to a fast listener, too" "$CUT" bad_proof 7100 claim="$CLAIM" proof="$PROOF"
sysctl_b net.ipv4.tcp_syncookies=1

note "addresses that change hands"
swap() { # NETNS FROM TO
  ip -n "$1" addr del "10.9.4.$2/24" dev mid0
  ip -n "$1" addr add "10.9.4.$3/24" dev mid0
  ip -n "$1" neigh flush dev mid0
}
swap "$NS" 1 99
swap "$NS2" 2 1
swap "$NS" 99 2
for port in 7000 7100; do
  allowed "webapp, from what was the server's, port $port" talk echo 10.9.4.1 $port --from 10.9.4.2
  turned_away "not another program" reason=default -- \
    stranger echo 10.9.4.1 $port --from 10.9.4.2
done

note "a dead daemon, and keys that change each second"
kill_tracked "$B_PID" KILL
has "a replay, the server's daemon dead" "$(dial 7100 claim="$CLAIM" proof="$PROOF")" \
  '^(silent|closed)$'
allowed "webapp, the server's daemon dead" talk echo $B 7100
if [[ -z $GUEST ]]; then # A guest keeps up with longer epochs only: handshake.sh.
  stop_msegd
  configure "epoch: 1s, listeners: [$listeners]"
  start_a
  start_b
  before=$(b_counter proven)
  # Two addresses, because each has only so many ports for a minute's connections.
  storm() { talk storm "$1" "$2" >"$WORK/storm-$1-$2" 2>&1; }
  others=()
  for place in "$B 7000" "10.9.2.3 7000" "10.9.2.3 7100"; do
    read -r address port <<<"$place"
    storm "$address" "$port" &
    others+=($!)
  done
  allowed "one connection after the other for a minute, fast" storm $B 7100
  status=0
  for other in "${others[@]}"; do wait "$other" || status=$?; done
  same "and strict, and at another address" 0 "$status"
  count=0
  for file in "$WORK"/storm-*; do
    connected=$(tail -n 1 "$file")
    if [[ $connected =~ ^[0-9]+$ ]]; then count=$((count + connected)); else note "$file: $connected"; fi
  done
  note "$count connections in a minute"
  check "all of them were proven" test "$(b_counter proven)" -ge $((before + count))
  check "and there were enough" test "$count" -ge 10000
fi

e2e_end
