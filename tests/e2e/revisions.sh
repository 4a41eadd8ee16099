#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Going back: history, diff, rollback, changes that wait to be confirmed (the daemon killed
# meanwhile), panic, and what `why` says, each with connections that are really made or refused.
# guests: 6.1
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin revisions
e2e_need bpftool
mkdir "$CG"/{db,web}
WINDOW=$([[ -n $GUEST ]] && echo 40 || echo 8) # seconds, for what must happen before a deadline

# policy RULES: cgroup /db answers nobody but by these rules.
policy() {
  workloads db web
  cat <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: db}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
$1
YAML
}
policy '  rules: [{name: web, verdict: allow, from: {labels: {role: web}}, services: [tcp/7001]}]' \
  >"$WORK/open.yaml"
policy '' >"$WORK/shut.yaml"
policy '  rules: [{name: no, verdict: deny, from: {labels: {role: web}}}]' >"$WORK/deny.yaml"

# exit_code WANT DESCRIPTION COMMAND...
exit_code() {
  local want=$1 what=$2 got=0 out
  shift 2
  out=$("$@" 2>&1) || got=$?
  if ((got == want)); then ok "$what"; else not_ok "$what" "exit $got, not $want: $out"; fi
}
field() { json_field "$1"; }
connect() { probe web tcp 127.0.0.1 7001; }
opened() { allowed "$1" connect; }
shut() { refused "$1" rule~^db -- connect; }
no_pending() { [[ $(status pending) == null ]]; }
no_panic() { [[ $(status panic) == null ]]; }
kill9() {
  stop_msegd KILL
  check "kill -9: the daemon is gone" test ! -e "/proc/$MSEGD_PID"
}

start_msegd
learn "$PYTHON"
serve db tcp 7001 "$PYTHON" -SE "$PROBE" serve tcp 127.0.0.1 7001

# ---- history, diff, rollback
apply "$WORK/open.yaml" -m 'open for web'
opened "revision 1 allows"
apply "$WORK/shut.yaml" -m 'shut'
shut "revision 2 refuses"
has "history: the message" "$(msegctl policy history)" '^2 .*\* .*shut$'
entry=$(msegctl policy history 1 -o json)
has "history: who the kernel says it was" "$entry" '"user": "root"'
has "history: microseconds, UTC" "$entry" '"time": "20[0-9-]+T[0-9:]+\.[0-9]{6}Z"'
exit_code 2 "history of a revision that is not there" msegctl policy history 7
has "get --revision shows the old rule" "$(msegctl policy get policy/db --revision 1 -o yaml)" \
  'name: web, verdict: allow'
exit_code 1 "diff of the last change: there is one" msegctl policy diff
has "diff shows the line" "$(msegctl policy diff 1 2 || true)" '^-  rules: \[\{name: web'
exit_code 0 "diff of a revision with itself" msegctl policy diff 2 2
exit_code 0 "diff -f of what is in force" msegctl policy diff -f "$WORK/shut.yaml"
exit_code 1 "diff -f of something else" msegctl policy diff -f "$WORK/open.yaml"
msegctl policy rollback --dry-run >/dev/null
same "rollback --dry-run changes nothing" 2 "$(status revision)"
check "rollback" msegctl policy rollback -m 'web is down'
same "rollback is a new revision" 3 "$(status revision)"
opened "the old policy is in force"
exit_code 0 "and it is the same text" msegctl policy diff 1 3
has "its message says what it is" "$(msegctl policy history 3)" 'rollback to revision 1: web is down'

# ---- to be confirmed
check "apply --confirm-within" msegctl policy apply "$WORK/shut.yaml" --confirm-within 1h
shut "it is in force at once"
has "status says that it waits" "$(msegctl status)" '^UNCONFIRMED: revision 4 goes back to revision 3'
exit_code 4 "another apply is refused meanwhile" msegctl policy apply "$WORK/open.yaml"
exit_code 4 "so is a delete" msegctl policy delete policy/db
check "another that is to be confirmed is not" \
  msegctl policy apply "$WORK/deny.yaml" --confirm-within 1h
same "it goes back to the same revision" 3 "$(status pending.back_to)"
check "confirm" msegctl policy confirm
check "nothing waits" no_pending
exit_code 4 "confirm once more" msegctl policy confirm
shut "what was confirmed stays"
check "apply --confirm-within, to be rolled back" \
  msegctl policy apply "$WORK/shut.yaml" --confirm-within 1h
check "rollback settles it" msegctl policy rollback
check "nothing waits" no_pending
exit_code 0 "the policy before it is in force" msegctl policy diff -f "$WORK/deny.yaml"
apply "$WORK/open.yaml"
opened "allowed again"
BEFORE=$(status revision)

check "apply --confirm-within, which nobody confirms" \
  msegctl policy apply "$WORK/shut.yaml" --confirm-within "${WINDOW}s" -m 'locks me out'
shut "in force"
kill9
start_msegd
same "it waits after kill -9, for the same revision" "$BEFORE" "$(status pending.back_to)"
shut "and is in force"
check "it is taken back at its time" wait_for 20 no_pending
opened "allowed again"
has "the log says why" "$(msegctl policy history --limit 1)" \
  "msegd .*rollback to revision $BEFORE: revision .* was not confirmed"
exit_code 0 "the same text as before" msegctl policy diff "$BEFORE"

check "the same, with the daemon dead at the deadline" \
  msegctl policy apply "$WORK/shut.yaml" --confirm-within 1s
kill9
sleep 2
start_msegd
check "it is taken back at the start" wait_for 5 no_pending
opened "allowed again"

