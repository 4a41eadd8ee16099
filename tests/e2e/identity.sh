#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who a process is: the program it executed, its labels, its user. Real clients and servers; every
# refusal has its twin that is allowed, and names who refused it.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
# shellcheck disable=SC2016 # what stands in single quotes is expanded by other shells
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin identity
e2e_need redis-server redis-cli nginx curl ncat unshare setpriv
mkdir "$CG"/{db,web,other,nobody}

PLACE=$TRUSTED/bin              # where the rules expect the client
ELSEWHERE=$TRUSTED/elsewhere    # as trusted, another path
PUBLIC=$TRUSTED/public          # anybody may write here
mkdir "$PLACE" "$ELSEWHERE" "$PUBLIC"
chmod 1777 "$PUBLIC"
CLI=$PLACE/redis-cli
cp "$(readlink -f "$(command -v redis-cli)")" "$CLI"
REDIS=$(readlink -f "$(command -v redis-server)")
CURL=$(readlink -f "$(command -v curl)")
BASH_EXE=$(readlink -f /bin/bash)

# rule YAML-OF-FROM [YAML-OF-TO]: one policy, replaced each time: the database answers nobody else.
rule() {
  cat >"$WORK/policy.yaml" <<YAML
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: db}
spec:
  labels: {env: prod, app: order, role: db}
  match: {cgroup: /db}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: web}
spec:
  labels: {env: prod, app: order, role: web}
  match: {cgroup: /web}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: batch}
spec:
  labels: {role: batch}
  match: {cgroup: /web, user: nobody}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: other}
spec:
  labels: {env: prod, app: billing, role: web}
  match: {cgroup: /other}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: order-db}
spec:
  selects: {labels: {role: db}}
  directions: [ingress]
  rules:
  - name: client-to-db
    verdict: allow
    from: $1
    to: ${2:-"{labels: {role: db}}"}
    services: [tcp/6379, tcp/8080]
YAML
  apply "$WORK/policy.yaml"
}

ping_with() { # CGROUP PROGRAM [COMMAND-BEFORE...]
  local group=$1 program=$2
  shift 2
  in_cgroup "$group" "$@" "$program" -h 127.0.0.1 -p 6379 ping
}

# The server's end refused, with both ends and the rule's policy on the line.
by_db=(direction=ingress reason=default rule=order-db local.labels.role=db "local.exe=$REDIS" \
  "local.digest=$(digest_of "$REDIS")")

# ---- a process that is older than the daemon
mkfifo "$WORK/go" "$WORK/done"
spawn web "$PYTHON" -SE "$PROBE" wait-then "$WORK/go" tcp 127.0.0.1 6379
WALKED=$SPAWNED
old_probe() {
  echo "$WORK/done" >"$WORK/go"
  [[ $(timeout $((10 * SLOW)) cat "$WORK/done") == 0 ]]
}

serve_redis db 6379             # so is the listener
start_msegd
rule "{labels: {app: order, role: web}, process: {exe: $PYTHON}}"
mark
check "a process older than the daemon is let through" old_probe
check "its grade is \`path\`" flow_line verdict=allow local.grade=path "local.pid=$WALKED" \
  "local.exe=$PYTHON" "local.digest=$(digest_of "$PYTHON")" "peer.grade=path" "peer.exe=$REDIS"
rule "{labels: {app: order, role: web}, process: {exe: $PYTHON, grade: hash}}"
mark
check_not "a rule that asks for grade \`hash\` does not let it through" old_probe
denied_by "it is refused for want of grade" direction=ingress rule=order-db "peer.pid!=0" \
  peer.grade=path
allowed "the same program, executed under the daemon's eyes, is let through" \
  probe web tcp 127.0.0.1 6379
kill_tracked "$WALKED"

# ---- rule by path
learn "$CURL" "$BASH_EXE" /usr/bin/ncat # a flow names only those that were
rule "{labels: {app: order, role: web}, process: {exe: $CLI}}"
allowed "by path: the program itself" ping_with web "$CLI"
same "it got its answer" PONG "$(ping_with web "$CLI")"
refused "by path: curl" "${by_db[@]}" "peer.exe=$CURL" "peer.digest=$(digest_of "$CURL")" \
  peer.labels.role=web -- in_cgroup web curl -sv --max-time 5 http://127.0.0.1:6379/
