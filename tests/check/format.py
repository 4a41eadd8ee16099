#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files that clang-format would change. Warns; with --strict it fails."""

import difflib
import subprocess
import sys

from files import Report, lines, sources

FORMATTED = ("bpf/", "labels/", "loader/", "daemon/", "ctl/", "bench/", "tests/")


def main():
    report = Report()
    complain = report.error if "--strict" in sys.argv[1:] else report.warn
    for path, name in sources(".cc", ".h", ".c"):
        if not name.startswith(FORMATTED):
            continue
        run = subprocess.run(["clang-format", str(path)], capture_output=True, check=True)
        want = run.stdout.decode().splitlines()
        have = lines(path)
        if want == have:
            continue
        changes = [group for group in difflib.SequenceMatcher(a=have, b=want).get_opcodes()
                   if group[0] != "equal"]
        complain(name, changes[0][1] + 1, f"clang-format changes {len(changes)} places")
    report.exit()


if __name__ == "__main__":
    main()