# ---- panic
apply "$WORK/shut.yaml"
shut "refused"
documents=$(msegctl policy get -o yaml)
exit_code 2 "a panic needs a reason" msegctl panic
check "panic" msegctl panic --for 1h -m 'all is red'
mark
opened "panic: nothing is blocked"
check "panic: what would be is recorded" flow_line verdict=allow would_be=deny direction=ingress
has "status says so first" "$(msegctl status | head -1)" '^PANIC: NOTHING IS BLOCKED .*all is red'
has "history has it" "$(msegctl policy history -o wide --limit 1)" 'panic +0 +panic until .*: all is red'
same "no document changed" "$documents" "$(msegctl policy get -o yaml)"
kill9
opened "nothing is blocked without a daemon"
start_msegd
opened "nor after its restart"
has "status still says so" "$(msegctl status)" '^PANIC'
check "panic --end" msegctl panic --end
shut "refused again"
exit_code 4 "there is no panic to end" msegctl panic --end
check "a short panic" msegctl panic --for "${WINDOW}s" -m short
opened "nothing is blocked"
kill9
start_msegd
check "it ends by itself" wait_for 20 no_panic
shut "refused again"
has "the log has its end" "$(msegctl policy history --limit 1)" 'msegd .*panic is over'

# ---- why
spawn web "$PYTHON" -SE "$PROBE" serve tcp 127.0.0.1 7100
CLIENT=$SPAWNED
wait_for 10 listens tcp 7100 || bail "a process of /web" "it does not listen"
exit_code 1 "why: refused" msegctl why "$CLIENT" 127.0.0.1:7001
why=$(msegctl why "$CLIENT" 127.0.0.1:7001 -o json || true)
same "why: the rule" db "$(field rule <<<"$why")"
has "why: file and line" "$(field at <<<"$why")" "shut.yaml:[0-9]+"
same "why: who asks" web "$(field from.labels.role <<<"$why")"
same "why: who answers" db "$(field to.labels.role <<<"$why")"
same "why: by which program" "$PYTHON" "$(field to.exe <<<"$why")"
field allow <<<"$why" >"$WORK/allow.yaml"
check "why: the document is a policy" msegctl policy check "$WORK/allow.yaml"
exit_code 2 "why: no such process" msegctl why 4194304 127.0.0.1:7001
exit_code 0 "why: allowed" msegctl why "$CLIENT" 127.0.0.1:7100
check "the document applies" msegctl policy apply "$WORK/allow.yaml"
opened "and allows"
exit_code 0 "why agrees" msegctl why "$CLIENT" 127.0.0.1:7001
check "taken back" msegctl policy rollback
shut "refused again"
last=$(msegctl why --last -o json || true)
same "why --last: it happened" flow "$(field source <<<"$last")"
same "why --last: to whom" db "$(field to.labels.role <<<"$last")"
field allow <<<"$last" >"$WORK/allow.yaml"
check "its document applies" msegctl policy apply "$WORK/allow.yaml"
opened "and allows"
apply "$WORK/deny.yaml"
refused "a deny rule" direction=egress rule=db/no -- connect
last=$(msegctl why --last -o json || true)
same "why --last: no document helps against a deny rule" null "$(field allow <<<"$last")"
has "and it says so" "$last" 'A deny rule decides'

# ---- what a file does not say any more goes, if asked for, and nothing else does
cp "$WORK/open.yaml" "$WORK/file.yaml"
printf -- '---\napiVersion: mseg.io/v1\nkind: Policy\nmetadata: {name: extra}\nspec:\n%s\n' \
  '  rules: [{name: no, verdict: deny, from: {labels: {role: web}}}]' >>"$WORK/file.yaml"
apply "$WORK/file.yaml"
refused "the file's other policy refuses" rule=extra/no -- connect
cp "$WORK/open.yaml" "$WORK/file.yaml"
has "--prune --dry-run says what would go" \
  "$(msegctl policy apply "$WORK/file.yaml" --prune --dry-run)" 'policy/extra deleted \(dry run\)'
apply "$WORK/file.yaml"
refused "without --prune it stays" rule=extra/no -- connect
echo '# nothing' >"$WORK/other.yaml"
msegctl policy apply "$WORK/other.yaml" --prune >/dev/null || true
refused "another file's --prune does not touch it" rule=extra/no -- connect
has "--prune" "$(msegctl policy apply "$WORK/file.yaml" --prune)" '^policy/extra deleted'
opened "with it, it goes"
exit_code 2 "--prune of standard input is refused" \
  msegctl policy apply - --prune <"$WORK/file.yaml"
apply "$WORK/deny.yaml"

# ---- what the kernel decides is what the simulator decides
same "no drift" 0 "$(status counters.drift)"
same "no example of one" null "$(status last_drift)"

# Somebody else's hand in the tables: every row says the opposite.
bpftool -j map dump pinned "$PINS/maps/mseg_rows" | "$PYTHON" -c '
import json, sys
for row in json.load(sys.stdin):
    key, value = row["key"], row["value"]
    value[8] = "0x01" if int(value[8], 0) == 0 else "0x00"
    print("map update pinned", sys.argv[1], "key", *key, "value", *value)
' "$PINS/maps/mseg_rows" >"$WORK/tamper"
bpftool batch file "$WORK/tamper" >/dev/null
drifted() { (($(status counters.drift) > 0)); }
check "changed rows in the kernel are noticed" wait_for 15 drifted
has "status begins with an example" "$(msegctl status | head -1)" '^DRIFT: .*the kernel says'
has "and the log has it" "$(msegd_log)" 'DRIFT: (e|in)gress, class [0-9]+'
sed 's/name: no,/name: never,/' "$WORK/deny.yaml" >"$WORK/never.yaml"
apply "$WORK/never.yaml"
refused "the next generation has the right rows again" direction=egress rule=db/never -- connect
has "fail-safe entries are shown" "$(status failsafe)" 'tcp/22'

e2e_end