refused "by path: bash and /dev/tcp" "${by_db[@]}" "peer.exe=$BASH_EXE" peer.labels.role=web -- \
  in_cgroup web bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379'
refused "by path: ncat" "${by_db[@]}" peer.exe=/usr/bin/ncat -- \
  in_cgroup web ncat -w 5 127.0.0.1 6379
refused "by path: python3" "${by_db[@]}" "peer.exe=$PYTHON" -- probe web tcp 127.0.0.1 6379
took=$(probe web tcp 127.0.0.1 6379 || true)
took=$(awk '{ print int($2) }' <<<"$took")
check "refused at once ($took ms)" test "$took" -lt $((100 * SLOW))

cp "$CLI" "$ELSEWHERE/redis-cli"
learn "$ELSEWHERE/redis-cli"
refused "by path: a copy with the same name elsewhere" "${by_db[@]}" \
  "peer.exe=$ELSEWHERE/redis-cli" "peer.digest=$(digest_of "$CLI")" -- \
  ping_with web "$ELSEWHERE/redis-cli"
ln "$CLI" "$ELSEWHERE/linked"
learn "$ELSEWHERE/linked" "$CLI"
refused "by path: a hard link elsewhere" "${by_db[@]}" "peer.exe=$ELSEWHERE/linked" \
  "peer.digest=$(digest_of "$CLI")" -- ping_with web "$ELSEWHERE/linked"
allowed_soon "by path: the program that the link was made of" ping_with web "$CLI"
refused "other label" "${by_db[@]}" peer.labels.app=billing "peer.exe=$CLI" -- \
  ping_with other "$CLI"
refused "no label at all" "${by_db[@]}" "peer.exe=$CLI" peer.labels={} -- ping_with nobody "$CLI"
refused "other user" "${by_db[@]}" peer.labels.role=batch "peer.exe=$CLI" -- \
  ping_with web "$CLI" setpriv --reuid=nobody --clear-groups
rule "{labels: {role: batch}, process: {exe: $CLI, user: nobody}}"
allowed "by user: nobody's process" ping_with web "$CLI" setpriv --reuid=nobody --clear-groups
refused "by user: root's process" "${by_db[@]}" peer.labels.role=web "peer.exe=$CLI" -- \
  ping_with web "$CLI"

# ---- rule by file name: trusted paths only
rule "{labels: {app: order, role: web}, process: {name: redis-cli}}"
allowed_soon "by name: in one trusted place" ping_with web "$CLI"
allowed_soon "by name: in another" ping_with web "$ELSEWHERE/redis-cli"
cp "$CLI" "$PUBLIC/redis-cli"
# What lies there is read only when it is executed: until then it is refused as unknown.
known_by_now() {
  mark
  ping_with web "$PUBLIC/redis-cli" >/dev/null 2>&1 || true
  flow_line "peer.exe=$PUBLIC/redis-cli"
}
wait_for 5 known_by_now || not_ok "a program in a public place becomes known" "it stays unknown"
refused "by name: where anybody may write" "${by_db[@]}" "peer.exe=$PUBLIC/redis-cli" -- \
  ping_with web "$PUBLIC/redis-cli"

# ---- rule by digest: the content, whatever its name or place
rule "{labels: {app: order, role: web}, process: {digest: '$(digest_of "$CLI")'}}"
allowed_soon "by digest: the program itself" ping_with web "$CLI"
allowed_soon "by digest: a hard link" ping_with web "$ELSEWHERE/linked"
cp "$CLI" "$ELSEWHERE/renamed"
allowed_soon "by digest: a copy under another name" ping_with web "$ELSEWHERE/renamed"
allowed_soon "by digest: where anybody may write" ping_with web "$PUBLIC/redis-cli"
"$PYTHON" -SE "$SUPPORT/change_byte.py" "$CLI" "$ELSEWHERE/changed"
learn "$ELSEWHERE/changed"
check "the changed copy differs in one byte and runs" bash -c \
  '[[ $(cmp -l "$0" "$1" | wc -l) == 1 ]] && "$1" --version' "$CLI" "$ELSEWHERE/changed"
