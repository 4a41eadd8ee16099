#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every known way around, on this kernel: `msegctl selftest --bypass`.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin bypass

left() {
  ls -d /var/lib/mseg-selftest-* "$CGROUP_ROOT"/mseg-selftest-* /sys/fs/bpf/mseg-selftest-* \
    2>/dev/null || true
}
before=$(left)
# A guest has no /dev/net/tun, no /dev/fuse and no SMB before.
[[ -z $GUEST ]] || modprobe -a tun fuse cifs || true
status=0
json=$(msegctl selftest --bypass -o json) || status=$?
"$PYTHON" -SE -c 'import json, sys
for row in json.loads(sys.argv[1]):
    print("#", *(row[k] for k in ("id", "result", "attack_errno", "twin", "denied_by", "reason")))
' "$json"
same "nothing is open that this mode claims to cover" 0 "$status"
mode=cgroup
[[ -z $GUEST ]] || mode=full

declare -A RESULT # of each row
while read -r row result; do RESULT[$row]=$result; done < <("$PYTHON" -SE -c 'import json, sys
for row in json.loads(sys.argv[1]):
    print(row["id"], row["result"])' "$json")

for row in B01 B02 B03 B04 B05 B06 B07 B09 B10 B16 B22 B23 B24 B25 B26 B27 B28 B29 B30 B31 \
  B36 B37 B38 B39 B46 B48 B49 B50 B51; do
  same "$row is blocked" blocked "${RESULT[$row]-}"
done
# Takes a file system that the machine's own kernel does not have.
[[ $mode == cgroup ]] || same "B40 is blocked" blocked "${RESULT[B40]-}"
for row in B08 B11 B13 B15 B17 B20 B21 B32 B33 B34 B41 B42 B43; do
  if [[ $mode == full ]]; then
    same "$row is blocked" blocked "${RESULT[$row]-}"
  else
    same "$row is a gap" gap "${RESULT[$row]-}"
  fi
done
for row in $(seq -f 'B%02g' 1 51); do
  has "$row is reported" "${RESULT[$row]-}" '^(blocked|gap|not_applicable)$'
done
same "nothing of it is left" "$before" "$(left)"

# killed in the middle, with two hosts there and a wire between them, all of it goes the same
"$MSEG_BIN/msegctl" selftest --bypass >/dev/null 2>&1 &
track $!
self=$!
stands() { [[ -S /var/lib/mseg-selftest-$self-far/sock ]]; }
check "it stands" wait_for 60 stands
kill_tracked "$self" KILL
gone() { [[ $(left) == "$before" ]]; }
check "killed, it leaves nothing either" wait_for 20 gone
e2e_end
