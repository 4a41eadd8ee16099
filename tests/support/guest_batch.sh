#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs several test programs in one boot of a guest. Called by tools/test through tools/vm.
# Usage: tests/support/guest_batch.sh LOG-DIRECTORY LIMIT-SECONDS PROGRAM...
# Writes LOG-DIRECTORY/NAME.log each, and a line "PROGRAM STATUS SECONDS" each to .../results.
set -u
logs=$1 limit=$2
shift 2
mkdir -p "$logs"
# The emulated processor compares fewer of them; the seeds are the same.
export MSEG_KERNEL_FLOWS=${MSEG_KERNEL_FLOWS:-50000}
for program in "$@"; do
  name=$(basename "$program" .sh)
  start=$(date +%s)
  timeout --kill-after=10 "$limit" "$program" >"$logs/$name.log" 2>&1 </dev/null
  status=$?
  echo "$program $status $(($(date +%s) - start))" >>"$logs/results"
  echo "$name: status $status, $(tail -n 1 "$logs/$name.log")"
done
