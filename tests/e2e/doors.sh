#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a Workload says of ways without an address, `raw`, `family`, `passing`, `unix`, and of
# whose code runs, `libraries`.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin doors
mkdir "$CG"/{db,web}
# Another program to policy, which names the first by its path.
OTHER=$TRUSTED/other-python
install -m 755 "$PYTHON" "$OTHER"
echo >>"$OTHER"

web_says() { # WORDS: what the Workload `web` says beside
  workloads web | sed "s|^spec: {labels: {role: web}, match: {cgroup: /web}|&$1|"
}
# document WORDS
document() {
  web_says "$1" >"$WORK/policy.yaml"
  cat >>"$WORK/policy.yaml" <<YAML
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: shut}
spec:
  selects: {labels: {role: web}}
  directions: [egress]
  rules:
  - {name: python, verdict: allow, from: {labels: {role: web}, process: {exe: $PYTHON}}, services: tcp/7000}
YAML
}
policy() { document "$1" && apply "$WORK/policy.yaml"; }
web() { in_cgroup web "$PYTHON" -SE -c "$@"; }
kind() { web "import socket; socket.socket($1)"; }
RAW='socket.AF_INET, socket.SOCK_RAW, 1'
PACKET='socket.AF_PACKET, socket.SOCK_RAW'
# kept PROGRAM [DIRECTORY]: a connection that $PYTHON opens and PROGRAM uses; in between its cookie is
# in the directory, until that has a file `go`
kept() {
  web 'import os, socket, sys, time
made = socket.create_connection(("127.0.0.1", 7000), 5)
made.setblocking(True)
if sys.argv[3:]:
    with open(sys.argv[3] + "/cookie", "w") as file:
        file.write(str(int.from_bytes(made.getsockopt(socket.SOL_SOCKET, 57, 8), "little")))
    while not os.path.exists(sys.argv[3] + "/go"):
        time.sleep(0.02)
made.set_inheritable(True)
os.execv(sys.argv[1], [sys.argv[1], "-SE", "-c", sys.argv[2], str(made.fileno())])' "$1" \
    'import socket, sys
made = socket.socket(fileno=int(sys.argv[1]))
made.send(b"x")
sys.exit(made.recv(1) != b"x")' "${@:2}"
}

start_msegd
learn "$OTHER"
serve db tcp 7000 "$PYTHON" -SE "$PROBE" serve tcp 127.0.0.1 7000

policy ''
refused "raw: not without the word" rule=shut -- kind "$RAW"
policy ', raw: allow'
allowed "raw: with it" kind "$RAW"

if [[ $(status mode) == cgroup ]]; then
  for words in 'unix: judge' 'passing: deny' 'libraries: trusted'; do
    document ", $words"
    out=$(msegctl policy apply "$WORK/policy.yaml" 2>&1) && code=0 || code=$?
    same "$words is refused in cgroup mode" 4 "$code"
    has "with its place" "$out" 'policy.yaml:4:[0-9]+: cgroup mode'
  done
  e2e_end
fi

refused "family: one word does not open the other" rule=shut -- kind "$PACKET"
policy ', family: packet'
allowed "family: packet sockets" kind "$PACKET"
refused "family: nor this one the first" rule=shut -- kind "$RAW"

# ---- passing
allowed_soon "restamp: kept by a program that may" kept "$PYTHON"
refused "restamp: kept by one that may not" hook=lsm_sendmsg reason=default "local.exe=$OTHER" -- \
  kept "$OTHER"
# pushed PROGRAM: the same, once newer sockets have taken the place of its record
pushed() {
  local pid status=0
  rm -f "$WORK/cookie" "$WORK/go"
  kept "$1" "$WORK" &
  pid=$!
  track "$pid"
  wait_for 20 test -s "$WORK/cookie" || return 2
  "$PYTHON" -SE "$SUPPORT/push_slot.py" "$PINS/maps/mseg_slots" "$(cat "$WORK/cookie")" || return 2
  touch "$WORK/go"
  wait "$pid" || status=$?
  return "$status"
}
if command -v bpftool >/dev/null; then
  allowed "restamp, of nobody on record: by a program that may" pushed "$PYTHON"
  refused "restamp, of nobody on record: by one that may not" hook=lsm_sendmsg reason=default \
    "local.exe=$OTHER" -- pushed "$OTHER"