refused "by digest: a copy with one byte changed" "${by_db[@]}" "peer.exe=$ELSEWHERE/changed" \
  "peer.digest=$(digest_of "$ELSEWHERE/changed")" -- ping_with web "$ELSEWHERE/changed"
cp "$CLI" "$ELSEWHERE/appended"
printf x >>"$ELSEWHERE/appended"
learn "$ELSEWHERE/appended"
refused "by digest: a copy with one byte more" "${by_db[@]}" "peer.exe=$ELSEWHERE/appended" -- \
  ping_with web "$ELSEWHERE/appended"
# In place: the name, the inode and the size stay.
cp "$CLI" "$ELSEWHERE/inplace"
learn "$ELSEWHERE/inplace"
allowed "by digest: a copy before it is changed in place" ping_with web "$ELSEWHERE/inplace"
cat "$ELSEWHERE/changed" >"$ELSEWHERE/inplace"
# Refused as unknown or as changed: whether the daemon has read it by then is a race.
refused "by digest: changed in place" direction=ingress rule=order-db peer.labels.role=web \
  "peer.digest!=$(digest_of "$CLI")" -- \
  ping_with web "$ELSEWHERE/inplace"
learn "$ELSEWHERE/inplace"
refused "by digest: changed in place, and hashed again" "${by_db[@]}" \
  "peer.exe=$ELSEWHERE/inplace" "peer.digest=$(digest_of "$ELSEWHERE/changed")" -- \
  ping_with web "$ELSEWHERE/inplace"
# Through a mapping: on tmpfs that leaves no trace but with BPF LSM, which sees the file opened.
MEMORY=$TRUSTED/memory
mkdir "$MEMORY"
mount -t tmpfs -o mode=755 none "$MEMORY"
forget_memory() { umount "$MEMORY"; }
E2E_AT_EXIT+=(forget_memory)
through_mapping() { # FILE
  "$PYTHON" -SE -c 'import mmap, os, sys
before = os.stat(sys.argv[1])
file = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(file, 0)
memory[9] ^= memory[8] + 1
memory.close()
print(os.stat(sys.argv[1]).st_ctime_ns == before.st_ctime_ns)' "$1"
}
for place in "$MEMORY" "$PUBLIC"; do
  cp "$CLI" "$place/mapped"
  chown nobody "$place/mapped"
  if [[ $(status mode) == full ]]; then
    allowed_soon "by digest: of another owner" ping_with web "$place/mapped"
  else
    refused "by digest: of another owner, who could change it unseen" direction=ingress \
      rule=order-db peer.grade=unknown -- ping_with web "$place/mapped"
    said() { msegctl status -o json | tr -d '\n' | grep -q "$place/mapped[^}]*others than root"; }
    check "status says why" wait_for 5 said
  fi
  cp "$CLI" "$place/roots"
  allowed_soon "by digest: the twin that only root writes" ping_with web "$place/roots"
  moved=$(through_mapping "$place/mapped")
  note "$place: the ctime is as before: $moved"
  check_not "by digest: changed through a mapping" ping_with web "$place/mapped"
done
chown nobody "$MEMORY/roots"
if [[ $(status mode) != full ]]; then
  no_longer() { ! ping_with web "$MEMORY/roots" >/dev/null 2>&1; }
  check "what was root's is unknown once it is not" wait_for 20 no_longer
