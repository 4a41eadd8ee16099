#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The shared headers are C11 and C++20 without a warning, each by itself, with both compilers.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root
readonly flags=(-Wall -Wextra -Wpedantic -pedantic-errors -Werror -Wno-unused-function
  -fsyntax-only -I"$root/bpf/include")
status=0

for header in "$root"/bpf/include/mseg/*.h; do
  name=mseg/$(basename "$header")
  for compiler in "gcc -std=c11 -x c" "clang -std=c11 -x c" "g++ -std=c++20 -x c++" \
    "clang++ -std=c++20 -x c++"; do
    read -ra command <<<"$compiler"
    # Twice: the guard must work.
    if ! printf '#include "%s"\n#include "%s"\nint mseg_unit;\n' "$name" "$name" |
      "${command[@]}" "${flags[@]}" -; then
      printf 'bpf/include/%s:1: does not compile with %s\n' "$name" "$compiler"
      status=1
    fi
  done
done
printf 'abi_headers.sh: %s\n' "$([[ $status == 0 ]] && echo "no violations" || echo failed)"
exit "$status"
