#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts with a router between them that rewrites addresses: the server's host sees one address for
# every client, and decides by the program that is calling.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin handshake
# shellcheck source=../support/two_hosts.sh
source "$SUPPORT/two_hosts.sh"

ip netns exec "$ROUTER" nft -f - <<'NFT'
table ip nat {
  chain pre { type nat hook prerouting priority -100; ip daddr 10.9.1.1 dnat to 10.9.2.2; }
  chain post { type nat hook postrouting priority 100; oifname "side_b" masquerade; }
}
NFT
VIP=10.9.1.1
EPOCH=$([[ -n $GUEST ]] && echo 15 || echo 2) # seconds
start_hosts 'epoch: 3600s, proof: strict'

workloads web >"$WORK/a-policy.yaml"
order_db_policy "{exe: $TRUSTED/webapp}" tcp/7000 >"$WORK/b-policy.yaml"
apply "$WORK/a-policy.yaml"
b policy apply "$WORK/b-policy.yaml" >/dev/null || bail "the server's policy"
in_b db "$TRUSTED/dbserver" "$PROBE" serve tcp 0.0.0.0 7000
wait_for 10 b_listens 7000 || bail "the server listens" "$(cat "$WORK/servers.log")"
exchange

note "the same address for everybody"
mark
allowed "webapp reaches the server through the router" app tcp "$VIP" 7000
b_saw "the server's host knows who it was" verdict=allow peer.labels.role=web \
  "peer.exe=$TRUSTED/webapp"
turned_away "another program of the same host does not" peer.exe="$PYTHON" reason=default -- \
  probe web tcp "$VIP" 7000
turned_away "nor the same program with another label" reason=default -- \
  in_cgroup other "$TRUSTED/webapp" "$PROBE" tcp "$VIP" 7000
same "no proof was wrong" 0 "$(b_counter bad_proof)"


note "made by hand, by a machine on the way, from the address that the clients have"
capture app tcp "$VIP" 7000
in_b open "$PYTHON" -SE "$PROBE" serve tcp 0.0.0.0 7009
wait_for 10 b_listens 7009 || bail "an open server listens"
same "a port that no policy guards answers it" answered "$(dial 7009)"
let_in_not "without an option" dropped denied 7000
let_in_not "a captured claim alone" silent denied 7000 claim="$CLAIM"
let_in_not "a captured proof, replayed" silent bad_proof 7000 claim="$CLAIM" proof="$PROOF"
let_in_not "another executable's id" silent bad_proof 7000 claim="$CLAIM" \
  proof="$(changed "$PROOF" 19 1)"
let_in_not "another label id" silent bad_proof 7000 claim="$CLAIM" proof="$(changed "$PROOF" 8 64)"
let_in_not "another grade" silent bad_proof 7000 claim="$CLAIM" proof="$(changed "$PROOF" 4 32)"
let_in_not "another MAC" silent bad_proof 7000 claim="$CLAIM" proof="$(changed "$PROOF" 27 1)"
let_in_not "the key of another time" silent stale_epoch 7000 claim="$CLAIM" \
  proof="$(changed "$PROOF" 4 8)"
let_in_not "another host, in the proof" silent unknown_host 7000 claim="$CLAIM" \
  proof="$(changed "$PROOF" 7 8)"
mark
let_in_not "another host, in the claim" dropped denied 7000 claim="$(changed "$CLAIM" 7 8)"
b_saw "its reason" verdict=deny reason=no_record

note "labels beyond what a host may claim"
b host trust "$WORK/a.json" --claims role=else >/dev/null
turned_away "the host may not say this" reason=label_not_permitted -- app tcp "$VIP" 7000
b host trust "$WORK/a.json" --claims role=web >/dev/null
allowed "and now it may" app tcp "$VIP" 7000

note "many, while keys change"
stop_msegd
kill_tracked "$B_PID"
configure "epoch: ${EPOCH}s, proof: strict"
start_a
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
web_out_policy "tcp/7000, tcp/7001" "{exe: $TRUSTED/dbserver}" >>"$WORK/a-strict.yaml"
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
start_a
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
