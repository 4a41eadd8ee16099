#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A process that changes what /proc/PID/exe says of it (unprivileged: a user namespace and
# PR_SET_MM_MAP) stays who it was when it was executed.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
# shellcheck disable=SC2016 # what stands in single quotes is expanded by other shells
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin exe_file_swap
e2e_need redis-server redis-cli setpriv
SWAP=$MSEG_TESTS/e2e_exe_file_swap
[[ -x $SWAP ]] || bail "the program that swaps is built" "no $SWAP"
mkdir "$CG"/{db,web}

# Copies: a file that is never hashed before, and one that is.
cp "$SWAP" "$TRUSTED/known"
cp "$SWAP" "$TRUSTED/fresh"
chmod 755 "$TRUSTED"/*
CLI=$(readlink -f "$(command -v redis-cli)")
as_nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups)

swap() { in_cgroup web "${as_nobody[@]}" "$1" "$CLI" 127.0.0.1 6379; }

rule() {
  order_db_policy "$1" tcp/6379 >"$WORK/policy.yaml"
  apply "$WORK/policy.yaml"
}

start_msegd
serve_redis db 6379

# Without this, what follows would prove nothing.
rule "{exe: [$TRUSTED/known, $CLI]}"
out=$(swap "$TRUSTED/known" 2>&1) || true
if ! grep -q "^exe $CLI$" <<<"$out"; then
  # Kernels without unprivileged user namespaces have nothing to attack with.
  skip "swapping exe_file" "a kernel that lets nobody do it: $out"
  e2e_end
fi
ok "the swap works: /proc/self/exe says $CLI"
has "a swapped process whose own program is allowed connects" "$out" '^connect ok'

for rule in "{exe: $CLI}" "{name: redis-cli}" "{digest: '$(digest_of "$CLI")'}"; do
  rule "$rule"
  learn "$CLI" "$TRUSTED/known"
  allowed "$rule: the allowed program, as the same user" \
    in_cgroup web "${as_nobody[@]}" "$CLI" -h 127.0.0.1 -p 6379 ping
  refused "$rule: the swapped process" direction=ingress rule=order-db reason=default \
    "peer.exe=$TRUSTED/known" "peer.digest=$(digest_of "$SWAP")" peer.labels.role=web \
    local.exe~redis -- swap "$TRUSTED/known"
  refused "$rule: a swapped process whose program nobody had read yet" direction=ingress \
    rule=order-db "peer.exe!=$CLI" "peer.digest!=$(digest_of "$CLI")" peer.labels.role=web -- \
    swap "$TRUSTED/fresh"
done

# The daemon reads the file behind a process when it does not know it; by then it is another one.
spawn web "${as_nobody[@]}" "$TRUSTED/fresh" "$CLI" 127.0.0.1 6379
check_not "nothing was learned under the name of the wrong file" bash -c \
  '"$0" identity list -o json | "$1" -c "
import json, sys
sys.exit(not any(p[\"exe\"] == sys.argv[1] and p[\"digest\"] != sys.argv[2]
                 for p in json.load(sys.stdin)))" "$2" "$3"' \
  "$MSEG_BIN/msegctl" "$PYTHON" "$CLI" "$(digest_of "$CLI")"

e2e_end
