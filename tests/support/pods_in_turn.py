# SPDX-License-Identifier: Apache-2.0
"""The cyclonus steps as changes of one policy in force; called by tests/truth/steps.sh, which has
started msegd.

pods_in_turn.py KEPT: KEPT is what `tests/truth/cyclonus.py --keep` wrote. Applies one step after the
other and asks the daemon and the kernel's tables for every cell.
"""
import json
import sys

import truth


def main():
    cells = differences = 0
    before = set()
    folders = truth.kept_steps(sys.argv[1])
    for folder in folders:
        before = truth.put_in_force(folder, before)
        expected = [json.loads(line)
                    for line in (folder / "expected.jsonl").read_text().splitlines()]
        answers = truth.run(["explain", "--batch", str(folder / "queries.jsonl"), "--kernel", "-o",
                             "json"]).splitlines()
        found = truth.compare(folder.name, expected, answers)
        for line in found[:5]:
            print(f"not ok: {line}")
        cells += len(expected)
        differences += len(found)
    print(f"{cells} cells of {len(folders)} steps in turn, {differences} differences")
    sys.exit(1 if differences or not cells else 0)


main()
