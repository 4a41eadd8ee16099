#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Open connections are judged again when the generation moves: losers are closed within a second, as
# many as were announced, and nobody else notices.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin revoke
e2e_need ip ss
mkdir "$CG"/{db,web,other}
install -m 644 "$SUPPORT/connections.py" "$WORK/connections.py"
CONNECTIONS=$WORK/connections.py

documents() {
  workloads db web other
  cat <<'YAML'
apiVersion: mseg.io/v1
kind: AddressGroup
metadata: {name: guests}
spec: {labels: {loc: guests}, cidrs: [10.77.0.3/32, 'fd77::3/128']}
YAML
}
# cut STATE: the rule that the connections below are measured by.
cut() {
  cat <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: cut}
spec:
  state: $1
  rules:
  - {name: other, verdict: deny, from: {labels: {role: other}}, to: {labels: {role: db}}}
  - {name: guests, verdict: deny, from: {labels: {loc: guests}}, to: {labels: {role: db}}}
YAML
}
documents >"$WORK/documents.yaml"
cut test >"$WORK/test.yaml"
cut enforce >"$WORK/enforce.yaml"

PEER=$NS-p
ip netns add "$PEER"
ip -n "$PEER" link set lo up
link=m${ID}
veth=''
if ip link add "${link}a" netns "$NS" type veth peer name "${link}b" netns "$PEER"; then
  veth=1
  for address in 10.77.0.1/24 fd77::1/64; do
    in_ns ip addr add "$address" dev "${link}a" nodad 2>/dev/null ||
      in_ns ip addr add "$address" dev "${link}a"
  done
  for address in 10.77.0.2/24 10.77.0.3/24 fd77::2/64 fd77::3/64; do
    ip -n "$PEER" addr add "$address" dev "${link}b" nodad 2>/dev/null ||
      ip -n "$PEER" addr add "$address" dev "${link}b"
  done
  in_ns ip link set "${link}a" up
  ip -n "$PEER" link set "${link}b" up
else
  skip "connections from another network namespace" "veth devices"
fi

start_msegd
apply "$WORK/documents.yaml"
serve db tcp 7000 "$PYTHON" -SE "$PROBE" serve udp 127.0.0.1 7000 udp ::1 7000 udp :: 7002 \
  tcp :: 7001 tcp :: 7002 tcp ::1 7000 tcp 127.0.0.1 7000
NS=$PEER serve db tcp 7500 "$PYTHON" -SE "$PROBE" serve tcp 127.0.0.1 7500
spawn db "$PYTHON" "$CONNECTIONS" listen 0.0.0.0 7600
wait_for 10 listens tcp 7600 || bail "somebody listens who never accepts"

# hold NAME CGROUP NETNS ACT HOST PORT COUNT SOURCE ...: opens them; an empty CGROUP: outside.
hold() {
  local name=$1 group=$2 netns=$3
  shift 3
  mkfifo "$WORK/$name.fifo"
  if [[ -n $group ]]; then
    NS=$netns spawn "$group" "$PYTHON" "$CONNECTIONS" "$WORK/$name.fifo" "$@"
  else
    nsenter --net="/run/netns/$netns" "$PYTHON" "$CONNECTIONS" "$WORK/$name.fifo" "$@" \
      </dev/null >>"$WORK/$name.log" 2>&1 &
    SPAWNED=$!
    track "$SPAWNED"
  fi
  # It answers when everything is open.
  ask "$name" >"$WORK/$name.opened" || bail "$name opens its connections" \
    "$(tail -n 5 "$WORK"/*.log)"
}

# ask NAME: what of NAME's still works, a line a kind.
ask() {
  local answer=$WORK/$1.answer
  rm -f "$answer"
  echo "$answer" >"$WORK/$1.fifo"
  wait_for 20 test -e "$answer" || return 1
  cat "$answer"
}
# all_open NAME, all_closed NAME
all_open() { ask "$1" | awk '{ if ($4 != $6 + 0) exit 1 }'; }
all_closed() { ask "$1" | awk '{ if ($4 != 0) exit 1 }'; }
total() { awk '{ n += $6 } END { print n + 0 }' "$@"; }

kinds=(tcp 127.0.0.1 7000 60 - tcp ::1 7000 60 - tcp ::ffff:127.0.0.1 7002 60 - \
  udp 127.0.0.1 7000 30 - udp ::1 7000 20 - udp ::ffff:127.0.0.1 7002 20 -)