fi
# With fs-verity, which Debian's own kernels have.
cp "$CLI" "$PLACE/sealed"
seal() { # FILE
  "$PYTHON" -SE -c 'import fcntl, os, struct, sys
enable = 0x40806685
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(file, enable, struct.pack("=IIIIQII", 1, 1, 4096, 0, 0, 0, 0) + bytes(96))' "$1"
}
if [[ -n $GUEST ]]; then
  rule "{labels: {app: order, role: web}, process: {digest: '$(digest_of "$CLI")', grade: verity}}"
  refused "by grade: the same content without fs-verity" direction=ingress rule=order-db \
    "peer.exe=$PLACE/sealed" peer.grade!=verity -- ping_with web "$PLACE/sealed"
  check "fs-verity" seal "$PLACE/sealed"
  learn "$PLACE/sealed"
  allowed_soon "by grade: with it" ping_with web "$PLACE/sealed"
  check "its grade is verity" bash -c '[[ $1 == verity ]]' - \
    "$(msegctl identity show "$PLACE/sealed" -o json | json_field grade)"
  refused "by grade: nor another program without" direction=ingress rule=order-db \
    "peer.exe=$CLI" peer.grade!=verity -- ping_with web "$CLI"
  rule "{labels: {app: order, role: web}, process: {digest: '$(digest_of "$CLI")'}}"
fi
refused "by digest: the program in a memfd" direction=ingress rule=order-db peer.labels.role=web \
  peer.grade=unknown peer.exe= -- in_cgroup web "$PYTHON" -c '
import os, sys
fd = os.memfd_create("redis-cli")
os.write(fd, open(sys.argv[1], "rb").read())
os.execv(f"/proc/self/fd/{fd}", ["redis-cli", "-h", "127.0.0.1", "-p", "6379", "ping"])' "$CLI"
cp "$CLI" "$ELSEWHERE/deleted"
refused "by digest: a program deleted while it is executed" direction=ingress rule=order-db \
  peer.grade=unknown -- in_cgroup web "$PYTHON" -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.unlink(sys.argv[1])
os.execv(f"/proc/self/fd/{fd}", ["redis-cli", "-h", "127.0.0.1", "-p", "6379", "ping"])' \
  "$ELSEWHERE/deleted"

# ---- replaced while it runs
cp "$BASH_EXE" "$PLACE/worker"
rule "{labels: {app: order, role: web}, process: {digest: '$(digest_of "$PLACE/worker")'}}"
learn "$PLACE/worker"
mkfifo "$WORK/worker-go" "$WORK/worker-done"
spawn web "$PLACE/worker" -c 'while read -r word <"$0"; do
  { : 3<>/dev/tcp/127.0.0.1/6379; } 2>/dev/null && answer=open || answer=refused
  echo "$word $answer" >"$1"
done' "$WORK/worker-go" "$WORK/worker-done"
worker() {
  echo "$1" >"$WORK/worker-go"
  timeout $((10 * SLOW)) cat "$WORK/worker-done"
}
same "the worker before its program is replaced" "before open" "$(worker before)"
"$PYTHON" -SE "$SUPPORT/change_byte.py" "$PLACE/worker" "$PLACE/worker.new"
mv "$PLACE/worker.new" "$PLACE/worker"
same "it goes on as what it executed" "after open" "$(worker after)"
learn "$PLACE/worker"
refused "the new program under the old name, by digest" "${by_db[@]}" "peer.exe=$PLACE/worker" -- \
  in_cgroup web "$PLACE/worker" -c 'exec 3<>/dev/tcp/127.0.0.1/6379'
kill_tracked "$SPAWNED"

# ---- pinned: what lay at the path when the policy was applied
cp "$CLI" "$PLACE/pinned"
pinned_rule() { rule "{labels: {app: order, role: web}, process: {exe: $PLACE/pinned, pin: true}}"; }
pinned_rule
has "the stored policy has the digest" "$(msegctl policy get policy/order-db -o yaml)" \
  "$(digest_of "$PLACE/pinned")"
allowed_soon "pinned: the file as it was" ping_with web "$PLACE/pinned"
"$PYTHON" -SE "$SUPPORT/change_byte.py" "$PLACE/pinned" "$PLACE/pinned.new"
mv "$PLACE/pinned.new" "$PLACE/pinned"
learn "$PLACE/pinned"
refused "pinned: another file at the same path" "${by_db[@]}" "peer.exe=$PLACE/pinned" -- \
  ping_with web "$PLACE/pinned"
pinned_rule
allowed_soon "pinned: applied again, it is this file" ping_with web "$PLACE/pinned"
rm "$PLACE/pinned"
has "pinned: where nothing lies there is nothing to pin" \
  "$(msegctl policy apply "$WORK/policy.yaml" 2>&1 || true)" 'error: there is no such file'