else
  skip "a record that newer sockets took the place of" bpftool
fi
policy ', passing: allow'
allowed "allow: kept by whomever" kept "$OTHER"
policy ', passing: deny'
refused "deny: kept by another program" hook=lsm_sendmsg reason=passing "local.exe=$OTHER" -- \
  kept "$OTHER"
allowed "deny: the same program is no other" kept "$PYTHON"

# ---- passing: connections that were accepted, from this host and from elsewhere
FAR=$NS-far
ip netns add "$FAR"
ip -n "$NS" link add far0 type veth peer name near0 netns "$FAR"
ip -n "$NS" addr add 10.9.9.1/24 dev far0
ip -n "$FAR" addr add 10.9.9.2/24 dev near0
ip -n "$NS" link set far0 up
ip -n "$FAR" link set near0 up
near_client() { in_cgroup db "$PYTHON" -SE "$WORK/client.py" 127.0.0.1; }
far_client() { nsenter --net="/run/netns/$FAR" "$PYTHON" -SE "$WORK/client.py" 10.9.9.1; }
cat >"$WORK/client.py" <<'CLIENT'
import socket, sys, time
end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        made = socket.create_connection((sys.argv[1], 7100), 5)
        break
    except OSError:
        time.sleep(0.02)
made.settimeout(60)
while made.recv(1):
    pass
CLIENT
cat >"$WORK/server.py" <<'SERVER'
import os, socket, sys
program, listener, first, *trick = sys.argv[1:]
server = socket.create_server(("", 7100))
server.settimeout(60)
taken, _ = server.accept()
taken.setblocking(True)
if first == "used":
    taken.send(b"x")
taken.set_inheritable(True)
server.set_inheritable(listener == "open")
use = """
import socket, sys
taken = socket.socket(fileno=int(sys.argv[1]))
if sys.argv[2:]:
    print(taken.connect_ex(("127.0.0.1", 1)))
taken.send(b"x")"""
os.execv(program, [program, "-SE", "-c", use, str(taken.fileno()), *trick])
SERVER
# taken near|far PROGRAM open|closed used|unused [reconnect]: PROGRAM uses what $PYTHON accepted, and
# perhaps used before, while its listening socket is open or not
taken() {
  local client status=0
  "$1_client" &
  client=$!
  track "$client"
  in_cgroup web "$PYTHON" -SE "$WORK/server.py" "${@:2}" || status=$?
  kill_tracked "$client"
  return $status
}
served() { # WORDS
  { web_says "$1" && workloads db; } >"$WORK/served.yaml"
  cat >>"$WORK/served.yaml" <<YAML
apiVersion: mseg.io/v1
kind: AddressGroup
metadata: {name: far}
spec: {labels: {role: db}, cidrs: [10.9.9.2/32]}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: serves}
spec:
  selects: {labels: {role: web}}
  directions: [ingress]
  rules:
  - name: python
    verdict: allow
    from: {labels: {role: db}}
    to: {labels: {role: web}, process: {exe: $PYTHON}}
    services: tcp/7100
YAML
  apply "$WORK/served.yaml"
}
msegctl policy delete policy/shut >/dev/null
served ''
not_served=(hook=lsm_sendmsg direction=ingress port=7100 "local.exe=$OTHER")
for how in "near open unused" "near closed used" "far open used" "far closed unused"; do
  read -r where listener first <<<"$how"
  allowed_soon "accepted ($how): used by a program that may" \
    taken "$where" "$PYTHON" "$listener" "$first"
  refused "accepted ($how): used by one that may not" "${not_served[@]}" rule=serves -- \
    taken "$where" "$OTHER" "$listener" "$first"
done
refused "accepted: nor is it his by another connect()" "${not_served[@]}" rule=serves -- \
  taken far "$OTHER" open used reconnect
served ', passing: allow'
allowed "accepted, allow: used by whomever" taken far "$OTHER" open used
served ', passing: deny'
refused "accepted, deny: used by another program" "${not_served[@]}" reason=passing -- \
  taken far "$OTHER" open used
