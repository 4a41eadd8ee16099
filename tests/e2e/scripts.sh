#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Scripts as identities: what an interpreter was started for by the kernel counts, and only that.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2016 # what stands in single quotes is expanded by other shells
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin scripts
e2e_need redis-server redis-cli
mkdir "$CG"/{db,web}
REDIS=$(readlink -f "$(command -v redis-server)")
CLI=$(readlink -f "$(command -v redis-cli)")
BASH_EXE=$(readlink -f /bin/bash)
PLACE=$TRUSTED/bin ELSEWHERE=$TRUSTED/elsewhere PUBLIC=$TRUSTED/public
mkdir "$PLACE" "$ELSEWHERE" "$PUBLIC"
chmod 1777 "$PUBLIC"

# script FILE [INTERPRETER]: what connects to the database.
script() {
  printf '%s\n' "#!${2:-$BASH_EXE}" 'exec 3<>/dev/tcp/127.0.0.1/6379' >"$1"
  chmod 755 "$1"
}
TOOL=$PLACE/tool
script "$TOOL"

start_msegd

if [[ $(status mode) == cgroup ]]; then
  order_db_policy "{exe: $BASH_EXE, script: $TOOL}" tcp/6379 >"$WORK/policy.yaml"
  out='' code=0
  out=$(msegctl policy apply "$WORK/policy.yaml" 2>&1) || code=$?
  same "a policy that names a script is refused in cgroup mode" 4 "$code"
  has "with its place and what is missing" "$out" 'policy.yaml:[0-9]+:[0-9]+:.*script_identity'
  has "and the gap is in the status" "$(status gaps)" script_identity
  order_db_policy "{exe: $BASH_EXE}" tcp/6379 >"$WORK/policy.yaml"
  check "without the script it is accepted" msegctl policy apply "$WORK/policy.yaml"
  e2e_end
  exit
fi

serve_redis db 6379
rule() { # PROCESS
  order_db_policy "$1" tcp/6379 >"$WORK/policy.yaml"
  apply "$WORK/policy.yaml"
}
web() { in_cgroup web "$@"; }
by_db=(direction=ingress rule=order-db local.labels.role=db "local.exe=$REDIS")
# Who was refused is the interpreter, of a script that nobody vouches for.
inline=("${by_db[@]}" reason=unknown_identity "peer.exe=$BASH_EXE" peer.script= \
  peer.script_digest=)
python_exec() { web "$PYTHON" -SE -c "$@"; }

# ---- by path
rule "{exe: $BASH_EXE, script: $TOOL}"
mark
allowed "by path: the script, at its first exec" web "$TOOL"
check "the flow has the script's path and digest" flow_line verdict=allow "local.exe=$BASH_EXE" \
  "local.script=$TOOL" "local.script_digest=$(digest_of "$TOOL")" \
  "local.digest=$(digest_of "$BASH_EXE")"
same "so has \`identity show\`" "$TOOL $(digest_of "$TOOL") $BASH_EXE" "$(
  msegctl identity show "$TOOL" -o json >"$WORK/shown"
  for field in script script_digest exe; do json_field $field <"$WORK/shown"; done | xargs)"
refused "inline: bash -c" "${inline[@]}" -- web bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379'
refused "inline: the script as an argument" "${inline[@]}" -- web bash "$TOOL"
refused "inline: the script on standard input" "${inline[@]}" -- web bash -s <"$TOOL"
refused "inline: bash -c, run by the script's own name" "${inline[@]}" -- \
  web bash -c 'exec -a "$0" bash -c "exec 3<>/dev/tcp/127.0.0.1/6379"' "$TOOL"

script "$ELSEWHERE/tool"
learn "$ELSEWHERE/tool"
refused "by path: a copy elsewhere is another script" "${by_db[@]}" reason=default \
  "peer.exe=$BASH_EXE" "peer.script=$ELSEWHERE/tool" "peer.script_digest=$(digest_of "$TOOL")" -- \
  web "$ELSEWHERE/tool"
refused "the interpreter alone is not allowed for another program's script" "${by_db[@]}" \
  "peer.exe=$CLI" -- web "$CLI" -h 127.0.0.1 -p 6379 ping

# ---- names that lead elsewhere by the time the interpreter follows them
ln -s "$TOOL" "$PUBLIC/link"
refused "a link that others may turn" "${inline[@]}" -- web "$PUBLIC/link"
refused "a working directory that others may share" "${inline[@]}" -- python_exec '
import os, sys
os.chdir(sys.argv[1])
os.execv("./tool", ["./tool"])' "$PLACE"
refused "a descriptor's name" "${inline[@]}" -- python_exec '
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.set_inheritable(fd, True)
os.execve(fd, ["tool"], {})' "$TOOL"
refused "a script in a memfd" "${inline[@]}" -- python_exec '
import os, sys
fd = os.memfd_create("tool", 0)
os.write(fd, open(sys.argv[1], "rb").read())
os.execve(fd, ["tool"], {})' "$TOOL"
script "$PLACE/gone"
refused "a deleted script" "${inline[@]}" -- python_exec '
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.unlink(sys.argv[1])
os.set_inheritable(fd, True)
os.execve(fd, ["gone"], {})' "$PLACE/gone"
# A child by clone(CLONE_FS): who shares its root directory could change where names lead.
clone_exec='
import ctypes, os, sys
pid = ctypes.CDLL(None).syscall(56, int(sys.argv[1], 0) | 17, 0, 0, 0, 0)
if pid == 0:
    os.execv(sys.argv[2], [sys.argv[2]])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))'
