# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for those who source this
# What the end-to-end suites and the demo share. A suite sources this file, calls `e2e_begin NAME`,
# makes its checks and ends with `e2e_end`.
#
# Everything an instance makes carries a name of its own (a hash of suite and pid), so any number of
# suites may run at once: a cgroup below the host's cgroup v2 root, a pin directory, a network
# namespace with nothing but `lo`, two directories. All of it goes when the shell ends, however it
# ends, and that it went is checked.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
MSEG_BIN=${MSEG_BIN:-$ROOT/build/bin}
MSEG_TESTS=${MSEG_TESTS:-$ROOT/build/tests}
SUPPORT=$ROOT/tests/support
GUEST=${MSEG_GUEST:-}
# A guest is emulated and shares the machine: everything there may take this many times longer.
SLOW=$([[ -n $GUEST ]] && echo 10 || echo 1)
# Debian's own, not whatever a developer's PATH puts before it.
PYTHON=$(readlink -f /usr/bin/python3)

PASSED=0 FAILED=0 SKIPPED=0
declare -A E2E_PIDS=()          # pid -> start time: a reused pid is not ours
declare -a E2E_LEFT=()          # further paths to look for at the end
declare -a E2E_AT_EXIT=()       # functions that a suite wants called before the clean-up
E2E_BEGUN='' E2E_STOPPED=''

# ---- results ----------------------------------------------------------------------------------

note() { printf '# %s\n' "$*"; }

ok() {
  PASSED=$((PASSED + 1))
  printf 'ok %d - %s\n' "$((PASSED + FAILED + SKIPPED))" "$1"
}

# not_ok DESCRIPTION [WHY]
not_ok() {
  FAILED=$((FAILED + 1))
  printf 'not ok %d - %s\n' "$((PASSED + FAILED + SKIPPED))" "$1"
  [[ -z ${2-} ]] || printf '#   %s\n' "${2//$'\n'/$'\n#   '}"
}

# skip DESCRIPTION WHAT-IS-MISSING: where nothing may be left out (CI=true), a failure.
skip() {
  if [[ ${CI:-} == true ]]; then
    not_ok "$1" "skipped: $2"
    return
  fi
  SKIPPED=$((SKIPPED + 1))
  printf 'ok %d - %s # SKIP %s\n' "$((PASSED + FAILED + SKIPPED))" "$1" "$2"
}

# check DESCRIPTION COMMAND...: passes if the command does.
check() {
  local what=$1 out
  shift
  if out=$("$@" 2>&1); then ok "$what"; else not_ok "$what" "$* failed: $out"; fi
}

check_not() {
  local what=$1 out
  shift
  if out=$("$@" 2>&1); then not_ok "$what" "$* succeeded: $out"; else ok "$what"; fi
}

# same DESCRIPTION WANT GOT
same() {
  if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "want: $2"$'\n'"got:  $3"; fi
}

# has DESCRIPTION TEXT PATTERN (extended regular expression)
has() {
  if matches "$2" "$3"; then ok "$1"; else not_ok "$1" "no \`$3\` in: $2"; fi
}

# A suite cannot go on: what is missing is no verdict on the product, so it is not a failed check.
bail() {
  not_ok "$1" "${2-}"
  E2E_STOPPED="it cannot go on without: $1"
  exit 1
}

# wait_for SECONDS COMMAND...: until the command succeeds; guests get more.
wait_for() {
  local deadline=$((SECONDS + $1 * SLOW))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS <= deadline)) || return 1
    pause 0.05
  done
}

# What follows is bash alone, with no program to start: on an emulated processor a program is a tenth
# of a second.

exec {NEVER}<> <(:) # nobody writes there
pause() { read -rt "$1" -u "$NEVER" || true; } # SECONDS

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# matches TEXT PATTERN: does a line of the text match the extended regular expression?
matches() {
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    [[ ! $line =~ $2 ]] || return 0
  done <<<"$1"
  return 1
}

# ---- set-up and clean-up ----------------------------------------------------------------------

cgroup_root() {
  local dir
  for dir in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [[ $(stat -f -c %T "$dir" 2>/dev/null) == cgroup2fs ]] && echo "$dir" && return
  done
  return 1
}

# e2e_need WHAT COMMAND...: leaves the suite, as skipped, when a program is not there.
e2e_need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    skip "$SUITE" "$program is not installed (tools/setup installs it)"
    e2e_end
  done
}

