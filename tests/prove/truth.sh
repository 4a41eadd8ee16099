#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proof that the truth tests can fail: what `msegctl import` prints is spoiled in one way at a time,
# and a truth test must notice. Usage: tests/prove/truth.sh [BUILD_DIR]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(realpath "${1:-$root/build}")
readonly root build
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT
failed=0 caught=0

[[ -d $root/../shared/data ]] || {
  echo "skipped: $root/../shared/data is not there"
  [[ ${CI:-} != true ]]
  exit
}

mkdir "$work/bin"
cat >"$work/bin/msegctl" <<SCRIPT
#!/bin/bash
set -o pipefail
if [[ \$1 == import ]]; then
  "$build/bin/msegctl" "\$@" | sed -E -f "$work/spoil"
else
  "$build/bin/msegctl" "\$@"
fi
SCRIPT
chmod +x "$work/bin/msegctl"

# prove WHAT TEST SED
prove() {
  local status=0
  printf '%s\n' "$3" >"$work/spoil"
  MSEG_BUILD=$work "$root/tests/truth/$2.py" >"$work/log" 2>&1 || status=$?
  if ((status == 1)) && grep -q '^not ok: .* should be' "$work/log"; then
    printf 'caught: %s (by %s, %s)\n' "$1" "$2" "$(tail -n 1 "$work/log")"
    caught=$((caught + 1))
  else
    printf 'NOT CAUGHT: %s (by %s)\n' "$1" "$2"
    tail -n 5 "$work/log"
    failed=$((failed + 1))
  fi
}

: >"$work/spoil"
MSEG_BUILD=$work "$root/tests/truth/netpol.py" >"$work/log" || {
  echo "the test fails without a change:"
  cat "$work/log"
  exit 1
}
prove "ipBlock matches no pods" netpol 's/, peers: all//'
prove "except is forgotten" netpol 's/except: \[[^]]*\], //'
prove "a policy selects in every namespace" netpol \
  's/^(  selects: )\{labels: \{ns.kubernetes.io.metadata.name: [a-z]\}/\1{/'
prove "a peer's namespace is forgotten" netpol \
  '/^    (from|to): /s/ns.kubernetes.io.metadata.name: [a-z], //'
prove "pods have no named ports" netpol '/^  ports:/,/^---/{/^ /d}'
prove "NotIn is In" netpol 's/operator: NotIn/operator: In/'
prove "policyTypes is always both" netpol 's/directions: .*/directions: [ingress, egress]/'
prove "UDP is TCP" netpol '/services:/s/udp/tcp/g'
prove "egress rules allow ingress too" cyclonus 's/at: from/at: both/'
prove "endPort is forgotten" cyclonus '/services:/s/-[0-9]+(,|\])/\1/g'

printf '%d caught, %d not\n' "$caught" "$failed"
((failed == 0))
