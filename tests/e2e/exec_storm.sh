#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Many executables that nobody has seen before, each connecting in its first instructions: by fork,
# vfork and a thread's exec. Those whose content a rule names are let through, the others never are,
# however fast they come; in full mode, or with `exec_watch`, the very first attempt counts.
# guests: 6.1
# processors: 2
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin exec_storm
mkdir "$CG"/{db,web}
CONNECT=$MSEG_TESTS/e2e_connect
[[ -x $CONNECT ]] || bail "$SUITE" "no $CONNECT"
PLACE=$TRUSTED/storm
mkdir "$PLACE"
COUNT=100
cat >"$WORK/fresh.py" <<'PYTHON'
import os, sys
program, salt, *files = sys.argv[1:]
with open(program, "rb") as file:
    content = file.read()
for path in files:
    with open(f"{path}.new", "wb") as file:
        file.write(content + f"{salt} {os.path.basename(path)}".encode())
    os.chmod(f"{path}.new", 0o755)
    os.rename(f"{path}.new", path)
PYTHON
fresh() { "$PYTHON" -SE "$WORK/fresh.py" "$CONNECT" "$@"; } # SALT FILE...: each has its own content
digests_of() { sha256sum "$@" | sed 's/^\\*\([0-9a-f]*\) .*/"sha256:\1"/' | paste -sd ,; } # FILE...
programs() { sed "s,^,$PLACE/p,"; } # of the numbers that come in

named() { seq 0 2 $((COUNT - 1)); } # by the rule: every second one
others() { seq 1 2 $((COUNT - 1)); }

# shellcheck disable=SC2046 # numbers
fresh first $(seq 0 $((COUNT - 1)) | programs)
# shellcheck disable=SC2046
digests=$(digests_of $(named | programs))
serve db tcp 6379 "$PYTHON" -SE "$PROBE" serve tcp 127.0.0.1 6379
start_msegd
order_db_policy "{digest: [$digests]}" tcp/6379 >"$WORK/policy.yaml"
apply "$WORK/policy.yaml"

full=''
[[ $(status mode) != full ]] || full=1

# storm PROGRAM-NUMBERS...: one line a program, `NUMBER STATUS`; 0 connected, 1 EPERM.
storm() {
  in_cgroup web bash -c 'dir=$1; shift
for i in "$@"; do "$dir/p$i" 127.0.0.1 6379 >/dev/null & pids[i]=$!; done
for i in "$@"; do s=0; wait "${pids[i]}" || s=$?; echo "$i $s"; done' storm "$PLACE" "$@"
}

# shellcheck disable=SC2046
first=$(storm $(named))
refused_first=$(awk '$2 != 0' <<<"$first" | wc -l)
note "first run: $refused_first of $((COUNT / 2)) that the rule names were refused"
if [[ -n $full ]]; then
  same "in full mode none is refused for being unknown" 0 "$refused_first"
  check "the kernel read them" test "$(status counters.exec_hashed)" -ge $((COUNT / 2))
else
  check "without \`exec_watch\` some are refused for being unknown" test "$refused_first" -gt 0
fi
for round in 1 2 3; do
  # shellcheck disable=SC2046
  same "round $round: none that the rule does not name is let through" 0 \
    "$(storm $(others) | awk '$2 != 1' | wc -l)"
done
settled() {
  # shellcheck disable=SC2046
  [[ $(storm $(named) | awk '$2 != 0' | wc -l) == 0 ]]
}
# Without a hash at exec a process may be gone before the daemon has looked.
# shellcheck disable=SC2046
[[ -n $full ]] || learn $(named | programs)
check "all that the rule names are let through" wait_for 5 settled

# ---- as fast as it goes, by fork, vfork and a thread's exec
read -r execs rate let_in turned_away wrong right other < <(in_cgroup web "$MSEG_TESTS/e2e_storm" \
  "$PLACE" "$COUNT" "$([[ -n $GUEST ]] && echo 15 || echo 5)" 127.0.0.1 6379)
note "$execs execs, $rate a second; named: $let_in let in; others: $right refused"
same "none under the wrong identity" 0 "$wrong"
same "none that the rule names is refused" 0 "$turned_away"
same "nothing else came of any" 0 "$other"
check "and there were both" test "$let_in" -gt 0 -a "$right" -gt 0

# ---- the same path with another content, while in use
path=$PLACE/changing
install_as() { # NUMBER: in place, or by a rename
  if (($2)); then
    cp "$PLACE/p$1" "$path.new"
    mv "$path.new" "$path"
  else
    cp "$PLACE/p$1" "$path"
  fi
}
change_often() { # TIMES
  local wrong=0 i
  for ((i = 0; i < $1; i++)); do
    install_as 0 $((i % 2))
    in_cgroup web "$path" 127.0.0.1 6379 >/dev/null || true
    install_as 1 $((i / 2 % 2))
    if in_cgroup web "$path" 127.0.0.1 6379 >/dev/null; then wrong=$((wrong + 1)); fi
  done
  same "a changed content never has the old digest" 0 "$wrong"
  install_as 0 1
  allowed_soon "the twin: the content that the rule names" in_cgroup web "$path" 127.0.0.1 6379
  install_as 1 0
  refused "truncated and written while its digest was known" direction=ingress rule=order-db -- \
    in_cgroup web "$path" 127.0.0.1 6379
}
change_often 20

