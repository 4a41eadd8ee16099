#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 at a random moment of an apply, again and again, under traffic: afterwards the store and
# the kernel say the same, the old policy or the new one, and no connection was judged by a mix.
# guests: 6.1
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin killed
mkdir "$CG"/{db,web}
CHURN=$MSEG_TESTS/e2e_churn
[[ -x $CHURN ]] || bail "the load program is built" "no $CHURN"
cp "$CHURN" "$TRUSTED/churn-allowed"
cp "$CHURN" "$TRUSTED/churn-denied"
ROUNDS=$([[ -n $GUEST ]] && echo 5 || echo 200)
RATE=$([[ -n $GUEST ]] && echo 50 || echo 500)

# turn PORT: the service that is open to everybody now, beside what never changes.
turn() {
  cat <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: turn}
spec:
  rules:
  - name: open
    verdict: allow
    from: {labels: {role: web}}
    to: {labels: {role: db}}
    services: [tcp/$1]
YAML
}

order_db_policy "{exe: $TRUSTED/churn-allowed}" tcp/7000 >"$WORK/policy.yaml"
turn 7001 >"$WORK/7001.yaml"
turn 7002 >"$WORK/7002.yaml"
start_msegd
apply "$WORK/policy.yaml" "$WORK/7001.yaml"
learn "$TRUSTED/churn-allowed" "$TRUSTED/churn-denied"
for port in 7000 7001 7002; do
  serve db tcp "$port" "$TRUSTED/churn-allowed" --serve "$port"
done
in_ns sysctl -qw net.ipv4.ip_local_port_range='1024 65000'
: >"$WORK/churn-allowed.log"
spawn web "$TRUSTED/churn-allowed" 7000 "$RATE"
ALLOWED=$SPAWNED
spawn web "$TRUSTED/churn-denied" 7000 "$RATE"
DENIED=$SPAWNED

connects() { in_cgroup web bash -c ": 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null && echo yes || echo no; }
kernel_says() {
  msegctl explain labels:role=web "labels:role=db" "tcp/$1" --kernel -o json 2>/dev/null |
    json_field verdict
}

# To start a program for that would take as long as an apply.
mkfifo "$WORK/never"
exec {NEVER}<>"$WORK/never"
pause() { read -rt "$1" -u "$NEVER" || true; }

now=7001 old=0 new=0 mixed=''
for ((round = 1; round <= ROUNDS; round++)); do
  wanted=$((now == 7001 ? 7002 : 7001))
  msegctl policy apply "$WORK/$wanted.yaml" >/dev/null 2>&1 &
  applying=$!
  # Up to what an apply takes, on machines that are slow and others: some of them are through.
  upto=(8 30 120)
  pause "$(printf '0.%03d' $((RANDOM % upto[RANDOM % 3] * (SLOW > 5 ? 5 : SLOW))))"
  stop_msegd KILL
  wait "$applying" || true
  # Before anybody mends anything: the kernel is one of the two.
  open="$(connects 7001)/$(connects 7002)"
  start_msegd
  stored=$(msegctl policy get policy/turn -o yaml | grep -oE 'tcp/700[12]' | cut -d/ -f2)
  other=$((stored == 7001 ? 7002 : 7001))
  [[ $stored == "$wanted" ]] && new=$((new + 1)) || old=$((old + 1))
  [[ $open == yes/no || $open == no/yes ]] || mixed+=" $round:killed:$open"
  after="$(kernel_says $stored)/$(kernel_says $other)/$(connects $stored)/$(connects $other)"
  [[ $after == allow/deny/yes/no ]] || mixed+=" $round:$stored:$after"
  now=$stored
done
kill_tracked "$ALLOWED"
kill_tracked "$DENIED"
same "after each of $ROUNDS kills store, kernel and connections agree" '' "$mixed"
note "applies that were through: $new, that were not: $old"
# Few rounds in a guest may all end the same way.
[[ -n $GUEST ]] ||
  check "some applies were through, some were not" test "$new" -gt 0 -a "$old" -gt 0
result() { tail -n 1 "$WORK/$1.log" | json_field "$2"; }
check "allowed traffic ran all the time" test "$(result churn-allowed attempts)" -gt "$RATE"
same "none of it was refused" "$(result churn-allowed attempts) {}" \
  "$(result churn-allowed ok) $(result churn-allowed errors)"
check "denied attempts ran all the time" test "$(result churn-denied attempts)" -gt "$RATE"
same "none of them came through" 0 "$(result churn-denied ok)"
same "no drift" 0 "$(status counters.drift)"

e2e_end
