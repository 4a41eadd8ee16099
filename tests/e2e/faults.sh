#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bad input and bad circumstances: a sentence that names the cause, the right exit status, nothing
# changed, and what was enforced stays enforced.
# guests: 6.12
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
# shellcheck disable=SC2016 # what stands in single quotes is expanded by other shells
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin faults
e2e_need redis-server redis-cli curl bpftool setpriv
mkdir "$CG"/{db,web}
CLI=$(readlink -f "$(command -v redis-cli)")
CURL=$(readlink -f "$(command -v curl)")
CHURN=$MSEG_TESTS/e2e_churn
[[ -x $CHURN ]] || bail "the load program is built" "no $CHURN"

order_db_policy "{exe: $CLI}" tcp/6379 >"$WORK/policy.yaml"

ping_db() { [[ $(in_cgroup web "$CLI" -h 127.0.0.1 -p 6379 ping) == PONG ]]; }
curl_db() { in_cgroup web curl -sv --max-time 5 http://127.0.0.1:6379/; }

# in_force WHEN: both verdicts, with or without a daemon.
in_force() {
  local out
  check "$1: allowed stays allowed" ping_db
  if out=$(curl_db 2>&1); then
    not_ok "$1: refused stays refused" "it was allowed"
  else
    has "$1: refused stays refused" "$out" 'Operation not permitted'
  fi
}

# fails DESCRIPTION STATUS PATTERN COMMAND...: its words are kept in $OUT.
fails() {
  local what=$1 want=$2 pattern=$3 status=0
  shift 3
  OUT=$("$@" 2>&1 </dev/null) || status=$?
  if [[ ! $status =~ ^$want$ ]]; then
    not_ok "$what" "exit status $status, not $want: $OUT"
  else
    has "$what" "$OUT" "$pattern"
  fi
}

# msegd with changed options; ends by itself or is ended, for then it should not have started.
second() { # OPTION VALUE...
  local -A with=([--state-dir]=$WORK/state2 [--socket]=$WORK/sock2
    [--cgroup-root]=$CG2 [--bpffs]=$PINS2)
  local -a all=()
  local option
  while (($# > 0)); do with[$1]=$2 && shift 2; done
  for option in "${!with[@]}"; do all+=("$option" "${with[$option]}"); done
  timeout $((20 * SLOW)) "$MSEG_BIN/msegd" "${all[@]}"
}

second_places

note "no daemon"
fails "msegctl without a daemon" 3 'cannot be reached|cannot reach|not running|connect' \
  msegctl status
fails "policy apply without a daemon" 3 . msegctl policy apply "$WORK/policy.yaml"
check "policy check needs none" msegctl policy check "$WORK/policy.yaml"

serve_redis db 6379
start_msegd
apply "$WORK/policy.yaml"
learn "$CURL"
check "allowed" ping_db
refused "refused" direction=ingress rule=order-db "peer.exe=$CURL" -- curl_db
REVISION=$(status revision) GENERATION=$(status generation)
unchanged() {
  same "$1: revision and generation stay" "$REVISION $GENERATION" \
    "$(status revision) $(status generation)"
}

note "bad policy"
# bad NAME LINE:COL PATTERN: stdin is the file
bad() {
  local file=$WORK/$1.yaml
  cat >"$file"
  for command in check apply; do
    fails "$1, policy $command: exit 2 and $2" 2 "^$file:$2: error: .*$3" \
      msegctl policy "$command" "$file"
    has "$1, policy $command: a caret below the line" "$OUT" '^ *\^'
  done
  unchanged "$1"
}
bad port 4:16 'port' <<'YAML'
apiVersion: mseg.io/v1
kind: Service
metadata: {name: nothing}
spec: {ports: [tcp/0]}
YAML
bad field 5:3 'unknown field' <<'YAML'
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: order-db}
spec:
  verdicts: allow
YAML
bad kind 2:7 'kind' <<'YAML'
apiVersion: mseg.io/v1
kind: Polizy
metadata: {name: order-db}
spec: {}
YAML
bad yaml '3:[0-9]+' . <<'YAML'
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: order-db]
spec: {}
YAML
bad unsupported '[0-9]+:[0-9]+' 'mseg/host' <<'YAML'
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: order-db}
spec:
  rules:
  - name: a
    verdict: allow
    from: {labels: {mseg/host: 'true'}}
YAML
printf 'apiVersion: mseg.io/v1\nkind: \xff\xfe\n' >"$WORK/bytes.yaml"
fails "bytes that are no text" 2 "bytes.yaml" msegctl policy apply "$WORK/bytes.yaml"
fails "a file that is not there" 2 "absent.yaml" msegctl policy apply "$WORK/absent.yaml"
fails "a good file beside a bad one" 2 "port.yaml:4:16: error" \
  msegctl policy apply "$WORK/policy.yaml" "$WORK/port.yaml"
