#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Waits until an end-to-end shell has ended and removes what it left, if it could not do so itself.
# Usage: tests/support/e2e_janitor.sh PID NAME (started by e2e_begin)
# shellcheck source-path=SCRIPTDIR source=e2e.sh
trap '' INT TERM HUP
source "$(dirname "${BASH_SOURCE[0]}")/e2e.sh"
set +e
CGROUP_ROOT=$(cgroup_root)
e2e_places "${2#mseg-}"
tail --pid="$1" -s 0.2 -f /dev/null
for left in "$CG"* "$PINS"* "$WORK" "$TRUSTED" "/run/netns/$NS"*; do
  [[ -e $left ]] || continue
  # A daemon that has only just begun holds nothing yet by which --detach-all would find it.
  pgrep -f -- "^$MSEG_BIN/msegd .*--bpffs $PINS" | xargs -r kill -KILL
  CG2=$CG-2 PINS2=$PINS-2
  forget_second
  e2e_clean
  break
done
