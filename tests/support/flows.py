#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Find a line of `msegctl flows -o json` (stdin).

flows.py [--since TIME] [--count] CONDITION...
A condition is FIELD=VALUE, FIELD~REGEX, FIELD!=VALUE or FIELD! (has a value), with a dotted path as
FIELD (local.labels.role). Prints the newest line for which all hold, shortened for reading, exit 0;
else all lines since TIME, exit 1. --count: prints the sum of the matching lines' counts instead.
"""
import json
import re
import sys

CONDITION = re.compile(r"^([\w./-]+?)(!=|=|~|!$)(.*)$", re.S)


def field(line, path):
    value = line
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def holds(line, condition):
    match = CONDITION.match(condition)
    if not match:
        sys.exit(f"flows.py: not a condition: {condition}")
    have, operator, want = field(line, match[1]), match[2], match[3]
    return {
        "=": have == want,
        "!=": have != want,
        "~": re.search(want, have) is not None,
        "!": have != "",
    }[operator]


def end(side):
    labels = ",".join(f"{k}={v}" for k, v in (side["labels"] or {}).items()) or "no labels"
    digest = (side["digest"] or "no digest").removeprefix("sha256:")[:12]
    return f"[{labels}] {side['exe'] or '?'} {digest} {side['grade']}"


def short(line):
    peer = line["peer"]
    return (
        f"{line['verdict']} {line['direction']} {line['protocol']}/{line['port']} "
        f"local {end(line['local'])} · peer {end(peer)} {peer['address']} · "
        f"{line['reason']} {line['rule'] or '-'} · hook {line['hook']} · generation "
        f"{line['generation']} · x{line['count']}"
    )


def main():
    args = sys.argv[1:]
    since, count = "", False
    while args and args[0].startswith("--"):
        option = args.pop(0)
        if option == "--since":
            since = args.pop(0)
        elif option == "--count":
            count = True
    lines = [json.loads(text) for text in sys.stdin if text.strip()]
    lines = [line for line in lines if line["time"] >= since]
    found = [line for line in lines if all(holds(line, c) for c in args)]
    if count:
        print(sum(line["count"] for line in found))
        return 0
    if found:
        print(short(found[-1]))
        return 0
    print("\n".join(short(line) for line in lines) or "no line at all")
    return 1


sys.exit(main())