unchanged "all of it"
in_force "after bad policies"
fails "bad usage of msegctl" 2 . msegctl policy appply "$WORK/policy.yaml"
# Endless, and not a file.
fails "a policy that has no end" 2 "more than [0-9]+ bytes" msegctl policy apply /dev/zero
fails "a policy that is a directory" 2 "$WORK: Is a directory" msegctl policy apply "$WORK"
fails "bad usage of msegd" 2 '^msegd: unknown argument' "$MSEG_BIN/msegd" --no-such-option
printf 'state_dir: /tmp\nno_such_key: 1\n' >"$WORK/config.yaml"
fails "a bad config file" 2 "^$WORK/config.yaml:2:1: error" "$MSEG_BIN/msegd" --config "$WORK/config.yaml"

note "a second daemon"
fails "on the same state directory" 4 "state directory|$STATE" second --state-dir "$STATE"
fails "on the same cgroup root" 4 "another msegd manages the cgroup root $CG.*--cgroup-root" \
  second --cgroup-root "$CG"
fails "on the same pin directory" 4 "another msegd uses the pin directory $PINS.*--bpffs" \
  second --bpffs "$PINS"
fails "on the same socket" 4 "$SOCK" second --socket "$SOCK"
check "the first daemon still answers" msegctl status
in_force "after second daemons"
"$MSEG_BIN/msegd" --detach-all --bpffs "$PINS2" >/dev/null
"$MSEG_BIN/msegd" --state-dir "$WORK/state2" --socket "$WORK/sock2" --cgroup-root "$CG2" \
  --bpffs "$PINS2" </dev/null >"$WORK/second.log" 2>&1 &
SECOND=$!
track "$SECOND"
check "one on other directories runs beside it" wait_for 20 msegctl --socket "$WORK/sock2" status
in_force "with two daemons"
# Its own cgroups, its own policy: what lives there is none of the first one's business.
mkdir "$CG2/db"
mark
check_not "what lives in another one's cgroups is a stranger to the first" bash -c \
  'echo $$ >"$1/db/cgroup.procs" && exec nsenter --net="$2" timeout 3 "$3" -p 6379 ping' - \
  "$CG2" "/run/netns/$NS" "$CLI"
denied_by "and refused by the listener's own hook" direction=ingress hook=ingress rule=order-db \
  peer.labels={}
kill_tracked "$SECOND"
fails "its cgroup root with other pins, while its programs are attached" 4 \
  'programs of another msegd.*--bpffs|--detach-all' second --bpffs "$PINS2-other"
rm -rf "$PINS2-other"
check "the second one is removed alone" "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS2"
in_force "after the second one was removed"

note "places that cannot be used"
fails "not root" 4 'root|CAP_|permission' setpriv --reuid=nobody --clear-groups \
  "$MSEG_BIN/msegd" --state-dir "$WORK/state3" --socket "$WORK/sock3" --cgroup-root "$CG2" \
  --bpffs "$PINS2"
fails "detach-all, not root" 4 root setpriv --reuid=nobody --clear-groups \
  "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS"
fails "msegctl, not root" 3 . setpriv --reuid=nobody --clear-groups "$MSEG_BIN/msegctl" status
# hidden MOUNT-POINT COMMAND...: where nothing of it is seen, nor in process 1, in namespaces of its
# own.
hidden() {
  unshare --mount --pid --fork --kill-child --mount-proc \
    bash -c 'mount -t tmpfs none "$1" && exec timeout 60 "${@:2}"' hidden "$@"
}
fails "no BTF" 4 'lacks: btf .*CONFIG_DEBUG_INFO_BTF' hidden /sys/kernel/btf \
  "$MSEG_BIN/msegd" --state-dir "$WORK/state3" --socket "$WORK/sock3" --cgroup-root "$CG2" \
  --bpffs "$PINS2"
fails "no cgroup2" 4 'cgroup v2.*--cgroup-root' hidden /sys/fs/cgroup \
  "$MSEG_BIN/msegd" --state-dir "$WORK/state3" --socket "$WORK/sock3" --bpffs "$PINS2"
fails "detach-all of the host where its pins are not seen" 4 \
  'programs of mseg are still loaded \(mseg_.*mount namespace' \
  unshare -m bash -c 'umount -la -t bpf; ! grep -q " bpf " /proc/mounts && exec "$@"' - \
  "$MSEG_BIN/msegd" --detach-all
fails "a cgroup root that is no cgroup2" 4 'cgroup' second --cgroup-root "$WORK"
fails "a cgroup root that is not there" "[24]" 'absent' second --cgroup-root "$CG/absent"
fails "pins that are not on a bpf file system" 4 'bpf file system.*mount' \
  second --bpffs "$WORK/pins"
: >"$WORK/file"
fails "a state directory that is a file" 4 "$WORK/file" second --state-dir "$WORK/file"
mkdir "$WORK/readonly"
mount -t tmpfs -o ro,size=1m none "$WORK/readonly"
fails "a state directory that cannot be written" 4 "$WORK/readonly" \
  second --state-dir "$WORK/readonly/state"
umount "$WORK/readonly"
mkdir "$WORK/tiny"
mount -t tmpfs -o size=64k none "$WORK/tiny"
fails "a state directory without room" 4 "$WORK/tiny/state.*space" \
  second --state-dir "$WORK/tiny/state"