# e2e_places NAME: where an instance of this name is.
e2e_places() {
  NAME=mseg-$1 ID=${1##*-}
  CG=$CGROUP_ROOT/$NAME
  PINS=/sys/fs/bpf/$NAME
  NS=$NAME
  WORK=/tmp/$NAME               # logs, sockets, state
  TRUSTED=/opt/$NAME            # root's alone, all the way up: programs that rules may name
  STATE=$WORK/state SOCK=$WORK/sock
  LOG=$WORK/msegd.log
}

# e2e_begin SUITE
e2e_begin() {
  SUITE=$1
  exec {E2E_OUT}>&1
  trap e2e_on_exit EXIT
  set -E
  trap 'E2E_STOPPED="line $LINENO: $BASH_COMMAND"' ERR
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  [[ $EUID -eq 0 ]] || { skip "$SUITE" "root"; e2e_end; }
  CGROUP_ROOT=$(cgroup_root) || { skip "$SUITE" "a cgroup v2 hierarchy"; e2e_end; }
  [[ -x $MSEG_BIN/msegd && -x $MSEG_BIN/msegctl ]] || bail "$SUITE" "no programs in $MSEG_BIN"
  [[ -x $MSEG_TESTS/e2e_enter ]] || bail "$SUITE" "no programs in $MSEG_TESTS"
  E2E_BEGUN=1
  e2e_places "$SUITE-$(printf '%s.%s.%s' "$SUITE" "$$" "$(date +%s%N)" | sha256sum | cut -c1-8)"
  # bash 5.2 may be cut off while it handles a signal, and anybody may be killed.
  (setsid "$SUPPORT/e2e_janitor.sh" "$$" "$NAME" </dev/null >/dev/null 2>&1 &)
  MSEGD_PID='' SPAWNED=''
  mkdir -m 755 "$WORK" "$TRUSTED" "$CG"
  # A copy, because the tree may lie where only root can read.
  PROBE=$WORK/probe.py
  install -m 644 "$SUPPORT/probe.py" "$PROBE"
  ip netns add "$NS"
  in_ns ip link set lo up
  export MSEG_SOCKET=$SOCK
  note "$SUITE on Linux $(uname -r)${GUEST:+ (guest)}, instance $NAME"
}

# The summary; the exit status says whether all was well.
e2e_end() { exit 0; }

e2e_summary() { printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"; }

e2e_on_exit() {
  local status=$? pid hook
  set +e
  trap '' INT TERM HUP ERR
  exec >&"$E2E_OUT" # whoever was interrupted may have had its output elsewhere
  ((status == 0 || status == 130 || status == 143)) ||
    not_ok "the suite runs to its end" "status $status, $E2E_STOPPED"
  if ((FAILED > 0)) && [[ -n $E2E_BEGUN && -s $LOG ]]; then
    note "end of msegd's log:"
    tail -n 20 "$LOG" | sed 's/^/#   /'
  fi
  if [[ -n $E2E_BEGUN ]]; then
    # Every child: one may have been started and not be tracked yet.
    for pid in $(jobs -p); do track "$pid"; done
    for pid in "${!E2E_PIDS[@]}"; do kill_tracked "$pid" KILL; done
    for hook in "${E2E_AT_EXIT[@]}"; do "$hook"; done
    e2e_clean
    e2e_verify_clean
  fi
  e2e_summary "$status"
  ((status == 0 && FAILED > 0)) && status=1
  exit "$status"
}

# remove_cgroup DIRECTORY: one that this shell made, with what its processes left running there.
remove_cgroup() {
  local dir
  [[ -d $1 ]] || return 0
  while read -r dir; do
    for _ in {1..100}; do
      # Each time: whoever was just started may come in late.
      [[ -w $1/cgroup.kill ]] && echo 1 >"$1/cgroup.kill"
      rmdir "$dir" 2>/dev/null && break
      sleep 0.05
    done
  done < <(find "$1" -depth -type d)
}

e2e_clean() {
  local dir
  remove_cgroup "$CG"
  if [[ -d $PINS ]]; then
    "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS" >/dev/null || rm -rf "$PINS"
  fi
  ip netns list | grep -q "^$NS" &&
    ip netns list | awk -v ns="$NS" 'index($1, ns) == 1 { print $1 }' | xargs -rn1 ip netns del
  while read -r dir; do umount -l "$dir"; done < \
    <(awk -v a="$WORK" -v b="$TRUSTED" 'index($5, a) == 1 || index($5, b) == 1 { print $5 }' \
      /proc/self/mountinfo | sort -r)
  rm -rf "$WORK" "$TRUSTED"
}

e2e_verify_clean() {
  local left='' pid path
  for pid in "${!E2E_PIDS[@]}"; do is_tracked "$pid" && left+=" process:$pid"; done
  for path in "$CG" "$PINS" "$WORK" "$TRUSTED" "${E2E_LEFT[@]}"; do
    [[ -e $path ]] && left+=" $path"
  done
  ip netns list | grep -q "^$NS" && left+=" netns:$NS"
  if [[ -z $left ]]; then
    ok "nothing is left behind"
  else
    not_ok "nothing is left behind" "left:$left"
  fi
}

# ---- processes --------------------------------------------------------------------------------

# process PID: $STATE_OF, a letter, and $STARTED, its start time; false when there is none.
process() {
  local stat
  local -a fields
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  STATE_OF=${fields[0]} STARTED=${fields[19]}
}

track() {
  if process "$1"; then E2E_PIDS[$1]=$STARTED; else E2E_PIDS[$1]=gone; fi
}

is_tracked() { process "$1" && [[ ${E2E_PIDS[$1]-} == "$STARTED" && $STATE_OF != Z ]]; }

# kill_tracked PID [SIGNAL]: ends a process that this shell started, and waits for it.
kill_tracked() {
  if is_tracked "$1"; then kill "-${2:-TERM}" "$1" 2>/dev/null || true; fi
  { wait "$1"; } 2>/dev/null || true
  unset "E2E_PIDS[$1]"
  return 0
}

enter() { "$MSEG_TESTS/e2e_enter" "$@"; } # CGROUP NETNS COMMAND...
in_ns() { enter - "/run/netns/$NS" "$@"; }

# in_cgroup CGROUP COMMAND...: below the managed root and in the suite's network namespace ($NS).
in_cgroup() {
  local dir=$CG/$1
  shift
  [[ -d $dir ]] || mkdir -p "$dir"
  enter "$dir" "/run/netns/$NS" "$@"
}

# spawn CGROUP COMMAND...: the same in the background; $SPAWNED is the command's own pid, its output
# goes to $WORK/COMMAND.log.
spawn() {
  local dir=$CG/$1 log
  shift
  [[ -d $dir ]] || mkdir -p "$dir"
  log=$WORK/${1##*/}.log
  "$MSEG_TESTS/e2e_enter" "$dir" "/run/netns/$NS" "$@" </dev/null >>"$log" 2>&1 &
  SPAWNED=$!
  track "$SPAWNED"
}

# listens tcp|udp PORT: does anybody in the namespace?
listens() {
  local flag=-lnt
  [[ $1 == udp ]] && flag=-lnu
  in_ns ss -H "$flag" "sport = :$2" | grep -q .
}

# serve CGROUP PROTOCOL PORT COMMAND...: spawns a server and waits until it listens.
serve() {
  local group=$1 protocol=$2 port=$3
  shift 3
  spawn "$group" "$@"
  wait_for 10 listens "$protocol" "$port" || bail "$1 listens on $protocol/$port" \
    "$(tail -n 5 "$WORK/$(basename "$1").log" 2>&1)"
}

serve_redis() { # CGROUP PORT [OPTION...]
  serve "$1" tcp "$2" redis-server --port "$2" --save '' --appendonly no --dir "$WORK" \
    --protected-mode no "${@:3}"
}

# ---- msegd and msegctl ------------------------------------------------------------------------

msegctl() { "$MSEG_BIN/msegctl" "$@"; }

msegd_ready() {
  kill -0 "$MSEGD_PID" 2>/dev/null || return 0 # dead: no use in waiting, the caller looks
  [[ -S $SOCK && $(msegd_log) == *' mode, cgroup root '* ]]
}

# Before msegd's name: with_unit_capabilities, or nothing.
MSEGD_UNDER=()
with_unit_capabilities() {
  local set
  set=$(sed -n 's/^CapabilityBoundingSet=//p' "$SUPPORT/../../deploy/systemd/msegd.service" |
    tr ' ' '\n' | sed 's/^CAP_/+/' | tr 'A-Z\n' 'a-z,')
  MSEGD_UNDER=(setpriv --bounding-set "-all,${set%,}" --inh-caps -all)
}

# start_msegd [OPTION...]: $MSEGD_PID; returns when it answers. $MSEGD_START_MS: how long that took.
start_msegd() {
  local start
  touch "$LOG"
  LOG_FROM=$(($(wc -l <"$LOG") + 1))
  start=$(now_ms)
  "${MSEGD_UNDER[@]}" "$MSEG_BIN/msegd" --state-dir "$STATE" --socket "$SOCK" --cgroup-root "$CG" \
    --bpffs "$PINS" "$@" </dev/null >>"$LOG" 2>&1 &
  MSEGD_PID=$!
  track "$MSEGD_PID"
  until msegd_ready; do
    (($(now_ms) - start < 30000 * SLOW)) || bail "msegd starts" "not ready in time"
    pause 0.02
  done
  MSEGD_START_MS=$(($(now_ms) - start))
  kill -0 "$MSEGD_PID" 2>/dev/null || bail "msegd starts" "$(tail -n +"$LOG_FROM" "$LOG")"
}

# stop_msegd [SIGNAL]
stop_msegd() { kill_tracked "$MSEGD_PID" "${1:-TERM}"; }

# The part of the log that the running daemon wrote.
msegd_log() {
  local -a lines
  mapfile -s $((LOG_FROM - 1)) lines <"$LOG"
  printf '%s' "${lines[@]}"
}

# apply FILE...: a policy that must be accepted.
apply() {
  local out
  out=$(msegctl policy apply "$@" 2>&1) || bail "policy apply $*" "$out"
}

# status FIELD: a dotted path into `msegctl status -o json`.
status() { msegctl status -o json | json_field "$1"; }

json_field() { "$MSEG_TESTS/e2e_json" field "$1"; } # PATH, of the object on stdin

# learn FILE...: has the daemon hash a file before it is run. Without this a fresh file is unknown
# for the first milliseconds, and so is matched by no allow rule that names a process.
learn() {
  local file
  for file in "$@"; do msegctl identity show "$file" >/dev/null; done
}

digest_of() { echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"; }

# second_places: a cgroup, $CG2, and a pin directory, $PINS2, for another msegd; they go at the end.
second_places() {
  CG2=$CG-2 PINS2=$PINS-2
  mkdir "$CG2"
  E2E_LEFT+=("$CG2" "$PINS2")
  E2E_AT_EXIT+=(forget_second)
}

forget_second() {
  "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS2" >/dev/null 2>&1
  rm -rf "$PINS2"
  remove_cgroup "$CG2"
}

# ---- who may talk to whom ---------------------------------------------------------------------

# From here on flow lines count for `denied_by`.
mark() {
  local now=$EPOCHREALTIME
  TZ=UTC0 printf -v MARK '%(%Y-%m-%dT%H:%M:%S)T.%06dZ' "${now%[.,]*}" "$((10#${now#*[.,]}))"
}

# allowed DESCRIPTION COMMAND...: succeeds. For programs that report what they did by exit status.
allowed() { check "$@"; }

# allowed_soon DESCRIPTION COMMAND...: the same, tried again for some seconds. Only for what may
# have to wait for the daemon, and never for anything that must be refused.
allowed_soon() {
  local what=$1 out='' deadline=$((SECONDS + 3 * SLOW))
  shift
  until out=$("$@" 2>&1); do
    if ((SECONDS > deadline)); then
      not_ok "$what" "$* still fails: $out"
      return 0
    fi
    pause 0.1
  done
  ok "$what"
}

# refused DESCRIPTION [FLOW-CONDITION...] -- COMMAND...: fails with EPERM, and a flow line says who
# refused it: every condition (see tests/support/e2e_json.cc) holds for one line newer than the act.
refused() {
  local what=$1 out status=0
  local -a conditions=()
  shift
  while [[ $1 != -- ]]; do conditions+=("$1") && shift; done
  shift
  mark
  out=$("$@" 2>&1) || status=$?
  if ((status == 0)); then
    not_ok "$what" "it was allowed: $out"
  elif ! matches "$out" 'Operation not permitted|EPERM|Permission denied to connect'; then
    not_ok "$what" "it failed (status $status), but not with EPERM: $out"
  else
    denied_by "$what" "${conditions[@]}"
  fi
}

# denied_by DESCRIPTION CONDITION...: a flow line since `mark` with verdict deny.
denied_by() {
  local what=$1 out
  shift
  if out=$(flow_line verdict=deny "$@"); then
    ok "$what"
    note "$out"
  else
    not_ok "$what" "no flow line with verdict=deny $*; since then: $out"
  fi
}

flow_line() {
  msegctl flows -o json --since 10m | matching_flow "$@"
}

# matching_flow CONDITION...: the newest of the flow lines on stdin, since `mark`, that is like this.
matching_flow() { "$MSEG_TESTS/e2e_json" flows --since "$MARK" "$@"; }

# workloads NAME...: documents that give the processes of cgroup /NAME the label role=NAME; another
# document may follow.
workloads() {
  local name
  for name in "$@"; do
    printf '%s\n' 'apiVersion: mseg.io/v1' 'kind: Workload' "metadata: {name: $name}" \
      "spec: {labels: {role: $name}, match: {cgroup: /$name}}" ---
  done
}

# order_db_policy PROCESS SERVICES: cgroup /db answers nobody but this process of cgroup /web.
order_db_policy() {
  workloads db web
  cat <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: order-db}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
  rules:
  - name: client-to-db
    verdict: allow
    from: {labels: {role: web}, process: $1}
    to: {labels: {role: db}}
    services: [$2]
YAML
}

# probe CGROUP ARGUMENT...: tests/support/probe.py there.
probe() {
  local group=$1
  shift
  in_cgroup "$group" "$PYTHON" -SE "$PROBE" "$@"
}
