#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proof that the house rules of tests/check find what they forbid: one violation at a time is
# planted in a copy of the sources.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT
failed=0
export PYTHONDONTWRITEBYTECODE=1

for folder in bpf labels loader daemon ctl tests/check tests/unit; do
  mkdir -p "$work/$folder"
  cp -r "$root/$folder/." "$work/$folder/"
done

# finds CHECK TEXT: a line that starts with TEXT is among what the check prints, and it fails.
finds() {
  ! "$work/tests/check/$1" >"$work/out" 2>&1 && grep -q "^$2" "$work/out"
}

# plant CHECK FILE LINE WHAT: the check must name the second line of a new FILE, which is LINE.
plant() {
  local check=$1 file=$2 line=$3 what=$4
  printf '// SPDX-License-Identifier: Apache-2.0\n%s\n' "$line" >"$work/$file"
  # A check fails for the planted line's sake only if it names that line.
  if finds "$check" "$file:2: "; then
    printf 'found: %s (%s)\n' "$what" "$check"
  else
    printf 'NOT FOUND: %s (%s)\n' "$what" "$check"
    failed=$((failed + 1))
  fi
  rm "$work/$file"
}

# Some lines are written in two parts, or this file would be found too.
plant includes.py labels/planted.cc '#include <bpf/libbpf.h>' "libbpf in labels"
plant includes.py labels/planted.cc '#include "loader/dataplane.h"' "loader in labels"
plant includes.py labels/planted.cc '#include <sys/stat.h>' "system calls in labels"
plant includes.py loader/planted.cc '#include "labels/image.h"' "labels in loader"
plant includes.py loader/planted.cc '#include <rocksdb/db.h>' "RocksDB in loader"
plant includes.py loader/planted.cc '#include <kj/async.h>' "KJ in loader"
plant includes.py loader/planted.cc '#include "mseg.skel.h"' "the skeleton outside of object.cc"
plant includes.py daemon/controller_planted.cc '#include <kj/async.h>' "KJ outside of the RPC files"
plant includes.py daemon/planted.cc '#include "ctl/client.h"' "ctl in daemon"
plant includes.py ctl/planted.cc '#include "loader/dataplane.h"' "loader in ctl"
plant includes.py ctl/planted.cc '#include "daemon/store.h"' "the store in ctl"
plant includes.py bpf/include/mseg/planted.h '#include <stdint.h>' "a libc header in the ABI"
plant includes.py bpf/planted.bpf.c '#include <linux/in.h>' "a user header in BPF"
sed -i 1d "$work/labels/label.h"
if finds spdx.py "labels/label.h:1: "; then
  printf 'found: no licence (spdx.py)\n'
else
  printf 'NOT FOUND: no licence (spdx.py)\n'
  failed=$((failed + 1))
fi
plant style.py labels/planted.cc 'void F() { std::cout << 1; }' "output in a library"
plant style.py labels/planted.cc '	int tab;' "a tab"
plant style.py labels/planted.cc '// TO''DO fix this' "a TO""DO without a reason"
plant style.py bpf/planted.bpf.c '#ifdef CONFIG_X' "conditional compilation in BPF"
plant style.py labels/planted.cc "// $(printf 'x%.0s' {1..110})" "a long line"
plant hosts.py tests/check/planted.sh 'curl -O https:''//py''pi.org/x' "a registry in a script"
plant hosts.py tests/check/planted.sh 'curl -O http:''//download.somewhere.net/x' "a host in a script"

printf 'checks.sh: %s\n' "$([[ $failed == 0 ]] && echo "all found" || echo "$failed not found")"
[[ $failed == 0 ]]