umount "$WORK/tiny"
same "none of them left a pin" "" "$(find "$PINS2" -type f 2>/dev/null)"
in_force "after all of that"

note "pinned state of another kind"
# flip_abi: the manifest's first word plus or minus one
flip_abi() {
  local pin=$PINS/maps/mseg_manifest
  local -a bytes
  read -ra bytes <<<"$(bpftool -j map dump pinned "$pin" |
    "$PYTHON" -c 'import json,sys; e=json.load(sys.stdin)[0]; print(*e["value"])')"
  bytes[0]=$(printf '0x%02x' $((bytes[0] ^ 0x40)))
  bpftool map update pinned "$pin" key 0 0 0 0 value "${bytes[@]}"
}
stop_msegd
flip_abi
fails "another ABI version" 4 'ABI version.*stays in force.*--detach-all' second \
  --state-dir "$STATE" --socket "$SOCK" --cgroup-root "$CG" --bpffs "$PINS"
in_force "with the pins of another ABI"
flip_abi
fails "pins of another cgroup root" 4 'another cgroup root.*stays in force' \
  second --state-dir "$STATE" --bpffs "$PINS"
in_force "with the pins of another cgroup root"
start_msegd
has "the right daemon adopts it again" "$(msegd_log)" adopted
same "with the same revision" "$REVISION" "$(status revision)"
# What a load leaves that was killed before anything was attached.
mkdir -p "$PINS2/maps"
bpftool map create "$PINS2/maps/mseg_rows" type hash key 4 value 4 entries 1 name leftover
"$MSEG_BIN/msegd" --state-dir "$WORK/state2" --socket "$WORK/sock2" --cgroup-root "$CG2" \
  --bpffs "$PINS2" </dev/null >"$WORK/second.log" 2>&1 &
SECOND=$!
track "$SECOND"
check "pins without a manifest are replaced" wait_for 20 msegctl --socket "$WORK/sock2" status
kill_tracked "$SECOND"
"$MSEG_BIN/msegd" --detach-all --bpffs "$PINS2" >/dev/null

note "a full disk"
stop_msegd
mkdir "$WORK/small"
mount -t tmpfs -o size=24m none "$WORK/small"
cp -a "$STATE" "$WORK/small/state"
STATE=$WORK/small/state
start_msegd
sed 's/order-db/other-policy/' "$WORK/policy.yaml" >"$WORK/other.yaml"
dd if=/dev/zero of="$WORK/small/full" bs=64k 2>/dev/null || true
dd if=/dev/zero of="$WORK/small/fuller" bs=512 2>/dev/null || true
sed 's/tcp\/6379/tcp\/1/' "$WORK/policy.yaml" >"$WORK/shut.yaml"
# It would shut the door: were it in force, or half of it, the allowed one would be refused.
"$PYTHON" -c 'print("# padding: more than is allocated already\\n" * 150000)' >>"$WORK/shut.yaml"
fails "policy apply on a full disk" 4 'space|full' msegctl policy apply "$WORK/shut.yaml"
in_force "on a full disk"
same "the revision stays" "$REVISION" "$(status revision)"
rm "$WORK/small/full" "$WORK/small/fuller"
check "policy apply once there is room" msegctl policy apply "$WORK/other.yaml"
check "the revision moves" test "$(status revision)" -gt "$REVISION"
stop_msegd
start_msegd
has "a restart finds it" "$(msegctl policy get)" 'Policy +other-policy'
in_force "after the disk was full"

note "events that nobody reads"
cp "$CHURN" "$TRUSTED/churn"
learn "$TRUSTED/churn"
kill -STOP "$MSEGD_PID"
result=$(in_cgroup web "$TRUSTED/churn" 6379 1000000 60000)
has "60,000 attempts with a stopped daemon are all refused" "$result" \
  '"ok": 0, "errors": \{"EPERM": 60000\}'
check "what is allowed is allowed" ping_db
kill -CONT "$MSEGD_PID"
check "the daemon is well again" wait_for 10 msegctl status
# Equal ones were counted in the kernel.
same "of one flow nothing is lost" 0 "$(status counters.flow_events_lost)"
known=$(status counters.flow_events)
check "and all of it is known ($known)" test "$known" -ge 60000
kill -STOP "$MSEGD_PID"
# Flows that differ are an event each, 160 bytes: more than the ring of 4 MiB holds.
result=$(in_cgroup web "$TRUSTED/churn" 7000 1000000 60000 25000)
has "60,000 attempts at ports where nobody listens are all let through" "$result" \
  '"ok": 0, "errors": \{"ECONNREFUSED": 60000\}'
check "what is allowed is allowed" ping_db
has "what is denied is denied" "$(in_cgroup web "$TRUSTED/churn" 6379 1000 1)" '"EPERM": 1'
kill -CONT "$MSEGD_PID"
check "the daemon is well again" wait_for 10 msegctl status
lost=$(status counters.flow_events_lost)
check "what was lost is counted ($lost)" test "$lost" -gt 0
in_force "after the flood"

e2e_end