hold web web "$NS" "${kinds[@]}"
hold other other "$NS" "${kinds[@]}"
hold web-apart web "$PEER" tcp 127.0.0.1 7500 20 -
hold other-apart other "$PEER" tcp 127.0.0.1 7500 20 -
WINNERS=(web web-apart) LOSERS=(other other-apart)
if [[ -n $veth ]]; then
  inbound=(tcp 10.77.0.1 7001 20 10.77.0.2 tcp 10.77.0.1 7002 10 10.77.0.2
    tcp fd77::1 7001 10 fd77::2 idle 10.77.0.1 7600 2 10.77.0.2)
  hold office '' "$PEER" "${inbound[@]}"
  inbound=("${inbound[@]//10.77.0.2/10.77.0.3}")
  hold guests '' "$PEER" "${inbound[@]//fd77::2/fd77::3}"
  WINNERS+=(office) LOSERS+=(guests)
fi
opened=() lost=()
for name in "${WINNERS[@]}" "${LOSERS[@]}"; do opened+=("$WORK/$name.opened"); done
for name in "${LOSERS[@]}"; do lost+=("$WORK/$name.opened"); done
OPEN=$(total "${opened[@]}") LOST=$(total "${lost[@]}")
check "at least 500 connections are open ($OPEN, of which $LOST will lose)" test "$OPEN" -ge 500

field() { json_field "$1" <<<"$report"; }
everyone() { # FUNCTION NAME...: holds for each
  local function=$1 name
  shift
  for name in "$@"; do "$function" "$name" || return 1; done
}

note "announced, and nothing done"
report=$(msegctl policy apply --dry-run -o json "$WORK/enforce.yaml")
same "--dry-run says how many will close" "$LOST" "$(field will_close)"
report=$(msegctl policy apply -o json "$WORK/test.yaml")
same "a policy in test announces nothing" 0 "$(field will_close)"
same "and closes nothing" 0 "$(field closed)"
sleep 0.3
check "everything still works" everyone all_open "${WINNERS[@]}" "${LOSERS[@]}"

note "the rule is enforced"
mark
start=$(now_ms)
report=$(msegctl policy apply -o json "$WORK/enforce.yaml")
done_at=$(now_ms)
same "as many will close as were announced" "$LOST" "$(field will_close)"
same "and as many did" "$LOST" "$(field closed)"
note "applied in $((done_at - start)) ms, of which closing $(field timings_ms.close) ms"
check "closing takes less than a second" awk -v ms="$(field timings_ms.close)" -v slow="$SLOW" \
  'BEGIN { exit !(ms > 0 && ms < 1000 * slow) }'
check "the losers are closed" everyone all_closed "${LOSERS[@]}"
last=0
for name in "${LOSERS[@]}"; do
  at=$(awk '{ if ($NF > last) last = $NF } END { print last }' "$WORK/$name.answer")
  ((at > last)) && last=$at
done
note "the last one noticed $((last - start)) ms after the start of the apply"
check "all of them within a second of the apply" test "$((last - start))" -lt "$((1000 * SLOW))"
check "nobody else is" everyone all_open "${WINNERS[@]}"
check "a line says who was cut, and by which rule" flow_line hook=revoke verdict=deny \
  reason=rule rule=cut/other local.labels.role=other peer.labels.role=db protocol=tcp port=7000
check "UDP too" flow_line hook=revoke verdict=deny rule=cut/other protocol=udp port=7000
same "every cut has its line" "$LOST" \
  "$(flow_line --count hook=revoke verdict=deny)"
if [[ -n $veth ]]; then
  check "by address" flow_line hook=revoke rule=cut/guests peer.address=10.77.0.3 port=7001
  check "also where nobody accepted it yet" flow_line hook=revoke rule=cut/guests port=7600
fi
refused "and they do not come back" direction=egress rule=cut/other -- probe other tcp ::1 7000
same "counted" "$LOST" "$(status counters.connections_closed)"
same "none stays open" 0 "$(status counters.connections_not_closed)"

note "connections that are older than mseg"
stop_msegd
"$MSEG_BIN/msegd" --detach-all --bpffs "$PINS" >/dev/null
hold web-before web "$NS" tcp 127.0.0.1 7000 5 - tcp ::ffff:127.0.0.1 7002 5 - udp ::1 7000 2 -
hold other-before other "$NS" tcp 127.0.0.1 7000 5 - tcp ::ffff:127.0.0.1 7002 5 - udp ::1 7000 2 -
start_msegd
check "those that the stored policy denies are closed at its start" \
  wait_for 2 all_closed other-before
check "those that it allows stay" all_open web-before
check "and so do those from before" everyone all_open "${WINNERS[@]}"

note "a policy that goes closes nobody"
report=$(msegctl policy delete policy/cut -o json)
same "nothing is announced" 0 "$(field will_close)"
check "everybody stays" everyone all_open web-before "${WINNERS[@]}"
allowed "and the others may come back" probe other tcp 127.0.0.1 7000

e2e_end
