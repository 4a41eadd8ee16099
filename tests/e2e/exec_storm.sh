#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Many executables that nobody has seen before, each connecting in its first instructions: by fork,
# vfork and a thread's exec. Those whose content a rule names are let through, the others never are,
# however fast they come; in full mode the very first attempt counts.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin exec_storm
mkdir "$CG"/{db,web}
CONNECT=$MSEG_TESTS/e2e_connect
[[ -x $CONNECT ]] || bail "$SUITE" "no $CONNECT"
PLACE=$TRUSTED/storm
mkdir "$PLACE"
COUNT=100

# Each with a content of its own; every second one is named by the rule.
digests=''
for ((i = 0; i < COUNT; i++)); do
  cp "$CONNECT" "$PLACE/p$i"
  printf '%04d' "$i" >>"$PLACE/p$i"
  ((i % 2)) || digests+="${digests:+, }\"$(digest_of "$PLACE/p$i")\""
done
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

named() { seq 0 2 $((COUNT - 1)); }
others() { seq 1 2 $((COUNT - 1)); }

# shellcheck disable=SC2046 # numbers
first=$(storm $(named))
refused_first=$(awk '$2 != 0' <<<"$first" | wc -l)
note "first run: $refused_first of $((COUNT / 2)) that the rule names were refused"
if [[ -n $full ]]; then
  same "in full mode none is refused for being unknown" 0 "$refused_first"
  check "the kernel read them" test "$(status counters.exec_hashed)" -ge $((COUNT / 2))
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
[[ -n $full ]] || learn $(named | sed "s,^,$PLACE/p,")
check "all that the rule names are let through" wait_for 5 settled

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
wrong=0
for ((i = 0; i < 20; i++)); do
  install_as 0 $((i % 2))
  in_cgroup web "$path" 127.0.0.1 6379 || true
  install_as 1 $((i / 2 % 2))
  if in_cgroup web "$path" 127.0.0.1 6379; then wrong=$((wrong + 1)); fi
done
same "a changed content never has the old digest" 0 "$wrong"
install_as 0 1
allowed_soon "the twin: the content that the rule names" in_cgroup web "$path" 127.0.0.1 6379
install_as 1 0
refused "truncated and written while its digest was known" direction=ingress rule=order-db -- \
  in_cgroup web "$path" 127.0.0.1 6379
e2e_end
