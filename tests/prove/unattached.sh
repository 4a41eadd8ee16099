#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proof that each hook does something: with it attached an act is refused or recorded, without it
# (its link unpinned, nothing else changed) the act succeeds or the record is missing. Root; one
# line a hook. Usage: tests/prove/unattached.sh [HOOK...]
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/unattached.py" "$@"
