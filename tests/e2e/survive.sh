#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Enforcement lives in the kernel: it goes on when the daemon is killed, a restart adopts it without
# one misjudged connection, and `--detach-all` removes all of it.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
# shellcheck disable=SC2016 # what stands in single quotes is expanded by other shells
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin survive
e2e_need redis-server redis-cli curl bpftool
mkdir "$CG"/{db,web}
CLI=$(readlink -f "$(command -v redis-cli)")
CURL=$(readlink -f "$(command -v curl)")
CHURN=$MSEG_TESTS/e2e_churn
[[ -x $CHURN ]] || bail "the load program is built" "no $CHURN"
cp "$CHURN" "$TRUSTED/churn-allowed"
cp "$CHURN" "$TRUSTED/churn-denied"
RATE=$([[ -n $GUEST ]] && echo 100 || echo 1000)
KILLS=$([[ -n $GUEST ]] && echo 3 || echo 10)

order_db_policy "{exe: [$CLI, $TRUSTED/churn-allowed]}" 'tcp/6379, tcp/7000' \
  >"$WORK/policy.yaml"

ping_db() { [[ $(in_cgroup web "$CLI" -h 127.0.0.1 -p 6379 ping) == PONG ]]; }
curl_db() { in_cgroup web curl -sv --max-time 5 http://127.0.0.1:6379/; }
eperm() { # a refusal without a daemon that could say who refused
  local what=$1 out
  shift
  if out=$("$@" 2>&1); then
    not_ok "$what" "it was allowed"
  else
    has "$what" "$out" 'Operation not permitted|EPERM'
  fi
}

# Kind, name and id of everything that is pinned.
pinned_ids() {
  local kind
  for kind in link map prog; do
    bpftool -j -f "$kind" show | "$PYTHON" -SE -c '
import json, sys
kind, pins = sys.argv[1:]
for entry in json.load(sys.stdin):
    for pin in entry.get("pinned", []):
        if pin.startswith(pins + "/"):
            print(kind, pin.rsplit("/", 1)[1], entry["id"])' "$kind" "$PINS"
  done | sort
}

serve_redis db 6379
start_msegd
apply "$WORK/policy.yaml"
learn "$TRUSTED/churn-allowed" "$TRUSTED/churn-denied" "$CURL"
check "allowed" ping_db
refused "refused" direction=ingress rule=order-db "peer.exe=$CURL" -- curl_db
pinned_ids >"$WORK/ids"
check "programs, links and maps are pinned" grep -q '^link mseg_connect4 [0-9]' "$WORK/ids"
REVISION=$(status revision)

for signal in KILL TERM; do
  stop_msegd "$signal"
  check "SIG$signal: the daemon is gone" test ! -e "/proc/$MSEGD_PID"
  check "SIG$signal: still allowed" ping_db
  mark
  eperm "SIG$signal: still refused" curl_db
  cp "$CLI" "$TRUSTED/redis-cli-$signal"
  eperm "SIG$signal: a program that nobody can read now is refused" \
    in_cgroup web "$TRUSTED/redis-cli-$signal" -h 127.0.0.1 -p 6379 ping
  start_msegd
  has "SIG$signal: the restart adopts" "$(msegd_log)" 'adopted what was in force'
  same "SIG$signal: the same programs, links and maps" "$(cat "$WORK/ids")" "$(pinned_ids)"
  same "SIG$signal: the same policy revision" "$REVISION" "$(status revision)"
  has "SIG$signal: the same documents" "$(msegctl policy get)" 'Policy +order-db'
  denied_by "SIG$signal: what was refused meanwhile is told afterwards" direction=ingress \
    rule=order-db "peer.exe=$CURL" peer.labels.role=web local.labels.role=db
  check "SIG$signal: allowed after the restart" ping_db
  refused "SIG$signal: refused after the restart" direction=ingress rule=order-db \
    "peer.exe=$CURL" -- curl_db
done

# ---- load while the daemon is killed
in_ns sysctl -qw net.ipv4.ip_local_port_range='1024 65000'
serve db tcp 7000 "$TRUSTED/churn-allowed" --serve 7000
spawn web "$TRUSTED/churn-allowed" 7000 "$RATE"
ALLOWED=$SPAWNED
: >"$WORK/churn-allowed.log"
spawn web "$TRUSTED/churn-denied" 7000 "$RATE"
DENIED=$SPAWNED
sleep 1
for ((kill = 0; kill < KILLS; kill++)); do
  stop_msegd KILL
  sleep 0.2
  start_msegd
  [[ $(msegd_log) == *adopted* ]] || not_ok "a restart under load adopts" "$(msegd_log)"
done
sleep 1
kill_tracked "$ALLOWED"
kill_tracked "$DENIED"
allowed_result=$(tail -n 1 "$WORK/churn-allowed.log")
denied_result=$(tail -n 1 "$WORK/churn-denied.log")
note "allowed: $allowed_result"
note "denied:  $denied_result"
result() { json_field "$2" <<<"$1"; }
attempts=$(result "$allowed_result" attempts)
check "allowed traffic ran all the time" test "$attempts" -gt $((RATE * 3))
same "none of $attempts allowed connections was refused" "$attempts" \
  "$(result "$allowed_result" ok)"
attempts=$(result "$denied_result" attempts)
check "denied attempts ran all the time" test "$attempts" -gt $((RATE * 3))
same "none of $attempts denied attempts came through" 0 "$(result "$denied_result" ok)"
same "each of them got EPERM" "{\"EPERM\":$attempts}" "$(result "$denied_result" errors)"
if [[ -z $GUEST ]]; then
  for word in "$allowed_result" "$denied_result"; do
    rate=$(result "$word" rate)
    check "at 1,000 a second ($rate)" test "$rate" -ge 950
  done
fi

# ---- nothing stays
pinned_ids >"$WORK/ids"
check "detach-all" "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS"
check "it stops the daemon" wait_for 5 test ! -e "/proc/$MSEGD_PID"
check "no pin is left" test ! -e "$PINS"
in_kernel() { # kind and id of everything there is
  local kind
  for kind in link map prog; do
    bpftool "$kind" show | sed -n "s/^\([0-9]*\):.*/$kind \1/p"
  done | sort
}
left=$(comm -12 <(awk '{ print $1, $3 }' "$WORK/ids" | sort) <(in_kernel))
same "no program, link or map is left in the kernel ($(wc -l <"$WORK/ids") looked for)" '' "$left"
same "nothing is attached to the cgroup" '' "$(bpftool cgroup show "$CG" 2>/dev/null |
  awk '/mseg_/ { print $1 }')"
allowed "what was refused is open again" \
  in_cgroup web bash -c ': 3<>/dev/tcp/127.0.0.1/6379'
check "detach-all once more" "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS"

e2e_end