allowed "accepted, deny: the same program is no other" taken near "$PYTHON" open used
msegctl policy delete policy/serves >/dev/null
policy ', passing: deny'

# ---- unix
spawn db "$PYTHON" -SE -c 'import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
while True:
    server.accept()[0].close()' "$WORK/unix"
check "a server at an AF_UNIX address" wait_for 10 test -S "$WORK/unix"
there() { web 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$WORK/unix"; }
allowed_soon "unix: not judged without the word" there
asks() { test -e "$PINS/links/$1"; }
check_not "unix: no program asks where nobody says the word" asks mseg_lsm_unix_connect
policy ', unix: judge'
check "one does where somebody says it" asks mseg_lsm_unix_connect
refused "unix: denied by default" hook=lsm_unix rule=shut direction=egress -- there
sed -i 's/, services: tcp\/7000//' "$WORK/policy.yaml"
apply "$WORK/policy.yaml"
allowed "unix: a rule without services allows it" there

# ---- libraries
LIBM=$(ldd "$PYTHON" | awk '$1 ~ /^libm\.so/ { print $3 }')
install -m 755 "$LIBM" "$TRUSTED/roots.so"
install -m 755 -o 65534 "$LIBM" "$TRUSTED/others.so"
install -m 775 -g 65534 "$LIBM" "$TRUSTED/groups.so"
# dlopen() does not say why it fails; whether the code may be mapped does.
LOAD='import ctypes, mmap, os, sys
def load(name):
    try:
        ctypes.CDLL(name)
    except OSError:
        file = os.open(name, os.O_RDONLY)
        mmap.mmap(file, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)
        raise
'
load() { web "$LOAD"'load(sys.argv[1])' "$1"; }
# What else is executable and nobody knows who wrote it, in one process; one word for each.
others() {
  web "$LOAD"'
libc = ctypes.CDLL(None, use_errno=True)
made = os.memfd_create("library")
os.write(made, open(sys.argv[1], "rb").read())
writer = os.open(sys.argv[4], os.O_RDWR)
for name in (f"/proc/self/fd/{made}", sys.argv[2], sys.argv[4]):
    try:
        load(name)
        print("loaded")
    except OSError as error:
        print("refused" if error.errno == 1 else error)
os.close(writer)
file = open(sys.argv[3], "rb")
data = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
place = ctypes.addressof(ctypes.c_char.from_buffer(data))
failed = libc.mprotect(ctypes.c_void_p(place), 4096, 5) != 0
print("refused" if failed and ctypes.get_errno() == 1 else "mapped")' \
    "$LIBM" "$TRUSTED"/{groups,others,roots}.so
}
preload() {
  in_cgroup web env LD_PRELOAD="$1" "$PYTHON" -SE -c 'import sys
print("loaded" if sys.argv[1] in open("/proc/self/maps").read() else "ignored")' "$1"
}
check_not "libraries: no program asks where nobody says the word" asks mseg_lsm_mmap
policy ', libraries: trusted'
check "one does where somebody says it" asks mseg_lsm_mmap
allowed "libraries: one that root wrote" load "$TRUSTED/roots.so"
refused "libraries: not somebody else's" hook=lsm_library reason=library "local.exe=$PYTHON" -- \
  load "$TRUSTED/others.so"
same "nor a memfd, a group's, one being written, one made executable later" \
  'refused refused refused refused' "$(others | tr '\n' ' ' | sed 's/ $//')"
same "LD_PRELOAD is not looked at, whoever wrote it" ignored "$(preload "$TRUSTED/roots.so")"
policy ', libraries: trusted, state: test'
mark
allowed "in test: somebody else's, too" load "$TRUSTED/others.so"
check "and a line says that it would be refused" flow_line verdict=allow would_be=deny \
  hook=lsm_library "local.exe=$PYTHON"
policy ', libraries: any'
check_not "any: none asks" asks mseg_lsm_mmap
allowed "any: somebody else's" load "$TRUSTED/others.so"
same "any: LD_PRELOAD" loaded "$(preload "$TRUSTED/others.so")"
e2e_end