# ---- exec_watch: also by path, and without a hash at exec, nobody is refused for being new
# As the unit starts it, and programs that are not root's, or lie where others may put some.
stop_msegd
with_unit_capabilities
echo 'exec_watch: true' >"$WORK/msegd.yaml"
start_msegd --config "$WORK/msegd.yaml"
change_often 5
# Whoever has a file mapped changes it without a trace, and lets go of it before it is executed.
if [[ -z $full ]]; then
  cp "$PLACE/p0" "$PLACE/large"
  truncate -s 256M "$PLACE/large" # hashing it takes a while
  order_db_policy "{digest: '$(digest_of "$PLACE/large")'}" tcp/6379 >"$WORK/policy.yaml"
  apply "$WORK/policy.yaml"
  cat >"$WORK/behind.py" <<'PYTHON'
import mmap, os, sys, time
path, change = sys.argv[1], int(sys.argv[2])
file = os.open(path, os.O_RDWR)
memory = mmap.mmap(file, 0)
os.close(file)
memory[9] = memory[9]  # from here on the kernel notes no further write
child = os.fork()
if child == 0:
    memory.close()
    os.execv(path, [path, "127.0.0.1", "6379"])
time.sleep(0.02)
memory[9] ^= change
memory.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
PYTHON
  behind() { in_cgroup web "$PYTHON" -SE "$WORK/behind.py" "$PLACE/large" "$1" >/dev/null 2>&1; }
  for i in 1 2 3; do
    check_not "exec_watch: changed through a mapping while it was hashed ($i)" behind 1
    behind 1 || true # as it was
    cp "$PLACE/large" "$PLACE/large.new"
    mv "$PLACE/large.new" "$PLACE/large"
  done
  allowed_soon "exec_watch: its twin that is not changed" in_cgroup web "$PLACE/large" 127.0.0.1 6379
  rm "$PLACE/large"
fi
# Those that a rule names by digest are there when it is applied, those by path come later: nothing
# that it names has been read before it runs.
mkdir "$PLACE/named"
mkdir -m 1777 "$PLACE/public"
# shellcheck disable=SC2046
fresh second $(seq 0 $((COUNT - 1)) | programs)
by_path() { named | head -n $((COUNT / 4)); }
by_digest() { named | tail -n $((COUNT / 4)); }
for i in $(by_digest); do
  if [[ -n $full ]]; then
    chown nobody "$PLACE/p$i"
  else
    mv "$PLACE/p$i" "$PLACE/public/" && ln -s "public/p$i" "$PLACE/p$i"
  fi
done
# shellcheck disable=SC2046
digests=$(digests_of $(by_digest | programs))
{
  order_db_policy "{exe: $PLACE/named/*}" tcp/6379
  printf '  - name: by-digest\n    verdict: allow\n    from: {process: {digest: [%s]}}\n' "$digests"
  printf '    to: {labels: {role: db}}\n    services: [tcp/6379]\n'
} >"$WORK/policy.yaml"
apply "$WORK/policy.yaml"
# shellcheck disable=SC2046
fresh third $(by_path | sed "s,^,$PLACE/named/p,")
for i in $(by_path); do ln -sf "named/p$i" "$PLACE/p$i"; done
held=$(status counters.execs_held)
# They wait for each other, for a second at most, and a guest's processor takes a twentieth of that
# for one, or far longer while others have it.
in_groups() {
  local at at_once=$([[ -n $GUEST ]] && echo 2 || echo "$COUNT")
  local -a numbers
  mapfile -t numbers < <(named)
  for ((at = 0; at < ${#numbers[@]}; at += at_once)); do
    storm "${numbers[@]:at:at_once}"
  done
}
same "exec_watch: none is refused for being unknown" 0 "$(in_groups | awk '$2 != 0' | wc -l)"
check "exec_watch: they were held" test "$(status counters.execs_held)" -ge $((held + COUNT / 2))
same "exec_watch: none for too long" 0 "$(status counters.execs_held_too_long)"
# shellcheck disable=SC2046
same "exec_watch: none that the rule does not name is let through" 0 \
  "$(storm $(others) | awk '$2 != 1' | wc -l)"
held=$(status counters.execs_held)
# shellcheck disable=SC2046
storm $(named) >/dev/null
same "exec_watch: nobody is held twice" "$held" "$(status counters.execs_held)"
# Whoever writes its core is a program that starts, too.
pattern=$(cat /proc/sys/kernel/core_pattern)
restore_pattern() { echo "$pattern" >/proc/sys/kernel/core_pattern; }
if [[ -n $GUEST ]]; then
  E2E_AT_EXIT+=(restore_pattern)
  echo '|/usr/bin/true %p' >/proc/sys/kernel/core_pattern
  kill_tracked "$MSEGD_PID" SEGV
else
  kill_tracked "$MSEGD_PID" KILL
fi
new_program_starts() {
  local status=0
  cp "$CONNECT" "$PLACE/late"
  in_cgroup web timeout $((10 * SLOW)) "$PLACE/late" 127.0.0.1 6379 >/dev/null || status=$?
  ((status == 1)) # EPERM: it is unknown
}
check "exec_watch: with a dead daemon new programs start, and are refused" new_program_starts
e2e_end
