#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The cyclonus steps as incremental updates: one msegd, one step applied on top of the one before it,
# every cell asked of the daemon and of the kernel's tables.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin steps
[[ -f $ROOT/../shared/data/cyclonus-cases.jsonl.gz ]] || {
  skip "steps in turn" "$ROOT/../shared/data"
  e2e_end
}
check "the steps are imported and explained" \
  "$PYTHON" "$ROOT/tests/truth/cyclonus.py" --keep "$WORK/steps"
start_msegd
if "$PYTHON" "$SUPPORT/pods_in_turn.py" "$WORK/steps" >"$WORK/cells" 2>&1; then
  ok "$(tail -n 1 "$WORK/cells")"
else
  not_ok "every cell is as the tables say" "$(head -n 40 "$WORK/cells"; tail -n 3 "$WORK/cells")"
fi
same "no drift" 0 "$(status counters.drift)"
e2e_end