allowed "a child with a root directory of its own" python_exec "$clone_exec" 0 "$TOOL"
refused "a child that shares its root directory" "${inline[@]}" -- \
  python_exec "$clone_exec" 0x200 "$TOOL"

# ---- chains
script "$PLACE/outer" "$TOOL"
rule "{script: [$PLACE/outer, $TOOL]}"
allowed "the inner script by itself" web "$TOOL"
refused "a script whose interpreter is a script" "${inline[@]}" -- web "$PLACE/outer"
script "$PLACE/by-env" "/usr/bin/env bash"
rule "{script: $PLACE/by-env}"
refused "env's bash is not the script's" "${inline[@]}" -- web "$PLACE/by-env"
rule "{exe: $BASH_EXE}"
allowed "a rule that names no script allows it" web "$PLACE/by-env"
allowed "and the script" web "$TOOL"
allowed "and inline code" web bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379'

# ---- by content, at a path that only root can change
rule "{exe: $BASH_EXE, script: '$(digest_of "$TOOL")'}"
allowed_soon "by digest: the script" web "$TOOL"
allowed_soon "by digest: a copy elsewhere" web "$ELSEWHERE/tool"
script "$PUBLIC/tool"
web "$PUBLIC/tool" 2>/dev/null || true
refused "by digest: a copy where anybody may put another file" "${inline[@]}" -- web "$PUBLIC/tool"
chmod 777 "$ELSEWHERE/tool"
web "$ELSEWHERE/tool" 2>/dev/null || true
refused "by digest: a copy that anybody may write" "${inline[@]}" -- web "$ELSEWHERE/tool"
chmod 755 "$ELSEWHERE/tool"
allowed_soon "by digest: nobody else may any more" web "$ELSEWHERE/tool"
echo '# one line more' >>"$ELSEWHERE/tool"
refused "by digest: changed in place" "${by_db[@]}" "peer.exe=$BASH_EXE" \
  "peer.script_digest!=$(digest_of "$TOOL")" -- web "$ELSEWHERE/tool"
cp "$BASH_EXE" "$PLACE/other-name"
script "$PLACE/renamed" "$PLACE/other-name"
rule "{digest: '$(digest_of "$BASH_EXE")', script: $PLACE/renamed}"
allowed_soon "an interpreter under another name, by its content" web "$PLACE/renamed"
refused "inline code of it" "${by_db[@]}" "peer.exe=$PLACE/other-name" peer.script= -- \
  web "$PLACE/other-name" -c 'exec 3<>/dev/tcp/127.0.0.1/6379'

# ---- a deny rule needs only what is possible
workloads db web >"$WORK/policy.yaml"
cat >>"$WORK/policy.yaml" <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: order-db}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
  rules:
  - {name: all, verdict: allow, from: {labels: {role: web}}, to: {labels: {role: db}}}
  - {name: not-it, verdict: deny, from: {process: {script: $TOOL}}, to: {labels: {role: db}}}
YAML
apply "$WORK/policy.yaml"
refused "denied: the script" reason=rule rule=order-db/not-it "local.script=$TOOL" -- \
  web "$TOOL"
refused "denied: an interpreter that may run it" reason=rule rule=order-db/not-it \
  "local.exe=$BASH_EXE" local.script= -- web bash "$TOOL"
allowed "not denied: another script" web "$PLACE/renamed"
allowed "not denied: what is no interpreter" web "$CLI" -h 127.0.0.1 -p 6379 ping

# ---- no daemon, another daemon
rule "{exe: $BASH_EXE, script: $TOOL}"
mkfifo "$WORK/go" "$WORK/done"
printf '%s\n' "#!$BASH_EXE" 'while read -r word <"$1"; do
  { : 3<>/dev/tcp/127.0.0.1/6379; } 2>/dev/null && answer=open || answer=refused
  echo "$word $answer" >"$2"
done' >"$PLACE/worker"
chmod 755 "$PLACE/worker"
rule "{exe: $BASH_EXE, script: [$TOOL, $PLACE/worker]}"
spawn web "$PLACE/worker" "$WORK/go" "$WORK/done"
worker() {
  echo "$1" >"$WORK/go"
  timeout $((10 * SLOW)) cat "$WORK/done"
}
same "a script that goes on" "now open" "$(worker now)"
stop_msegd KILL
same "a script that goes on, without a daemon" "killed open" "$(worker killed)"
allowed "a new one, without a daemon" web "$TOOL"
check_not "inline code, without a daemon" web bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379'
start_msegd
same "a script that goes on, under the next daemon" "again open" "$(worker again)"
same "which knows what it is" "$PLACE/worker" \
  "$(msegctl identity show "$SPAWNED" -o json | json_field script)"
refused "inline code, under the next daemon" "${inline[@]}" -- \
  web bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379'
e2e_end
