#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts, each with a daemon of its own: identities, trust, records, and the keys that both come
# to, over kill -9; and what is refused.
# guests: 6.12
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin records
e2e_need bpftool

second_places
mkdir "$CG"/{db,web} "$CG2/web"

od -An -v -tx1 -N32 /dev/urandom | tr -d " \n" >"$WORK/salt"
chmod 600 "$WORK/salt"
config() { # EPOCH
  printf 'fleet: {salt_file: %s}\nhost: {name: %s}\nwire: {epoch: %s, paths: %s}\n' \
    "$WORK/salt" "$2" "$1" '[{cidr: 10.0.0.0/8, mode: require, bind: none}]'
}
config 1h alpha >"$WORK/a.yaml"
config 1h beta >"$WORK/b.yaml"

# start_b: the second host; $B_PID
start_b() {
  "$MSEG_BIN/msegd" --state-dir "$WORK/state2" --socket "$WORK/sock2" --cgroup-root "$CG2" \
    --bpffs "$PINS2" --config "$WORK/b.yaml" </dev/null >>"$WORK/second.log" 2>&1 &
  B_PID=$!
  track "$B_PID"
  wait_for 30 b status || bail "the second msegd starts" "$(cat "$WORK/second.log")"
}
start_a() { start_msegd --config "$WORK/a.yaml"; }
b() { msegctl --socket "$WORK/sock2" "$@"; }
a() { msegctl "$@"; }
field() { json_field "$1"; }
value() { "$PYTHON" -SE "$SUPPORT/map_value.py" "$@"; }

# fails DESCRIPTION STATUS PATTERN COMMAND...
fails() {
  local what=$1 want=$2 pattern=$3 status=0 out
  shift 3
  out=$("$@" 2>&1 </dev/null) || status=$?
  if [[ $status != "$want" ]]; then
    not_ok "$what" "exit status $status, not $want: $out"
  else
    has "$what" "$out" "$pattern"
  fi
}

note "identities"
start_a
start_b
same "stand-alone: no host id" 0 "$(status host.id)"
same "stand-alone: the wire is all zero" zero "$(value "$PINS/maps/mseg_wire" 0 --zero)"
fails "no identity to show" 4 'host init --id' a host show
fails "no records to export" 4 'host init' a record export
fails "an id of more than 24 bits" 2 'id' a host init --id 16777216
check "host init" a host init --id 1 --address 10.0.0.1 --claims env=prod --claims env=test
check "host init on the other host" b host init --id 2 --name second
same "status knows the id" "1 alpha" "$(status host.id) $(status host.name)"
same "the key file is closed" "600 0" "$(stat -c '%a %u' "$STATE/host.key")"
same "the wire is set" set "$(value "$PINS/maps/mseg_wire" 0 --zero)"
same "one path" 1 "$(value "$PINS/maps/mseg_paths")"
same "a host has a key with itself" 1 "$(value "$PINS/maps/mseg_hosts")"
fails "another id without --replace" 4 'already.*--replace' a host init --id 9
a host show -o json >"$WORK/a.json"
b host show -o json >"$WORK/b.json"
key=$(sed -n 2p "$STATE/host.key")
same "there is a private key" 64 "${#key}"
check_not "no answer holds a private key" grep -q "$key" "$WORK/a.json"

note "trust"
same "before: no key with the other" absent "$(value "$PINS/maps/mseg_hosts" 2)"
check "host trust" a host trust "$WORK/b.json" --claims role=web
check "host trust, the other way" b host trust "$WORK/a.json"
has "host list" "$(a host list)" '^2 +second .*role=web'
same "status counts it" 1 "$(status host.trusted)"
same_keys() { # DESCRIPTION
  local of_a of_b
  for _ in 1 2 3; do # a slot may begin in between
    of_a=$(value "$PINS/maps/mseg_hosts" 2) of_b=$(value "$PINS2/maps/mseg_hosts" 1)
    [[ $of_a == "$of_b" ]] && break
    sleep 0.3
  done
  check_not "$1: there are keys" test "$of_a" = absent
  same "$1: both have the same" "$of_a" "$of_b"
}
same_keys "trusted"
sed 's/"second"/"third"/' "$WORK/b.json" >"$WORK/forged.json"
fails "a record that was changed" 2 'not signed' a host trust "$WORK/forged.json"
fails "its own record" 4 'this host' a host trust "$WORK/a.json"