# ---- another program mounted over the allowed one, in namespaces of an unprivileged user
rule "{labels: {role: batch}, process: {exe: $CLI}}"
as_nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
learn "$CLI"
allowed "unprivileged, without a mount" ping_with web "$CLI" "${as_nobody[@]}"
if "${as_nobody[@]}" unshare -Urm true 2>/dev/null; then
  chmod 755 "$ELSEWHERE/changed"
  mounted() {
    in_cgroup web "${as_nobody[@]}" unshare -Urm bash -c \
      'mount --bind "$1" "$2" && exec "$2" -h 127.0.0.1 -p 6379 ping' - "$ELSEWHERE/changed" "$CLI"
  }
  # Known by then, so that it is not refused merely because nobody has read it yet.
  mounted_known() {
    mark
    mounted >/dev/null 2>&1 || true
    flow_line "peer.digest=$(digest_of "$ELSEWHERE/changed")"
  }
  wait_for 5 mounted_known || not_ok "the program in the namespace becomes known" "it stays unknown"
  refused "a changed copy mounted over the allowed program" direction=ingress rule=order-db \
    reason=default "peer.digest=$(digest_of "$ELSEWHERE/changed")" peer.labels.role=batch -- mounted
  refused "curl mounted over the allowed program" direction=ingress rule=order-db \
    peer.labels.role=batch -- in_cgroup web "${as_nobody[@]}" unshare -Urm bash -c \
    'mount --bind "$1" "$2" && exec "$2" -sv http://127.0.0.1:6379/' - "$CURL" "$CLI"
  # The other way: the allowed program under a name of one's choice proves nothing by its path.
  rule "{labels: {role: batch}, process: {digest: '$(digest_of "$CLI")'}}"
  allowed_soon "by digest the allowed program counts in such a namespace too" \
    ping_with web "$CLI" "${as_nobody[@]}" unshare -Urm
else
  skip "another program mounted over the allowed one" "user namespaces for nobody"
fi

# ---- a path that loses its trust while the file stays as it is
rule "{labels: {app: order, role: web}, process: {exe: $CLI}}"
allowed "the client while its directory is root's alone" ping_with web "$CLI"
chmod 777 "$PLACE"
lost_trust() { msegd_log | grep -qF "$CLI is no trusted path any more"; }
wait_for 60 lost_trust || not_ok "msegd notices that anybody may write there" "$(msegd_log)"
refused "the same client once anybody may write its directory" direction=ingress rule=order-db \
  "peer.exe=$CLI" -- ping_with web "$CLI"
chmod 755 "$PLACE"
rule "{labels: {app: order, role: web}, process: {exe: $CLI}}"
allowed "and trusted again after an apply" ping_with web "$CLI"

# ---- the listener's program counts too
rule "{labels: {app: order, role: web}, process: {exe: $CURL}}" \
  "{labels: {role: db}, process: {exe: /usr/sbin/nginx}}"
cat >"$WORK/nginx.conf" <<NGINX
daemon off; master_process off; pid $WORK/nginx.pid; error_log stderr; worker_processes 1;
events { worker_connections 32; }
http { access_log off; server { listen 127.0.0.1:8080; location / { return 200 "hello\n"; } } }
NGINX
serve db tcp 8080 nginx -c "$WORK/nginx.conf" -p "$WORK"
allowed_soon "curl reaches nginx" in_cgroup web curl -sf --max-time 5 http://127.0.0.1:8080/
refused "redis-cli does not" direction=ingress "peer.exe=$CLI" local.exe=/usr/sbin/nginx -- \
  in_cgroup web "$CLI" -p 8080 ping
kill_tracked "$SPAWNED"
serve db tcp 8080 ncat -lk 127.0.0.1 8080
refused "ncat in nginx's place and cgroup is not nginx" direction=ingress rule=order-db \
  local.exe=/usr/bin/ncat "peer.exe=$CURL" -- \
  in_cgroup web curl -sv --max-time 5 http://127.0.0.1:8080/

e2e_end
