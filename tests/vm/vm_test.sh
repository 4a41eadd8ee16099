#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tests tools/vm itself, with every kernel it offers. Usage: tests/vm/vm_test.sh [KERNEL...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root
readonly vm=$root/tools/vm
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# check NAME COMMAND...: one result line; what a failing command printed follows as a comment.
check() {
  local name=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    passed=$((passed + 1))
    printf 'ok - %s\n' "$name"
  else
    failed=$((failed + 1))
    printf 'not ok - %s\n' "$name"
    sed 's/^/# /' "$work/check.log"
  fi
}

# guest ARGUMENTS...: runs tools/vm; leaves $work/{out,err} and status.
status=
guest() {
  status=0
  "$vm" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
}

status_is() {
  [[ $status == "$1" ]] || {
    printf 'status %s, expected %s\n' "$status" "$1"
    tail -n 20 "$work/err"
    return 1
  }
}

err_has() {
  grep -q -- "$1" "$work/err" || {
    printf 'stderr lacks "%s":\n' "$1"
    tail -n 20 "$work/err"
    return 1
  }
}

# Runs in the guest: one line for each thing that a test may rely on.
write_guest_checks() {
  cat >"$work/inside.sh" <<'GUEST'
report() {
  local name=$1
  shift
  # A file, not a pipe: the servers that a check starts keep their output open.
  if "$@" >/tmp/check.log 2>&1; then echo "good $name"
  else echo "bad $name: $(tr '\n' ' ' </tmp/check.log)"; fi
}
filesystem_is() { [[ $(stat -f -c %T "$1") == "$2" ]]; }
bpf_in_lsm() { grep -qw bpf /sys/kernel/security/lsm; }
cgroup_root() { filesystem_is /sys/fs/cgroup cgroup2fs && mkdir /sys/fs/cgroup/probe; }
bpffs() { filesystem_is /sys/fs/bpf bpf_fs && mkdir /sys/fs/bpf/probe; }
trace_file_systems() { [[ -d /sys/kernel/tracing/events && -d /sys/kernel/debug/tracing ]]; }
btf() { [[ -r /sys/kernel/btf/vmlinux ]] && bpftool prog list; }
veth() {
  ip netns add a && ip netns add b
  ip link add va netns a type veth peer name vb netns b
  ip -n a addr add 10.9.0.1/24 dev va && ip -n b addr add 10.9.0.2/24 dev vb
  ip -n a link set va up && ip -n b link set vb up
  ip netns exec b ncat -l 10.9.0.2 80 --send-only < <(echo hello) &
  for _ in {1..20}; do
    [[ $(ip netns exec a ncat --recv-only 10.9.0.2 80 2>/dev/null) == hello ]] && return
    sleep 0.2
  done
  return 1
}
nftables() {
  nft -f - <<'RULES'
table inet probe {
  chain input { type filter hook input priority 0; ct state established accept; }
  chain nat { type nat hook postrouting priority 100; ip saddr 10.8.0.0/16 masquerade; }
}
RULES
}
modules() { for m in overlay dummy vsock_loopback tcp_diag; do modprobe "$m" || return; done; }
tree_is_local() {
  filesystem_is "$MSEG_TREE" ext2/ext3 && [[ -x $MSEG_TREE/tools/vm ]] && touch "$MSEG_TREE/probe"
}
verity() {
  python3 - "$MSEG_TREE" / <<'PYTHON'
import fcntl, os, struct, sys
for folder in sys.argv[1:]:
    path = os.path.join(folder, "verity-probe")
    with open(path, "w") as f:
        f.write("probe" * 5000)
    fd = os.open(path, os.O_RDONLY)
    # struct fsverity_enable_arg {version 1, SHA-256, 4 KiB blocks} of FS_IOC_ENABLE_VERITY.
    fcntl.ioctl(fd, 0x40806685, struct.pack("IIIIQIIQ88x", 1, 1, 4096, 0, 0, 0, 0, 0))
PYTHON
}
redis() {
  redis-server --port 7001 --save '' --daemonize yes >/dev/null
  for _ in {1..20}; do
    [[ $(redis-cli -p 7001 ping 2>/dev/null) == PONG ]] && return
    sleep 0.2
  done
  return 1
}
nginx_answers() {
  echo 'events {} http { server { listen 127.0.0.1:8080; return 200 served; } }' >/tmp/nginx.conf
  nginx -c /tmp/nginx.conf && [[ $(curl -s http://127.0.0.1:8080/) == served ]]
}
other_user() { [[ $(su user -c 'id -un') == user && $(setpriv --reuid 33 id -un) == www-data ]]; }
reopened_output() { bash -c 'echo x >/dev/stdout' >/dev/null && echo x >/dev/stderr; }
cpus() { [[ $(nproc) == 2 ]]; }
clock() { [[ $(date +%Y) -ge 2024 ]]; }
mkdir -p /tmp/results && printf 'a\0b\n' >/tmp/results/file
echo "ci=$CI given=$GIVEN guest=$MSEG_GUEST release=$(uname -r) cwd=$PWD"
for name in bpf_in_lsm cgroup_root bpffs trace_file_systems btf veth nftables modules \
  tree_is_local verity redis nginx_answers other_user reopened_output cpus clock; do
  report "$name" "$name"
done
sleep 1000 &
GUEST
  cat >"$work/bytes.py" <<'PYTHON'
import sys
sys.stdout.buffer.write(bytes(range(256)) * 1500 + b"\r\nlast line\n\nno newline at the end")
sys.stderr.buffer.write(b"only\terr\n")
sys.exit(7)
PYTHON
}

test_kernel() {
  local kernel=$1 release line name
  guest --kernel "$kernel" --add "$work/bytes.py" -- python3 "$work/bytes.py"
  check "$kernel: exit status 7" status_is 7
  python3 "$work/bytes.py" >"$work/expected" 2>/dev/null || true
  check "$kernel: stdout is byte for byte the command's" cmp "$work/out" "$work/expected"
  check "$kernel: stderr is apart" grep -qxF $'only\terr' "$work/err"

  # shellcheck disable=SC2016 # the guest's shell expands it
  guest --kernel "$kernel" -- bash -c 'kill -SEGV $$'
  check "$kernel: death by a signal is 128+n" status_is 139
  check "$kernel: the serial log of a failure is kept" err_has 'serial log: /'

  (
    cd "$root/tests"
    CI=yes "$vm" --kernel "$kernel" --timeout 120 --env GIVEN='a b' --env MSEG_TREE="$root" \
      --add "$work/inside.sh:/opt/x/inside.sh" --out "/tmp/results:$work/results" \
      --keep-log "$work/serial.log" -- bash /opt/x/inside.sh
  ) >"$work/out" 2>"$work/err" </dev/null && status=0 || status=$?
  check "$kernel: exit status 0, with a process left behind" status_is 0
  release=$(sed -n 's/.* release=\([^ ]*\) .*/\1/p' "$work/out")
  check "$kernel: the kernel is of that series" test "${release#"$kernel".}" != "$release"
  check "$kernel: environment and folder are passed" grep -qxF \
    "ci=yes given=a b guest=$release release=$release cwd=$root/tests" "$work/out"
  check "$kernel: --out brings files back" cmp "$work/results/file" <(printf 'a\0b\n')
  check "$kernel: --keep-log keeps the log" test -e "$work/serial.log"
  while read -r line; do
    name=${line#* }
    printf '%s\n' "$line" >"$work/line"
    check "$kernel: guest has ${name%%:*}" grep '^good ' "$work/line"
  done < <(grep -E '^(good|bad) ' "$work/out")
  check "$kernel: all the guest's checks ran" test "$(grep -cE '^(good|bad) ' "$work/out")" = 16

  guest --kernel "$kernel" --timeout 5 -- sleep 1000
  check "$kernel: the time limit gives 124" status_is 124
  guest --kernel "$kernel" --timeout 60 -- bash -c 'echo c >/proc/sysrq-trigger; sleep 50'
  check "$kernel: a panic gives 125" status_is 125
  check "$kernel: a panic is shown" err_has 'sysrq triggered crash'
}

test_host_side() {
  guest --no-such-option
  check "a usage error gives 2" status_is 2
  guest -- no-such-command
  check "an unknown command gives 127" status_is 127

  local -a runs=()
  local n all=0
  for n in 1 2 3; do
    "$vm" -- bash -c "echo $n; exit $n" >"$work/parallel.$n" 2>/dev/null &
    runs+=($!)
  done
  for n in 1 2 3; do
    wait "${runs[n - 1]}" || [[ $? == "$n" && $(<"$work/parallel.$n") == "$n" ]] && all=$((all + 1))
  done
  check "three runs at the same time" test "$all" = 3

  "$vm" -- bash -c 'echo up; sleep 1000' >"$work/out" 2>/dev/null &
  local pid=$!
  for _ in {1..150}; do
    [[ -s $work/out ]] && break
    sleep 0.2
  done
  local folder qemu
  folder=$(compgen -G "${MSEG_VM_CACHE:-$root/build/vm}/run/$pid.*")
  qemu=$(pgrep -P "$pid")
  kill -TERM "$pid"
  wait "$pid" && status=0 || status=$?
  check "output comes while the command runs" grep -qx up "$work/out"
  check "SIGTERM gives 143" status_is 143
  check "SIGTERM leaves no QEMU" test ! -e "/proc/$qemu"
  check "SIGTERM leaves no files" test ! -e "$folder"
}

main() {
  local kernel
  local -a kernels=("$@")
  [[ $# -gt 0 ]] || mapfile -t kernels < <("$vm" --list | cut -f 1)
  write_guest_checks
  for kernel in "${kernels[@]}"; do
    test_kernel "$kernel"
  done
  test_host_side
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [[ $failed == 0 ]]
}

main "$@"