note "records"
workloads db web >"$WORK/policy.yaml"
apply "$WORK/policy.yaml"
b policy apply "$WORK/policy.yaml" >/dev/null
b identity show "$(readlink -f "$(command -v curl)")" >/dev/null || true
b record export -o "$WORK/b1.json"
b record export -o "$WORK/b2.json"
fails "records of a host that is not trusted" 4 'not trusted|this host' \
  b record import "$WORK/b1.json"
has "record import" "$(a record import "$WORK/b2.json")" 'host 2 \(second\) imported: 3 label sets'
has "the same again" "$(a record import "$WORK/b2.json")" 'unchanged'
fails "an older one" 4 'older' a record import "$WORK/b1.json"
sed 's/"web"/"db"/' "$WORK/b2.json" >"$WORK/lie.json"
fails "one that was changed" 2 'not signed' a record import "$WORK/lie.json"
has "what it means: permitted" "$(a record list --host second)" 'label .* permitted +role=web'
has "what it means: beyond the limits" "$(a record list --host 2)" 'NOT PERMITTED +no labels'
has "this host's own records" "$(a record list --host 1 -o wide)" 'NOT PERMITTED +role=db'
check "fingerprints are in the kernel" test "$(value "$PINS/maps/mseg_fingerprints")" -gt 3
fingerprints=$(value "$PINS/maps/mseg_fingerprints")
has "the log says who and when" "$(a policy history -o wide)" 'hosts .*records of host 2'

note "over kill -9"
kill_tracked "$MSEGD_PID" KILL
same "a dead daemon leaves the keys" "$(value "$PINS2/maps/mseg_hosts" 1)" \
  "$(value "$PINS/maps/mseg_hosts" 2)"
start_a
same "status after the restart" "1 1 1" \
  "$(status host.id) $(status host.trusted) $(status host.records)"
same_keys "after the restart"
# New programs may have run meanwhile.
check "fingerprints after the restart" \
  test "$(value "$PINS/maps/mseg_fingerprints")" -ge "$fingerprints"
fails "an older one, still" 4 'older' a record import "$WORK/b1.json"

note "rotation, a slot a second"
stop_msegd
kill_tracked "$B_PID"
config 1s alpha >"$WORK/a.yaml"
config 1s beta >"$WORK/b.yaml"
start_a
start_b
before=$(value "$PINS/maps/mseg_hosts" 2)
sleep 2
check_not "keys change" test "$before" = "$(value "$PINS/maps/mseg_hosts" 2)"
kill -STOP "$MSEGD_PID" "$B_PID" # both within one slot, most of the time
sleep 0.1
one=$(value "$PINS/maps/mseg_hosts" 2) two=$(value "$PINS2/maps/mseg_hosts" 1)
kill -CONT "$MSEGD_PID" "$B_PID"
if [[ $one != "$two" ]]; then
  sleep 0.5
  kill -STOP "$MSEGD_PID" "$B_PID"
  one=$(value "$PINS/maps/mseg_hosts" 2) two=$(value "$PINS2/maps/mseg_hosts" 1)
  kill -CONT "$MSEGD_PID" "$B_PID"
fi
same "both have the same while they change" "$one" "$two"

note "distrust"
check "host distrust" a host distrust second
same "no key is left" absent "$(value "$PINS/maps/mseg_hosts" 2)"
same "no record is left" "0 0" "$(status host.trusted) $(status host.records)"
fails "its records are refused" 4 'not trusted' a record import "$WORK/b2.json"
check "the other host still has its key" test "$(value "$PINS2/maps/mseg_hosts" 1)" != absent
check "trusted again" a host trust "$WORK/b.json"
check "and its records are taken" a record import "$WORK/b2.json"

note "another salt"
stop_msegd
od -An -v -tx1 -N32 /dev/urandom | tr -d " \n" >"$WORK/salt"
fails "a store of another salt" 4 'another salt than fleet.salt_file.*move that directory away' \
  "$MSEG_BIN/msegd" --state-dir "$STATE" --socket "$SOCK" --cgroup-root "$CG" --bpffs "$PINS" \
  --config "$WORK/a.yaml"
chmod 644 "$WORK/salt"
fails "a salt that others can read" 4 'chmod 600' \
  "$MSEG_BIN/msegd" --state-dir "$STATE" --socket "$SOCK" --cgroup-root "$CG" --bpffs "$PINS" \
  --config "$WORK/a.yaml"

e2e_end
