#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which workload a process belongs to: by host, cgroup, program, content, user; what wins; what
# happens to cgroups that appear later and to processes that move.
# guests: 6.1
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
# shellcheck disable=SC2016 # what stands in single quotes is expanded by other shells
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin labels
e2e_need setpriv curl
mkdir -p "$CG"/{db,web/canary,jobs/a,stage}
CURL=$(readlink -f "$(command -v curl)")
cp "$CURL" "$TRUSTED/by-path"
cp "$CURL" "$TRUSTED/by-digest"
printf x >>"$TRUSTED/by-digest"

cat >"$WORK/policy.yaml" <<YAML
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: everything}
spec: {labels: {env: prod, role: none}, match: {host: true}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: db}
spec: {labels: {role: db}, match: {cgroup: /db}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: web}
spec: {labels: {role: web, tier: front}, match: {cgroup: /web}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: canary}
spec: {labels: {role: canary}, match: {cgroup: /web/canary}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: jobs}
spec: {labels: {role: job}, match: {cgroup: /jobs/*}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: by-path}
spec: {labels: {role: by-path}, match: {exe: $TRUSTED/by-path}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: by-digest}
spec: {labels: {role: by-digest}, match: {digest: '$(digest_of "$TRUSTED/by-digest")'}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: by-user}
spec: {labels: {role: by-user}, match: {user: nobody}}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: db}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
  rules:
  - {name: web, verdict: allow, from: {labels: {role: web}}, services: [tcp/7000]}
  - name: canary
    verdict: allow
    from: {labels: {role: canary, tier: front}}
    services: [tcp/7001]
  - {name: job, verdict: allow, from: {labels: {role: job}}, services: [tcp/7002]}
  - {name: by-path, verdict: allow, from: {labels: {role: by-path}}, services: [tcp/7003]}
  - {name: by-digest, verdict: allow, from: {labels: {role: by-digest}}, services: [tcp/7004]}
  - {name: by-user, verdict: allow, from: {labels: {role: by-user}}, services: [tcp/7005]}
  - {name: host, verdict: allow, from: {labels: {role: none, env: prod}}, services: [tcp/7006]}
YAML

start_msegd
apply "$WORK/policy.yaml"
ports=(7000 7001 7002 7003 7004 7005 7006)
servers=()
for port in "${ports[@]}"; do servers+=(tcp 127.0.0.1 "$port"); done
serve db tcp 7006 "$PYTHON" -SE "$PROBE" serve "${servers[@]}"

# is DESCRIPTION ROLE PORT COMMAND-WITH-PORT-AS-LAST-WORD...: reaches its port and no other; the
# refusal says which role it had.
is() {
  local what=$1 role=$2 port=$3 other=7000
  shift 3
  ((port != 7000)) || other=7001
  allowed_soon "$what: role=$role reaches $port" "$@" "$port"
  refused "$what: role=$role does not reach $other" direction=ingress rule=db \
    "peer.labels.role=$role" "port=$other" -- "$@" "$other"
}
python_in() { probe "$1" tcp 127.0.0.1 "$2"; }
# Exit 52: the server closed without an answer that curl understands; it was connected.
curl_in() { # CGROUP PROGRAM PORT
  local status=0
  in_cgroup "$1" "$2" -sv --max-time 3 --http0.9 "http://127.0.0.1:$3/" || status=$?
  [[ $status == 0 || $status == 28 || $status == 52 ]]
}
as_nobody() {
  in_cgroup "$1" setpriv --reuid=nobody --clear-groups "$PYTHON" -SE "$PROBE" \
    tcp 127.0.0.1 "$2"
}

note "who wins"
is "host" none 7006 python_in stage
is "cgroup over host" web 7000 python_in web
is "a cgroup's descendants" web 7000 python_in web/x/y
is "deeper cgroup over shallower, its other labels stay" canary 7001 python_in web/canary
is "glob" job 7002 python_in jobs/a
is "program by path over cgroup" by-path 7003 curl_in web "$TRUSTED/by-path"
is "program by digest over cgroup" by-digest 7004 curl_in web "$TRUSTED/by-digest"
is "user over cgroup" by-user 7005 as_nobody web
mark
python_in web 7000 >/dev/null
check "labels of several levels are merged" flow_line direction=egress verdict=allow \
  local.labels.role=web local.labels.tier=front local.labels.env=prod

note "cgroups that appear after the policy"
is "a new one below a glob" job 7002 python_in jobs/late
is "a new one below a named one" web 7000 python_in web/late
is "a new one of nobody's" none 7006 python_in other/late

note "a process that moves"
mkfifo "$WORK/go" "$WORK/done"
spawn web "$PYTHON" -SE "$PROBE" wait-then "$WORK/go" tcp 127.0.0.1 7000
MOVER=$SPAWNED
again() {
  echo "$WORK/done" >"$WORK/go"
  [[ $(timeout $((10 * SLOW)) cat "$WORK/done") == 0 ]]
}
check "in /web it is let through" again
echo "$MOVER" >"$CG/stage/cgroup.procs"
mark
check_not "moved to /stage it is not" again
denied_by "the refusal has its new labels" direction=ingress rule=db peer.labels.role=none
echo "$MOVER" >"$CG/web/cgroup.procs"
check "moved back it is" again
same "identity show follows" /web "$(msegctl identity show "$MOVER" -o json |
  json_field cgroup)"
kill_tracked "$MOVER"

note "cgroups that appear while the daemon is dead"
stop_msegd KILL
mkdir "$CG/jobs/orphan" "$CG/web/orphan" "$CG/free"
mark
for group in jobs/orphan web/orphan; do
  out=$(python_in "$group" 7002 2>&1) || true
  has "/$group is refused until somebody can say who it is" "$out" '^EPERM'
  out=$(python_in "$group" 7000 2>&1) || true
  has "/$group is refused on the other port too" "$out" '^EPERM'
done
check "what was there before is judged as before" python_in web 7000
start_msegd
denied_by "the refusal is told afterwards" direction=ingress rule=db reason=unknown_identity
is "after the restart, /jobs/orphan" job 7002 python_in jobs/orphan
is "after the restart, /web/orphan" web 7000 python_in web/orphan
is "after the restart, /free" none 7006 python_in free

note "two documents that disagree"
sed 's/name: jobs}/name: jobs-too}/; s/role: job}/role: task}/' "$WORK/policy.yaml" |
  sed -n '/name: jobs-too/,/^---/p' >"$WORK/part"
{ printf 'apiVersion: mseg.io/v1\nkind: Workload\n' && sed '/^---/d' "$WORK/part"; } \
  >"$WORK/conflict.yaml"
status=0
out=$(msegctl policy apply "$WORK/conflict.yaml" 2>&1) || status=$?
if ((status == 0)); then
  # Seen only where a process lives: the key is unknown there, and `status` lists it.
  has "status lists the conflict" "$(status conflicts)" 'jobs.*jobs-too|jobs-too.*jobs'
  refused "a process with a conflict matches no allow rule" direction=ingress rule=db -- \
    python_in jobs/a 7002
else
  same "a conflict that the compiler sees is an error" 2 "$status"
  has "it names both documents" "$out" 'conflict.yaml:4:[0-9]+: error: .*`jobs`.*policy.yaml:24'
  is "nothing was changed" job 7002 python_in jobs/a
fi
# Program and user stand at one level; that they disagree shows only in a process that both match.
as_nobody_by_path() {
  local status=0
  in_cgroup web setpriv --reuid=nobody --clear-groups "$TRUSTED/by-path" -sv --max-time 3 \
    --http0.9 "http://127.0.0.1:$1/" || status=$?
  [[ $status == 0 || $status == 28 || $status == 52 ]]
}
for port in 7003 7005 7000; do
  refused "two values at one level: the key is unknown, so port $port is shut" direction=ingress \
    rule=db reason=unknown_identity peer.labels.tier=front peer.labels.role= -- \
    as_nobody_by_path "$port"
done
has "status lists it" "$(status conflicts)" 'by-path.*by-user|by-user.*by-path'
is "who matches only one of them is not concerned" by-path 7003 curl_in web "$TRUSTED/by-path"

e2e_end
